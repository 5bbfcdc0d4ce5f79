"""What an idle TLS connection costs a worker: the goal is 36 KiB, with everything that hangs on it."""

import gc
import json
import os
import select
import socket
from pathlib import Path

import pytest
from OpenSSL import SSL

from headgate.clock import SystemClock
from headgate.counters import Counters
from headgate.net.transport import DONE
from headgate.tls.context import ServerTls
from headgate.tls.policy import TlsPolicy
from headgate.tls.tickets import TicketRing

CONNECTIONS = 300
WARM_UP = 30
GOAL = 36 * 1024


def private_bytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no Private_Dirty")


def ready(sock: socket.socket) -> None:
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    assert poller.poll(10_000)


def clients(port: int) -> None:
    """Open connections, make one request on each, and hold them until the parent goes."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    held = []
    for _ in range(WARM_UP + CONNECTIONS):
        conn = SSL.Connection(context, socket.create_connection(("127.0.0.1", port)))
        conn.set_tlsext_host_name(b"a.test")
        conn.set_connect_state()
        conn.do_handshake()
        conn.send(b"x" * 400)
        conn.recv(100)
        held.append(conn)


def measure(listener: socket.socket, tls: ServerTls) -> float:
    held, before = [], 0
    for number in range(WARM_UP + CONNECTIONS):
        if number == WARM_UP:
            gc.collect()
            before = private_bytes()
        sock, _ = listener.accept()
        sock.setblocking(False)
        transport = tls.accept(sock)
        ready(sock)
        while transport.handshake() != DONE:
            ready(sock)
        while transport.read(16384) is None:
            ready(sock)
        transport.write(b"y" * 100)
        held.append(transport)
    gc.collect()
    return (private_bytes() - before) / CONNECTIONS


def in_child(work) -> tuple[int, int]:
    """Run `work` in a forked process; return its id and where its JSON result can be read."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    return child, reader


@pytest.mark.slow
def test_idle_connection(site):
    ring = TicketRing(TlsPolicy("https"), SystemClock(), size=2)
    tls = ServerTls(ring, [site.identity("a.test")], Counters().values, SystemClock(), lambda name, why: None)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        # Inherited by what is accepted: tickets and answer are small writes in a row.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        port = listener.getsockname()[1]
        peer, peer_pipe = in_child(lambda: clients(port))
        child, pipe = in_child(lambda: measure(listener, tls))
        try:
            each = json.loads(os.read(pipe, 100))
        finally:
            for process, end in ((peer, peer_pipe), (child, pipe)):
                os.waitpid(process, 0)
                os.close(end)
    print(f"an idle TLS connection costs {each / 1024:.1f} KiB")
    assert each < GOAL
