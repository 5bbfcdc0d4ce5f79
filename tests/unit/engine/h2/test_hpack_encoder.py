import pytest

from headgate.engine.h2 import hpack_encoder
from headgate.engine.h2.hpack_decoder import HpackDecoder
from headgate.engine.h2.hpack_encoder import (
    MAX_CANDIDATES,
    MAX_ENCODER_TABLE,
    MAX_REMEMBERED_LITERALS,
    MAX_REMEMBERED_OCTETS,
    HpackEncoder,
)
from headgate.http.fields import NEVER_INDEXED, Fields


def section(*lines, flags=0):
    """Return Fields of `name: value` lines; a pseudo-header field begins with a colon."""
    names = [line[: line.index(b":", 1)].lower() for line in lines]
    return Fields(names, list(lines), flags)


def pairs(lines):
    return [(line.name, line.value) for line in lines]


def test_a_line_of_the_static_table_is_one_octet():
    assert HpackEncoder().encode(section(b":status: 200")) == b"\x88"
    assert HpackEncoder(shared=True).encode(section(b":method: GET", b":scheme: https")) == b"\x82\x87"


def test_a_line_is_inserted_when_it_is_sent_again():
    encoder, decoder = HpackEncoder(), HpackDecoder()
    head = section(b":status: 200", b"Server: a", b"x-frame-options:  DENY ")
    wire = [encoder.encode(head) for _ in range(4)]
    for block in wire:
        assert pairs(decoder.decode(block)) == [
            (b":status", b"200"),
            (b"server", b"a"),
            (b"x-frame-options", b"DENY"),
        ]
    assert wire[0][1] == 0x0F, "without indexing at first: the 54th name, as 15 + 39"
    assert wire[1][1] == 0x40 | 54
    assert wire[2] == wire[3] == b"\x88\xbf\xbe"
    assert repr(encoder) == "<HpackEncoder <EncoderTable 2 of 2 90/4096>>"


@pytest.mark.parametrize("name", [b"age", b"content-length", b"date", b"etag", b"last-modified"])
def test_what_changes_each_time_is_not_inserted(name):
    encoder = HpackEncoder()
    wire = [encoder.encode(section(name + b": 123")) for _ in range(3)]
    assert wire[0] == wire[1] == wire[2]
    assert wire[0][0] & 0xF0 == 0


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"proxy-authenticate", b"set-cookie"])
@pytest.mark.parametrize("shared", [False, True])
def test_secrets_are_marked_and_not_remembered(name, shared):
    encoder = HpackEncoder(shared=shared)
    line = name + b": s=1"
    for _ in range(3):
        assert encoder.encode(section(line))[0] & 0xF0 == 0x10
    assert line not in hpack_encoder._literals
    assert line not in hpack_encoder._marked


def test_requests_of_many_clients_leave_nothing_in_the_table():
    encoder, decoder = HpackEncoder(shared=True), HpackDecoder()
    head = section(b":method: PUT", b":path: /a", b"user-agent: u")
    wire = [encoder.encode(head) for _ in range(3)]
    assert wire[0] == wire[1] == wire[2]
    assert [line.flags & NEVER_INDEXED > 0 for line in decoder.decode(wire[0])] == [True] * 3
    assert repr(encoder) == "<HpackEncoder <EncoderTable 0 of 0 0/4096>>"


def test_a_section_with_a_mark_is_marked_as_a_whole():
    encoder = HpackEncoder()
    head = section(b":status: 200", b"x-token: s", flags=NEVER_INDEXED)
    for _ in range(3):
        assert encoder.encode(head)[:2] == b"\x88\x10"
    assert repr(encoder) == "<HpackEncoder <EncoderTable 0 of 0 0/4096>>"


def test_what_is_not_remembered_is_not_coded():
    """A token of a thousand octets would cost more than all the rest of its request."""
    token = b"Bearer " + b"a" * 1000
    for shared in (False, True):
        encoder = HpackEncoder(shared=shared)
        block = encoder.encode(section(b"authorization: " + token, b"x-long: " + token, b"cookie: a=b"))
        assert block.count(token) == 2
        assert block.endswith(b"\x03a=b")
        assert pairs(HpackDecoder().decode(block)) == [
            (b"authorization", token),
            (b"x-long", token),
            (b"cookie", b"a=b"),
        ]


def test_a_line_larger_than_a_quarter_of_the_table_is_not_inserted():
    room = MAX_ENCODER_TABLE // 4 - 32 - 3
    for extra, inserted in ((0, 1), (1, 0)):
        encoder = HpackEncoder()
        head = section(b"x-a: " + b"v" * (room + extra))
        for _ in range(2):
            encoder.encode(head)
        assert repr(encoder).startswith(f"<HpackEncoder <EncoderTable {inserted} of")
        assert len(encoder.encode(head)) == (1 if inserted else len(head.lines[0]) + 3)


def test_lines_once_sent_are_kept_up_to_a_bound():
    encoder = HpackEncoder()
    for number in range(MAX_CANDIDATES + 1):
        encoder.encode(section(b"x-once: %d" % number))
        assert len(encoder._candidates) <= MAX_CANDIDATES
    assert list(encoder._candidates) == [b"x-once: %d" % MAX_CANDIDATES]


def test_literals_of_lines_are_remembered_up_to_a_bound():
    own, shared = HpackEncoder(), HpackEncoder(shared=True)
    for number in range(MAX_REMEMBERED_LITERALS + 2):
        head = section(b"x-many: %d" % number)
        own.encode(head)
        shared.encode(head)
        assert len(hpack_encoder._literals) <= MAX_REMEMBERED_LITERALS
        assert len(hpack_encoder._marked) <= MAX_REMEMBERED_LITERALS
    for extra, remembered in ((0, True), (1, False)):
        line = b"x: ".ljust(MAX_REMEMBERED_OCTETS + extra, b"v")
        own.encode(section(line))
        shared.encode(section(line))
        assert (line in hpack_encoder._literals) == (line in hpack_encoder._marked) == remembered


def test_the_encoder_keeps_its_table_however_much_the_peer_allows():
    encoder = HpackEncoder()
    encoder.apply_table_size(1 << 31)
    assert encoder.encode(section(b":status: 200")) == b"\x88"
    assert repr(encoder) == f"<HpackEncoder <EncoderTable 0 of 0 0/{MAX_ENCODER_TABLE}>>"


def test_a_peer_that_lowers_its_limit_is_answered_also_when_nothing_changes():
    encoder = HpackEncoder()
    encoder.apply_table_size(65536)
    encoder.apply_table_size(8192)
    assert encoder.encode(section(b":status: 200")) == b"\x3f\xe1\x1f\x88"
    assert encoder.encode(section(b":status: 200")) == b"\x88"


def test_without_a_table_nothing_is_inserted():
    encoder, decoder = HpackEncoder(), HpackDecoder(max_table=0)
    encoder.apply_table_size(0)
    decoder.settings_acknowledged()
    for _ in range(3):
        assert pairs(decoder.decode(encoder.encode(section(b"server: a")))) == [(b"server", b"a")]
    assert repr(decoder) == "<HpackDecoder <DynamicTable 0..0 0/0>>"


def test_the_table_and_the_decoders_stay_in_step_over_many_evictions():
    encoder, decoder = HpackEncoder(), HpackDecoder()
    for number in range(2000):
        lines = [b"x-%d: %s" % (n, b"v" * (n % 50)) for n in (number // 3, number // 5, number % 7)]
        assert [line.line for line in decoder.decode(encoder.encode(section(*lines)))] == lines
