"""Applications in processes of their own: started, watched, drained, and apart from everything else."""

import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from tests.integration.asgi.conftest import ask
from tests.integration.gate import wait_for
from websockets.sync.client import connect

APP = """
import asyncio, os, time, logging

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                print("shut down")
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    if path == "/block":
        time.sleep(1.5)
    if path == "/slow":
        await asyncio.sleep(1)
    if path == "/hang":
        await asyncio.sleep(60)
    if path == "/say":
        print("spoken", flush=True)
        logging.getLogger("site").warning("logged")
        os.system("echo shouted")
    if path == "/raise":
        raise ValueError("in the application")
    if path == "/exit":
        os._exit(7)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if path == "/endless":
        while True:
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            await asyncio.sleep(0.01)
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""
BESIDE = '[[route]]\npath = "/fixed"\nrespond = { status = 200, body = "fixed" }\n'


def app_pids(gate):
    return [event["pid"] for event in gate.events("child-started") if event["child"].startswith("app")]


def ready(gate, count):
    return wait_for("the application", lambda: len(gate.events("app-ready")) >= count)


def test_it_answers_from_the_first_request_on(hosted):
    gate = hosted(APP)
    answer = ask(gate.http_ports[0])
    assert answer.status == 200
    assert int(answer.body) in app_pids(gate)
    assert int(answer.body) not in gate.worker_pids()


def test_its_socket_is_for_the_gate_alone(hosted):
    gate = hosted(APP)
    mode = os.stat(gate.runtime / "app-app-0.sock").st_mode
    assert oct(mode & 0o777) == "0o600"


def test_several_processes_share_the_requests(hosted):
    gate = hosted(APP, "processes = 3")
    seen = {ask(gate.http_ports[0]).body for _ in range(60)}
    assert seen == {str(pid).encode() for pid in app_pids(gate)}
    assert len(seen) == 3


def test_in_a_worker_there_is_no_other_process(hosted):
    gate = hosted(APP, "in_worker = true", workers=2)
    assert {int(ask(gate.http_ports[0]).body) for _ in range(20)} <= set(gate.worker_pids())
    assert app_pids(gate) == []


def test_one_that_is_killed_is_started_again(hosted):
    gate = hosted(APP)
    [pid] = app_pids(gate)
    os.kill(pid, signal.SIGKILL)
    statuses = set()

    def served():
        answer = ask(gate.http_ports[0])
        statuses.add(answer.status)
        if answer.status == 503:
            assert answer.body.endswith(b"\napp-down\n")
        return answer.status == 200 and int(answer.body) != pid

    wait_for("its successor", served)
    assert statuses <= {200, 502, 503}
    [exited] = gate.events("child-exited")
    assert (exited["child"], exited["how"], exited["next"]) == ("app app", "signal SIGKILL", "restart in 0 s")


def test_a_request_meets_the_end_of_its_process(hosted):
    gate = hosted(APP)
    answer = ask(gate.http_ports[0], "/exit")
    assert answer.status == 502
    ready(gate, 2)
    assert ask(gate.http_ports[0]).status == 200


def test_the_other_process_takes_over(hosted):
    """The kill of one of two costs no request that came after it."""
    gate = hosted(APP, "processes = 2")
    victim, _other = app_pids(gate)
    os.kill(victim, signal.SIGKILL)
    wait_for("the exit", lambda: gate.events("child-exited"))
    assert {ask(gate.http_ports[0]).status for _ in range(30)} == {200}


def test_a_blocking_application_stalls_nobody_else(hosted):
    gate = hosted(APP, extra=BESIDE)
    blocked = threading.Thread(target=ask, args=(gate.http_ports[0], "/block"))
    blocked.start()
    assert ask(gate.http_ports[0], "/fixed").body == b"fixed"
    assert blocked.is_alive(), "the other one is still held up"
    blocked.join()


def test_a_worker_that_is_killed_finds_its_application_again(hosted):
    gate = hosted(APP)
    gate.kill_worker(0)
    assert int(ask(gate.http_ports[0]).body) in app_pids(gate)
    assert len(app_pids(gate)) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("app = 1 / 0\n", "ZeroDivisionError: division by zero"),
        (
            "async def app(scope, receive, send):\n    await receive()\n"
            "    await send({'type': 'lifespan.startup.failed', 'message': 'no database'})\n",
            "its startup failed: no database",
        ),
        (
            "async def app(scope, receive, send):\n    raise SystemExit(3)\n",
            "its startup failed: SystemExit: 3",
        ),
    ],
)
def test_one_that_does_not_start_is_told_and_costs_nobody_else(hosted, text, reason, where):
    gate = hosted(text, where, extra=BESIDE)
    answer = ask(gate.http_ports[0])
    word = b"app-failed" if "true" in where else b"app-down"
    assert answer.status == 503
    assert answer.body.endswith(b"\n" + word + b"\n")
    assert ask(gate.http_ports[0], "/fixed").status == 200
    event = gate.events("app-failed")[0]
    assert reason in event["reason"]
    assert word.decode() in event["next"]
    wait_for("the log", lambda: gate.access_lines())
    assert gate.access_lines()[0]["reason"] == word.decode()


def test_one_that_is_repaired_stands_at_the_next_try(hosted, tmp_path):
    gate = hosted("import no_such_module\n")
    (tmp_path / "site_under_test.py").write_text(APP)
    wait_for("the repaired application", lambda: ask(gate.http_ports[0]).status == 200)


def test_one_that_hangs_at_its_start_is_killed(hosted):
    gate = hosted(
        "async def app(scope, receive, send):\n    await receive()\n    await receive()\n",
        'start_timeout = "200ms"',
    )
    assert "startup took longer than 0.2 s" in gate.events("app-failed")[0]["reason"]


def test_what_it_prints_and_logs_are_events(hosted, where):
    gate = hosted(APP, where)
    process = "worker 0" if "true" in where else "app app"
    assert ask(gate.http_ports[0], "/say").status == 200
    wait_for("the output", lambda: len(gate.events("app-output")) >= 2)
    said = {(event["process"], event["stream"], event["text"]) for event in gate.events("app-output")}
    assert (process, "stdout", "spoken") in said
    assert (process, "stderr", "logged") in said


def test_what_its_programs_print_goes_to_standard_error(hosted):
    gate = hosted(APP)
    ask(gate.http_ports[0], "/say")
    wait_for("the shout", lambda: "\nshouted\n" in gate.stderr.read_text())


def test_what_it_raises_is_told_with_its_place(hosted, where):
    gate = hosted(APP, where)
    answer = ask(gate.http_ports[0], "/raise")
    assert (answer.status, answer.body) == (500, b"500 Internal Server Error\napp-error\n")
    [event] = gate.events("app-error")
    assert event["request"] == "GET /raise"
    assert event["error"].startswith("ValueError: in the application (")
    assert "site_under_test.py:" in event["error"]


def test_an_exit_is_an_error_of_its_request_alone(hosted, where):
    gate = hosted(
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n        raise ValueError\n"
        "    raise {'/exit': SystemExit, '/interrupt': KeyboardInterrupt}[scope['path']]\n",
        where,
    )
    for path, error in (("/exit", "SystemExit"), ("/interrupt", "KeyboardInterrupt")):
        answer = ask(gate.http_ports[0], path)
        assert (answer.status, answer.body) == (500, b"500 Internal Server Error\napp-error\n")
        assert gate.events("app-error")[-1]["error"].startswith(error)
    assert gate.events("child-exited") == []


def test_a_drain_finishes_requests_and_runs_the_shutdown(hosted, where):
    gate = hosted(APP, where)
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
        sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for("the request", lambda: _running(gate))
        gate.process.send_signal(signal.SIGTERM)
        assert b"200 OK" in sock.recv(65536)
    assert gate.process.wait(20) == 0  # another signal would cut it short
    assert [event["text"] for event in gate.events("app-output")] == ["shut down"]
    assert {event["how"] for event in gate.events("child-exited")} == {"exit status 0"}
    assert not list(gate.runtime.glob("app-*.sock"))


def _running(gate):
    return any(value for name, value in gate.metrics().items() if name.startswith("headgate_asgi_running"))


def test_a_drain_does_not_wait_for_ever(hosted, where):
    gate = hosted(APP, where + '\nstop_timeout = "300ms"', top='drain_timeout = "1s"')
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
        sock.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for("the request", lambda: _running(gate))
        began = time.monotonic()
        assert gate.stop() == 0
        assert time.monotonic() - began < 8
    assert [event["text"] for event in gate.events("app-output")] == ["shut down"]


def test_a_client_that_leaves_ends_an_endless_answer(hosted, where):
    gate = hosted(APP, where)
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.recv(1000)
        wait_for("the call", lambda: _running(gate))
    wait_for("its end", lambda: not _running(gate))
    assert gate.events("app-error") == []


def test_status_shows_it(hosted):
    gate = hosted(APP, "processes = 2")
    shown = gate.run("status").stdout
    for pid in app_pids(gate):
        assert str(pid) in shown
    assert "app app 0" in shown
    assert "app app 1" in shown


def test_it_has_no_private_key_and_no_ear_on_the_gate(hosted):
    """Nothing of the gate's is open in its process but its own channel and pages."""
    gate = hosted(APP)
    [pid] = app_pids(gate)
    lines = Path("/proc/net/tcp").read_text().splitlines()
    listening = {f"socket:[{line.split()[9]}]" for line in lines if line.split()[3] == "0A"}
    links = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert links.isdisjoint(listening)
    assert not any("headgate.lock" in link for link in links)


def test_its_environment_has_no_variable_of_the_configuration(hosted):
    gate = hosted(
        "import json, os, subprocess\n"
        "async def app(scope, receive, send):\n"
        "    if scope['type'] == 'lifespan':\n        raise ValueError\n"
        "    body = json.dumps([sorted(os.environ), subprocess.check_output(['env']).decode()]).encode()\n"
        "    await send({'type': 'http.response.start', 'status': 200})\n"
        "    await send({'type': 'http.response.body', 'body': body})\n",
        'root_path = "${SECRET_OF_GATE}"',
        environ={"SECRET_OF_GATE": "/s3cret", "OTHER_OF_GATE": "seen"},
    )
    names, inherited = ask(gate.http_ports[0]).json
    assert "SECRET_OF_GATE" not in names
    assert "s3cret" not in inherited
    assert "OTHER_OF_GATE" in names
    assert "OTHER_OF_GATE=seen" in inherited


def test_it_ends_with_its_supervisor(hosted):
    gate = hosted(APP)
    [pid] = app_pids(gate)
    os.kill(gate.pid, signal.SIGKILL)
    gate.process.wait()
    gate.process = None
    wait_for("the end", lambda: not os.path.exists(f"/proc/{pid}"))
    assert any(event["process"] == "app app" for event in gate.events("supervisor-gone"))


def test_the_example_runs(hosted, where):
    text = (Path(__file__).parents[3] / "examples/asgi/site_example.py").read_text()
    gate = hosted(text, where)
    assert ask(gate.http_ports[0], "/a/path").body == b"GET /a/path for 127.0.0.1, up for 0 s\n"
    with connect(f"ws://127.0.0.1:{gate.http_ports[0]}/") as sock:
        sock.send("hello")
        assert sock.recv(10) == "hello"
