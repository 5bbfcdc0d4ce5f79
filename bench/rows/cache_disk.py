"""A million stored answers on disk: how long a gate takes to serve from them, and what it remembers of them.

They are put there by the store's own code, in a process of its own, once for all rounds: through a gate it would take
minutes.
"""

import http.client
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bench import measure
from bench.lab import Lab, Lane, Sample
from bench.load import LoadError
from bench.proxies import START_LIMIT, Job, Profile, Proxy, Running, accepts, check_alive
from bench.rows.base import Row

HOST: Final = "stored.example"
_ASKED: Final = 100
_FOLDER: Final = "state/cache"


def fill(folder: Path, count: int, port: int, tell: Callable[[str], None]) -> None:
    """Have `count` answers stored in `folder`, for a gate at `port`, which is in their keys; `tell` hears how far."""
    host = f"{HOST}:{port}"
    command = [sys.executable, "-m", "bench.micro.cache_store", str(count), "--fill", str(folder), host]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as filling,
    ):
        for line in filling.stdout or ():
            tell(line.strip())
        if filling.wait() != 0:
            errors.seek(0)
            raise LoadError(f"the folder was not filled: {errors.read()[-500:]}")


def hit(port: int, number: int) -> bool:
    """Ask for one of them; tell whether the answer came from the store. Raises OSError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", f"/stored/{number}", headers={"Host": f"{HOST}:{port}"})
        answer = connection.getresponse()
        answer.read()
        return answer.getheader("Age") is not None
    except http.client.HTTPException as error:
        raise OSError(str(error)) from None
    finally:
        connection.close()


class OnDisk(Row):
    """A row of Headgate alone, with a folder that is full already."""

    goal_is_ratio = False
    max_rounds = 2
    in_quick = False
    version = "cache"
    fresh = True
    profile = Profile(cache="disk")

    def __init__(self, count: int) -> None:
        self.count = count

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        return [lane for lane in super().lanes(proxies) if lane.label == "headgate"]

    def baseline(self, label: str) -> str:
        return label

    def started(self, lab: Lab, lane: Lane, *, is_full: bool) -> tuple[Running, Path]:
        """Start a gate, over the full folder or an empty one."""
        job: Job = lab.job(lane)
        full = lab.base / f"stored-{self.count}-{job.port}"
        if not full.exists():
            fill(full, self.count, job.port, lab.tell)
        folder = job.directory / _FOLDER
        if is_full:
            folder.parent.mkdir(parents=True, mode=0o700)
            full.rename(folder)
        return lane.proxy.launch(job, lab.proxy_core), full

    def ended(self, running: Running, full: Path) -> None:
        """End a gate, and take the full folder back."""
        running.stop()
        folder = running.job.directory / _FOLDER
        if not full.exists():
            folder.rename(full)
        else:
            shutil.rmtree(folder, ignore_errors=True)


class StartStored(OnDisk):
    """Seconds from the start of the process to the first hit."""

    unit = "s"
    goal = 2.0

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.name = "start-stored"
        self.title = f"start with {count:,} stored on disk"

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        begin = time.monotonic()
        running, full = self.started(lab, lane, is_full=True)
        begin = time.monotonic() if begin + 1.0 < time.monotonic() else begin  # it was filled meanwhile
        try:
            number = 0
            while True:
                number += 1
                try:
                    if hit(running.job.port, number):
                        return Sample(time.monotonic() - begin)
                except OSError:
                    check_alive(running, begin + START_LIMIT)
                time.sleep(0.005)
        finally:
            self.ended(running, full)


class IndexMemory(OnDisk):
    """Memory of all processes for each answer on disk, outside LMDB's map, against a gate without any."""

    unit = "B"
    goal = 200.0

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.name = "index-memory"
        self.title = f"memory for each of {count:,} on disk"

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        empty = self._used(lab, lane, is_full=False)
        full = self._used(lab, lane, is_full=True)
        return Sample(max(full - empty, 0) / self.count)

    def _used(self, lab: Lab, lane: Lane, *, is_full: bool) -> int:
        lab.tell("full" if is_full else "empty")
        running, full = self.started(lab, lane, is_full=is_full)
        try:
            end = time.monotonic() + START_LIMIT
            while not accepts(running.job.port):
                check_alive(running, end)
                time.sleep(0.01)
            hits = sum(hit(running.job.port, number) for number in range(1, _ASKED + 1))
            if is_full and hits < _ASKED // 2:
                raise LoadError(f"only {hits} of {_ASKED} were hits")
            measure.settle(running.pids())
            return measure.anonymous_bytes(running.pids())
        finally:
            self.ended(running, full)
