"""Content at rest, in memory and in files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cache.entry import Body, FileBody, KeyEntry, MemoryBody, StoredResponse
from headgate.http.fields import Fields


def whole(body, at=0, limit=1 << 20):
    octets = b""
    while piece := body.read(at + len(octets), limit):
        octets += piece
    return octets


def test_a_piece_is_given_out_as_it_is():
    first, second = b"a" * 10, b"b" * 10
    body = MemoryBody([first, b"", second])
    assert body.read(0, 100) is first
    assert body.read(10, 10) is second
    assert body.read(3, 4) == b"aaaa"
    assert body.read(20, 5) == body.read(-1, 5) == body.read(0, 0) == b""


def test_a_body_grows_while_it_is_read():
    body = MemoryBody()
    assert body.read(0, 10) == b""
    body.append(b"abc")
    assert (body.size, body.read(1, 10)) == (3, b"bc")
    assert repr(body) == "<MemoryBody 3 in 1>"


@given(st.lists(st.binary(max_size=5), max_size=20), st.integers(0, 100), st.integers(1, 7))
def test_memory_reads_what_was_written(chunks, at, limit):
    body = MemoryBody(chunks)
    octets = b"".join(chunks)
    assert body.size == len(octets)
    assert whole(body, at, limit) == octets[at:]


def test_a_file_is_read_from_its_offset(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(b"headCONTENTtail")
    body = FileBody(str(path), 4, 7)
    assert whole(body, 0, 3) == b"CONTENT"
    assert body.read(7, 5) == b""
    assert body.read(5, 100) == b"NT"


def test_a_file_that_is_too_short_is_an_error(tmp_path):
    path = tmp_path / "body"
    path.write_bytes(b"head")
    with pytest.raises(OSError, match="ends before octet 4"):
        FileBody(str(path), 4, 7).read(0, 7)
    with pytest.raises(FileNotFoundError):
        FileBody(str(path) + "x", 4, 7).read(0, 7)


def test_shapes():
    stored = StoredResponse(b"GET http://a/", 200, b"OK", Fields([], []), MemoryBody([b"x"]))
    assert repr(stored) == "<StoredResponse 200 GET http://a/ length=-1>"
    assert not stored.is_complete
    assert repr(KeyEntry(b"k")) == "<KeyEntry k variants=0>"
    with pytest.raises(NotImplementedError):
        Body().read(0, 1)
