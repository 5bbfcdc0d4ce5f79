"""A flood at full speed, over TLS and in the clear: refused and counted by limit, memory bounded, others served.

The limits are the defaults. One client network floods from several threads: it connects as fast as it can and begins
to shake hands or sends half a head; first it lets go at once, then it holds on to more than one client may have.
Another network asks politely meanwhile.
"""

import contextlib
import os
import select
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.origin import connect
from headgate.testing.pki import Authority

SOAK = os.environ.get("HEADGATE_SOAK") == "1"
SECONDS = 300.0 if SOAK else 5.0
FLOODERS = 4
# Of 256 connections that one client may have at 36 KiB each, and what the allocator keeps from their handshakes.
GROWTH = 24 * 1024 * 1024
PATIENCE = 1.0


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def alive(wire):
    """Whether the gate has let this connection in: an end or a reset is there to be read at once."""
    if not select.select([wire.sock], [], [], 0)[0]:
        return True
    try:
        return bool(wire.sock.recv(1, socket.MSG_PEEK))
    except OSError:
        return False


class Flood:
    """Connections without pause until told to end; each thread holds on to `hold` that were let in."""

    def __init__(self, port, context, hold):
        self.opened = 0
        self._port, self._context, self._hold = port, context, hold
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(FLOODERS)]

    def _run(self):
        held = []
        while not self._stop.is_set():
            with contextlib.suppress(OSError):
                wire = connect(self._port)
                wire.sock.settimeout(PATIENCE)
                self.opened += 1
                held.append(wire)
                if self._context is None:
                    wire.send(b"GET / HTTP/1.1\r\nHost: ")
                else:
                    wire.sock.sendall(self._hello())
            if len(held) > self._hold + 50:
                let_in = [wire for wire in held if alive(wire)][: self._hold]
                for wire in held:
                    if wire not in let_in:
                        wire.close()
                held = let_in
        for wire in held:
            wire.close()

    def _hello(self):
        """Return a real ClientHello: the gate answers with its whole flight, signature and all."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_hostname="a.test")
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        return outgoing.read()

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


@pytest.mark.soak
@pytest.mark.timeout(7200 if SOAK else 60)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_flood_is_bounded_and_others_are_served(tmp_path, secure):
    leaf = Authority.root().leaf("a.test")
    certificate = tmp_path / "a.pem"
    certificate.write_bytes(leaf.chain_pem + leaf.key_pem)
    text = f'[[route]]\nrespond = {{ body = "here" }}\n[[certificate]]\nfiles = "{certificate}"\n'
    context = ssl.create_default_context() if secure else None
    with Gate(tmp_path, text, http=1, https=1) as gate:
        pid = gate.worker_pids()[0]
        port = gate.https_ports[0] if secure else gate.http_ports[0]
        with Flood(port, context, 0):  # warm: buffers, tables and the allocator's pools come into being
            time.sleep(1.5)  # the flood is the load, and its length is what is under test
        before = gate.settled_metrics()
        began = time.monotonic()
        base = most = resident(pid)
        waits = []
        opened = 0
        with connect(gate.http_ports[0], source="127.0.0.2") as good:
            for hold in (0, 100):
                with Flood(port, context, hold) as flood:
                    ends = time.monotonic() + SECONDS / 2
                    while time.monotonic() < ends:
                        asked = time.monotonic()
                        good.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                        assert good.read_response()[1] == b"here"
                        waits.append(time.monotonic() - asked)
                        most = max(most, resident(pid))
                        time.sleep(0.01)
                    if hold:  # four times as many are more than one client may have
                        key = 'headgate_refused_total{limit="per_client"}'
                        wait_for("one too many", lambda key=key: gate.metrics()[key] > before[key])
                opened += flood.opened
        after = gate.settled_metrics()
        lasted = time.monotonic() - began
        assert most - base <= GROWTH
        assert opened > 1000
        refused = {
            limit: after[key] - before[key]
            for limit in ("per_client", "connection_rate")
            if (key := f'headgate_refused_total{{limit="{limit}"}}')
        }
        assert min(refused.values()) > 0, refused
        # 500 a second and one burst of 500 are what the rate lets in.
        let_in = after["headgate_connections_total"] - before["headgate_connections_total"]
        assert let_in <= 500 * (lasted + 1) + 500
        waits.sort()
        assert waits[len(waits) * 99 // 100] < PATIENCE
        wait_for("the places to be free", lambda: gate.metrics()["headgate_connections_open"] <= 1)
        assert all(
            value == 0 for name, value in gate.metrics().items() if name.startswith("headgate_held_bytes")
        )
        assert gate.worker_pids() == [pid]
        assert not gate.events("defect")
