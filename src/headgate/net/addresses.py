"""Addresses: what a name becomes, and how an address is written in logs, metrics and errors.

An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) is turned into the IPv4 address that it is, wherever it
comes from: whoever judges an address afterwards (no private networks, say) sees the network that will be dialled.
"""

import ipaddress
import socket
from dataclasses import dataclass
from typing import Final, Literal

Family = Literal["ipv4", "ipv6", "unix"]

IPV4: Final = "ipv4"
IPV6: Final = "ipv6"
UNIX: Final = "unix"

# What `host` begins with when it is a path of a Unix socket.
UNIX_PREFIX: Final = "unix:"

SocketAddress = tuple[str, int] | tuple[str, int, int, int] | str


@dataclass(frozen=True, slots=True)
class Address:
    """One address to dial: `host` is an IP address in its usual text form (IPv6 perhaps with %zone) or a path."""

    family: Family
    host: str

    def text(self, port: int) -> str:
        """Return "ip:port", "[ip]:port" or "unix:/path": the form in which addresses are shown and compared."""
        if self.family == IPV4:
            return f"{self.host}:{port}"
        if self.family == IPV6:
            return f"[{self.host}]:{port}"
        return UNIX_PREFIX + self.host

    def socket_family(self) -> socket.AddressFamily:
        """Return the number that `socket.socket` wants."""
        if self.family == IPV4:
            return socket.AF_INET
        return socket.AF_INET6 if self.family == IPV6 else socket.AF_UNIX

    def socket_address(self, port: int) -> SocketAddress:
        """Return what `connect` wants. Raises OSError (ENODEV, ENXIO) when the zone is no interface here."""
        if self.family == IPV4:
            return (self.host, port)
        if self.family == UNIX:
            return self.host
        host, _, zone = self.host.partition("%")
        if not zone:
            return (host, port, 0, 0)
        return (host, port, 0, int(zone) if zone.isdecimal() else socket.if_nametoindex(zone))


LOOPBACK_IPV4: Final = Address("ipv4", "127.0.0.1")
LOOPBACK_IPV6: Final = Address("ipv6", "::1")


def parse_ip(text: str) -> Address | None:
    """Return the address that `text` spells ("192.0.2.1", "2001:db8::1", "[2001:db8::1]"), None when it is a name."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv4Address):
        return Address("ipv4", str(ip))
    if ip.ipv4_mapped is not None:
        return Address("ipv4", str(ip.ipv4_mapped))
    return Address("ipv6", str(ip))


def parse_endpoint(text: str, default_port: int) -> tuple[Address, int]:
    """Parse "ip", "ip:port" or "[ip]:port". Raises ValueError, naming the text, when it is none of these."""
    if (whole := parse_ip(text)) is not None:
        return whole, default_port
    host, _, port = text.rpartition(":")
    address = parse_ip(host)
    if address is None or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is not an IP address with or without a port")
    return address, int(port)


def is_localhost(name: str) -> bool:
    """Tell whether `name` is loopback by definition (RFC 6761 section 6.3), whatever any server says."""
    name = name.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")
