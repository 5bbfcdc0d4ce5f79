"""An HTTP/3 client for tests: our own engine in client role over one blocking loop and a real socket.

    with H3Client(("127.0.0.1", port), "a.test") as client:
        client.shake()
        client.chain[0], client.staple            # DER, as the handshake brought them
        client.get("/page").body
        client.rebind()                           # another local port, as after a NAT has forgotten us

It believes every certificate, and keeps what it was shown: what is on the wire is what tests ask about. Nothing runs
unless one of its methods does; each has a deadline, and `run_until` waits for whatever a test wants.
"""

import os
import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from headgate.engine.events import NO_BODY, Data, EndOfMessage, Event, Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.engine.quic.closing import CloseReason, State
from headgate.engine.quic.connection import QuicConnection, connect
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.settings import ClientSettings, Session
from headgate.http.fields import Fields
from headgate.net.udp import RECEIVE_BUFFER, UdpSocket

PATIENCE: Final = 20.0
_LONGEST_WAIT: Final = 0.02


class Reply:
    """What came on one stream so far; `failed` when it was cut short."""

    def __init__(self) -> None:
        self.status = 0
        self.fields = Fields([], [])
        self.body = b""
        self.ended = False
        self.failed: StreamFailed | None = None
        self.interim: list[int] = []

    def __repr__(self) -> str:
        return f"<Reply {self.status}, {len(self.body)} octets{'' if self.ended else ' so far'}>"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.ended or self.failed is not None

    def get(self, name: str) -> str | None:
        """Return the first value of a field."""
        value = self.fields.get(name.encode())
        return None if value is None else value.decode("latin-1")


class H3Client:
    """One connection to `address`, asking for `name`."""

    def __init__(
        self,
        address: tuple[str, int],
        name: str,
        *,
        session: Session | None = None,
        early: bool = False,
        token: bytes = b"",
        settings: ConnectionSettings | None = None,
        patience: float = PATIENCE,
        **tls: object,
    ) -> None:
        """Begin to shake hands; `tls` goes to `ClientSettings` (`alpn`, `ask_staple`, `credential`, …).

        With `early`, a session that allows it is asked with at once."""
        self.address = address
        self.name = name
        self.patience = patience
        self.chain: tuple[bytes, ...] = ()
        self.staple = b""
        self.replies: dict[int, Reply] = {}
        self.goaway: int | None = None
        self.h3: H3Connection | None = None
        self.local_port = 0
        self._udp = self._socket()
        self._unwritten: list[tuple[int, bytes, bool]] = []
        self._buffer = bytearray(RECEIVE_BUFFER)
        self.quic: QuicConnection = connect(
            ClientSettings(server_name=name.encode(), verify=self._believe, **tls),  # type: ignore[arg-type]
            settings or ConnectionSettings(),
            os.urandom,
            time.monotonic(),
            time.time(),
            peer=address,
            session=session,
            token=token,
            early=early,
        )

    def __repr__(self) -> str:
        return f"<H3Client of {self.name} {self.quic!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _socket(self) -> UdpSocket:
        family = socket.AF_INET6 if ":" in self.address[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("::1" if ":" in self.address[0] else "127.0.0.1", 0))
        self.local_port = sock.getsockname()[1]
        return UdpSocket(sock)

    def _believe(self, chain: tuple[bytes, ...], _name: bytes, staple: bytes) -> None:
        self.chain, self.staple = chain, staple

    # -- what tests do

    @property
    def end(self) -> CloseReason | None:
        """Return why the connection ended, None while it stands."""
        return self.quic.end

    @property
    def is_resumed(self) -> bool:
        """Whether the handshake resumed a session."""
        tls = self.quic.tls
        assert isinstance(tls, ClientHandshake)
        return tls.resumed

    def take_sessions(self) -> list[Session]:
        """Return the sessions that the server gave us since."""
        tls = self.quic.tls
        assert isinstance(tls, ClientHandshake)
        return tls.take_sessions()

    def shake(self) -> Self:
        """Finish the handshake. Raises `AssertionError` when it fails."""
        self.run_until(lambda: self.quic.is_complete or self.quic.end is not None, "the handshake")
        assert self.quic.end is None, self.quic.end
        return self

    def ask(
        self, path: str = "/", *, method: str = "GET", fields: dict[str, str] | None = None, host: str = ""
    ) -> Reply:
        """Send a request without content; return what will become its answer."""
        if self.h3 is None and not self.quic.may_use_streams():
            self.shake()
        if self.h3 is None:
            self._begin_h3()
        h3 = self.h3
        assert h3 is not None
        stream = self.quic.streams.open(is_uni=False)
        lines = Fields([], [])
        lines.add(b"host", (host or self.name).encode())
        for name, value in (fields or {}).items():
            lines.add(name.encode(), value.encode())
        h3.send(Request(method.encode(), path.encode(), 30, lines, NO_BODY, stream=stream))
        reply = self.replies[stream] = Reply()
        self._down()  # into the first flight, where it is early
        self.turn(0.0)
        return reply

    def get(self, path: str = "/", **options: object) -> Reply:
        """Ask and wait for the whole answer."""
        reply = self.ask(path, **options)  # type: ignore[arg-type]
        self.run_until(lambda: reply.is_over or self.quic.end is not None, f"the answer for {path}")
        assert reply.ended, (reply, reply.failed, self.quic.end)
        return reply

    def rebind(self) -> None:
        """Go on from another port."""
        self._udp.close()
        self._udp = self._socket()

    def run_until(self, ready: Callable[[], object], what: str, seconds: float = 0.0) -> None:
        """Carry packets until something is so. Raises `AssertionError` after `seconds`."""
        end = time.monotonic() + (seconds or self.patience)
        while not ready():
            assert time.monotonic() < end, f"waited for {what}: {self!r}"
            self.turn(_LONGEST_WAIT)

    def run(self, seconds: float) -> None:
        """Carry packets for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.turn(_LONGEST_WAIT)

    def close(self) -> None:
        """Say goodbye and let go of the socket."""
        if self.quic.state is State.OPEN:
            self.quic.close(0x100, "", time.monotonic())
            self._send(time.monotonic())
        self._udp.close()

    # -- the loop

    def turn(self, wait: float) -> None:
        """Read what is there, or wait a little for it; do all that follows; write."""
        quic = self.quic
        self._send(time.monotonic())
        now = time.monotonic()
        deadline = min(quic.deadline(), now + wait)
        # No selector: the descriptor is one, and its number may be another in each turn.
        while (size := self._udp.receive(self._buffer)) < 0:
            now = time.monotonic()
            if now >= deadline:
                break
            time.sleep(min(0.001, deadline - now))
        now = time.monotonic()
        while size >= 0:
            if size:
                data = bytes(memoryview(self._buffer)[:size])
                quic.receive_batch(data, self._udp.segment, self.address, self._udp.local, self._udp.ecn, now)
            size = self._udp.receive(self._buffer)
        if now >= quic.deadline():
            quic.on_deadline(now)
        if quic.state is State.OPEN and (quic.may_use_streams() or self.h3 is not None):
            if self.h3 is None:
                self._begin_h3()
            self._up(now)
            self._down()
        self._send(now)

    def _begin_h3(self) -> None:
        self.h3 = H3Connection(True, time.monotonic())
        for _ in range(3):
            self.quic.streams.open(is_uni=True)

    def _send(self, now: float) -> None:
        while (batch := self.quic.take_batch(now)) is not None:
            self._udp.send(memoryview(batch.data), batch.segment, self.address, b"", batch.ecn)

    def _up(self, now: float) -> None:
        h3, quic = self.h3, self.quic
        assert h3 is not None
        for stream, code in quic.resets:
            h3.receive_reset(stream, code, now)
        for stream, code in quic.stops:
            h3.receive_stop(stream, code)
        quic.resets.clear()
        quic.stops.clear()
        for stream, piece, fin in quic.streams.take_arrived():
            h3.receive_stream(stream, bytes(piece), fin, now)
        while (event := h3.next_event()) is not None:
            self._take(event)
        for stream, count in h3.take_consumed():
            quic.streams.consumed(stream, count)

    def _take(self, event: Event) -> None:
        if isinstance(event, GoingAway):
            self.goaway = event.first
        elif isinstance(event, Response):
            reply = self.replies[event.stream]
            if event.status < 200:
                reply.interim.append(event.status)
            else:
                reply.status, reply.fields = event.status, event.fields
                reply.ended = event.body == 0
        elif isinstance(event, Data):
            self.replies[event.stream].body += event.data
            self.quic.streams.consumed(event.stream, len(event.data))
        elif isinstance(event, EndOfMessage):
            self.replies[event.stream].ended = True
        elif isinstance(event, StreamFailed):
            self.replies[event.stream].failed = event

    def _down(self) -> None:
        h3, streams = self.h3, self.quic.streams
        assert h3 is not None
        streams.take_writable()
        waiting = self._unwritten + h3.take_writes()
        self._unwritten = []
        blocked: set[int] = set()
        for stream, data, fin in waiting:
            if stream not in streams.table:
                continue
            taken = 0 if stream in blocked else streams.write(stream, data, fin=fin)
            if stream in blocked or taken < len(data):
                blocked.add(stream)
                self._unwritten.append((stream, data[taken:], fin))
        for stream, code in h3.take_resets():
            if stream in streams.table:
                streams.reset(stream, code)
        for stream, code in h3.take_stops():
            if stream in streams.table:
                streams.stop(stream, code)
        for stream in [one for one in streams.table if not one & 2 and one not in h3.streams]:
            streams.release(stream)
