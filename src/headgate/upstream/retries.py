"""What may be tried again: which failures, how many times, and how much of the traffic of an upstream.

A request is sent again only where that cannot do its work twice. Three kinds of failures differ in that:

    it was never sent      the endpoint could not be reached, or the connection ended before an octet of the request
                           went out, or the origin says that it refused it unread: any method
    it met a closing       a connection that lay idle ended without an octet of an answer (RFC 9112 section 9.3.1, and
    connection             what every client does): any method, once
    the origin had it      it was silent, broke off, or answered with a status that is on the list: methods that are
                           idempotent by definition (RFC 9110 section 9.2.2), on another endpoint

The third kind is load that the origins bear twice, and they fail most when they have too much of it: a budget bounds
it; the first two are free, for no origin does that work twice. `RetryBudget` is a bucket of tokens: each request
puts in a share of one, a repetition takes one out, a small rate per second is put in whatever the traffic (or nothing
could be repeated where there is little), and what lies there fades with `WINDOW` seconds. So of N requests in a
steady stream N * share are repeated at most, beyond what the bucket held. Requests only count (`requests += 1`); the
sums are done when somebody asks for a token, which is rare.

Pure: no clock, no sockets. Times are loop times in seconds.
"""

from __future__ import annotations

from math import exp
from typing import Final, final

# Why a try is followed by another. The order is that of the counters (`counters.RETRIED_FIRST`).
REUSED: Final = 0  # a connection that lay idle was closing
UNTOUCHED: Final = 1  # nothing of the request had gone out, or it was refused unread
CONNECT: Final = 2
CLOSED: Final = 3
TIMEOUT: Final = 4
INVALID: Final = 5  # what came is no HTTP
STATUS: Final = 6
# The words of the configuration for those that can be chosen.
WORDS: Final = {"connect": CONNECT, "closed": CLOSED, "timeout": TIMEOUT, "invalid": INVALID}

# RFC 9110 sections 9.2.1 and 9.2.2. CONNECT, POST, PATCH and whatever we do not know may do their work twice.
SAFE: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
IDEMPOTENT: Final = SAFE | frozenset((b"PUT", b"DELETE"))

# How long a token lasts, on average (the time constant of its fading); finagle and linkerd have 10 s.
WINDOW: Final = 10.0
# How much of a Retry-After is granted: an endpoint that asks for a day has a bad hour.
MAX_REST: Final = 60.0


@final
class RetryBudget:
    """`share` of the requests, and `floor` a second. `requests` is counted by whoever sends them."""

    def __init__(self, share: float, floor: float, now: float) -> None:
        self.share = share
        self.floor = floor
        self.requests = 0
        self._seen = 0
        self._then = now
        self._tokens = floor * WINDOW

    def __repr__(self) -> str:
        return f"<RetryBudget {self._tokens:.1f} tokens>"

    def take(self, now: float) -> bool:
        """Take a token out; False: there is none."""
        self._settle(now)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def available(self, now: float) -> float:
        """Return how many tokens there are."""
        self._settle(now)
        return self._tokens

    def _settle(self, now: float) -> None:
        """Put in what has come since, as if it had come evenly, and let all of it fade."""
        came = self.share * (self.requests - self._seen)
        self._seen = self.requests
        elapsed = now - self._then
        if elapsed <= 0.0:
            self._tokens += came
            return
        self._then = now
        fade = exp(-elapsed / WINDOW)
        self._tokens = self._tokens * fade + (came / elapsed + self.floor) * WINDOW * (1.0 - fade)


@final
class Retries:
    """What one upstream repeats, and its budget in one worker.

    `attempts` in all, the first included; `on` are the kinds and `statuses` the answers that are followed by another.
    """

    def __init__(
        self,
        *,
        attempts: int = 3,
        on: frozenset[int] = frozenset((CONNECT, CLOSED)),
        statuses: frozenset[int] = frozenset(),
        share: float = 0.2,
        floor: float = 3.0,
        now: float = 0.0,
    ) -> None:
        self.attempts = attempts
        self.on = on
        self.statuses = statuses
        self.looks_at_status = attempts > 1 and bool(statuses)
        self.budget = RetryBudget(share, floor, now)

    def __repr__(self) -> str:
        return f"<Retries {self.attempts} attempts, {self.budget!r}>"

    def is_wanted(self, kind: int) -> bool:
        """Tell whether the operator wants another try after this; what is always safe is not asked about."""
        return kind < CONNECT or kind == STATUS or kind in self.on
