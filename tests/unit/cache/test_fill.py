"""Content that is read while it comes in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cache.fill import SMALL, WINDOW, Fill


def test_readers_stand_where_they_like():
    fill = Fill(1 << 20)
    fill.append(b"a" * SMALL)
    fill.append(b"b" * SMALL)
    assert fill.read(0, 1 << 20) == b"a" * SMALL
    assert fill.read(SMALL - 2, 1 << 20) == b"aa"
    assert fill.read(SMALL, 3) == b"bbb"
    assert fill.read(2 * SMALL, 10) == b""
    assert not fill.is_over


def test_a_whole_piece_is_not_copied():
    fill = Fill(1 << 20)
    piece = b"x" * 5000
    fill.append(piece)
    assert fill.read(0, 1 << 20) is piece


def test_small_pieces_are_joined():
    fill = Fill(1 << 20)
    for _ in range(1000):
        fill.append(b"x")
    assert len(fill.body().chunks) == 1
    assert fill.read(999, 10) == b"x"


def test_the_limit_and_one_more():
    fill = Fill(10)
    fill.append(b"x" * 10)
    assert fill.keeps
    fill.append(b"x")
    assert not fill.keeps


def test_nothing_is_let_go_of_while_it_is_kept():
    fill = Fill(1 << 20)
    fill.append(b"x" * 5000)
    fill.trim(5000)
    assert fill.read(0, 10_000) == b"x" * 5000


def test_the_slowest_reader_sets_the_pace_of_what_is_not_kept():
    fill = Fill(0)
    for _ in range(WINDOW // 8192):
        fill.append(b"x" * 8192)
    assert (fill.held, fill.is_full) == (WINDOW, False)
    fill.append(b"y" * 8192)
    assert fill.is_full
    fill.trim(8191)
    assert fill.is_full
    fill.trim(8192)
    assert (fill.held, fill.is_full) == (WINDOW, False)
    with pytest.raises(ValueError, match="gone"):
        fill.read(0, 1)


def test_what_all_have_read_is_gone_to_the_last_octet():
    fill = Fill(0)
    fill.append(b"x" * (WINDOW + 1))
    fill.trim(WINDOW + 1)
    assert (fill.held, fill.is_full) == (0, False)
    fill.append(b"more")
    assert fill.read(WINDOW + 1, 10) == b"more"


@given(st.lists(st.binary(max_size=9000), max_size=30), st.integers(1, 10_000), st.booleans())
def test_every_reader_gets_every_octet(pieces, limit, keeps):
    fill = Fill(1 << 30 if keeps else 0)
    got, at = b"", 0
    for piece in pieces:
        fill.append(piece)
        data = fill.read(at, limit)
        got += data
        at += len(data)
        fill.trim(at)
    fill.end()
    while data := fill.read(at, limit):
        got += data
        at += len(data)
    assert got == b"".join(pieces)
    if keeps:
        assert b"".join(fill.body().chunks) == got
