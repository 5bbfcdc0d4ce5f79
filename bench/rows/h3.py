"""HTTP/3: requests, large bodies, handshakes, idle connections, and datagrams that are nobody's.

HAProxy, nginx and Caddy come from $HEADGATE_RIVALS: those of stable Debian know no QUIC.
"""

import contextlib
import os
import socket
import time
from pathlib import Path
from typing import Final

from bench import certs, h3_load, measure
from bench.h3_client import H3Client
from bench.h3_load import H3Load
from bench.lab import Lab, Lane, Sample
from bench.load import FIFTEEN_FIELDS, LoadError, Outcome
from bench.proxies import Profile, Running, udp_drops
from bench.rows.base import Row

SIZES: Final = {"/": 100, "/1m": 1 << 20}
# Requests on a connection at least: its handshake and the start of its client are to be lost among them.
FIRST: Final = {"/": 250, "/1m": 4}
COUNT: Final = 1000
# Seconds in which clients acknowledge what is left to acknowledge, and as many again for connections to come to rest.
REST: Final = 3.0
# Held open beside the counted ones: closing them would leave free memory for the counted ones to hide in.
WARM: Final = 100
# Datagrams of a flood, sent in portions that a socket's queue holds.
FLOOD: Final = 20_000
PORTION: Final = 50
INITIAL_SIZE: Final = 1200
# A long header that says Initial, version 1, connection IDs of eight and no octets, no token, and its length.
_INITIAL_HEAD: Final = b"\xc3\x00\x00\x00\x01\x08"
_INITIAL_REST: Final = b"\x00\x00" + (0x4000 | INITIAL_SIZE - 18).to_bytes(2, "big")


class H3Row(Row):
    """A row of HTTP/3; the baseline is the HAProxy that speaks it."""

    version = "h3"
    profile = Profile(h3=True)

    def baseline(self, label: str) -> str:
        return "haproxy-new"

    def absent(self, rivals: Path | None) -> str | None:
        return h3_load.absent()


class H3Requests(H3Row):
    """Requests on streams of kept connections; `busy` adds 15 request fields and the access log."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        goal: float,
        path: str = "/",
        busy: bool = False,
        connections: int = 16,
    ) -> None:
        self.name = name
        self.title = title
        self.goal = goal
        self.profile = Profile(h3=True, access_log=busy)
        self.is_busy = busy
        self.load = H3Load(path, connections, FIFTEEN_FIELDS if busy else ())
        self._each: dict[Lane, int] = {}

    def absent(self, rivals: Path | None) -> str | None:
        return h3_load.curl_absent(rivals) if self.is_busy else h3_load.absent()

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        _look(lab, lane, self.load.path)
        each = FIRST[self.load.path]
        for _ in range(2):  # the first has too few to tell the rate from the start of processes
            outcome = self._put(lab, lane, each)[0]
            wanted = outcome.requests / outcome.seconds * lab.seconds / self.load.connections
            each = min(max(round(wanted), each), h3_load.MOST)
        self._each[lane] = each

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return lab.sample(*self._put(lab, lane, self._each[lane]))

    def _put(self, lab: Lab, lane: Lane, each: int) -> tuple[Outcome, int]:
        running = lab.running(lane)
        pids = running.pids()
        before = measure.cpu_ns(pids)
        outcome = h3_load.requests(running.job.tls_port, self.load, each, lab.load_core, lab.rivals)
        return outcome, measure.cpu_ns(pids) - before


class H3Handshake(H3Row):
    """A full handshake, one request, close, one connection after the other.

    The goal of 0.6 ms is that of the handshake alone, in memory: `python -m bench.micro.quic_handshake`.
    """

    name = "h3-handshake"
    title = "full QUIC handshake + 1 request"

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        _look(lab, lane, "/")
        self._do(lab, lane, 0.5)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return self._do(lab, lane, lab.seconds)

    def _do(self, lab: Lab, lane: Lane, seconds: float) -> Sample:
        running = lab.running(lane)
        pids = running.pids()
        before = measure.cpu_ns(pids)
        outcome = h3_load.handshakes(running.job.tls_port, seconds)
        return lab.sample(outcome, measure.cpu_ns(pids) - before)


def _look(lab: Lab, lane: Lane, path: str) -> None:
    """Ask once and look at the answer, which the load does not."""
    with H3Client(lab.running(lane).job.tls_port, certs.host(0)) as client:
        size = len(client.get(path))
    if size != SIZES[path]:
        raise LoadError(f"{path}: {size} of {SIZES[path]} octets")


class IdleH3(H3Row):
    """Opens 1,000 connections beside 100 warm ones; KiB of proportional memory for each."""

    name = "idle-h3"
    title = "idle HTTP/3 connection"
    unit = "KiB"
    goal = 16.0
    goal_is_ratio = False
    max_rounds = 1
    fresh = True

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        running = lab.running(lane)
        with contextlib.ExitStack() as held:

            def hold(count: int) -> int:
                clients = []
                for _ in range(count):
                    client = held.enter_context(H3Client(running.job.tls_port, certs.host(0)))
                    client.get("/")
                    clients.append(client)
                rest = time.monotonic() + REST
                while time.monotonic() < rest:
                    for client in clients:
                        client.settle()
                time.sleep(REST)
                pids = running.pids()
                measure.settle(pids)
                return measure.pss_bytes(pids)

            before = hold(WARM)
            return Sample((hold(COUNT) - before) / COUNT / 1024)


class Garbage(H3Row):
    """Initials with tags that are wrong: CPU for each beyond that of a datagram that is nothing at all."""

    name = "h3-garbage"
    title = "an Initial that does not verify, above reading it"
    goal = 20.0
    goal_is_ratio = False

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        self._flood(lab.running(lane), PORTION * 4, is_initial=True)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        running = lab.running(lane)
        nothing = self._flood(running, FLOOD, is_initial=False)
        garbage = self._flood(running, FLOOD, is_initial=True)
        return Sample(max(garbage - nothing, 0.01))

    @staticmethod
    def _flood(running: Running, count: int, *, is_initial: bool) -> float:
        """Send `count` datagrams, not faster than they are read; return CPU microseconds for each that was read."""
        port = running.job.tls_port
        pids = running.pids()
        dropped = udp_drops(port)
        before = measure.cpu_ns(pids)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", port))
            for at in range(count):
                if is_initial:
                    data = _INITIAL_HEAD + os.urandom(8) + _INITIAL_REST
                    data += os.urandom(INITIAL_SIZE - len(data))
                else:
                    data = bytes(INITIAL_SIZE)
                with contextlib.suppress(ConnectionRefusedError):
                    sock.send(data)
                if at % PORTION == PORTION - 1:
                    time.sleep(0.001)
            measure.settle(pids)
        read = count - (udp_drops(port) - dropped)
        return (measure.cpu_ns(pids) - before) / 1000 / max(read, 1)
