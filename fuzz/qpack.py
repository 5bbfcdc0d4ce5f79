"""Fuzz target: QPACK, the decoder and both instruction streams. Whatever octets come, they are read or refused.

    python -m fuzz.qpack --seconds 10 --seed 1

Starts from the dialogs of RFC 9204 appendix B and from what our own encoder makes, and mutates them. Checked each
time: only `H3ConnectionError` and `SectionTooLargeError` come out; what was decoded keeps to the limits, and decodes
to itself when it is encoded again; instructions in pieces mean what they mean in one; what is held is bounded; and it
costs little.
"""

import random
import sys
from typing import Final

from fuzz._common import SLOWEST, Broken, cpu, main, repeat
from headgate.engine.h3.errors import H3ConnectionError
from headgate.engine.h3.qpack_decoder import MAX_TABLE, QpackDecoder
from headgate.engine.h3.qpack_encoder import QpackEncoder
from headgate.engine.message.errors import SectionTooLargeError
from headgate.engine.message.lines import COOKIE, Line

INSTRUCTIONS: Final[tuple[bytes, ...]] = (
    bytes.fromhex("3fbd01c00f7777772e6578616d706c652e636f6dc10c2f73616d706c652f70617468"),
    bytes.fromhex("4a637573746f6d2d6b65790c637573746f6d2d76616c7565"),
    bytes.fromhex("3fbd014a637573746f6d2d6b65790c637573746f6d2d76616c756502810d637573746f6d2d76616c756532"),
    bytes.fromhex("3fe11f") + b"\x41x\x7f\xa1\x1e" + b"v" * 4000,
    bytes.fromhex("20"),
)
SECTIONS: Final[tuple[bytes, ...]] = (
    bytes.fromhex("0000510b2f696e6465782e68746d6c"),
    bytes.fromhex("03811011"),
    bytes.fromhex("050080c181"),
    bytes.fromhex("0000d1d7c1508cf1e3c2e5f23a6ba0ab90f4ff"),
    b"\x02\x00" + b"\x80" * 500,
    b"\0\0" + b"\xdd" * 129,
)
ANSWERS: Final[tuple[bytes, ...]] = (
    b"\x84",
    b"\x01",
    b"\x48",
    b"\x80\x84\x01\x02",
    b"\x7f\xff\x01",
    b"\xff\xff\x01",
)
PIECES: Final[tuple[bytes, ...]] = (
    b"\x80", b"\xff", b"\x7f", b"\x3f", b"\x1f", b"\x00", b"\x10", b"\x40\x01a", b"\x20\x00\x00", b"\xc0\x00",
    b"\xff" * 11, b"\x84\xff\xff\xff\xff", b"\x51\x05/abcd", b"\x3f\xe1\x1f", b"\x02", b"\x80" * 40,
)  # fmt: skip


def mutate(seed: bytes, seeds: tuple[bytes, ...], chance: random.Random) -> bytes:
    """Return `seed` with one to three things done to it."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randint(0, len(data))
        kind = chance.randrange(6)
        if kind == 0 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind == 1:
            data[at:at] = chance.choice(PIECES)
        elif kind == 2:
            del data[at : at + chance.randint(1, 8)]
        elif kind == 3:
            data[at:at] = data[at : at + chance.randint(1, 64)] * chance.randint(1, 4)
        elif kind == 4:
            data[at:] = chance.choice(seeds)
        elif data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
    return bytes(data)


def split(data: bytes, chance: random.Random) -> list[bytes]:
    """Cut `data` anywhere, often into single octets."""
    if chance.random() < 0.3:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(chance.randint(0, len(data)) for _ in range(chance.randint(0, 5)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def check_lines(decoder: QpackDecoder, lines: list[Line]) -> None:
    """Hold the limits against what came out, and encode it again."""
    if sum(line.size for line in lines) > decoder.max_section:
        raise Broken(f"{sum(line.size for line in lines)} octets of fields")
    if sum(1 for line in lines if line.kind != COOKIE) > decoder.max_lines:
        raise Broken(f"{len(lines)} lines")
    # White space around a value is lost on the way through `Fields`, where no such line gets.
    whole = [line for line in lines if not line.fault]
    again = QpackDecoder().decode(
        0, QpackEncoder().encode(0, [x.name for x in whole], [x.line for x in whole])
    )
    if again is None or [(x.name, x.value) for x in again] != [(x.name, x.value) for x in whole]:
        raise Broken(f"{whole!r} came back as {again!r}")


def one(instructions: list[bytes], section: bytes, capacity: int, blocked: int) -> str:
    """Feed one input; return what came of it as text. Raises `Broken`."""
    decoder = QpackDecoder(capacity, blocked)
    trace: list[str] = []
    try:
        lines = decoder.decode(0, section)
        trace.append("wait" if lines is None else repr(lines))
        for piece in instructions:
            decoder.receive(piece)
            if decoder._table.size > MAX_TABLE or len(decoder._received) > 2 * MAX_TABLE + 64:
                raise Broken(f"{decoder!r} holds {len(decoder._received)} octets of instructions")
        for stream, held in decoder.unblocked():
            lines = decoder.decode(stream, held)
            trace.append("again" if lines is None else repr(lines))
        if lines is not None:
            check_lines(decoder, lines)
    except H3ConnectionError as error:
        trace.append(f"error {error.code:#x}")
    except SectionTooLargeError:
        trace.append("too large")
    return " ".join(trace)


def answer(data: bytes, chance: random.Random) -> None:
    """Feed a decoder stream to an encoder that has things outstanding."""
    encoder = QpackEncoder()
    encoder.apply_settings(chance.choice((0, 220, 4096)))
    try:
        for stream in (0, 4, 4, 8):
            encoder.encode(stream, [b"server", b"x-a"], [b"server: me", b"x-a: b"])
            encoder.receive(data)
    except H3ConnectionError:
        return
    if encoder._known > encoder.inserted or encoder._sections < 0:
        raise Broken(f"{encoder!r} after {data.hex()}")


class Inputs:
    """Draws inputs, the corpus itself first."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._drawn = 0

    def run_one(self) -> None:
        """Draw an input and check all of it. Raises `Broken`."""
        chance = self._chance
        instructions = chance.choice(INSTRUCTIONS)
        section = chance.choice(SECTIONS)
        reply = chance.choice(ANSWERS)
        if self._drawn >= 100:
            instructions = mutate(instructions, INSTRUCTIONS, chance)
            section = mutate(section, SECTIONS, chance)
            reply = mutate(reply, ANSWERS, chance)
        self._drawn += 1
        capacity, blocked = chance.choice(((0, 0), (220, 0), (220, 2), (4096, 16)))
        pieces = split(instructions, chance)
        shown = f"{instructions.hex()} {section.hex()} {capacity} {blocked} {reply.hex()}"
        began = cpu()
        try:
            whole = one([instructions], section, capacity, blocked)
            parts = one(pieces, section, capacity, blocked)
            answer(reply, chance)
        except Exception as error:
            raise Broken(f"{shown}: {error!r}") from error
        if cpu() - began > SLOWEST:
            raise Broken(f"{shown}: {cpu() - began:.2f} s")
        if whole != parts:
            raise Broken(f"{shown}: {whole} in one piece, {parts} in many")


def run(seconds: float, seed: int) -> int:
    """Fuzz for `seconds`; return how many inputs were read. Raises `Broken`."""
    return repeat(Inputs(seed).run_one, seconds)


if __name__ == "__main__":
    sys.exit(main("qpack", __doc__, run))
