"""The health of an upstream in one worker: who may be ejected, who answers too slowly, and what is told of it.

It owns the `EndpointHealth` of each endpoint. When one changes, the upstream looks again at whom it may pick. Twice
a second `sweep` does what time brings; at the end of each interval it compares latencies: an endpoint whose mean is
above a bound, or a multiple of the median of the others', is an outlier. Means are taken over whole intervals and
from `min_requests` responses at least, and the median of the others is not moved by one more slow endpoint.

Never everything: no more than `max_ejected` of the endpoints are out at once (one at least, where there are two), and
the last one that is up stays. Who is on trial is still out in this: it may be ejected again without being asked for.
"""

from __future__ import annotations

from typing import Final, final

from headgate.counters import ENDPOINT_EJECTED, ENDPOINT_KEPT
from headgate.net.poller import Poller
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.health import (
    EJECTED,
    HALF_OPEN,
    READY,
    UP,
    EndpointHealth,
    HealthOwner,
    Tell,
)
from headgate.upstream.upstream import Upstream

# A mean may be a multiple of the others' and still nothing to talk of: 3 ms against 1 ms.
LEAST_DIFFERENCE: Final = 0.010
# A keeper repeats every minute what it knows; so long after its last word nobody is kept out by it any more.
STALE_SECONDS: Final = 300.0
_UNKNOWN: Final = "no probe has said anything yet"


@final
class OutlierRules:
    """What holds for the endpoints of an upstream together. 0 switches a latency check off."""

    def __init__(
        self,
        *,
        max_ejected: float = 0.5,
        interval: float = 10.0,
        min_requests: int = 20,
        max_latency: float = 0.0,
        slower_than_others: int = 0,
    ) -> None:
        self.max_ejected = max_ejected
        self.interval = interval
        self.min_requests = min_requests
        self.max_latency = max_latency
        self.slower_than_others = slower_than_others


@final
class Outliers(HealthOwner):
    """Owns the health of the endpoints of one upstream."""

    def __init__(
        self,
        upstream: Upstream,
        rules: OutlierRules,
        tell: Tell,
        values: list[int],
        poller: Poller,
        *,
        unknown: int = UP,
    ) -> None:
        """`unknown` is the verdict on an endpoint that no probe has said anything of: UP or PENDING."""
        self.upstream = upstream
        self.rules = rules
        self.unknown = unknown
        self.compares = rules.max_latency > 0.0 or rules.slower_than_others > 0
        self._tell = tell
        self._values = values
        self._poller = poller
        self._compare_at = poller.now + rules.interval
        self._endpoints: dict[str, Endpoint] = {}
        self._verdicts: dict[str, tuple[int, str]] = {}
        self._heard_at = poller.now  # something of the keeper
        self._gathering = False  # several change: balancing looks at them afterwards
        self._room = 0  # for further ejections
        self._up = 0
        self.group_changed()
        upstream.health_owner = self
        if unknown != UP:
            upstream.health_changed()

    def __repr__(self) -> str:
        return f"<Outliers {self.upstream.name}: {self._up} of {len(self._endpoints)} up>"

    def group_changed(self) -> None:
        self._endpoints = {endpoint.url: endpoint for endpoint in self.upstream.endpoints}
        self._gathering = True  # who has changed the group looks at it afterwards
        for endpoint in self.upstream.endpoints:
            endpoint.health.owner = self
            verdict, why = self._verdicts.get(endpoint.url, (self.unknown, _UNKNOWN))
            endpoint.health.judge(self._poller.now, verdict, why)
        self._gathering = False
        self._count()

    def judge(self, verdicts: dict[str, tuple[int, str] | None], now: float) -> None:
        """Take verdicts of probes with their reasons, on endpoints that are here or may come; None: no probe looks at
        this one any more. Balancing looks again once for all of them."""
        self._heard_at = now
        changed = False
        self._gathering = True
        for url, found in verdicts.items():
            if found is None:
                self._verdicts.pop(url, None)
                continue
            self._verdicts[url] = found
            endpoint = self._endpoints.get(url)
            if endpoint is not None and endpoint.health.verdict != found[0]:
                endpoint.health.judge(now, found[0], found[1])
                changed = True
        self._gathering = False
        self._count()
        if changed:
            self.upstream.health_changed()

    def _doubt(self, now: float) -> None:
        """Nobody has said for long that what is known still holds: who is down for probes alone may be well, and who
        waits for its first probe may wait for ever."""
        out = [url for url, (verdict, _) in self._verdicts.items() if verdict != UP]
        out += [url for url in self._endpoints if url not in self._verdicts and self.unknown != UP]
        if out:
            self._tell(
                "probes-silent",
                "error",
                limit_key=self.upstream.name,
                upstream=self.upstream.name,
                endpoints=len(out),
                reason=f"the keeper has said nothing of them for {STALE_SECONDS:g} s",
                next="they get requests again, until it does",
            )
        self.judge(dict.fromkeys(out, (UP, "probes have said nothing for too long")), now)

    def _count(self) -> None:
        out = 0
        up = 0
        for endpoint in self._endpoints.values():
            if endpoint.health.state != READY:
                out += 1
            elif endpoint.health.is_up:
                up += 1
        self._up = up
        self._room = self._allowed() - out

    def _allowed(self) -> int:
        count = len(self._endpoints)
        share = self.rules.max_ejected
        if share <= 0.0 or count < 2:
            return 0
        return min(max(int(count * share), 1), count - 1)

    # -- what endpoints report

    def may_eject(self, health: EndpointHealth) -> bool:
        if self._room <= 0:
            return False
        return self._up > 1 or not health.is_up

    def may_rest(self) -> bool:
        return self._up > 1

    def health_changed(self, health: EndpointHealth, state: int) -> None:
        if health.state != state:
            self._tell_state(health)
        if self._gathering:
            return
        self._count()
        if health.url in self._endpoints:
            self.upstream.health_changed()

    def kept(self, health: EndpointHealth, why: str) -> None:
        if not self._allowed():
            return  # nothing that the operator could expect
        self._values[ENDPOINT_KEPT] += 1
        self._tell(
            "endpoint-kept",
            "warning",
            limit_key=health.url,
            upstream=self.upstream.name,
            endpoint=health.url,
            reason=why,
            up=self._up,
            next="it goes on getting requests: as many endpoints are out as may be",
        )

    def _tell_state(self, health: EndpointHealth) -> None:
        trials = f"{health.limits.trials} requests on trial"
        name, level, following = "endpoint-back", "info", "it gets its share again"
        if health.state == EJECTED:
            self._values[ENDPOINT_EJECTED] += 1
            name, level = "endpoint-ejected", "warning"
            following = f"no requests for {health.until - health.since:g} s, then {trials}"
        elif health.state == HALF_OPEN:
            name, following = "endpoint-on-trial", f"it gets {trials}; one that fails ejects it again"
        self._tell(
            name,
            level,
            limit_key=health.url,
            upstream=self.upstream.name,
            endpoint=health.url,
            reason=health.why,
            up=self._up,
            next=following,
        )

    # -- time

    def sweep(self, now: float) -> None:
        """Do what time brings."""
        for endpoint in self.upstream.endpoints:
            health = endpoint.health
            if health.state != READY or health.ejections or health.rests_until:
                health.sweep(now)
        if (self._verdicts or self.unknown != UP) and now >= self._heard_at + STALE_SECONDS:
            self._doubt(now)
        if self.compares and now >= self._compare_at:
            self._compare_at = now + self.rules.interval
            self._compare(now)

    def _compare(self, now: float) -> None:
        """Eject who was too slow in the interval that is over, and begin the next one."""
        rules = self.rules
        judged: list[EndpointHealth] = []
        means: list[float] = []
        for endpoint in self.upstream.endpoints:
            health = endpoint.health
            if health.timed >= rules.min_requests:
                judged.append(health)
                means.append(health.seconds / health.timed)
            if health.timed:
                health.timed = 0
                health.seconds = 0.0
        ordered = sorted(means)
        for place, health in enumerate(judged):
            why = self._outlier(means[place], ordered)
            if why:
                health.trip(now, why)

    def _outlier(self, mean: float, ordered: list[float]) -> str:
        """Say what is wrong with a mean, "" when nothing is."""
        rules = self.rules
        shown = f"{mean * 1000:.0f} ms to the head on average over {rules.interval:g} s"
        if rules.max_latency > 0.0 and mean > rules.max_latency:
            return f"{shown}, more than {rules.max_latency * 1000:.0f} ms"
        if rules.slower_than_others and len(ordered) > 1:
            others = median_without(ordered, mean)
            if mean > others * rules.slower_than_others and mean > others + LEAST_DIFFERENCE:
                return f"{shown}, the others {others * 1000:.0f} ms"
        return ""


def median_without(ordered: list[float], mean: float) -> float:
    """Return the lower median of what is left of an ordered list when `mean`, which stands in it, is taken out."""
    place = ordered.index(mean)
    middle = (len(ordered) - 2) // 2
    return ordered[middle if place > middle else middle + 1]
