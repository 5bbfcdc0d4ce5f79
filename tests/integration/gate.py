"""A real gate for tests: the command line in a process of its own, on free ports, in folders of its own.

with Gate(tmp_path, routes, upstreams, http=1, https=1) as gate:
    gate.http_ports[0], gate.https_ports[0], gate.worker_pids(), gate.events("worker-died")
"""

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from headgate.cli.commands import run_commands
from headgate.testing.relay import free_port as free_port


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Return the first true answer of `ready`; fail naming what was waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = ready()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for {what}")


class Gate:
    """Starts `headgate run` with a configuration made of `text` behind listeners on free ports.

    `text` is TOML with certificates, routes, upstreams and so on; "{http}" style listeners are added for `http` and
    `https` counts, each with `listener_extra` (TOML of tables below [[listener]], e.g. '[listener.limits]\\n...').
    `top` is TOML before the first table.
    """

    def __init__(
        self,
        folder: Path,
        text: str,
        *,
        http: int = 1,
        https: int = 0,
        workers: int = 1,
        top: str = "",
        listener_extra: str = "",
        environ: dict[str, str] | None = None,
        prefix: list[str] | None = None,
        start: bool = True,
    ) -> None:
        self.folder = folder
        self.http_ports = [free_port() for _ in range(http)]
        self.https_ports = [free_port() for _ in range(https)]
        self.metrics_port = free_port()
        self.config = folder / "headgate.toml"
        self.stderr = folder / "events.jsonl"
        self.access = folder / "access.jsonl"
        self.state = folder / "state"
        self.runtime = folder / "run"
        self.environ = {**os.environ, **(environ or {})}
        # The gate runs in a folder of its own, where a relative PYTHONPATH leads to another headgate.
        found = self.environ.get("PYTHONPATH", "")
        self.environ["PYTHONPATH"] = os.pathsep.join(
            os.path.abspath(one) for one in found.split(os.pathsep) if one
        )
        self.prefix = prefix or []
        self.process: subprocess.Popen[bytes] | None = None
        lines = [
            f'state_dir = "{self.state}"',
            f'runtime_dir = "{self.runtime}"',
            f"workers = {workers}",
            top,
        ]
        for mode, ports in (("http", self.http_ports), ("https", self.https_ports)):
            for port in ports:
                lines += [
                    "[[listener]]",
                    f'addresses = ["127.0.0.1:{port}"]',
                    f'mode = "{mode}"',
                    listener_extra,
                ]
        if "[log]" not in text:
            lines += ["[log]", f'access = "{self.access}"']
        if "[metrics]" not in text:
            lines += ["[metrics]", f'address = "127.0.0.1:{self.metrics_port}"']
        self.config.write_text("\n".join([*lines, text]) + "\n")
        self._start = start
        self._listened = 0

    def __enter__(self) -> "Gate":
        if self._start:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *, wait: bool = True) -> None:
        """Start it and wait until it listens."""
        self._listened = len(self.events("listening")) if self.stderr.exists() else 0
        with self.stderr.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "headgate", "run", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                env=self.environ,
                cwd=self.folder,
            )
        if wait:
            wait_for("the gate to listen", self._listening, 60)

    def _listening(self) -> bool:
        process = self.process
        if process is not None and process.poll() is not None:
            raise AssertionError(f"the gate exited with {process.returncode}:\n{self.stderr.read_text()}")
        # One that was started again appends to the events of the one before.
        return len(self.events("listening")) > self._listened

    def stop(self, timeout: float = 40.0) -> int:
        """SIGTERM and wait; return the exit code."""
        process = self.process
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise AssertionError(f"the gate did not stop:\n{self.stderr.read_text()[-4000:]}") from None
        self.process = None
        return int(process.returncode)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def all_events(self) -> list[dict[str, Any]]:
        """Every event line so far."""
        found = []
        for line in self.stderr.read_text(errors="replace").splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and "event" in event:
                found.append(event)
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of that name."""
        return [event for event in self.all_events() if event["event"] == name]

    def child_pids(self, child: str) -> list[int]:
        """Pids of a child ("worker 0", "keeper"), oldest first."""
        return [e["pid"] for e in self.events("child-started") if str(e["child"]).startswith(child)]

    def worker_pids(self) -> list[int]:
        """Pids of all workers ever started, oldest first."""
        return self.child_pids("worker")

    def serving_pids(self, child: str) -> list[int]:
        """Pids of successors of a dead worker that came to serve, oldest first; the first ones are not among them."""
        return [e["pid"] for e in self.events("child-listening") if e["child"] == child]

    def kill_worker(self, slot: int) -> int:
        """Kill a worker, wait until its successor serves, and return the pid of the dead one."""
        name = f"worker {slot}"
        victim, served = self.child_pids(name)[-1], len(self.serving_pids(name))
        os.kill(victim, signal.SIGKILL)
        wait_for(f"the successor of {name}", lambda: len(self.serving_pids(name)) > served, 60)
        return victim

    def access_lines(self) -> list[dict[str, Any]]:
        """The access log so far."""
        if not self.access.exists():
            return []
        # What is behind the last line's end is a line that is being written.
        whole = self.access.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def figures(self) -> dict[str, float]:
        """Metrics by name with labels, as each process published them last."""
        with socket.create_connection(("127.0.0.1", self.metrics_port), 20) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: sock.recv(65536), b"")).decode()
        found: dict[str, float] = {}
        for line in text.partition("\r\n\r\n")[2].splitlines():
            if line.startswith("#") or " " not in line:
                continue
            key, _, value = line.rpartition(" ")
            try:
                found[key] = float(value)
            except ValueError:
                continue
        return found

    def metrics(self) -> dict[str, float]:
        """Metrics by name with labels, summed over processes ("headgate_refused_total{limit=\\"head\\"}").

        A worker publishes them twice a second: what has just happened is not among them yet. What is read before
        something, to be compared with what is read after it, comes from `settled_metrics`.
        """
        found: dict[str, float] = {}
        for line, value in self.figures().items():
            key = re.sub(r'process="[^"]*",?', "", line).replace(",}", "}").replace("{}", "")
            found[key] = found.get(key, 0.0) + value
        return found

    def settle(self) -> None:
        """Wait until every worker has published what it had counted when this was called."""
        # Twice: what a client has just been sent may be counted at the end of the same turn of the worker's loop.
        wanted = {name: count + 2 for name, count in self._published().items()}

        def settled() -> bool:
            now = self._published()
            return all(now.get(name, 0.0) >= count for name, count in wanted.items())

        wait_for("figures of all workers", settled)

    def _published(self) -> dict[str, float]:
        start = 'headgate_process_published_total{process="worker '
        return {name: value for name, value in self.figures().items() if name.startswith(start)}

    def settled_metrics(self) -> dict[str, float]:
        """`metrics`, once all that has happened so far is among them."""
        self.settle()
        return self.metrics()

    def call(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another headgate command against this gate as `run` does, in this process: one of its own takes half a
        second. Each command is run by `run` somewhere, too."""
        words = [*arguments, "--config", str(self.config)]
        with (
            contextlib.redirect_stdout(io.StringIO()) as out,
            contextlib.redirect_stderr(io.StringIO()) as errors,
        ):
            code = run_commands(words)
        return subprocess.CompletedProcess(words, code, out.getvalue(), errors.getvalue())

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another headgate command against this gate."""
        return subprocess.run(
            [sys.executable, "-m", "headgate", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            timeout=60,
            env=self.environ,
            cwd=self.folder,
            check=False,
        )
