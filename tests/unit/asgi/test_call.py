"""The rules of ASGI's HTTP messages, each with an application that tries them, over a real socket."""

import asyncio
import socket

import pytest

from headgate.asgi import call
from headgate.counters import ASGI_CUT_SHORT, ASGI_RAISED, ASGI_RUNNING, ASGI_UNANSWERED

CLOSING = b"Host: x\r\nConnection: close\r\n\r\n"


async def lifespan(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def http(function):
    """Make an application of what handles its http scopes."""

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
        else:
            await function(scope, receive, send)

    return app


async def answer(send, body=b"", status=200, headers=(), **rest):
    await send({"type": "http.response.start", "status": status, "headers": list(headers), **rest})
    await send({"type": "http.response.body", "body": body})


async def idle(served):
    """The application has nothing more to do."""
    while served.counters.values[ASGI_RUNNING]:  # noqa: ASYNC110 - counters set no events
        await asyncio.sleep(0.001)


def split(response):
    head, _, body = response.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    fields = [(name.lower(), value) for name, _, value in (line.partition(b": ") for line in lines[1:])]
    return int(lines[0].split()[1]), dict(fields), body


def test_a_whole_answer_has_its_length(serve):
    @http
    async def app(scope, receive, send):
        await answer(send, b"hello", headers=[(b"content-type", b"text/plain"), (b"x-a", b"1")])

    status, fields, body = split(serve(app).ask())
    assert (status, body) == (200, b"hello")
    assert fields[b"content-length"] == b"5"
    assert fields[b"content-type"] == b"text/plain"
    assert fields[b"x-a"] == b"1"
    assert b"date" in fields


def test_pieces_are_chunks(serve):
    @http
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 201})
        for piece in (b"a", b"", b"bc"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    status, fields, body = split(serve(app).ask())
    assert (status, body) == (201, b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n")
    assert fields[b"transfer-encoding"] == b"chunked"


def test_the_head_waits_for_the_first_content(serve):
    go = asyncio.Event()

    @http
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await go.wait()
        raise ValueError("before anything was written")

    served = serve(app)
    with served.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + CLOSING)
        served.thread.loop.call_soon_threadsafe(go.set)
        assert b"".join(iter(lambda: sock.recv(65536), b"")).startswith(b"HTTP/1.1 500 ")


def test_a_declared_length_is_kept(serve):
    @http
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"4")]})
        await send({"type": "http.response.body", "body": b"ab", "more_body": True})
        await send({"type": "http.response.body", "body": b"cd", "more_body": True})
        await send({"type": "http.response.body"})

    status, fields, body = split(serve(app).ask())
    assert (status, body, fields[b"content-length"]) == (200, b"abcd", b"4")
    assert b"transfer-encoding" not in fields


@pytest.mark.parametrize("body", [b"abc", b"a"])
def test_a_length_that_is_not_kept_ends_the_connection(serve, body):
    errors = []

    @http
    async def app(scope, receive, send):
        try:
            await answer(send, body, headers=[(b"content-length", b"2")])
        except RuntimeError as error:
            errors.append(str(error))
            raise

    served = serve(app)
    response = served.ask()
    assert "content than its Content-Length says" in errors[0]
    assert len(split(response)[2]) < 2
    assert served.counters.values[ASGI_CUT_SHORT] == 1


def test_head_has_no_content(serve):
    @http
    async def app(scope, receive, send):
        await answer(send, b"hello")

    status, fields, body = split(serve(app).ask(b"HEAD / HTTP/1.1\r\n" + CLOSING))
    assert (status, body, fields[b"content-length"]) == (200, b"", b"5")


@pytest.mark.parametrize("status", [204, 304])
def test_answers_that_have_no_content(serve, status):
    @http
    async def app(scope, receive, send):
        await answer(send, b"nobody may see this", status)

    got, fields, body = split(serve(app).ask())
    assert (got, body) == (status, b"")
    assert b"content-length" not in fields


def test_requests_follow_each_other_on_a_connection(serve):
    @http
    async def app(scope, receive, send):
        await answer(send, scope["path"].encode())

    request = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % n for n in range(20))
    response = serve(app).ask(request + b"GET /end HTTP/1.1\r\n" + CLOSING)
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in response.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [b"/%d" % n for n in range(20)] + [b"/end"]


def test_content_of_known_length_ends_with_its_last_piece(serve):
    seen = []

    @http
    async def app(scope, receive, send):
        while True:
            message = await receive()
            seen.append(message)
            if not message["more_body"]:
                break
        await answer(send, b"ok")

    with_content = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 6\r\n\r\nabcdef"
    assert split(serve(app).ask(with_content))[2] == b"ok"
    assert seen == [{"type": "http.request", "body": b"abcdef", "more_body": False}]


def test_content_in_chunks(serve):
    seen = []

    @http
    async def app(scope, receive, send):
        body = b""
        more = True
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        seen.append(body)
        await answer(send, b"ok")

    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert split(serve(app).ask(head + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"))[2] == b"ok"
    assert seen == [b"abcdefg"]


def test_a_request_without_content_has_one_empty_piece(serve):
    seen = []

    @http
    async def app(scope, receive, send):
        seen.append(await receive())
        await answer(send)
        seen.append(await receive())

    served = serve(app)
    served.ask()
    served.thread.call(idle(served))
    assert seen == [
        {"type": "http.request", "body": b"", "more_body": False},
        {"type": "http.disconnect"},
    ]


def test_nothing_is_read_that_is_not_asked_for(serve):
    """Backpressure of uploads: an application that does not receive stops its client."""
    go = asyncio.Event()
    sizes = []

    @http
    async def app(scope, receive, send):
        await go.wait()
        more = True
        while more:
            message = await receive()
            sizes.append(len(message["body"]))
            more = message["more_body"]
        await answer(send, b"ok")

    served = serve(app)
    size = 8 * 1024 * 1024
    with served.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
        sock.settimeout(0.3)
        sent = 0
        try:
            while sent < size:
                sent += sock.send(bytes(65536))
        except TimeoutError:
            pass
        assert sent < 2 * 1024 * 1024
        served.thread.loop.call_soon_threadsafe(go.set)
        sock.settimeout(10)
        sock.sendall(bytes(size - sent))
        assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert sum(sizes) == size
    assert max(sizes) <= 256 * 1024


def test_a_client_that_does_not_read_stops_the_application(serve):
    sent = []

    @http
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        for _ in range(256):
            await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
            sent.append(65536)
        await send({"type": "http.response.body"})

    served = serve(app)
    with served.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + CLOSING)
        seen = -1
        while seen <= 0 or seen != len(sent):
            seen = len(sent)
            served.thread.call(asyncio.sleep(0.1))
        assert 0 < seen < 64
        total = 0
        while data := sock.recv(1 << 20):
            total += len(data)
    assert len(sent) == 256
    assert total > 256 * 65536


def test_continue_is_said_when_content_is_wanted(serve):
    @http
    async def app(scope, receive, send):
        message = await receive()
        await answer(send, message["body"])

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with serve(app).connect() as sock:
        sock.sendall(head)
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"abc")
        assert b"".join(iter(lambda: sock.recv(65536), b"")).endswith(b"\r\n\r\nabc")


def test_continue_is_not_said_when_it_is_not(serve):
    @http
    async def app(scope, receive, send):
        await answer(send, b"no", 403)

    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with serve(app).connect() as sock:
        sock.sendall(head)
        assert sock.recv(65536).startswith(b"HTTP/1.1 403 ")


def test_a_client_that_leaves_is_told_to_receive_and_send(serve):
    seen = []
    waiting, done = asyncio.Event(), asyncio.Event()

    @http
    async def app(scope, receive, send):
        await receive()
        waiting.set()
        seen.append(await receive())
        try:
            await answer(send, b"too late")
        except OSError as error:
            seen.append(type(error).__name__)
        done.set()

    served = serve(app)
    with served.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + CLOSING)
        served.thread.call(waiting.wait())
    served.thread.call(done.wait())
    assert seen == [{"type": "http.disconnect"}, "ClientGone"]
    assert served.events == []


def test_a_client_that_leaves_wakes_a_send_that_waits(serve):
    done = asyncio.Event()

    @http
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
        except OSError:
            done.set()

    served = serve(app)
    with served.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + CLOSING)
        sock.recv(100)
    served.thread.call(done.wait())


@pytest.mark.parametrize("begun", [False, True])
def test_an_application_that_raises(serve, begun):
    @http
    async def app(scope, receive, send):
        if begun:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        raise ValueError("no such thing")

    served = serve(app)
    response = served.ask()
    if begun:
        assert response.endswith(b"3\r\nabc\r\n")  # without a last chunk
    else:
        assert split(response)[::2] == (500, b"500 Internal Server Error\napp-error\n")
    [(name, fields)] = served.events
    assert name == "app-error"
    assert fields["error"].startswith("ValueError: no such thing (asgi/test_call.py:")
    assert fields["traceback"][-1] == "ValueError: no such thing"
    assert served.counters.values[ASGI_RAISED] == 1
    assert served.counters.values[ASGI_RUNNING] == 0


@pytest.mark.parametrize("messages", [0, 1, 2])
def test_an_application_that_does_not_finish(serve, messages):
    @http
    async def app(scope, receive, send):
        if messages > 0:
            await send({"type": "http.response.start", "status": 200})
        if messages > 1:
            await send({"type": "http.response.body", "body": b"abc", "more_body": True})

    served = serve(app)
    response = served.ask()
    if messages < 2:
        assert split(response)[::2] == (500, b"500 Internal Server Error\napp-no-answer\n")
        assert served.counters.values[ASGI_UNANSWERED] == 1
    else:
        assert response.endswith(b"3\r\nabc\r\n")
        assert served.counters.values[ASGI_CUT_SHORT] == 1


@pytest.mark.parametrize(
    "message",
    [
        {"type": "http.response.body", "body": b"without a start"},
        {"type": "http.response.trailers"},
        {"type": "http.no.such.thing"},
        {"type": "http.response.start", "status": 101},
        {"type": "http.response.start", "status": "200"},
        {"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nx-injected: 1")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"x y", b"a")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"", b"a")]},
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"-1")]},
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"1"), (b"content-length", b"2")],
        },
    ],
)
def test_what_is_out_of_turn_or_no_http_is_an_error_of_the_application(serve, message):
    @http
    async def app(scope, receive, send):
        await send(message)

    served = serve(app)
    assert split(served.ask())[0] == 500
    assert "RuntimeError" in served.events[0][1]["error"]


def test_a_start_may_not_come_twice(serve):
    @http
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.start", "status": 200})

    assert split(serve(app).ask())[0] == 500


def test_what_comes_after_the_end_is_ignored(serve):
    seen = []

    @http
    async def app(scope, receive, send):
        await answer(send, b"one")
        await answer(send, b"two")
        seen.append(await receive())

    served = serve(app)
    assert split(served.ask())[2] == b"one"
    served.thread.call(idle(served))
    assert served.events == []
    assert seen == [{"type": "http.disconnect"}]


def test_what_belongs_to_the_connection_is_not_the_applications(serve):
    @http
    async def app(scope, receive, send):
        await answer(
            send,
            b"abc",
            headers=[(b"transfer-encoding", b"chunked"), (b"connection", b"x-a"), (b"upgrade", b"x")],
        )

    _, fields, body = split(serve(app).ask())
    assert body == b"abc"
    assert fields.get(b"transfer-encoding") is None
    assert fields[b"connection"] == b"close"
    assert b"upgrade" not in fields


def test_trailers(serve):
    @http
    async def app(scope, receive, send):
        assert "http.response.trailers" in scope["extensions"]
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"abc"})
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True})
        await send(
            {"type": "http.response.trailers", "headers": [(b"x-more", b"2"), (b"content-length", b"9")]}
        )

    assert split(serve(app).ask())[2] == b"3\r\nabc\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n"


def test_trailers_have_no_place_without_chunks(serve):
    @http
    async def app(scope, receive, send):
        await answer(send, b"abc", headers=[(b"content-length", b"3")], trailers=True)
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    assert split(serve(app).ask())[2] == b"abc"


def test_an_old_client_gets_content_up_to_the_end(serve):
    @http
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        await send({"type": "http.response.body", "body": b"def"})

    assert split(serve(app).ask(b"GET / HTTP/1.0\r\n\r\n"))[2] == b"abcdef"


def test_content_that_nobody_received_does_not_stop_the_next_request(serve):
    @http
    async def app(scope, receive, send):
        await answer(send, scope["path"].encode())

    request = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde"
    response = serve(app).ask(request + b"GET /b HTTP/1.1\r\n" + CLOSING)
    assert response.count(b"HTTP/1.1 200") == 2
    assert response.endswith(b"/b")


def test_work_after_the_answer_goes_on(serve):
    done = asyncio.Event()

    @http
    async def app(scope, receive, send):
        await answer(send, b"ok")
        await asyncio.sleep(0.05)
        done.set()

    served = serve(app)
    assert split(served.ask())[2] == b"ok"
    served.thread.call(done.wait())


def test_two_may_wait_at_once(serve):
    """Frameworks listen for the end of the client beside what they do."""

    @http
    async def app(scope, receive, send):
        await receive()
        watcher = asyncio.create_task(receive())
        other = asyncio.create_task(receive())
        await asyncio.sleep(0)
        other.cancel()
        await answer(send, b"ok")
        assert (await watcher)["type"] == "http.disconnect"

    served = serve(app)
    assert split(served.ask())[2] == b"ok"
    served.stop()
    served.host.stop = lambda: asyncio.sleep(0)
    assert served.events == []


def test_a_half_closed_client_gets_its_answer(serve):
    @http
    async def app(scope, receive, send):
        await asyncio.sleep(0.01)
        await answer(send, b"ok")

    with serve(app).connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n" + CLOSING)
        sock.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: sock.recv(65536), b"")).endswith(b"ok")


def test_names_that_are_remembered_are_bounded():
    for number in range(call.MAX_NAMES + 10):
        fields, _ = call.read_fields([(b"x-%d" % number, b"1")])
        assert fields.lines == [b"x-%d: 1" % number]
    assert len(call._names) == call.MAX_NAMES
