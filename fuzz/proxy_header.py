"""Fuzz target: headers of the PROXY protocol, which say whom we believe to speak with.

    python -m fuzz.proxy_header --seconds 60 --seed 1

Real headers of both versions are changed and cut. Whatever comes: a header, "more is needed", or `ProxyHeaderError`,
and quickly. More is needed only while all that came is the header's, the header ends within what came, what comes in
pieces says the same as what comes at once, nothing behind the header changes it, and the addresses that were read are
sent and read again the same, in both versions.
"""

import random
import sys
from typing import Final

from fuzz._common import Broken, main, mutate, repeat, timed
from headgate.net.proxy_protocol import (
    MAX_V2,
    SIGNATURE,
    ProxyHeader,
    ProxyHeaderError,
    crc32c,
    decode,
    encode_v1,
    encode_v2,
)


def _seeds() -> list[bytes]:
    ends = (("192.0.2.1", 4000, "198.51.100.2", 443), ("2001:db8::1", 1, "::1", 65535), ("", 0, "", 0))
    seeds = [encode(*each) for each in ends for encode in (encode_v1, encode_v2)]
    named = encode_v2(*ends[0], b"a.example")
    summed = named[:14] + (len(named) - 16 + 7).to_bytes(2, "big") + named[16:] + b"\x03\x00\x04" + bytes(4)
    seeds += [named, summed[:-4] + crc32c(summed).to_bytes(4, "big")]
    return [*seeds, SIGNATURE + b"\x20\x00\x00\x00", SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216)]


SEEDS: Final = _seeds()
PIECES: Final = (
    b"PROXY ",
    b"TCP4",
    b"TCP6",
    b"UNKNOWN",
    b" ",
    b"\r\n",
    b"\n",
    b"0",
    b"65536",
    b":",
    SIGNATURE,
    b"\xff",
)

Said = tuple[int, int, str, int, str, int] | str | None


def said(data: bytes) -> Said:
    """Return what is read from octets, in values that can be compared."""
    try:
        header = decode(data)
    except ProxyHeaderError:
        return "refused"
    return None if header is None else facts(header)


def facts(header: ProxyHeader) -> tuple[int, int, str, int, str, int]:
    """Return all that a header says."""
    return (
        header.version,
        header.size,
        header.source,
        header.source_port,
        header.destination,
        header.destination_port,
    )


def check(data: bytes) -> None:
    """Read one input in every way. Raises `Broken`."""
    whole = said(data)
    if whole is None and len(data) >= MAX_V2:
        raise Broken(f"waits for more than {MAX_V2} octets")
    for cut in range(min(len(data), 300)):
        part = said(data[:cut])
        if part not in (None, whole):
            raise Broken(f"{cut} octets say {part}, all say {whole}")
    if isinstance(whole, tuple):
        if not 0 < whole[1] <= len(data):
            raise Broken(f"a header of {whole[1]} octets out of {len(data)}")
        if said(data[: whole[1]]) != whole or said(data[: whole[1]] + b"\0PROXY") != whole:
            raise Broken("what stands behind it changes the header")
        _check_again(whole)


def _check_again(whole: tuple[int, int, str, int, str, int]) -> None:
    source, source_port, destination, destination_port = whole[2:]
    for encode in (encode_v1, encode_v2):
        again = decode(encode(source, source_port, destination, destination_port))
        if again is None or facts(again)[2:] != whole[2:]:
            raise Broken(f"{whole} became {again}")


def run(seconds: float, seed: int) -> int:
    """Fuzz for so many seconds; return how many inputs. Raises `Broken`."""
    chance = random.Random(seed)

    def one() -> None:
        data = mutate(chance.choice(SEEDS), SEEDS, PIECES, chance)
        timed(data.hex(), len(data), lambda: check(data))

    return repeat(one, seconds)


if __name__ == "__main__":
    sys.exit(main("proxy_header", __doc__, run))
