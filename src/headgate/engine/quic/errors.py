"""The error codes of QUIC (RFC 9000 section 20.1, RFC 9368 section 8), and the exceptions that carry them.

`QuicError` ends the connection: its code goes into a CONNECTION_CLOSE of type 0x1c, with the type of the frame that
was at fault. `UnreadablePacketError` ends nothing: anybody can send us anything, so a datagram that is no QUIC, or
that no key of ours opens, is dropped and counted, and no connection hears of it.
"""

from typing import Final, final

from headgate.errors import RemoteProtocolError

NO_ERROR: Final = 0x00
INTERNAL_ERROR: Final = 0x01
CONNECTION_REFUSED: Final = 0x02
FLOW_CONTROL_ERROR: Final = 0x03
STREAM_LIMIT_ERROR: Final = 0x04
STREAM_STATE_ERROR: Final = 0x05
FINAL_SIZE_ERROR: Final = 0x06
FRAME_ENCODING_ERROR: Final = 0x07
TRANSPORT_PARAMETER_ERROR: Final = 0x08
CONNECTION_ID_LIMIT_ERROR: Final = 0x09
PROTOCOL_VIOLATION: Final = 0x0A
INVALID_TOKEN: Final = 0x0B
APPLICATION_ERROR: Final = 0x0C
CRYPTO_BUFFER_EXCEEDED: Final = 0x0D
KEY_UPDATE_ERROR: Final = 0x0E
AEAD_LIMIT_REACHED: Final = 0x0F
NO_VIABLE_PATH: Final = 0x10
VERSION_NEGOTIATION_ERROR: Final = 0x11
CRYPTO_ERROR: Final = 0x0100  # plus the alert of TLS (RFC 9001 section 4.8)

# Stable words for logs and metrics.
NAMES: Final[dict[int, str]] = {
    NO_ERROR: "no-error",
    INTERNAL_ERROR: "internal-error",
    CONNECTION_REFUSED: "connection-refused",
    FLOW_CONTROL_ERROR: "flow-control-error",
    STREAM_LIMIT_ERROR: "stream-limit-error",
    STREAM_STATE_ERROR: "stream-state-error",
    FINAL_SIZE_ERROR: "final-size-error",
    FRAME_ENCODING_ERROR: "frame-encoding-error",
    TRANSPORT_PARAMETER_ERROR: "transport-parameter-error",
    CONNECTION_ID_LIMIT_ERROR: "connection-id-limit-error",
    PROTOCOL_VIOLATION: "protocol-violation",
    INVALID_TOKEN: "invalid-token",
    APPLICATION_ERROR: "application-error",
    CRYPTO_BUFFER_EXCEEDED: "crypto-buffer-exceeded",
    KEY_UPDATE_ERROR: "key-update-error",
    AEAD_LIMIT_REACHED: "aead-limit-reached",
    NO_VIABLE_PATH: "no-viable-path",
    VERSION_NEGOTIATION_ERROR: "version-negotiation-error",
}


@final
class QuicError(RemoteProtocolError):
    """The end of a connection: the peer broke QUIC, or a limit is reached. `frame_type` 0: no frame did it."""

    def __init__(self, code: int, detail: str, frame_type: int = 0) -> None:
        super().__init__(code, NAMES.get(code, "quic-error"), detail)
        self.frame_type = frame_type


@final
class UnreadablePacketError(RemoteProtocolError):
    """A packet that is dropped in silence; `reason` says for the counter what was wrong with it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(NO_ERROR, reason, detail)
