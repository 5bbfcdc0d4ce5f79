"""Packets from the outside (RFC 9000 section 17), what every version shares first (RFC 8999), and packets that no
key protects: Version Negotiation and stateless resets. Retry is in engine/quic/retry.

Everything works on whole `bytes` and positions in them, so that the datagrams of one read need no copies. A short
header has nothing to parse: `destination_of` finds the connection, because how long its ID is, is ours to know, and
the packet number follows. A long header becomes one `LongHeader`. What cannot be a packet raises
`UnreadablePacketError` and is dropped; that costs no state, whoever sent it.
"""

import hmac
from collections.abc import Sequence
from typing import Final, final

from headgate.engine.quic.errors import UnreadablePacketError
from headgate.engine.quic.levels import EARLY, HANDSHAKE, INITIAL
from headgate.engine.varint import decode_varint, encode_varint, length_of_varint
from headgate.errors import LocalProtocolError

VERSION_1: Final = 0x0000_0001
VERSION_2: Final = 0x6B33_43CF  # RFC 9369
VERSIONS: Final[tuple[int, ...]] = (VERSION_1, VERSION_2)

# Kinds of packets: the four levels, and two that no key protects.
RETRY: Final = 4
NEGOTIATION: Final = 5
UNKNOWN_VERSION: Final = 6  # of a version that we do not speak, so that its type means nothing to us

# The two type bits of a long header, in each version (section 17.2, RFC 9369 section 3.2).
_KINDS: Final[dict[int, tuple[int, ...]]] = {
    VERSION_1: (INITIAL, EARLY, HANDSHAKE, RETRY),
    VERSION_2: (RETRY, INITIAL, EARLY, HANDSHAKE),
}
_BITS: Final[dict[int, tuple[int, ...]]] = {
    VERSION_1: (0x00, 0x10, 0x20, -1, 0x30),  # by kind; 1-RTT packets have no long header
    VERSION_2: (0x10, 0x20, 0x30, -1, 0x00),
}

MAX_CID: Final = 20  # section 17.2: of versions 1 and 2; RFC 8999 allows 255
MAX_VERSIONS: Final = 64  # read of one Version Negotiation packet; real ones name two, and a few greased
TAG: Final = 16  # octets that each of our AEADs adds
SAMPLE: Final = 16
# A header-protection sample lies four octets behind the start of the packet number (RFC 9001 section 5.4.2).
LEAST_PROTECTED: Final = 4 + SAMPLE
# Section 10.3: 5 octets and the token look like a packet that could be ours.
LEAST_RESET: Final = 21
# Section 10.3: a reset is shorter than what it answers, so that two endpoints do not answer each other for ever.
_LONGEST_RESET: Final = 42
_TOKEN: Final = 16
# The Length field always takes two octets, so that it can be written before the content is known.
_LONGEST_LENGTH: Final = 0x3FFF


@final
class LongHeader:
    """One packet with a long header in a datagram that was read.

    The packet lies between `start` and `end`, its protected packet number at `number_at` (for Retry: its tag; for
    Version Negotiation: the end). `token` is that of Initial and Retry, `versions` those of a Version Negotiation.
    """

    __slots__ = ("destination", "end", "kind", "number_at", "source", "start", "token", "version", "versions")

    def __init__(
        self, kind: int, version: int, destination: bytes, source: bytes, start: int, end: int
    ) -> None:
        self.kind = kind
        self.version = version
        self.destination = destination
        self.source = source
        self.start = start
        self.end = end
        self.number_at = end
        self.token = b""
        self.versions: tuple[int, ...] = ()

    def __repr__(self) -> str:
        names = ("Initial", "0-RTT", "Handshake", "1-RTT", "Retry", "Version Negotiation", "unknown")
        return (
            f"<{names[self.kind]} {self.version:#x} to {self.destination.hex() or '-'}"
            f" from {self.source.hex() or '-'}, {self.end - self.start} B>"
        )


def destination_of(data: bytes, at: int, end: int, cid_length: int) -> bytes:
    """Return the Destination Connection ID of the packet at `at`: all that is needed to find its connection.

    `cid_length` is how long the IDs are that we give out; only short headers need it. Raises UnreadablePacketError.
    """
    if at >= end:
        raise UnreadablePacketError("empty")
    if data[at] < 0x80:
        start = at + 1
        stop = start + cid_length
    else:
        start = at + 6
        if start > end:
            raise UnreadablePacketError("truncated", "no connection ID")
        stop = start + data[at + 5]
    if stop > end:
        raise UnreadablePacketError("truncated", "a connection ID is cut short")
    return data[start:stop]


def check_short_header(data: bytes, at: int, end: int, cid_length: int, *, is_greased: bool = False) -> None:
    """Refuse what cannot be a 1-RTT packet; its packet number is at `at + 1 + cid_length`.

    `is_greased`: we sent grease_quic_bit, so that the fixed bit means nothing (RFC 9287 section 3.1).
    """
    if end - at < 1 + cid_length + LEAST_PROTECTED:
        raise UnreadablePacketError("truncated", "too short for a header protection sample")
    if not data[at] & 0x40 and not is_greased:
        raise UnreadablePacketError("fixed-bit")


def parse_long_header(data: bytes, at: int, end: int, *, is_greased: bool = False) -> LongHeader:
    """Read the long header at `at` of a datagram that ends at `end`.

    A version that is not ours gives kind `UNKNOWN_VERSION`, with connection IDs of up to 255 octets: enough to
    answer with a Version Negotiation. Raises UnreadablePacketError.
    """
    try:
        header = _parse_invariants(data, at, end)
        if header.kind == NEGOTIATION:
            _parse_versions(header, data)
        elif header.kind != UNKNOWN_VERSION:
            if not data[at] & 0x40 and not is_greased:
                raise UnreadablePacketError("fixed-bit")
            _parse_rest(header, data)
    except IndexError as error:
        raise UnreadablePacketError("truncated", "a long header is cut short") from error
    return header


def _parse_invariants(data: bytes, at: int, end: int) -> LongHeader:
    """Read what all versions have (RFC 8999 section 5.1); `number_at` is where the rest begins."""
    if end - at < 7 or data[at] < 0x80:
        raise UnreadablePacketError("truncated", "no long header")
    version = int.from_bytes(data[at + 1 : at + 5], "big")
    destination_end = at + 6 + data[at + 5]
    if destination_end >= end:
        raise UnreadablePacketError("truncated", "a connection ID is cut short")
    source_end = destination_end + 1 + data[destination_end]
    if source_end > end:
        raise UnreadablePacketError("truncated", "a connection ID is cut short")
    destination = data[at + 6 : destination_end]
    source = data[destination_end + 1 : source_end]
    kinds = _KINDS.get(version)
    if kinds is not None:
        kind = kinds[data[at] >> 4 & 3]
        if len(destination) > MAX_CID or len(source) > MAX_CID:
            raise UnreadablePacketError("connection-id", f"longer than {MAX_CID} octets")
    else:
        kind = NEGOTIATION if version == 0 else UNKNOWN_VERSION
    header = LongHeader(kind, version, destination, source, at, end)
    header.number_at = source_end
    return header


def _parse_versions(header: LongHeader, data: bytes) -> None:
    at, end = header.number_at, header.end
    if at == end or (end - at) % 4:
        raise UnreadablePacketError("truncated", "a list of versions is cut short")
    stop = min(end, at + 4 * MAX_VERSIONS)
    header.versions = tuple([int.from_bytes(data[here : here + 4], "big") for here in range(at, stop, 4)])
    header.number_at = end


def _parse_rest(header: LongHeader, data: bytes) -> None:
    """Read what versions 1 and 2 put behind the connection IDs: token and length."""
    at, end = header.number_at, header.end
    if header.kind == RETRY:
        if end - at <= TAG:  # section 17.2.5.2: a Retry without a token is discarded
            raise UnreadablePacketError("truncated", "a Retry without a token")
        header.token = data[at : end - TAG]
        header.number_at = end - TAG
        return
    if header.kind == INITIAL:
        length = decode_varint(data, at)
        at += length_of_varint(data[at])
        if length > end - at:
            raise UnreadablePacketError("truncated", "a token is cut short")
        header.token = data[at : at + length]
        at += length
    length = decode_varint(data, at)
    at += length_of_varint(data[at])
    if length > end - at:
        raise UnreadablePacketError("truncated", "a packet is longer than its datagram")
    if length < LEAST_PROTECTED:
        raise UnreadablePacketError("truncated", "too short for a header protection sample")
    header.number_at = at
    header.end = at + length


def length_of_number(number: int, largest_acked: int) -> int:
    """Return how many octets of a packet number the peer needs (appendix A.2).

    `largest_acked` is below `number`, or -1 when nothing was acknowledged.
    """
    bits = (number - largest_acked - 1).bit_length() + 1
    if bits <= 8:
        return 1
    if bits <= 16:
        return 2
    if bits <= 24:
        return 3
    if bits <= 32:
        return 4
    raise LocalProtocolError(f"packet {number} is too far ahead of {largest_acked}")


def decode_number(truncated: int, length: int, largest: int) -> int:
    """Return the packet number nearest to the one that is expected (appendix A.3).

    `truncated` are the `length` octets that came, `largest` the largest number that was opened, or -1.
    """
    expected = largest + 1
    window = 1 << 8 * length
    candidate = expected & -window | truncated
    if candidate <= expected - window // 2 and candidate < (1 << 62) - window:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate


def encode_long_header(
    kind: int,
    version: int,
    destination: bytes,
    source: bytes,
    token: bytes,
    number: int,
    number_length: int,
    content_length: int,
) -> bytes:
    """Return the header of an Initial (with `token`), 0-RTT or Handshake packet, packet number included.

    It is not protected yet. `content_length` counts the frames, without the tag.
    """
    length = number_length + content_length + TAG
    if length > _LONGEST_LENGTH:
        raise LocalProtocolError(f"a packet of {length} octets")
    first = 0xC0 | _BITS[version][kind] | number_length - 1
    return b"%c%b%c%b%c%b%b%b%b" % (
        first,
        version.to_bytes(4, "big"),
        len(destination),
        destination,
        len(source),
        source,
        encode_varint(len(token)) + token if kind == INITIAL else b"",
        (0x4000 | length).to_bytes(2, "big"),
        (number & (1 << 8 * number_length) - 1).to_bytes(number_length, "big"),
    )


def encode_retry_header(version: int, destination: bytes, source: bytes, random: int) -> bytes:
    """Return what stands before the token of a Retry packet; `random`: any octet, for bits without a meaning."""
    return b"%c%b%c%b%c%b" % (
        0xC0 | _BITS[version][RETRY] | random & 0x0F,
        version.to_bytes(4, "big"),
        len(destination),
        destination,
        len(source),
        source,
    )


def encode_short_header(destination: bytes, phase: int, spin: int, number: int, number_length: int) -> bytes:
    """Return the header of a 1-RTT packet, packet number included, not protected yet; `phase`, `spin`: 0 or 1."""
    first = 0x40 | spin << 5 | phase << 2 | number_length - 1
    shortened = number & (1 << 8 * number_length) - 1
    return first.to_bytes(1, "big") + destination + shortened.to_bytes(number_length, "big")


def long_header_size(destination: bytes, source: bytes, token: bytes, kind: int, number_length: int) -> int:
    """Return how long `encode_long_header` makes it: what is left of a datagram is for frames and tag."""
    of_token = len(encode_varint(len(token))) + len(token) if kind == INITIAL else 0
    return 7 + len(destination) + len(source) + of_token + 2 + number_length


def encode_version_negotiation(
    destination: bytes, source: bytes, versions: Sequence[int], random: int
) -> bytes:
    """Return a Version Negotiation packet (section 17.2.1): IDs are those of the cause, exchanged.

    `random` is any octet: the bits that mean nothing.
    """
    return b"%c\x00\x00\x00\x00%c%b%c%b%b" % (
        0xC0 | random & 0x3F,
        len(destination),
        destination,
        len(source),
        source,
        b"".join([version.to_bytes(4, "big") for version in versions]),
    )


def stateless_reset_token(key: bytes, connection_id: bytes) -> bytes:
    """Return the token of one of our connection IDs (section 10.3.2): it needs no memory but the key."""
    return hmac.digest(key, connection_id, "sha256")[:_TOKEN]


def encode_stateless_reset(token: bytes, cause: int, random: bytes) -> bytes:
    """Return a stateless reset for a datagram of `cause` octets, or nothing when none can be shorter than it.

    `random`: at least 26 octets that nobody can guess.
    """
    size = min(cause - 1, _LONGEST_RESET)
    if size < LEAST_RESET:
        return b""
    first = 0x40 | random[0] & 0x3F
    return first.to_bytes(1, "big") + random[1 : size - _TOKEN] + token


def is_stateless_reset(data: bytes, at: int, end: int, tokens: Sequence[bytes]) -> bool:
    """Tell whether a datagram that no key opened ends in one of the peer's `tokens` (section 10.3.1).

    All are compared, each in constant time: how long it takes says nothing.
    """
    if end - at < LEAST_RESET:
        return False
    last = data[end - _TOKEN : end]
    found = False
    for token in tokens:
        found = hmac.compare_digest(last, token) or found
    return found
