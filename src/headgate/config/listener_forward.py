"""Forward listeners: what may be asked for through them, by whom, and how they get there."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from headgate.config.kinds import FileName, HostPattern, Network, format_address, parse_origin
from headgate.config.table import Count, Flag, Table
from headgate.config.units import Duration, fault

_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def parse_ports(text: str) -> tuple[int, int]:
    """Return the first and the last port of "443" or "1024-65535". Raises `ValueError`."""
    matched = _PORTS.fullmatch(text)
    if matched is not None:
        first, last = int(matched[1]), int(matched[2] or matched[1])
        if 1 <= first <= last <= 65535:
            return first, last
    raise fault('a port or a range of ports, such as 443 or "1024-65535"')


def _ports(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise fault('a port or a range of ports, such as 443 or "1024-65535"')
    parse_ports(value)
    return value


def _parent(text: str) -> str:
    want = 'a proxy such as "http://proxy.internal:3128"'
    try:
        origin = parse_origin(text)
    except ValueError:
        raise fault(want, "its user and password go into parent_credentials" if "@" in text else "") from None
    if origin.scheme != "http" or origin.path:
        raise fault(want)
    return f"http://{format_address(origin.host, origin.port)}"


def _credentials(text: str) -> str:
    user, colon, _ = text.partition(":")
    if (
        not user
        or not colon
        or any(ord(c) < 0x20 or ord(c) == 0x7F for c in text)
        or len(text.encode()) > 1023
    ):
        raise fault('"user:password", of at most 1023 bytes and without control characters')
    return text


Ports = Annotated[
    str,
    BeforeValidator(_ports),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "integer"}], "title": "port or range"}),
]
"""One port or a range of them."""
ParentUrl = Annotated[str, AfterValidator(_parent), WithJsonSchema({"type": "string", "title": "URL"})]
"""What `parse_origin` takes, of plain http, with the port written out."""
Credentials = Annotated[
    str, AfterValidator(_credentials), WithJsonSchema({"type": "string", "title": "user:password"})
]
"""User and password."""

# Where clients usually are: nobody becomes an open relay by forgetting a key.
LOCAL_NETWORKS = (
    "127.0.0.0/8",
    "::1/128",
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",
    "fc00::/7",
    "fe80::/10",
)


class ListenerForward(Table):
    """A forward proxy; only with `mode = "forward"`. Clients name it as their proxy (`http_proxy`, `https_proxy`) and
    ask for `http://` URLs, or with CONNECT for a tunnel to an `https://` host. docs/forward-proxy.md tells more."""

    tls: Flag = False
    """Whether the way to the proxy is encrypted, with the certificates of the file and as `[listener.tls]` says;
    clients name it `https://host:port` then. Reason for off: it needs a certificate that they trust, and old ones
    know no such proxies."""
    clients: tuple[Network, ...] = LOCAL_NETWORKS
    """Networks whose clients are served; others get 403. Default: loopback, private, link-local and unique local.
    Reason: a proxy that serves everybody is found within hours and used for what its owner has to answer for; who
    wants that writes `["0.0.0.0/0", "::/0"]`, and should have `users`."""
    users: FileName | None = None
    """An htpasswd file (`htpasswd -B`; bcrypt, SHA-crypt, `$apr1$`, `{SHA}`); absent: nobody is asked who they are.
    Read again when it changes. Credentials travel in plain text without `tls`: keep them on a network you trust."""
    realm: Annotated[str, Field(pattern=r"^[ !#-\[\]-~]{1,64}$")] = "headgate"
    """What clients show when they ask for user and password."""
    connect_ports: tuple[Ports, ...] = ("443",)
    """Ports that tunnels may go to. Reason: behind CONNECT a client speaks whatever it likes, to mail servers too;
    Traffic Server and Squid have the same default."""
    plain_ports: tuple[Ports, ...] = ("80", "1024-65535")
    """Ports that `http://` URLs may name. Reason: a request can be written so that servers of other protocols on
    well-known ports (25, 110, 6667 was one) read commands in it; Squid's Safe_ports are much the same."""
    allow_hosts: tuple[HostPattern, ...] | None = None
    """Hosts that may be asked for, such as `"example.com"` and `"*.example.com"`; absent: any. An address in a URL is
    a host like others: it must stand here as it is written."""
    deny_hosts: tuple[HostPattern, ...] = ()
    """Hosts that may not, also when `allow_hosts` has them. It is about names: whoever knows an address can ask for
    that."""
    allow_networks: tuple[Network, ...] = ()
    """Networks that may be dialled although they are loopback, private, shared, link-local, multicast or reserved.
    All addresses of a host are judged after resolving, right before they are dialled; our own forward listeners and
    the metrics are refused always."""
    parents: tuple[ParentUrl, ...] = ()
    """Proxies that requests are handed on to, such as `"http://proxy.internal:3128"`: the first that can be reached.
    They resolve names, so that `allow_networks` holds for what is written as an address only."""
    parent_credentials: Credentials | None = None
    """What the parents ask for: `"user:password"`; `"${PARENT}"` takes it from the environment."""
    bypass: tuple[HostPattern, ...] = ()
    """Hosts that are dialled from here although there are parents."""
    direct: Flag = False
    """Whether a destination is dialled from here when no parent can be reached."""
    connect_timeout: Duration = 10.0
    """For a new connection: name, all addresses. Answered with 504 when it passes. Reason: the public internet is
    slower than an upstream of one's own."""
    head_timeout: Duration = 60.0
    """From the end of a request to the head of its response. Answered with 504."""
    body_idle: Duration = 60.0
    """Between two pieces of a response's body; it is cut short then."""
    idle_timeout: Duration = 15.0
    """How long a connection without a request is kept for the next one, and an origin without connections is
    remembered. Reason: there are many origins, and each closes after its own time."""
    tunnel_idle: Duration = 900.0
    """Silence in both directions after which a tunnel ends. Reason: Squid's 15 minutes (read_timeout); who keeps an
    idle tunnel open sends something sooner."""
    tunnels_per_client: Annotated[Count, Field(ge=1, le=1_000_000)] = 128
    """Tunnels at once, those that are being opened too, of one client network (/32, /56) in each worker; more get
    429. Reason: half of `per_client`, so that a browser's own http requests find a place beside them."""
    tunnels_per_user: Annotated[Count, Field(ge=1, le=1_000_000)] = 512
    """The same of one user, wherever they come from."""
    destinations: Annotated[Count, Field(ge=1, le=1_000_000)] = 1024
    """Origins of `http://` URLs that a worker has requests under way to, or keeps connections for; idle ones make
    room, else 503. Reason: some 2 KiB each, and a descriptor for each connection."""
