"""What content costs the HTTP/2 engine, out and in: `python -m bench.micro.h2_body`.

One MiB in pieces of several sizes, in memory: events in, octets out, and octets in, events out, with the windows of
both sides at work. CPU time in nanoseconds per KiB, beside what one copy of the same octets costs in the same run;
and how many copies there are, counted by the octets that are allocated on the way.
"""

import time
import tracemalloc
from typing import Final

from bench.micro.h2_engine import BEGIN, SETTINGS_ACK, UNLIMITED
from headgate.engine.events import Data, EndOfMessage, Response
from headgate.engine.h2 import sender as module
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.settings import H2Settings
from headgate.http.fields import Fields

SIZE: Final = 1 << 20
ROUNDS: Final = 60
TAKE: Final = 64 * 1024  # what a driver takes at once
PIECES: Final = (1024, 16 * 1024, 64 * 1024)
READS: Final = (1400, 16 * 1024, 64 * 1024)
FRAME: Final = 16 * 1024
GET: Final = b"\x00\x00\x06\x01\x05%b\x82\x87\x84\x41\x01a"
POST: Final = b"\x00\x00\x06\x01\x04%b\x83\x87\x84\x41\x01a"


class Server:
    """A server of ours, and the streams of its client."""

    def __init__(self) -> None:
        # Half a window is two reads: this client does not wait for WINDOW_UPDATE.
        self.h2 = H2Connection(False, 0.0, H2Settings(initial_window=4 * TAKE), max_requests=UNLIMITED)
        self.h2.receive(BEGIN + SETTINGS_ACK, 0.0)
        self.h2.take_output(TAKE)
        self.next = 1
        self.now = 0.0

    def begin(self, head: bytes) -> int:
        """Let a request come; return its stream."""
        stream = self.next
        self.next += 2
        self.now += 1.0
        self.h2.receive(head % stream.to_bytes(4, "big"), self.now)
        while self.h2.next_event() is not None:
            pass
        return stream

    def widen(self) -> None:
        """Give back what a body has used of the connection's window."""
        self.h2.receive(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + SIZE.to_bytes(4, "big"), self.now)


def send_body(server: Server, pieces: list[bytes]) -> int:
    """Send a body as it comes from an origin, one piece a turn; return the octets that went out."""
    h2, stream = server.h2, server.next - 2
    h2.send(Response(200, b"OK", 11, Fields([], []), SIZE, stream))
    written = 0
    for piece in pieces:
        h2.send(Data(piece, stream))
        while h2.has_output():
            written += len(h2.take_output(TAKE))
    h2.send(EndOfMessage(None, stream))
    return written + len(h2.take_output(TAKE))


def receive_body(server: Server, reads: list[bytes]) -> int:
    """Receive a body, and consume it at once; return the octets of content."""
    h2 = server.h2
    content = 0
    for data in reads:
        server.now += 0.0001
        h2.receive(data, server.now)
        while (event := h2.next_event()) is not None:
            if type(event) is Data:
                content += len(event.data)
                h2.consumed(event.stream, len(event.data))
        if h2.has_output():
            h2.take_output(TAKE)
    return content


def cut(octets: bytes, size: int) -> list[bytes]:
    return [octets[at : at + size] for at in range(0, len(octets), size)]


def body_of(stream: int) -> bytes:
    """Return the DATA frames of a body."""
    size, number = FRAME.to_bytes(3, "big"), stream.to_bytes(4, "big")
    frame = size + b"\x00\x00" + number + bytes(FRAME)
    return frame * (SIZE // FRAME - 1) + size + b"\x00\x01" + number + bytes(FRAME)


def out(size: int) -> float:
    """Return nanoseconds per KiB of a body that is sent in such pieces."""
    server = Server()
    pieces = cut(bytes(SIZE), size)
    best = float("inf")
    for _ in range(ROUNDS):
        server.begin(GET)
        begun = time.thread_time_ns()
        written = send_body(server, pieces)
        best = min(best, time.thread_time_ns() - begun)
        if written < SIZE:
            raise RuntimeError("not all of it went out")
        server.widen()
    return best / (SIZE / 1024)


def into(size: int) -> float:
    """Return nanoseconds per KiB of a body that is received in such reads."""
    server = Server()
    best = float("inf")
    for _ in range(ROUNDS):
        reads = cut(body_of(server.begin(POST)), size)
        begun = time.thread_time_ns()
        content = receive_body(server, reads)
        best = min(best, time.thread_time_ns() - begun)
        if content != SIZE:
            raise RuntimeError("not all of it came")
        server.h2.send(Response(204, b"", 11, Fields([], []), 0, server.next - 2))
        server.h2.take_output(TAKE)
    return best / (SIZE / 1024)


def one_copy(size: int) -> float:
    """Return nanoseconds per KiB of joining such pieces with nine octets each: the least that anybody can do."""
    pieces = [part for piece in cut(bytes(TAKE), size) for part in (b"123456789", piece)]
    best = float("inf")
    for _ in range(ROUNDS * 10):
        begun = time.thread_time_ns()
        for _ in range(8):
            b"".join(pieces)
        best = min(best, (time.thread_time_ns() - begun) / 8)
    return best / (TAKE / 1024)


def copies_out(size: int) -> float:
    """Return how many octets are held at once for each that waits and goes out in one piece."""
    server = Server()
    server.begin(GET)
    piece = bytes(size)
    server.h2.send(Response(200, b"OK", 11, Fields([], []), size, server.next - 2))
    server.h2.take_output(TAKE)
    tracemalloc.start()
    server.h2.send(Data(piece, server.next - 2))
    output = server.h2.take_output(2 * size)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    if len(output) < size:
        raise RuntimeError("not all of it went out")
    return held / size


def main() -> None:
    print(f"{module.__file__.rsplit('/', 1)[-1]}, ns of CPU per KiB, and times one copy of it")
    for size in PIECES:
        spent, least = out(size), one_copy(min(size, TAKE))
        print(f"out, pieces of {size:>6}{spent:10.1f}{spent / least:8.2f} x   copies {copies_out(size):.2f}")
    for size in READS:
        spent, least = into(size), one_copy(min(size, TAKE))
        print(f"in,  reads of  {size:>6}{spent:10.1f}{spent / least:8.2f} x")


if __name__ == "__main__":
    main()
