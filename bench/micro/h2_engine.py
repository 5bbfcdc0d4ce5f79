"""What a request costs the server's HTTP/2 engine, beside the package h2: `python -m bench.micro.h2_engine`.

Requests of 14 fields, as browsers send them, on a connection whose dynamic tables are warm; each is answered by
seven fields and 100 octets. In memory: octets in, events, octets out, all but the driver and the kernel. CPU time for
so many requests in one read and one write. Both engines get the same octets.
"""

import sys
import time
from collections.abc import Callable
from typing import Final

import h2.config
import h2.connection
import h2.events
import hpack

from bench.micro.hpack import ANSWER, REQUEST, fields
from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h2 import connection as module
from headgate.engine.h2.connection import H2Connection

ROUNDS: Final = 60
REQUESTS: Final = 640  # in a round
BODY: Final = bytes(100)
SECTION: Final = fields(ANSWER[1:])
# The preface; SETTINGS with the largest initial window; WINDOW_UPDATE of the connection up to the largest.
BEGIN: Final = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\xff\xff"
    b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\x00\x00"
)
SETTINGS_ACK: Final = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
UNLIMITED: Final = 1 << 62
PERIOD: Final = 500_000  # requests of one connection


class Client:
    """Says what a client would say."""

    def __init__(self) -> None:
        self.encoder = hpack.Encoder()
        self.next = 1

    def requests(self, count: int) -> bytes:
        """Return so many requests."""
        frames = []
        for _ in range(count):
            block = self.encoder.encode(REQUEST)
            frames.append(len(block).to_bytes(3, "big") + b"\x01\x05" + self.next.to_bytes(4, "big") + block)
            self.next += 2
        return b"".join(frames)


class Ours:
    """A server of ours, and what a driver does with it."""

    def __init__(self) -> None:
        self.h2 = H2Connection(False, 0.0, max_requests=UNLIMITED)
        self.h2.receive(BEGIN + SETTINGS_ACK, 0.0)
        self.h2.take_output(1 << 20)

    def turn(self, data: bytes) -> bytes:
        """Take requests, answer them."""
        h2 = self.h2
        h2.receive(data, 1.0)
        while (event := h2.next_event()) is not None:
            if type(event) is Request:
                stream = event.stream
                h2.send(Response(200, b"OK", 11, SECTION.copy(), 100, stream))
                h2.send(Data(BODY, stream))
                h2.send(EndOfMessage(None, stream))
        return h2.take_output(1 << 20)


class Theirs:
    """A server on the package h2."""

    def __init__(self) -> None:
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding=None)
        )
        self.h2.initiate_connection()
        self.h2.receive_data(BEGIN + SETTINGS_ACK)
        self.h2.data_to_send()

    def turn(self, data: bytes) -> bytes:
        """Take requests, answer them."""
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.h2.send_headers(event.stream_id, ANSWER)
                self.h2.send_data(event.stream_id, BODY, end_stream=True)
        return self.h2.data_to_send()


def measure(new: Callable[[], Ours | Theirs], flight: int, requests: int) -> float:
    """Return microseconds for each request: the best round."""
    server, client = new(), Client()
    for _ in range(4):
        server.turn(client.requests(flight))  # what is warm, is warm
    best = float("inf")
    for _ in range(ROUNDS):
        reads = [client.requests(flight) for _ in range(requests // flight)]
        spent = written = 0
        for read in reads:
            begun = time.thread_time_ns()
            written += len(server.turn(read))
            spent += time.thread_time_ns() - begun
        if written < requests * (9 + 7 + 9 + len(BODY)):
            raise RuntimeError(f"{written} octets are no {requests} answers")
        best = min(best, spent / requests)
        if client.next > PERIOD:
            server, client = new(), Client()
            server.turn(client.requests(flight))
    return best / 1000


def main() -> None:
    print(f"{module.__file__.rsplit('/', 1)[-1]}, µs of CPU for each request")
    flights = [int(word) for word in sys.argv[1:]] or [1, 8, 32]
    for flight in flights:
        ours = measure(Ours, flight, REQUESTS)
        theirs = measure(Theirs, flight, REQUESTS // 10 // flight * flight or flight)
        print(f"{flight:>4} in one read{ours:10.2f}   h2{theirs:10.2f}   {theirs / ours:6.1f} x")


if __name__ == "__main__":
    main()
