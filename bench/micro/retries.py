"""What retries cost a request: `python -m bench.micro.retries`. The goal is 0.1 µs for one that is not repeated."""

from collections.abc import Callable

from bench.micro.clock import nanoseconds, show
from headgate.upstream import retries as module
from headgate.upstream.retries import Retries

GOAL = 100.0


def counted(retries: Retries) -> Callable[[], object]:
    budget = retries.budget

    def count() -> None:
        budget.requests += 1

    return count


def taken(retries: Retries) -> Callable[[], object]:
    budget = retries.budget
    times = iter(range(1 << 60))
    return lambda: budget.take(next(times) * 0.001)


def main() -> None:
    print(f"{module.__file__}\n")
    plain = nanoseconds(counted(Retries()))
    show("a request that is not repeated", plain)
    show("a token for one that is", nanoseconds(taken(Retries())))
    print(f"\na request: {plain:.0f} ns (goal {GOAL:.0f}: {'met' if plain <= GOAL else 'MISSED'})")


if __name__ == "__main__":
    main()
