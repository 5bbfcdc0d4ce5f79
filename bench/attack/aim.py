"""Whom an attack goes to and until when, what came of it, and how it is rightly answered; whatever the version."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Aim:
    """Whom to attack, until when; and what came of it. `packets` are frames where there are no packets."""

    host: str
    port: int
    end: float
    packets: int = 0
    connections: int = 0
    failed: int = 0
    closes: Counter[str] = field(default_factory=Counter)

    def is_over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self.end


@dataclass(frozen=True)
class Attack:
    """One of them, and how a gate rightly answers.

    `closes`: the code that ends its connections; `must`: it has to. `counter`: what moves, in words of /metrics.
    `connects`: it is worth nothing without connections. `gets_in`: none of those that it opens may fail. `takes`: so
    many seconds pass before the counter can move.
    """

    run: Callable[..., None]
    closes: str = ""
    counter: str = ""
    must: bool = True
    connects: bool = True
    gets_in: bool = False
    takes: float = 0.0
