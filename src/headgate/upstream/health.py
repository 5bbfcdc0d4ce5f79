"""The health of one endpoint as one worker sees it: what probes found, and what its own requests met.

Two things can say no. The `verdict` is the keeper's, who probes (see `process/probes`). `state` is a breaker that
this worker's own requests drive, a table of three states:

    READY      gets its share of the requests
    EJECTED    failed too often in a row, or answers far slower than the others: gets none until its time is over
    HALF_OPEN  gets a bounded number of requests on trial; all of them succeed, or it is ejected for longer. What was
               under way before decides nothing: `began` gives a request on trial the number of its round

`is_up` is what balancing looks at, and no more than that: when nobody is left who is up, balancing asks everybody
(the panic threshold), so that health never makes an outage where there was a bad hour.

The hot path is `succeeded`: some additions on a native object, no call unless something is wrong. Times are loop
times in seconds, given by who calls; nothing here asks a clock.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Protocol, final

from mypy_extensions import mypyc_attr


class Tell(Protocol):
    """Where events go."""

    def __call__(self, name: str, level: str = "info", *, limit_key: str = "", **fields: object) -> None: ...


class State(IntEnum):
    """What this worker's requests say."""

    READY = 0
    EJECTED = 1
    HALF_OPEN = 2


class Event(IntEnum):
    """What moves it on."""

    TRIPPED = 0  # too many failures in a row, or an outlier
    TIME_OVER = 1  # the ejection is
    PROBED = 2  # a probe found it well again
    TRIALS_PASSED = 3  # as many as were asked for
    TRIAL_FAILED = 4


# A pair that is missing changes nothing.
TABLE: Final[dict[tuple[State, Event], State]] = {
    (State.READY, Event.TRIPPED): State.EJECTED,
    (State.EJECTED, Event.TIME_OVER): State.HALF_OPEN,
    (State.EJECTED, Event.PROBED): State.HALF_OPEN,
    (State.HALF_OPEN, Event.TRIALS_PASSED): State.READY,
    (State.HALF_OPEN, Event.TRIAL_FAILED): State.EJECTED,
}

READY: Final = 0
EJECTED: Final = 1
HALF_OPEN: Final = 2

# The verdict of probes. PENDING: the first one has not come, and is waited for.
UP: Final = 0
DOWN: Final = 1
PENDING: Final = 2
VERDICTS: Final = ("up", "down", "pending")

# How an attempt failed.
CONNECT_FAILED: Final = 0
TIMED_OUT: Final = 1
BROKEN: Final = 2  # the connection or the protocol broke before the response was complete
FAILURES: Final = ("connect", "timeout", "broken")


@final
class OutlierLimits:
    """What a worker takes for an outlier. Numbers of 0 switch their check off.

    Reasons: see `config/upstream_health`, where an operator sets them.
    """

    def __init__(
        self,
        *,
        server_errors: int = 5,
        failures: int = 5,
        ejection: float = 30.0,
        max_ejection: float = 300.0,
        trials: int = 3,
    ) -> None:
        self.server_errors = server_errors
        self.failures = failures
        self.ejection = ejection
        self.max_ejection = max_ejection
        self.trials = trials


@mypyc_attr(allow_interpreted_subclasses=True)
class HealthOwner:
    """The upstream that an endpoint belongs to. This one ejects nobody and tells nothing."""

    def may_eject(self, health: EndpointHealth) -> bool:
        """Tell whether one more may be ejected."""
        return False

    def health_changed(self, health: EndpointHealth, state: int) -> None:
        """`is_up`, the verdict, or the state, which was `state` before, is another; `why` says why. Balancing looks
        again."""

    def group_changed(self) -> None:
        """Endpoints came or went. They are told apart before balancing looks at them."""

    def may_rest(self) -> bool:
        """Tell whether others are up."""
        return False

    def kept(self, health: EndpointHealth, why: str) -> None:
        """It would have been ejected for this reason, and may not be."""


NOBODY: Final = HealthOwner()


@final
class EndpointHealth:
    """One endpoint of one worker. Counts since the start of the worker: `requests` all that ended, `failures` those
    without a whole response, `server_errors` those with a 5xx."""

    def __init__(self, url: str, limits: OutlierLimits | None = None) -> None:
        self.url = url
        self.owner: HealthOwner = NOBODY
        self.limits = limits if limits is not None else OutlierLimits()
        self.is_up = True
        self.state: int = READY
        self.verdict: int = UP
        self.why = ""  # of the last change
        self.since = 0.0  # loop time of the last change
        self.until = 0.0  # the end of the ejection
        self.rests_until = 0.0  # it asked to be left alone until then (Retry-After); 0.0: it did not
        self.ejections = 0  # in a row
        self.round = 0  # of trials; the number of the last one
        self.trials_active = 0
        self.trials_passed = 0
        self.requests = 0
        self.failures = 0
        self.server_errors = 0
        self.failures_in_row = 0
        self.server_errors_in_row = 0
        # Of the interval under way, for who compares endpoints; that one begins it anew.
        self.timed = 0
        self.seconds = 0.0

    def __repr__(self) -> str:
        return f"<EndpointHealth {self.url}: {self.describe()}>"

    def describe(self) -> str:
        """Return one word: up, down, pending, ejected, half-open or resting."""
        if self.verdict != UP:
            return VERDICTS[self.verdict]
        if self.state == READY and self.rests_until:
            return "resting"
        return ("up", "ejected", "half-open")[self.state]

    # -- what requests met

    def succeeded(self, now: float, seconds: float, status: int, trial: int = 0) -> None:
        """A whole response came, its head after `seconds`; `trial` is what `began` returned."""
        self.requests += 1
        self.timed += 1
        self.seconds += seconds
        self.failures_in_row = 0
        if status < 500:
            self.server_errors_in_row = 0
        else:
            self.server_errors += 1
            if self.limits.server_errors:
                self.server_errors_in_row += 1
                is_enough = self.server_errors_in_row >= self.limits.server_errors
                self._failed(now, is_enough, f"status {status}", trial)
                return
        if trial and self._is_on_trial(trial):
            self._trial_passed(now)

    def failed(self, now: float, kind: int, trial: int = 0) -> None:
        """None came: `kind` is CONNECT_FAILED, TIMED_OUT or BROKEN; `trial` is what `began` returned."""
        self.requests += 1
        self.failures += 1
        self.failures_in_row += 1
        if self.limits.failures:
            self._failed(now, self.failures_in_row >= self.limits.failures, FAILURES[kind], trial)

    def _failed(self, now: float, is_enough: bool, what: str, trial: int) -> None:
        if self._is_on_trial(trial):
            self.step(now, Event.TRIAL_FAILED, f"a request on trial failed: {what}")
        elif is_enough and self.state == READY:
            count = max(self.failures_in_row, self.server_errors_in_row)
            self.trip(now, f"{count} failures in a row, the last: {what}")

    def trip(self, now: float, why: str) -> None:
        """Eject it, if one more may be."""
        if self.state != READY:
            return
        if self.owner.may_eject(self):
            self.step(now, Event.TRIPPED, why)
        else:
            self.failures_in_row = 0  # as many again before it is asked again
            self.server_errors_in_row = 0
            self.owner.kept(self, why)

    def rest(self, now: float, seconds: float, why: str) -> bool:
        """It asked to be left alone for so long; tell whether it is. Where nobody else is up it is asked on."""
        if self.rests_until:
            self.rests_until = max(self.rests_until, now + seconds)
            return True
        if not self.is_up or not self.owner.may_rest():
            return False
        self.rests_until = now + seconds
        self._changed(now, why, self.state)
        return True

    # -- trials: who counts what is under way calls these while `state` is not READY

    def began(self) -> int:
        """A request was given to it: return the number of the trials it belongs to, 0 when it is on none."""
        if self.state != HALF_OPEN:
            return 0
        self.trials_active += 1
        self._weigh()
        return self.round

    def ended(self, trial: int) -> None:
        """A request is over, however it ended."""
        if self.trials_active and self._is_on_trial(trial):
            self.trials_active -= 1
            self._weigh()

    def _is_on_trial(self, trial: int) -> bool:
        return trial == self.round and self.state == HALF_OPEN

    def _trial_passed(self, now: float) -> None:
        self.trials_passed += 1
        if self.trials_passed >= self.limits.trials:
            self.step(now, Event.TRIALS_PASSED, f"{self.trials_passed} requests on trial succeeded")

    # -- changes

    def step(self, now: float, event: Event, why: str) -> None:
        """Go where the table says, if it says anything."""
        following = TABLE.get((State(self.state), event))
        if following is None:
            return
        before = self.state
        self.state = int(following)
        self.trials_active = 0
        self.trials_passed = 0
        if self.state == EJECTED:
            self.until = now + self._ejection()
            self.ejections += 1
        elif self.state == HALF_OPEN:
            self.round += 1
        self.failures_in_row = 0
        self.server_errors_in_row = 0
        self._changed(now, why, before)

    def _ejection(self) -> float:
        """Return for how long: twice as long each time, up to the ceiling."""
        limits = self.limits
        return min(limits.ejection * (1 << min(self.ejections, 20)), limits.max_ejection)

    def judge(self, now: float, verdict: int, why: str) -> None:
        """Take the verdict of probes: UP, DOWN or PENDING."""
        if verdict == self.verdict:
            return
        was_down = self.verdict == DOWN
        self.verdict = verdict
        if was_down and verdict == UP and self.state == EJECTED:
            self.step(now, Event.PROBED, why)  # what its requests met was the same trouble
        else:
            self._changed(now, why, self.state)

    def sweep(self, now: float) -> None:
        """Do what time brings: the end of an ejection, of trials that take too long, and of old sins."""
        limits = self.limits
        if self.rests_until and now >= self.rests_until:
            self.rests_until = 0.0
            self._changed(now, "the rest that it asked for is over", self.state)
        if self.state == EJECTED:
            if now >= self.until:
                self.step(now, Event.TIME_OVER, "the ejection is over")
        elif self.state == HALF_OPEN:
            if self.trials_active and now >= self.since + limits.ejection:
                # A download or a client that left the trial hanging: nobody waits for it, others may try.
                self.since = now
                self.trials_active = 0
                self._weigh()
        elif self.ejections and now >= self.since + limits.max_ejection:
            self.ejections = 0

    def _changed(self, now: float, why: str, state: int) -> None:
        self.since = now
        self.why = why
        self.is_up = self._is_up()
        self.owner.health_changed(self, state)

    def _weigh(self) -> None:
        """Look whether another trial may begin."""
        is_up = self._is_up()
        if is_up != self.is_up:
            self.is_up = is_up
            self.owner.health_changed(self, self.state)

    def _is_up(self) -> bool:
        if self.verdict != UP or self.state == EJECTED or self.rests_until:
            return False
        return self.state == READY or self.trials_active + self.trials_passed < self.limits.trials
