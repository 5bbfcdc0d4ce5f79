"""Records: what is written is read, and what is not what was written is found out."""

import inspect

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.cache.store.responses import response

from headgate.cache.entry import StoredResponse
from headgate.cache.store.format import (
    VERSION,
    CorruptError,
    FileContent,
    check,
    decode,
    encode,
    key_id,
    variant_id,
)
from headgate.http.fields import NEVER_INDEXED, Fields

octets = st.binary(max_size=40)
times = st.floats(allow_nan=False)
sizes = st.integers(-(2**63), 2**63 - 1)
positive = st.integers(0, 2**63 - 1)
names = st.sampled_from([b"Content-Type", b"etag", b"X-a", b"date"])
# Compiled, a class has no __slots__ but descriptors of the same names.
SLOTS = [
    name
    for name, kind in vars(StoredResponse).items()
    if inspect.isdatadescriptor(kind)
    and not name.startswith("_")
    and name not in ("body", "fields", "head", "hits", "size")
]


@st.composite
def responses(draw):
    lines = [name + b": " + value for name, value in draw(st.lists(st.tuples(names, octets), max_size=5))]
    fields = Fields([line.split(b":")[0].lower() for line in lines], lines)
    stored = response(draw(octets))
    stored.fields = fields
    stored.status = draw(st.integers(100, 999))
    stored.flags = draw(st.integers(0, 63))
    stored.reason, stored.etag = draw(octets), draw(octets)
    stored.vary = tuple(draw(st.lists(st.tuples(octets, octets), max_size=3)))
    stored.tags = tuple(draw(st.lists(octets, max_size=3)))
    for name in ("request_time", "response_time", "born", "lifetime", "fresh_until"):
        setattr(stored, name, draw(times))
    for name in ("stale_while_revalidate", "stale_if_error", "stale_if_unreachable"):
        setattr(stored, name, draw(times))
    for name in ("date", "age_value", "last_modified", "length"):
        setattr(stored, name, draw(sizes))
    stored.generation = draw(positive)
    stored.is_complete = draw(st.booleans())
    stored.ranges = draw(st.none() | st.lists(st.tuples(positive, positive), max_size=3))
    return stored


def same(first, second):
    assert {name: getattr(first, name) for name in SLOTS} == {name: getattr(second, name) for name in SLOTS}
    assert (first.fields.names, first.fields.lines) == (second.fields.names, second.fields.lines)
    assert first.fields.flags == second.fields.flags


@given(responses(), st.binary(max_size=200))
def test_what_is_written_is_read(stored, content):
    record = decode(encode(stored, content))
    same(record.variant, stored)
    assert (record.content, record.file) == (content, None)


@given(responses(), st.binary(max_size=30), positive, st.lists(st.integers(0, 2**32 - 1), max_size=4))
def test_a_file_is_named(stored, name, size, blocks):
    record = decode(encode(stored, b"", FileContent(name, size, blocks)))
    same(record.variant, stored)
    assert (record.file.name, record.file.size, record.file.blocks) == (name, size, blocks)


def test_kinds_of_lines_that_no_name_tells_are_kept():
    stored = response(b"key")
    stored.fields.flags |= NEVER_INDEXED
    assert decode(encode(stored, b"")).variant.fields.flags & NEVER_INDEXED


RECORD = encode(response(b"https://example.org/", vary=[(b"accept", b"a")], tags=[b"t"]), b"content")


@pytest.mark.parametrize("length", range(len(RECORD)))
def test_a_record_cut_short(length):
    with pytest.raises(CorruptError):
        decode(RECORD[:length])


@given(st.integers(0, len(RECORD) * 8 - 1))
@settings(max_examples=300)
def test_one_bit_that_is_not_as_it_was(bit):
    torn = bytearray(RECORD)
    torn[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptError):
        decode(bytes(torn))


def test_a_record_torn_at_a_page():
    long = encode(response(b"key"), bytes(range(256)) * 64)
    with pytest.raises(CorruptError):
        check(long[:4096] + bytes(4096) + long[8192:])
    check(long)


def test_another_version_is_not_read():
    with pytest.raises(CorruptError, match=f"version {VERSION}"):
        check(RECORD[:2] + b"\x63" + RECORD[3:])


def test_variants_have_names_of_their_own():
    plain, english, german = (
        response(b"key", vary=vary)
        for vary in ([], [(b"accept-language", b"en")], [(b"accept-language", b"de")])
    )
    identifiers = {variant_id(stored) for stored in (plain, english, german)}
    assert len(identifiers) == 3
    assert {identifier[:16] for identifier in identifiers} == {key_id(b"key")}
    # Where one string ends and the next begins is part of the name.
    first, second = response(b"key", vary=[(b"ab", b"c")]), response(b"key", vary=[(b"a", b"bc")])
    assert variant_id(first) != variant_id(second)
