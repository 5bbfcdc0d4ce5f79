"""What streams that are open cost those that are served: `python -m bench.micro.h2_streams`.

A hundred connections with a hundred streams each, 10,000 in all, of which all but eight wait: answered in part, with
content queued behind a window that is closed. The others get requests and are answered, eight in one read of each
connection. The same again with those eight alone. CPU time for each request; the cost may grow by a fifth.
"""

import time
from typing import Final

from bench.micro.h2_engine import BODY, SECTION, SETTINGS_ACK, UNLIMITED, Client
from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h2 import sender as module
from headgate.engine.h2.connection import H2Connection

CONNECTIONS: Final = 100
FLIGHT: Final = 8
OPEN: Final = 100
ROUNDS: Final = 60
TAKE: Final = 64 * 1024
MOST: Final = 1.2
WINDOW: Final = 1000
# The preface; SETTINGS with a small initial window; WINDOW_UPDATE of the connection up to the largest.
BEGIN: Final = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04"
    + WINDOW.to_bytes(4, "big")
    + b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\x00\x00"
)


class Server:
    """One connection, with streams that wait."""

    def __init__(self, waiting: int) -> None:
        self.client = Client()
        self.h2 = H2Connection(False, 0.0, max_requests=UNLIMITED)
        self.h2.receive(BEGIN + SETTINGS_ACK, 0.0)
        self.h2.receive(self.client.requests(waiting), 0.0)
        while (event := self.h2.next_event()) is not None:
            if type(event) is Request:
                self.h2.send(Response(200, b"OK", 11, SECTION.copy(), -1, event.stream))
                self.h2.send(Data(bytes(2 * WINDOW), event.stream))
        while self.h2.has_output():
            self.h2.take_output(TAKE)
        if len(self.h2.streams) != waiting:
            raise RuntimeError("not all of them wait")

    def turn(self, data: bytes) -> None:
        """Take requests, answer them."""
        h2 = self.h2
        h2.receive(data, 1.0)
        while (event := h2.next_event()) is not None:
            if type(event) is Request:
                stream = event.stream
                h2.send(Response(200, b"OK", 11, SECTION.copy(), 100, stream))
                h2.send(Data(BODY, stream))
                h2.send(EndOfMessage(None, stream))
        h2.take_output(TAKE)


def turn(servers: list[Server]) -> float:
    """Let every connection have a read; return microseconds for each request."""
    reads = [server.client.requests(FLIGHT) for server in servers]
    begun = time.thread_time_ns()
    for server, data in zip(servers, reads, strict=True):
        server.turn(data)
    return (time.thread_time_ns() - begun) / (FLIGHT * len(servers)) / 1000


def main() -> None:
    few = [Server(0) for _ in range(CONNECTIONS)]
    many = [Server(OPEN - FLIGHT) for _ in range(CONNECTIONS)]
    of_few: list[float] = []
    of_many: list[float] = []
    for _ in range(ROUNDS):  # in turns: what else the machine does meets both
        of_few.append(turn(few))
        of_many.append(turn(many))
    alone, beside = min(of_few), min(of_many)
    print(f"{module.__file__.rsplit('/', 1)[-1]}, µs of CPU for each request, {CONNECTIONS} connections")
    print(f"{FLIGHT:>6} streams open on each{alone:10.2f}")
    print(f"{OPEN:>6} streams open on each{beside:10.2f}{beside / alone:8.2f} x, at most {MOST:.2f}")


if __name__ == "__main__":
    main()
