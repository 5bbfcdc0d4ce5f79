"""The error codes of HTTP/2 (RFC 9113 section 7), and who they end.

`H2ConnectionError` ends the connection: its code goes into GOAWAY. `H2StreamError` ends one stream: its code goes
into RST_STREAM, and all other streams go on. A malformed message (`engine.message.errors`) is a stream error too,
with PROTOCOL_ERROR (section 8.1.1). `reason` is a short word that counters and logs are labelled with.
"""

from typing import Final

from headgate.errors import RemoteProtocolError

NO_ERROR: Final = 0x0
PROTOCOL_ERROR: Final = 0x1
INTERNAL_ERROR: Final = 0x2
FLOW_CONTROL_ERROR: Final = 0x3
SETTINGS_TIMEOUT: Final = 0x4
STREAM_CLOSED: Final = 0x5
FRAME_SIZE_ERROR: Final = 0x6
REFUSED_STREAM: Final = 0x7
CANCEL: Final = 0x8
COMPRESSION_ERROR: Final = 0x9
CONNECT_ERROR: Final = 0xA
ENHANCE_YOUR_CALM: Final = 0xB
INADEQUATE_SECURITY: Final = 0xC
HTTP_1_1_REQUIRED: Final = 0xD

NAMES: Final = (
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
)


class H2ConnectionError(RemoteProtocolError):
    """The peer broke HTTP/2 for the whole connection."""


class H2StreamError(RemoteProtocolError):
    """The peer broke one stream, which is reset."""


def name_of(code: int) -> str:
    """Return the name of an error code; one that nobody knows is told in hexadecimal (section 7)."""
    return NAMES[code] if 0 <= code < len(NAMES) else f"{code:#x}"


def protocol_error(detail: str) -> H2ConnectionError:
    """Return the error for what no rule allows, and no other code says better."""
    return H2ConnectionError(PROTOCOL_ERROR, "protocol-error", detail)


def frame_size_error(detail: str) -> H2ConnectionError:
    """Return the error for a frame that is longer or shorter than its type allows (section 4.2)."""
    return H2ConnectionError(FRAME_SIZE_ERROR, "frame-size", detail)


def stream_closed(detail: str) -> H2StreamError:
    """Return the error for a frame that comes after the end of its stream (section 5.1)."""
    return H2StreamError(STREAM_CLOSED, "stream-closed", detail)
