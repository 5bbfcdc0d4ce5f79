"""The error codes of HTTP/3 and QPACK (RFC 9114 section 8.1, RFC 9204 section 6), and who they end.

`H3ConnectionError` ends the connection: its code goes into CONNECTION_CLOSE. `H3StreamError` ends one stream: its
code goes into RESET_STREAM and STOP_SENDING, and all other streams go on. So does a `MalformedError`, whose code is
H3_MESSAGE_ERROR (section 4.1.2).
"""

from typing import Final

from headgate.errors import RemoteProtocolError

H3_NO_ERROR: Final = 0x0100
H3_GENERAL_PROTOCOL_ERROR: Final = 0x0101
H3_INTERNAL_ERROR: Final = 0x0102
H3_STREAM_CREATION_ERROR: Final = 0x0103
H3_CLOSED_CRITICAL_STREAM: Final = 0x0104
H3_FRAME_UNEXPECTED: Final = 0x0105
H3_FRAME_ERROR: Final = 0x0106
H3_EXCESSIVE_LOAD: Final = 0x0107
H3_ID_ERROR: Final = 0x0108
H3_SETTINGS_ERROR: Final = 0x0109
H3_MISSING_SETTINGS: Final = 0x010A
H3_REQUEST_REJECTED: Final = 0x010B
H3_REQUEST_CANCELLED: Final = 0x010C
H3_REQUEST_INCOMPLETE: Final = 0x010D
H3_MESSAGE_ERROR: Final = 0x010E
H3_CONNECT_ERROR: Final = 0x010F
H3_VERSION_FALLBACK: Final = 0x0110
QPACK_DECOMPRESSION_FAILED: Final = 0x0200
QPACK_ENCODER_STREAM_ERROR: Final = 0x0201
QPACK_DECODER_STREAM_ERROR: Final = 0x0202


class H3ConnectionError(RemoteProtocolError):
    """The peer broke HTTP/3 for the whole connection."""


class H3StreamError(RemoteProtocolError):
    """The peer broke one message; the stream is reset."""


def unexpected(detail: str) -> H3ConnectionError:
    """Return the error for a frame in the wrong place (RFC 9114 section 7)."""
    return H3ConnectionError(H3_FRAME_UNEXPECTED, "frame-unexpected", detail)
