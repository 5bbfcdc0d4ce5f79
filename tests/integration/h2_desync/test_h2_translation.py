"""Random messages that are right, from one version of HTTP to the other through a gate: all of them arrives."""

import h11
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.integration.h2_desync.conftest import ask_h1
from tests.property.engine.test_h2_splits import PAIRS, cut

from headgate.testing.h2_raw import data, headers, literal

MANY = settings(
    max_examples=max(60, settings.default.max_examples // 10),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    # What hangs would hang again for each smaller example.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
METHOD = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"M-SEARCH"])
# Paths are normal already: dot segments and encoded unreserved octets are undone, and others refused.
PATH = st.lists(
    st.sampled_from([b"a", b"%20", b"~!$&'()*+,;=:@-._", b"/b", b"?c", b"%C3%A4"]), max_size=4
).map(lambda pieces: b"/x" + b"".join(pieces))
PIECES = st.lists(st.binary(min_size=1, max_size=300), max_size=4)
COOKIES = st.lists(st.sampled_from([b"a=1", b"b=2", b"c=3; d=4"]), max_size=3)


def block(lines):
    return b"".join(literal(name, value) for name, value in lines)


def ours(lines):
    """The lines of the test itself: what else there is the gate has added."""
    return [
        (name, value)
        for name, value in lines
        if name.startswith(b"x-") and not name.startswith(b"x-forwarded")
    ]


@MANY
@given(METHOD, PATH, PAIRS, COOKIES, PIECES, PAIRS, st.booleans(), st.lists(st.integers(0, 2000), max_size=4))
def test_a_request_of_http2_for_an_origin_of_http1(
    site, method, path, pairs, cookies, pieces, trailers, sized, marks
):
    length = sum(map(len, pieces))
    lines = [
        (b":method", method),
        (b":scheme", b"http"),
        (b":authority", b"a.test"),
        (b":path", path),
        *pairs,
    ]
    lines += [(b"cookie", cookie) for cookie in cookies]
    if sized and length:
        lines.append((b"content-length", b"%d" % length))
    octets = headers(1, block(lines), end=False) + b"".join(data(1, piece) for piece in pieces)
    octets += headers(1, block(trailers)) if trailers else data(1, b"", end=True)
    mark = site.recorder.mark()
    with site.connect() as raw:
        for piece in cut(octets, marks):
            raw.send(piece)
        assert raw.wait(lambda raw: raw.ended(1) or 1 in raw.resets), raw.frames
    (got,) = site.recorder.since(mark)[0]
    assert got.is_complete
    assert (got.method, got.target) == (method, path)
    assert ours(got.fields) == pairs
    assert got.get(b"cookie") == ([b"; ".join(cookies)] if cookies else [])
    assert got.content == b"".join(pieces)
    assert got.trailers in ([], trailers) if sized and length else got.trailers == trailers
    assert site.recorder.refused == []


def chunked(pieces, trailers):
    whole = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n"
    return whole + b"".join(b"%b: %b\r\n" % line for line in trailers) + b"\r\n"


@MANY
@given(METHOD, PATH, PAIRS, PIECES, PAIRS, st.booleans())
def test_a_request_of_http1_for_an_origin_of_http2(site, method, path, pairs, pieces, trailers, sized):
    site.scripted.answer = lambda stream: headers(stream, block([(b":status", b"204")]))
    asked, at = len(site.scripted.asked), len(site.scripted.content)
    content = b"".join(pieces)
    framing = b"Content-Length: %d\r\n" % len(content) if sized else b"Transfer-Encoding: chunked\r\n"
    lines = b"".join(b"%b: %b\r\n" % (name.title(), value) for name, value in pairs)
    octets = ask_h1(
        site,
        method + b" " + path + b" HTTP/1.1\r\nHost: scripted.test\r\nConnection: close\r\n" + framing + lines
        + b"\r\n" + (content if sized else chunked(pieces, trailers)),
    )  # fmt: skip
    assert octets.startswith(b"HTTP/1.1 204 "), octets
    head, *rest = site.scripted.asked[asked:]
    values = dict(head)
    assert (values[b":method"], values[b":path"], values[b":authority"]) == (method, path, b"scripted.test")
    assert ours(head) == pairs
    assert site.scripted.content[at:] == content
    assert [list(lines) for lines in rest] == ([trailers] if trailers and not sized else [])


@MANY
@given(st.sampled_from([200, 201, 404, 500]), PAIRS, PIECES, PAIRS, st.booleans(), st.booleans())
def test_an_answer_of_http2_for_a_client_of_http1(site, status, pairs, pieces, trailers, sized, early):
    content = b"".join(pieces)
    lines = [(b":status", b"%d" % status), *pairs]
    if sized:
        lines.append((b"content-length", b"%d" % len(content)))

    def answer(stream):
        octets = (
            headers(stream, block([(b":status", b"103"), (b"link", b"</a>")]), end=False) if early else b""
        )
        octets += headers(stream, block(lines), end=False) + b"".join(data(stream, piece) for piece in pieces)
        return octets + (headers(stream, block(trailers)) if trailers else data(stream, b"", end=True))

    site.scripted.answer = answer
    client = h11.Connection(h11.CLIENT)
    client.send(
        h11.Request(method="GET", target="/x", headers=[("Host", "scripted.test"), ("Connection", "close")])
    )
    client.send(h11.EndOfMessage())
    client.receive_data(ask_h1(site))
    client.receive_data(b"")
    got = b""
    while not isinstance(event := client.next_event(), h11.EndOfMessage):
        if isinstance(event, h11.Response):
            assert event.status_code == status
            assert ours((bytes(name), bytes(value)) for name, value in event.headers) == pairs
        elif isinstance(event, h11.Data):
            got += bytes(event.data)
        else:
            assert event.status_code == 103
    assert got == content
    if not sized:
        assert [(bytes(name), bytes(value)) for name, value in event.headers] == trailers
