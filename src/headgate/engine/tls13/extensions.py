"""The extensions of TLS messages (RFC 8446 section 4.2): their codes, and the list that every message has.

A list becomes a dict from code to content, in the order of the message; whoever reads the message takes out of it
what it knows, and everything else, GREASE (RFC 8701) among it, is passed over.
"""

from typing import Final

from headgate.engine.tls13.alerts import ILLEGAL_PARAMETER, UNSUPPORTED_EXTENSION, refusal
from headgate.engine.tls13.wire import Reader, vector

SERVER_NAME: Final = 0
STATUS_REQUEST: Final = 5
SUPPORTED_GROUPS: Final = 10
SIGNATURE_ALGORITHMS: Final = 13
ALPN: Final = 16
PADDING: Final = 21
COMPRESS_CERTIFICATE: Final = 27
PRE_SHARED_KEY: Final = 41
EARLY_DATA: Final = 42
SUPPORTED_VERSIONS: Final = 43
COOKIE: Final = 44
PSK_KEY_EXCHANGE_MODES: Final = 45
CERTIFICATE_AUTHORITIES: Final = 47
KEY_SHARE: Final = 51
TRANSPORT_PARAMETERS: Final = 57

MAX_EXTENSIONS: Final = 64  # browsers send 20, GREASE included


def decode_extensions(data: bytes, *, psk_last: bool = False) -> dict[int, bytes]:
    """Split a list of extensions; twice the same is refused (RFC 8446 section 4.2).

    With `psk_last`, in a ClientHello, nothing may stand behind pre_shared_key (section 4.2.11).
    """
    found: dict[int, bytes] = {}
    reader = Reader(data)
    while reader.left:
        if psk_last and PRE_SHARED_KEY in found:
            raise refusal(ILLEGAL_PARAMETER, "an extension behind pre_shared_key")
        code = reader.number(2)
        content = reader.vector(2)
        if code in found:
            raise refusal(ILLEGAL_PARAMETER, f"extension {code} twice")
        found[code] = content
        if len(found) > MAX_EXTENSIONS:
            raise refusal(ILLEGAL_PARAMETER, f"more than {MAX_EXTENSIONS} extensions")
    return found


def encode_extensions(extensions: dict[int, bytes]) -> bytes:
    """Return the list with its length."""
    return vector(
        2, b"".join(code.to_bytes(2, "big") + vector(2, content) for code, content in extensions.items())
    )


def check_answers(
    extensions: dict[int, bytes], offered: frozenset[int], allowed: frozenset[int], message: str
) -> None:
    """Refuse an answer to what was not `offered`, and one that does not belong into this message (section 4.2)."""
    for code in extensions:
        if code not in offered:
            raise refusal(UNSUPPORTED_EXTENSION, f"extension {code} in {message} was not asked for")
        if code not in allowed:
            raise refusal(ILLEGAL_PARAMETER, f"extension {code} does not belong into {message}")
