"""Requests over kept connections and over new ones: CPU of the proxy per request."""

from bench.lab import Lab, Lane, Sample
from bench.load import FIFTEEN_FIELDS, Load
from bench.proxies import Origin, Profile, Proxy
from bench.rows.base import Row


class Requests(Row):
    """Keep-alive requests; `busy` adds 15 request fields and the access log, `origin_tls` TLS towards the origin."""

    def __init__(
        self,
        name: str,
        title: str,
        *,
        goal: float,
        tls: bool = False,
        busy: bool = False,
        origin_tls: bool = False,
        path: str = "/",
        connections: int = 64,
    ) -> None:
        self.name = name
        self.title = title
        self.goal = goal
        self.tls = tls
        self.profile = Profile(access_log=busy, origin_tls=origin_tls)
        self.load = Load(path, connections, FIFTEEN_FIELDS if busy else ())

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        self._put(lab, lane, 1)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return self._put(lab, lane, lab.seconds)

    def _put(self, lab: Lab, lane: Lane, seconds: float) -> Sample:
        running = lab.running(lane)
        return lab.per_request(running, running.tls_url if self.tls else running.url, self.load, seconds)


class Direct(Requests):
    """The load on the origin itself: what the proxies' neighbours can do, to judge the other rows by."""

    def __init__(self) -> None:
        super().__init__("direct", "origin alone, no proxy", goal=0.0)
        self.goal = None
        self.max_rounds = 2

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        return [Lane("origin", Origin("origin"), self.profile)]

    def baseline(self, label: str) -> str:
        return label
