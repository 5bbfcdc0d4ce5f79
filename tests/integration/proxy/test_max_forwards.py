"""RFC 9110 section 7.6.2 through real gates, one behind the other: who answers is told by how far it may go."""

import json

import pytest
from tests.integration.gate import Gate

from headgate.testing.origin import connect

TEXT = """
[[route]]
upstream = "a"
set_response_headers = {{ X-{name} = "was here" }}
[upstream.a]
endpoints = ["{url}"]
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory, echo):
    """The outer gate, with the inner one and then an origin behind it."""
    with Gate(tmp_path_factory.mktemp("inner"), TEXT.format(name="Inner", url=echo.url)) as inner:
        url = f"http://127.0.0.1:{inner.http_ports[0]}"
        with Gate(tmp_path_factory.mktemp("outer"), TEXT.format(name="Outer", url=url)) as outer:
            yield outer
            assert outer.events("defect") == inner.events("defect") == []


def ask(chain, method, hops):
    with connect(chain.http_ports[0]) as wire:
        wire.send(b"%b /x HTTP/1.1\r\nHost: x\r\nCookie: mine\r\nMax-Forwards: %d\r\n\r\n" % (method, hops))
        return wire.read_response()


@pytest.mark.parametrize(("hops", "inner"), [(0, None), (1, "was here")])
def test_rfc9110_7_6_2_options_gets_as_far_as_it_may(chain, hops, inner):
    head, body = ask(chain, b"OPTIONS", hops)
    assert (head.status, head.get("content-length"), head.get("allow"), body) == (200, "0", None, b"")
    assert (head.get("x-outer"), head.get("x-inner")) == ("was here", inner)


@pytest.mark.parametrize("hops", [0, 1])
def test_rfc9110_9_3_8_trace_tells_the_way_and_no_cookie(chain, hops):
    head, body = ask(chain, b"TRACE", hops)
    assert (head.status, head.get("content-type")) == (200, "message/http")
    lines = body.split(b"\r\n")
    assert lines[0] == b"TRACE /x HTTP/1.1"
    assert lines.count(b"Max-Forwards: 0") == 1
    assert lines.count(b"via: 1.1 headgate") == hops
    assert b"mine" not in body


@pytest.mark.parametrize("method", [b"OPTIONS", b"TRACE"])
def test_rfc9110_7_6_2_enough_hops_reach_the_origin(chain, method):
    head, body = ask(chain, method, 2)
    assert head.status == 200
    told = json.loads(body)
    assert told["method"] == method.decode()
    assert ["max-forwards", "0"] in [[name.lower(), value] for name, value in told["fields"]]
