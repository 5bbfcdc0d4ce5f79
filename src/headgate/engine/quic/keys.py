"""Keys of packets: how they come about, and what they do (RFC 9001 sections 5.1 to 5.4, RFC 9369 section 3.3).

A `PacketKey` is key and IV of one direction. Its cipher is made when it is first used, and let go of by `rest`: that
is 2.4 KiB of OpenSSL, so neither the key of the next phase nor one of an idle connection has any. The ciphers of
header protection, 1 KiB each, rest with them.
"""

from typing import Final, final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from headgate.engine.quic.packet import SAMPLE, VERSION_1, VERSION_2
from headgate.engine.tls13.schedule import hkdf_expand_label, hkdf_extract
from headgate.engine.tls13.suites import (
    HASHES,
    TLS_AES_128_GCM_SHA256,
    TLS_AES_256_GCM_SHA384,
    TLS_CHACHA20_POLY1305_SHA256,
)

# Section 5.2 and RFC 9369 section 3.3.1.
_SALTS: Final[dict[int, bytes]] = {
    VERSION_1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    VERSION_2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
}
_PREFIXES: Final[dict[int, bytes]] = {VERSION_1: b"quic ", VERSION_2: b"quicv2 "}
_KEY_SIZES: Final[dict[int, int]] = {
    TLS_AES_128_GCM_SHA256: 16,
    TLS_AES_256_GCM_SHA384: 32,
    TLS_CHACHA20_POLY1305_SHA256: 32,
}
_NONCE: Final = 12
_TAIL: Final = 7

Aead = AESGCM | ChaCha20Poly1305


def initial_secret(version: int, destination: bytes, *, is_client: bool) -> bytes:
    """Return what Initial packets of client or server are protected with (section 5.2).

    `destination` is the Destination Connection ID of the client's first Initial.
    """
    common = hkdf_extract("sha256", _SALTS[version], destination)
    return hkdf_expand_label("sha256", common, b"client in" if is_client else b"server in", b"", 32)


def derive_key(version: int, suite: int, secret: bytes) -> tuple[bytes, bytes]:
    """Return AEAD key and IV for a secret (section 5.1)."""
    algorithm, prefix = HASHES[suite], _PREFIXES[version]
    key = hkdf_expand_label(algorithm, secret, prefix + b"key", b"", _KEY_SIZES[suite])
    return key, hkdf_expand_label(algorithm, secret, prefix + b"iv", b"", _NONCE)


def derive_header_key(version: int, suite: int, secret: bytes) -> bytes:
    """Return the header protection key for a secret (section 5.1); key updates do not change it."""
    return hkdf_expand_label(HASHES[suite], secret, _PREFIXES[version] + b"hp", b"", _KEY_SIZES[suite])


def next_secret(version: int, suite: int, secret: bytes) -> bytes:
    """Return the secret of the next generation (section 6.1)."""
    return hkdf_expand_label(HASHES[suite], secret, _PREFIXES[version] + b"ku", b"", len(secret))


@final
class HeaderMask:
    """The masks of header protection (section 5.4): 16 octets for each sample, of which five are used."""

    __slots__ = ("_context", "_is_chacha", "_key")

    def __init__(self, suite: int, key: bytes) -> None:
        self._is_chacha = suite == TLS_CHACHA20_POLY1305_SHA256
        self._key = key
        self._context: CipherContext | None = None

    def _made(self) -> CipherContext:
        # ChaCha20 gets its counter and nonce with each sample: those given here are never used.
        chosen: Cipher[modes.ECB | None] = (
            Cipher(algorithms.ChaCha20(self._key, bytes(SAMPLE)), None)
            if self._is_chacha
            else Cipher(algorithms.AES(self._key), modes.ECB())
        )
        made = self._context = chosen.encryptor()
        return made

    def rest(self) -> None:
        """Let go of the cipher until it is used again."""
        self._context = None

    def masks(self, samples: bytes) -> bytes:
        """Return one mask of 16 octets for each 16 octets of `samples`, in order."""
        context = self._context
        if context is None:
            context = self._made()
        if not self._is_chacha:
            return context.update(samples)
        pieces: list[bytes] = []
        for at in range(0, len(samples), SAMPLE):
            context.reset_nonce(samples[at : at + SAMPLE])
            pieces.append(context.update(bytes(SAMPLE)))
        return b"".join(pieces)


@final
class PacketKey:
    """Key and IV of one direction. Nonces are exclusive ors of the IV with packet numbers (section 5.3).

    Only its last seven octets meet with packet numbers below 2^56, and those fit into a small integer.
    """

    __slots__ = ("_aead", "_head", "_key", "_suite", "_tail")

    def __init__(self, suite: int, key: bytes, iv: bytes) -> None:
        self._suite = suite
        self._key = key
        self._head = iv[:-_TAIL]
        self._tail = int.from_bytes(iv[-_TAIL:], "big")
        self._aead: Aead | None = None

    def __repr__(self) -> str:
        return f"<PacketKey {self._suite:#06x}{' at rest' if self._aead is None else ''}>"

    def aead(self) -> Aead:
        """Return the cipher."""
        made = self._aead
        if made is None:
            is_chacha = self._suite == TLS_CHACHA20_POLY1305_SHA256
            made = self._aead = ChaCha20Poly1305(self._key) if is_chacha else AESGCM(self._key)
        return made

    def nonce(self, number: int) -> bytes:
        """Return the nonce of a packet."""
        if number < 1 << 8 * _TAIL:
            return b"%b%b" % (self._head, (self._tail ^ number).to_bytes(_TAIL, "big"))
        whole = int.from_bytes(self._head, "big") << 8 * _TAIL | self._tail
        return (whole ^ number).to_bytes(_NONCE, "big")

    def rest(self) -> None:
        """Let go of the cipher until it is used again."""
        self._aead = None


def packet_key(version: int, suite: int, secret: bytes) -> PacketKey:
    """Return what a secret protects packets with (section 5.1)."""
    key, iv = derive_key(version, suite, secret)
    return PacketKey(suite, key, iv)
