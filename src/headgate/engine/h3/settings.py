"""SETTINGS of HTTP/3 (RFC 9114 section 7.2.4, RFC 9204 section 5, RFC 9220 section 3)."""

from typing import Final, final

from headgate.engine.h3.errors import H3_FRAME_ERROR, H3_SETTINGS_ERROR, H3ConnectionError
from headgate.engine.h3.qpack_decoder import MAX_BLOCKED_STREAMS, MAX_TABLE
from headgate.engine.message.lines import MAX_FIELD_SECTION, MAX_SECTION_LINES
from headgate.engine.varint import decode_varint, encode_varint, length_of_varint

SETTING_TABLE_CAPACITY: Final = 0x01
SETTING_FIELD_SECTION: Final = 0x06
SETTING_BLOCKED_STREAMS: Final = 0x07
SETTING_CONNECT_PROTOCOL: Final = 0x08
# Settings of HTTP/2 that may not come (section 11.2.2).
RESERVED: Final = frozenset((0x00, 0x02, 0x03, 0x04, 0x05))
# Section 7.2.4.1: one that means nothing, so that nobody comes to rely on knowing all of them (0x1f * N + 0x21).
GREASE: Final = 0x1F * 0x2A + 0x21

# Browsers send some 10 in 50 octets; quiche takes 256 octets.
MAX_SETTINGS_OCTETS: Final = 1024
MAX_SETTINGS: Final = 64
UNLIMITED: Final = 1 << 62


@final
class H3Settings:
    """What we announce: the limits of what the peer may send us."""

    __slots__ = ("blocked_streams", "connect_protocol", "max_lines", "max_section", "table_capacity")

    def __init__(
        self,
        max_section: int = MAX_FIELD_SECTION,
        max_lines: int = MAX_SECTION_LINES,
        table_capacity: int = 0,
        blocked_streams: int = 0,
        connect_protocol: bool = False,
    ) -> None:
        self.max_section = max_section
        self.max_lines = max_lines
        self.table_capacity = min(table_capacity, MAX_TABLE)
        self.blocked_streams = min(blocked_streams, MAX_BLOCKED_STREAMS)
        self.connect_protocol = connect_protocol

    def encode(self, is_client: bool) -> bytes:
        """Return the payload of our SETTINGS; what has its default value is left out."""
        pairs = [(SETTING_FIELD_SECTION, self.max_section), (GREASE, 0)]
        if self.table_capacity > 0:
            pairs.append((SETTING_TABLE_CAPACITY, self.table_capacity))
            pairs.append((SETTING_BLOCKED_STREAMS, self.blocked_streams))
        if self.connect_protocol and not is_client:
            pairs.append((SETTING_CONNECT_PROTOCOL, 1))
        return b"".join([encode_varint(number) for pair in pairs for number in pair])


@final
class PeerSettings:
    """What the peer announced, with the defaults until it did."""

    __slots__ = ("connect_protocol", "max_section", "received", "table_capacity")

    def __init__(self) -> None:
        self.received = False
        self.max_section = UNLIMITED
        self.table_capacity = 0
        self.connect_protocol = False

    def receive(self, payload: bytes) -> None:
        """Read a SETTINGS payload. Raises `H3ConnectionError`."""
        seen: set[int] = set()
        at = 0
        while at < len(payload):
            try:
                identifier = decode_varint(payload, at)
                at += length_of_varint(payload[at])
                value = decode_varint(payload, at)
                at += length_of_varint(payload[at])
            except IndexError:
                raise H3ConnectionError(H3_FRAME_ERROR, "frame-error", "SETTINGS is cut short") from None
            if identifier in seen:
                raise _wrong(f"setting {identifier:#x} stands twice")
            if identifier in RESERVED:
                raise _wrong(f"setting {identifier:#x} belongs to HTTP/2")
            seen.add(identifier)
            if len(seen) > MAX_SETTINGS:
                raise _wrong(f"more than {MAX_SETTINGS} settings")
            self._apply(identifier, value)
        self.received = True

    def _apply(self, identifier: int, value: int) -> None:
        if identifier == SETTING_FIELD_SECTION:
            self.max_section = value
        elif identifier == SETTING_TABLE_CAPACITY:
            self.table_capacity = value
        elif identifier == SETTING_CONNECT_PROTOCOL:
            if value > 1:
                raise _wrong("ENABLE_CONNECT_PROTOCOL is neither 0 nor 1 (RFC 9220 section 3)")
            self.connect_protocol = value == 1


def _wrong(detail: str) -> H3ConnectionError:
    return H3ConnectionError(H3_SETTINGS_ERROR, "settings", detail)
