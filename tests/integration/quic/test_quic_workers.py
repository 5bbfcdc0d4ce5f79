"""QUIC over several workers: datagrams that come to the wrong one, workers that die, and a drain."""

import os
import signal
import threading

from headgate.engine.quic.connection_ids import CID_LENGTH
from headgate.testing.origin import Origin

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
