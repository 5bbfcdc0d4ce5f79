"""What HPACK costs, beside the package hpack: `python -m bench.micro.hpack`.

A request of 14 fields as browsers send it, an answer of seven. Warm: the dynamic tables have what they will have.
First: a new connection, whose lines other connections have sent before (hpack knows of none). New: a path and a
cookie that nobody has sent before, all else warm.
"""

from collections.abc import Callable
from typing import Final

import hpack

from bench.micro.clock import nanoseconds
from headgate.engine.h2 import hpack_decoder as module
from headgate.engine.h2.hpack_decoder import HpackDecoder
from headgate.engine.h2.hpack_encoder import HpackEncoder
from headgate.http.fields import Fields

REQUEST: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b":method", b"GET"),
    (b":authority", b"www.example.com"),
    (b":scheme", b"https"),
    (b":path", b"/assets/index.html"),
    (b"sec-ch-ua-platform", b'"Linux"'),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"sec-fetch-site", b"same-origin"),
    (b"sec-fetch-mode", b"navigate"),
    (b"sec-fetch-dest", b"document"),
    (b"accept-encoding", b"gzip, deflate, br, zstd"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"cookie", b"session=0123456789abcdef"),
    (b"priority", b"u=0, i"),
)
ANSWER: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b":status", b"200"),
    (b"server", b"headgate"),
    (b"date", b"Sat, 28 Nov 2026 15:00:00 GMT"),
    (b"content-type", b"text/plain"),
    (b"content-length", b"100"),
    (b"cache-control", b"no-store"),
    (b"vary", b"accept-encoding"),
)


def fields(pairs: tuple[tuple[bytes, bytes], ...]) -> Fields:
    """Return a section as the engines hold it, with new octets each time, as a relayed one has."""
    return Fields([name for name, _ in pairs], [b"%b: %b" % pair for pair in pairs])


def show(label: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """Print one line of the table."""
    mine = nanoseconds(ours, 200) / 1000
    other = nanoseconds(theirs, 20) / 1000
    print(f"{label:<34}{mine:8.2f} µs   hpack {other:8.2f} µs   {other / mine:6.1f} x")


def decoding() -> None:
    """Decode what hpack's encoder makes of the request."""
    peer = hpack.Encoder()
    first = peer.encode(REQUEST)
    warm = peer.encode(REQUEST)
    ours, theirs = HpackDecoder(), hpack.Decoder()
    ours.decode(first)
    theirs.decode(first, raw=True)
    show(
        f"decode, warm ({len(warm)} octets)", lambda: ours.decode(warm), lambda: theirs.decode(warm, raw=True)
    )
    show(
        f"decode, first ({len(first)} octets)",
        lambda: HpackDecoder().decode(first),
        lambda: hpack.Decoder().decode(first, raw=True),
    )
    new = []
    for number in range(100_000):
        path = hpack.hpack.encode_integer(4, 4) + _coded(peer, b"/article/%d" % number)
        cookie = hpack.hpack.encode_integer(32, 4) + _coded(peer, b"session=%032x" % number)
        new.append(b"".join((warm[:3], bytes(path), warm[4:12], bytes(cookie), warm[13:])))
    mine, other = iter(new), iter(new)
    print(f"{'':<34}one path and one cookie are new:")
    show(
        f"decode, new ({len(new[0])} octets)",
        lambda: ours.decode(next(mine)),
        lambda: theirs.decode(next(other), raw=True),
    )


def _coded(peer: hpack.Encoder, value: bytes) -> bytes:
    coded = peer.huffman_coder.encode(value)
    return bytes((0x80 | len(coded),)) + coded


def encoding() -> None:
    """Encode the answer."""
    ours, theirs = HpackEncoder(), hpack.Encoder()
    for _ in range(3):
        ours.encode(fields(ANSWER))
        theirs.encode(ANSWER)
    section = fields(ANSWER)
    show("encode, warm", lambda: ours.encode(section), lambda: theirs.encode(ANSWER))
    show("encode, first", lambda: HpackEncoder().encode(section), lambda: hpack.Encoder().encode(ANSWER))
    shared = HpackEncoder(shared=True)
    request = fields(REQUEST)
    show(
        "encode a request to an origin",
        lambda: shared.encode(request),
        lambda: hpack.Encoder().encode(REQUEST),
    )


def main() -> None:
    print(module.__file__.rsplit("/", 1)[-1])
    decoding()
    encoding()


if __name__ == "__main__":
    main()
