"""What a new user does: serve, run, validate, ask, make mistakes, press Ctrl-C."""

import json
import os
import re
import shutil
import socket

import pytest

from headgate.testing.relay import free_port

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("openssl") or not shutil.which("curl"), reason="openssl and curl"),
]


def config(folder, port, extra="", name="headgate.toml"):
    (folder / name).write_text(
        f'state_dir = "{folder}/state"\nruntime_dir = "{folder}/run"\nworkers = 1\n{extra}\n'
        f'[[listener]]\naddresses = ["127.0.0.1:{port}"]\nmode = "http"\n'
        '[[route]]\nrespond = { body = "hello\\n" }\n[log]\naccess = "off"\n'
    )


def test_serve(shell, origin):
    # As root the defaults are the machine's own folders.
    folders = "--state-dir state --runtime-dir run"
    process, log = shell.start(
        f"headgate serve --to http://127.0.0.1:{origin} --http-port 0 --https-port 0 {folders}", '"listening"'
    )
    line = re.search(r"curl --cacert \S+ https://localhost:(\d+)/", log.read_text())
    assert '"target": "/"' in shell.run(line.group(0) + " -sS")
    http = re.search(r'"address":"(127\.0\.0\.1:\d+)","mode":"http"', log.read_text()).group(1)
    assert '"target": "/a?b=c"' in shell.run(f"curl -sS 'http://{http}/a?b=c'")
    status = json.loads(shell.run("headgate status --json --runtime-dir run"))
    assert status["listening"] is True
    table = shell.run(
        "headgate ocsp --runtime-dir run"
    )  # a local CA names no responder, and that is nothing bad
    assert "leaf.pem" in table
    code, seconds = shell.interrupt(process)
    assert (code, seconds < 5) == (0, True)
    assert shell.members(process) == []
    assert "Traceback" not in log.read_text()
    assert "no gate answers at" in shell.run("headgate status --runtime-dir run", code=3)


def test_ctrl_c_of_an_idle_gate_is_quick_and_clean(shell):
    config(shell.folder, free_port())
    process, log = shell.start("headgate run", '"listening"')
    code, seconds = shell.interrupt(process)
    assert code == 0
    assert seconds < 2
    assert shell.members(process) == []
    events = [
        json.loads(line) for line in log.read_text().splitlines()
    ]  # every line of every process is whole
    assert events[-1]["event"] == "stopped"
    assert not (shell.folder / "run" / "admin.sock").exists()


def test_several_mistakes_are_told_at_once_each_with_its_line(shell):
    (shell.folder / "headgate.toml").write_text(
        'wrkers = 2\n[[listener]]\naddresses = ["127.0.0.1:99999"]\n[listener.timeouts]\nhead = 10\n'
        '[[certificate]]\nfiles = "certs/*.pem"\n[[route]]\nupstream = "ap"\n'
        '[upstream.app]\nendpoints = ["http://127.0.0.1:1"]\n'
    )
    said = shell.run("headgate validate", code=2)
    places = [(1, "wrkers"), (3, "listener.addresses"), (5, "listener.timeouts.head")]
    places += [(7, "certificate.files"), (9, "route.upstream")]
    lines = said.splitlines()
    assert len(lines) == len(places)
    for line, (number, key) in zip(lines, places, strict=True):
        assert line.startswith(f"headgate.toml:{number}: {key}")
    assert shell.run("headgate run", code=2) == said
    told = json.loads(shell.run("headgate validate --json", code=2))
    assert [(item["line"], item["key"].partition("[")[0]) for item in told] == places


def test_files_that_cannot_be_used(shell, plain_user):
    assert "headgate.toml: cannot be read: No such file or directory" in shell.run("headgate run", code=2)
    (shell.folder / "locked.toml").touch(mode=0)
    said = shell.run(f"{' '.join(plain_user)} headgate validate locked.toml", code=2)
    assert "locked.toml: cannot be read: Permission denied" in said
    (shell.folder / "broken.pem").write_text("this is no certificate\n")
    (shell.folder / "headgate.toml").write_text(
        f'listener = [{{ addresses = ["127.0.0.1:{free_port()}"] }}]\n'
        'certificate = [{ files = "broken.pem" }]\nroute = [{ respond = {} }]\n'
    )
    assert "broken.pem" in shell.run("headgate validate", code=2)


def test_a_taken_port_and_a_taken_state_dir_are_named(shell):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config(shell.folder, taken.getsockname()[1])
        said = shell.run("headgate run", code=1)
        assert f"cannot bind 127.0.0.1:{taken.getsockname()[1]}: Address already in use" in said
        assert f"(process {os.getpid()})" in said
    config(shell.folder, free_port())
    process, _ = shell.start("headgate run", '"listening"')
    config(shell.folder, free_port(), name="second.toml")
    assert f"is in use by process {process.pid}" in shell.run("headgate run second.toml", code=1)


@pytest.mark.parametrize("command", ["status", "ocsp", "ocsp show x", "ocsp refresh", "ocsp show x --text"])
def test_nobody_answers(shell, command):
    config(shell.folder, free_port())  # found in this folder, and nobody runs it
    assert f"no gate answers at {shell.folder}/run/admin.sock" in shell.run(f"headgate {command}", code=3)
    assert "/nowhere/admin.sock" in shell.run(f"headgate {command} --runtime-dir /nowhere", code=3)


def test_a_folder_that_cannot_be_made(shell):
    (shell.folder / "file").touch()
    config(shell.folder, free_port())
    text = (
        (shell.folder / "headgate.toml")
        .read_text()
        .replace(f"{shell.folder}/state", f"{shell.folder}/file/x")
    )
    (shell.folder / "headgate.toml").write_text(text)
    said = shell.run("headgate run", code=1)
    assert f"state_dir {shell.folder}/file/x: Not a directory" in said


def test_version(shell):
    assert re.fullmatch(r"headgate \d\S*, (pure|compiled \d+/\d+)\n", shell.run("headgate --version"))
