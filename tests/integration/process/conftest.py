"""Starts fake gates, reads their events and ends them by pid."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent


class Gate:
    """A running fake gate; every event it ever wrote is in `events`."""

    def __init__(self, directory, environment=None, program="fake_gate.py", **options):
        self.directory = directory
        (directory / "certificates").mkdir(exist_ok=True)
        self.options = {
            "state_dir": str(directory / "state"),
            "runtime_dir": str(directory / "run"),
            "certificates": str(directory / "certificates"),
            "addresses": [["127.0.0.1", 0]],
            **options,
        }
        self.events = []
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / program), json.dumps(self.options)],
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
        )
        self._rest = b""

    def wait_for(self, name, seconds=15, since=0, **fields):
        """Return the first event called `name` with those fields, at or after index `since`."""
        deadline = time.monotonic() + seconds
        seen = since
        while True:
            for event in self.events[seen:]:
                seen += 1
                if event["event"] == name and all(event.get(k) == v for k, v in fields.items()):
                    return event
            assert time.monotonic() < deadline, f"no {name} {fields} in {self.events}"
            self._read(deadline)

    def _read(self, deadline):
        stream = self.process.stderr.fileno()
        if not select.select([stream], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return
        data = os.read(stream, 65536)
        if not data:
            raise AssertionError(f"the gate is gone: {self.events} {self._rest!r}")
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            try:
                self.events.append(json.loads(line))
            except ValueError:
                self.events.append({"event": "text", "text": line.decode()})

    @property
    def port(self):
        return self.wait_for("panel")["ports"][0]

    def ask(self, port=None, family=socket.AF_INET):
        """Open a connection, ask one worker about itself."""
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        with socket.socket(family) as sock:
            sock.settimeout(10)
            sock.connect((host, port or self.port))
            return self.ask_on(sock)

    @staticmethod
    def ask_on(sock):
        sock.sendall(b"who\n")
        answer = b""
        while not answer.endswith(b"\n"):
            data = sock.recv(65536)
            assert data, "closed without an answer"
            answer += data
        return json.loads(answer)

    def signal(self, number):
        os.kill(self.process.pid, number)

    def finish(self, seconds=15):
        """Read to the end; return the exit code."""
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                self._read(deadline)
        except AssertionError:
            pass
        return self.process.wait(max(0.1, deadline - time.monotonic()))

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            # Children notice by end of file, drain and exit: until then they still write into the folder.
            self.finish(5)
        self.process.stderr.close()


@pytest.fixture
def directory():
    """A short path: socket names are limited to 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="hg-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.fixture
def gate(directory):
    """Make gates; each is ended after the test."""
    started = []

    def make(environment=None, program="fake_gate.py", **options):
        started.append(Gate(directory, environment, program, **options))
        return started[-1]

    yield make
    for one in started:
        one.close()


@pytest.fixture(autouse=True)
def _no_leftovers():
    """No test leaves a signal handler behind."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is before
