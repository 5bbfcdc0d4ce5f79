"""A set of IP networks with a membership test that costs one dictionary lookup for an address seen before.

The test needs no radix tree: for each prefix length that occurs there is one set of network numbers, so a miss
costs as many set lookups as there are different lengths, however many networks there are. IPv4-mapped IPv6
addresses (RFC 4291 section 2.5.5.2), as a dual-stack socket reports them, count as the IPv4 address they carry.
"""

import ipaddress
import socket
from collections.abc import Iterable
from typing import Final, final

# Answers remembered for each set of networks: about 100 bytes each, so 400 KiB at most; clients come and go in
# sessions, so that forgetting all of them at once costs less than keeping an order of use.
MAX_REMEMBERED: Final = 4096
_MAX_TEXT: Final = 64
_MAPPED: Final = bytes(10) + b"\xff\xff"


def pack_address(text: bytes) -> bytes:
    """Return the 4 or 16 octets of an IP address, b"" when `text` is none.

    A zone ("%eth0") is dropped; an IPv4-mapped IPv6 address gives the 4 octets of the IPv4 address. Never raises.
    """
    zone = text.find(b"%")
    if zone >= 0:
        text = text[:zone]
    if not text or len(text) > _MAX_TEXT or not text.isascii() or b"\0" in text:
        return b""
    try:
        if b":" not in text:
            return socket.inet_pton(socket.AF_INET, text.decode("ascii"))
        packed = socket.inet_pton(socket.AF_INET6, text.decode("ascii"))
    except OSError:
        return b""
    return packed[12:] if packed.startswith(_MAPPED) else packed


def format_address(packed: bytes) -> bytes:
    """Return the canonical text (RFC 5952) of what `pack_address` made."""
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    return socket.inet_ntop(family, packed).encode("ascii")


@final
class Networks:
    """An immutable set of networks ("10.0.0.0/8", "2001:db8::/32") and single addresses.

    Raises `ValueError` naming the text that is no network, and for host bits set says which network was meant.
    """

    __slots__ = ("_known", "_lengths4", "_lengths6", "texts")

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self.texts: tuple[str, ...] = tuple(networks)
        self._known: dict[bytes, bool] = {}
        # (shift, network numbers) for each prefix length, the widest networks first: they match most often.
        self._lengths4: list[tuple[int, set[int]]] = []
        self._lengths6: list[tuple[int, set[int]]] = []
        lengths: dict[tuple[int, int], set[int]] = {}
        for text in self.texts:
            version, shift, number = _parse_network(text)
            lengths.setdefault((version, shift), set()).add(number)
        for (version, shift), numbers in sorted(lengths.items(), reverse=True):
            (self._lengths4 if version == 4 else self._lengths6).append((shift, numbers))

    def __repr__(self) -> str:
        return f"<Networks {', '.join(self.texts) or 'none'}>"

    def __len__(self) -> int:
        return len(self.texts)

    def contains(self, address: bytes) -> bool:
        """Whether the IP address written in `address` lies in one of the networks; False for what is no address."""
        if not self.texts:
            return False
        known = self._known.get(address)
        if known is not None:
            return known
        answer = self._look_up(address)
        if len(address) <= _MAX_TEXT:
            if len(self._known) >= MAX_REMEMBERED:
                self._known.clear()
            self._known[address] = answer
        return answer

    def _look_up(self, address: bytes) -> bool:
        packed = pack_address(address)
        if not packed:
            return False
        number = int.from_bytes(packed, "big")
        for shift, numbers in self._lengths4 if len(packed) == 4 else self._lengths6:
            if number >> shift in numbers:
                return True
        return False


def _parse_network(text: str) -> tuple[int, int, int]:
    """Return (IP version, number of host bits, network number without its host bits)."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a network such as 10.0.0.0/8 or 2001:db8::/32") from None
    address = text.strip().split("/", 1)[0]
    if ipaddress.ip_address(address) != network.network_address:
        raise ValueError(f"{text!r} has bits set behind its prefix length; {network} was meant?")
    shift = network.max_prefixlen - network.prefixlen
    number = int(network.network_address)
    if network.version == 6 and network.prefixlen >= 96 and number >> 32 == 0xFFFF:
        return 4, shift, (number & 0xFFFFFFFF) >> shift
    return network.version, shift, number >> shift
