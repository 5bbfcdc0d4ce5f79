"""QUIC over several workers: datagrams that come to the wrong one, workers that die, and a drain."""

import os
import signal
import threading
import time

import pytest

from headgate.engine.quic.connection_ids import CID_LENGTH
from headgate.testing.origin import Origin

SOAK = os.environ.get("HEADGATE_SOAK") == "1"
HANDED = 'headgate_quic_handed_over_total{direction="received"}'


def moved_to_another_worker(site, gate, helpers, client):
    """Rebind until the kernel gives the client's datagrams to another worker than its connection's."""
    before = gate.metrics().get(HANDED, 0.0)

    def moved():
        client.rebind()
        assert client.get("/").status == 200
        return gate.metrics().get(HANDED, 0.0) > before

    # Two sockets: each new port is a coin that is thrown, and metrics are a second old.
    helpers.wait_for("another worker's socket", moved, 40)


def test_a_client_that_moves_to_another_workers_socket_is_served_on(site, helpers):
    site.certificate("a", "a.test")
    with site.gate(workers=2) as gate, site.h3(gate) as client:
        client.get("/")
        moved_to_another_worker(site, gate, helpers, client)
        assert client.end is None
        assert helpers.counted(gate, 'headgate_quic_handed_over_total{direction="sent"}') >= 1


def answered_or_reset(client):
    """Ask once more; tell whether that was answered, and not reset."""
    reply = client.ask("/")
    client.run_until(lambda: reply.is_over or client.end is not None, "an answer or a reset")
    assert reply.ended or "reset" in client.end.reason, client.end
    return reply.ended


def test_a_killed_worker_is_followed_by_one_that_resets_its_connections(site, helpers):
    site.certificate("a", "a.test")
    with site.gate(workers=2) as gate:
        clients = [site.h3(gate) for _ in range(8)]
        for client in clients:
            client.get("/")
        victim = gate.child_pids("worker 0")[-1]
        helpers.wait_for(
            "the figures",
            lambda: sum(helpers.by_process(gate, "quic_accepted_total").values()) >= len(clients),
        )
        counts = helpers.by_process(gate, "quic_accepted_total")
        os.kill(victim, signal.SIGKILL)
        helpers.wait_for("its successor", lambda: len(gate.child_pids("worker 0")) > 1)
        served = reset = 0
        for client in clients:
            if answered_or_reset(client):
                served += 1
            else:
                reset += 1
            client.close()
        # Those of the dead one hear of it at once; those of the other one go on, wherever the kernel puts them now.
        assert (served, reset) == (counts.get("worker 1", 0), counts.get("worker 0", 0))


def test_a_drain_says_goaway_and_lets_what_is_under_way_end(site, helpers):
    site.certificate("a", "a.test")
    go, asked = threading.Event(), threading.Event()

    def slow(wire):
        while head := wire.read_head():
            wire.read_content(head)
            asked.set()
            go.wait(20)
            wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")

    with Origin(slow) as origin:
        text = f'[[route]]\nupstream = "u"\n[upstream.u]\nendpoints = ["{origin.url}"]\n'
        gate = site.gate(text)
        gate.start()
        with site.h3(gate) as client:
            reply = client.ask("/")
            client.run_until(asked.is_set, "the request at the origin")
            gate.process.send_signal(signal.SIGTERM)
            client.run_until(lambda: client.goaway is not None, "GOAWAY")
            assert not reply.is_over
            # RFC 9114 section 5.2: what was asked before is answered.
            go.set()
            client.run_until(lambda: reply.is_over, "the late answer")
            assert (reply.status, reply.body) == (200, b"late")
            client.run_until(lambda: client.end is not None, "the end")
            assert client.end.code == 0x100
        assert gate.stop() == 0


def test_a_restarted_gate_resets_the_connections_of_the_one_before(site, helpers):
    site.certificate("a", "a.test")
    gate = site.gate()
    gate.start()
    with site.h3(gate) as client:
        client.get("/")
        for pid in (gate.pid, *gate.worker_pids(), *gate.child_pids("keeper")):
            os.kill(pid, signal.SIGKILL)
        gate.process.wait()
        helpers.wait_for("its workers to end", lambda: not alive(gate.worker_pids()))
        gate.start()
        reply = client.ask("/")
        # RFC 9000 section 10.3: the key of reset tokens outlives the process, so the client believes it.
        client.run_until(lambda: client.end is not None, "a stateless reset")
        assert not reply.ended
    gate.stop()


def alive(pids):
    found = []
    for pid in pids:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                found += [pid] if stat.read().rpartition(")")[2].split()[0] != "Z" else []
        except OSError:
            continue
    return found


def test_connection_ids_of_one_client_do_not_show_its_worker(site):
    """RFC 9000 section 5.1: nothing that outsiders could link or read."""
    site.certificate("a", "a.test")
    with site.gate(workers=2) as gate:
        seen = set()
        for _ in range(6):
            with site.h3(gate) as client:
                client.get("/")
                seen.add(client.quic.peer_ids.current)
        assert {len(one) for one in seen} == {CID_LENGTH}
        assert len(seen) == 6
        assert len({one[:1] for one in seen}) > 1


# What comes for a worker that starts waits for it, seconds on a busy machine; whoever waits longer hangs.
HANDSHAKE_PATIENCE = 10.0
REPLY_PATIENCE = 20.0


class Load:
    """Clients that connect, ask a few times and come again, until told to end; they note what they met."""

    def __init__(self, site, gate, clients=4):
        self.done = self.ended = self.cut = 0
        self.hung = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(site, gate), daemon=True) for _ in range(clients)
        ]

    def _run(self, site, gate):
        while not self._stop.is_set():
            with site.h3(gate, patience=HANDSHAKE_PATIENCE) as client:
                try:
                    client.shake()
                except AssertionError:
                    # A worker that dies takes the keys of its handshakes with it: nobody can tell that client.
                    self.cut += 1
                    continue
                for _ in range(5):
                    if client.goaway is not None or client.end is not None:
                        break
                    reply = client.ask("/")
                    try:
                        client.run_until(
                            lambda r=reply, c=client: r.is_over or c.end is not None, "it", REPLY_PATIENCE
                        )
                    except AssertionError as error:
                        self.hung.append(str(error))
                        break
                    if not reply.ended:
                        self.ended += 1
                        break
                    self.done += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(HANDSHAKE_PATIENCE + REPLY_PATIENCE)


UNMETERED = 'limits = { connection_rate = "100000/s", all_connection_rate = "100000/s" }\n'


@pytest.mark.soak
@pytest.mark.parametrize("_again", range(40 if SOAK else 1))
def test_workers_killed_under_load_hang_no_client(site, helpers, _again):
    site.certificate("a", "a.test")
    with site.gate(workers=2, listener_extra=UNMETERED) as gate, Load(site, gate) as load:
        helpers.wait_for("load", lambda: load.done > 50)
        for round_ in range(3):
            gate.kill_worker(round_ % 2)
            before = load.done
            helpers.wait_for("load again", lambda before=before: load.done > before + 50)
    assert load.hung == []
    # At most the handshakes that were under way with each of the dead.
    assert load.cut <= 3 * 4


@pytest.mark.soak
@pytest.mark.parametrize("_again", range(40 if SOAK else 1))
def test_a_drain_under_load_hangs_no_client(site, helpers, _again):
    site.certificate("a", "a.test")
    gate = site.gate(workers=2, listener_extra=UNMETERED)
    gate.start()
    with Load(site, gate) as load:
        helpers.wait_for("load", lambda: load.done > 50)
        started = time.monotonic()
        assert gate.stop() == 0
        # Nobody is idle here for longer than a moment: nothing has to wait for a timeout.
        assert time.monotonic() - started < 10
        load._stop.set()
    assert load.hung == []


def test_clients_that_come_while_a_worker_starts_are_served_by_it(site, helpers):
    site.certificate("a", "a.test")
    with site.gate() as gate:
        for round_ in range(4):
            os.kill(gate.worker_pids()[-1], signal.SIGKILL)
            helpers.wait_for("its successor", lambda n=round_ + 2: len(gate.worker_pids()) == n)
            # The socket is bound, and nobody reads yet: what waits there must be as good as what comes later.
            with site.h3(gate, patience=12.0) as client:
                assert client.get("/").status == 200
