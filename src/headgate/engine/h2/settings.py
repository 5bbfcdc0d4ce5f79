"""SETTINGS of HTTP/2 (RFC 9113 section 6.5, RFC 8441 section 3, RFC 9218 section 2.1)."""

from typing import Final, final

from headgate.engine.h2.errors import (
    FLOW_CONTROL_ERROR,
    PROTOCOL_ERROR,
    H2ConnectionError,
    frame_size_error,
)

SETTING_HEADER_TABLE: Final = 0x1
SETTING_ENABLE_PUSH: Final = 0x2
SETTING_MAX_STREAMS: Final = 0x3
SETTING_INITIAL_WINDOW: Final = 0x4
SETTING_MAX_FRAME: Final = 0x5
SETTING_MAX_SECTION: Final = 0x6
SETTING_CONNECT_PROTOCOL: Final = 0x8
SETTING_NO_RFC7540_PRIORITIES: Final = 0x9

# What holds until SETTINGS say otherwise (section 6.5.2).
DEFAULT_TABLE: Final = 4096
DEFAULT_WINDOW: Final = 65535
DEFAULT_FRAME: Final = 16384
LARGEST_FRAME: Final = (1 << 24) - 1
LARGEST_WINDOW: Final = (1 << 31) - 1
UNLIMITED: Final = 1 << 32
# Streams that a client opens before it knows how many it may: section 6.5.2 asks servers for at least as many.
CAUTIOUS_STREAMS: Final = 100

PAIR: Final = 6  # octets of one setting


@final
class H2Settings:
    """What we announce: the limits of what the peer may send us. Sizes in octets.

    `initial_window` is where the window of a stream begins, `stream_window` how far it may grow;
    `connection_window` and `connection_window_limit` are the same of the connection.
    """

    __slots__ = (
        "connect_protocol",
        "connection_window",
        "connection_window_limit",
        "header_table",
        "initial_window",
        "max_frame",
        "max_lines",
        "max_section",
        "max_streams",
        "stream_window",
    )

    def __init__(
        self,
        header_table: int = DEFAULT_TABLE,
        max_streams: int = 100,
        initial_window: int = 64 * 1024,
        stream_window: int = 1024 * 1024,
        connection_window: int = 1024 * 1024,
        connection_window_limit: int = 16 * 1024 * 1024,
        max_frame: int = DEFAULT_FRAME,
        max_section: int = 64 * 1024,
        max_lines: int = 128,
        connect_protocol: bool = False,
    ) -> None:
        self.header_table = header_table
        self.max_streams = max_streams
        self.initial_window = initial_window
        self.stream_window = stream_window
        self.connection_window = connection_window
        self.connection_window_limit = connection_window_limit
        self.max_frame = max_frame
        self.max_section = max_section
        self.max_lines = max_lines
        self.connect_protocol = connect_protocol

    def __repr__(self) -> str:
        return f"<H2Settings streams={self.max_streams} window={self.initial_window}>"

    def encode(self, is_client: bool) -> bytes:
        """Return the payload of our SETTINGS; what has its default value is left out."""
        pairs = [(SETTING_INITIAL_WINDOW, self.initial_window), (SETTING_MAX_SECTION, self.max_section)]
        if is_client:
            pairs.append((SETTING_ENABLE_PUSH, 0))
        else:
            pairs.append((SETTING_MAX_STREAMS, self.max_streams))
            if self.connect_protocol:
                pairs.append((SETTING_CONNECT_PROTOCOL, 1))
            pairs.append((SETTING_NO_RFC7540_PRIORITIES, 1))
        if self.header_table != DEFAULT_TABLE:
            pairs.append((SETTING_HEADER_TABLE, self.header_table))
        if self.max_frame != DEFAULT_FRAME:
            pairs.append((SETTING_MAX_FRAME, self.max_frame))
        return b"".join([number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in pairs])


@final
class RemoteSettings:
    """What the peer announced, with the defaults until it did."""

    __slots__ = (
        "connect_protocol",
        "header_table",
        "initial_window",
        "least_table",
        "max_frame",
        "max_section",
        "max_streams",
        "received",
    )

    def __init__(self) -> None:
        self.received = False
        self.header_table = DEFAULT_TABLE
        self.least_table = DEFAULT_TABLE  # that was said in the last frame, and from where it went on
        self.max_streams = CAUTIOUS_STREAMS
        self.initial_window = DEFAULT_WINDOW
        self.max_frame = DEFAULT_FRAME
        self.max_section = UNLIMITED
        self.connect_protocol = False

    def __repr__(self) -> str:
        return f"<RemoteSettings streams={self.max_streams} window={self.initial_window}>"

    def receive(self, payload: bytes, is_client: bool) -> None:
        """Apply a SETTINGS payload, pair by pair in order (section 6.5.3); `is_client` is our role.

        Raises `H2ConnectionError`.
        """
        if len(payload) % PAIR:
            raise frame_size_error(f"SETTINGS of {len(payload)} octets")
        if not self.received:
            self.received = True
            self.max_streams = UNLIMITED
        self.least_table = self.header_table
        for at in range(0, len(payload), PAIR):
            identifier = payload[at] << 8 | payload[at + 1]
            value = payload[at + 2] << 24 | payload[at + 3] << 16 | payload[at + 4] << 8 | payload[at + 5]
            self._apply(identifier, value, is_client)

    def _apply(self, identifier: int, value: int, is_client: bool) -> None:
        if identifier == SETTING_INITIAL_WINDOW:
            if value > LARGEST_WINDOW:
                raise H2ConnectionError(
                    FLOW_CONTROL_ERROR, "settings", f"an initial window of {value} octets"
                )
            self.initial_window = value
        elif identifier == SETTING_MAX_STREAMS:
            self.max_streams = value
        elif identifier == SETTING_HEADER_TABLE:
            self.header_table = value
            self.least_table = min(self.least_table, value)
        elif identifier == SETTING_MAX_FRAME:
            if not DEFAULT_FRAME <= value <= LARGEST_FRAME:
                raise _wrong(f"frames of {value} octets")
            self.max_frame = value
        elif identifier == SETTING_MAX_SECTION:
            self.max_section = value
        elif identifier == SETTING_ENABLE_PUSH:
            if value > 1 or (is_client and value):
                raise _wrong(f"ENABLE_PUSH {value}")
        elif identifier == SETTING_CONNECT_PROTOCOL:
            if value > 1 or (self.connect_protocol and not value):
                raise _wrong(f"ENABLE_CONNECT_PROTOCOL {value} (RFC 8441 section 3)")
            self.connect_protocol = value == 1
        elif identifier == SETTING_NO_RFC7540_PRIORITIES and value > 1:
            raise _wrong(f"NO_RFC7540_PRIORITIES {value} (RFC 9218 section 2.1)")


def _wrong(detail: str) -> H2ConnectionError:
    return H2ConnectionError(PROTOCOL_ERROR, "settings", detail)
