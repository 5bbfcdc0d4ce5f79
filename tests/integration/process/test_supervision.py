"""The supervisor with real forks, sockets and signals, and fake children."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest


def wait_until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
    return value


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_starts_serves_and_drains_on_sigterm(gate):
    one = gate(workers=2)
    answers = [one.ask() for _ in range(40)]
    assert {a["slot"] for a in answers} == {0, 1}
    assert all(a["tickets"] == "'ring'" and a["snapshot"] == 1 for a in answers)
    pids = {a["pid"] for a in answers}
    keeper = one.wait_for("keeper-runs")["pid"]
    one.signal(signal.SIGTERM)
    assert one.finish() == 0
    assert not any(alive(pid) for pid in (*pids, keeper))
    exits = [e for e in one.events if e["event"] == "child-exited"]
    assert {e["child"] for e in exits} == {"worker 0", "worker 1", "keeper"}
    assert all(e["how"] == "exit status 0" and e["level"] == "info" for e in exits)
    # The keeper answers `headgate status` until the workers are gone.
    assert exits[-1]["child"] == "keeper"


def test_killed_worker_is_replaced_and_no_connection_hangs(gate):
    one = gate(workers=2)
    port = one.port
    victim = one.ask()
    hung, answered, stop = [], [], threading.Event()

    def client():
        while not stop.is_set():
            try:
                answered.append(one.ask(port)["pid"])
            except (ConnectionResetError, AssertionError):
                pass  # it was on the dead worker: ended at once, not hung
            except TimeoutError as exc:
                hung.append(exc)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    os.kill(victim["pid"], signal.SIGKILL)
    dead = one.wait_for("child-exited", pid=victim["pid"])
    again = one.wait_for("child-started", child=f"worker {victim['slot']}", generation=2)
    served = one.wait_for("child-listening", child=again["child"], generation=2)
    assert served["pid"] == again["pid"]
    wait_until(lambda: again["pid"] in answered)
    stop.set()
    for thread in threads:
        thread.join()
    assert hung == []
    assert dead["how"] == "signal SIGKILL"
    assert dead["next"] == "restart in 0 s"
    assert victim["pid"] not in answered[-20:]


def test_restarted_worker_gets_the_staples_and_the_others_never_stopped(gate, directory):
    (directory / "certificates").mkdir()
    (directory / "certificates" / "a.pem").write_text("A1")
    one = gate(workers=2)
    wanted = {"a.pem": {"made_for": "A1", "by": 1}}
    assert all(one.ask()["staples"] == wanted for _ in range(20))
    victim = one.ask()
    os.kill(victim["pid"], signal.SIGKILL)
    again = one.wait_for("child-started", child=f"worker {victim['slot']}", generation=2)
    answer = wait_until(lambda: next((a for a in [one.ask()] if a["pid"] == again["pid"]), None))
    assert answer["staples"] == wanted
    assert answer["generation"] == 2


def test_killed_keeper_is_replaced_and_workers_keep_their_staples(gate, directory):
    (directory / "certificates").mkdir()
    (directory / "certificates" / "a.pem").write_text("A1")
    one = gate(workers=1, keeper_silent_after=1)
    assert one.ask()["staples"] == {"a.pem": {"made_for": "A1", "by": 1}}
    os.kill(one.wait_for("keeper-runs")["pid"], signal.SIGKILL)
    assert one.wait_for("child-exited", child="keeper")["how"] == "signal SIGKILL"
    second = one.wait_for("keeper-runs", generation=2)
    # The staples of the first keeper reach the second one too.
    assert one.wait_for("keeper-has", since=one.events.index(second))["staples"] == ["a.pem"]
    assert one.ask()["staples"] == {"a.pem": {"made_for": "A1", "by": 1}}
    os.kill(one.ask()["pid"], signal.SIGKILL)
    one.wait_for("child-started", child="worker 0", generation=2)
    answer = wait_until(lambda: _ask_or_none(one))
    assert answer["staples"] == {"a.pem": {"made_for": "A1", "by": 1}}


def _ask_or_none(one):
    try:
        return one.ask()
    except OSError:
        return None


def test_keeper_never_has_a_private_key_not_even_after_a_restart(gate, directory):
    (directory / "certificates").mkdir()
    (directory / "certificates" / "a.pem").write_text("of the files")
    one = gate(workers=1, look_at_memory=True)
    answer = one.ask()
    assert answer["keys"] == ["secret of the files"]
    assert answer["memory"] is True  # the search finds what is there
    assert one.wait_for("keeper-has")["memory"] is False
    os.kill(one.wait_for("keeper-runs")["pid"], signal.SIGKILL)
    second = one.wait_for("keeper-runs", generation=2)
    has = one.wait_for("keeper-has", since=one.events.index(second))
    assert has["keys"] == [""]
    assert has["memory"] is False


def test_listening_waits_for_the_keeper(gate):
    one = gate(workers=1, tried_after=0.3)
    one.wait_for("panel")
    names = [e["event"] for e in one.events]
    assert names.index("keeper-tried") < names.index("listening")
    assert "startup-wait-over" not in names


def test_listening_waits_no_longer_than_startup_wait(gate):
    one = gate(workers=1, never_tried=True, startup_wait=0.3)
    assert one.wait_for("startup-wait-over")["seconds"] == 0.3
    assert one.ask()["slot"] == 0


def test_new_certificate_files_become_a_snapshot_and_old_staples_stay_behind(gate, directory):
    (directory / "certificates").mkdir()
    (directory / "certificates" / "a.pem").write_text("A1")
    (directory / "certificates" / "b.pem").write_text("B1")
    one = gate(workers=1, keeper_silent_after=1)
    assert set(one.ask()["staples"]) == {"a.pem", "b.pem"}
    keeper = one.wait_for("keeper-runs")["pid"]
    os.kill(keeper, signal.SIGKILL)  # the second keeper sends no staples
    one.wait_for("keeper-runs", generation=2)
    (directory / "certificates" / "a.pem").write_text("A2")
    answer = wait_until(lambda: next((a for a in [one.ask()] if a["snapshot"] == 2), None))
    assert answer["keys"] == ["secret A2", "secret B1"]
    assert set(answer["staples"]) == {"b.pem"}


def test_drain_lets_open_connections_end(gate):
    one = gate(workers=1)
    with socket.create_connection(("127.0.0.1", one.port), 5) as sock:
        one.ask_on(sock)
        one.signal(signal.SIGINT)
        one.wait_for("worker-drains", open=1)
        with pytest.raises(ConnectionRefusedError):
            one.ask()
        assert one.ask_on(sock)["slot"] == 0
    assert one.finish() == 0


def test_drain_kills_after_its_time_and_still_exits_0(gate):
    one = gate(workers=2, never_drains=True, drain_timeout=0.3)
    one.wait_for("panel")
    one.signal(signal.SIGTERM)
    assert one.finish() == 0
    assert sum(e["event"] == "drain-killed" for e in one.events) == 2


def test_second_signal_cuts_the_drain_short(gate):
    one = gate(workers=1, never_drains=True, drain_timeout=60)
    one.wait_for("panel")
    one.signal(signal.SIGTERM)
    one.wait_for("draining")
    one.signal(signal.SIGTERM)
    assert one.finish() == 0
    assert any(e["event"] == "drain-cut-short" for e in one.events)


def test_a_signal_in_the_last_moment_does_not_spoil_the_end(gate):
    one = gate(workers=1, signal_in_the_end=True)
    one.wait_for("panel")
    one.signal(signal.SIGTERM)
    assert one.finish() == 0
    assert one.events[-1]["event"] == "stopped"


def test_children_drain_and_exit_when_the_supervisor_is_killed(gate):
    one = gate(workers=2)
    pids = {one.ask()["pid"] for _ in range(40)} | {one.wait_for("keeper-runs")["pid"]}
    assert len(pids) == 3
    one.process.kill()
    one.process.wait()
    wait_until(lambda: not any(alive(pid) for pid in pids))


def test_sighup_says_that_reload_is_not_built(gate):
    one = gate(workers=1)
    before = one.ask()
    one.signal(signal.SIGHUP)
    assert one.wait_for("reload-not-built")["level"] == "warning"
    assert one.ask() == before


def test_sigusr1_is_relayed(gate):
    one = gate(workers=1)
    assert one.ask()["reopened"] == 0
    one.signal(signal.SIGUSR1)
    wait_until(lambda: one.ask()["reopened"] == 1)


def test_terminal_interrupt_of_the_whole_group_drains_once(gate):
    one = gate(workers=1)
    for pid in (one.ask()["pid"], one.wait_for("keeper-runs")["pid"], one.process.pid):
        os.kill(pid, signal.SIGINT)
    assert one.finish() == 0
    assert not any(e["event"] == "drain-cut-short" for e in one.events)
    assert all(e["how"] == "exit status 0" for e in one.events if e["event"] == "child-exited")


def test_worker_that_dies_in_its_start_is_restarted_with_growing_pauses(gate):
    one = gate(workers=2, dies_in_start=1)
    pauses = []
    since = 0
    for _ in range(3):
        event = one.wait_for("child-exited", since=since, child="worker 1")
        since = one.events.index(event) + 1
        pauses.append(event["next"])
        assert event["how"] == "exit status 3"
    assert pauses == ["restart in 0 s", "restart in 1 s", "restart in 2 s"]


def test_worker_that_hangs_in_its_start_is_given_up_and_restarted_with_growing_pauses(gate):
    one = gate(workers=2, hangs_in_start=2, answer_timeout=0.5)
    pauses = []
    for generation in (1, 2):
        started = one.wait_for("child-started", child="worker 1", generation=generation)
        stuck = one.wait_for("child-stuck", since=one.events.index(started), child="worker 1")
        assert stuck["level"] == "error"
        assert stuck["pid"] == started["pid"]
        assert stuck["reason"] == "it was started and is not ready after 0.5 s"
        exited = one.wait_for("child-exited", pid=started["pid"])
        assert exited["how"] == "signal SIGKILL"
        pauses.append(exited["next"])
    assert pauses == ["restart in 0 s", "restart in 1 s"]
    # The third one is sound, and the gate is whole; the other worker was left alone.
    one.wait_for("listening")
    assert {e["child"] for e in one.events if e["event"] == "child-exited"} == {"worker 1"}


def test_worker_that_does_not_listen_when_told_is_given_up(gate):
    one = gate(workers=2, never_listens=True, answer_timeout=0.5)
    stuck = one.wait_for("child-stuck", child="worker 1")
    assert stuck["reason"] == "it was told to listen and does not after 0.5 s"
    assert one.wait_for("child-exited", child="worker 1")["how"] == "signal SIGKILL"


def test_worker_that_hangs_in_its_start_does_not_hold_up_the_end(gate):
    one = gate(workers=2, hangs_in_start=99, answer_timeout=30)
    one.wait_for("child-started", child="worker 1")
    one.wait_for("keeper-tried")
    one.signal(signal.SIGTERM)
    assert one.finish() == 0
    assert not any(event["event"] == "child-stuck" for event in one.events)


def test_worker_that_talks_nonsense_is_killed(gate):
    one = gate(workers=2, talks_nonsense=1)
    event = one.wait_for("child-distrusted", child="worker 1")
    assert "the limit is" in event["reason"]
    assert one.wait_for("child-exited", child="worker 1")["how"] == "signal SIGKILL"


def test_ipv4_and_ipv6_side_by_side_on_one_port(gate):
    with socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::", 0))
        port = probe.getsockname()[1]
    one = gate(workers=2, addresses=[["0.0.0.0", port], ["::", port]])
    assert one.wait_for("panel")["ports"] == [port, port]
    assert one.ask(port)["slot"] in (0, 1)
    assert one.ask(port, socket.AF_INET6)["slot"] in (0, 1)


def test_taken_port_names_its_holder(gate):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        one = gate(addresses=[["127.0.0.1", port]])
        assert one.finish() == 1
    failed = next(e for e in one.events if e["event"] == "failed")
    assert f"127.0.0.1:{port}" in failed["reason"]
    assert f"errno {errno.EADDRINUSE}" in failed["reason"]
    assert f"(process {os.getpid()})" in failed["reason"]


def test_port_of_another_gate_is_not_shared_silently(gate, directory):
    one = gate(workers=1)
    two = gate(addresses=[["127.0.0.1", one.port]], state_dir=str(directory / "other"))
    assert two.finish() == 1
    assert any("held by" in e.get("reason", "") for e in two.events)


def test_second_gate_on_one_state_dir_is_refused(gate):
    one = gate(workers=1)
    one.wait_for("panel")
    two = gate()
    assert two.finish() == 1
    failed = next(e for e in two.events if e["event"] == "failed")
    assert f"in use by process {one.process.pid}" in failed["reason"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_privileged_port_then_an_ordinary_user(gate, directory):
    with socket.socket() as probe:
        for port in range(700, 1023):
            try:
                probe.bind(("127.0.0.1", port))
                break
            except OSError:
                continue
    one = gate(workers=1, addresses=[["127.0.0.1", port]], user="nobody")
    one.wait_for("panel")
    answer = one.ask(port)
    assert answer["uid"] == 65534
    assert answer["gid"] == 65534
    assert 0 not in answer["groups"]
    assert one.wait_for("keeper-runs")["uid"] == 65534
    assert (directory / "state").stat().st_uid == 65534
    assert (directory / "state").stat().st_mode & 0o777 == 0o700
    assert (directory / "run").stat().st_uid == 65534
    os.kill(answer["pid"], signal.SIGKILL)
    one.wait_for("child-started", child="worker 0", generation=2)
    assert wait_until(lambda: _ask_or_none(one))["uid"] == 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_privileged_port_without_root_says_what_is_needed():
    code = (
        "import os\n"
        "from headgate.process.sockets import check_free, BindError\n"
        "from headgate.process.start import BoundAddress\n"
        "os.setuid(65534)\n"
        "try: check_free([BoundAddress(0, '127.0.0.1', 80)])\n"
        "except BindError as exc: print(exc)\n"
    )
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as limit:
        if int(limit.read()) <= 80:
            pytest.skip("this machine lets everybody bind port 80")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert re.search(r"cannot bind 127.0.0.1:80: .*errno 13\): ports below 1024 need root", result.stdout)


def _datagrams(sock):
    sock.settimeout(15)
    return sock.recv(4096).decode().split("\n")


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(gate, directory, abstract):
    name = f"@headgate-test-{os.getpid()}" if abstract else str(directory / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        one = gate(environment={"NOTIFY_SOCKET": name}, workers=1)
        assert _datagrams(manager)[0] == "READY=1"
        assert any(e["event"] == "listening" for e in one.events) or one.wait_for("listening")
        one.signal(signal.SIGTERM)
        assert _datagrams(manager)[0] == "STOPPING=1"
        assert one.finish() == 0


def test_watchdog_is_fed(gate, directory):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(directory / "notify"))
        environment = {"NOTIFY_SOCKET": str(directory / "notify"), "WATCHDOG_USEC": "100000"}
        gate(environment=environment, workers=1)
        fed = 0
        deadline = time.monotonic() + 15
        while fed < 3:
            assert time.monotonic() < deadline
            fed += "WATCHDOG=1" in _datagrams(manager)
