"""A client of HTTP/3 that holds its connection open, on our own engine: what load generators cannot do.

It blocks, checks no certificate, and knows just enough: one request at a time, and what came of it.
"""

import os
import select
import socket
import time
from collections.abc import Callable
from typing import Final, Self

from bench.load import LoadError
from headgate.engine.events import NO_BODY, Data, EndOfMessage, Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import connect
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.groups import X25519
from headgate.engine.tls13.settings import ClientSettings
from headgate.http.fields import Fields
from headgate.net.udp import RECEIVE_BUFFER, UdpSocket

# How long nothing may come before everything is taken to be said.
QUIET: Final = 0.002
SETTINGS: Final = ConnectionSettings(idle_timeout=300.0)


def _believe(chain: tuple[bytes, ...], name: bytes, staple: bytes) -> None:
    """Verifying is the client's work, not the proxy's."""


class H3Client:
    """One connection to `port` of this machine, for `name`."""

    def __init__(self, port: int, name: str, timeout: float = 5.0) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        self._udp = UdpSocket(sock)
        self._name = name.encode()
        self._timeout = timeout
        tls = ClientSettings(server_name=self._name, verify=_believe, groups=(X25519,), shares=(X25519,))
        self.quic = connect(
            tls, SETTINGS, os.urandom, time.monotonic(), time.time(), peer=("127.0.0.1", port)
        )
        self._h3: H3Connection | None = None
        self._body = bytearray()
        self._status = 0
        self._is_over = False
        self._buffer = bytearray(RECEIVE_BUFFER)
        self._poll = select.poll()
        self._poll.register(self._udp.fileno(), select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye and close the socket."""
        self.quic.close(0x0100, "", time.monotonic())
        self._send()
        self._udp.close()

    def shake(self) -> None:
        """Do the handshake.

        Raises:
            LoadError: it did not come to an end.
        """
        self._until(lambda: self.quic.is_confirmed, "handshake")

    def get(self, path: str) -> bytes:
        """Ask for `path` and return the content.

        Raises:
            LoadError: the answer was no 200, or did not come.
        """
        self.shake()
        h3 = self._h3
        if h3 is None:
            h3 = self._h3 = H3Connection(True, time.monotonic())
            for _ in range(3):
                self.quic.streams.open(is_uni=True)
        self._is_over = False
        self._body.clear()
        stream = self.quic.streams.open(is_uni=False)
        h3.send(Request(b"GET", path.encode(), 11, Fields([b"host"], [b"Host: " + self._name]), NO_BODY))
        self._until(lambda: self._is_over, path)
        if self._status != 200:
            raise LoadError(f"{self._name.decode()}{path}: {self._status}")
        self.quic.streams.release(stream)
        return bytes(self._body)

    def settle(self) -> None:
        """Take in what comes of its own accord: tickets, connection IDs, acknowledgements."""
        while self._turn(QUIET):
            pass

    def _until(self, is_done: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + self._timeout
        while not is_done():
            if time.monotonic() > end or self.quic.state is not State.OPEN:
                raise LoadError(f"{self._name.decode()}: {what}: {self.quic.end or 'nothing comes'}")
            self._turn(max(self.quic.deadline() - time.monotonic(), 0.0))

    def _turn(self, seconds: float) -> bool:
        """Send, wait, receive; whether something came."""
        self._write()
        self._send()
        ready = bool(self._poll.poll(min(seconds, self._timeout) * 1000))
        now = time.monotonic()
        while (size := self._udp.receive(self._buffer)) >= 0:
            udp = self._udp
            self.quic.receive_batch(
                bytes(self._buffer[:size]), udp.segment, udp.peer, udp.local, udp.ecn, now
            )
        if self.quic.deadline() <= now:
            self.quic.on_deadline(now)
        self._read(now)
        self._send()
        return ready

    def _send(self) -> None:
        while (batch := self.quic.take_batch(time.monotonic())) is not None:
            self._udp.send(memoryview(batch.data), batch.segment, batch.peer, batch.local, batch.ecn)

    def _write(self) -> None:
        if self._h3 is not None:
            for stream, data, fin in self._h3.take_writes():
                self.quic.streams.write(stream, data, fin=fin)

    def _read(self, now: float) -> None:
        h3 = self._h3
        if h3 is None:
            return
        streams = self.quic.streams
        for stream, piece, fin in streams.take_arrived():
            h3.receive_stream(stream, bytes(piece), fin, now)
        while (event := h3.next_event()) is not None:
            if isinstance(event, Data):
                self._body += event.data
                streams.consumed(event.stream, len(event.data))
            elif isinstance(event, Response):
                self._status = event.status
                self._is_over = event.body == NO_BODY
            elif isinstance(event, EndOfMessage):
                self._is_over = True
        for stream, count in h3.take_consumed():
            streams.consumed(stream, count)
