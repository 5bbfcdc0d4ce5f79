"""Packet protection (RFC 9001 section 5, RFC 9369 section 3.3): keys, AEAD, header protection, key updates, limits.

A `KeySet` holds the keys of one level, both directions. TLS gives it secrets as they come about.

Sending: `seal` takes header and frames of one packet and keeps what comes out; `take_sealed` puts on the header
protection of all packets since the last time and returns them end to end: one call of the cipher makes the masks of
a whole batch. Reading: `masks` makes the masks of as many packets as the caller found in one read, `open` takes them
one by one. A packet that does not open leaves nothing behind: plaintext exists as `bytes` only when its tag was
right, and the datagram is never written to, so that its last 16 octets can still be compared with stateless reset
tokens. Working in place would be slower here: views of a buffer cost more than the copies they save (2.6 µs against
1.5 for one packet of 1200 octets; bench/micro/quic_protect measures ours).

Key updates (section 6) concern 1-RTT packets only. Generations count from 0, the phase bit is their lowest bit. The
secret of the next generation is derived ahead and kept as bytes, so that a forged phase bit costs no derivation
(section 9.5). The key for a packet is chosen before it is used, by phase bit and packet number: another phase is the
old one below the first number of this phase, else the next one; no second key is tried. Old keys stay until
`drop_old`. Limits of use (section 6.6) are counted here: `wants_update` says when to call `update`.
"""

from typing import Final, final

from cryptography.exceptions import InvalidTag

from headgate.engine.quic.connection_ids import CID_LENGTH
from headgate.engine.quic.errors import AEAD_LIMIT_REACHED, KEY_UPDATE_ERROR, PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.keys import (
    HeaderMask,
    PacketKey,
    derive_header_key,
    initial_secret,
    next_secret,
    packet_key,
)
from headgate.engine.quic.levels import APPLICATION, NAMES
from headgate.engine.quic.packet import SAMPLE, decode_number
from headgate.engine.tls13.suites import (
    TLS_AES_128_GCM_SHA256,
    TLS_AES_256_GCM_SHA384,
    TLS_CHACHA20_POLY1305_SHA256,
)
from headgate.engine.varint import MAX_VARINT
from headgate.errors import LocalProtocolError

# Where the sample of a 1-RTT packet to one of our connection IDs lies.
_SAMPLE_AT: Final = 1 + CID_LENGTH + 4

# Section 6.6: packets protected with one key, and failed openings of one connection. ChaCha20-Poly1305 has no limit
# of the first kind below the number of packet numbers.
MAX_SEALED: Final[dict[int, int]] = {
    TLS_AES_128_GCM_SHA256: 1 << 23,
    TLS_AES_256_GCM_SHA384: 1 << 23,
    TLS_CHACHA20_POLY1305_SHA256: 1 << 62,
}
MAX_FORGED: Final[dict[int, int]] = {
    TLS_AES_128_GCM_SHA256: 1 << 52,
    TLS_AES_256_GCM_SHA384: 1 << 52,
    TLS_CHACHA20_POLY1305_SHA256: 1 << 36,
}
# An update is asked for so many packets before the limit: the peer may take its time to allow one (quinn: as many).
UPDATE_MARGIN: Final = 10_000

# One octet, by its value.
_OCTETS: Final[tuple[bytes, ...]] = tuple([value.to_bytes(1, "big") for value in range(256)])


@final
class KeySet:
    """The keys of one encryption level; `first` and `number` are those of the packet that `open` opened last."""

    __slots__ = (
        "_first_of_phase",
        "_highest",
        "_highest_old",
        "_is_unanswered",
        "_next",
        "_next_read_secret",
        "_next_write_secret",
        "_old",
        "_pending",
        "_pending_lengths",
        "_read",
        "_read_mask",
        "_write",
        "_write_mask",
        "first",
        "forged",
        "level",
        "number",
        "read_generation",
        "sealed",
        "suite",
        "version",
        "write_generation",
    )

    def __init__(self, level: int, version: int) -> None:
        self.level: Final = level
        self.version: Final = version
        self.suite = 0
        self.first = 0
        self.number = -1
        # Packets sealed in this generation. Packets that failed to open: a connection counts them over all its
        # levels, so it adds what a level had when it drops it to the next one.
        self.sealed = 0
        self.forged = 0
        self.read_generation = 0
        self.write_generation = 0
        self._read: PacketKey | None = None
        self._read_mask: HeaderMask | None = None
        self._write: PacketKey | None = None
        self._write_mask: HeaderMask | None = None
        self._next_write_secret = b""
        self._next_read_secret = b""
        self._next: PacketKey | None = None
        self._old: PacketKey | None = None
        # Numbers opened: the lowest and the highest in this generation, the highest in earlier ones.
        self._first_of_phase = 1 << 62
        self._highest = -1
        self._highest_old = -1
        self._is_unanswered = False
        self._pending: list[bytes] = []  # header, content, header, content …
        self._pending_lengths: list[int] = []

    def __repr__(self) -> str:
        directions = ("read " if self.can_read else "") + ("write " if self.can_write else "")
        return f"<KeySet {NAMES[self.level]} {directions}{self.read_generation}/{self.write_generation}>"

    @property
    def can_read(self) -> bool:
        """Whether there are keys to open packets with."""
        return self._read is not None

    @property
    def can_write(self) -> bool:
        """Whether there are keys to seal packets with."""
        return self._write is not None

    @property
    def phase(self) -> int:
        """The Key Phase bit of packets that are sealed now."""
        return self.write_generation & 1

    def install(self, suite: int, secret: bytes, *, is_write: bool) -> None:
        """Take a secret of TLS into use; once for each direction."""
        self.suite = suite
        key = packet_key(self.version, suite, secret)
        mask = HeaderMask(suite, derive_header_key(self.version, suite, secret))
        if is_write:
            self._write, self._write_mask = key, mask
            if self.level == APPLICATION:
                self._next_write_secret = next_secret(self.version, suite, secret)
        else:
            self._read, self._read_mask = key, mask
            if self.level == APPLICATION:
                self._derive_next_read(secret)

    def install_initial(self, destination: bytes, *, is_client: bool, is_write: bool) -> None:
        """Take the keys of Initial packets into use that client or server seal (section 5.2)."""
        secret = initial_secret(self.version, destination, is_client=is_client)
        self.install(TLS_AES_128_GCM_SHA256, secret, is_write=is_write)

    # Sending

    def seal(self, header: bytes, number_length: int, number: int, content: bytes) -> None:
        """Seal one packet; it comes out of the next `take_sealed`.

        `header` ends with the packet number, `number_length` octets of `number`. `content` are the frames: together
        four octets at least. Raises QuicError when the key must not be used any more.
        """
        key = self._write
        if key is None or len(content) + number_length < 4:
            raise LocalProtocolError(f"{self!r} cannot seal {len(content)} octets")
        self._count_sealed(1)
        pending = self._pending
        pending.append(header)
        pending.append(key.aead().encrypt(key.nonce(number), content, header))
        self._pending_lengths.append(number_length)

    def take_sealed(self) -> bytes:
        """Return what was sealed since the last time, packet behind packet, headers protected."""
        pending = self._pending
        lengths = self._pending_lengths
        mask = self._write_mask
        if not lengths or mask is None:
            return b""
        samples: list[bytes] = []
        at = 1
        for length in lengths:
            samples.append(pending[at][4 - length : 20 - length])
            at += 2
        masks = mask.masks(b"".join(samples))
        at = 0
        mask_at = 0
        for length in lengths:
            header = pending[at]
            first = header[0]
            first ^= masks[mask_at] & (0x0F if first & 0x80 else 0x1F)
            split = len(header) - length
            number = 0
            for i in range(length):
                number = number << 8 | header[split + i] ^ masks[mask_at + 1 + i]
            pending[at] = first.to_bytes(1, "big") + header[1:split] + number.to_bytes(length, "big")
            at += 2
            mask_at += SAMPLE
        self._pending = []
        self._pending_lengths = []
        return b"".join(pending)

    def seal_run(
        self, destination: bytes, number_length: int, first: int, contents: list[bytes], out: list[bytes]
    ) -> None:
        """Seal 1-RTT packets whose numbers follow each other, and append them to `out`, headers protected.

        `contents` are their frames, each as long as `seal` asks for. What `seal` keeps is not touched.
        """
        key, mask = self._write, self._write_mask
        if key is None or mask is None:
            raise LocalProtocolError(f"{self!r} cannot seal")
        aead = key.aead()
        self._count_sealed(len(contents))
        first_octet = 0x40 | self.phase << 2 | number_length - 1
        prefix = _OCTETS[first_octet] + destination
        window = (1 << 8 * number_length) - 1
        sealed: list[bytes] = []
        samples: list[bytes] = []
        number = first
        for content in contents:
            header = b"%b%b" % (prefix, (number & window).to_bytes(number_length, "big"))
            packet = aead.encrypt(key.nonce(number), content, header)
            sealed.append(packet)
            samples.append(packet[4 - number_length : 20 - number_length])
            number += 1
        masks = mask.masks(b"".join(samples))
        at = 0
        for packet in sealed:
            shortened = 0
            for i in range(at + 1, at + 1 + number_length):
                shortened = shortened << 8 | masks[i]
            shortened ^= first & window
            out.append(_OCTETS[first_octet ^ (masks[at] & 0x1F)])
            out.append(destination)
            out.append(shortened.to_bytes(number_length, "big"))
            out.append(packet)
            first += 1
            at += SAMPLE

    def _count_sealed(self, count: int) -> None:
        if self.sealed + count > MAX_SEALED[self.suite]:
            raise QuicError(AEAD_LIMIT_REACHED, f"{self.sealed} packets were sealed with one key")
        self.sealed += count

    def rest(self) -> None:
        """Let go of what can be made again from the keys: a connection is idle."""
        for key in (self._read, self._write):
            if key is not None:
                key.rest()
        for mask in (self._read_mask, self._write_mask):
            if mask is not None:
                mask.rest()

    # Reading

    def masks(self, data: bytes, numbers_at: list[int]) -> bytes:
        """Return the masks of packets in `data`, 16 octets each, in order; each goes into `open`.

        `numbers_at`: where their protected packet numbers begin; at least `LEAST_PROTECTED` octets follow.
        """
        mask = self._read_mask
        if mask is None:
            raise LocalProtocolError(f"{self!r} has no keys to read with")
        if len(numbers_at) == 1:
            at = numbers_at[0] + 4
            return mask.masks(data[at : at + SAMPLE])
        return mask.masks(b"".join([data[at + 4 : at + 4 + SAMPLE] for at in numbers_at]))

    def masks_of_batch(self, data: bytes, segment: int) -> bytes:
        """Return the masks of 1-RTT packets in datagrams of `segment` octets; without keys none at all."""
        mask = self._read_mask
        if mask is None:
            return b""
        if len(data) <= segment:
            return mask.masks(data[_SAMPLE_AT : _SAMPLE_AT + SAMPLE].ljust(SAMPLE, b"\0"))
        samples = [data[at : at + SAMPLE] for at in range(_SAMPLE_AT, len(data), segment)]
        # The last datagram may be too short for a sample.
        count = -(-len(data) // segment)
        return mask.masks(b"".join(samples).ljust(count * SAMPLE, b"\0"))

    def open(
        self, data: bytes, start: int, number_at: int, end: int, masks: bytes, mask_at: int, largest: int
    ) -> bytes | None:
        """Return the frames of the packet between `start` and `end`, or None when it is not for these keys.

        `masks[mask_at:]` begins with its mask, `largest` is the largest number opened in its space, -1 for none.
        Sets `first` (octet, unprotected) and `number`. Raises QuicError for what only the peer can have sent.
        """
        first = data[start]
        first ^= masks[mask_at] & (0x0F if first & 0x80 else 0x1F)
        length = (first & 3) + 1
        content_at = number_at + length
        # Octet by octet: int.from_bytes of so few costs several times as much.
        shortened = 0
        for i in range(length):
            shortened = shortened << 8 | data[number_at + i] ^ masks[mask_at + 1 + i]
        number = decode_number(shortened, length, largest)
        header = b"%b%b%b" % (
            _OCTETS[first],
            data[start + 1 : number_at],
            shortened.to_bytes(length, "big"),
        )
        generation = self.read_generation
        if self.level == APPLICATION and (first >> 2 & 1) != generation & 1:
            generation += -1 if number < self._first_of_phase else 1
        key = self._choose(generation)
        if key is None or number > MAX_VARINT:
            return None
        try:
            content = key.aead().decrypt(key.nonce(number), data[content_at:end], header)
        except InvalidTag:
            self._count_forged()
            return None
        # Section 17.2: reserved bits are looked at only behind both protections, or they would be an oracle.
        if first & (0x0C if first & 0x80 else 0x18):
            raise QuicError(PROTOCOL_VIOLATION, "reserved bits of a packet are set")
        if self.level == APPLICATION:
            self._note_opened(number, generation)
        self.first = first
        self.number = number
        return content

    def _choose(self, generation: int) -> PacketKey | None:
        if generation == self.read_generation:
            return self._read
        if generation < self.read_generation:
            return self._old
        return self._next

    def _count_forged(self) -> None:
        self.forged += 1
        if self.forged > MAX_FORGED[self.suite]:
            raise QuicError(AEAD_LIMIT_REACHED, f"{self.forged} packets were forged")

    # Key updates

    @property
    def wants_update(self) -> bool:
        """Whether the write key comes near its limit and may be replaced as far as keys go."""
        return (
            self.sealed >= MAX_SEALED[self.suite] - UPDATE_MARGIN
            and self.write_generation == self.read_generation
            and self.level == APPLICATION
        )

    def update(self) -> None:
        """Go on to the next write key (section 6.1); reading follows when the peer answers.

        The caller has made sure that the handshake is confirmed and a packet of this generation acknowledged.
        """
        if self.write_generation != self.read_generation or not self._next_write_secret:
            raise LocalProtocolError(f"{self!r} cannot be updated now")
        self._advance_write()

    def acknowledged(self, largest: int) -> None:
        """Say that an ACK frame up to `largest` was sealed: from now on the peer may update again (section 6.2)."""
        if largest >= self._first_of_phase:
            self._is_unanswered = False

    def drop_old(self) -> None:
        """Forget the read key before this one: three PTOs after the update (section 6.5)."""
        self._old = None

    def _note_opened(self, number: int, generation: int) -> None:
        if generation == self.read_generation:
            if number > self._highest:
                self._highest = number
            if number < self._first_of_phase:
                self._first_of_phase = number
                if number < self._highest_old:
                    raise QuicError(KEY_UPDATE_ERROR, "a new key under an old packet number")
        elif generation < self.read_generation:
            if number > self._highest_old:
                self._highest_old = number
        else:
            if self._is_unanswered:
                raise QuicError(KEY_UPDATE_ERROR, "a second update before the first was acknowledged")
            if number < self._highest:
                raise QuicError(KEY_UPDATE_ERROR, "a new key under an old packet number")
            self._advance_read(number)

    def _advance_read(self, number: int) -> None:
        """Take the next read key into use: `number` is the first packet of its phase."""
        self._old = self._read
        self._read = self._next
        self._derive_next_read(self._next_read_secret)
        self.read_generation += 1
        self._highest_old = self._highest
        self._highest = self._first_of_phase = number
        self._is_unanswered = True
        if self.write_generation < self.read_generation:  # the peer began it: section 6.2
            self._advance_write()

    def _derive_next_read(self, secret: bytes) -> None:
        """Derive the generation behind that of `secret`."""
        following = next_secret(self.version, self.suite, secret)
        self._next_read_secret = following
        self._next = packet_key(self.version, self.suite, following)

    def _advance_write(self) -> None:
        secret = self._next_write_secret
        self._write = packet_key(self.version, self.suite, secret)
        self._next_write_secret = next_secret(self.version, self.suite, secret)
        self.write_generation += 1
        self.sealed = 0
