"""The key schedule of TLS 1.3 (RFC 8446 section 7.1) and the transcript that it hashes (section 4.4.1).

    early --(derived)--> handshake --(derived)--> master
      |                     |                       |
    res binder          c/s hs traffic       c/s ap traffic, exp master, res master
    c e traffic

Each arrow is an HKDF-Extract, each name below an HKDF-Expand-Label over the transcript up to the message it belongs
to. HKDF (RFC 5869) is two HMACs, so it is written out here with `hmac.digest`, which is one call of C.
"""

import hashlib
import hmac
from typing import Final, final

from headgate.engine.tls13.suites import HASHES

_EMPTY: Final[dict[str, bytes]] = {name: hashlib.new(name).digest() for name in ("sha256", "sha384")}
_SIZES: Final[dict[str, int]] = {"sha256": 32, "sha384": 48}
# The handshake type of the message that stands for the first ClientHello after a HelloRetryRequest.
_MESSAGE_HASH: Final = b"\xfe\x00\x00"


def hkdf_extract(algorithm: str, salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract (RFC 5869 section 2.2); `algorithm` is the name of a hash."""
    return hmac.digest(salt, secret, algorithm)


def hkdf_expand_label(algorithm: str, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1); `label` without its "tls13 "."""
    info = b"%b%c%b%c%b" % (
        length.to_bytes(2, "big"),
        6 + len(label),
        b"tls13 " + label,
        len(context),
        context,
    )
    block = hmac.digest(secret, info + b"\x01", algorithm)
    output = block
    counter = 2
    while len(output) < length:
        block = hmac.digest(secret, block + info + bytes((counter,)), algorithm)
        output += block
        counter += 1
    return output[:length]


def finished_mac(algorithm: str, secret: bytes, transcript: bytes) -> bytes:
    """Return the verify_data of a Finished message, or a PSK binder (RFC 8446 sections 4.4.4, 4.2.11.2)."""
    key = hkdf_expand_label(algorithm, secret, b"finished", b"", _SIZES[algorithm])
    return hmac.digest(key, transcript, algorithm)


@final
class Transcript:
    """The running hash of all handshake messages; before the suite is known it keeps the messages themselves."""

    __slots__ = ("_hash", "_pending")

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._hash: hashlib._Hash | None = None

    def start(self, algorithm: str) -> None:
        """Choose the hash; what was kept so far goes into it. Once only."""
        chosen = hashlib.new(algorithm)
        for message in self._pending:
            chosen.update(message)
        self._pending = []
        self._hash = chosen

    def retry(self, algorithm: str) -> None:
        """Choose the hash and put a synthetic message in place of the first ClientHello (section 4.4.1)."""
        first = hashlib.new(algorithm, b"".join(self._pending)).digest()
        self._pending = []
        self._hash = hashlib.new(algorithm, _MESSAGE_HASH + bytes((len(first),)) + first)

    def update(self, message: bytes) -> None:
        """Take up a whole message, header included."""
        running = self._hash
        if running is None:
            self._pending.append(message)
        else:
            running.update(message)

    def digest(self) -> bytes:
        """Return the hash so far; the suite must be chosen."""
        running = self._hash
        return running.digest() if running is not None else b""

    def digest_with(self, algorithm: str, partial: bytes) -> bytes:
        """Return the hash as it would be with `partial` behind it: what a PSK binder covers."""
        running = self._hash
        copy = running.copy() if running is not None else hashlib.new(algorithm, b"".join(self._pending))
        copy.update(partial)
        return copy.digest()


@final
class KeySchedule:
    """The secrets of one handshake, in the order in which they come about."""

    __slots__ = ("algorithm", "early", "handshake", "master", "size")

    def __init__(self, suite: int, psk: bytes = b"") -> None:
        """Begin with the early secret; without a PSK it is made of zeros."""
        self.algorithm: Final = HASHES[suite]
        self.size: Final = _SIZES[self.algorithm]
        self.early: Final = hkdf_extract(self.algorithm, bytes(self.size), psk or bytes(self.size))
        self.handshake = b""
        self.master = b""

    def add_shared(self, shared: bytes) -> None:
        """Go on to the handshake secret with what the key exchange gave, and to the master secret."""
        self.handshake = hkdf_extract(self.algorithm, self._derived(self.early), shared)
        self.master = hkdf_extract(self.algorithm, self._derived(self.handshake), bytes(self.size))

    def binder(self, transcript: bytes) -> bytes:
        """Return the binder of a resumption PSK for a hash up to the binders (section 4.2.11.2)."""
        return finished_mac(self.algorithm, self._derive(self.early, b"res binder", None), transcript)

    def client_early(self, transcript: bytes) -> bytes:
        """Return client_early_traffic_secret for the hash of the ClientHello."""
        return self._derive(self.early, b"c e traffic", transcript)

    def early_exporter(self, transcript: bytes) -> bytes:
        """Return early_exporter_master_secret for the hash of the ClientHello."""
        return self._derive(self.early, b"e exp master", transcript)

    def exporter(self, transcript: bytes) -> bytes:
        """Return exporter_master_secret for the hash ClientHello..server Finished."""
        return self._derive(self.master, b"exp master", transcript)

    def client_handshake(self, transcript: bytes) -> bytes:
        """Return client_handshake_traffic_secret for the hash ClientHello..ServerHello."""
        return self._derive(self.handshake, b"c hs traffic", transcript)

    def server_handshake(self, transcript: bytes) -> bytes:
        """Return server_handshake_traffic_secret for the hash ClientHello..ServerHello."""
        return self._derive(self.handshake, b"s hs traffic", transcript)

    def client_application(self, transcript: bytes) -> bytes:
        """Return client_application_traffic_secret_0 for the hash ClientHello..server Finished."""
        return self._derive(self.master, b"c ap traffic", transcript)

    def server_application(self, transcript: bytes) -> bytes:
        """Return server_application_traffic_secret_0 for the hash ClientHello..server Finished."""
        return self._derive(self.master, b"s ap traffic", transcript)

    def resumption(self, transcript: bytes) -> bytes:
        """Return resumption_master_secret for the hash ClientHello..client Finished."""
        return self._derive(self.master, b"res master", transcript)

    def _derived(self, secret: bytes) -> bytes:
        return self._derive(secret, b"derived", None)

    def _derive(self, secret: bytes, label: bytes, transcript: bytes | None) -> bytes:
        context = _EMPTY[self.algorithm] if transcript is None else transcript
        return hkdf_expand_label(self.algorithm, secret, label, context, self.size)


def resumption_psk(suite: int, resumption: bytes, nonce: bytes) -> bytes:
    """Return the PSK that goes with a ticket (RFC 8446 section 4.6.1)."""
    algorithm = HASHES[suite]
    return hkdf_expand_label(algorithm, resumption, b"resumption", nonce, _SIZES[algorithm])
