"""How a micro-benchmark measures: the best of many short rounds, less the cost of an empty call.

The rounds take well under a millisecond each: on a busy machine one of them still runs undisturbed.
"""

import time
from collections.abc import Callable

ROUNDS = 300


def nanoseconds(function: Callable[[], object], number: int = 1000) -> float:
    """Return the cost of one call in nanoseconds."""
    return _best(function, number) - _best(_nothing, number)


def _nothing() -> None:
    return None


def _best(function: Callable[[], object], number: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        turns = range(number)
        started = time.perf_counter_ns()
        for _ in turns:
            function()
        best = min(best, (time.perf_counter_ns() - started) / number)
    return best


def show(label: str, cost: float, note: str = "") -> None:
    """Print one line of the table."""
    print(f"{label:<52}{cost:8.0f} ns  {note}".rstrip())
