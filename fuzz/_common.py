"""What fuzz targets share: how inputs are changed and cut, what is too slow, and their command line."""

import argparse
import contextlib
import gc
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

SLOWEST: Final = 0.25
"""Seconds of CPU for one input of a few KiB; it takes a few milliseconds, a quadratic step would take minutes."""


class Broken(AssertionError):
    """What is fuzzed misbehaved; the message holds what shows it."""


def mutate(seed: bytes, seeds: Sequence[bytes], pieces: Sequence[bytes], chance: random.Random) -> bytes:
    """Return `seed` with one to three things done to it."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randint(0, len(data))
        kind = chance.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] = chance.choice(
                (0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF, chance.randrange(256))
            )
        elif kind == 1:
            data[at:at] = chance.choice(pieces)
        elif kind == 2:
            del data[at : at + chance.randint(1, 8)]
        elif kind == 3:
            data[at:at] = data[at : at + chance.randint(1, 64)] * chance.randint(1, 4)
        elif kind == 4:
            other = chance.choice(seeds)
            data[at:] = other[chance.randint(0, len(other)) :]
        elif kind == 5:
            data += chance.choice(seeds)
        elif data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
    return bytes(data)


def split(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut `data` anywhere, often into single octets."""
    if chance.random() < 0.2:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(chance.randint(0, len(data)) for _ in range(chance.randint(0, 6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if b > a]


def cpu() -> float:
    """Seconds of CPU of this thread: what threads left by others burn is not the input's."""
    return time.thread_time()


def timed(shown: str, octets: int, work: Callable[[], None]) -> None:
    """Do one input; whatever comes out, or takes too long, is a `Broken` that shows the input."""
    began = cpu()
    try:
        work()
    except Exception as error:
        raise Broken(f"{shown}: {error!r}") from error
    took = cpu() - began
    if took > SLOWEST:
        raise Broken(f"{shown}: {took:.2f} s for {octets} octets")


def after(seconds: float) -> Callable[[], bool]:
    """Return what tells whether so many seconds are over, a quarter of them used: on a machine that others use it
    goes on for longer, and there is a round in any case."""
    end, used = time.monotonic() + seconds, cpu() + seconds / 4
    return lambda: time.monotonic() >= end and cpu() >= used


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Hide what is here already from the collector: in a suite of thousands of tests one full collection takes
    longer than an input may."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def repeat(run_one: Callable[[], None], seconds: float) -> int:
    """Draw and check inputs for `seconds`; return how many. Raises `Broken`."""
    count = 0
    with apart():
        is_over = after(seconds)
        while not is_over():
            run_one()
            count += 1
    return count


def main(name: str, text: str | None, run: Callable[[float, int], int]) -> int:
    """Fuzz as the command line says."""
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"fuzz.{name}: {arguments.seconds:g} s, seed {arguments.seed}")
    try:
        count = run(arguments.seconds, arguments.seed)
    except Broken as error:
        print(f"fuzz.{name}: BROKEN, seed {arguments.seed}: {error}")
        return 1
    print(f"fuzz.{name}: {count} inputs, nothing found")
    return 0
