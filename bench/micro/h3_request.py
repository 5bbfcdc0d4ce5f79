"""What a request costs the server's QUIC and HTTP/3 engines: `python -m bench.micro.h3_request`.

GETs with nine fields, as browsers send them, answered by 100 octets and five fields, in memory: QuicConnection and
H3Connection of ours on both sides, all but the driver and the kernel. CPU time within the server's calls, for so many
requests in flight at a time; each turn is one read, one flush.
"""

import time

from bench.micro.quic_pair import CLIENT, DELAY, SERVER, Pair, new_credential
from headgate.engine.events import Data, EndOfMessage, Event, Request, Response
from headgate.engine.h3 import connection as module
from headgate.engine.h3.connection import H3Connection
from headgate.engine.quic.connection import QuicConnection
from headgate.engine.quic.scheduler import NOBODY
from headgate.http.fields import Fields

ROUNDS = 150
TURNS = 40
UNI = 2
BODY = bytes(100)
FIELDS = (
    b"host: a.test",
    b"user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    b"accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    b"accept-language: en-US,en;q=0.5",
    b"accept-encoding: gzip, deflate, br, zstd",
    b"cookie: session=0123456789abcdef",
    b"sec-fetch-dest: document",
    b"sec-fetch-mode: navigate",
    b"priority: u=0, i",
)
ANSWER = (
    b"server: headgate",
    b"date: Sat, 28 Nov 2026 15:00:00 GMT",
    b"content-type: text/plain",
    b"content-length: 100",
    b"cache-control: no-store",
)


def fields(lines: tuple[bytes, ...]) -> Fields:
    return Fields([line.split(b":")[0] for line in lines], list(lines))


class Side:
    """One side's two connections, and the octets between them: what a driver does."""

    def __init__(self, quic: QuicConnection) -> None:
        self.quic = quic
        self.h3 = H3Connection(quic.is_client, 0.0)
        # Our own client marks all that it sends as never to be remembered: it serves many. Browsers do not.
        self.h3.encoder.shared = False

    def take(self, now: float) -> list[Event]:
        """Give HTTP/3 what came; return what happened."""
        streams = self.quic.streams
        for stream, piece, fin in streams.take_arrived():
            self.h3.receive_stream(stream, bytes(piece), fin, now)
        found: list[Event] = []
        while (event := self.h3.next_event()) is not None:
            found.append(event)
        return found

    def give(self) -> None:
        """Give QUIC what HTTP/3 wrote."""
        streams, h3 = self.quic.streams, self.h3
        for stream, priority in h3.take_priorities():
            streams.set_priority(stream, priority >> 1, is_incremental=priority & 1 != 0)
        for stream, data, fin in h3.take_writes():
            while stream not in streams.table:
                if streams.open(is_uni=stream & UNI != 0) == NOBODY:
                    raise RuntimeError("no more streams")
            if streams.write(stream, data, fin=fin) < len(data):
                raise RuntimeError("no room")
        for stream, count in h3.take_consumed():
            streams.consumed(stream, count)


class Load:
    """So many requests at a time."""

    def __init__(self, flight: int) -> None:
        self.pair = Pair(new_credential()).shake()
        if self.pair.server is None:
            raise RuntimeError("no handshake")
        self.client = Side(self.pair.client)
        self.server = Side(self.pair.server)
        self.flight = flight
        self.spent = 0
        self.answered = 0

    def turn(self) -> None:
        """Ask, answer, hear."""
        pair, client, server = self.pair, self.client, self.server
        for _ in range(self.flight):
            request = Request(b"GET", b"/index.html", 11, fields(FIELDS), 0)
            client.h3.send(request)
        client.give()
        now = pair.now
        asked = []
        while (batch := client.quic.take_batch(now)) is not None:
            asked.append(batch)
        now += DELAY
        answers = []
        begun = time.thread_time_ns()
        for batch in asked:
            server.quic.receive_batch(batch.data, batch.segment, CLIENT, b"", 0, now)
        for event in server.take(now):
            if isinstance(event, Request):
                server.h3.send(Response(200, b"OK", 11, fields(ANSWER), 100, event.stream))
                server.h3.send(Data(BODY, event.stream))
                server.h3.send(EndOfMessage(None, event.stream))
                server.quic.streams.release(event.stream)
        server.give()
        while (batch := server.quic.take_batch(now)) is not None:
            answers.append(batch)
        if server.quic.deadline() <= now:
            server.quic.on_deadline(now)
        self.spent += time.thread_time_ns() - begun
        now += DELAY
        for batch in answers:
            client.quic.receive_batch(batch.data, batch.segment, SERVER, b"", 0, now)
        for event in client.take(now):
            if isinstance(event, EndOfMessage):
                self.answered += 1
                client.quic.streams.release(event.stream)
        client.give()
        client.quic.on_deadline(now)
        pair.now = now

    def measure(self) -> float:
        """Return microseconds of the server for each request: the best round."""
        best = float("inf")
        for _ in range(ROUNDS):
            self.spent = self.answered = 0
            for _ in range(TURNS):
                self.turn()
            if self.answered != TURNS * self.flight:
                raise RuntimeError(f"{self.answered} answers")
            best = min(best, self.spent / self.answered)
            if self.server.h3.requests > 8_000:  # a connection ends after 10,000
                self.__init__(self.flight)  # type: ignore[misc]
        return best / 1000


def main() -> None:
    print(f"{module.__file__.rsplit('/', 1)[-1]}, µs of the server's CPU for each request")
    for flight in (1, 10, 32):
        print(f"{flight:>4} at a time {Load(flight).measure():10.2f}")


if __name__ == "__main__":
    main()
