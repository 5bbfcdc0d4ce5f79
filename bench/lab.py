"""The laboratory of one run: cores, certificates, the origin, and the proxies that are up.

Lanes are what a row compares: a proxy with a profile. Proxies stay up over rows that want the same profile;
the idle ones cost nothing while another is measured.
"""

import os
import shutil
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from bench import certs, measure
from bench.held import Held
from bench.load import Load, Outcome, wrk
from bench.proxies import Job, Origin, Profile, Proxy, Running
from headgate.testing.relay import free_port


@dataclass(frozen=True)
class Lane:
    """One column of a comparison."""

    label: str
    proxy: Proxy
    profile: Profile


@dataclass(frozen=True)
class Sample:
    """One round of one lane: `value` in the row's unit, lower is better; latencies in microseconds."""

    value: float
    rate: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    errors: int = 0


def _to_nobody(step: str) -> None:
    return


class Lab:
    """Holds what a run has started; `close()` ends all of it."""

    def __init__(self, seconds: float, rivals: Path | None = None) -> None:
        self.seconds = seconds
        self.rivals = rivals
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_core = cores[0]
        self.load_core = cores[-1]
        self.shared_core = len(cores) == 1
        # Our own loops are load: they belong on the load's core.
        os.sched_setaffinity(0, {self.load_core})
        self.base = Path(tempfile.mkdtemp(prefix="headgate-bench-"))
        # Certificates and the origin's file hold no secret; rivals may run as another user.
        self.base.chmod(0o755)
        self._running: dict[Lane, Running] = {}
        self._directories: set[Path] = {self.base}
        self._held: Held | None = None
        self.tell: Callable[[str], None] = _to_nobody  # how far a long step is
        self.origin = self._start(Lane("origin", Origin("origin"), Profile()), self.load_core, 0)

    def _start(self, lane: Lane, core: int, origin_port: int | None = None) -> Running:
        return lane.proxy.start(self.job(lane, origin_port), core)

    def job(self, lane: Lane, origin_port: int | None = None) -> Job:
        """Return a fresh job for `lane`: its own directory, certificates and ports."""
        work = lane.proxy.work_directory(self.base)
        self._directories.add(work)
        pems = work / f"certificates-{lane.profile.certificates}"
        if not pems.exists():
            certs.write(pems, lane.profile.certificates)
        directory = Path(tempfile.mkdtemp(prefix=f"{lane.proxy.name}-", dir=work))
        directory.chmod(0o755)
        if origin_port is None:
            origin = self.origin.job
            origin_port = origin.tls_port if lane.profile.origin_tls else origin.port
            if lane.profile.h2c_origin:
                origin_port = origin.h2c_port
        ports = (free_port(), free_port(), origin_port, free_port())
        job = Job(lane.profile, directory, pems, *ports, self.held.port if lane.profile.held else 0)
        if lane.profile.origin_tls:
            job.origin_authority.write_bytes(certs.certificates(self.origin.job.certificates))
        return job

    @property
    def held(self) -> Held:
        """The origin that never answers."""
        if self._held is None:
            self._held = Held()
        return self._held

    def running(self, lane: Lane) -> Running:
        """Return the proxy of `lane`, started if need be."""
        if isinstance(lane.proxy, Origin):
            return self.origin
        if lane not in self._running:
            self._running[lane] = self._start(lane, self.proxy_core)
        return self._running[lane]

    def keep_only(self, lanes: list[Lane]) -> None:
        """Stop what the next row does not want."""
        for lane in [lane for lane in self._running if lane not in lanes]:
            self._running.pop(lane).stop()

    def origin_requests(self) -> int:
        """Return how many requests the origin has had, this question included."""
        with urllib.request.urlopen(f"{self.origin.url}/requests", timeout=5.0) as answer:
            said: bytes = answer.read()
        # "server accepts handled requests\n 1 1 1 \n"
        return int(said.split(b"requests", 1)[1].split()[2])

    def per_request(self, running: Running, url: str, load: Load, seconds: float = 0.0) -> Sample:
        """Put `load` on `url`; the sample's value is CPU microseconds of the proxy per request."""
        pids = running.pids()
        before = measure.cpu_ns(pids)
        outcome = wrk(url, load, seconds or self.seconds, self.load_core, self.base)
        return self.sample(outcome, measure.cpu_ns(pids) - before)

    @staticmethod
    def sample(outcome: Outcome, used_ns: int) -> Sample:
        """Make a sample of CPU per request."""
        value = used_ns / 1000 / outcome.requests
        return Sample(
            value, outcome.requests / outcome.seconds, outcome.p50, outcome.p99, errors=outcome.errors
        )

    def close(self) -> None:
        """End every process, remove every file."""
        self.keep_only([])
        self.origin.stop()
        if self._held is not None:
            self._held.close()
        for directory in self._directories:
            shutil.rmtree(directory, ignore_errors=True)


def with_profile(lane: Lane, label: str, profile: Profile) -> Lane:
    """Return `lane` under another name with another profile."""
    return replace(lane, label=label, profile=profile)
