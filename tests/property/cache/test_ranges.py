"""Ranges whatever is asked: parts in any order make the whole, and no octet is ever one of another place."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.partial import (
    Piece,
    answer,
    combine,
    set_partial,
)
from headgate.cache.pieces import (
    PartialBody,
)
from headgate.cache.ranges import (
    MAX_RANGES,
    PARTIAL,
    WHOLE,
    coalesce,
    parse_content_range,
    parse_range,
    plan_parts,
    resolve,
    select,
)
from headgate.http.fields import Fields

LENGTH = 200
# Every octet tells its place.
CONTENT = bytes(range(LENGTH))

places = st.integers(0, LENGTH - 1)
spans = st.tuples(places, places).map(lambda two: (min(two), max(two) + 1))
specs = st.one_of(
    st.tuples(places, st.integers(0, 2 * LENGTH)).map(lambda two: b"%d-%d" % (two[0], two[0] + two[1])),
    st.integers(0, 2 * LENGTH).map(lambda first: b"%d-" % first),
    st.integers(0, 2 * LENGTH).map(lambda suffix: b"-%d" % suffix),
)


def part(start, end, cuts=()):
    made = StoredResponse(b"k", 206, b"", Fields([], []), MemoryBody())
    made.etag = b'"v1"'
    edges = sorted({start, end, *(cut for cut in cuts if start < cut < end)})
    chunks = [CONTENT[low:high] for low, high in pairwise(edges)]
    assert set_partial(made, Piece(start, end, LENGTH), MemoryBody(chunks), True, b"")
    return made


def octets(variant, start, end, limit=64):
    found = b""
    while start < end:
        chunk = variant.body.read(start, min(limit, end - start))
        assert chunk
        found += chunk
        start += len(chunk)
    return found


def check(variant, wanted):
    """What is said to be here is here and right, and everything that is missing is said to be."""
    ranges = [(0, LENGTH)] if variant.ranges is None else variant.ranges
    assert {at for start, end in ranges for at in range(start, end)} == wanted
    assert variant.is_complete == (len(wanted) == LENGTH)
    for start, end in ranges:
        assert octets(variant, start, end) == CONTENT[start:end]
    if variant.ranges is not None:
        for at in range(LENGTH):
            assert variant.body.read(at, 9)[:1] == (CONTENT[at : at + 1] if at in wanted else b"")


@settings(deadline=None)
@given(st.lists(st.tuples(spans, st.lists(places, max_size=3)), min_size=1, max_size=12))
def test_any_parts_in_any_order(parts):
    stored, wanted = None, set()
    for (start, end), cuts in parts:
        made = part(start, end, cuts)
        if stored is None:
            stored = made
        else:
            assert combine(stored, made) or made.is_complete
            stored = made if made.is_complete else stored
        wanted |= set(range(start, end))
        check(stored, wanted)
        if stored.is_complete:
            break


@settings(deadline=None)
@given(st.lists(places, max_size=10, unique=True), st.randoms(use_true_random=False))
def test_the_pieces_of_a_whole_make_it(cuts, random):
    edges = sorted({0, LENGTH, *cuts})
    pieces = list(pairwise(edges))
    random.shuffle(pieces)
    stored = part(*pieces[0])
    for start, end in pieces[1:]:
        assert combine(stored, part(start, end))
    assert stored.is_complete
    assert octets(stored, 0, LENGTH) == CONTENT
    assert stored.fields.get(b"content-length") == b"%d" % LENGTH


@settings(deadline=None)
@given(st.lists(spans, min_size=1, max_size=5), st.lists(specs, min_size=1, max_size=4))
def test_an_answer_from_parts_is_the_one_from_the_whole(parts, asked):
    stored = part(*parts[0])
    for start, end in parts[1:]:
        combine(stored, part(start, end))
    value = b"bytes=" + b",".join(asked)
    selection = answer([value], stored, True)
    whole = select([value], LENGTH)
    if selection is None:
        assert not stored.is_complete
        return
    assert (selection.status, selection.ranges) == (whole.status, whole.ranges)
    for start, end in selection.ranges:
        assert octets(stored, start, end) == CONTENT[start:end]


@settings(deadline=None)
@given(st.lists(specs, min_size=1, max_size=MAX_RANGES))
def test_a_selection_covers_what_was_asked_for_and_sends_nothing_twice(asked):
    value = b"bytes=" + b",".join(asked)
    selection = select([value], LENGTH)
    if selection.status != PARTIAL:
        return
    wanted = {at for start, end in resolve(parse_range([value]), LENGTH) for at in range(start, end)}
    sent = [at for start, end in selection.ranges for at in range(start, end)]
    assert len(sent) == len(set(sent))
    assert wanted <= set(sent)
    assert all(0 <= start < end <= LENGTH for start, end in selection.ranges)


@settings(deadline=None)
@given(st.lists(spans, max_size=12), st.integers(0, 90))
def test_coalescing_loses_nothing_and_joins_all_that_is_near(ranges, gap):
    joined = coalesce(ranges, gap)
    assert {at for start, end in ranges for at in range(start, end)} <= {
        at for start, end in joined for at in range(start, end)
    }
    if len(ranges) > 1:
        ordered = sorted(joined)
        for one, other in pairwise(ordered):
            assert other[0] - one[1] >= max(gap, 1)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_field_value_is_read_or_ignored(value):
    for text in (value, b"bytes=" + value, b"bytes " + value):
        selection = select([text], LENGTH)
        assert selection.status in (WHOLE, PARTIAL, 416)
        read = parse_content_range(text)
        assert read is None or (read[0] <= read[1] and (read[2] < 0 or read[1] <= read[2]))


@settings(deadline=None)
@given(st.lists(spans, min_size=1, max_size=5), st.binary(max_size=20).filter(lambda kind: b"\r" not in kind))
def test_parts_say_what_they_hold(ranges, kind):
    parts, tail, total = plan_parts(ranges, LENGTH, kind, b"token")
    written = b"".join(made.head + CONTENT[made.start : made.end] for made in parts) + tail
    assert len(written) == total
    for made, (start, end) in zip(parts, ranges, strict=True):
        assert b"\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (start, end - 1, LENGTH) in made.head


@settings(deadline=None)
@given(st.lists(spans, min_size=1, max_size=10))
def test_a_body_with_gaps_counts_what_it_has(parts):
    body = PartialBody()
    for start, end in parts:
        assert body.add(start, MemoryBody([CONTENT[start:end]]))
    assert body.size == len({at for start, end in parts for at in range(start, end)})
