import pytest

from headgate.engine.h3.errors import QPACK_DECODER_STREAM_ERROR, H3ConnectionError
from headgate.engine.h3.qpack_decoder import QpackDecoder
from headgate.engine.h3.qpack_encoder import (
    MAX_CANDIDATES,
    MAX_ENCODER_TABLE,
    MAX_OUTSTANDING_SECTIONS,
    MAX_REMEMBERED_LITERALS,
    QpackEncoder,
    _literals,
)
from headgate.http.fields import NEVER_INDEXED, Fields


def encode(encoder, stream, *items):
    fields = Fields([name for name, _ in items], [name + b": " + value for name, value in items])
    return encoder.encode(stream, fields.names, fields.lines)


class Pair:
    """An encoder and a decoder with nothing between them but what `deliver` carries."""

    def __init__(self, capacity=4096, **options):
        self.encoder = QpackEncoder(**options)
        self.decoder = QpackDecoder(capacity, 0)
        self.encoder.apply_settings(capacity)

    def deliver(self):
        self.decoder.receive(self.encoder.take_output())
        self.encoder.receive(self.decoder.take_output())

    def send(self, stream, *items):
        section = encode(self.encoder, stream, *items)
        self.decoder.receive(self.encoder.take_output())
        lines = self.decoder.decode(stream, section)
        assert [(line.name, line.value) for line in lines] == list(items)
        return section


def test_rfc9204_4_5_without_a_table():
    encoder = QpackEncoder()
    assert encode(encoder, 0, (b":status", b"200"), (b"vary", b"origin")) == b"\0\0\xd9\xfc"
    assert encode(encoder, 0, (b"server", b"xyz")).startswith(b"\0\0\x5f\x4d")
    assert encode(encoder, 0, (b"zz", b"\xff\xff")) == b"\0\0\x22zz\x02\xff\xff"
    assert encoder.take_output() == b""


def test_another_spelling_of_a_name_and_white_space():
    section = QpackEncoder().encode(0, [b"x-a", b"vary"], [b"X-A:  \t1 ", b"Vary:origin"])
    assert [(line.name, line.value) for line in QpackDecoder().decode(0, section)] == [
        (b"x-a", b"1"),
        (b"vary", b"origin"),
    ]


def test_a_line_is_inserted_at_its_second_time_and_used_once_acknowledged():
    pair = Pair()
    line = (b"server", b"somebody")
    assert pair.encoder.take_output() == b"\x3f\xe1\x1f"
    pair.decoder.receive(b"\x3f\xe1\x1f")
    literal = pair.send(0, line)
    assert pair.send(4, line) == literal
    assert pair.send(8, line) == literal  # inserted, but not yet acknowledged
    pair.deliver()
    assert pair.send(12, line) == b"\x02\x00\x80"
    pair.deliver()
    assert pair.encoder._outstanding == {}


def test_the_table_is_ours_however_much_the_peer_allows():
    encoder = QpackEncoder()
    encoder.apply_settings(10**6)
    assert encoder.capacity == MAX_ENCODER_TABLE
    assert encoder.take_output() == b"\x3f\xe1\x1f"


def test_a_peer_without_a_table_gets_none():
    encoder = QpackEncoder()
    encoder.apply_settings(31)
    assert (encoder.capacity, encoder.take_output()) == (0, b"")


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"set-cookie", b"proxy-authorization"])
def test_rfc9204_7_1_3_secrets_are_never_indexed_and_marked(name):
    _literals.clear()
    pair = Pair()
    for stream in range(0, 40, 4):
        section = pair.send(stream, (name, b"secret"))
        pair.deliver()
        assert section[2] & 0xF0 == 0x70 or section[2] & 0xF0 == 0x30
    assert pair.encoder._table == []
    assert _literals == {}


def test_rfc9204_7_1_1_requests_of_many_clients_share_no_table():
    pair = Pair(shared=True)
    for stream in range(0, 40, 4):
        section = pair.send(stream, (b"x-user", b"alice"), (b"accept", b"text/x"))
        assert section[2] & 0xF0 == 0x30
        pair.deliver()
    assert pair.encoder.capacity == 0


def test_rfc9204_7_1_3_a_marked_line_is_marked_for_the_next_hop():
    """With a literal name, and with names of a dynamic table in both forms; the whole section is marked."""
    decoder = QpackDecoder(220)
    decoder.receive(bytes.fromhex("3fbd01") + b"\x41x\x01v" + b"\x41y\x01v")
    for marked in (b"\0\0\x31x\x01s", b"\x03\0\x60\x01s", b"\x03\x81\x08\x01s"):
        (line,) = decoder.decode(0, marked)
        assert line.flags & NEVER_INDEXED
        pair = Pair()
        for stream in (0, 4, 8):
            lines = [line.line, b"server: a"]
            section = pair.encoder.encode(stream, [line.name, b"server"], lines, marked=True)
            assert pair.encoder.inserted == 0
            assert [one.flags & NEVER_INDEXED > 0 for one in QpackDecoder().decode(0, section)] == [True] * 2


def test_what_changes_each_time_is_not_inserted():
    pair = Pair()
    for stream in range(0, 40, 4):
        pair.send(stream, (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT"), (b"content-length", b"17"))
        pair.deliver()
    assert pair.encoder._table == []


def test_rfc9204_2_1_1_entries_in_use_are_not_evicted():
    pair = Pair(256)  # a line may have 64 octets
    for stream in (0, 4):
        pair.send(stream, *[(b"x-%d" % i, b"v" * 20) for i in range(4)])
        pair.deliver()
    assert [entry.references for entry in pair.encoder._table] == [0, 0, 0, 0]
    encode(pair.encoder, 8, (b"x-0", b"v" * 20))  # lost on its way: outstanding for now
    for _ in range(3):
        pair.send(12, (b"x-9", b"v" * 20))
    assert [entry.line[:3] for entry in pair.encoder._table] == [b"x-0", b"x-1", b"x-2", b"x-3"]
    pair.encoder.receive(b"\x48")  # its stream was cancelled
    pair.send(16, (b"x-9", b"v" * 20))
    pair.deliver()
    assert [entry.line[:3] for entry in pair.encoder._table] == [b"x-1", b"x-2", b"x-3", b"x-9"]
    assert pair.send(20, (b"x-9", b"v" * 20))[2:] == b"\x80"
    assert len(pair.send(20, (b"x-0", b"v" * 20))) > 10


def test_the_required_insert_count_wraps():
    pair = Pair(256)
    for turn in range(40):
        for _ in range(2):
            pair.send(4 * turn, (b"x-%02d" % turn, b"v" * 20))
            pair.deliver()
        assert pair.send(4 * turn, (b"x-%02d" % turn, b"v" * 20))[2:] == b"\x80"
        pair.deliver()


def test_outstanding_sections_at_the_limit_and_one_more():
    pair = Pair()
    for _ in range(3):
        pair.send(0, (b"server", b"somebody"))
        pair.deliver()
    sections = [
        encode(pair.encoder, 4, (b"server", b"somebody")) for _ in range(MAX_OUTSTANDING_SECTIONS + 1)
    ]
    assert sections[MAX_OUTSTANDING_SECTIONS - 1] == b"\x02\x00\x80"
    assert sections[MAX_OUTSTANDING_SECTIONS].startswith(b"\0\0\x5f")
    pair.encoder.receive(b"\x84")
    assert encode(pair.encoder, 4, (b"server", b"somebody")) == b"\x02\x00\x80"


def test_candidates_are_bounded():
    pair = Pair()
    for i in range(MAX_CANDIDATES + 1):
        pair.send(0, (b"x", b"%d" % i))
    assert 0 < len(pair.encoder._candidates) <= MAX_CANDIDATES
    pair.send(0, (b"x", b"v" * 1100))
    pair.send(0, (b"x", b"v" * 1100))
    assert pair.encoder._table == []  # more than a quarter of the table


def test_literals_are_remembered_up_to_a_bound():
    _literals.clear()
    for i in range(MAX_REMEMBERED_LITERALS + 1):
        encode(QpackEncoder(), 0, (b"x", b"%d" % i))
    assert 0 < len(_literals) <= MAX_REMEMBERED_LITERALS
    _literals.clear()
    encode(QpackEncoder(), 0, (b"x", b"v" * 254))
    assert _literals == {}


@pytest.mark.parametrize(
    "data", [b"\x80", b"\x00", b"\x01", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
)
def test_rfc9204_4_4_instructions_that_are_wrong(data):
    encoder = QpackEncoder()
    with pytest.raises(H3ConnectionError) as caught:
        encoder.receive(data)
    assert caught.value.code == QPACK_DECODER_STREAM_ERROR


def test_rfc9204_4_4_3_an_increment_beyond_what_was_sent():
    pair = Pair()
    for _ in range(2):
        pair.send(0, (b"server", b"somebody"))
    with pytest.raises(H3ConnectionError):
        pair.encoder.receive(b"\x02")
    pair.encoder.receive(b"\x01")


def test_instructions_in_single_octets():
    encoder = QpackEncoder()
    encoder.receive(b"\x7f")
    encoder.receive(b"\xff")
    encoder.receive(b"\x01")  # the cancellation of a stream that we know nothing of
    with pytest.raises(H3ConnectionError):
        encoder.receive(b"\x81")
