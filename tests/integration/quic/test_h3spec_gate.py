"""The cases of h3spec over UDP against a real gate; in memory they are in tests/conformance/test_h3spec.

Here is what memory has not: the endpoint that routes what breaks rules and must tell its maker, the drivers that turn
a fault of HTTP/3 into the close of a connection, and a gate that serves others afterwards.
"""

import time

import pytest
from tests.conformance.h3spec import HTTP3, TRANSPORT, packets, verdict, wants_handshake
from tests.integration.gate_tls.conftest import counted, make_site
from tests.integration.quic.conftest import QuicSite

from headgate.engine.h3.errors import H3_NO_ERROR
from headgate.engine.quic.frames import encode_application_close
from headgate.engine.quic.levels import APPLICATION, HANDSHAKE
from headgate.testing.quic_raw_udp import RawSocket

PATIENCE = 5.0


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    site = make_site(tmp_path_factory.mktemp("h3spec"), QuicSite)
    site.certificate("localhost", "localhost")
    with site.gate() as gate:
        yield gate


@pytest.fixture
def client(gate):
    """Return what makes a client; afterwards all have taken leave, or the gate would wait for them when it ends."""
    made = []

    def make(**options):
        made.append(RawSocket("127.0.0.1", gate.https_ports[0], **options))
        return made[-1]

    yield make
    for one in made:
        if one.client.is_confirmed:
            one.send(one.client.packet(APPLICATION, encode_application_close(H3_NO_ERROR, b"")))
        one.close()


def read_until_handshake_keys(raw):
    """Send the ClientHello and read until Handshake packets can be sent, but answer nothing."""
    raw.send(*raw.client.flush())
    end = time.monotonic() + PATIENCE
    while not raw.client.keys[HANDSHAKE].can_write:
        assert time.monotonic() < end, "no ServerHello came"
        raw.await_datagram(end)
        raw.read(answers=False)


def play(case, raw):
    """Do what the case says, and wait for what it should come to."""
    if wants_handshake(case):
        assert raw.shake(PATIENCE), raw
    elif case.level == HANDSHAKE:
        read_until_handshake_keys(raw)
    if wants_handshake(case) or case.level != APPLICATION:
        raw.send(*packets(case, raw.client))

    def is_settled(client):
        if not case.codes:
            return bool(client.streams.get(0)) or client.close is not None
        return client.close is not None or (case.of_stream and 0 in client.resets)

    raw.wait(is_settled, PATIENCE)
    return raw.client


@pytest.mark.parametrize("case", TRANSPORT, ids=str)
def test_transport(case, client):
    assert verdict(case, play(case, client(parameters=case.parameters, tamper=case.tamper))) == ""


@pytest.mark.parametrize("case", HTTP3, ids=str)
def test_http3(case, client):
    found = play(case, client())
    assert verdict(case, found) == ""
    assert bool(case.codes) != bool(found.streams.get(0))  # what breaks rules gets no answer


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("CRYPTO beyond what is buffered", "crypto-buffer-exceeded"),
        ("max_ack_delay of 2^14", "transport-parameter-error"),
        ("no protocol of ours", "tls-no-application-protocol"),
        ("a stream ID beyond the limit", "stream-limit-error"),
        ("SETTINGS twice", "h3-frame-unexpected"),
    ],
)
def test_the_code_is_counted(gate, client, name, code):
    counter = f'headgate_quic_closed_total{{code="{code}"}}'
    before = gate.metrics()[counter]
    (case,) = [case for case in (*TRANSPORT, *HTTP3) if case.name == name]
    assert verdict(case, play(case, client(parameters=case.parameters, tamper=case.tamper))) == ""
    counted(gate, counter, before + 1)


def test_the_gate_serves_others_afterwards(gate, client):
    for case in (TRANSPORT[0], HTTP3[0]):
        assert verdict(case, play(case, client())) == ""
    served = next(case for case in HTTP3 if not case.codes)
    assert verdict(served, play(served, client())) == ""
    assert not gate.events("worker-died")
    assert not gate.events("child-exited")
