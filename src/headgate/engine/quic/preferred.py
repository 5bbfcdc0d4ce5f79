"""Where a server would rather be reached: preferred_address (RFC 9000 sections 9.6 and 18.2), its rules for clients.

A server could send its clients anywhere with it, into networks that it does not reach itself (section 21.5.6). So an
address is followed only where it is of the kind of the one in use: from the Internet to the Internet, from a private
network to a private one, from this machine to this machine; never to port 0, to many hosts, or to none.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address

from headgate.engine.quic.path import Address
from headgate.engine.quic.transport_parameters import PreferredAddress


def choose(preferred: PreferredAddress, peer: Address) -> Address | None:
    """Return where to go, in the address family of `peer`; None: the server is reached where it is."""
    try:
        present = ip_address(peer[0].partition("%")[0])
    except ValueError:
        return None
    chosen: IPv4Address | IPv6Address
    if present.version == 4:
        chosen, port = IPv4Address(preferred.ipv4), preferred.ipv4_port
    else:
        chosen, port = IPv6Address(preferred.ipv6), preferred.ipv6_port
    if not port or chosen.is_unspecified or chosen.is_multicast or _scope(chosen) != _scope(present):
        return None
    if len(peer) == 2:
        return str(chosen), port
    return str(chosen), port, 0, peer[3]


def _scope(address: IPv4Address | IPv6Address) -> tuple[bool, bool, bool]:
    return address.is_loopback, address.is_link_local, address.is_private


def encode(addresses: tuple[Address, ...], connection_id: bytes, token: bytes) -> PreferredAddress:
    """Return the parameter for a server's addresses, at most one of each family."""
    said = PreferredAddress(bytes(4), 0, bytes(16), 0, connection_id, token)
    for address in addresses:
        parsed = ip_address(address[0])
        if parsed.version == 4:
            said.ipv4, said.ipv4_port = parsed.packed, address[1]
        else:
            said.ipv6, said.ipv6_port = parsed.packed, address[1]
    return said
