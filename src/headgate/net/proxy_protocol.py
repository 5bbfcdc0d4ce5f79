"""The PROXY protocol, versions 1 and 2: the header by which one proxy tells the next who its client is.

It stands in front of everything else on a connection, once, also in front of TLS (HAProxy's proxy-protocol.txt).
Sans I/O: `decode` is given what has come so far and says how much of it is the header; `encode_v1` and `encode_v2`
make one.

Version 1 is a line of text of at most 107 octets. Version 2 is binary: a signature, a command (LOCAL: the proxy
speaks for itself, a health check say; PROXY), a family, a length, both addresses, and TLVs. LOCAL, UNKNOWN and
families that carry no TCP address leave the addresses of the connection as they are. TLVs are skipped, but must fill
what is theirs, and a checksum among them must be right.

Who sends a header decides what address is believed, so it is read strictly: one spelling of each value, nothing
missing, nothing behind it, and a length that is bounded before it is waited for.
"""

import socket
from typing import Final, final

from headgate.errors import HeadgateError

# Version 1: "PROXY TCP6 ffff:…:ffff ffff:…:ffff 65535 65535\r\n" has 104 octets, "PROXY UNKNOWN …" may have 107.
MAX_V1: Final = 107
# Version 2, its first 16 octets included. Addresses are 36 octets, real TLVs under a kilobyte; nginx takes as much.
MAX_V2: Final = 4096

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V1: Final = b"PROXY "
_FIXED: Final = 16  # signature, version and command, family, length

_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_TCP4: Final = 0x11
_TCP6: Final = 0x21
# In front of an IPv4 address where an IPv6 one is due (RFC 4291 section 2.5.5.2).
_MAPPED: Final = bytes(10) + b"\xff\xff"
_TYPE_AUTHORITY: Final = 0x02
_TYPE_CRC32C: Final = 0x03
# RFC 6066 section 3: a host_name has at most 255 octets.
_MAX_AUTHORITY: Final = 255


class ProxyHeaderError(HeadgateError):
    """What came is no header, or a malformed one; the text says which part."""


@final
class ProxyHeader:
    """A decoded header of `size` octets. Without a `source` it says nothing of addresses."""

    __slots__ = ("destination", "destination_port", "size", "source", "source_port", "version")

    def __init__(
        self,
        version: int,
        size: int,
        source: str = "",
        source_port: int = 0,
        destination: str = "",
        destination_port: int = 0,
    ) -> None:
        self.version = version
        self.size = size
        self.source = source
        self.source_port = source_port
        self.destination = destination
        self.destination_port = destination_port

    def __repr__(self) -> str:
        if not self.source:
            return f"<ProxyHeader v{self.version} without addresses>"
        return f"<ProxyHeader v{self.version} {self.source} {self.source_port} to {self.destination}>"


def decode(data: bytes) -> ProxyHeader | None:
    """Return the header that `data` begins with, or None: more is needed. Raises `ProxyHeaderError`.

    None is only said while all of `data` belongs to the header.
    """
    if data[:12] == SIGNATURE[: len(data)]:
        return _decode_v2(data) if len(data) >= _FIXED else None
    if data[:6] == _V1[: len(data)]:
        return _decode_v1(data) if len(data) >= len(_V1) else None
    raise ProxyHeaderError(f"the first octets are no PROXY header: {data[:16].hex(' ')}")


# -- version 1


def _decode_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(data) >= MAX_V1:
            raise ProxyHeaderError(f"version 1: no end of line in {MAX_V1} octets")
        if b"\n" in data:
            raise ProxyHeaderError("version 1: the line does not end with CRLF")
        return None
    size = end + 2
    line = data[len(_V1) : end]
    if line == b"UNKNOWN" or line[:8] == b"UNKNOWN ":
        return ProxyHeader(1, size)
    parts = line.split(b" ")
    if len(parts) != 5:
        raise ProxyHeaderError(f"version 1: {len(parts)} words behind PROXY where 5 are due")
    if parts[0] == b"TCP4":
        family = int(socket.AF_INET)
    elif parts[0] == b"TCP6":
        family = int(socket.AF_INET6)
    else:
        raise ProxyHeaderError(f"version 1: unknown protocol {parts[0][:16]!r}")
    return ProxyHeader(
        1,
        size,
        _address_v1(parts[1], family),
        _port_v1(parts[3]),
        _address_v1(parts[2], family),
        _port_v1(parts[4]),
    )


def _address_v1(word: bytes, family: int) -> str:
    try:
        packed = socket.inet_pton(family, word.decode("ascii"))
    except (OSError, ValueError):
        raise ProxyHeaderError(f"version 1: {word[:46]!r} is no address of its family") from None
    return _text(packed)


def _port_v1(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[0] == 48 and len(word) > 1) or int(word) > 65535:
        raise ProxyHeaderError(f"version 1: {word[:16]!r} is no port")
    return int(word)


# -- version 2


def _decode_v2(data: bytes) -> ProxyHeader | None:
    command = data[12]
    family = data[13]
    size = _FIXED + (data[14] << 8 | data[15])
    if command != _LOCAL and command != _PROXY:
        raise ProxyHeaderError(f"version 2: unknown version or command 0x{command:02x}")
    if size > MAX_V2:
        raise ProxyHeaderError(f"version 2: {size} octets, more than {MAX_V2}")
    if len(data) < size:
        return None
    if command == _LOCAL:
        return ProxyHeader(2, size)
    if family == _TCP4:
        width = 4
    elif family == _TCP6:
        width = 16
    else:
        return ProxyHeader(2, size)
    at = _FIXED + 2 * width + 4
    if at > size:
        raise ProxyHeaderError(f"version 2: {size - _FIXED} octets are too few for the addresses")
    _check_tlvs(data, at, size)
    ports = at - 4
    return ProxyHeader(
        2,
        size,
        _text(data[_FIXED : _FIXED + width]),
        data[ports] << 8 | data[ports + 1],
        _text(data[_FIXED + width : ports]),
        data[ports + 2] << 8 | data[ports + 3],
    )


def _check_tlvs(data: bytes, at: int, end: int) -> None:
    """Go over the TLVs: they must fill what is left, and a checksum among them must be right.

    One checksum: 4 KiB could hold some 580, and each costs a pass over all of it.
    """
    checked = False
    while at < end:
        if at + 3 > end or at + 3 + (data[at + 1] << 8 | data[at + 2]) > end:
            raise ProxyHeaderError("version 2: a TLV goes beyond the header")
        size = data[at + 1] << 8 | data[at + 2]
        if data[at] == _TYPE_CRC32C:
            if size != 4:
                raise ProxyHeaderError(f"version 2: a checksum of {size} octets")
            if checked:
                raise ProxyHeaderError("version 2: a second checksum")
            checked = True
            told = int.from_bytes(data[at + 3 : at + 7], "big")
            if crc32c(data[: at + 3] + bytes(4) + data[at + 7 : end]) != told:
                raise ProxyHeaderError("version 2: the checksum is wrong")
        at += 3 + size


def _text(packed: bytes) -> str:
    """Return an address as the listener has those of its clients: mapped ones are IPv4."""
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed)
    if packed[:12] == _MAPPED:
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC: Final = _crc_table()


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 3720 appendix B.4."""
    value = 0xFFFFFFFF
    for octet in data:
        value = value >> 8 ^ _CRC[(value ^ octet) & 0xFF]
    return value ^ 0xFFFFFFFF


# -- what we send


def _pack(address: str) -> bytes:
    """Return 4 or 16 octets, or none for what is no address. A zone is ours and means nothing to others."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.inet_pton(family, address.partition("%")[0])
    except OSError:
        return b""


def _pair(source: str, destination: str) -> tuple[bytes, bytes]:
    """Return both addresses in one family; empty when either is none."""
    one, other = _pack(source), _pack(destination)
    if not one or not other:
        return b"", b""
    if len(one) != len(other):
        one = one if len(one) == 16 else _MAPPED + one
        other = other if len(other) == 16 else _MAPPED + other
    return one, other


def encode_v1(source: str, source_port: int, destination: str, destination_port: int) -> bytes:
    """Return the line; "PROXY UNKNOWN" where one of the two is no IP address."""
    one, other = _pair(source, destination)
    if not one:
        return b"PROXY UNKNOWN\r\n"
    family, name = (socket.AF_INET, "TCP4") if len(one) == 4 else (socket.AF_INET6, "TCP6")
    addresses = f"{socket.inet_ntop(family, one)} {socket.inet_ntop(family, other)}"
    return f"PROXY {name} {addresses} {source_port} {destination_port}\r\n".encode()


def encode_v2(
    source: str, source_port: int, destination: str, destination_port: int, authority: bytes = b""
) -> bytes:
    """Return the header; LOCAL where one of the two is no IP address. `authority`: the name that was asked for."""
    one, other = _pair(source, destination)
    if not one:
        return SIGNATURE + bytes((_LOCAL, 0, 0, 0))
    body = one + other + source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")
    if authority and len(authority) <= _MAX_AUTHORITY:
        body += bytes((_TYPE_AUTHORITY, 0, len(authority))) + authority
    return (
        SIGNATURE + bytes((_PROXY, _TCP4 if len(one) == 4 else _TCP6)) + len(body).to_bytes(2, "big") + body
    )
