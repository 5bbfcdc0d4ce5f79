"""The small server: requests, limits, the socket's mode and name. On asyncio's loop and on uvloop."""

import asyncio
import os
import socket
import stat

import pytest
import uvloop

from headgate.admin import http as admin_http
from headgate.admin.http import (
    MAX_BODY,
    MAX_CONNECTIONS,
    MAX_HEAD,
    AdminSocketError,
    SmallResponse,
    SmallServer,
    open_unix_socket,
    path_name,
)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request):
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(main):
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(asyncio.wait_for(main, 20))

    return run


class Served:
    """A server with an echoing handler, and a client's hands."""

    def __init__(self, **options):
        self.failures = []
        self.requests = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.began = asyncio.Event()
        self.server = SmallServer(self.handle, lambda name, exc: self.failures.append(exc), **options)

    async def handle(self, request):
        self.requests.append(request)
        self.began.set()
        await self.hold.wait()
        if request.path == "/defect":
            raise RuntimeError("a defect")
        return SmallResponse(200, f"{request.method} {request.path}".encode(), "text/plain")

    async def __aenter__(self):
        self.port = await self.server.listen_tcp("127.0.0.1", 0)
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def exchange(self, data, eof=False):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        if eof:
            writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def status(self, data):
        return (await self.exchange(data)).split(b" ", 2)[1]


async def ended(reader):
    """Tell whether the connection ends without an answer; a reset is an end too."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


def get(path, extra=b"Connection: close\r\n"):
    return b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n" + extra + b"\r\n"


def test_answers_and_keeps_the_connection(run):
    async def main():
        async with Served() as served:
            answer = await served.exchange(get(b"/a?x=1&y=%20", b"") + get(b"/b", b"") + get(b"/c"))
            assert [served.requests[0].path, served.requests[0].query] == ["/a", {"x": "1", "y": " "}]
            assert answer.count(b"HTTP/1.1 200 OK") == 3
            assert [a in answer for a in (b"GET /a", b"GET /b", b"GET /c")] == [True] * 3
            assert answer.count(b"Connection: close") == 1

    run(main())


def test_a_url_in_the_query_may_have_its_slashes(run):
    """RFC 3986 section 3.4; a target that begins with a scheme is in absolute form (RFC 9112 section 3.2.2)."""

    async def main():
        async with Served() as served:
            for target in (
                b"/purge?prefix=http://a.example/b/&soft=true",
                b"http://x/purge?url=http://a.example/b/",
            ):
                await served.exchange(get(target))
            assert [request.path for request in served.requests] == ["/purge", "/purge"]
            assert [request.query for request in served.requests] == [
                {"prefix": "http://a.example/b/", "soft": "true"},
                {"url": "http://a.example/b/"},
            ]

    run(main())


def test_requests_behind_a_slow_one_wait_their_turn(run):
    async def main():
        async with Served() as served:
            served.hold.clear()
            asking = asyncio.ensure_future(served.exchange(get(b"/1", b"") + get(b"/2")))
            await served.began.wait()
            assert len(served.requests) == 1
            served.hold.set()
            assert (await asking).index(b"GET /1") > 0
            assert len(served.requests) == 2

    run(main())


def test_half_closed_client_gets_its_answer(run):
    async def main():
        async with Served() as served:
            assert b"GET /a" in await served.exchange(get(b"/a", b""), eof=True)

    run(main())


def test_head_has_the_length_and_no_content(run):
    async def main():
        async with Served() as served:
            answer = await served.exchange(get(b"/a").replace(b"GET", b"HEAD"))
            assert b"\r\nContent-Length: 7\r\n" in answer
            assert b"\r\nContent-Type: " in answer
            assert answer.endswith(b"\r\n\r\n")

    run(main())


def test_content_is_thrown_away_up_to_its_limit(run):
    async def main():
        async with Served() as served:
            head = b"POST /p HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            assert await served.status(head % MAX_BODY + b"x" * MAX_BODY) == b"200"
            assert len(served.requests) == 1
            assert await served.status(head % (MAX_BODY + 1) + b"x" * (MAX_BODY + 1)) == b"413"
            assert len(served.requests) == 1

    run(main())


def test_100_continue(run):
    async def main():
        async with Served() as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
            assert b" 100 " in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"hi")
            assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()

    run(main())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /a HTTP/1.1\r\n\r\n", b"400"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"400"),
        (b"GET /a HTTP/1.1\r\nHost: x\r\nX: " + b"y" * MAX_HEAD + b"\r\n\r\n", b"431"),
        (b"GET /defect HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"500"),
    ],
)
def test_bad_requests_are_answered_and_closed(run, data, status):
    async def main():
        async with Served() as served:
            assert await served.status(data) == status
            assert (status == b"500") == bool(served.failures)

    run(main())


def test_connections_beyond_the_limit_are_closed(run):
    async def main():
        async with Served() as served:
            held = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(MAX_CONNECTIONS)]
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            assert await ended(reader)
            assert served.server.refused == 1
            for _, each in (*held, (reader, writer)):
                each.close()
            served.server.close()

    run(main())


def test_a_request_that_does_not_come_ends_the_connection(run):
    async def main():
        async with Served(timeout=0.05) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(b"GET /a HTT")
            assert await ended(reader)
            writer.close()
            assert served.server.refused == 1

    run(main())


def test_unix_socket_is_its_owners_alone_whatever_the_umask(run, tmp_path):
    path = tmp_path / "admin.sock"

    async def main():
        served = Served()
        before = os.umask(0)
        try:
            await served.server.listen_unix(path)
            assert os.umask(0) == 0
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(get(b"/a"))
        assert b"GET /a" in await reader.read()
        writer.close()
        served.server.close()
        assert not path.exists()

    run(main())


def test_a_dead_socket_is_replaced_a_living_one_and_a_file_are_not(tmp_path):
    path = tmp_path / "admin.sock"
    first, _ = open_unix_socket(path)
    with pytest.raises(AdminSocketError, match="another gate answers there"):
        open_unix_socket(path)
    first.close()
    second, inode = open_unix_socket(path)
    assert path.stat().st_ino == inode
    second.close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(AdminSocketError, match="is no socket"):
        open_unix_socket(path)
    assert path.read_text() == "precious"


def test_closing_leaves_a_name_that_belongs_to_another(run, tmp_path):
    path = tmp_path / "admin.sock"

    async def main():
        served = Served()
        await served.server.listen_unix(path)
        path.unlink()
        other, _ = open_unix_socket(path)
        other.close()
        served.server._paths[0] = (path, path.stat().st_ino + 1)
        served.server.close()
        assert path.exists()

    run(main())


def test_a_socket_whose_name_was_removed_can_be_opened_anew(run, tmp_path):
    path = tmp_path / "admin.sock"

    async def main():
        served = Served()
        await served.server.listen_unix(path)
        reader, writer = await asyncio.open_unix_connection(path)
        lost = asyncio.create_task(served.server.until_lost(path, every=0.01))
        await asyncio.sleep(0.05)
        assert not lost.done()
        path.unlink()
        await lost
        await served.server.listen_unix(path)
        again, other = await asyncio.open_unix_connection(path)
        for each, end in ((reader, writer), (again, other)):
            end.write(get(b"/a"))
            assert b"GET /a" in await each.read()
            end.close()
        served.server.close()
        assert not path.exists()

    run(main())


def test_socket_names_are_bounded(tmp_path):
    with pytest.raises(AdminSocketError, match="at most 107 bytes; set a shorter runtime_dir"):
        open_unix_socket(tmp_path / ("x" * 107))


def test_taken_port_is_named(run):
    async def main():
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            server = SmallServer(None, lambda name, exc: None)
            with pytest.raises(AdminSocketError, match=f"port {port}: .*errno 98"):
                await server.listen_tcp("127.0.0.1", port)

    run(main())


def test_names_with_slashes_in_paths():
    assert path_name("/ocsp/%2Fetc%2Fa%20b.pem", "/ocsp/") == "/etc/a b.pem"
    assert path_name("/ocsp//etc/a.pem", "/ocsp/") == "/etc/a.pem"
    with pytest.raises(ValueError):
        path_name("/ocsp/%ff", "/ocsp/")
    assert admin_http.MAX_SOCKET_PATH == 107
