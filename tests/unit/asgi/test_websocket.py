"""WebSockets of an application, with a client of another make."""

import asyncio
import base64
import contextlib
import os
import socket
import struct
import time

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import unix_connect

from headgate.asgi.websocket import MAX_FRAMES
from headgate.counters import (
    ASGI_BAD_FRAME,
    ASGI_MESSAGE_TOO_BIG,
    ASGI_RUNNING,
    ASGI_SILENT,
    ASGI_UNANSWERED,
    ASGI_WEBSOCKETS,
    CONNECTIONS_OPEN,
)

LIMIT = 100_000


def websocket(function):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            raise RuntimeError("no lifespan here")
        await function(scope, receive, send)

    return app


@websocket
async def echo(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


@pytest.fixture
def echoing(serve):
    return serve(echo, websocket_message=LIMIT)


def connect(served, **options):
    return unix_connect(str(served.path), "ws://shop.example/chat", compression=None, **options)


def test_messages_both_ways(echoing):
    with connect(echoing) as sock:
        for message in ("hello", "", "grüße", b"\x00\xff", b"", "x" * 70_000, b"y" * LIMIT):
            sock.send(message)
            assert sock.recv(10) == message
        assert echoing.counters.values[ASGI_WEBSOCKETS] == 1
    echoing.thread.call(_until(lambda: echoing.counters.values[ASGI_RUNNING] == 0))
    assert echoing.counters.values[ASGI_WEBSOCKETS] == 0
    assert [name for name, _ in echoing.events] == ["app-without-lifespan"]


async def _until(true):
    while not true():  # noqa: ASYNC110 - counters set no events
        await asyncio.sleep(0.01)


def test_fragments_are_one_message(echoing):
    with connect(echoing) as sock:
        sock.send(["ab", "", "cde"])
        assert sock.recv(10) == "abcde"


def test_many_messages_at_once_come_in_order(echoing):
    with connect(echoing) as sock:
        sock.send("".join(map(str, range(100))))
        for number in range(100):
            sock.send(str(number))
        sock.recv(10)
        assert [sock.recv(10) for _ in range(100)] == [str(number) for number in range(100)]


@pytest.mark.parametrize("pieces", [[b"y" * (LIMIT + 1)], [b"y" * LIMIT, b"y"]])
def test_limit_of_a_message(echoing, pieces):
    """At the limit: test_messages_both_ways."""
    with connect(echoing) as sock:
        with contextlib.suppress(ConnectionClosed):
            sock.send(pieces)  # whose last octets may meet the end already
        with pytest.raises(ConnectionClosed) as closed:
            sock.recv(10)
    assert closed.value.rcvd.code == 1009
    assert echoing.counters.values[ASGI_MESSAGE_TOO_BIG] == 1


def test_what_a_client_still_sends_does_not_overtake_our_close(echoing):
    """RFC 9112 section 9.6, and the same for a WebSocket: closing on octets that nobody has read is a reset."""
    with _handshake(echoing) as sock:
        sock.settimeout(10)
        head = b"\x82\xff" + struct.pack(">Q", LIMIT + 1) + bytes(4)
        sock.sendall(head + bytes(LIMIT + 1) + bytes(4 * LIMIT))
        data = b"".join(iter(lambda: sock.recv(1000), b""))
        sock.sendall(bytes(LIMIT))  # is read away
    assert data[:4] == b"\x88\x11\x03\xf1"  # 1009, message-too-big
    echoing.thread.call(_until(lambda: echoing.counters.values[CONNECTIONS_OPEN] == 0))


def test_a_client_that_never_ends_is_not_waited_for_longer(echoing):
    with _handshake(echoing) as sock:
        sock.settimeout(10)
        sock.sendall(b"\x81\x01a")  # not masked
        while sock.recv(1000):
            pass
        echoing.thread.call(_until(lambda: echoing.counters.values[CONNECTIONS_OPEN] == 0))


def test_pings_are_answered(echoing):
    with connect(echoing) as sock:
        assert sock.ping().wait(10)


def test_a_silent_client_is_pinged_and_given_up(echoing):
    echoing.host.hosted.websockets.silence = 0.1
    with connect(echoing) as sock:
        # It answers by itself, for as long as somebody reads.
        with pytest.raises(TimeoutError):
            sock.recv(1.5)
        sock.send("still here")
        assert sock.recv(10) == "still here"
    raw = _handshake(echoing)
    data = b"".join(iter(lambda: raw.recv(1000), b""))
    raw.close()
    assert data == b"\x89\x00"
    assert echoing.counters.values[ASGI_SILENT] == 1


def _handshake(served):
    sock = served.connect()
    key = base64.b64encode(os.urandom(16))
    sock.sendall(
        b"GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")
    return sock


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x01a", 1002),  # RFC 6455 section 5.1: not masked
        (b"\x83\x80abcd", 1002),  # section 5.2: an opcode that is reserved
        (b"\xc1\x80abcd", 1002),  # section 5.2: RSV1 without an extension
        (b"\x89\xfe\x00\x7eabcd" + bytes(126), 1002),  # section 5.5: a control frame of 126 octets
        (b"\x80\x80abcd", 1002),  # section 5.4: a continuation of nothing
        (b"\x81\x81\x00\x00\x00\x00\xff", 1007),  # section 8.1: not UTF-8
    ],
)
def test_frames_that_break_the_rules_close(echoing, frame, code):
    with _handshake(echoing) as sock:
        sock.sendall(frame)
        data = b"".join(iter(lambda: sock.recv(1000), b""))
    assert data[0] == 0x88
    assert struct.unpack(">H", data[2:4])[0] == code
    assert echoing.counters.values[ASGI_BAD_FRAME] == 1


def test_the_clients_close_reaches_the_application(serve):
    seen = []
    done = asyncio.Event()

    @websocket
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        seen.append(await receive())
        with pytest.raises(OSError):
            await send({"type": "websocket.send", "text": "too late"})
        done.set()

    served = serve(app)
    with connect(served) as sock:
        sock.close(4001, "bye")
    served.thread.call(asyncio.wait_for(done.wait(), 5))
    assert seen == [{"type": "websocket.disconnect", "code": 4001, "reason": "bye"}]


def test_a_client_that_just_leaves(serve):
    seen = []
    done = asyncio.Event()

    @websocket
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        seen.append(await receive())
        try:
            await send({"type": "websocket.send", "text": "too late"})
        except OSError:
            done.set()

    served = serve(app)
    _handshake(served).close()
    served.thread.call(done.wait())
    assert seen == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


@pytest.mark.parametrize(
    ("message", "code", "reason"), [({}, 1000, ""), ({"code": 4003, "reason": "enough"}, 4003, "enough")]
)
def test_the_application_closes(serve, message, code, reason):
    seen = []

    @websocket
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "last words"})
        await send({"type": "websocket.close", **message})
        seen.append((await receive())["type"])

    served = serve(app)
    with connect(served) as sock:
        assert sock.recv(10) == "last words"
        with pytest.raises(ConnectionClosed) as closed:
            sock.recv(10)
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
    assert seen == ["websocket.disconnect"]


@pytest.mark.parametrize(("raises", "code"), [(False, 1000), (True, 1011)])
def test_an_application_that_ends_closes(serve, raises, code):
    @websocket
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        if raises:
            raise ValueError("no")

    with connect(serve(app)) as sock, pytest.raises(ConnectionClosed) as closed:
        sock.recv(10)
    assert closed.value.rcvd.code == code


def test_scope_subprotocols_and_headers(serve):
    scopes = []

    @websocket
    async def app(scope, receive, send):
        scopes.append(scope)
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1")]})

    with connect(serve(app), subprotocols=["a", "b"]) as sock:
        assert sock.subprotocol == "b"
        assert sock.response.headers["x-a"] == "1"
    [scope] = scopes
    assert (scope["type"], scope["scheme"], scope["path"]) == ("websocket", "ws", "/chat")
    assert scope["subprotocols"] == ["a", "b"]
    assert "method" not in scope


def test_a_close_before_accept_is_403(serve):
    @websocket
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.close"})
        assert (await receive())["type"] == "websocket.disconnect"

    with pytest.raises(InvalidStatus) as refused:
        connect(serve(app))
    assert refused.value.response.status_code == 403


def test_denied_in_its_own_words(serve):
    @websocket
    async def app(scope, receive, send):
        assert "websocket.http.response" in scope["extensions"]
        await receive()
        await send({"type": "websocket.http.response.start", "status": 402, "headers": [(b"x-a", b"1")]})
        await send({"type": "websocket.http.response.body", "body": b"pay", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b" first"})
        assert (await receive())["type"] == "websocket.disconnect"

    served = serve(app)
    with pytest.raises(InvalidStatus) as refused:
        connect(served)
    response = refused.value.response
    assert (response.status_code, response.headers["x-a"], response.body) == (402, "1", b"pay first")


@pytest.mark.parametrize("raises", [False, True])
def test_neither_accepted_nor_denied(serve, raises):
    @websocket
    async def app(scope, receive, send):
        await receive()
        if raises:
            raise ValueError("no")

    served = serve(app)
    with pytest.raises(InvalidStatus) as refused:
        connect(served)
    assert refused.value.response.status_code == 500
    assert served.counters.values[ASGI_UNANSWERED] == 1


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n", 426),
        (b"Sec-WebSocket-Version: 13\r\n", 400),
        (b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n", 400),
    ],
)
def test_rfc6455_section_4_2_1_handshakes_that_are_none(echoing, lines, status):
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" + lines + b"\r\n"
    with echoing.connect() as sock:
        sock.sendall(request)
        response = sock.recv(10_000)
    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert (b"sec-websocket-version: 13" in response) == (status == 426)


@pytest.mark.parametrize("message", [{"type": "websocket.send", "text": "x"}, {"type": "websocket.no"}])
def test_out_of_turn_before_accept(serve, message):
    @websocket
    async def app(scope, receive, send):
        await send(message)

    with pytest.raises(InvalidStatus) as refused:
        connect(serve(app))
    assert refused.value.response.status_code == 500


@pytest.mark.parametrize("body", [{}, {"text": "a", "bytes": b"b"}])
def test_a_message_is_text_or_octets(serve, body):
    @websocket
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", **body})

    with connect(serve(app)) as sock, pytest.raises(ConnectionClosed) as closed:
        sock.recv(10)
    assert closed.value.rcvd.code == 1011


def test_a_client_that_does_not_read_stops_the_application(serve):
    sent = []

    @websocket
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        for _ in range(256):
            await send({"type": "websocket.send", "bytes": bytes(65536)})
            sent.append(1)

    served = serve(app)
    with _handshake(served) as sock:
        seen = -1
        while seen <= 0 or seen != len(sent):
            seen = len(sent)
            served.thread.call(asyncio.sleep(0.1))
        assert 0 < seen < 64
        total = 0
        while data := sock.recv(1 << 20):
            total += len(data)
    assert total > 256 * 65536


def test_an_application_that_does_not_receive_stops_its_client(serve):
    go = asyncio.Event()
    got = []

    @websocket
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            got.append(len(message["bytes"]))

    served = serve(app)
    frame = b"\x82\xfe\xff\xff\x00\x00\x00\x00" + bytes(65535)
    with _handshake(served) as sock:
        sock.settimeout(0.3)
        sent = 0
        try:
            while sent < 400:
                sock.sendall(frame)
                sent += 1
        except TimeoutError:
            pass
        assert sent < 64
        served.thread.loop.call_soon_threadsafe(go.set)
        served.thread.call(_until(lambda: len(got) >= sent))


def test_what_comes_behind_the_handshake_is_not_lost(echoing):
    key = base64.b64encode(os.urandom(16))
    with echoing.connect() as sock:
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
            b"\x81\x82\x00\x00\x00\x00hi"
        )
        data = b""
        while not data.endswith(b"\x81\x02hi"):
            piece = sock.recv(1000)
            assert piece
            data += piece


def test_a_stop_tells_the_clients(serve):
    served = serve(echo)
    with connect(served) as sock:
        sock.send("x")
        assert sock.recv(10) == "x"
        served.stop()
        with pytest.raises(ConnectionClosed) as closed:
            sock.recv(10)
    assert closed.value.rcvd.code == 1001
    served.stop = lambda: None


def test_half_closed_is_over(echoing):
    with _handshake(echoing) as sock:
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1000) == b""


PING = b"\x89\xfd\x00\x00\x00\x00" + bytes(125)


def test_a_client_that_pings_and_does_not_read_is_stopped(echoing):
    with _handshake(echoing) as sock:
        sock.settimeout(0.3)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 200_000 * len(PING):
                sent += sock.send((PING * 1000)[sent % len(PING) :])
        assert sent < 50_000 * len(PING)
        sock.settimeout(10)
        expected = sent // len(PING) * 127
        while expected > 0:  # and goes on when it reads
            expected -= len(sock.recv(1 << 20))
        assert expected == 0


@pytest.mark.parametrize("frame", [PING, b"\x81\x80abcd", b"\x82\xfe\x10\x00\x00\x00\x00\x00" + bytes(4096)])
def test_a_client_that_never_reads_is_given_up(echoing, frame):
    echoing.host.hosted.websockets.silence = 0.2
    until = time.monotonic() + 20
    with _handshake(echoing) as sock, contextlib.suppress(ConnectionError):
        while time.monotonic() < until:
            sock.sendall(frame * 100)
    assert echoing.counters.values[ASGI_SILENT] == 1


@pytest.mark.parametrize("beyond", [False, True])
def test_frames_of_a_message_are_bounded(echoing, beyond):
    frames = b"\x01\x80abcd" + b"\x00\x80abcd" * (MAX_FRAMES - 2 + beyond) + b"\x80\x80abcd"
    with _handshake(echoing) as sock:
        sock.sendall(frames)
        data = sock.recv(1000)
    if beyond:
        assert data[0] == 0x88
        assert struct.unpack(">H", data[2:4])[0] == 1009
    else:
        assert data == b"\x81\x00"
    assert echoing.counters.values[ASGI_MESSAGE_TOO_BIG] == beyond


def test_one_message_waits_and_the_others_are_not_looked_at(serve):
    seen = []

    @websocket
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] == "websocket.receive":
            seen.append(served.counters.values[ASGI_BAD_FRAME])

    served = serve(app)
    with _handshake(served) as sock:
        sock.sendall(b"\x81\x80abcd" * 1000 + b"\x83\x80abcd")
        assert sock.recv(1000)[0] == 0x88
    assert len(seen) == 1000
    assert not any(seen[:-1])


@websocket
async def closes(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close"})


def test_rfc6455_section_5_5_1_nothing_follows_our_close(serve):
    served = serve(closes)
    with _handshake(served) as sock:
        assert sock.recv(4) == b"\x88\x02\x03\xe8"
        sock.sendall(PING + b"\x88\x82\x00\x00\x00\x00\x03\xe8")
        assert sock.recv(1000) == b""
    assert [name for name, _ in served.events] == ["app-without-lifespan"]


def test_a_client_that_talks_on_does_not_put_off_the_end(serve):
    until = time.monotonic() + 8
    with _handshake(serve(closes)) as sock:
        assert sock.recv(4) == b"\x88\x02\x03\xe8"
        sock.settimeout(0.1)
        ended = False
        while not ended and time.monotonic() < until:
            try:
                sock.sendall(b"\x8a\x80abcd")
                ended = sock.recv(1) == b""
            except TimeoutError:
                continue
            except ConnectionError:
                ended = True
        assert ended


@pytest.mark.parametrize("subprotocol", ["a\r\nX-Bad: 1", "c", "", "a, b"])
def test_a_subprotocol_that_was_not_offered_is_the_applications_error(serve, subprotocol):
    @websocket
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept", "subprotocol": subprotocol})

    with pytest.raises(InvalidStatus) as refused:
        connect(serve(app), subprotocols=["a", "b"])
    assert refused.value.response.status_code == 500
    assert "x-bad" not in refused.value.response.headers
