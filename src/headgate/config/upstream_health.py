"""Health of an upstream's endpoints: probes of the keeper (`[upstream.NAME.health]`), and what each worker learns
from its own requests (`[upstream.NAME.outliers]`)."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints

from headgate.config.kinds import HostName
from headgate.config.table import Count, Table
from headgate.config.units import Duration, DurationOrZero, ShareOrZero, fault

_CLASSES: Final = range(2, 6)
_RANGES: Final = 20


def parse_statuses(text: str) -> tuple[int, int]:
    """Return the first and the last status of "200", "200-399" or "2xx". Raises `ValueError`."""
    want = 'a status, a range or a class, such as "204", "200-399" or "2xx"'
    if len(text) == 3 and text[0].isdigit() and text[1:] == "xx" and int(text[0]) in _CLASSES:
        return int(text[0]) * 100, int(text[0]) * 100 + 99
    first, dash, last = text.partition("-")
    if not dash:
        last = first
    if not all(part.isascii() and part.isdigit() and len(part) == 3 for part in (first, last)):
        raise fault(want)
    low, high = int(first), int(last)
    if not 200 <= low <= high <= 599:
        raise fault(want, "statuses of final answers are from 200 to 599, the smaller one first")
    return low, high


def _statuses(text: str) -> str:
    parse_statuses(text)
    return text


def _path(text: str) -> str:
    if not text.startswith("/") or not text.isascii() or not text.isprintable() or set(text) & set(' "<>#'):
        raise fault('a path that begins with "/", with or without a query', "escape other octets (%20)")
    return text


Statuses = Annotated[str, AfterValidator(_statuses)]
ProbePath = Annotated[str, StringConstraints(max_length=2048), AfterValidator(_path)]


class Health(Table):
    """Probes of the endpoints, which the keeper sends; every worker has their verdict. They use the upstream's
    `[tls]`, but for a client certificate: the keeper holds no private key."""

    kind: Literal["http", "tls", "tcp", "off"] = "http"
    """What a probe is: `http`, a request whose answer is looked at; `tls`, a handshake whose certificate is
    verified as `[tls]` says; `tcp`, a connection that comes about; `off`, none (this table then only has the
    `panic_threshold`). Endpoints at `https://` are probed over TLS by `http` too, and all in HTTP/2 where `protocols`
    has `h2` and no `h1`."""
    path: ProbePath = "/"
    """What is asked for, by `http`."""
    host: HostName | None = None
    """The Host that is asked for, by `http`; absent: that of the endpoint's URL."""
    method: Literal["GET", "HEAD", "OPTIONS"] = "GET"
    """How it is asked for, by `http`."""
    status: Annotated[tuple[Statuses, ...], Field(min_length=1, max_length=_RANGES)] = ("200-399",)
    """Statuses that say it is well, by `http`: `["200-399"]`, `["2xx", "401"]`. Reason for redirects among them: an
    application that sends the unauthenticated to its login is there."""
    body: Annotated[str, StringConstraints(max_length=1024)] = ""
    """Text that must stand in the first 64 KiB of the answer, by `http`; empty: any."""
    interval: Duration = 5.0
    """Between two probes of one endpoint. Reason: HAProxy has 2 s and nginx 5 s; an outage is found by requests
    first, and probes are what an endpoint is given back by."""
    jitter: ShareOrZero = 0.1
    """By how much an interval is longer or shorter, at random, so that probes do not come all at once."""
    timeout: Duration = 2.0
    """For one probe: name, all addresses, TLS, answer."""
    rise: Annotated[Count, Field(ge=1, le=100)] = 2
    """Probes in a row that must succeed before an endpoint that was down is up. Reason: HAProxy's 2."""
    fall: Annotated[Count, Field(ge=1, le=100)] = 3
    """Probes in a row that must fail before it is down. Reason: HAProxy's 3; one lost packet is no outage."""
    start: Literal["up", "wait-for-first-check"] = "up"
    """What an endpoint is before its first probe. `wait-for-first-check`: it gets no requests until one probe has
    succeeded, and listening waits for the first probes of all such endpoints, for `ocsp.startup_wait` at most. What
    an earlier run of the gate knew, not more than five minutes ago, comes first."""
    panic_threshold: ShareOrZero = 0.5
    """When fewer endpoints than this share are up, all get requests, whatever is known of them. Reason: Envoy's 50 %;
    most of an outage is not survived by giving the whole load to what is left, and a probe may be what is wrong.
    `"0%"`: only when none is up."""


class Outliers(Table):
    """When a worker takes an endpoint out by what its own requests meet: for a while, and then with trials. Each
    worker judges for itself."""

    consecutive_failures: Annotated[Count, Field(le=10_000)] = 5
    """Requests in a row without a whole response (refused, timed out, broken off) that eject it; 0: none. Reason:
    Envoy's 5."""
    consecutive_5xx: Annotated[Count, Field(le=10_000)] = 10
    """Answers in a row with a 5xx that eject it; 0: none. Reason: who fails fast looks idle and draws requests; twice
    Envoy's 5, since one client that repeats a broken URL must not do it as easily."""
    max_latency: DurationOrZero = 0.0
    """The mean time to the head of a response, over one `interval`, beyond which it is ejected; 0s: none. Reason
    for the default: only you know what is slow."""
    slower_than_others: Annotated[Count, Field(ge=0, le=1000)] = 0
    """It is ejected when that mean is so many times the median of the others', and 10 ms more; 0: never. Reason for
    the default: with `ring-hash` endpoints have work of different kinds."""
    interval: Duration = 10.0
    """Over which latencies are compared. Reason: Envoy's 10 s."""
    min_requests: Annotated[Count, Field(ge=1, le=1_000_000)] = 20
    """Responses in one `interval` that a mean must come from. Reason: below them one slow report decides."""
    ejection: Duration = 30.0
    """How long the first ejection lasts; each that follows twice as long. Reason: Envoy's 30 s."""
    max_ejection: Duration = 300.0
    """The longest ejection; an endpoint that stayed in for so long begins with `ejection` again. Reason: Envoy's
    300 s."""
    max_ejected: ShareOrZero = 0.5
    """The share of the endpoints that may be out at once, at least one where there are two, and never all of them;
    0%: nobody is ejected. Reason: what is left must carry the load (Envoy has 10 %)."""
    trials: Annotated[Count, Field(ge=1, le=1000)] = 3
    """Requests that an endpoint gets when its ejection is over: no more than so many, until all have succeeded. One
    that fails ejects it again."""
