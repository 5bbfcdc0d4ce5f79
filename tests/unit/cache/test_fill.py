"""Content that is read while it comes in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cache.fill import SMALL, WINDOW, Fill
from headgate.cache.store.bodies import CheckedBody, OpenFiles, Upload


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


# -- content that goes to a file too


def spooled(tmp_path, limit=10, disk_limit=20):
    (tmp_path / "incoming").mkdir()
    fill = Fill(limit)
    fill.append(b"0123")
    upload = Upload(str(tmp_path), "1.a")
    fill.begin_upload(upload, disk_limit)
    return fill, upload


def everything(fill):
    pieces, at = [], 0
    while piece := fill.read(at, 7):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def test_what_fits_stays_in_memory_and_is_in_the_file_too(tmp_path):
    fill, upload = spooled(tmp_path)
    fill.append(b"456789")
    fill.end()
    assert (fill.spooled, fill.held, fill.keeps) == (0, 10, True)
    assert everything(fill) == upload.read(0, 99) == b"0123456789"
    fill.close()
    assert not (tmp_path / "incoming" / "1.a").exists()


def test_what_does_not_is_in_the_file_alone(tmp_path):
    fill, upload = spooled(tmp_path)
    fill.append(b"4567890")
    fill.append(b"123")
    assert (fill.spooled, fill.held, fill.keeps, fill.size) == (14, 0, True, 14)
    assert everything(fill) == b"01234567890123"
    content = upload.finish()
    files = OpenFiles()
    files.adopt("p", upload.give_up())
    fill.settle(CheckedBody("p", content, files))
    fill.end()
    assert everything(fill) == b"01234567890123"
    assert fill.upload is None
    fill.close()
    files.close_all()


def test_the_limit_of_the_disk_and_one_more(tmp_path):
    fill, _ = spooled(tmp_path)
    fill.append(b"4567890123456789")
    assert (fill.keeps, fill.spooled) == (True, 20)
    fill.append(b"0")
    assert (fill.keeps, fill.spooled, fill.upload) == (False, 20, None)
    assert everything(fill) == b"012345678901234567890"
    assert not (tmp_path / "incoming" / "1.a").exists()
    fill.close()


def test_a_disk_that_fails_costs_what_is_in_memory_nothing(tmp_path):
    fill, upload = spooled(tmp_path)
    upload.close()
    fill.append(b"456789")
    assert isinstance(fill.failure, OSError)
    assert (fill.keeps, fill.upload, fill.spooled) == (True, None, 0)
    assert everything(fill) == b"0123456789"
    fill.append(b"0")
    assert not fill.keeps
