"""Whom the attacks go to: a gate with one worker, or a server of aioquic, pinned to a core."""

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.proxies import end_tree
from headgate.testing.pki import Authority
from headgate.testing.relay import free_port

START_LIMIT: Final = 60.0
SETTLE_LIMIT: Final = 30.0
_STARTING: Final = threading.Lock()
_SAMPLE: Final = re.compile(r"^headgate_(\w+)\{?([^}]*)\}? ([0-9.e+]+)$", re.MULTILINE)
_CONFIG: Final = """
workers = 1
state_dir = "{folder}/state"
runtime_dir = "{folder}/run"
[[listener]]
addresses = ["127.0.0.1:{port}"]
mode = "https"
protocols = ["h1", "{version}"]
[[certificate]]
files = "{folder}/localhost.pem"
[ocsp]
stapling = "off"
[log]
access = "off"
[metrics]
address = "127.0.0.1:{metrics}"
[[route]]
path = "/hello"
respond = {{ status = 200, body = "hello" }}
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["http://127.0.0.1:{origin}"]
"""


def memory(pids: list[int]) -> int:
    """Return the bytes that processes have in memory, without what they share with files."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) * 1024
    return total


class Server:
    """A server under attack. `pids`: those whose memory counts."""

    def __init__(self, name: str, folder: Path, core: int, version: str = "h3") -> None:
        self.name = name
        self.version = version
        self.folder = folder
        self.core = core
        self.port = free_port()
        self.pids: list[int] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, other_core: int) -> None:
        """Start it, and what it needs on the other core."""
        raise NotImplementedError

    def spawn(self, command: list[str], core: int) -> subprocess.Popen[bytes]:
        """Start a process on a core; it ends with us."""
        with (self.folder / f"output-{len(self._processes)}").open("wb") as output:
            process = subprocess.Popen(
                ["taskset", "-c", str(core), *command], stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._processes.append(process)
        return process

    def counters(self) -> dict[str, float]:
        """Return the counters that the server publishes."""
        return {}

    def settle(self) -> None:
        """Wait until counters tell of all that was before."""
        time.sleep(1.0)

    def write_certificate(self) -> Path:
        """Write a certificate with its key."""
        leaf = Authority.root().intermediate().leaf("localhost", key="p256")
        path = self.folder / "localhost.pem"
        path.write_bytes(leaf.chain_pem + leaf.key_pem)
        return path

    def is_alive(self) -> bool:
        """Whether all of it still runs."""
        return all(Path(f"/proc/{pid}").exists() for pid in self.pids)

    def stop(self) -> None:
        """End it."""
        for process in self._processes:
            end_tree(process, 5)


class Headgate(Server):
    """The real gate, by its own command line, with an origin on the other core."""

    def start(self, other_core: int) -> None:
        origin, self.metrics = free_port(), free_port()
        self.write_certificate()
        config = self.folder / "headgate.toml"
        config.write_text(
            _CONFIG.format(
                folder=self.folder,
                port=self.port,
                metrics=self.metrics,
                origin=origin,
                version=self.version,
            )
        )
        self.spawn([sys.executable, "-m", "bench.attack.origin", str(origin)], other_core)
        gate = self.spawn([sys.executable, "-m", "headgate", "run", str(config)], self.core)
        end = time.monotonic() + START_LIMIT
        while not self._events("listening"):
            if gate.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the gate does not come up: {self._output()[-2000:]}")
            time.sleep(0.05)
        workers = [event for event in self._events("child-started") if event["child"] == "worker 0"]
        self.pids = [int(str(event["pid"])) for event in workers]

    def _output(self) -> str:
        return (self.folder / "output-1").read_text(errors="replace")

    def _events(self, name: str) -> list[dict[str, object]]:
        found = []
        for line in self._output().splitlines():
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event.get("event") == name:
                    found.append(event)
        return found

    def is_alive(self) -> bool:
        return super().is_alive() and not self._events("worker-died")

    def crashes(self) -> list[str]:
        """Return what the gate said of defects of its own."""
        words = ("crash", "defect", "worker-died")
        return [line for line in self._output().splitlines() if any(f'"{word}' in line for word in words)]

    def counters(self) -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        found: dict[str, float] = {}
        for name, labels, value in _SAMPLE.findall(text):
            if 'process="worker 0"' in labels:
                rest = re.sub(r',?process="worker 0",?', "", labels)
                found[f"{name}{{{rest}}}" if rest else name] = float(value)
        return found

    def settle(self) -> None:
        """Wait until the worker has published twice: once more than it may have been about to."""
        end = time.monotonic() + SETTLE_LIMIT
        wanted = self.counters()["process_published_total"] + 2
        while self.is_alive() and self.counters()["process_published_total"] < wanted:
            if time.monotonic() > end:
                raise RuntimeError(f"no counters for {SETTLE_LIMIT:g} s: {self._output()[-2000:]}")
            time.sleep(0.05)


class Aioquic(Server):
    """A server of aioquic, as its documentation has it."""

    def start(self, other_core: int) -> None:
        pem = self.write_certificate()
        process = self.spawn(
            [sys.executable, "-m", "bench.attack.rival", str(self.port), str(pem)], self.core
        )
        time.sleep(2.0)
        self.pids = [process.pid]


@contextlib.contextmanager
def running(name: str, core: int, other_core: int, version: str = "h3") -> Iterator[Server]:
    """Run a server by its name in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="headgate-attack-") as folder:
        kind = {"headgate": Headgate, "aioquic": Aioquic}[name]
        with _STARTING:  # two at a time might pick the same free port
            server = kind(name, Path(folder), core, version)
            try:
                server.start(other_core)
            except BaseException:
                server.stop()
                raise
        try:
            yield server
        finally:
            server.stop()
