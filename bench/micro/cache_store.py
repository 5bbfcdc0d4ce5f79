"""A million stored responses: `python -m bench.micro.cache_store [COUNT] [--disk FOLDER]`.

In memory: what each takes beside its content, what a look-up costs against a store of a thousand (goal: 15 % more, of
a hit that takes 10 µs in all), and how long the collector of cycles stops the worker. With --disk, which wants 1 GiB
in that folder: how long the index takes to open (goal 2 s with all of the gate), and the memory that a worker has of
it outside LMDB's map (goal 200 octets for each object).
"""

import argparse
import gc
import random
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from headgate.cache import memory as module
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.memory import MemoryStore
from headgate.cache.store.disk import DiskStore
from headgate.cache.store.format import encode, key_id
from headgate.cache.store.index import Index
from headgate.http.fields import Fields

NAMES = (b"content-type", b"cache-control", b"date", b"content-length")
LINES = (b"Content-Type: text/css", b"Cache-Control: max-age=86400", b"Content-Length: 100")
FEW = 1000
LOOKS = 200_000
BATCH = 10_000
BUDGET = 8 << 30
DISK_BUDGET = 2 << 30  # as in bench/proxies
HIT_US = 10.0
GOAL_SHARE = 0.15
GOAL_INDEX = 200.0


class Pauses:
    """What the collector took, in seconds by generation, while it is entered."""

    def __init__(self) -> None:
        self.took: list[list[float]] = [[], [], []]
        self._begun = 0.0

    def __enter__(self) -> "Pauses":
        gc.callbacks.append(self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        gc.callbacks.remove(self._note)

    def _note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._begun = time.perf_counter()
        else:
            self.took[info["generation"]].append(time.perf_counter() - self._begun)


def key_of(number: int) -> bytes:
    return b"http://www.example.org/assets/%d.css" % number


def response(number: int) -> StoredResponse:
    """Return a response of 100 octets as an origin's parser leaves it: names are shared, lines are not."""
    lines = [
        *(bytes(bytearray(line)) for line in LINES),
        b"Date: Sun, 29 Nov 2026 06:00:%02d GMT" % (number % 60),
    ]
    stored = StoredResponse(
        key_of(number), 200, b"OK", Fields(list(NAMES), lines), MemoryBody([b"%0100d" % number])
    )
    stored.length = 100
    stored.is_complete = True
    return stored


def resident() -> int:
    """Return the private resident octets of this process."""
    said = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in said.splitlines() if line.startswith("Private_")) * 1024


def filled(count: int) -> MemoryStore:
    store = MemoryStore(BUDGET)
    for number in range(count):
        store.put(response(number))
    return store


def look_up(get: Callable[[bytes], object], count: int) -> float:
    """Return microseconds of a look-up, spread evenly."""
    keys = [key_of(random.randrange(count)) for _ in range(LOOKS)]
    rounds = []
    for _ in range(3):
        begin = time.process_time()
        for key in keys:
            get(key)
        rounds.append(time.process_time() - begin)
    return statistics.median(rounds) / LOOKS * 1e6


def in_memory(count: int) -> None:
    few = look_up(filled(FEW).get, FEW)
    gc.set_threshold(20_000, 20, 20)  # a worker's own
    before, begin = resident(), time.process_time()
    with Pauses() as pauses:
        store = filled(count)
        put = (time.process_time() - begin) / count * 1e6
        each = (resident() - before) / count
        gc.collect()
    many = look_up(store.get, count)
    print(f"{module.__file__}\n\n{count:,} responses of 100 octets in memory")
    print(f"octets beside the content  {each - 100:8.0f}   counted: {store.octets / count - 100:.0f}")
    print(f"making and putting         {put:8.2f} us")
    more = (many - few) / HIT_US
    said = "met" if more <= GOAL_SHARE else "MISSED"
    print(f"look-up                    {many:8.2f} us   of {FEW:,}: {few:.2f}; {more:.1%} of a hit ({said})")
    for generation, took in enumerate(pauses.took):
        longest, total = max(took, default=0.0) * 1e3, sum(took) * 1e3
        print(
            f"collections of age {generation}       {len(took):8}   longest {longest:.1f} ms, all {total:.0f} ms"
        )


def fill(root: Path, count: int, key: Callable[[int], bytes]) -> None:
    """Put `count` responses on disk, fresh for a day, by the writer's own transactions; say how far it is.

    In the order of the index, whose keys are digests: in another one each of a batch has a page of its own, and each
    batch writes most of the index anew (300 s in place of some 25 for a million).
    """
    root.mkdir(parents=True)
    now = time.time()
    index = Index(str(root), DISK_BUDGET)
    numbers = sorted(range(count), key=lambda number: key_id(key(number)))
    for first in range(0, count, BATCH):
        print(f"stored {first:,} of {count:,}", flush=True)
        records = []
        for number in numbers[first : first + BATCH]:
            stored = response(number)
            stored.key = key(number)
            stored.request_time = stored.response_time = stored.born = now
            stored.lifetime = 86400.0
            stored.fresh_until = now + 86400.0
            records.append(encode(stored, b"%0100d" % number))
        index.put_all(records, 0.0)
    index.close()


def on_disk(count: int, folder: Path) -> None:
    root = folder / "cache_store_bench"
    shutil.rmtree(root, ignore_errors=True)
    try:
        fill(root, count, key_of)
        each = (root / "index/data.mdb").stat().st_size / count
        print(f"\n{count:,} on disk, {each:.0f} octets of LMDB for each")
        before, begin = anonymous(), time.perf_counter()
        Index(str(root), DISK_BUDGET).close()
        writer = time.perf_counter() - begin
        begin = time.perf_counter()
        store = DiskStore(str(root), DISK_BUDGET, "/nowhere", print)
        store.get(key_of(0))
        first_hit = time.perf_counter() - begin
        print(
            f"opening (ms)               {writer * 1e3:8.2f}      to a worker's first hit {first_hit * 1e3:.2f}"
        )
        print(f"look-up                    {look_up(store.get, count):8.2f} us")
        each = (anonymous() - before) / count
        said = "met" if each <= GOAL_INDEX else "MISSED"
        print(f"octets outside LMDB        {each:8.1f}      for each ({said})")
        store.close()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def anonymous() -> int:
    """Return the octets of this process that are in no file: LMDB's map is one."""
    said = Path("/proc/self/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in said.splitlines() if line.startswith("Anonymous:")) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1_000_000)
    parser.add_argument("--disk", type=Path)
    parser.add_argument(
        "--fill", nargs=2, metavar=("FOLDER", "HOST"), help="only fill a folder, for bench/rows"
    )
    options = parser.parse_args()
    if options.fill:
        folder, host = options.fill
        fill(Path(folder), options.count, lambda number: b"http://%b/stored/%d" % (host.encode(), number))
        return
    in_memory(options.count)
    if options.disk is not None:
        on_disk(options.count, options.disk)


if __name__ == "__main__":
    main()
