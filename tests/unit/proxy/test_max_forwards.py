"""Max-Forwards through the dispatcher, in memory (RFC 9110 section 7.6.2)."""

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.counters import REFUSED_MALFORMED
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.pipeline.middleware.respond import Respond
from headgate.pipeline.route import Route, Router
from headgate.proxy.dispatch import Dispatcher
from headgate.proxy.fixed import RespondHandler
from headgate.proxy.max_forwards import FARTHEST

DONE = b"HTTP/1.1 204 No Content\r\n\r\n"


@pytest.fixture
def path():
    path = DataPath()
    edits = FieldEdits({"X-Route": "ours"})
    all_, fixed = (
        Route("all", response_edits=edits),
        Route("fixed", path="/fixed", respond=Respond(200, b"tea")),
    )
    all_.handler = path.proxy
    fixed.handler = RespondHandler(fixed.respond, FieldEdits())
    path.proxy = Dispatcher(Router([all_, fixed]), path.values)
    yield path
    path.close()
    assert path.seen.crashes == []


def ask(path, method, *lines, target=b"/a?b", version=b"1.1"):
    """Send a request; return what the client has got."""
    client = path.client()
    head = [b"%b %b HTTP/%b" % (method, target, version), b"Host: x", *lines]
    path.send(client, b"\r\n".join(head) + b"\r\n\r\n")
    return client.transport.outgoing


def forwarded(path):
    """Return the Max-Forwards lines that the origin was sent."""
    lines = path.sent().split(b"\r\n")
    path.send(path.origin(), DONE)
    return [line for line in lines if line.lower().startswith(b"max-forwards")]


@pytest.mark.parametrize("method", [b"TRACE", b"OPTIONS"])
@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (b"1", b"0"),
        (b"10", b"9"),
        (b"007", b"6"),
        (b"%d" % FARTHEST, b"%d" % (FARTHEST - 1)),
        (b"%d" % (FARTHEST + 1), b"%d" % FARTHEST),
        (b"%d" % (FARTHEST + 2), b"%d" % FARTHEST),
        (b"9" * 5000, b"%d" % FARTHEST),
    ],
)
def test_rfc9110_7_6_2_what_is_forwarded_has_one_less(path, method, value, sent):
    assert ask(path, method, b"mAx-fOrWaRdS:  " + value) == b""
    assert forwarded(path) == [b"Max-Forwards: " + sent]


@pytest.mark.parametrize("value", [b"0", b"000"])
@pytest.mark.parametrize("target", [b"/a?b", b"*", b"http://x/a"])
def test_rfc9110_7_6_2_options_with_0_is_answered_and_not_forwarded(path, value, target):
    got = ask(path, b"OPTIONS", b"Max-Forwards: " + value, target=target)
    head, _, content = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Length: 0" in head
    assert b"\r\nX-Route: ours" in head
    assert b"\r\nAllow:" not in head
    assert content == b""
    assert path.dials.dialled == []


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_rfc9110_9_3_8_trace_with_0_gives_back_the_head_as_it_came(path, version):
    lines = [
        b"vIA: 1.1 before",
        b"Max-Forwards: 0",
        b"User-Agent:  me",
        b"Via: 1.1 nearer",
        b"Connection: close",
    ]
    got = ask(path, b"TRACE", *lines, version=version)
    head, _, content = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nContent-Type: message/http\r\n" in head
    assert b"\r\nX-Route: ours" in head
    assert content == b"\r\n".join([b"TRACE /a?b HTTP/" + version, b"Host: x", *lines, b"", b""])
    assert path.dials.dialled == []


@pytest.mark.parametrize(
    "line",
    [
        b"Cookie: secret",
        b"Authorization: Basic secret",
        b"Proxy-Authorization: Basic secret",
        b"X-Api-Key: secret",
        b"X-Secret-Of-The-Proxy-Before-Us: secret",
        b"Forwarded: for=10.0.0.1;by=secret",
        b"X-Forwarded-For: secret",
    ],
)
def test_rfc9110_9_3_8_trace_gives_back_no_secret(path, line):
    got = ask(path, b"TRACE", line, b"Max-Forwards: 0")
    assert got.endswith(b"\r\n\r\nTRACE /a?b HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\n\r\n")


@pytest.mark.parametrize("method", [b"TRACE", b"OPTIONS"])
@pytest.mark.parametrize(
    "lines",
    [[b"-1"], [b"x"], [b""], [b"+1"], [b"1, 0"], [b"0", b"1"], [b"1.0"], [b"\xb2"]],
)
def test_rfc9110_7_6_2_what_cannot_be_counted_down_is_refused(path, method, lines):
    got = ask(path, method, *[b"Max-Forwards: " + value for value in lines])
    assert got.startswith(b"HTTP/1.1 400 ")
    assert b"bad-max-forwards" in got
    assert path.values[REFUSED_MALFORMED] == 1
    assert path.dials.dialled == []


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"DELETE", b"trace"])
@pytest.mark.parametrize("value", [b"0", b"5", b"x"])
def test_rfc9110_7_6_2_other_methods_ignore_it(path, method, value):
    assert ask(path, method, b"Max-Forwards: " + value) == b""
    assert forwarded(path) == [b"Max-Forwards: " + value]


def test_rfc9110_7_6_2_without_it_nothing_is_added(path):
    assert ask(path, b"OPTIONS") == b""
    assert forwarded(path) == []


@pytest.mark.parametrize("value", [b"0", b"3"])
def test_a_route_that_forwards_nothing_gives_its_own_answer(path, value):
    got = ask(path, b"OPTIONS", b"Max-Forwards: " + value, target=b"/fixed")
    assert got.endswith(b"\r\n\r\ntea")


def test_the_connection_goes_on_after_an_answer_of_ours(path):
    client = path.client()
    for _ in range(2):
        path.send(client, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nMax-Forwards: 0\r\nContent-Length: 2\r\n\r\nhi")
    assert client.transport.outgoing.count(b"HTTP/1.1 200 OK") == 2
    assert not client.transport.ended
