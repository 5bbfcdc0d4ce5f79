"""Listeners: where Headgate accepts connections, how it speaks TLS there, and what one client may cost."""

from typing import Annotated, Literal

from pydantic import Field

from headgate.config.kinds import Address, FileName, Name, Network, parse_address
from headgate.config.listener_forward import ListenerForward
from headgate.config.table import Count, Flag, Table
from headgate.config.units import Duration, Rate, RateLimit, Size, SizeOrUnlimited


class ListenerTls(Table):
    """How TLS is spoken on this listener; only with `mode = "https"`, or a forward proxy with `tls`. A client
    certificate is a matter of the listener and never of a host name: a session ticket that was issued under one name
    resumes under another."""

    min_version: Literal["1.2", "1.3"] = "1.2"
    """The lowest version of TLS that is accepted."""
    unknown_name: Literal["first", "reject"] = "first"
    """What a client gets that sends no server name, or one that no certificate covers: the first certificate of
    the file, or the alert `unrecognized_name`."""
    client_auth: Literal["off", "optional", "required"] = "off"
    """Whether a client is asked for a certificate, and whether it is turned away without one."""
    client_ca: FileName | None = None
    """PEM file with the authorities that client certificates are verified against."""
    client_crl: FileName | None = None
    """PEM file with their revocation lists, one for every authority of a chain; a client certificate on one of them
    is refused, and an expired list lets nobody in. This file and `client_ca` are taken up when they change."""


class ListenerTimeouts(Table):
    """How long a client may take."""

    handshake: Duration = 10.0
    """For the TLS handshake, from the accepted connection to its end. Reason: a handshake costs us a signature; who
    has not finished by then is counted and closed."""
    head: Duration = 10.0
    """For a request's head, from its first byte to its last. Reason: a head that trickles in (slowloris) holds a
    connection slot and its buffer; HAProxy's guides say 10 s for the same."""
    body_idle: Duration = 30.0
    """Between two pieces of a request's body. Reason: an upload may take hours, silence in it may not."""
    write_idle: Duration = 60.0
    """Between two pieces that a client takes of its response. Reason: a reader that stopped holds the response's
    buffers, ours and the origin's."""
    keep_alive: Duration = 60.0
    """Between two requests on one connection. Reason: an idle TLS connection still holds about 30 KiB; nginx keeps
    75 s, browsers give up after 60 to 300 s."""


class ListenerLimits(Table):
    """What clients may make one worker hold through this listener, all its addresses together. Workers count apart,
    so a gate admits up to `workers` times as much. Every refusal has its own counter (`headgate_refused_total`)."""

    connections: Annotated[Count, Field(ge=1, le=10_000_000)] = 20_000
    """Connections open at once in each worker on all addresses of this listener; the ones beyond are closed at once.
    Reason: with 36 KiB each they are 700 MiB. Lowered with a warning when the limit on open files (RLIMIT_NOFILE)
    cannot be raised to twice that: each may need a second descriptor towards an origin."""
    per_client: Annotated[Count, Field(ge=1, le=10_000_000)] = 256
    """Connections open at once from one client network (/32 of IPv4, /56 of IPv6) in each worker. Reason: a browser
    opens 6 to a host; 256 leaves room for an office behind one address, and 1 % of `connections` to a single one."""
    connection_rate: RateLimit = Rate(500)
    """New connections, and so handshakes, from one client network in each worker. Reason: a full handshake costs
    some 175 µs of CPU, so that 500 in a second take less than a tenth of a core."""
    all_connection_rate: RateLimit = Rate(5000)
    """New connections from everybody together, in each worker. Reason: 5000 full handshakes are about what one core
    can do; beyond, those that are served should finish rather than all be late."""
    head: Size = 64 * 1024
    """Request line and header fields together; answered with 431 (414 for the request line). Reason: node takes
    16 KiB, HAProxy 16, nginx 32, Tomcat 8; large cookies and tokens pass 16."""
    body: SizeOrUnlimited = 0
    """A request's content; answered with 413. Reason: bodies are streamed and cost no memory, so that "0"
    (unlimited) is safe for Headgate; the limit is there for origins."""


class ListenerQuic(Table):
    """How QUIC is spoken on this listener; only where it offers `h3`. Its connections count with those over TCP
    towards the limits of the listener, and `timeouts` hold for their requests too."""

    idle_timeout: Duration = 30.0
    """Without a packet for so long, a connection ends in silence; the client's own wish may be shorter. Reason:
    middleboxes forget UDP after 30 s (RFC 4787 wants 2 minutes, many do less), so that nobody would be reached."""
    retry: Literal["auto", "always"] = "auto"
    """When a client has to prove its address before it costs us a handshake (Retry, one round trip more): `auto` when
    100 others are about to, or too many begin in a second; `always` for everybody without a token."""
    requests: Annotated[Count, Field(ge=1, le=1000)] = 100
    """Requests at once on one connection. Reason: RFC 9114 section 6.1 wants at least 100, and each may hold a
    connection to an origin."""
    early_data: Flag = False
    """Whether clients that come back may ask in their first packets (0-RTT). Only GET, HEAD, OPTIONS and TRACE are
    served so, with `Early-Data: 1` towards the origin until the handshake is complete; others get 425 (RFC 8470).
    Reason for off: whoever sees such packets can send them once more to another gate that shares the ticket keys;
    this one takes each ticket once, and only in the worker that issued it."""


class ListenerHttp2(Table):
    """How HTTP/2 is spoken on this listener; only where it offers `h2`. Its other limits are in docs/limits.md."""

    requests: Annotated[Count, Field(ge=1, le=1000)] = 100
    """Requests at once on one connection; another is refused before it is looked at, and clients ask again. Reason:
    RFC 9113 section 6.5.2 wants at least 100, and each may hold a connection to an origin."""


class ListenerTcp(Table):
    """How connections are passed on; only with `mode = "tcp"`. The handshake timeout and all limits but `head` and
    `body` hold there too."""

    idle_timeout: Duration = 3600.0
    """Without an octet in either direction for so long, a connection is reset on both sides. Reason: sessions of
    databases and mail sleep for long; HAProxy's guides say 1 h for tunnels."""


class Listener(Table):
    """Addresses, and what is spoken there. `[[listener]]` may stand as often as needed."""

    addresses: Annotated[tuple[Address, ...], Field(min_length=1)]
    """IP addresses with ports, such as `"0.0.0.0:443"` and `"[::]:443"`. IPv6 sockets take IPv6 only, so that each
    family is named."""
    name: Name | None = None
    """What `listeners` of a route calls it; absent: its first address."""
    mode: Literal["https", "http", "forward", "tcp"] = "https"
    """`https` terminates TLS; `http` does not; `forward` is a proxy that clients choose themselves; `tcp` passes
    connections on as they are, to one upstream or by the server name that their ClientHello asks for."""
    upstream: str | None = None
    """With `mode = "tcp"`: name of the upstream that all connections go to. Without it, routes that name this
    listener say where the names of their `hosts` lead; they have `hosts`, `listeners` and `upstream`, no more."""
    protocols: Annotated[tuple[Literal["h1", "h2", "h3"], ...], Field(min_length=1)] | None = None
    """HTTP versions offered: `h1` and `h2`, and with `mode = "https"` also `h3`, which needs UDP on the same ports:
    it is bound there, and answers over TCP name it in Alt-Svc. A client of `h2` says so in its TLS handshake (ALPN),
    or, with `http`, by beginning with its preface (prior knowledge; there is no Upgrade to `h2c`). Absent: all three
    with `https`, `h1` and `h2` with `http`; a UDP port that cannot be bound is then a warning, where `h3` stands it
    is an error."""
    advertise_port: Annotated[Count, Field(ge=1, le=65535)] | None = None
    """The port that clients of an https listener know it by, where it is not its own (a container, a NAT): Alt-Svc
    and redirects to https name it. UDP must be mapped like TCP."""
    redirect: Flag = False
    """With `mode = "http"`: every request is answered with 308 to the same URL under https, on the port of the first
    https listener with a route that names the host, or else with one for any host. A host without a route: 404."""
    allow_in_path: tuple[Literal["encoded-slash", "backslash"], ...] = ()
    """What is let through in paths that is refused with 400 otherwise: `encoded-slash` is %2F, `backslash` is `\\`
    and %5C. Origins disagree on what these mean, so that a route can be walked around with them. A listener
    that redirects should be given the same as those it leads to."""
    proxy_protocol: Literal["off", "accept"] = "off"
    """`accept`: connections from `proxy_protocol_from` begin with a header of the PROXY protocol, version 1 or 2, in
    front of TLS too. The address in it is the client's: for limits, log and Forwarded. A connection from there
    without a header is refused; everybody else is a client, and sends none. Not over QUIC."""
    proxy_protocol_from: tuple[Network, ...] = ()
    """Networks of the balancers that send the header. Reason for no default: whoever may send one may be anybody."""
    tcp_fast_open: Flag = False
    """Whether clients that were here before may send their first bytes in the SYN (RFC 7413). Needs bit 1 of the
    sysctl `net.ipv4.tcp_fastopen`. Reason for `false`: the network may deliver such a SYN twice; with `https` that is
    a second ClientHello, with `http` it is the request itself, and clients are trusted to send only safe ones so."""
    tls: ListenerTls = ListenerTls()
    timeouts: ListenerTimeouts = ListenerTimeouts()
    limits: ListenerLimits = ListenerLimits()
    http2: ListenerHttp2 = ListenerHttp2()
    quic: ListenerQuic = ListenerQuic()
    forward: ListenerForward = ListenerForward()
    tcp: ListenerTcp = ListenerTcp()

    @property
    def has_tls(self) -> bool:
        """Return whether TLS is spoken here, with the certificates of the file."""
        return self.mode == "https" or (self.mode == "forward" and self.forward.tls)

    @property
    def offered(self) -> tuple[str, ...]:
        """Return the HTTP versions that are offered."""
        if self.protocols is not None:
            return self.protocols
        if self.mode == "tcp":
            return ()
        if self.mode == "forward":
            return ("h1",)
        return ("h1", "h2", "h3") if self.mode == "https" else ("h1", "h2")

    @property
    def quic_bound(self) -> Literal["off", "try", "must"]:
        """Return whether UDP must be bound for HTTP/3."""
        if "h3" not in self.offered:
            return "off"
        # Nobody who did not ask for it is kept from starting by it.
        return "must" if self.protocols is not None else "try"

    @property
    def public_port(self) -> int:
        """Return the port that clients know it by; 0 when only binding tells."""
        return self.advertise_port or parse_address(self.addresses[0])[1]

    @property
    def label(self) -> str:
        """Return what routes call it."""
        return self.name if self.name is not None else self.addresses[0]
