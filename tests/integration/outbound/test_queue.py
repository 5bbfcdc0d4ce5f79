"""Ten thousand clients wait for room at an origin that never answers, and give up: the queue is bounded, few of their
requests reach the origin, and the memory that they took comes back.

A reset is noticed at once. A client that closes may as well be one that has sent all and listens on (RFC 9112 section
9.6): it is out of the queue when its time is over.
"""

import resource
import select
import socket
import struct

import pytest
from tests.integration.gate import Gate, wait_for
from tests.integration.outbound.world import Probe, World, assert_nothing_left, request, resident

from headgate.testing.origin import Wire

CLIENTS = 10_000
QUEUE = 4000
ROOM = 2
# How long each may wait, in seconds, by how clients leave: who resets is gone in far less, however slow the machine.
TIMEOUTS = {"reset": 60, "closed": 8}
WORKERS = 2
# What a worker may keep of its first crowd: arenas that fit the next one, which costs nothing more.
MARGIN = 4 << 20
LIMITS = """[listener.limits]
connections = 9000
per_client = 20000
connection_rate = "100000/s"
all_connection_rate = "100000/s"
"""


@pytest.fixture
def descriptors():
    """Room for both ends of all connections."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] < 2 * 9000:
        pytest.skip(f"RLIMIT_NOFILE cannot be raised beyond {before[1]}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def world(tmp_path):
    with World(tmp_path) as world:
        yield world


def crowd(port: int, name: str) -> list[socket.socket]:
    """So many clients, each with a request."""
    socks = []
    for _ in range(CLIENTS):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        sock.setblocking(False)
        sock.send(request(name)[1])
        socks.append(sock)
    return socks


def answers(socks: list[socket.socket]) -> list[bytes]:
    """What has been answered so far."""
    poll = select.poll()
    by_number = {sock.fileno(): sock for sock in socks}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number].recv(4096, socket.MSG_PEEK) for number, _ in poll.poll(0)]


def all_settled(gate: Gate, socks: list[socket.socket]) -> bool:
    """Whether everybody waits, is asked for, or has an answer."""
    waiting = gate.metrics()["headgate_upstream_queue_requests"]
    return waiting <= WORKERS * QUEUE and waiting + len(answers(socks)) >= CLIENTS - WORKERS * ROOM


def wait_and_give_up(gate: Gate, how: str) -> None:
    """A crowd comes, as many as there is room for wait, the others are turned away at once; then all leave."""
    socks = crowd(gate.http_ports[0], how)
    try:
        wait_for("all to be queued or turned away", lambda: all_settled(gate, socks), 30)
        said = answers(socks)
        assert len(said) >= CLIENTS - WORKERS * (QUEUE + ROOM)
        # On a slow machine the short time of the first is over before the last has come.
        late = (b"\nqueue-timeout\n", b"HTTP/1.1 504 ") if how == "closed" else ()
        for answer in said:
            if any(word in answer for word in late):
                continue
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: " in answer
            assert b"\nqueue-full\n" in answer
    finally:
        for sock in socks:
            if how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()


@pytest.mark.timeout(240)
def test_ten_thousand_wait_and_give_up(world, descriptors):
    def holds(wire: Wire) -> None:
        wire.read_head()
        world.wait(60)

    origin = world.origin(holds, "held")
    for how, seconds in TIMEOUTS.items():
        queue = f'max_requests = {ROOM}\nqueue = {{ size = {QUEUE}, timeout = "{seconds}s" }}'
        world.upstream(how, origin.url, more=queue, patience=f"{seconds + 1}s")
    probe = Probe(world.folder)
    settings = {"environ": probe.environ, "listener_extra": LIMITS, "workers": WORKERS}
    with Gate(world.folder, world.configuration(), **settings) as gate:
        pids = gate.worker_pids()
        begin = [probe.look(pid) for pid in pids]
        grown = []
        for how, seconds in (("reset", TIMEOUTS["reset"] / 2), ("closed", TIMEOUTS["closed"] * 4)):
            wait_and_give_up(gate, how)
            assert_nothing_left(gate, probe, *begin, seconds=seconds)
            grown.append([resident(pid) for pid in pids])
        first, second = grown
        assert all(now - before < MARGIN for before, now in zip(first, second, strict=True)), grown
        # Places are given away while the news that others have left is still being read, not for all of them.
        assert max(map(len, world.reached.values())) == 1
        assert len(world.reached) < CLIENTS / 20
        turned_away = gate.settled_metrics()['headgate_gateway_errors_total{reason="queue-full"}']
        assert turned_away == len(
            [line for line in gate.access_lines() if line.get("reason") == "queue-full"]
        )
