"""An application's process: its socket, its start and its end."""

import asyncio
import os
import socket
import stat
import time

import pytest

from headgate.asgi.application import ApplicationError
from headgate.asgi.host import MAX_HEAD, MAX_LINES, bind_socket


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


def test_the_socket_is_for_its_owner_alone(serve):
    mode = os.stat(serve(app).path).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_the_socket_of_a_dead_one_is_replaced(tmp_path):
    bind_socket(tmp_path / "app.sock").close()
    with bind_socket(tmp_path / "app.sock") as sock, socket.socket(socket.AF_UNIX) as client:
        sock.listen()
        client.connect(str(tmp_path / "app.sock"))


def told(served, name):
    """Wait for an event; return its fields."""
    deadline = time.monotonic() + 20
    while not (found := [fields for event, fields in served.events if event == name]):
        assert time.monotonic() < deadline, f"no {name}: {served.events}"
        time.sleep(0.02)
    return found[0]


def test_a_socket_that_was_removed_is_bound_anew_and_its_connections_go_on(serve):
    served = serve(app)
    with served.connect() as sock:
        served.path.unlink()
        assert told(served, "app-socket-bound")["address"] == str(served.path)
        assert served.ask(b"GET /new HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").endswith(b"/new")
        sock.sendall(b"GET /old HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"".join(iter(lambda: sock.recv(65536), b"")).endswith(b"/old")
    assert stat.S_IMODE(served.path.stat().st_mode) == 0o600


def test_one_that_cannot_be_bound_anew_is_told(serve, tmp_path):
    served = serve(app)
    aside = tmp_path.with_name(tmp_path.name + "-aside")
    tmp_path.rename(aside)
    try:
        fields = told(served, "app-socket-lost")
    finally:
        aside.rename(tmp_path)
    assert fields["reason"] == "it was removed: No such file or directory (errno 2)"
    assert fields["next"].endswith("another try in 10 s")
    assert served.ask().endswith(b"/")


def test_a_failed_start_leaves_no_socket(serve, tmp_path):
    async def fails(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})

    with pytest.raises(ApplicationError, match="no database"):
        serve(fails)
    assert not (tmp_path / "app.sock").exists()


def test_a_stop_finishes_what_is_under_way(serve):
    go = asyncio.Event()
    began = asyncio.Event()

    async def slow(scope, receive, send):
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        began.set()
        await go.wait()
        await app(scope, receive, send)

    served = serve(slow)
    with served.connect() as sock:
        sock.sendall(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
        served.thread.call(began.wait())
        stopping = asyncio.run_coroutine_threadsafe(served.host.stop(), served.thread.loop)
        while served.path.exists():
            served.thread.call(asyncio.sleep(0.001))
        served.thread.loop.call_soon_threadsafe(go.set)
        stopping.result(10)
        response = b"".join(iter(lambda: sock.recv(65536), b""))
    assert response.endswith(b"/late")
    assert b"Connection: close" in response
    served.stop = lambda: None


def test_a_stop_does_not_wait_for_ever(serve):
    cancelled = []

    async def hangs(scope, receive, send):
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    served = serve(hangs, stop_timeout=0.1)
    with served.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not served.host.hosted.calls:
            served.thread.call(asyncio.sleep(0.001))
        served.thread.call(asyncio.sleep(0.01))
        served.stop()
        assert b"500" in sock.recv(1000)
    served.stop = lambda: None
    assert cancelled == [True]
    assert served.events[-1][0] == "app-calls-cut"


@pytest.mark.parametrize(("size", "status"), [(MAX_HEAD, 200), (MAX_HEAD + 1, 431)])
def test_limit_of_the_head(serve, size, status):
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close"
    while len(head) < size - 10_000:
        head += b"\r\nx: " + b"a" * 8000
    head += b"\r\nx: "
    head += b"a" * (size - len(head))
    response = serve(app).ask(head + b"\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(("count", "status"), [(MAX_LINES, 200), (MAX_LINES + 1, 431)])
def test_limit_of_fields(serve, count, status):
    lines = b"".join(b"x-%d: 1\r\n" % number for number in range(count - 2))
    response = serve(app).ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lines + b"\r\n")
    assert response.startswith(b"HTTP/1.1 %d " % status)
