"""A small HTTP/1.1 server for the keeper: the admin socket and the metrics endpoint (RFC 9112, by our own
engine).

Answers are small and whole, so there is no streaming and no backpressure to speak of: one request at a time
on a connection, its content thrown away, the answer written in one piece. What a client can make us hold is
bounded by the number of connections, the size of a head and the time that a request may take to arrive.
"""

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast
from urllib.parse import parse_qsl, unquote

from headgate.engine.events import Closed, Data, EndOfMessage, Request, Response
from headgate.engine.h1.server import ServerEngine
from headgate.errors import HeadgateError, RemoteProtocolError
from headgate.http.fields import Fields
from headgate.tasks import Failure, spawn

# A scraper, a few terminals and a status page. Precedent: Prometheus itself serves 512, for many users.
MAX_CONNECTIONS: Final = 64
MAX_HEAD: Final = 16 * 1024
MAX_BODY: Final = 64 * 1024
# From the connection or the last answer to the end of the next request.
REQUEST_TIMEOUT: Final = 30.0
# Between two looks at the name of a socket.
LOOK_SECONDS: Final = 2.0
# sun_path of unix(7) has 108 bytes, one of them the NUL.
MAX_SOCKET_PATH: Final = 107


class AdminSocketError(HeadgateError):
    """The admin socket or the metrics port cannot be opened."""


@dataclass(frozen=True, slots=True)
class SmallRequest:
    """A request: `path` is still percent-encoded, `query` is decoded (the last of equal keys counts)."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SmallResponse:
    """An answer with its content."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[SmallRequest], Awaitable[SmallResponse]]

_REASONS: Final = {
    200: b"OK",
    202: b"Accepted",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}


def parse_request(event: Request) -> SmallRequest:
    """Split the target of a request; an absolute-form target loses its origin. Raises `ValueError`."""
    target = event.target.decode("ascii")
    if not target.startswith("/") and "://" in target:  # a query may have a URL in it, slashes and all
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    if not target.startswith("/"):
        raise ValueError(f"the target {target[:40]!r} is no path")
    path, _, query = target.partition("?")
    return SmallRequest(event.method.decode("ascii"), path, dict(parse_qsl(query, keep_blank_values=True)))


def path_name(path: str, prefix: str) -> str:
    """Return what follows `prefix` in a path, decoded; names may contain slashes, encoded or not."""
    return unquote(path[len(prefix) :], errors="strict")


class SmallServer:
    """Serves one handler on any number of sockets. `failed` hears of defects in the handler."""

    def __init__(self, handler: Handler, failed: Failure, timeout: float = REQUEST_TIMEOUT) -> None:
        self.handler = handler
        self.failed = failed
        self.timeout = timeout
        self.connections: set[SmallConnection] = set()
        self.refused = 0
        self._servers: list[asyncio.Server] = []
        self._paths: list[tuple[Path, int]] = []

    async def listen_unix(self, path: Path) -> None:
        """Listen on a Unix socket that only its owner may use. Raises `AdminSocketError`."""
        sock, inode = open_unix_socket(path)
        self._paths.append((path, inode))
        await self._listen(sock)

    async def until_lost(self, path: Path, every: float = LOOK_SECONDS) -> None:
        """Return when something has removed the name of this server's one socket; look for it each `every` seconds.

        It listens no more then, since nobody reaches it; open connections go on.
        """
        while True:
            await asyncio.sleep(every)
            if self._has_lost(path):
                return

    def _has_lost(self, path: Path) -> bool:
        """Tell whether the name is gone, and stop listening there if so."""
        if os.path.lexists(path):
            return False
        self._paths.clear()
        for server in self._servers:
            server.close()
        self._servers.clear()
        return True

    async def listen_tcp(self, host: str, port: int) -> int:
        """Listen on an address; return its port. Raises `AdminSocketError`."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(MAX_CONNECTIONS)
        except OSError as exc:
            sock.close()
            raise AdminSocketError(
                f"cannot listen on {host} port {port}: {exc.strerror} (errno {exc.errno})"
            ) from exc
        await self._listen(sock)
        return int(sock.getsockname()[1])

    async def _listen(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            self._servers.append(await loop.create_unix_server(lambda: SmallConnection(self), sock=sock))
        else:
            self._servers.append(await loop.create_server(lambda: SmallConnection(self), sock=sock))

    def close(self) -> None:
        """Stop listening, end the connections, take the socket's name away if it is still ours."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            connection.abort()
        for path, inode in self._paths:
            try:
                if path.stat().st_ino == inode:
                    path.unlink()
            except OSError:
                pass  # it is gone, or not ours any more


def open_unix_socket(path: Path) -> tuple[socket.socket, int]:
    """Bind and listen at `path` with mode 0600 from its first moment on; a dead socket there is replaced.

    Returns the socket and the inode of its name.

    Raises `AdminSocketError`, also when a living process listens there.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise AdminSocketError(
            f"{path}: the name of a socket has at most {MAX_SOCKET_PATH} bytes; set a shorter runtime_dir"
        )
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead_socket(path)
        before = os.umask(0o177)
        try:
            sock.bind(os.fspath(path))
        finally:
            os.umask(before)
        sock.listen(MAX_CONNECTIONS)
        return sock, path.stat().st_ino
    except OSError as exc:
        sock.close()
        raise AdminSocketError(f"{path}: {exc.strerror} (errno {exc.errno})") from exc
    except AdminSocketError:
        sock.close()
        raise


def _remove_dead_socket(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise AdminSocketError(f"{path} is in the way and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise AdminSocketError(f"{path}: another gate answers there; a second gate needs its own runtime_dir")


class SmallConnection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self, server: SmallServer) -> None:
        self._server = server
        self._engine = ServerEngine(MAX_HEAD)
        self._transport: asyncio.Transport | None = None
        self._request: Request | None = None
        self._body = 0
        self._busy = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods and not the base class.
        self._transport = cast(asyncio.Transport, transport)
        if len(self._server.connections) >= MAX_CONNECTIONS:
            self._server.refused += 1
            self._transport.abort()
            return
        self._server.connections.add(self)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._stop_waiting()
        self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._busy and self._transport is not None:
            self._transport.pause_reading()  # what was read stays in the engine, at most one read
        self._engine.receive(data)
        if not self._busy:
            self._advance()

    def eof_received(self) -> bool:
        self._engine.receive_eof()
        if not self._busy:
            self._advance()
        return True  # a half-closed client still gets its answer

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _wait(self) -> None:
        self._stop_waiting()
        self._timer = asyncio.get_running_loop().call_later(self._server.timeout, self._too_slow)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._server.refused += 1
        self.abort()

    def _advance(self) -> None:
        try:
            while self._transport is not None and not self._busy and not self._transport.is_closing():
                event = self._engine.next_event()
                if event is None:
                    return
                if isinstance(event, Closed):
                    self._transport.close()
                    return
                self._take(event)
        except RemoteProtocolError as exc:
            self._answer(_error(exc.code, str(exc)))

    def _take(self, event: object) -> None:
        if isinstance(event, Request):
            self._request = event
            self._body = 0
            if event.body == 0:
                self._dispatch(event)
            elif event.expect_continue:
                self._engine.send(Response(100, b"Continue", 11, Fields([], [])))
                self._flush()
        elif isinstance(event, Data):
            self._body += len(event.data)
            if self._body > MAX_BODY:
                self._engine.must_close = True
                self._answer(_error(413, f"content beyond {MAX_BODY} bytes"))
        elif isinstance(event, EndOfMessage) and self._request is not None:
            self._dispatch(self._request)

    def _dispatch(self, event: Request) -> None:
        self._busy = True
        self._stop_waiting()
        spawn("admin request", self._handle(event), self._server.failed)

    async def _handle(self, event: Request) -> None:
        try:
            response = await self._server.handler(parse_request(event))
        except ValueError as exc:
            response = _error(400, str(exc))
        except Exception as exc:
            self._answer(_error(500, "a defect in the handler; see the event log"))
            self._server.failed(f"{event!r}", exc)
            return
        self._answer(response)

    def _answer(self, response: SmallResponse) -> None:
        self._stop_waiting()
        if self._transport is None or self._transport.is_closing():
            return
        fields = Fields([], [])
        fields.add(b"content-type", response.content_type.encode("ascii"), b"Content-Type")
        fields.add(b"cache-control", b"no-store", b"Cache-Control")
        for name, value in response.headers:
            fields.add(name, value)
        head = self._request is not None and self._request.method == b"HEAD"
        body = b"" if head else response.body
        if head:
            fields.add(b"content-length", str(len(response.body)).encode(), b"Content-Length")
        reason = _REASONS.get(response.status, b"")
        self._engine.send(Response(response.status, reason, 11, fields, len(body)))
        if body:
            self._engine.send(Data(body))
            self._engine.send(EndOfMessage())
        self._flush()
        self._busy = False
        if self._engine.must_close or not self._engine.exchange_over:
            self._transport.close()
            return
        self._engine.reuse()
        self._request = None
        self._wait()
        self._transport.resume_reading()
        self._advance()

    def _flush(self) -> None:
        output = self._engine.take_output()
        if output and self._transport is not None:
            self._transport.write(output)


def _error(status: int, text: str) -> SmallResponse:
    return SmallResponse(status, text.encode("utf-8", "replace") + b"\n", "text/plain; charset=utf-8")
