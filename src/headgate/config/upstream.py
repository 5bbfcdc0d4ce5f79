"""Upstreams: named groups of endpoints."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, model_validator

from headgate.config.kinds import OriginUrl
from headgate.config.table import Count, Flag, Table
from headgate.config.units import Duration, DurationOrZero
from headgate.config.upstream_asgi import SCHEME, Asgi
from headgate.config.upstream_balance import CookieName, HashBy, Queue
from headgate.config.upstream_health import Health, Outliers
from headgate.config.upstream_pool import Pool
from headgate.config.upstream_retries import Retries
from headgate.config.upstream_tls import UpstreamTls


class Endpoint(Table):
    """One address of an upstream: a URL in quotes, or a table with these keys."""

    url: OriginUrl
    """`http://host:port`, `https://host:port`, `unix:/path`, or `asgi:module:app` for a Python application that the
    gate runs itself; `tcp://host:port` for listeners of mode "tcp". A name is resolved again and again, and all of
    its addresses are tried."""
    weight: Annotated[Count, Field(ge=1, le=1000)] = 1
    """Its share of the requests, compared with the other endpoints."""
    resolve: Literal["off", "each", "srv"] = "off"
    """`off`: one endpoint, whatever addresses its name has. `each`: one for each address of the name; `srv`: one for
    each SRV record of a name such as `http://_http._tcp.api.internal`, with its port and weight, those of lesser
    priority as backups. The name is asked again when its TTL is over (1 s at least, 5 minutes at most); an answer
    that fails or is empty changes nothing. Certificates must carry the URL's name (of `srv` without `_http._tcp`)."""
    backup: Flag = False
    """Whether it gets requests only while not enough of the others are up."""
    max_requests: Annotated[Count, Field(ge=0, le=1_000_000)] | None = None
    """How many requests it may have at a time, from each worker; absent: what the upstream says."""

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


class Upstream(Table):
    """A named group of endpoints that answer the same requests: `[upstream.NAME]`."""

    endpoints: Annotated[tuple[Endpoint, ...], Field(min_length=1)]
    """URLs, or tables such as `{ url = "https://10.0.0.2:8443", weight = 2 }`."""
    protocols: Annotated[tuple[Literal["h1", "h2", "h3"], ...], Field(min_length=1)] = ("h1",)
    """HTTP versions spoken to the endpoints. `h2` is offered to `https://` endpoints in ALPN, in the order that is
    given, and the endpoint picks; `["h2"]` alone takes no other answer, and `http://` endpoints are then spoken to in
    HTTP/2 without being asked (with `h1` beside it in HTTP/1.1). Requests share connections: another is opened when
    none has room for one more (the endpoint says how many it takes at a time). An endpoint may use the connection of
    another one with the same address and the same TLS settings, if its certificate is for both names. `h3` beside
    others: HTTP/3 when an endpoint offers it by Alt-Svc, on the same host and for as long as it says. TCP is dialled
    beside it when QUIC is not ready after 250 ms; an endpoint whose QUIC failed gets TCP alone for 5 minutes, and
    longer each time it fails again. `["h3"]`: HTTP/3 only, offered or not. HTTP/3 needs `https://` endpoints. A
    request for an upgrade (WebSocket) goes by `h2` to an endpoint that says it understands that (RFC 8441), else by
    `h1`."""
    balance: Literal["two-choices", "round-robin", "least-requests", "ring-hash", "first"] = "two-choices"
    """How an endpoint is picked. `two-choices`: of two at random, the one with fewer requests under way;
    `round-robin`: each in its turn; `least-requests`: the one with the fewest under way, of those this worker sent;
    `ring-hash`: the same for the same `hash_by`, as long as it has no more than 1.25 times its share; `first`: the
    first that has room, for which `max_requests` is needed. All but `first` go by weight."""
    hash_by: HashBy = "client"
    """What `ring-hash` goes by: `client` (its address), `path` (with the query), `header:NAME` or `cookie:NAME`. A
    request without the header or the cookie goes by its client."""
    slow_start: DurationOrZero = 0.0
    """How long the weight of an endpoint grows, from a tenth, when it joins a running group or comes back; 0s: it has
    its whole weight at once. Reason for a minute or so: caches are cold, and code is not compiled yet."""
    sticky_cookie: CookieName | None = None
    """The name of a cookie that brings a client back to its endpoint: `NAME=…; Path=/; HttpOnly; SameSite=Lax`, and
    `Secure` over https. It reveals no address. Absent: none is set."""
    max_requests: Annotated[Count, Field(ge=0, le=1_000_000)] = 0
    """How many requests each endpoint may have at a time, from each worker; those beyond wait in the queue. `0`: no
    limit. Reason for the default: only you know what an endpoint stands."""
    queue: Queue = Queue()
    connect_timeout: Duration = 5.0
    """For a new connection: name, all addresses, TLS handshake. Answered with 504 when it passes."""
    head_timeout: Duration = 60.0
    """From the end of the request to the head of the response. Answered with 504. Reason: nginx has the same 60 s;
    slow reports need more, and should ask for it by name."""
    try_timeout: Duration | None = None
    """For one try: to connect, and from its beginning to the head of the answer; what the client takes to send its
    content does not count. Shorter than `head_timeout` it is of use with `timeout` in `[upstream.NAME.retries] on`.
    Like all timeouts it is looked at twice a second."""
    total_timeout: Duration | None = None
    """From the request to the head of an answer, whatever was tried and waited for. Answered with 504. Absent: each
    try has its timeouts, and that is all."""
    body_idle: Duration = 60.0
    """Between two pieces of a response's body; the response is cut short then. Reason: nginx's 60 s; an origin that
    went silent holds its client's connection."""
    idle_timeout: Duration = 60.0
    """How long a connection without a request is kept for the next one. Reason: it should end before the origin's own
    limit (node 5 s, Apache 5 s, nginx 75 s, gunicorn 2 s); a request that meets a closing connection is sent again on
    a new one."""
    tcp_fast_open: Flag = False
    """TCP Fast Open (RFC 7413): the first bytes travel in the SYN and save a round trip for each new connection. Only
    towards addresses that answered before; with `http://` only requests with a safe method and no content. A plain
    connect stands beside it, and takes over for ten minutes where it does no good (no cookie, a middlebox). Needs bit
    0 of the sysctl `net.ipv4.tcp_fastopen`. Reason for `false`: a SYN may arrive twice, and few roads let it pass."""
    proxy_protocol: Literal["off", "v1", "v2"] = "off"
    """Version of the PROXY protocol in which each new connection says first, before TLS too, who its client is and
    where that connected to; `v2` adds the server name. Such a connection serves that client's connection alone, so
    that origins get as many as there are clients. Probes say that they speak for nobody."""
    tls: UpstreamTls = UpstreamTls()
    pool: Pool = Pool()
    health: Health | None = None
    outliers: Outliers = Outliers()
    retries: Retries = Retries()
    asgi: Asgi = Asgi()

    @property
    def probed(self) -> Health | None:
        """Return how the endpoints are probed, None where they are not."""
        return None if self.health is None or self.health.kind == "off" else self.health

    @model_validator(mode="after")
    def _applications_beside_the_file(self, info: ValidationInfo) -> "Upstream":
        """Import applications from the folder of the configuration file where nothing else is said."""
        base = info.context.get("base") if isinstance(info.context, dict) else None
        if base is None or self.asgi.app_dir is not None:
            return self
        if not any(endpoint.url.startswith(SCHEME) for endpoint in self.endpoints):
            return self
        return self.model_copy(update={"asgi": self.asgi.model_copy(update={"app_dir": Path(base)})})
