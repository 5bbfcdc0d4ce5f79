"""`headgate demo` as a user meets it: started, its lines typed, stopped with Ctrl-C."""

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SECONDS = 40.0


def hear_ctrl_c():
    """A suite that a script runs in the background ignores SIGINT, and every child would: no terminal does that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Demo:
    """A running demo and what it has printed."""

    def __init__(self, folder, *options, prefix=()):
        environ = {**os.environ, "TMPDIR": str(folder)}
        self.folder = folder
        self.text = ""
        with (folder / "stderr").open("ab") as stderr:
            self.process = self._start(options, environ, stderr, prefix)
        os.set_blocking(self.process.stdout.fileno(), False)

    @staticmethod
    def _start(options, environ, stderr, prefix):
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "headgate", "demo", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environ,
            start_new_session=True,
            preexec_fn=hear_ctrl_c,
        )

    def read_until(self, what):
        """Read until `what` was printed."""
        end = time.monotonic() + SECONDS
        while what not in self.text:
            assert select.select([self.process.stdout], [], [], end - time.monotonic())[0], self.report(what)
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, self.report(what)
            self.text += data.decode()

    def report(self, what):
        return f"no {what!r} in\n{self.text}\n{(self.folder / 'stderr').read_text()[-4000:]}"

    def line(self, start):
        """The printed command under the comment that begins with `start`."""
        found = re.search(rf"^  # {re.escape(start)}.*\n  (.*)$", self.text, re.MULTILINE)
        assert found, self.report(start)
        return found.group(1)

    def type(self, start, code=0):
        """Run a printed line in a shell; return what it printed."""
        done = subprocess.run(
            ["bash", "-c", self.line(start)], capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == code, (self.line(start), done.stdout, done.stderr, self.report(start))
        return done.stdout + done.stderr

    def members(self):
        """Process ids of its session that still live."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                found.append(int(stat.parent.name))
        return found

    def stop(self, number=signal.SIGINT):
        """As a terminal does it: the signal goes to every process of the group."""
        os.killpg(self.process.pid, number)
        code = self.process.wait(SECONDS)
        os.set_blocking(self.process.stdout.fileno(), True)
        self.text += self.process.stdout.read().decode()
        return code

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def start(tmp_path):
    demos = []

    def start(*options, prefix=()):
        demos.append(Demo(tmp_path, *options, prefix=prefix))
        return demos[-1]

    yield start
    for demo in demos:
        demo.close()


ANY = ("--http-port", "0", "--https-port", "0", "--metrics-port", "0")


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "stderr")


@pytest.mark.skipif(not shutil.which("openssl") or not shutil.which("curl"), reason="openssl and curl")
def test_every_line_that_it_prints(start, tmp_path):
    demo = start(*ANY)
    demo.read_until("Ctrl-C stops")

    seen = json.loads(demo.type("A page of the origin").partition("% Total")[0])
    names = {name.lower() for name, _ in seen["headers"]}
    assert {"forwarded", "via", "host"} <= names
    demo.type("A certificate that promises")
    ecdsa = demo.type("The staple itself")
    assert "Cert Status: good" in ecdsa
    assert "Verify return code: 0 (ok)" in ecdsa
    rsa = demo.type("The RSA certificate")
    assert "Cert Status: good" in rsa
    assert "Peer signature type: RSA-PSS" in rsa
    assert re.search(r"Serial Number: (\S+)", rsa).group(1) != re.search(
        r"Serial Number: (\S+)", ecdsa
    ).group(1)
    assert '"target": "/"' in demo.type("http goes to https")
    assert "tick 10 of 10" in demo.type("What streams")
    table = demo.type("Staples as the gate")
    assert table.count("fresh") == 3
    assert "good" in demo.type("One of them")
    assert "worker 0" in demo.type("Processes and listeners")
    assert "headgate_staple" in demo.type("Metrics")
    assert "revoked" in demo.type("Revoke a certificate")
    assert "OCSP response: no response sent" in demo.type("The RSA certificate")
    assert "ECONNREFUSED" in demo.type("A responder that dies", code=1)
    assert "Cert Status: good" in demo.type("The staple itself")
    assert "app.localhost" in demo.type("Configuration, access log")

    began = time.monotonic()
    assert demo.stop() == 0
    assert time.monotonic() - began < 10
    assert demo.members() == []
    assert leftovers(tmp_path) == []
    assert "stopped" in demo.text.splitlines()[-1]


def test_sigterm_stops_it_too(start, tmp_path):
    demo = start(*ANY)
    demo.read_until("Ctrl-C stops")
    demo.process.terminate()
    assert demo.process.wait(SECONDS) == 0
    assert demo.members() == []
    assert leftovers(tmp_path) == []


def test_a_closed_terminal_ends_it(start, tmp_path):
    demo = start(*ANY)
    demo.read_until("Ctrl-C stops")
    assert demo.stop(signal.SIGHUP) == 0
    assert demo.members() == []
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("moment", ["loading", "making a", "starting the gate"])
def test_ctrl_c_while_it_starts(start, tmp_path, moment):
    demo = start(*ANY)
    demo.read_until(moment)
    assert demo.stop() == 0, demo.report("a clean end")
    assert demo.members() == []
    assert leftovers(tmp_path) == []
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def test_ports_that_are_taken_are_replaced_and_named(start, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = start("--http-port", "0", "--https-port", str(port), "--metrics-port", "0")
        demo.read_until("Ctrl-C stops")
        assert re.search(
            rf"port {port} is taken by \S+ \(process {os.getpid()}\): https is on \d+", demo.text
        )
        assert f"localhost:{port}/" not in demo.text
        assert demo.stop() == 0


def test_without_root(start, tmp_path, plain_user):
    demo = start(*ANY, prefix=plain_user)
    demo.read_until("Ctrl-C stops")
    assert '"target": "/"' in demo.type("A page of the origin")
    assert demo.stop() == 0
    assert demo.members() == []
    assert leftovers(tmp_path) == []
