"""An HTTP/2 client for tests: our own engine in client role over one blocking loop and a real socket.

    with H2Client(("127.0.0.1", port), "a.test") as client:           # TLS, ALPN h2; tls=False: prior knowledge
        client.get("/page").body
        stream, reply = client.begin("POST", "/upload")
        client.push(stream, b"content", fin=True)
        client.run_until(lambda: reply.is_over, "the answer")

Nothing runs unless one of its methods does; each has a deadline. Content is consumed as it comes, unless `reads` is
False.
"""

import select
import socket
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Data, EndOfMessage, Event, Request, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.http.fields import Fields
from headgate.testing.h3_client import Reply

PATIENCE: Final = 20.0
_LONGEST_WAIT: Final = 0.02
_READ: Final = 65536


class H2Client:
    """`replies` by stream; `goaways` are the first streams that were not looked at; `ended`: the peer has closed."""

    def __init__(
        self,
        address: tuple[str, int],
        name: str = "a.test",
        *,
        tls: bool = True,
        settings: H2Settings | None = None,
        patience: float = PATIENCE,
    ) -> None:
        self.name = name
        self.patience = patience
        self.reads = True
        self.replies: dict[int, Reply] = {}
        self.trailers: dict[int, Fields | None] = {}
        self.goaways: list[int] = []
        self.ended = False
        self._unsent = b""
        self.sock: socket.socket = socket.create_connection(address, patience)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            context.set_alpn_protocols(["h2"])
            secure = context.wrap_socket(self.sock, server_hostname=name)
            self.sock = secure
            assert secure.selected_alpn_protocol() == "h2"
        self.sock.setblocking(False)
        self.h2 = H2Connection(True, time.monotonic(), settings, b"https" if tls else b"http")

    def __repr__(self) -> str:
        return f"<H2Client {self.name} {self.h2!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- requests

    def begin(
        self,
        method: str = "GET",
        path: str = "/",
        *,
        body: int = UNKNOWN_LENGTH,
        upgrade: str = "",
        fields: dict[str, str] | None = None,
        host: str = "",
    ) -> tuple[int, Reply]:
        """Send a head, with content to follow unless `body` is 0; return its stream and what becomes its answer."""
        lines = Fields([], [])
        lines.add(b"host", (host or self.name).encode())
        for name, value in (fields or {}).items():
            lines.add(name.encode(), value.encode())
        request = Request(method.encode(), path.encode(), 20, lines, body)
        request.upgrade = upgrade.encode()
        if upgrade:
            self.run_until(lambda: self.h2.remote.connect_protocol, "the server's settings")
        self.h2.send(request)
        reply = self.replies[request.stream] = Reply()
        self.turn(0.0)
        return request.stream, reply

    def push(self, stream: int, content: bytes = b"", *, fin: bool = False) -> None:
        """Send content, and with `fin` the end of it."""
        if content:
            self.h2.send(Data(content, stream))
        if fin:
            self.h2.send(EndOfMessage(None, stream))
        self.turn(0.0)

    def get(self, path: str = "/", **options: object) -> Reply:
        """Ask and wait for the whole answer."""
        _, reply = self.begin("GET", path, body=NO_BODY, **options)  # type: ignore[arg-type]
        self.run_until(lambda: reply.is_over or self.ended, f"the answer for {path}")
        assert reply.ended, (reply, reply.failed, self.ended)
        return reply

    # -- the loop

    def run_until(self, ready: Callable[[], object], what: str, seconds: float = 0.0) -> None:
        """Carry octets until something is so. Raises `AssertionError` after `seconds`."""
        end = time.monotonic() + (seconds or self.patience)
        while not ready():
            assert time.monotonic() < end, f"waited for {what}: {self!r}"
            self.turn(_LONGEST_WAIT)

    def turn(self, wait: float) -> None:
        """Carry octets once, both ways."""
        self._send()
        if self.ended:
            return
        pending = isinstance(self.sock, ssl.SSLSocket) and self.sock.pending() > 0
        if not pending:
            select.select([self.sock], [self.sock] if self._unsent else [], [], wait)
        try:
            data = self.sock.recv(_READ)
        except (BlockingIOError, ssl.SSLWantReadError):
            data = None
        except OSError:
            data = b""
        if data == b"":
            self.ended = True
        elif data is not None:
            self.h2.receive(data, time.monotonic())
            event = self.h2.next_event()
            while event is not None:
                self._take(event)
                event = self.h2.next_event()
        self._send()

    def _send(self) -> None:
        self._unsent += self.h2.take_output(1 << 20)
        try:
            while self._unsent:
                self._unsent = self._unsent[self.sock.send(self._unsent) :]
        except (BlockingIOError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self._unsent = b""

    def _take(self, event: Event) -> None:
        if isinstance(event, GoingAway):
            self.goaways.append(event.first)
        elif isinstance(event, Response):
            reply = self.replies[event.stream]
            if event.status < 200:
                reply.interim.append(event.status)
            else:
                reply.status, reply.fields = event.status, event.fields
                reply.ended = event.body == NO_BODY
        elif isinstance(event, Data):
            self.replies[event.stream].body += event.data
            if self.reads:
                self.h2.consumed(event.stream, len(event.data))
        elif isinstance(event, EndOfMessage):
            self.replies[event.stream].ended = True
            self.trailers[event.stream] = event.trailers
        elif isinstance(event, StreamFailed):
            self.replies[event.stream].failed = event

    def close(self) -> None:
        """Let go of the socket."""
        self.sock.close()
