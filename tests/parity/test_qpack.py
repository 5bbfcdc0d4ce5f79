"""QPACK against ls-qpack, in both directions: what one encodes the other decodes, whatever the table and the delays.

The corpora are made here, from a seed: heads as browsers and origins send them, with values that repeat, change, and
hold any octet. What the encoder stream carries arrives late, and acknowledgments arrive late or never.
"""

import random

import pylsqpack
import pytest

from headgate.engine.h3.qpack_decoder import QpackDecoder
from headgate.engine.h3.qpack_encoder import QpackEncoder
from headgate.engine.h3.qpack_static import STATIC, STATIC_TABLE
from headgate.engine.huffman import encode_huffman
from headgate.engine.message.integers import encode_integer
from headgate.engine.message.lines import OVERHEAD

SEEDS = range(8)
HEADS = 60
AGENTS = (b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", b"curl/8.5.0", b"")
PATHS = (b"/", b"/index.html", b"/search?q=%d", b"/img/%d.png", b"/api/v1/items/%d?fields=name,price")
NAMES = (
    b"accept",
    b"accept-language",
    b"referer",
    b"x-request-id",
    b"x-forwarded-for",
    b"origin",
    b"sec-fetch-mode",
)


def value(chance):
    """Return a value that may be anything but what no field may hold."""
    kind = chance.randrange(4)
    if kind == 0:
        return b"%d" % chance.randrange(5)
    if kind == 1:
        return bytes(chance.choice(b"abcdefgh;=,./-_0123456789") for _ in range(chance.randrange(1, 40)))
    if kind == 2:
        return bytes(chance.randrange(0x80, 0x100) for _ in range(chance.randrange(1, 20)))
    return b"v" * chance.choice((1, 50, 126, 127, 128, 300, 2000))


def head(chance):
    """Return the lines of a request or of a response."""
    if chance.random() < 0.5:
        path = chance.choice(PATHS)
        lines = [
            (b":method", chance.choice((b"GET", b"POST", b"PURGE"))),
            (b":scheme", b"https"),
            (b":authority", chance.choice((b"www.example.com", b"a.test:8443"))),
            (b":path", path % chance.randrange(6) if b"%d" in path else path),
            (b"user-agent", chance.choice(AGENTS)),
        ]
    else:
        lines = [
            (b":status", chance.choice((b"200", b"304", b"404", b"299"))),
            (b"server", b"headgate"),
            (b"date", b"Mon, 21 Oct 2013 20:13:%02d GMT" % chance.randrange(60)),
            (b"content-type", chance.choice((b"text/html; charset=utf-8", b"text/html", b"image/webp"))),
        ]
    lines += [(chance.choice(NAMES), value(chance)) for _ in range(chance.randrange(8))]
    if chance.random() < 0.4:
        lines += [(b"cookie", b"id=%d" % chance.randrange(3)) for _ in range(chance.randrange(1, 4))]
    return lines


@pytest.mark.parametrize(("capacity", "blocked"), [(0, 0), (220, 0), (4096, 0), (256, 16), (4096, 16)])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_ls_qpack_encodes(seed, capacity, blocked):
    chance = random.Random(seed)
    theirs, ours = pylsqpack.Encoder(), QpackDecoder(capacity, blocked)
    late = [theirs.apply_settings(capacity, blocked)]
    waiting = {}
    for number in range(HEADS):
        lines, stream = head(chance), 4 * number
        instructions, section = theirs.encode(stream, lines)
        late.append(instructions)
        if blocked == 0 or len(waiting) > 10 or chance.random() < 0.6:
            ours.receive(b"".join(late))
            late.clear()
        for ready, held in ours.unblocked():
            assert [(line.name, line.value) for line in ours.decode(ready, held)] == waiting.pop(ready)
        decoded = ours.decode(stream, section)
        if decoded is None:
            waiting[stream] = lines
        else:
            assert [(line.name, line.value) for line in decoded] == lines
        if chance.random() < 0.7:
            theirs.feed_decoder(ours.take_output())
    ours.receive(b"".join(late))
    for ready, held in ours.unblocked():
        assert [(line.name, line.value) for line in ours.decode(ready, held)] == waiting.pop(ready)
    assert waiting == {}
    theirs.feed_decoder(ours.take_output())


def test_the_dynamic_table_of_ls_qpack_is_really_used():
    """Else the test above would compare static tables only."""
    theirs, ours = pylsqpack.Encoder(), QpackDecoder(4096, 16)
    ours.receive(theirs.apply_settings(4096, 16))
    for number in range(10):
        instructions, section = theirs.encode(4 * number, [(b"x-custom", b"a value that comes again")])
        ours.receive(instructions)
        assert ours.decode(4 * number, section)[0].value == b"a value that comes again"
        theirs.feed_decoder(ours.take_output())
    assert ours._table.inserted > 0
    assert section[0] > 0


class Peer:
    """A decoder of ls-qpack that also tells what was inserted, which its Python binding does not."""

    def __init__(self, capacity):
        self.decoder = pylsqpack.Decoder(capacity, 0)
        self.told = 0

    def feed(self, encoder):
        """Take what is on our encoder stream; return the Insert Count Increment for it."""
        self.decoder.feed_encoder(encoder.take_output())
        more, self.told = encoder.inserted - self.told, encoder.inserted
        return encode_integer(more, 6) if more else b""


@pytest.mark.parametrize("capacity", [0, 220, 1024, 4096, 65536])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_we_encode(seed, capacity):
    chance = random.Random(seed)
    ours, theirs = QpackEncoder(), Peer(capacity)
    ours.apply_settings(capacity)
    answers = b""
    indexed = 0
    for number in range(HEADS * 2):
        lines, stream = head(chance), 4 * number
        section = ours.encode(
            stream, [name for name, _ in lines], [name + b": " + text for name, text in lines]
        )
        answers += theirs.feed(ours)
        control, decoded = theirs.decoder.feed_header(stream, section)
        assert decoded == lines
        answers += control
        indexed += section[0] > 0
        if chance.random() < 0.5:
            cut = chance.randint(0, len(answers))
            ours.receive(answers[:cut])
            answers = answers[cut:]
        if chance.random() < 0.1:
            # A section that never arrives; its stream is cancelled.
            lost = 4 * (number + 1000)
            ours.encode(lost, [name for name, _ in lines], [name + b": " + text for name, text in lines])
            answers += theirs.feed(ours)
            answers += theirs.decoder.cancel_stream(lost)
    # Else this would compare static tables only.
    assert (indexed > 10) == (capacity > 0)


def test_the_static_tables_agree():
    decoder = pylsqpack.Decoder(0, 0)
    for index, pair in enumerate(STATIC_TABLE):
        section = b"\0\0" + bytes((0xC0 | index,) if index < 63 else (0xFF, index - 63))
        assert decoder.feed_header(0, section)[1] == [pair]
        assert (STATIC[index].name, STATIC[index].value) == pair
        assert STATIC[index].size == sum(map(len, pair)) + OVERHEAD


def test_the_huffman_codes_agree():
    decoder = pylsqpack.Decoder(0, 0)
    for octet in range(256):
        text = bytes((octet, octet, octet))
        code = encode_huffman(text)
        assert decoder.feed_header(0, b"\0\0\x21x" + bytes((0x80 | len(code),)) + code)[1] == [(b"x", text)]
