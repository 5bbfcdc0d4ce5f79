"""TLS alerts (RFC 8446 section 6.2) and how QUIC sends them (RFC 9001 section 4.8).

QUIC has no alert messages: an alert closes the connection with CRYPTO_ERROR, 0x0100 plus the alert. A few breaches
are QUIC's own to name; they carry PROTOCOL_VIOLATION (RFC 9001 sections 4.1.3, 4.4, 8.4).
"""

from typing import Final

from headgate.errors import RemoteProtocolError

CRYPTO_ERROR: Final = 0x0100
PROTOCOL_VIOLATION: Final = 0x0A

UNEXPECTED_MESSAGE: Final = 10
HANDSHAKE_FAILURE: Final = 40
BAD_CERTIFICATE: Final = 42
UNSUPPORTED_CERTIFICATE: Final = 43
CERTIFICATE_REVOKED: Final = 44
CERTIFICATE_EXPIRED: Final = 45
CERTIFICATE_UNKNOWN: Final = 46
ILLEGAL_PARAMETER: Final = 47
UNKNOWN_CA: Final = 48
DECODE_ERROR: Final = 50
DECRYPT_ERROR: Final = 51
PROTOCOL_VERSION: Final = 70
INTERNAL_ERROR: Final = 80
MISSING_EXTENSION: Final = 109
UNSUPPORTED_EXTENSION: Final = 110
UNRECOGNIZED_NAME: Final = 112
BAD_CERTIFICATE_STATUS: Final = 113
CERTIFICATE_REQUIRED: Final = 116
NO_APPLICATION_PROTOCOL: Final = 120

# The words that logs and metrics use.
REASONS: Final[dict[int, str]] = {
    UNEXPECTED_MESSAGE: "unexpected-message",
    HANDSHAKE_FAILURE: "handshake-failure",
    BAD_CERTIFICATE: "bad-certificate",
    UNSUPPORTED_CERTIFICATE: "unsupported-certificate",
    CERTIFICATE_REVOKED: "certificate-revoked",
    CERTIFICATE_EXPIRED: "certificate-expired",
    CERTIFICATE_UNKNOWN: "certificate-unknown",
    ILLEGAL_PARAMETER: "illegal-parameter",
    UNKNOWN_CA: "unknown-ca",
    DECODE_ERROR: "decode-error",
    DECRYPT_ERROR: "decrypt-error",
    PROTOCOL_VERSION: "protocol-version",
    INTERNAL_ERROR: "internal-error",
    MISSING_EXTENSION: "missing-extension",
    UNSUPPORTED_EXTENSION: "unsupported-extension",
    UNRECOGNIZED_NAME: "unrecognized-name",
    BAD_CERTIFICATE_STATUS: "bad-certificate-status",
    CERTIFICATE_REQUIRED: "certificate-required",
    NO_APPLICATION_PROTOCOL: "no-application-protocol",
}


class TlsAlertError(RemoteProtocolError):
    """The handshake ends with an alert; `code` is what QUIC closes the connection with."""

    def __init__(self, alert: int, reason: str, detail: str = "") -> None:
        super().__init__(CRYPTO_ERROR + alert, reason, detail)
        self.alert = alert


def refusal(alert: int, detail: str) -> TlsAlertError:
    """Return the error for an alert, under its usual word; `detail` says what was wrong."""
    return TlsAlertError(alert, REASONS.get(alert, "tls-alert"), detail)


def violation(reason: str, detail: str) -> RemoteProtocolError:
    """Return the error for a breach that QUIC closes with PROTOCOL_VIOLATION."""
    return RemoteProtocolError(PROTOCOL_VIOLATION, reason, detail)
