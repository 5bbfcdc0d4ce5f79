"""The send queue: what goes out, what goes out again, and what it holds meanwhile."""

from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic.ranges import Ranges
from headgate.engine.quic.send_buffer import MAX_MARKS, SendBuffer

FAR = 1 << 40


def filled(*chunks, fin=True):
    buffer = SendBuffer()
    for chunk in chunks:
        buffer.write(chunk)
    if fin:
        buffer.finish()
    return buffer


def drained(buffer, room=FAR, limit=FAR):
    """Send everything that can be sent; return the pieces."""
    pieces = []
    while True:
        piece = buffer.next(room, limit)
        if not piece[1] and not piece[2]:
            return pieces
        pieces.append(piece)


def text(length, seed=0):
    return bytes((seed + n * 7) % 251 for n in range(length))


def test_pieces_cross_what_was_written():
    buffer = filled(b"abc" * 1000, b"x", b"defg" * 1000)
    pieces = drained(buffer, room=2999)
    assert [(offset, len(data), fin) for offset, data, fin in pieces] == [
        (0, 2999, False),
        (2999, 2999, False),
        (5998, 1003, True),
    ]
    assert b"".join(data for _, data, _ in pieces) == b"abc" * 1000 + b"x" + b"defg" * 1000
    assert not buffer.is_complete()


def test_what_is_sent_whole_is_never_copied():
    chunk = text(4000)
    assert filled(chunk).next(FAR, FAR)[1] is chunk


def test_small_writes_become_one_reference():
    buffer = SendBuffer()
    for _ in range(100_000):
        buffer.write(b"x")
    assert len(buffer._chunks) == 49  # of 2048 octets, not a hundred thousand
    assert b"".join(data for _, data, _ in drained(buffer, room=1200)) == b"x" * 100_000


def test_rfc9000_4_1_new_data_stops_at_the_limit_and_fin_waits_for_the_last_octet():
    buffer = filled(b"0123456789")
    assert buffer.next(100, 4) == (0, b"0123", False)
    assert buffer.next(100, 4) == (4, b"", False)
    assert not buffer.can_send_without_credit()
    assert buffer.next(100, 10) == (4, b"456789", True)


def test_rfc9000_4_1_what_was_lost_needs_no_credit():
    buffer = filled(b"0123456789", fin=False)
    buffer.next(4, FAR)
    buffer.on_loss(0, 4, has_fin=False)
    assert buffer.can_send_without_credit()
    assert buffer.next(100, 0) == (0, b"0123", False)
    assert not buffer.can_send_without_credit()


def test_a_bare_fin():
    buffer = filled(b"ab", fin=False)
    assert buffer.next(10, FAR) == (0, b"ab", False)
    assert not buffer.is_finished
    buffer.finish()
    assert buffer.is_finished
    assert buffer.can_send_without_credit()
    assert buffer.next(10, 0) == (2, b"", True)
    assert not buffer.can_send_without_credit()
    assert buffer.on_ack(0, 2, has_fin=False) == 2
    assert not buffer.is_complete()
    buffer.on_loss(2, 0, has_fin=True)
    assert buffer.next(10, 0) == (2, b"", True)
    buffer.on_ack(2, 0, has_fin=True)
    assert buffer.is_complete()


def test_fin_goes_again_with_the_data_before_it():
    buffer = filled(b"abcdef")
    assert drained(buffer, room=3) == [(0, b"abc", False), (3, b"def", True)]
    buffer.on_loss(3, 3, has_fin=True)
    assert buffer.next(10, FAR) == (3, b"def", True)


def test_rfc9000_13_3_what_arrived_meanwhile_is_not_sent_again():
    buffer = filled(b"0123456789")
    drained(buffer)
    buffer.on_ack(3, 2, has_fin=False)
    buffer.on_loss(0, 10, has_fin=True)
    assert drained(buffer) == [(0, b"012", False), (5, b"56789", True)]
    buffer.on_loss(5, 5, has_fin=True)
    buffer.on_ack(0, 10, has_fin=True)  # the first packet was only late
    assert buffer.is_complete()
    assert not buffer.can_send_without_credit()


def test_an_acknowledgement_frees_up_to_the_first_hole():
    buffer = filled(text(3000), text(3000), text(3000))
    drained(buffer, room=1000)
    assert buffer.on_ack(1000, 5000, has_fin=False) == 0
    assert len(buffer._chunks) == 3
    assert buffer.on_ack(0, 1000, has_fin=False) == 6000
    assert len(buffer._chunks) == 1
    assert buffer.on_ack(0, 6000, has_fin=False) == 0
    assert buffer.on_ack(6000, 3000, has_fin=True) == 3000
    assert buffer._chunks == []
    assert repr(buffer) == "<SendBuffer acked 9000, sent 9000, written 9000.>"


def test_a_reset_lets_everything_go():
    buffer = filled(text(5000), fin=False)
    drained(buffer, room=1000)
    buffer.on_ack(0, 1000, has_fin=False)
    assert buffer.discard() == 4000
    buffer.on_loss(1000, 1000, has_fin=False)  # news of packets that are still out
    buffer.on_ack(2000, 1000, has_fin=False)
    assert drained(buffer) == []
    assert buffer.end == 5000


def test_acknowledgements_of_every_other_octet():
    """One interval more than the set holds: the piece counts as lost and goes again, no mark is kept for it."""
    length = 2 * MAX_MARKS + 10
    buffer = filled(text(length), fin=False)
    drained(buffer, room=1)
    for offset in range(1, 2 * MAX_MARKS + 2, 2):
        buffer.on_ack(offset, 1, has_fin=False)
    assert len(buffer._acked) == MAX_MARKS
    assert drained(buffer) == [(2 * MAX_MARKS + 1, text(length)[-9:-8], False)]
    buffer.on_ack(0, length, has_fin=False)
    assert buffer.base == length


def test_losses_of_every_other_octet():
    """One interval more than the set holds: what lies between the first two goes again, too."""
    buffer = filled(text(4 * MAX_MARKS), fin=False)
    drained(buffer, room=1)
    for offset in range(0, 2 * MAX_MARKS + 2, 2):
        buffer.on_loss(offset, 1, has_fin=False)
    assert len(buffer._lost) == MAX_MARKS
    assert [(offset, len(data)) for offset, data, _ in drained(buffer)][:2] == [(0, 3), (4, 1)]


@given(
    st.lists(st.integers(1, 3000), max_size=6),
    st.integers(100, 1500),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1000)), max_size=200),
)
def test_whatever_is_lost_the_receiver_gets_it_all_once_nothing_is(sizes, room, fates):
    """A peer that keeps what arrives; packets arrive, get lost, or arrive and are called lost nevertheless."""
    chunks = [text(size, seed) for seed, size in enumerate(sizes)]
    wanted = b"".join(chunks)
    buffer = filled(*chunks)
    got, there, fin_came, flying = bytearray(len(wanted)), Ranges(10_000), False, []
    for fate, choice in chain(fates, repeat((0, 0))):
        offset, data, fin = buffer.next(room, FAR)
        if data or fin:
            assert data == wanted[offset : offset + len(data)]
            assert fin == (offset + len(data) == len(wanted))
            flying.append((offset, data, fin))
        if not flying:
            break
        offset, data, fin = flying.pop(choice % len(flying))
        if fate != 1:
            got[offset : offset + len(data)] = data
            there.add(offset, offset + len(data))
            fin_came |= fin
        if fate == 0:
            buffer.on_ack(offset, len(data), fin)
        else:
            buffer.on_loss(offset, len(data), fin)
    assert fin_came
    assert bytes(got) == wanted
    assert there.holes(0, len(wanted)) == []
    assert buffer.is_complete()
    assert buffer._chunks == []


@pytest.mark.parametrize("late", [False, True])
def test_fin_that_is_acknowledged_first(late):
    buffer = filled(b"abc")
    drained(buffer, room=2)
    buffer.on_ack(2, 1, has_fin=True)
    if late:
        buffer.on_loss(2, 1, has_fin=True)
        assert not buffer.can_send_without_credit()
    assert not buffer.is_complete()
    buffer.on_ack(0, 2, has_fin=False)
    assert buffer.is_complete()
