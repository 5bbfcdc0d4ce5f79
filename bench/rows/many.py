"""Many certificates, many routes: what size costs at start and on each request."""

import time

from bench import certs
from bench.lab import Lab, Lane, Sample
from bench.load import Load, client_context, exchange, handshake
from bench.proxies import START_LIMIT, Profile, Proxy, check_alive, route_host
from bench.rows.base import Row


class SelfCompared(Row):
    """Compares each proxy with itself: with one, and with many."""

    one = Profile()
    many: Profile
    word = ""

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        both = ((self.one, ""), (self.many, f" {self.word}"))
        return [
            Lane(p.name + word, p, profile)
            for p in proxies
            if self.version in p.versions
            for profile, word in both
        ]

    def baseline(self, label: str) -> str:
        return label.removesuffix(f" {self.word}")


class ManyRoutes(SelfCompared):
    """Requests that meet the last of many host routes, against a configuration with one route."""

    goal = 1.10

    def __init__(self, count: int) -> None:
        self.name = f"routes-{count}"
        self.title = f"h1, {count:,} routes over one"
        self.word = f"×{count}"
        self.many = Profile(routes=count)
        self.load = Load(headers=(f"Host: {route_host(count - 1)}",))

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        self._put(lab, lane, 1)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return self._put(lab, lane, lab.seconds)

    def _put(self, lab: Lab, lane: Lane, seconds: float) -> Sample:
        running = lab.running(lane)
        return lab.per_request(running, running.url, self.load, seconds)


class Start(Row):
    """Seconds from the start of the process to the first answer over TLS for the last of its certificates."""

    unit = "s"
    goal_is_ratio = False
    max_rounds = 2

    def __init__(self, count: int, *, goal: float) -> None:
        self.name = f"start-{count}"
        self.title = f"start with {count:,} certificates"
        self.goal = goal
        self.profile = Profile(certificates=count)
        self.in_quick = count <= 1000

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        job = lab.job(lane)
        name = certs.host(lane.profile.certificates - 1)
        context = client_context()
        begin = time.monotonic()
        running = lane.proxy.launch(job, lab.proxy_core)
        try:
            while True:
                try:
                    with handshake(context, job.tls_port, name) as stream:
                        exchange(stream, name)
                    break
                except OSError:
                    check_alive(running, begin + START_LIMIT)
                    time.sleep(0.005)
            return Sample(time.monotonic() - begin)
        finally:
            running.stop()
