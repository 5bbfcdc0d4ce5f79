"""Responses to store, and a writer in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.store.writer import Writer
from headgate.http.fields import Fields


def key_of(number):
    return b"https://example.org/%d" % number


def response(key, content=b"content", vary=(), tags=(), generation=0, at=0.0):
    fields = Fields([b"content-type", b"x-key"], [b"Content-Type: text/plain", b"x-key: " + key])
    stored = StoredResponse(key, 200, b"OK", fields, MemoryBody([content] if content else []))
    stored.vary = tuple(vary)
    stored.tags = tuple(tags)
    stored.generation = generation
    stored.request_time = at
    stored.length = len(content)
    stored.is_complete = True
    return stored


def whole(body):
    """Read all of a body."""
    pieces, at = [], 0
    while at < body.size:
        piece = body.read(at, 100_000)
        assert piece
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def listening(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(path))
    listener.listen(64)
    return listener


class WriterProcess:
    """A writer in a process of its own, with the socket `address`; its warnings are lines of `warnings()`."""

    def __init__(self, root, address, budget=64 << 20):
        self.root, self.address, self.budget = str(root), str(address), budget
        self.log = Path(self.address + ".log")
        self.process = None
        self.start()

    def start(self):
        Path(self.address).unlink(missing_ok=True)
        arguments = [self.root, self.address, str(self.budget), str(self.log)]
        self.process = subprocess.Popen([sys.executable, __file__, *arguments], stdin=subprocess.PIPE)
        deadline = time.monotonic() + 20.0
        while not Path(self.address).exists():
            assert self.process.poll() is None
            assert time.monotonic() < deadline
            os.sched_yield()

    def warnings(self):
        return self.log.read_text().splitlines() if self.log.exists() else []

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    def stop(self):
        self.process.stdin.close()
        assert self.process.wait(20) == 0


def main():
    root, address, budget, log = sys.argv[1:]

    def warn(word, detail):
        with open(log, "a") as file:
            file.write(f"{word} {detail}\n")

    listener = listening(address + ".new")
    writer = Writer(root, int(budget), listener, warn)
    writer.open()
    os.rename(address + ".new", address)
    writer.run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
