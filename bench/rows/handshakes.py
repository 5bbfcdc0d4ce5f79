"""Full handshakes, each with one request: CPU of the proxy for each."""

from bench import certs, measure
from bench.lab import Lab, Lane, Sample
from bench.load import Load, handshakes, touch
from bench.proxies import Profile
from bench.rows.base import Row
from bench.rows.many import SelfCompared
from bench.rows.requests import Requests


def _do(lab: Lab, lane: Lane, seconds: float) -> Sample:
    running = lab.running(lane)
    pids = running.pids()
    names = [certs.host(index) for index in range(lane.profile.certificates)]
    before = measure.cpu_ns(pids)
    outcome = handshakes(running.job.tls_port, names, seconds)
    return lab.sample(outcome, measure.cpu_ns(pids) - before)


class Handshake(Row):
    """TCP, a full TLS 1.3 handshake (ECDSA P-256), one proxied request, close."""

    name = "handshake"
    title = "full TLS handshake + 1 request"
    goal = 1.0

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        _do(lab, lane, 0.5)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return _do(lab, lane, lab.seconds)


class HandshakeManyCertificates(SelfCompared):
    """The same over all of many names, against one certificate; each name is asked for once before it counts."""

    goal = 1.10

    def __init__(self, count: int) -> None:
        self.name = f"handshake-{count}-certs"
        self.title = f"handshake, {count:,} certificates over one"
        self.word = f"×{count}"
        self.many = Profile(certificates=count)

    def warm_up(self, lab: Lab, lane: Lane) -> None:
        names = [certs.host(index) for index in range(lane.profile.certificates)]
        touch(lab.running(lane).job.tls_port, names)
        _do(lab, lane, 0.5)

    def measure(self, lab: Lab, lane: Lane) -> Sample:
        return _do(lab, lane, lab.seconds)


class Connections(Requests):
    """A plain connection for each request: what accepting and closing cost, without TLS."""

    def __init__(self) -> None:
        super().__init__("connections", "a connection for each request", goal=0.0)
        self.goal = None
        self.load = Load("/", 16, ("Connection: close",))


class Resumed(Requests):
    """A resumed handshake and one request: wrk hands the session of a closed connection to the next one."""

    def __init__(self) -> None:
        super().__init__("resumed", "resumed TLS handshake + 1 request", goal=1.0, tls=True)
        # The space matters: wrk passes "Connection:close" on but does not see that it has to reconnect.
        self.load = Load("/", 16, ("Connection: close",))
