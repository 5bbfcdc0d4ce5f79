"""The well-behaved client: `python -m bench.attack.good HOST PORT --local 127.0.0.2 --rate 50 --seconds 20`.

One HTTP/3 connection of our own engine, one small GET every 1/rate seconds whatever became of the one before; each
latency counts from when its request was due. A connection that ends is made again, and what was under way counts as
long as it took until then. Prints one line of JSON.
"""

import argparse
import json
import os
import select
import time

from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import connect
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.groups import X25519
from headgate.engine.tls13.settings import ClientSettings
from headgate.http.fields import Fields
from headgate.testing.quic_raw import believe
from headgate.testing.quic_raw_udp import open_socket

GIVE_UP = 10.0
TLS = ClientSettings(server_name=b"localhost", verify=believe, groups=(X25519,), shares=(X25519,))


class Client:
    """One connection at a time, and the requests that wait for their answers."""

    def __init__(self, host: str, port: int, local: str) -> None:
        self.peer = (host, port)
        self.local = local
        self.latencies: list[float] = []
        self.connections = 0
        self.refused = 0
        self.waiting: dict[int, float] = {}
        self.due: list[float] = []
        self._new(time.monotonic())

    def _new(self, now: float) -> None:
        self.connections += 1
        self.sock = open_socket(*self.peer, self.local)
        self.quic = connect(TLS, ConnectionSettings(), os.urandom, now, time.time(), peer=self.peer)
        self.h3: H3Connection | None = None

    def ask(self, due: float) -> None:
        """Send a request, as soon as there is a connection."""
        self.due.append(due)

    def step(self, until: float) -> None:
        """Wait for datagrams or time, and do what follows."""
        now = time.monotonic()
        self._flush(now)
        deadline = min(until, self.quic.deadline())
        if deadline > now:
            select.select([self.sock], [], [], deadline - now)
        now = time.monotonic()
        while True:
            try:
                data = self.sock.recv(65_535)
            except OSError:
                break
            self.quic.receive_batch(data, len(data), self.peer, b"", 0, now)
        if self.quic.deadline() <= now:
            self.quic.on_deadline(now)
        self._serve(now)
        self._flush(now)
        if self.quic.state is not State.OPEN:
            self._again(now)

    def _again(self, now: float) -> None:
        """The connection is over: what it had under way is asked again on another."""
        self.due += sorted(self.waiting.values())
        self.waiting = {}
        self.sock.close()
        self._new(now)

    def _serve(self, now: float) -> None:
        quic = self.quic
        if not quic.is_complete or quic.state is not State.OPEN:
            return
        if self.h3 is None:
            self.h3 = H3Connection(True, now, max_requests=1 << 40)
            for _ in range(3):
                quic.streams.open(is_uni=True)
        h3 = self.h3
        for stream, piece, fin in quic.streams.take_arrived():
            h3.receive_stream(stream, bytes(piece), fin, now)
        while (event := h3.next_event()) is not None:
            if isinstance(event, Data):
                quic.streams.consumed(event.stream, len(event.data))
            elif isinstance(event, EndOfMessage):
                began = self.waiting.pop(event.stream, None)
                if began is not None:
                    self.latencies.append(now - began)
            elif isinstance(event, Response) and event.status != 200:
                self.refused += 1
        self._ask(h3, now)
        for stream, count in h3.take_consumed():
            quic.streams.consumed(stream, count)
        for stream, data, fin in h3.take_writes():
            quic.streams.write(stream, data, fin=fin)
        for stream in [one for one in quic.streams.table if not one & 2 and one not in h3.streams]:
            quic.streams.release(stream)

    def _ask(self, h3: H3Connection, now: float) -> None:
        while self.due and h3.can_request and self.quic.streams.open(is_uni=False) >= 0:
            fields = Fields([b"host"], [b"Host: localhost"])
            request = Request(b"GET", b"/hello", 11, fields)
            h3.send(request)
            self.waiting[request.stream] = self.due.pop(0)

    def _flush(self, now: float) -> None:
        while (batch := self.quic.take_batch(now)) is not None:
            for datagram in batch.datagrams():
                try:
                    self.sock.send(datagram)
                except OSError:
                    break


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--local", default="")
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    given = parser.parse_args()
    client = Client(given.host, given.port, given.local)
    start = time.monotonic()
    while not client.quic.is_complete and time.monotonic() < start + GIVE_UP:
        client.step(start + GIVE_UP)
    began = time.monotonic()
    count = 0
    total = int(given.rate * given.seconds)
    while count < total or (client.waiting or client.due):
        now = time.monotonic()
        if now > began + given.seconds + GIVE_UP:
            break
        if count < total and now >= began + count / given.rate:
            client.ask(began + count / given.rate)
            count += 1
            client._serve(now)
        client.step(began + count / given.rate if count < total else began + given.seconds + GIVE_UP)
    lost = len(client.waiting) + len(client.due)
    client.latencies += [GIVE_UP] * lost
    client.quic.close(0x100, "", time.monotonic())
    client._flush(time.monotonic())
    print(
        json.dumps(
            {
                "latencies": sorted(client.latencies),
                "lost": lost,
                "connections": client.connections,
                "refused": client.refused,
                "handshake": began - start,
            }
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
