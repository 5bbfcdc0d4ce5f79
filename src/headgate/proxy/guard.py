"""What a forward proxy may be asked for: ports, hosts, and the addresses that names turn out to have.

Whoever may use a forward proxy stands where the proxy stands: beside the databases, the cloud's metadata service and
whatever listens on loopback only. So what is no address of the public internet is refused unless `allow_networks`
names it. Names cannot be judged: they are what the client, or the owner of a zone, says they are, and may
say something else a second later (DNS rebinding). What is judged is each address, after resolving and
right before it is dialled, and what was judged is what is dialled (`Dialer.dial(allow=...)`): nothing resolves twice.

Refused by default, after the special-purpose registries (RFC 6890): of IPv4 "this network", private, shared (CGNAT),
loopback, link-local, protocol assignments, documentation, the old 6to4 relays, benchmarking, multicast, reserved and
broadcast; of IPv6 everything
but global unicast (2000::/3) without Teredo, 6to4, documentation and the like. An IPv4 address in IPv6 clothes,
mapped (::ffff:0:0/96) or through a NAT64 (64:ff9b::/96, RFC 6052), is judged as that IPv4 address. Other spellings
(0x7f.1, 2130706433, 0177.0.0.1) never come so far: `http/target` takes an IPv4 address in its one usual form.

Never dialled, whatever `allow_networks` says: the addresses of our own forward and TCP listeners (a loop), that
of our metrics, and the unspecified addresses, 0.0.0.0 and ::, which Linux takes for loopback when it connects.
"""

import socket
from collections.abc import Iterable
from typing import Final, final

from headgate.http.networks import Networks, format_address, pack_address
from headgate.net.addresses import is_localhost
from headgate.pipeline.matchers import HostPatterns

REFUSED_NETWORKS: Final = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/3",
    "4000::/2",
    "8000::/1",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "3fff::/20",
)
_NAT64: Final = bytes.fromhex("0064ff9b") + bytes(8)
_ANY: Final = ("0.0.0.0", "::")


@final
class OwnAddresses:
    """Where this gate itself listens, as far as nobody may be led there."""

    def __init__(self) -> None:
        self._exact: set[tuple[str, int]] = set()
        self._ports: set[int] = set()  # on every address of this machine

    def add(self, host: str, port: int) -> None:
        """Note an address and a port that are bound."""
        if host in _ANY:
            self._ports.add(port)
        else:
            self._exact.add((host, port))

    def has(self, host: str, port: int) -> bool:
        """Tell whether a connection to this address and port would come back to us."""
        return (host, port) in self._exact or (port in self._ports and _is_local(host))


def _is_local(host: str) -> bool:
    """Tell whether an IP address is one of this machine: only those can be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


@final
class Guard:
    """The rules of one forward listener. Ports are ranges, both ends included."""

    def __init__(
        self,
        connect_ports: Iterable[tuple[int, int]],
        plain_ports: Iterable[tuple[int, int]],
        *,
        allow_hosts: Iterable[str] | None = None,
        deny_hosts: Iterable[str] = (),
        allow_networks: Iterable[str] = (),
        own: OwnAddresses | None = None,
    ) -> None:
        self._connect_ports = list(connect_ports)
        self._plain_ports = list(plain_ports)
        self._allow_hosts = HostPatterns(allow_hosts) if allow_hosts is not None else None
        self._deny_hosts = HostPatterns(deny_hosts)
        self._allowed = Networks(allow_networks)
        self._refused = Networks(REFUSED_NETWORKS)
        self._own = own or OwnAddresses()

    def refusal(self, host: bytes, port: int, is_connect: bool) -> str:
        """Return why a host (as `parse_authority` reads it) and a port may not be asked for, "" when they may."""
        for first, last in self._connect_ports if is_connect else self._plain_ports:
            if first <= port <= last:
                break
        else:
            return "port-not-allowed"
        allowed = self._allow_hosts
        if (allowed is not None and not allowed.match(host)) or self._deny_hosts.match(host):
            return "host-not-allowed"
        return ""

    def allows_unresolved(self, host: bytes, port: int) -> bool:
        """Tell whether a host may be asked of a parent, which resolves it: what is written as an address is judged,
        and localhost is loopback (RFC 6761)."""
        text = host.strip(b"[]").decode()
        if is_localhost(text):
            return self.allows("127.0.0.1", port) and self.allows("::1", port)
        return not pack_address(text.encode()) or self.allows(text, port)

    def allows(self, address: str, port: int) -> bool:
        """Tell whether this very address may be dialled."""
        packed = pack_address(address.encode())
        if packed.startswith(_NAT64) and len(packed) == 16:
            packed = packed[12:]
        if not any(packed):
            return False  # no address, or an unspecified one
        text = format_address(packed)
        if self._own.has(text.decode(), port):
            return False
        return self._allowed.contains(text) or not self._refused.contains(text)
