"""The cache: hits, misses, and what a million stored answers do to a hit.

That a hit is one, and a miss too, is not believed but counted: by the requests that reached the origin.
"""

from dataclasses import replace
from typing import Final

from bench import measure
from bench.lab import Lab, Lane, Sample
from bench.load import Load, LoadError
from bench.proxies import Profile, Proxy, Running
from bench.rows.base import Row
from bench.rows.h2 import H2Requests
from bench.rows.many import SelfCompared

# What may reach the origin in a round of hits: the two questions for its count, and a confirmation or so.
_STRAY: Final = 8
_FILL_SECONDS: Final = 10
_FEW: Final = 1000
# A gate puts the memory of a full cache together, with a twentieth of a processor (cache/huge_pages). What a hit
# among very many costs is asked when that is over: none of it for so many seconds, and at most so many are waited
# for.
_QUIET_SECONDS: Final = 5.0
_MOST_QUIET_SECONDS: Final = 120.0


def check_hits(before: int, after: int) -> None:
    """Raise LoadError when requests have reached the origin."""
    if after - before > _STRAY:
        raise LoadError(f"{after - before - 1} of what should be hits reached the origin")


class CacheRow(Row):
    """A row for those who store."""

    version = "cache"
    profile = Profile(cache="memory")

    def baseline(self, label: str) -> str:
        return "trafficserver"

    def hits(self, lab: Lab, lane: Lane, load: Load, seconds: float) -> Sample:
        """Do a round of which nothing may reach the origin."""
        running = lab.running(lane)
        before = lab.origin_requests()
        sample = lab.per_request(running, self.url(running), load, seconds)
        check_hits(before, lab.origin_requests())
        return sample

    def url(self, running: Running) -> str:
        """Return where the load goes."""
        return running.url


class Hit(CacheRow):
    """Hits on one stored answer over kept connections; over `tls` those take part who store and speak it."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        goal: float,
        path: str,
        connections: int = 64,
        cache: str = "memory",
        tls: bool = False,
    ) -> None:
        self.name = name
        self.title = title
        self.goal = goal
        self.load = Load(path, connections)
        self.profile = Profile(cache=cache)
        self.tls = tls
        if tls:
            self.version = "cache-h2"

    def baseline(self, label: str) -> str:
        return "nginx" if self.tls else super().baseline(label)

    def url(self, running: Running) -> str:
        return running.tls_url if self.tls else running.url

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        running = lab.running(lane)
        lab.per_request(running, self.url(running), self.load, 1)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return self.hits(lab, lane, self.load, lab.seconds)


class HitH2(H2Requests):
    """Hits on streams of kept connections, over TLS."""

    version = "cache-h2"

    def __init__(self, name: str, title: str, *, goal: float, path: str, cache: str = "memory") -> None:
        super().__init__(name, title, goal=goal, path=path)
        self.version = "cache-h2"
        self.profile = Profile(h2=True, cache=cache)

    def baseline(self, label: str) -> str:
        return "nginx"

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        before = lab.origin_requests()
        sample = super().measure(lab, lane)
        check_hits(before, lab.origin_requests())
        return sample


class Miss(SelfCompared):
    """Requests of which each has a URL of its own, against the same with the cache off."""

    version = "cache"
    many = Profile(cache="memory")
    word = "caching"

    def __init__(self, name: str, title: str, *, goal: float, path: str) -> None:
        self.name = name
        self.title = title
        self.goal = goal
        self.path = path
        self._number = 0

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        self._put(lab, lane, 1)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return self._put(lab, lane, lab.seconds)

    def _put(self, lab: Lab, lane: Lane, seconds: float) -> Sample:
        running = lab.running(lane)
        before = lab.origin_requests()
        load = Load(self.path, first=self._number)
        sample = lab.per_request(running, running.url, load, seconds)
        came = lab.origin_requests() - before
        self._number += came + load.connections
        asked = round(sample.rate * seconds)
        if came < asked * 0.9:
            raise LoadError(f"only {came} of some {asked} requests reached the origin")
        return sample


class MissTwo(Miss):
    """The same with two workers, the CPU of both: what it costs that they make one request together."""

    one = Profile(workers=2)
    many = Profile(cache="memory", workers=2)

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        return super().lanes([p for p in proxies if p.name == "headgate"])


class ManyStored(CacheRow):
    """Hits spread evenly over very many stored answers, against hits spread over a thousand."""

    goal = 1.15
    in_quick = False

    def __init__(self, count: int) -> None:
        self.count = count
        self.name = "hit-many"
        self.title = f"hits, {count:,} stored over {_FEW:,}"
        self.word = f"×{count}"

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        # Some 1.3 KiB for each: what is stored must all be there.
        many = replace(self.profile, cache_mib=max(64, self.count // 400))
        few = replace(self.profile, cache_mib=65)  # another than that of the rows before
        headgates = [p for p in proxies if p.name == "headgate"]
        return [
            Lane(p.name + word, p, profile)
            for p in headgates
            for word, profile in (("", few), (f" {self.word}", many))
        ]

    def baseline(self, label: str) -> str:
        return label.removesuffix(f" {self.word}")

    def _stored(self, lane: Lane) -> int:
        return self.count if lane.label.endswith(self.word) else _FEW

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        running = lab.running(lane)
        number = 0
        while number < self._stored(lane):
            lab.tell(f"stored {number:,} of {self._stored(lane):,}")
            before = lab.origin_requests()
            seconds = _FILL_SECONDS if self._stored(lane) > _FEW else 1
            lab.per_request(running, running.url, Load("/stored/", first=number), seconds)
            number += lab.origin_requests() - before - 1 - Load.connections
        if self._stored(lane) > _FEW:
            lab.tell(f"waiting until memory is put together, {_MOST_QUIET_SECONDS:.0f} s at most")
            measure.settle(running.pids(), _QUIET_SECONDS, _MOST_QUIET_SECONDS)
        self._hits(lab, lane, 1)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return self._hits(lab, lane, lab.seconds)

    def _hits(self, lab: Lab, lane: Lane, seconds: float) -> Sample:
        return self.hits(lab, lane, Load("/stored/", many=self._stored(lane)), seconds)
