"""What a packet costs to seal and to open, in batches of 40 of 1200 octets: `python -m bench.micro.quic_protect`.

Beside each suite stands what the ciphers alone cost, so that the rest is our own code.
"""

from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from bench.micro.clock import nanoseconds
from headgate.engine.quic import protect as module
from headgate.engine.quic.frames import FrameReader, stream_header
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.packet import SAMPLE, VERSION_1, encode_short_header
from headgate.engine.quic.protect import KeySet
from headgate.engine.tls13.suites import (
    TLS_AES_128_GCM_SHA256,
    TLS_AES_256_GCM_SHA384,
    TLS_CHACHA20_POLY1305_SHA256,
)

SUITES: dict[str, tuple[int, int, AESGCM | ChaCha20Poly1305]] = {
    "AES-128-GCM": (TLS_AES_128_GCM_SHA256, 32, AESGCM(bytes(16))),
    "AES-256-GCM": (TLS_AES_256_GCM_SHA384, 48, AESGCM(bytes(32))),
    "ChaCha20-Poly1305": (TLS_CHACHA20_POLY1305_SHA256, 32, ChaCha20Poly1305(bytes(32))),
}
BATCH = 40
SIZE = 1200
CID = b"eight234"
NUMBER_LENGTH = 2
HEADER = 1 + len(CID) + NUMBER_LENGTH
CONTENT = stream_header(0, 1 << 20, SIZE - HEADER - 16 - 8, fin=False).ljust(SIZE - HEADER - 16, b"c")


def sealing(keys: KeySet) -> Callable[[], bytes]:
    """Forty packets: headers, AEAD, and one round of header protection."""

    def once() -> bytes:
        for number in range(BATCH):
            header = encode_short_header(CID, keys.phase, 0, number, NUMBER_LENGTH)
            keys.seal(header, NUMBER_LENGTH, number, CONTENT)
        keys.sealed = 0
        return keys.take_sealed()

    return once


def opening(keys: KeySet, data: bytes) -> Callable[[], object]:
    """The same forty, out of one read."""
    starts = list(range(0, len(data), SIZE))
    numbers_at = [start + 1 + len(CID) for start in starts]

    def once() -> None:
        masks = keys.masks(data, numbers_at)
        for at in range(BATCH):
            start = starts[at]
            if keys.open(data, start, numbers_at[at], start + SIZE, masks, at * SAMPLE, at - 1) is None:
                raise RuntimeError("a packet did not open")

    return once


def alone(aead: AESGCM | ChaCha20Poly1305) -> tuple[Callable[[], object], Callable[[], object]]:
    """What nobody can save: one call of the cipher, each way."""
    nonce, header = bytes(12), bytes(HEADER)
    sealed = aead.encrypt(nonce, CONTENT, header)
    return lambda: aead.encrypt(nonce, CONTENT, header), lambda: aead.decrypt(nonce, sealed, header)


def reading(content: bytes) -> Callable[[], object]:
    """The frames of one packet: a STREAM frame that fills it."""
    reader = FrameReader(is_server=True)

    def once() -> None:
        reader.begin(content, APPLICATION)
        while reader.next():
            pass

    return once


def main() -> None:
    print(f"{module.__file__}\n{BATCH} packets of {SIZE} octets, µs a packet, the best of many rounds\n")
    print(f"{'':<20}{'seal':>8}{'AEAD alone':>12}{'open':>8}{'AEAD alone':>12}")
    for name, (suite, size, aead) in SUITES.items():
        keys = KeySet(APPLICATION, VERSION_1)
        keys.install(suite, b"s" * size, is_write=True)
        keys.install(suite, b"s" * size, is_write=False)
        seal = sealing(keys)
        bare = alone(aead)
        costs = (
            nanoseconds(seal, 3) / BATCH,
            nanoseconds(bare[0], 100),
            nanoseconds(opening(keys, seal()), 3) / BATCH,
            nanoseconds(bare[1], 100),
        )
        shown = [f"{cost / 1000:{width}.2f}" for cost, width in zip(costs, (8, 12, 8, 12), strict=True)]
        print(f"{name:<20}{''.join(shown)}")
    print(f"\nframes of one packet read: {nanoseconds(reading(CONTENT), 100) / 1000:.2f}")


if __name__ == "__main__":
    main()
