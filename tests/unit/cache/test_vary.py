"""Selecting fields; the rules by section are in conformance/test_rfc9111_matching.py."""

import pytest

from headgate.cache import vary
from headgate.cache.entry import MemoryBody, StoredResponse
from headgate.cache.vary import (
    ABSENT,
    MAX_MEMBERS,
    MAX_REMEMBERED,
    MAX_VALUE,
    MAX_VARY_NAMES,
    choose,
    has_too_many,
    keep_codings,
    matches,
    matching,
    normalise,
    reduce_accept_encoding,
    selecting,
    split_list,
    vary_names,
)
from headgate.http.fields import Fields


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def stored(selected, date=0, received=0.0):
    made = StoredResponse(b"k", 200, b"OK", Fields([], []), MemoryBody())
    made.vary = tuple(selected)
    made.date = date
    made.response_time = received
    return made


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([b""], []),
        ([b"Foo"], [b"foo"]),
        ([b"Accept-Encoding"], [b"accept-encoding"]),
        ([b"foo, Bar,,\tbaz ,"], [b"bar", b"baz", b"foo"]),
        ([b"foo", b"", b"FOO, bar"], [b"bar", b"foo"]),
        ([b"*"], None),
        ([b"*, *"], None),
        ([b", *"], None),
        ([b"", b"*"], None),
        ([b"foo", b"bar, *"], None),
        ([b"*, foo"], None),
        ([b"foo bar"], None),
        ([b'"foo"'], None),
    ],
)
def test_names(values, expected):
    assert vary_names(values) == expected


def test_names_at_the_limit_and_one_more():
    def names(n):
        return b",".join(b"x-%d" % i for i in range(n))

    assert len(vary_names([names(MAX_VARY_NAMES)])) == MAX_VARY_NAMES
    assert vary_names([names(MAX_VARY_NAMES + 1)]) is None


def test_selecting():
    request = fields((b"foo", b"1"), (b"other", b"2"), (b"empty", b""))
    assert selecting([b"foo, bar, empty"], request) == [(b"bar", ABSENT), (b"empty", b""), (b"foo", b"1")]
    assert selecting([], request) == []
    assert selecting([b"foo, *"], request) is None


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        (b"foo", [b"1, 2"], [b"1", b"2"]),
        (b"foo", [b"1,2"], [b" 1 ,\t2 "]),
        (b"foo", [b'"a, b",c'], [b'"a, b" , c']),
        (b"accept-language", [b"en, de"], [b"de, en"]),
        (b"accept-language", [b"en, de"], [b"eN, De"]),
        (b"accept-language", [b"en, de"], [b" en ,   de"]),
        (b"accept-language", [b"en;q=0.5, de"], [b"de;q=1.0,en; Q=0.500"]),
        (b"accept-language", [b"en, , de"], [b"en,de"]),
        (b"accept-encoding", [b"gzip, br"], [b"br", b"x-gzip"]),
        (b"accept-encoding", [b"gzip;q=0"], [b"gzip;q=0.000"]),
        (b"accept", [b"text/html, */*;q=0.8"], [b"*/*;q=0.80,Text/HTML"]),
        (b"accept", [b"text/html;level=1"], [b"text/html; Level=1"]),
        (b"cookie", [b"a=1; b=2"], [b"a=1", b"b=2"]),
    ],
)
def test_values_that_mean_the_same(name, one, other):
    first = selecting([name], fields(*[(name, value) for value in one]))
    second = selecting([name], fields(*[(name, value) for value in other]))
    assert first == second
    assert first != [(name, ABSENT)]


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        (b"foo", b"1", b"2"),
        (b"foo", b"a", b"A"),
        (b"foo", b"1,2", b"2,1"),
        (b"foo", b'"a,b"', b'"a, b"'),
        (b"foo", b"1,,2", b"1,2"),
        (b"accept-language", b"en, de", b"fr;q=0.5, de;q=1.0"),
        (b"accept-language", b"en;q=0.5", b"en"),
        (b"accept-encoding", b"gzip;q=0", b"gzip"),
        (b"accept-encoding", b"", b"gzip"),
        (b"accept-encoding", b"gzip;q=x", b"gzip"),
        (b"accept", b"text/html;level=a", b"text/html;level=A"),
        (b"cookie", b"a=1, 2", b"a=1,2"),
        (b"user-agent", b"x (a, b)", b"x (a,b)"),
    ],
)
def test_values_that_do_not(name, one, other):
    assert selecting([name], fields((name, one))) != selecting([name], fields((name, other)))


def test_absent_is_not_empty():
    assert selecting([b"foo"], fields()) != selecting([b"foo"], fields((b"foo", b"")))


def test_a_long_value_is_kept_as_a_digest():
    long = b"a" * MAX_VALUE
    assert normalise(b"foo", long) == long
    longer = normalise(b"foo", long + b"a")
    assert len(longer) == 33
    assert longer == normalise(b"foo", b" " + long + b"a")
    assert longer != normalise(b"foo", long + b"b")
    assert longer.startswith(b"\0")


def test_members_at_the_limit_and_one_more():
    def language(n):
        return b",".join(b"l%03d" % i for i in range(n, 0, -1))

    backwards = b",".join(reversed(language(MAX_MEMBERS).split(b",")))
    assert normalise(b"accept-language", language(MAX_MEMBERS)) == normalise(b"accept-language", backwards)
    more = language(MAX_MEMBERS + 1)
    backwards = b",".join(reversed(more.split(b",")))
    assert normalise(b"accept-language", more) != normalise(b"accept-language", backwards)


def test_memory_is_bounded():
    for i in range(MAX_REMEMBERED + 10):
        normalise(b"accept-language", b"l%d" % i)
    assert len(vary._remembered[b"accept-language"]) <= MAX_REMEMBERED
    for i in range(100):
        normalise(b"x-%d" % i, b"a, b")
    assert set(vary._remembered) <= {b"accept", b"accept-charset", b"accept-encoding", b"accept-language"}


def test_matches():
    variant = stored([(b"bar", ABSENT), (b"foo", b"1")])
    assert matches(variant, fields((b"foo", b"1"), (b"other", b"2")))
    assert not matches(variant, fields((b"foo", b"2")))
    assert not matches(variant, fields())
    assert not matches(variant, fields((b"foo", b"1"), (b"bar", b"")))
    assert matches(stored([]), fields((b"foo", b"1")))


def test_the_most_recent_goes_first():
    old, new, newer = stored([], 1), stored([], 2, 1.0), stored([], 2, 2.0)
    assert matching([new, newer, old], fields()) == [newer, new, old]
    assert choose((old, new), fields()) is new


def test_one_that_varies_goes_before_one_that_does_not():
    plain, varied = stored([], 9), stored([(b"foo", b"1")], 1)
    assert matching([plain, varied], fields((b"foo", b"1"))) == [varied, plain]
    assert matching([plain, varied], fields((b"foo", b"2"))) == [plain]


def test_choosing():
    one, two = stored([(b"foo", b"1")]), stored([(b"foo", b"2")])
    assert choose((one, two), fields((b"foo", b"2"))) is two
    assert choose((one, two), fields((b"foo", b"3"))) is None
    assert choose((one,), fields((b"foo", b"2"))) is None
    assert choose((one,), fields((b"foo", b"1"))) is one
    assert choose((), fields()) is None


def test_lists_are_split_outside_of_quotes():
    assert split_list(b'a,"b,\\",c" , d,') == [b"a", b'"b,\\",c"', b"d", b""]
    assert split_list(b'"open, a') == [b'"open, a']


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"gzip, deflate, br, zstd", b"br, deflate, gzip, zstd"),
        (b"GZIP;q=0.5, unknown", b"gzip"),
        (b"x-gzip", b"gzip"),
        (b"gzip;q=0, br;q=0.001", b"br"),
        (b"*", b""),
        (b"", b""),
    ],
)
def test_accept_encoding_is_reduced(value, expected):
    assert reduce_accept_encoding(value, (b"br", b"gzip", b"zstd", b"deflate")) == expected


def test_only_the_codings_of_a_route():
    assert reduce_accept_encoding(b"gzip, br", (b"gzip",)) == b"gzip"


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([b"zstd, gzip;q=0.8", b"br"], b"br, gzip"),
        ([b"deflate"], b"identity"),
        ([b""], b"identity"),
        ([], b"identity"),
    ],
)
def test_a_request_asks_for_the_codings_of_its_route_alone(lines, left):
    asked = fields(*[(b"accept-encoding", line) for line in lines], (b"accept", b"*/*"))
    keep_codings(asked, (b"br", b"gzip"))
    assert asked.get_all(b"accept-encoding") == [left]
    assert asked.get_all(b"accept") == [b"*/*"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], False),
        ([b", ".join(b"x-%d" % n for n in range(16)) + b", X-0,,"], False),
        ([b", ".join(b"x-%d" % n for n in range(10)), b", ".join(b"x-%d" % n for n in range(7, 17))], True),
        ([b", ".join(b"x-%d" % n for n in range(17)) + b", *"], False),
    ],
)
def test_what_has_too_many_names(values, expected):
    assert has_too_many(values) is expected
