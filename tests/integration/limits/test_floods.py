"""More connections than a limit allows: limit + 1 is refused and counted, and others are served."""

import contextlib
import os
import resource
import select
import time

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.origin import Origin, connect

ROUTE = '[[route]]\nupstream = "a"\n[upstream.a]\nendpoints = ["{url}"]\n'


@pytest.fixture(scope="module")
def origin():
    with Origin() as origin:
        yield origin


def limits(**values):
    return "[listener.limits]\n" + "".join(
        f"{name} = {value!r}\n".replace("'", '"') for name, value in values.items()
    )


def served(port, source=""):
    """Return a new connection that got its answer, or None when it was closed at once."""
    wire = None
    try:
        wire = connect(port, source=source)
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        if wire.read_response()[0].status == 200:
            return wire
    except (EOFError, ConnectionError):
        pass  # the reset may come as early as connect() looks
    if wire is not None:
        wire.close()
    return None


def welcome(port, source=""):
    """Whether a new connection gets its answer."""
    wire = served(port, source)
    if wire is not None:
        wire.close()
    return wire is not None


def refused(gate, limit):
    return gate.metrics()[f'headgate_refused_total{{limit="{limit}"}}']


def flood(gate, count, sources):
    """Open connections one after the other; return those that are served."""
    return [
        wire for index in range(count) if (wire := served(gate.http_ports[0], sources[index % len(sources)]))
    ]


@pytest.mark.parametrize(
    ("limit", "settings", "sources"),
    [
        ("connections", {"connections": 5}, ["127.0.0.1", "127.0.0.2"]),
        ("per_client", {"per_client": 5}, ["127.0.0.1"]),
        ("connection_rate", {"connection_rate": "5/m"}, ["127.0.0.1"]),
        ("all_connection_rate", {"all_connection_rate": "5/m"}, ["127.0.0.1", "127.0.0.2"]),
    ],
)
def test_one_more_than_the_limit_is_refused(tmp_path, origin, limit, settings, sources):
    with Gate(tmp_path, ROUTE.format(url=origin.url), http=2, listener_extra=limits(**settings)) as gate:
        rate = limit.endswith("rate")
        wires = flood(gate, 5 if not rate else 1, sources)
        allowed = 5 if not rate else 1
        assert len(wires) == allowed
        assert served(gate.http_ports[0], sources[0]) is None
        for _ in range(4):
            assert served(gate.http_ports[0], sources[0]) is None
        wait_for("the counter", lambda: refused(gate, limit) == 5)
        # Those that are in go on, another listener has limits of its own, another network too.
        wires[0].send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wires[0].read_response()[0].status == 200
        assert welcome(gate.http_ports[1], "127.0.0.1")
        if limit in ("per_client", "connection_rate"):
            assert welcome(gate.http_ports[0], "127.0.0.9")
        for wire in wires:
            wire.close()
        if not rate:
            wait_for("a free place", lambda: welcome(gate.http_ports[0], sources[0]))
        assert gate.events("defect") == []


def test_a_rate_lets_its_burst_in_and_recovers(tmp_path, origin):
    """A bucket holds one second's worth, and fills again."""
    with Gate(tmp_path, ROUTE.format(url=origin.url), listener_extra=limits(connection_rate="10/s")) as gate:
        wires = []
        began = time.monotonic()
        for _ in range(40):
            with contextlib.suppress(ConnectionError):
                wires.append(connect(gate.http_ports[0]))
        in_time = 0
        for wire in wires:
            with contextlib.suppress(EOFError, ConnectionError):
                wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                in_time += wire.read_response()[0].status == 200
        took = time.monotonic() - began
        assert 10 <= in_time <= 10 + 10 * took + 1
        wait_for("the counter", lambda: refused(gate, "connection_rate") == 40 - in_time)
        wait_for("the bucket to fill", lambda: welcome(gate.http_ports[0]))
        for wire in wires:
            wire.close()


def test_without_descriptors_others_are_served_and_it_recovers(tmp_path, origin):
    """EMFILE: who is in goes on, who waits is turned away at once, and places that become free are given out.

    The gate lowers `connections` to what its limit of descriptors carries, so the limit is taken from it afterwards.
    """
    text = ROUTE.format(url=origin.url) + '[[route]]\npath_exact = "/fixed"\nrespond = { body = "here" }\n'
    with Gate(tmp_path, text) as gate, contextlib.ExitStack() as stack:
        port = gate.http_ports[0]
        inside = stack.enter_context(served(port))
        pid = gate.worker_pids()[0]
        highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 10, hard))
        held = []
        refused = 0
        for _ in range(60):
            try:
                held.append(stack.enter_context(connect(port)))
            except ConnectionResetError:
                refused += 1  # turned away before connect() returned
        wait_for("the counter", lambda: gate.metrics()["headgate_accept_failed_total"] > 0)
        inside.send(b"GET /fixed HTTP/1.1\r\nHost: x\r\n\r\n")
        assert inside.read_response()[1] == b"here"
        # Turned away, not left in the queue: an end or a reset makes a silent socket readable.
        socks = [wire.sock for wire in held]
        wait_for(
            "the others to be turned away", lambda: refused + len(select.select(socks, [], [], 0)[0]) >= 40, 5
        )
        for wire in held:
            wire.close()
        wait_for("it to recover", lambda: welcome(port))
        assert gate.events("defect") == []
        assert len(gate.worker_pids()) == 1, "no worker died of it"
