"""The cases of h2spec over TLS against a real gate; most of what they ask is tried in memory in tests/conformance.

Here is what memory has not: the driver that turns a fault into GOAWAY and the end of the connection, and a gate that
serves others afterwards.
"""

import pytest
from tests.conformance.h2_wire import GOAWAY, PING, SETTINGS
from tests.conformance.h2spec import ANSWERED, CONNECTION, GENERIC, HPACK, HTTP2, PONG, SETTLED, STREAM
from tests.integration.h2_desync.conftest import status

from headgate.testing.h2_raw import PREFACE, RawH2, settings


def begin(site, case):
    raw = RawH2.connect("127.0.0.1", site.gate.https_ports[0], tls=True)
    raw.send((PREFACE + settings() if case.preface is None else case.preface) + case.sends)
    return raw


@pytest.mark.parametrize("case", [*GENERIC, *HTTP2, *HPACK], ids=str)
def test_h2spec(site, case):
    with begin(site, case) as raw:
        if case.does == ANSWERED:
            assert raw.wait(lambda raw: raw.ended(1)), raw.frames
            assert status(raw, 1) == 200
        elif case.does == PONG:
            assert raw.wait(lambda raw: raw.of(PING)), raw.frames
            assert [(one.flags, one.payload) for one in raw.of(PING)] == [(1, b"h2spec!!")]
        elif case.does == SETTLED:
            acks = 2
            assert raw.wait(lambda raw: sum(one.flags & 1 for one in raw.of(SETTINGS)) == acks), raw.frames
        elif case.does == STREAM:
            assert raw.wait(
                lambda raw: any(code in case.codes for code in raw.resets.values()) or raw.goaway
            ), raw.frames
            assert raw.goaway is None or raw.goaway[0] in case.codes
        else:
            assert case.does == CONNECTION
            assert raw.wait(lambda raw: raw.goaway is not None), raw.frames
            assert raw.goaway[0] in case.codes, raw.goaway
    assert site.good()


@pytest.mark.parametrize("case", [case for case in HTTP2 if case.does == CONNECTION][:6], ids=str)
def test_a_connection_error_closes_the_connection(site, case):
    with begin(site, case) as raw:
        raw.wait(lambda raw: False, 10)  # until no more comes
        assert raw.closed
        assert raw.frames[-1].kind == GOAWAY
