"""Cache-Control to the safe side (RFC 9111 section 5.2), and targeted fields (RFC 9213)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.cache import directives as d
from headgate.cache.directives import FOREVER, parse_cache_control, parse_seconds, parse_targeted


def said(*lines):
    return parse_cache_control([line.encode() for line in lines])


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0),
        (b"3600", 3600),
        (b"003600", 3600),
        (b"2147483647", FOREVER - 1),
        (b"2147483648", FOREVER),
        (b"99999999999", FOREVER),
        (b"9" * 5000, FOREVER),
        (b"0" * 5000, 0),
        (b"", -1),
        (b"-1", -1),
        (b"+1", -1),
        (b"1.0", -1),
        (b" 1", -1),
        (b"\xb2", -1),
    ],
)
def test_delta_seconds(value, seconds):
    assert parse_seconds(value) == seconds


@pytest.mark.parametrize(
    ("line", "max_age"),
    [
        ("max-age=60", 60),
        ("MaX-aGe=60", 60),
        ("foobar, max-age=60", 60),
        ("a=b, ,,max-age=60\t,", 60),
        ('max-age="60"', 60),
        ('max-age="6\\0"', 60),
        ("max-age=-60", 0),
        ("max-age='60'", 0),
        ("max-age=60.0", 0),
        ("max-age=60a", 0),
        ("max-age=a60", 0),
        ("max-age =60", 0),
        ("max-age= 60", 0),
        ("max-age=", 0),
        ("max-age", 0),
        ('max-age="60', 0),
        ("public; max-age=60", 0),
        ('x="max-age=60"', -1),
        ('x="max-age=60", max-age=1', 1),
        ('max-age=1, x="max-age=60"', 1),
        ('x="a\\", max-age=60", max-age=1', 1),
        ("maxage=60", -1),
        ("x-max-age=60", -1),
        ("", -1),
    ],
)
def test_a_number_of_seconds(line, max_age):
    assert said(line).max_age == max_age


def test_the_same_directive_twice_is_the_smaller_one():
    assert said("max-age=60, max-age=30").max_age == 30
    assert said("max-age=30", "max-age=60").max_age == 30
    assert said("max-age=60", "max-age=oops").max_age == 0
    assert said("min-fresh=60, min-fresh=30").min_fresh == 60


def test_all_lines_count():
    both = said("max-age=60, no-store", "s-maxage=5, private")
    assert (both.max_age, both.s_maxage, both.flags) == (60, 5, d.NO_STORE | d.PRIVATE)


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("no-store", d.NO_STORE),
        ("No-StOrE", d.NO_STORE),
        ("no-store=1", d.NO_STORE),
        ("no-store =x", d.NO_STORE),
        ('ext="open, no-store', d.NO_STORE),
        ("no-store; private", d.NO_STORE | d.PRIVATE),
        ("public, immutable, must-understand", d.PUBLIC | d.IMMUTABLE | d.MUST_UNDERSTAND),
        ("public=1, must-understand=1", 0),
        ('immutable=1, immutable="x"', d.IMMUTABLE),
        ("public; immutable", 0),
        ("must-revalidate,proxy-revalidate", d.MUST_REVALIDATE | d.PROXY_REVALIDATE),
        ("only-if-cached, no-transform", d.ONLY_IF_CACHED | d.NO_TRANSFORM),
        ("no-cache", d.NO_CACHE),
        ("no-storee", 0),
    ],
)
def test_a_restriction_counts_however_it_is_spelt_and_a_permission_only_alone(line, flags):
    assert said(line).flags == flags


def test_an_open_string_swallows_nothing_and_takes_the_lifetime():
    open_string = said('a="b, max-age=3600, s-maxage=60, no-cache')
    assert (open_string.max_age, open_string.s_maxage, open_string.flags) == (0, 0, d.NO_CACHE)


@pytest.mark.parametrize(
    ("line", "flags", "fields"),
    [
        ('no-cache="a"', 0, (b"a",)),
        ('no-cache="A, Set-Cookie ,"', 0, (b"a", b"set-cookie")),
        ("no-cache=a", 0, (b"a",)),
        ('no-cache="a", no-cache', d.NO_CACHE, (b"a",)),
        ('no-cache=""', d.NO_CACHE, ()),
        ("no-cache=", d.NO_CACHE, ()),
        ('no-cache=" , "', d.NO_CACHE, ()),
        ('no-cache="a b"', d.NO_CACHE, ()),
        ('no-cache="a, \x7f"', d.NO_CACHE, ()),
        ('no-cache="a', d.NO_CACHE, ()),
    ],
)
def test_fields_that_a_restriction_is_about(line, flags, fields):
    assert (said(line).flags, said(line).no_cache_fields) == (flags, fields)
    line = line.replace("no-cache", "private")
    flags = d.PRIVATE if flags else 0
    assert (said(line).flags, said(line).private_fields) == (flags, fields)


def test_max_stale_without_a_number_is_any():
    assert said("max-stale").max_stale == FOREVER
    assert said("max-stale=5").max_stale == 5
    assert said("max-stale=x").max_stale == 0
    assert said("max-age=1").max_stale == -1


def targeted(*lines):
    return parse_targeted([line.encode() for line in lines])


@pytest.mark.parametrize(
    "line", ["", " ", "max-age =60", "max-age= 60", "Max-Age=60", "max-age=60,", 'a="b', "=1"]
)
def test_a_targeted_field_that_is_empty_or_no_dictionary_is_not_there(line):
    assert targeted(line) is None


@pytest.mark.parametrize(
    ("line", "flags", "max_age"),
    [
        ("max-age=60", 0, 60),
        ("max-age=60;p=1", 0, 60),
        ("max-age=10, max-age=60", 0, 60),
        ("max-age=999999999999999", 0, FOREVER),
        ("max-age=60.0", 0, 0),
        ('max-age="60"', 0, 0),
        ("max-age=-60", 0, 0),
        ("max-age", 0, 0),
        ("none", 0, -1),
        ("no-store, no-cache, private", d.NO_STORE | d.NO_CACHE | d.PRIVATE, -1),
        ("no-store=?0, public=?0, max-age=5", 0, 5),
        ("must-revalidate;x, immutable", d.MUST_REVALIDATE | d.IMMUTABLE, -1),
    ],
)
def test_a_targeted_field(line, flags, max_age):
    found = targeted(line)
    assert found is not None
    assert (found.flags, found.max_age) == (flags | d.TARGETED, max_age)


def test_fields_and_other_numbers_of_a_targeted_field():
    found = targeted('no-cache="a, B"', "private=(x), s-maxage=7, stale-while-revalidate=8, stale-if-error=9")
    assert found.no_cache_fields == (b"a", b"b")
    assert found.flags == d.TARGETED | d.PRIVATE
    assert (found.s_maxage, found.stale_while_revalidate, found.stale_if_error) == (7, 8, 9)


LINES = st.lists(st.text('aAn-os,=";\\ \tmxge019').map(str.encode) | st.binary(max_size=40), max_size=4)


@given(LINES)
def test_no_line_raises_and_numbers_are_in_range(lines):
    for found in (parse_cache_control(lines), parse_targeted(lines)):
        if found is not None:
            for number in (found.max_age, found.s_maxage, found.min_fresh, found.max_stale):
                assert -1 <= number <= FOREVER


@given(LINES, st.sampled_from([b"no-store", b"private", b"no-cache"]), st.integers(0, 4))
def test_nothing_around_it_hides_a_restriction_on_its_own_line(lines, word, at):
    flags = {b"no-store": d.NO_STORE, b"private": d.PRIVATE, b"no-cache": d.NO_CACHE}[word]
    assert parse_cache_control([*lines[:at], word, *lines[at:]]).flags & flags


def test_lines_that_were_read_before_are_known_and_few_are_kept():
    line = b"max-age=60, stale-if-error=5"
    first = parse_cache_control([line])
    assert parse_cache_control([line]) is first
    for number in range(2 * d._MAX_KNOWN):
        assert parse_cache_control([b"max-age=%d" % number]).max_age == number
        assert len(d._KNOWN) <= d._MAX_KNOWN
    again = parse_cache_control([line])
    assert (again.max_age, again.stale_if_error) == (60, 5)
    long = b"x" * (d._MAX_KNOWN_LINE - 11) + b", max-age=1"
    assert parse_cache_control([long]) is parse_cache_control([long])
    assert parse_cache_control([b"x" + long]) is not parse_cache_control([b"x" + long])
    assert parse_cache_control([b"x" + long]).max_age == 1
