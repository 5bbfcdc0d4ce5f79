"""Content with gaps; any order of pieces is in property/cache/test_ranges.py."""

from headgate.cache.entry import FileBody, MemoryBody
from headgate.cache.pieces import MAX_PIECES, PartialBody, covers, gaps_within

WHOLE = bytes(i * 7 % 251 for i in range(1000))


def test_a_body_with_gaps():
    body = PartialBody()
    assert body.add(10, MemoryBody([WHOLE[10:20], WHOLE[20:25]]))
    assert body.add(50, MemoryBody([WHOLE[50:60]]))
    assert body.ranges() == [(10, 25), (50, 60)]
    assert body.size == 25
    assert body.read(10, 99) == WHOLE[10:20]
    assert body.read(12, 3) == WHOLE[12:15]
    assert body.read(24, 99) == WHOLE[24:25]
    assert body.read(59, 99) == WHOLE[59:60]
    for at in (0, 9, 25, 49, 60, -1):
        assert body.read(at, 9) == b""
    assert body.read(10, 0) == b""
    assert repr(body) == "<PartialBody [(10, 25), (50, 60)]>"


def test_octets_that_are_here_stay():
    body = PartialBody()
    body.add(10, MemoryBody([b"abc"]))
    body.add(8, MemoryBody([b"1234567"]))
    assert body.ranges() == [(8, 15)]
    assert body.read(8, 99) == b"12"
    assert b"".join(body.read(at, 1) for at in range(8, 15)) == b"12abc67"
    assert body.size == 7


def test_pieces_that_touch_become_one():
    body = PartialBody()
    for start in (0, 20, 10, 30):
        body.add(start, MemoryBody([WHOLE[start : start + 10]]))
    assert body.starts == [0]
    assert body.whole(40) is body.bodies[0]
    assert body.whole(41) is None


def test_pieces_in_files_are_left_where_they_are(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(WHOLE)
    body = PartialBody()
    body.add(0, FileBody(str(path), 0, 10))
    body.add(10, FileBody(str(path), 10, 20))
    assert body.ranges() == [(0, 30)]
    assert len(body.bodies) == 2
    assert body.whole(30) is body
    assert body.read(0, 99) == WHOLE[:10]
    assert body.read(15, 5) == WHOLE[15:20]


def test_pieces_at_the_limit_and_one_more():
    body = PartialBody()
    for i in range(MAX_PIECES):
        assert body.add(i * 10, MemoryBody([b"x"]))
    before = body.size
    assert not body.add(MAX_PIECES * 10, MemoryBody([b"x"]))
    assert body.size == before
    assert body.add(1, MemoryBody([b"y" * 9]))  # fills a gap
    assert body.add(MAX_PIECES * 10, MemoryBody([b"x"]))


def test_gaps():
    assert gaps_within([], 2, 5) == [(2, 5)]
    assert gaps_within([(0, 2), (3, 4), (6, 9)], 1, 8) == [(2, 3), (4, 6)]
    assert gaps_within([(0, 9)], 1, 8) == []
    assert gaps_within([(0, 2), (8, 9)], 2, 8) == [(2, 8)]
    assert covers([(0, 2), (2, 4)], 1, 4)
    assert not covers([(0, 2), (3, 4)], 1, 4)
