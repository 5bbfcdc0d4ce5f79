"""The well-behaved client of HTTP/2: `python -m bench.attack.h2_good HOST PORT --local 127.0.0.2 --rate 50`.

One connection over TLS, one small GET every 1/rate seconds whatever became of the one before; each latency counts
from when its request was due. A connection that ends is made again, and what was under way is asked again. Prints
one line of JSON, as bench/attack/good.
"""

import argparse
import json
import time
from typing import Final

from headgate.testing import h2_raw
from headgate.testing.h2_raw import RawH2, headers, request_block

GIVE_UP: Final = 10.0
_OK: Final = b"\x88"  # :status 200 of the static table
_REQUEST: Final = request_block(b"/hello")


class Client:
    """One connection at a time, and the requests that wait for their answers."""

    def __init__(self, host: str, port: int, local: str) -> None:
        self.peer = (host, port)
        self.local = local
        self.latencies: list[float] = []
        self.connections = 0
        self.refused = 0
        self.due: list[float] = []
        self.waiting: dict[int, float] = {}
        self.raw: RawH2 | None = None
        self.next = 1

    def connect(self) -> RawH2 | None:
        """Return the connection; None while there is none to be had."""
        raw = self.raw
        if raw is None or raw.closed or raw.goaway is not None:
            self.due = sorted([*self.due, *self.waiting.values()])
            self.waiting = {}
            if raw is not None:
                raw.close()
            try:
                raw = RawH2.connect(*self.peer, tls=True, local=self.local, seconds=2.0)
            except OSError:
                self.raw = None
                time.sleep(0.01)
                return None
            raw.start()
            self.connections += 1
            self.raw, self.next = raw, 1
        return raw

    def step(self, until: float) -> None:
        """Ask what is due, and take in what has come."""
        raw = self.connect()
        if raw is None:
            return
        while self.due:
            raw.send(headers(self.next, _REQUEST))
            self.waiting[self.next] = self.due.pop(0)
            self.next += 2
        wait = until - time.monotonic()
        if wait > 0:
            raw.pause(wait)
        raw.read()
        now = time.monotonic()
        frames, raw.frames = raw.frames, []
        for one in frames:
            if one.kind == h2_raw.HEADERS and not one.payload.startswith(_OK):
                self.refused += 1
            if one.kind in (h2_raw.HEADERS, h2_raw.DATA) and one.flags & h2_raw.END_STREAM:
                began = self.waiting.pop(one.stream, None)
                if began is not None:
                    self.latencies.append(now - began)


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
    while client.connect() is None and time.monotonic() < start + GIVE_UP:
        pass
    began = time.monotonic()
    count = 0
    total = int(given.rate * given.seconds)
    while count < total or client.waiting or client.due:
        now = time.monotonic()
        if now > began + given.seconds + GIVE_UP:
            break
        if count < total and now >= began + count / given.rate:
            client.due.append(began + count / given.rate)
            count += 1
        client.step(began + count / given.rate if count < total else began + given.seconds + GIVE_UP)
    lost = len(client.waiting) + len(client.due)
    client.latencies += [GIVE_UP] * lost
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
