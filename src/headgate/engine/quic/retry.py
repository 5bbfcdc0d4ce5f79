"""Address validation without memory: Retry packets and the tokens in them, and tokens for later connections
(RFC 9000 sections 8.1 and 17.2.5, RFC 9001 section 5.8).

A token is sealed with AES-GCM for whom it was given: `TokenKeys` makes the address, and for a Retry also the port and
the connection ID that the server chose, part of what is authenticated, so that nothing of them stands in the token.

    kind (1)  hour (1)  nonce (12)  sealed: time of issue in ms (8), original destination ID (0…20)  tag (16)

Keys change by the hour: each is derived from one master and the number of the hour, so that all workers, and a server
that was restarted, have the same ones without a word between them. A token for later connections lives for a day, and
so does its key; that a client shows it twice can be told by its `nonce`.
"""

import hmac
from collections.abc import Callable
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headgate.engine.quic.errors import INVALID_TOKEN, QuicError
from headgate.engine.quic.packet import TAG, VERSION_1, VERSION_2, encode_retry_header

# RFC 9001 section 5.8 and RFC 9369 section 3.3.3: keys that everybody knows. The tag says only that a Retry answers
# the packet that its sender saw.
_RETRY_KEYS: Final[dict[int, tuple[bytes, bytes]]] = {
    VERSION_1: (
        bytes.fromhex("be0c690b9f66575a1d766b54e368c84e"),
        bytes.fromhex("461599d35d632bf2239825bb"),
    ),
    VERSION_2: (
        bytes.fromhex("8fb4b01b56ac48e260fbcbcead7ccc92"),
        bytes.fromhex("d86969bc2d7c6d9990efb04a"),
    ),
}

FROM_RETRY: Final = 0x01
FROM_NEW_TOKEN: Final = 0x02
# Section 8.1.3: a Retry is answered at once (quinn 15 s, lsquic 10 s, msquic 30 s).
RETRY_SECONDS: Final = 30.0
NEW_TOKEN_SECONDS: Final = 24.0 * 3600
_HOUR: Final = 3600
# Clocks of machines that share a master differ a little.
_SKEW: Final = 5.0
_NONCE: Final = 12
_LEAST: Final = 2 + _NONCE + 8 + TAG


def retry_tag(version: int, original_destination: bytes, packet: bytes) -> bytes:
    """Return the integrity tag for a Retry `packet` that has none yet (RFC 9001 section 5.8)."""
    key, nonce = _RETRY_KEYS[version]
    pseudo = len(original_destination).to_bytes(1, "big") + original_destination + packet
    return AESGCM(key).encrypt(nonce, b"", pseudo)


def encode_retry(
    version: int, destination: bytes, source: bytes, original_destination: bytes, token: bytes, random: int
) -> bytes:
    """Return a Retry packet, tag included: `source` is the ID that the client is to use from now on.

    `original_destination` is the one of the Initial that it answers; `random`: any octet, for bits without a meaning.
    """
    packet = encode_retry_header(version, destination, source, random) + token
    return packet + retry_tag(version, original_destination, packet)


def is_genuine_retry(version: int, original_destination: bytes, packet: bytes) -> bool:
    """Tell whether a Retry answers our Initial to `original_destination`; otherwise it is dropped."""
    body = packet[:-TAG]
    return hmac.compare_digest(retry_tag(version, original_destination, body), packet[-TAG:])


@final
class Token:
    """What a token of ours said: its kind, its nonce, and for a Retry the first destination of the client."""

    __slots__ = ("kind", "nonce", "original_destination")

    def __init__(self, kind: int, nonce: bytes, original_destination: bytes) -> None:
        self.kind = kind
        self.nonce = nonce
        self.original_destination = original_destination


@final
class TokenKeys:
    """Seals and opens tokens; `master` are 32 secret octets that all workers share. Times are wall-clock seconds."""

    __slots__ = ("_hour", "_key", "_master")

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._hour = -1
        self._key = AESGCM(bytes(16))

    def seal_retry(
        self,
        address: bytes,
        port: int,
        original_destination: bytes,
        retry_source: bytes,
        now_wall: float,
        random: Callable[[int], bytes],
    ) -> bytes:
        """Return a token for a Retry to this address, which names `retry_source` as the ID to use."""
        bound = _bound(FROM_RETRY, address, port, retry_source)
        return self._seal(FROM_RETRY, bound, original_destination, now_wall, random(_NONCE))

    def seal_new_token(self, address: bytes, now_wall: float, random: Callable[[int], bytes]) -> bytes:
        """Return a token for NEW_TOKEN: whoever shows it from this address within a day is believed."""
        return self._seal(
            FROM_NEW_TOKEN, _bound(FROM_NEW_TOKEN, address, 0, b""), b"", now_wall, random(_NONCE)
        )

    def open(
        self, token: bytes, address: bytes, port: int, destination: bytes, now_wall: float
    ) -> Token | None:
        """Return what the token of an Initial says, or None for one that counts as none (section 8.1.3).

        `destination` is the Destination Connection ID of that Initial. Raises QuicError with INVALID_TOKEN for a
        token from a Retry that is too old or was not given to this client: it would not try again (section 8.1.2).
        """
        kind = token[0] if len(token) >= _LEAST else 0
        if kind not in (FROM_RETRY, FROM_NEW_TOKEN):
            return None
        opened = self._open(token, kind, address, port, destination, now_wall)
        if opened is None and kind == FROM_RETRY:
            raise QuicError(INVALID_TOKEN, "a token of a Retry that is too old or was not for this client")
        return opened

    def _seal(self, kind: int, bound: bytes, content: bytes, now_wall: float, nonce: bytes) -> bytes:
        hour = int(now_wall) // _HOUR
        issued = int(now_wall * 1000).to_bytes(8, "big")
        sealed = self._key_of(hour).encrypt(nonce, issued + content, bound)
        return bytes((kind, hour & 0xFF)) + nonce + sealed

    def _open(
        self, token: bytes, kind: int, address: bytes, port: int, destination: bytes, now_wall: float
    ) -> Token | None:
        is_retry = kind == FROM_RETRY
        bound = _bound(kind, address, port, destination) if is_retry else _bound(kind, address, 0, b"")
        lifetime = RETRY_SECONDS if is_retry else NEW_TOKEN_SECONDS
        # The hour of issue is the last one with these low bits; what was issued long before needs no key.
        newest = int(now_wall + _SKEW) // _HOUR
        hour = newest - (newest - token[1] & 0xFF)
        if now_wall - (hour + 1) * _HOUR > lifetime:
            return None
        nonce = token[2 : 2 + _NONCE]
        try:
            content = self._key_of(hour).decrypt(nonce, token[2 + _NONCE :], bound)
        except InvalidTag:
            return None
        age = now_wall - int.from_bytes(content[:8], "big") / 1000
        if not -_SKEW <= age <= lifetime:
            return None
        return Token(kind, nonce, content[8:])

    def _key_of(self, hour: int) -> AESGCM:
        """Return the key of an hour; the last one is remembered."""
        if hour != self._hour:
            self._key = AESGCM(hmac.digest(self._master, b"token %d" % hour, "sha256")[:16])
            self._hour = hour
        return self._key


def _bound(kind: int, address: bytes, port: int, connection_id: bytes) -> bytes:
    """Return what a token is bound to: no two clients have the same octets."""
    return bytes((kind, len(address))) + address + port.to_bytes(2, "big") + connection_id
