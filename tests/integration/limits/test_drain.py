"""Ends and signals: what is under way is finished, what is idle ends, and a dead worker hangs nobody."""

import contextlib
import json
import signal
import threading
import time

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.origin import Origin, ask, connect

GO = threading.Event()
SEEN: list[str] = []


def patient(wire):
    """Answer /wait only when told to, everything else at once."""
    while head := wire.read_head():
        SEEN.append(f"{head.words[0]} {head.target}")
        wire.read_content(head)
        if head.target == "/wait":
            GO.wait(20)
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")


@pytest.fixture
def origin():
    GO.clear()
    SEEN.clear()
    with Origin(patient) as origin:
        yield origin
        GO.set()


def gate_for(folder, origin, **options):
    return Gate(folder, f'[[route]]\nupstream="a"\n[upstream.a]\nendpoints=["{origin.url}"]', **options)


def test_sigterm_finishes_what_is_under_way(tmp_path, origin):
    with gate_for(tmp_path, origin) as gate:
        port = gate.http_ports[0]
        with connect(port) as busy, connect(port) as idle, connect(port) as uploading:
            idle.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.read_response()[0].status == 200
            busy.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            uploading.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
            wait_for(
                "the requests to be with the origin", lambda: sorted(SEEN) == ["GET /", "GET /wait", "POST /"]
            )
            gate.process.send_signal(signal.SIGTERM)
            assert idle.ended()
            with pytest.raises((ConnectionError, EOFError)):
                ask(port)
            uploading.send(b"cd")
            head, body = uploading.read_response()
            assert (head.status, head.get("connection"), body) == (200, "close", b"done")
            GO.set()
            head, body = busy.read_response()
            assert (head.status, head.get("connection"), body) == (200, "close", b"done")
            assert busy.ended()
        assert gate.stop() == 0
        assert gate.events("defect") == []


def test_a_drain_ends_when_its_time_is_over(tmp_path, origin):
    with gate_for(tmp_path, origin, top='drain_timeout = "1s"') as gate, connect(gate.http_ports[0]) as busy:
        busy.send(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for("the request to be with the origin", lambda: origin.open)
        began = time.monotonic()
        assert gate.stop() == 0
        assert time.monotonic() - began < 8
        assert busy.ended()
        events = gate.events("drain-timeout")
        assert events
        assert events[0]["connections"] == 1


def test_a_killed_worker_hangs_nobody(tmp_path, origin):
    """Every request of clients that come again ends, well or badly, and soon only well."""
    with gate_for(tmp_path, origin, workers=2) as gate:
        stop = threading.Event()
        outcomes = {"ok": 0, "broken": 0, "hung": 0}
        lock = threading.Lock()

        def load():
            while not stop.is_set():
                try:
                    with connect(gate.http_ports[0]) as wire:
                        wire.sock.settimeout(8)
                        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                        result = "ok" if wire.read_response()[0].status == 200 else "broken"
                except TimeoutError:
                    result = "hung"
                except (OSError, EOFError):
                    result = "broken"
                with lock:
                    outcomes[result] += 1

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for slot in range(2):
                before = outcomes["ok"]
                wait_for("load", lambda before=before: outcomes["ok"] > before + 100)
                # The second dies only when the first one's successor serves: there is always one to come to.
                gate.kill_worker(slot)
            before = dict(outcomes)
            wait_for("load after the kills", lambda: outcomes["ok"] > before["ok"] + 200)
        finally:
            stop.set()
            for thread in threads:
                thread.join(15)
        assert outcomes["hung"] == 0
        assert outcomes["broken"] < 40, outcomes
        assert len([e for e in gate.events("child-exited") if e["how"] == "signal SIGKILL"]) == 2


def test_sighup_says_that_reload_is_not_there_yet(tmp_path, origin):
    with gate_for(tmp_path, origin) as gate:
        gate.process.send_signal(signal.SIGHUP)
        wait_for("an event", lambda: [e for e in gate.all_events() if "reload" in json.dumps(e).lower()])
        assert ask(gate.http_ports[0])[0].status == 200


def test_sigusr1_opens_the_log_again(tmp_path, origin):
    with gate_for(tmp_path, origin) as gate:
        assert ask(gate.http_ports[0], "/before")[0].status == 200
        wait_for("the first line", lambda: len(gate.access_lines()) == 1)
        moved = gate.access.with_suffix(".1")
        gate.access.rename(moved)
        gate.process.send_signal(signal.SIGUSR1)
        wait_for("the new file", gate.access.exists)
        assert ask(gate.http_ports[0], "/after")[0].status == 200
        line = wait_for("its line", gate.access_lines)[-1]
        assert line["target"] == "/after"
        assert "/after" not in moved.read_text()
        with contextlib.suppress(FileNotFoundError):
            moved.unlink()


def test_tunnels_and_big_answers_survive_the_beginning_of_a_drain(tmp_path):
    def slow(wire):
        wire.read_head()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 20000000\r\n\r\n")
        for _ in range(200):
            wire.send(b"x" * 100_000)
        wire.read_head()

    with Origin(slow) as origin, gate_for(tmp_path, origin) as gate, connect(gate.http_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = wire.read_head()
        gate.process.send_signal(signal.SIGTERM)
        assert len(wire.read_content(head)) == 20_000_000
        assert wire.ended()
        assert gate.stop() == 0
