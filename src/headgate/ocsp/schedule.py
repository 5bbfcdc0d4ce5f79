"""When to ask next: pure functions of durations and one random number, so that each rule is a line in a test.

Refresh near the middle of what is left, not near the end: responders that answer in advance publish a successor
long before the end, and the second half is then free for failures. The spread keeps a fleet that was restarted
together from asking together. All arguments and results are seconds; `u` is a random number in [0, 1).
"""

from typing import Final

REFRESH_MARGIN: Final = 300.0
"""The last five minutes of a long-lived answer are not planned with, nor the last tenth of a short-lived one."""

REFRESH_FLOOR: Final = 30.0
"""No refresh comes sooner after a success than this, however short an answer lives."""

REFRESH_SHARE_OF_LIFE: Final = 0.75
"""Whatever `min_interval` or a responder's max-age say, a quarter of what is left remains for failures."""

RETRY_FIRST: Final = 30.0
RETRY_LAST: Final = 3_600.0
RETRY_FLOOR: Final = 10.0
RETRY_SHARE_OF_LIFE: Final = 0.25
_SPREAD: Final = 0.5

BOOT_FIRST: Final = 1.0
BOOT_TRIES: Final = 6
"""Failures to resolve, before any name was ever resolved, that are repeated within seconds: 1, 2, 4, 8, 16, 20,
each half as long again at most. A gate often starts before the network does."""


def refresh_delay(
    *,
    lifetime: float,
    left: float,
    u: float,
    min_interval: float,
    max_interval: float,
    max_age: float = 0.0,
) -> float:
    """Return how long to wait after a success. `lifetime` is nextUpdate - thisUpdate, `left` is nextUpdate - now,
    `max_age` the responder's Cache-Control max-age less its Age (0: none)."""
    margin = min(REFRESH_MARGIN, lifetime / 10.0)
    delay = (left - margin) * (0.4 + 0.2 * u)
    delay = max(min_interval, min(delay, max_interval))
    delay = max(delay, max_age)
    delay = min(delay, left * REFRESH_SHARE_OF_LIFE)
    return max(delay, REFRESH_FLOOR)


def retry_delay(*, failures: int, left: float | None, u: float) -> float:
    """Return how long to wait after the `failures`-th failure in a row (1: the first): 30 to 45 s, doubled each time
    up to 40 to 60 min. `left` is the life of the staple that is held, None without one."""
    doubled = RETRY_FIRST * float(2 ** min(max(failures, 1) - 1, 10))
    delay = _spread(min(doubled, RETRY_LAST / (1.0 + _SPREAD)), u)
    if left is not None:
        delay = min(delay, left * RETRY_SHARE_OF_LIFE)
    return max(delay, RETRY_FLOOR)


def boot_delay(*, failures: int, u: float) -> float:
    """Return how long to wait after the `failures`-th failure to resolve while no name has been resolved since the
    start; only for `failures` up to `BOOT_TRIES`, after that `retry_delay` goes on."""
    doubled = BOOT_FIRST * float(2 ** min(max(failures, 1) - 1, BOOT_TRIES))
    return _spread(min(doubled, RETRY_FIRST / (1.0 + _SPREAD)), u)


def _spread(shortest: float, u: float) -> float:
    return shortest * (1.0 + _SPREAD * u)
