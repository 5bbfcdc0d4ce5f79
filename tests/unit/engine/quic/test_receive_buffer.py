"""Pieces in any order, twice, overlapping: what goes up, what waits, and how much of it may."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.engine.quic import errors
from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.receive_buffer import (
    LEAST_CHARGE,
    MAX_CONNECTION_GAPS,
    MAX_STREAM_GAPS,
    UNKNOWN_SIZE,
    ReceiveBuffer,
    TooManyGapsError,
    Waiting,
)

MUCH = 1 << 30


def fresh(waiting=None, max_charge=MUCH):
    return ReceiveBuffer(waiting or Waiting(MUCH), max_charge)


def text(length):
    return bytes((n * 31 + n // 256) % 256 for n in range(length))


def up(buffer, offset, data):
    """Give a piece in; return all that goes up."""
    got = [bytes(buffer.receive(offset, data))]
    while got[-1]:
        got.append(buffer.take())
    return b"".join(got)


def check(buffer):
    """The sums kept are those that the chunks really have, and they are in order."""
    spans = [(start, start + len(chunk)) for start, chunk in zip(buffer._starts, buffer._chunks, strict=True)]
    ends = [buffer.position, *(end for _, end in spans)]
    assert all(end <= start for end, (start, _) in zip(ends, spans, strict=False))
    assert buffer.gaps == sum(end < start for end, (start, _) in zip(ends, spans, strict=False))
    assert all(buffer._chunks)
    assert buffer.charge == sum(max(len(chunk), LEAST_CHARGE) for chunk in buffer._chunks)
    assert (buffer.waiting.gaps, buffer.waiting.charge) == (buffer.gaps, buffer.charge)


def test_the_next_piece_goes_up_as_it_came():
    buffer = fresh()
    piece = b"x" * 1200
    assert buffer.receive(0, piece) is piece
    view = memoryview(b"y" * 1200)
    assert buffer.receive(1200, view) is view
    assert buffer.take() == b""
    assert buffer.position == 2400


def test_the_next_piece_goes_up_as_it_came_though_others_wait():
    buffer = fresh()
    buffer.receive(2000, b"z")
    piece = b"x" * 1200
    assert buffer.receive(0, piece) is piece
    assert buffer.take() == b""


def test_what_waits_is_copied_once_and_goes_up_in_chunks():
    buffer = fresh()
    content = text(4800)
    packets = bytearray(content)  # a receive buffer that is used again
    for offset in (1200, 2400, 3600):
        assert buffer.receive(offset, memoryview(packets)[offset : offset + 1200]) == b""
    packets[:] = bytes(4800)
    assert len(buffer._chunks) == 3
    assert buffer.receive(0, content[:1200]) == content[:1200]
    assert [buffer.take(), buffer.take(), buffer.take(), buffer.take()] == [
        content[1200:2400],
        content[2400:3600],
        content[3600:],
        b"",
    ]
    check(buffer)


def test_a_far_octet_holds_one_octet():
    buffer = fresh()
    buffer.receive(1 << 60, b"x")
    assert (buffer.charge, buffer.gaps) == (LEAST_CHARGE, 1)
    assert sum(map(len, buffer._chunks)) == 1


def test_an_empty_piece_holds_nothing():
    buffer = fresh()
    assert buffer.receive(50, b"") == b""
    assert (buffer.gaps, buffer.charge, buffer._chunks) == (0, 0, [])
    assert buffer.highest == 50


PIECES = st.lists(st.tuples(st.integers(0, 299), st.integers(0, 60)), max_size=60)


@given(PIECES, st.randoms(use_true_random=False), st.booleans())
@example([(10, 5), (20, 5), (12, 10), (0, 30)], None, False)
def test_any_split_order_and_repetition_means_the_same(pieces, random, is_view):
    content = text(300)
    spans = [*((start, min(300, start + length)) for start, length in pieces)]
    spans += [(start, min(300, start + 37)) for start in range(0, 300, 37)]  # nothing is missing in the end
    if random is not None:
        random.shuffle(spans)
    buffer = fresh()
    got = b""
    for start, end in spans:
        data = content[start:end]
        got += up(buffer, start, memoryview(data) if is_view else data)
        assert got == content[: len(got)]
        assert buffer.position == len(got)
        check(buffer)
    assert got == content
    assert (buffer.gaps, buffer.charge, buffer.highest) == (0, 0, 300)


@given(st.permutations(range(24)), st.integers(1, 3))
def test_large_pieces_in_any_order(order, overlap):
    """Chunks too large to be glued, each overlapping the next."""
    content = text(24 * 1500 + overlap)
    buffer = fresh()
    got = b""
    for n in order:
        got += up(buffer, n * 1500, content[n * 1500 : (n + 1) * 1500 + overlap])
        check(buffer)
    assert got == content


@given(PIECES, st.integers(0, 299))
def test_rfc9000_2_2_octets_that_wait_must_not_change(pieces, place):
    """What has gone up is not kept, and cannot be compared; what waits is."""
    content = text(301)
    buffer = fresh()
    for start, length in [*((start + 1, length) for start, length in pieces), (place + 1, 1)]:
        buffer.receive(start, content[start : min(301, start + length)])
    wrong = bytearray(content)
    wrong[place + 1] ^= 1
    before = (buffer.gaps, buffer.charge, buffer.highest, buffer.position)
    for start in (0, place, place + 1):
        with pytest.raises(QuicError, match="differ") as caught:
            buffer.receive(start, bytes(wrong[start:]))
        assert caught.value.code == errors.PROTOCOL_VIOLATION
        assert (buffer.gaps, buffer.charge, buffer.highest, buffer.position) == before


def test_gaps_of_a_stream_at_the_limit_and_one_more():
    buffer = fresh()
    for n in range(MAX_STREAM_GAPS):
        buffer.receive(2 * n + 1, b"x")
    before = repr(buffer)
    with pytest.raises(TooManyGapsError):
        buffer.receive(2 * MAX_STREAM_GAPS + 1, b"x")
    assert repr(buffer) == before
    assert buffer.highest == 2 * MAX_STREAM_GAPS
    buffer.receive(2 * MAX_STREAM_GAPS, b"y")  # what touches makes no gap
    check(buffer)
    assert up(buffer, 0, b"a") == b"ax"
    buffer.receive(2 * MAX_STREAM_GAPS + 2, b"x")
    check(buffer)


def test_gaps_of_a_connection_at_the_limit_and_one_more():
    waiting = Waiting(MUCH)
    streams = [fresh(waiting) for _ in range(MAX_CONNECTION_GAPS // 100 + 1)]
    for n in range(MAX_CONNECTION_GAPS):
        streams[n // 100].receive(2 * (n % 100) + 1, b"x")
    with pytest.raises(TooManyGapsError):
        fresh(waiting).receive(1, b"x")
    assert repr(waiting) == f"<Waiting {512 * LEAST_CHARGE} of {MUCH} octets behind 512 gaps>"
    assert up(streams[0], 0, b"a") == b"ax"
    fresh(waiting).receive(1, b"x")
    streams[1].discard()
    assert waiting.gaps == MAX_CONNECTION_GAPS - 100
    assert waiting.charge == waiting.gaps * LEAST_CHARGE


@pytest.mark.parametrize("whose", ["stream", "connection"])
def test_charge_at_the_limit_and_one_more(whose):
    limit = 3 * LEAST_CHARGE + 200
    buffer = fresh(max_charge=limit) if whose == "stream" else fresh(Waiting(limit))
    content = text(1300)
    for start, end in ((10, 11), (20, 21), (30, 31), (1000, 1200)):
        buffer.receive(start, content[start:end])
    for start, end in ((40, 41), (1200, 1201), (5, 45)):
        before = repr(buffer), buffer.highest
        with pytest.raises(TooManyGapsError):
            buffer.receive(start, content[start:end])
        assert (repr(buffer), buffer.highest) == before
    assert up(buffer, 0, content[:10]) == content[:11]


def test_the_missing_piece_is_never_refused():
    buffer = fresh(max_charge=0)
    with pytest.raises(TooManyGapsError):
        buffer.receive(1, b"x")
    assert up(buffer, 0, b"ab") == b"ab"


def test_the_cost_of_single_octets_backwards():
    """Glued, they are no more chunks than the window has kibibytes; and each copies two kibibytes at most."""
    buffer = fresh()
    for offset in range(64 * 1024 - 1, 0, -1):
        buffer.receive(offset, b"x")
    assert len(buffer._chunks) <= 64
    assert buffer.gaps == 1
    check(buffer)
    assert up(buffer, 0, b"x") == b"x" * 64 * 1024


def test_rfc9000_4_5_the_final_size_holds():
    buffer = fresh()
    buffer.check_size(10, is_final=False)
    buffer.receive(5, b"12345")
    with pytest.raises(QuicError) as caught:
        buffer.check_size(9, is_final=True)
    assert caught.value.code == errors.FINAL_SIZE_ERROR
    assert buffer.final_size == UNKNOWN_SIZE
    buffer.check_size(10, is_final=True)
    buffer.check_size(10, is_final=True)
    buffer.check_size(10, is_final=False)
    for end, is_final in ((11, False), (11, True), (9, True)):
        with pytest.raises(QuicError) as caught:
            buffer.check_size(end, is_final=is_final)
        assert caught.value.code == errors.FINAL_SIZE_ERROR
    assert not buffer.is_complete()
    assert up(buffer, 0, b"abcde") == b"abcde12345"
    assert buffer.is_complete()
    assert repr(buffer) == "<ReceiveBuffer 10 of 10 read, 0 behind 0 gaps>"
