"""Commands in processes of their own, in a folder of their own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import headgate
from headgate.demo.helper import Helper, listen
from headgate.demo.origin import run_origin

SECONDS = 40.0


class Shell:
    """Runs commands in `folder`; `headgate` in them is the one under test."""

    def __init__(self, folder):
        self.folder = folder
        tools = folder.parent / "bin"
        tools.mkdir()
        wrapper = tools / "headgate"
        wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m headgate "$@"\n')
        wrapper.chmod(0o755)
        self.environ = {
            **os.environ,
            # Absolute: the commands run in another folder than the tests.
            "PYTHONPATH": str(Path(headgate.__file__).parents[1]),
            "PATH": f"{tools}:{os.environ['PATH']}",
        }
        self.started = []

    def run(self, command, code=0):
        """Run a command to its end; return what it printed (both streams)."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def start(self, command, until):
        """Start a command and wait until its stderr contains `until`; return the process and the stderr file."""
        log = self.folder.parent / f"stderr-{len(self.started)}"
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        self.started.append(process)
        end = time.monotonic() + SECONDS
        while until not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        return process, log

    def interrupt(self, process):
        """Ctrl-C: the signal goes to the whole group. Return (exit code, seconds)."""
        began = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        return process.wait(SECONDS), time.monotonic() - began

    def members(self, process):
        """Process ids of its session that still live."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[3]) == process.pid and fields[0] != "Z":
                    found.append(int(stat.parent.name))
        return found

    def close(self):
        """End what still runs."""
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def shell(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    made = Shell(folder)
    yield made
    made.close()


@pytest.fixture
def plain_user():
    """The beginning of a command that runs as an ordinary user: a namespace without capabilities, in which our files
    are still our own."""
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("user namespaces (util-linux, and a kernel that allows them)")
    return prefix


@pytest.fixture
def origin():
    """A running origin; its port."""
    with contextlib.closing(Helper("test origin", listen(), run_origin)) as helper:
        yield helper.port
