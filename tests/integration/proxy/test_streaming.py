"""Big bodies, slow and vanishing clients: backpressure holds memory, and what nobody needs is let go of."""

import resource
import socket
import time
from pathlib import Path

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.origin import Origin, connect

MIB = 1 << 20
PIECE = bytes(range(256)) * 1024  # 256 KiB


def source(wire):
    """Send as many MiB as the path says, or take whatever comes and tell how much it was."""
    while head := wire.read_head():
        if head.words[0] == "GET":
            size = int(head.target.strip("/"))
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size * MIB))
            for _ in range(size * 4):
                wire.send(PIECE)
        else:
            left = int(head.get("content-length"))
            while left > 0:
                data = wire.buffer or wire.sock.recv(1 << 18)
                wire.buffer = b""
                if not data:
                    return
                left -= len(data)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")


@pytest.fixture(scope="module")
def origin():
    with Origin(source) as origin:
        yield origin


@pytest.fixture(scope="module")
def gate(tmp_path_factory, origin):
    text = f'[[route]]\nupstream="a"\n[upstream.a]\nendpoints=["{origin.url}"]'
    with Gate(tmp_path_factory.mktemp("gate"), text) as gate:
        yield gate
        assert gate.events("defect") == []


def resident(pid):
    """Resident memory of a process in bytes."""
    text = Path(f"/proc/{pid}/statm").read_text()
    return int(text.split()[1]) * resource.getpagesize()


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def slow_client(gate):
    """A client with a small receive buffer, so that the gate feels it at once."""
    wire = connect(gate.http_ports[0])
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    return wire


def download(wire, mebibytes, watch, *, pause_every=0):
    """Read a body, checking its content by samples; `watch` is called now and then."""
    wire.send(f"GET /{mebibytes} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = wire.read_head()
    assert head.get("content-length") == str(mebibytes * MIB)
    for index in range(mebibytes):
        assert wire.read_exactly(MIB)[-256:] == PIECE[-256:]
        if pause_every and index % pause_every == 0:
            time.sleep(
                0.01
            )  # a slow reader is what is under test: the wait is the load, not a synchronisation
        if index % 8 == 0:
            watch()


@pytest.mark.timeout(300)
def test_five_gibibytes_do_not_grow_the_worker(gate):
    """The bound of the issue: at most 1 MiB after a warm-up of 64 MiB."""
    pid = gate.worker_pids()[-1]
    with slow_client(gate) as wire:
        # The warm-up is slow: each kind of sweep has run once then, and a read has lain here with its remains.
        for _ in range(4):
            download(wire, 16, lambda: None, pause_every=1)
            time.sleep(0.3)
        base = resident(pid)
        most = [base]
        download(wire, 5 * 1024, lambda: most.append(resident(pid)), pause_every=64)
    assert max(most) - base <= MIB


def test_an_upload_to_a_slow_origin_does_not_grow_the_worker(tmp_path):
    def slow(wire):
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        head = wire.read_head()
        left = int(head.get("content-length")) - len(wire.buffer)
        count = 0
        while left > 0 and (data := wire.sock.recv(1 << 18)):
            left -= len(data)
            count += 1
            if count % 64 == 0:
                time.sleep(0.005)  # slowness is the load
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    with (
        Origin(slow) as origin,
        Gate(tmp_path, f'[[route]]\nupstream="a"\n[upstream.a]\nendpoints=["{origin.url}"]') as gate,
        connect(gate.http_ports[0]) as wire,
    ):
        pid = gate.worker_pids()[-1]
        wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (128 * MIB))
        for _ in range(16 * 4):
            wire.send(PIECE)
        base = resident(pid)
        most = base
        for index in range(112 * 4):
            wire.send(PIECE)
            if index % 32 == 0:
                most = max(most, resident(pid))
        assert wire.read_response()[1] == b"done"
    assert most - base < 8 * MIB


def test_a_client_that_leaves_frees_the_upstream(gate, origin):
    key = 'headgate_aborted_total{side="downstream"}'
    before = gate.settled_metrics()[key]
    with slow_client(gate) as wire:
        wire.send(b"GET /512 HTTP/1.1\r\nHost: x\r\n\r\n")
        wire.read_exactly(MIB)
        assert origin.open >= 1
    wait_for("the counter", lambda: gate.metrics()[key] == before + 1)
    wait_for(
        "the origin's connection to end",
        lambda: origin.open == gate.metrics()["headgate_upstream_connections_open"],
    )


def test_a_stopped_reader_costs_no_cpu_and_a_reset_ends_it(gate, origin):
    """Stopped, then broken: neither side's hang-up may wake the worker for ever."""
    pid = gate.worker_pids()[-1]
    wire = slow_client(gate)
    wire.send(b"GET /64 HTTP/1.1\r\nHost: x\r\n\r\n")
    wire.read_exactly(MIB)
    held = wait_for(
        "the gate to feel it", lambda: gate.metrics()['headgate_held_bytes{limit="downstream-buffer"}']
    )
    assert held < 2 * MIB
    before = cpu_seconds(pid)
    began = time.monotonic()
    wait_for("a second to pass", lambda: time.monotonic() - began > 1)
    assert cpu_seconds(pid) - before < 0.4
    wire.reset()
    wait_for(
        "the buffer to be given up",
        lambda: not gate.metrics()['headgate_held_bytes{limit="downstream-buffer"}'],
    )


def test_an_origin_that_breaks_while_the_client_is_slow_costs_no_cpu(tmp_path):
    def breaks(wire):
        wire.read_head()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        wire.sock.settimeout(1)
        try:
            for _ in range(64 * 4):
                wire.send(PIECE)
        except TimeoutError:
            wire.reset()

    with (
        Origin(breaks) as origin,
        Gate(tmp_path, f'[[route]]\nupstream="a"\n[upstream.a]\nendpoints=["{origin.url}"]') as gate,
        slow_client(gate) as wire,
    ):
        pid = gate.worker_pids()[-1]
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for("the origin to break", lambda: origin.accepted and not origin.open)
        before = cpu_seconds(pid)
        began = time.monotonic()
        wait_for("a second to pass", lambda: time.monotonic() - began > 1)
        assert cpu_seconds(pid) - before < 0.4
        with pytest.raises((EOFError, ConnectionResetError)):
            wire.read_response()


def test_a_client_that_breaks_while_its_answer_is_awaited_costs_no_cpu(tmp_path):
    """Half-closed, then reset: the end was read already, so that only the hang-up is left to tell."""

    def slow(wire):
        wire.read_head()
        wire.read_to_end()

    with (
        Origin(slow) as origin,
        Gate(tmp_path, f'[[route]]\nupstream="a"\n[upstream.a]\nendpoints=["{origin.url}"]') as gate,
    ):
        pid = gate.worker_pids()[-1]
        wire = connect(gate.http_ports[0])
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wire.sock.shutdown(socket.SHUT_WR)
        wait_for("the origin", lambda: origin.open)
        before = cpu_seconds(pid)
        wire.reset()
        wait_for("the upstream to be let go of", lambda: not origin.open)
        assert cpu_seconds(pid) - before < 0.4
        line = wait_for("the log line", gate.access_lines)[0]
        assert line["reason"] == "hung-up"
