"""The words of outcomes and reasons, and Cache-Status (RFC 9211)."""

import re
from pathlib import Path

import pytest

from headgate.cache import outcome as o
from headgate.cache.outcome import OUTCOMES, REASONS, cache_status

NAMES = [
    name
    for name in vars(o)
    if name.isupper() and not name.startswith("_") and isinstance(getattr(o, name), int)
]


def test_every_number_has_one_word():
    first, second = NAMES[: len(OUTCOMES)], NAMES[len(OUTCOMES) :]
    assert [getattr(o, name) for name in first] == list(range(len(OUTCOMES)))
    assert [getattr(o, name) for name in second] == list(range(len(REASONS)))
    assert list(OUTCOMES) == first
    assert len(set(REASONS)) == len(REASONS)


@pytest.mark.parametrize("word", REASONS)
def test_a_reason_is_a_token(word):
    """RFC 9211 section 2.8 asks for a String or a Token; logs and labels take it as it is."""
    assert word.replace("-", "").isalpha()
    assert word.islower()


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ((o.HIT, o.FRESH, 376), b"headgate; hit; ttl=376"),
        ((o.STALE, o.WHILE_REVALIDATE, -5), b"headgate; hit; ttl=-5; detail=stale-while-revalidate"),
        ((o.MISS, o.NOT_STORED), b"headgate; fwd=uri-miss; detail=not-stored"),
        ((o.EXPIRED, o.INVALIDATED), b"headgate; fwd=stale; detail=invalidated"),  # RFC 9211 section 2.2
        ((o.MISS, o.VARY), b"headgate; fwd=vary-miss; detail=vary"),
        ((o.BYPASS, o.METHOD), b"headgate; fwd=method; detail=method"),
        ((o.BYPASS, o.CONTENT), b"headgate; fwd=bypass; detail=content"),
        ((o.MISS, o.CLIENT_NO_CACHE), b"headgate; fwd=request; detail=client-no-cache"),
        ((o.MISS, o.PARTIAL), b"headgate; fwd=partial; detail=partial"),
        ((o.MISS, o.PRIVATE), b"headgate; fwd=miss; detail=private"),
        ((o.COLLAPSED, o.NONE), b"headgate; fwd=miss; collapsed"),
        ((o.REFUSED, o.ONLY_IF_CACHED), b"headgate; detail=only-if-cached"),
    ],
)
def test_rfc9211_2_our_member_of_cache_status(arguments, value):
    assert cache_status(*arguments) == value


def test_rfc9211_2_what_else_a_member_says():
    value = cache_status(o.REVALIDATED, o.EXPIRY, 60, b'GET "x"\\\xff\n', True, True, 304)
    assert value == (
        b"headgate; fwd=stale; fwd-status=304; ttl=60; stored; collapsed; "
        b'key="GET \\"x\\"\\\\"; detail=expired'
    )


def test_rfc9211_2_1_what_was_forwarded_for_is_no_hit():
    assert cache_status(o.STALE, o.UNREACHABLE, -5) == b"headgate; hit; ttl=-5; detail=unreachable"
    assert cache_status(o.STALE, o.IF_ERROR, -5, forwarded_status=503) == (
        b"headgate; fwd=stale; fwd-status=503; ttl=-5; detail=stale-if-error"
    )
    assert cache_status(o.BYPASS, o.PRECONDITION) == b"headgate; fwd=request; detail=precondition"


def test_rfc9211_2_1_a_hit_is_what_nothing_was_forwarded_for():
    assert [word for number, word in enumerate(OUTCOMES) if o.is_hit(number)] == ["HIT", "STALE"]


def test_the_documentation_tells_every_outcome_and_every_reason():
    page = (Path(__file__).parents[3] / "docs" / "cache.md").read_text()
    sections = dict(section.split("\n", 1) for section in page.split("\n## ")[1:])
    tables = {name: re.findall(r"^\| `([A-Za-z-]+)` \|", text, re.M) for name, text in sections.items()}
    assert sorted(tables["What became of a request"]) == sorted(OUTCOMES)
    assert sorted(tables["Why a request was answered so"]) == sorted(REASONS[: o.STORED])
    # What is stored has no reason in the log.
    assert sorted(tables["Why an answer was not stored"]) == sorted(REASONS[o.STORED + 1 :])
