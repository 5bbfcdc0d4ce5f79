"""Content at rest, in memory and in files."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cache.entry import MOST_PACKED, Body, FileBody, KeyEntry, MemoryBody, StoredResponse
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


def small(content):
    fields = Fields([b"content-type", b"x-one"], [b"Content-Type: a/b", b"X-One: 1"])
    return StoredResponse(b"http://a/", 200, b"OK", fields, MemoryBody(content))


@pytest.mark.parametrize("pieces", [[], [b"x"], [b"one\r\n", b"\r\ntwo"], [bytes(MOST_PACKED)]])
def test_small_content_is_packed_with_the_fields(pieces):
    stored = small(pieces)
    assert not stored.is_packed
    stored.pack()
    stored.pack()
    assert stored.is_packed
    fields, content = stored.take_out()
    assert fields.lines == [b"Content-Type: a/b", b"X-One: 1"]
    assert fields.names == [b"content-type", b"x-one"]
    assert content == b"".join(pieces)
    assert (stored.body.size, stored.body.chunks) == (len(content), [content] if content else [])
    assert stored.fields.lines == fields.lines
    fields.lines.append(b"Age: 1")  # an answer's own
    assert stored.fields.lines == fields.lines[:2]


def test_content_of_one_octet_more_stays_as_it_is():
    stored = small([bytes(MOST_PACKED), b"x"])
    body = stored.body
    stored.pack()
    assert not stored.is_packed
    assert stored.body is body
    assert stored.fields.lines == [b"Content-Type: a/b", b"X-One: 1"]
    assert stored.octets_packed == len(b"Content-Type: a/b\r\nX-One: 1\r\n")


def test_what_is_packed_can_be_changed():
    stored = small([b"content"])
    stored.pack()
    stored.fields = Fields([b"x-two"], [b"X-Two: 2"])
    assert not stored.is_packed
    assert stored.body.read(0, 100) == b"content"
    stored.pack()
    assert stored.take_out()[0].lines == [b"X-Two: 2"]
    assert stored.take_out()[1] == b"content"
    large = MemoryBody([bytes(MOST_PACKED + 1)])
    stored.body = large
    assert not stored.is_packed
    stored.pack()
    assert (stored.body is large, stored.fields.lines) == (True, [b"X-Two: 2"])
    assert stored.octets_packed == len(b"X-Two: 2\r\n")
    stored.body = MemoryBody([b"other"])
    stored.pack()
    assert stored.take_out()[1] == b"other"


def test_a_response_without_fields_is_packed_too():
    stored = StoredResponse(b"http://a/", 200, b"OK", Fields([], []), MemoryBody([b"a\r\nb"]))
    stored.pack()
    fields, content = stored.take_out()
    assert (fields.lines, fields.names, content) == ([], [], b"a\r\nb")


def test_variants_keep_their_order():
    entry = KeyEntry(b"k")
    one, two, three = small([b"1"]), small([b"2"]), small([b"3"])
    for variant in (one, two, three):
        entry.add(variant)
    assert entry.variants == (one, two, three)
    assert (entry.first, entry.others) == (one, (two, three))
    entry.remove(one)
    assert (entry.first, entry.others) == (two, (three,))
    entry.remove(three)
    entry.remove(two)
    assert (entry.first, entry.others, entry.variants) == (None, (), ())


NAMES_PAST_THE_TABLE = """
from headgate.cache.cost import NAME_COST, NAMES_COST, cost_of
from headgate.cache.entry import MAX_KNOWN_NAMES, MemoryBody, StoredResponse
from headgate.http.fields import Fields

def packed(name):
    stored = StoredResponse(b"http://a/", 200, b"OK", Fields([name], [name + b": 1"]), MemoryBody([b"x"]))
    stored.pack()
    return stored

first = packed(b"x-%04d" % 0)
for number in range(1, MAX_KNOWN_NAMES - 1):
    packed(b"x-%04d" % number)
last, beyond, again = packed(b"x-last"), packed(b"x-more"), packed(b"x-more")
assert [stored.own_names for stored in (first, last)] == [[], []]
assert [stored.own_names for stored in (beyond, again)] == [[b"x-more"], [b"x-more"]]
assert cost_of(again) - cost_of(last) == NAMES_COST + NAME_COST + len(b"x-more")
long = b"x" * 2049
assert packed(long).own_names == [long]
assert packed(b"x-0007").own_names == []
"""


def test_who_has_names_of_its_own_beyond_the_table_pays_for_them():
    """In a process of its own: the table is one for all, and nothing is ever forgotten there."""
    subprocess.run([sys.executable, "-c", NAMES_PAST_THE_TABLE], check=True, timeout=60)
