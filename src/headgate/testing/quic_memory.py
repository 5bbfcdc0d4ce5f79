"""A server of QUIC and HTTP/3 in memory, and a raw client that faces it: what a hostile peer gets for an answer.

`MemoryServer` is a `QuicConnection` with an `H3Connection` on its streams, driven in the simplest way: each request
is answered 200 at once, all content is consumed at once, unless `reads` is false. `Duel` carries datagrams between
it and a `RawClient` on a clock that a test moves.

    duel = Duel().shake()
    duel.send(PATH_CHALLENGE_FRAME)
    assert duel.closed() == PROTOCOL_VIOLATION
"""

import functools
import random as randomness
from collections.abc import Callable
from typing import Final, final

from headgate.counters import STAPLE_ABSENT
from headgate.engine.events import NO_BODY, Data, Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.errors import H3ConnectionError
from headgate.engine.h3.settings import H3Settings
from headgate.engine.quic.connection import QuicConnection, accept
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.packet import parse_long_header
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.credential import Credential, load
from headgate.engine.tls13.settings import ServerSettings
from headgate.http.fields import Fields
from headgate.testing.pki import Authority
from headgate.testing.quic_raw import Close, RawClient
from headgate.tls.identity import from_pem

WALL: Final = 1_790_000_000.0
PEER: Final = ("192.0.2.7", 4433)
LOCAL: Final = b""


@functools.cache
def credential() -> Credential:
    """Return one of a small authority, with an ECDSA key."""
    leaf = Authority.root().intermediate().leaf("localhost", key="p256")
    identity = from_pem("localhost.pem", leaf.chain_pem, leaf.key_pem)
    return load(identity, lambda _identity, _wall: (STAPLE_ABSENT, b""))


def deliver(connection: QuicConnection, datagram: bytes, now: float) -> None:
    """Give one datagram to a connection."""
    connection.receive_batch(datagram, len(datagram), PEER, LOCAL, 0, now)


def collect(connection: QuicConnection, now: float) -> list[bytes]:
    """Return the datagrams that a connection sends now."""
    datagrams: list[bytes] = []
    while (batch := connection.take_batch(now)) is not None:
        datagrams += batch.datagrams()
    return datagrams


@final
class MemoryServer:
    """One connection of a server; made by the datagram that begins it."""

    def __init__(
        self,
        first: bytes,
        now: float,
        *,
        settings: ConnectionSettings | None = None,
        tls: ServerSettings | None = None,
        h3: H3Settings | None = None,
        seed: int = 2,
    ) -> None:
        random = randomness.Random(seed).randbytes
        self.tls = tls if tls is not None else ServerSettings(select=lambda _name: [credential()])
        self.quic = accept(
            self.tls,
            settings if settings is not None else ConnectionSettings(),
            random,
            now,
            WALL,
            destination=parse_long_header(first, 0, len(first)).destination,
            source=random(8),
            peer=PEER,
            local=LOCAL,
        )
        self.h3: H3Connection | None = None
        self.reads = True
        self.answers = True
        self.requests: list[Request] = []
        self.refused: list[object] = []
        self.content = 0
        self._h3_settings = h3
        self._unwritten: list[tuple[int, bytes, bool]] = []

    def receive(self, datagram: bytes, now: float) -> None:
        """Take a datagram in and do all that follows from it."""
        deliver(self.quic, datagram, now)
        if self.quic.is_complete:
            self._serve(now)

    def _serve(self, now: float) -> None:
        quic = self.quic
        if self.h3 is None:
            self.h3 = H3Connection(False, now, self._h3_settings)
            for _ in range(3):
                quic.streams.open(is_uni=True)
        h3 = self.h3
        try:
            for stream, piece, fin in quic.streams.take_arrived():
                h3.receive_stream(stream, bytes(piece), fin, now)
            for stream, code in quic.resets:
                h3.receive_reset(stream, code, now)
            for stream, code in quic.stops:
                h3.receive_stop(stream, code)
            quic.resets.clear()
            quic.stops.clear()
            while (event := h3.next_event()) is not None:
                if isinstance(event, Request):
                    self.requests.append(event)
                    if self.answers:
                        h3.send(Response(200, b"", 11, Fields([], []), NO_BODY, event.stream))
                elif isinstance(event, Data):
                    self.content += len(event.data)
                    if self.reads:
                        quic.streams.consumed(event.stream, len(event.data))
                else:
                    self.refused.append(event)
        except H3ConnectionError as error:
            quic.close(error.code, error.detail or error.reason, now)
            return
        self._carry(h3)

    def _carry(self, h3: H3Connection) -> None:
        """Give to QUIC what HTTP/3 has for it, in the order that it asks for."""
        streams = self.quic.streams
        streams.take_writable()
        self._unwritten += h3.take_writes()
        pending, self._unwritten = self._unwritten, []
        for stream, data, fin in pending:
            if stream in streams.table:
                taken = streams.write(stream, data, fin=fin)
                if taken < len(data):
                    self._unwritten.append((stream, data[taken:], fin))
        for stream, code in h3.take_resets():
            if stream in streams.table:
                streams.reset(stream, code)
        for stream, code in h3.take_stops():
            if stream in streams.table:
                streams.stop(stream, code)
        for stream, count in h3.take_consumed():
            if self.reads:
                streams.consumed(stream, count)
        h3.take_priorities()
        for stream in [stream for stream in streams.table if not stream & 2 and stream not in h3.streams]:
            streams.release(stream)


@final
class Duel:
    """A raw client and the server that it faces. `sent`: octets and datagrams that the server sent."""

    def __init__(
        self,
        *,
        seed: int = 1,
        parameters: Callable[[bytes], bytes] | None = None,
        tamper: Callable[[int, bytes], bytes] | None = None,
        settings: ConnectionSettings | None = None,
        tls: ServerSettings | None = None,
        h3: H3Settings | None = None,
        raw: RawClient | None = None,
    ) -> None:
        random = randomness.Random(seed).randbytes
        self.raw = raw or RawClient(random, WALL, parameters=parameters, tamper=tamper)
        self.now = 0.0
        self.sent = 0
        self.datagrams = 0
        self._settings = settings
        self._tls = tls
        self._h3 = h3
        self._server: MemoryServer | None = None

    @property
    def server(self) -> MemoryServer:
        """The server, once a datagram has made it."""
        if self._server is None:
            raise AssertionError("nothing was sent yet")
        return self._server

    @property
    def quic(self) -> QuicConnection:
        """The server's connection."""
        return self.server.quic

    def put(self, datagram: bytes) -> None:
        """Give one datagram to the server, and nothing back."""
        if self._server is None:
            self._server = MemoryServer(
                datagram, self.now, settings=self._settings, tls=self._tls, h3=self._h3
            )
        self._server.receive(datagram, self.now)

    def take(self) -> list[bytes]:
        """Take what the server sends."""
        datagrams = collect(self.quic, self.now)
        self.sent += sum(map(len, datagrams))
        self.datagrams += len(datagrams)
        return datagrams

    def settle(self) -> "Duel":
        """Carry datagrams to and fro until nobody has any."""
        for _ in range(1000):
            moved = False
            for datagram in self.raw.flush():
                self.put(datagram)
                moved = True
            if self._server is not None:
                for datagram in self.take():
                    self.raw.receive(datagram)
                    moved = True
            if not moved:
                return self
        raise AssertionError("they never come to rest")

    def shake(self) -> "Duel":
        """Shake hands to the end."""
        self.settle()
        if not self.raw.is_confirmed:
            raise AssertionError(f"no handshake: {self.raw!r}")
        return self

    def send(self, *contents: bytes, level: int = APPLICATION) -> "Duel":
        """Send each of `contents` in a packet of its own, and let everybody answer."""
        for content in contents:
            self.put(self.raw.packet(level, content))
            for datagram in self.take():
                self.raw.receive(datagram)
        return self.settle()

    def advance(self, seconds: float) -> "Duel":
        """Let time pass, with all that falls due in it."""
        end = self.now + seconds
        while self.quic.deadline() <= end:
            self.now = max(self.now, self.quic.deadline())
            self.quic.on_deadline(self.now)
            self.settle()
        self.now = end
        return self.settle()

    def closed(self) -> Close:
        """Return how the server closed; fails where it did not."""
        if self.raw.close is None:
            raise AssertionError(f"not closed: {self.quic!r}")
        return self.raw.close
