"""However octets are split they mean the same, and what one role of the engine writes the other reads."""

from fuzz.h1 import REQUESTS, RESPONSES, client_trace, same, server_trace
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.engine.events import UNKNOWN_LENGTH, Closed, Data, EndOfMessage, Request, Response
from headgate.engine.h1.client import ClientEngine
from headgate.engine.h1.machine import SWITCHED
from headgate.engine.h1.server import ServerEngine
from headgate.http.fields import Fields

MANY = settings(max_examples=max(60, settings.default.max_examples // 2))

TOKEN = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=12).map(str.encode)
VALUE = st.lists(st.sampled_from([*range(0x21, 0x7F), 0x80, 0xFF, 0x20, 0x09]), max_size=20).map(
    lambda octets: bytes(octets).strip(b" \t")
)
# Names that frame, route or nominate are chosen by the tests themselves.
DECIDING = frozenset(
    b"host content-length transfer-encoding connection upgrade expect te trailer keep-alive".split()
)
NAME = TOKEN.filter(lambda name: name.lower() not in DECIDING)
FIELDS = st.lists(st.tuples(NAME, VALUE), max_size=6)
CONTENT = st.lists(st.binary(max_size=40), max_size=5)
TARGET = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(
    lambda text: b"/" + text.encode()
)


def cut(data, marks):
    """Cut `data` at `marks`, taken modulo its length."""
    places = sorted(mark % (len(data) + 1) for mark in marks)
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    return [piece for piece in pieces if piece]


MARKS = st.lists(st.integers(0, 2000), max_size=8)


# -- splits


def test_the_corpus_octet_by_octet_and_at_every_place():
    for data in REQUESTS:
        whole = server_trace([data])
        assert same(whole, server_trace([data[i : i + 1] for i in range(len(data))]))
        for i in range(len(data)):
            assert same(whole, server_trace([data[:i], data[i:]])), (data, i)
    for data in RESPONSES:
        for methods in ((b"GET",), (b"HEAD", b"GET"), (b"CONNECT",)):
            whole = client_trace([data], methods=methods)
            for i in range(len(data)):
                assert same(whole, client_trace([data[:i], data[i:]], methods=methods)), (data, i)


@MANY
@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3), MARKS, st.sampled_from([64, 200, 65536]))
def test_requests_in_a_row_split_anywhere(messages, marks, max_head):
    data = b"".join(messages)
    whole = server_trace([data], max_head=max_head)
    assert same(whole, server_trace(cut(data, marks), max_head=max_head))


@MANY
@given(st.lists(st.sampled_from(RESPONSES), min_size=1, max_size=3), MARKS, st.sampled_from([64, 200, 65536]))
def test_responses_in_a_row_split_anywhere(messages, marks, max_head):
    data = b"".join(messages)
    whole = client_trace([data], max_head=max_head)
    assert same(whole, client_trace(cut(data, marks), max_head=max_head))


# -- round trips


def section(pairs):
    fields = Fields([], [])
    for name, value in pairs:
        fields.add(name.lower(), value, name)
    return fields


def read(engine, data, marks=()):
    """Feed `data` in pieces and return (events, content); content is joined."""
    events, content = [], []
    for piece in cut(data, marks):
        engine.receive(piece)
        while (event := engine.next_event()) is not None:
            if isinstance(event, Data):
                content.append(event.data)
            else:
                events.append(event)
    return events, b"".join(content)


def write(engine, head, content, trailers):
    """Send one message, framed as its head says."""
    engine.send(head)
    if head.body != 0:
        for data in content:
            engine.send(Data(data))
        engine.send(EndOfMessage(section(trailers) if trailers else None))
    return engine.take_output()


def body_of(content, framing):
    size = len(b"".join(content))
    return UNKNOWN_LENGTH if framing == "chunked" else size


@st.composite
def messages(draw):
    content = draw(CONTENT)
    framing = draw(st.sampled_from(["length", "chunked"]))
    trailers = draw(FIELDS) if framing == "chunked" else []
    return draw(FIELDS), content, body_of(content, framing), trailers


def check(event, events, fields, content, got, body, trailers):
    assert event.body == body
    passed = [(name, value) for name, value in event.fields.items() if name not in DECIDING]
    assert passed == [(name.lower(), value) for name, value in fields]
    assert got == b"".join(content)
    if body == 0:
        assert events == []
        return
    (end,) = events
    assert isinstance(end, EndOfMessage)
    assert (end.trailers.items() if end.trailers is not None else []) == [(n.lower(), v) for n, v in trailers]


@MANY
@given(st.lists(st.tuples(TOKEN, TARGET, messages(), messages()), min_size=1, max_size=3), MARKS)
def test_exchanges_on_one_connection(exchanges, marks):
    client, server = ClientEngine(), ServerEngine()
    for method, target, sent, answered in exchanges:
        if method in (b"HEAD", b"CONNECT"):
            continue
        fields, content, body, trailers = sent
        head = Request(method, target, 11, section([(b"Host", b"a"), *fields]), body)
        (request, *rest), got = read(server, write(client, head, content, trailers), marks)
        assert (request.method, request.target, request.version, request.host) == (method, target, 11, b"a")
        check(request, rest, fields, content, got, body, trailers)
        fields, content, body, trailers = answered
        head = Response(200, b"Fine", 11, section(fields), body)
        data = b""
        for status in (100, 103):
            server.send(Response(status, b"", 11, section([])))
        data += server.take_output() + write(server, head, content, trailers)
        (*interim, response), got, rest = split_head(read(client, data, marks))
        assert [event.status for event in interim] == [100, 103]
        assert (response.status, response.reason) == (200, b"Fine")
        check(response, rest, fields, content, got, body, trailers)
        assert client.reusable
        assert server.exchange_over
        client.reuse()
        server.reuse()


def split_head(result):
    events, content = result
    heads = [event for event in events if isinstance(event, Response)]
    return heads, content, events[len(heads) :]


@MANY
@given(
    st.lists(st.tuples(TARGET, CONTENT, st.sampled_from(["length", "chunked"])), min_size=1, max_size=4),
    MARKS,
)
def test_pipelined_requests(requests, marks):
    data = b""
    for target, content, framing in requests:
        head = Request(b"PUT", target, 11, section([(b"Host", b"a")]), body_of(content, framing))
        data += write(ClientEngine(), head, content, [])
    server = ServerEngine()
    seen = []
    pieces = cut(data, marks)
    while pieces or server.buffered:
        if pieces:
            server.receive(pieces.pop(0))
        seen += serve(server)
    assert seen == [(target, b"".join(content)) for target, content, _ in requests]


def serve(server):
    """Answer whole requests out of the buffer; the content of an unfinished one is kept on the request itself."""
    seen = []
    while (event := server.next_event()) is not None or server.receiving == 4:
        if isinstance(event, Request):
            event.upgrade = b""  # gathers the content
        elif isinstance(event, Data):
            server.request.upgrade += event.data
        elif event is None:
            seen.append((server.request.target, server.request.upgrade))
            server.send(Response(204, b"", 11, section([])))
            server.reuse()
    return seen


@MANY
@given(
    st.sampled_from([(b"HEAD", 200), (b"HEAD", 404), (b"GET", 204), (b"GET", 304)]),
    st.sampled_from([None, b"0", b"1234"]),
    FIELDS,
    MARKS,
)
@example((b"HEAD", 200), b"5", [], [])
def test_answers_without_content(kind, length, fields, marks):
    method, status = kind
    client, server = ClientEngine(), ServerEngine()
    client.send(Request(method, b"/", 11, section([(b"Host", b"a")])))
    read(server, client.take_output())
    if length is not None:
        fields = [*fields, (b"Content-Length", length)]
    data = write(server, Response(status, b"", 11, section(fields)), [], [])
    (response,), content = read(client, data, marks)
    assert (response.status, response.body, content) == (status, 0, b"")
    expected = length if status != 204 else None
    assert response.fields.get(b"content-length") == expected
    assert client.reusable


@MANY
@given(messages(), st.booleans(), MARKS)
def test_http10_and_keep_alive(message, keep, marks):
    fields, content, body, _ = message
    server = ServerEngine()
    connection = b"Connection: keep-alive\r\n" if keep else b""
    (request,), _ = read(server, b"GET / HTTP/1.0\r\n" + connection + b"\r\n", marks)
    assert request.version == 10
    data = write(server, Response(200, b"OK", 11, section(fields), body), content, [])
    client = ClientEngine()
    client.send(Request(b"GET", b"/", 11, section([])))
    events, got = read(client, data, marks)
    if body == UNKNOWN_LENGTH:
        client.receive_eof()
        assert isinstance(client.next_event(), EndOfMessage)
        assert client.next_event() is None
    assert got == b"".join(content)
    assert events[0].close is (not keep or body == UNKNOWN_LENGTH)
    assert server.must_close is events[0].close
    assert client.must_close is events[0].close
    if keep and body != UNKNOWN_LENGTH:
        server.reuse()
        server.receive_eof()
        assert isinstance(server.next_event(), Closed)


@MANY
@given(st.sampled_from(["upgrade", "connect"]), st.binary(max_size=30), st.binary(max_size=30), MARKS)
def test_upgrades_hand_over_every_octet(kind, early, late, marks):
    client, server = ClientEngine(), ServerEngine()
    if kind == "upgrade":
        lines = [(b"Host", b"a"), (b"Upgrade", b"x"), (b"Connection", b"upgrade")]
        request = Request(b"GET", b"/", 11, section(lines))
        answer = Response(101, b"Switching Protocols", 11, section(lines[1:]))
    else:
        request = Request(b"CONNECT", b"a:1", 11, section([(b"Host", b"a:1")]))
        answer = Response(200, b"OK", 11, section([]))
    request.upgrade = b"x"
    client.send(request)
    tunnel = relay(server, client.take_output() + early, marks)
    server.send(answer)
    server.switch()
    assert server.take_rest() + tunnel == early
    tunnel = relay(client, server.take_output() + late, marks)
    assert client.receiving == SWITCHED
    assert client.take_rest() + tunnel == late


def relay(engine, data, marks):
    """Feed pieces until the message is complete; return what was not fed: a driver stops reading there."""
    pieces = cut(data, marks)
    while pieces:
        engine.receive(pieces.pop(0))
        while engine.next_event() is not None:
            pass
        if engine.receiving >= 4:
            break
    return b"".join(pieces)
