"""Wishes that a route does not tell apart: languages by RFC 4647, and both fields in a request."""

import pytest

from headgate.cache.narrowing import best_language, narrow
from headgate.cache.policy import Policy
from headgate.cache.vary import MAX_MEMBERS
from headgate.http.fields import Fields

SITE = (b"en", b"de", b"pt-br", b"zh-hant")


def request_fields(*lines):
    made = Fields([], [])
    for name, value in lines:
        made.add(name, value)
    return made


@pytest.mark.parametrize(
    ("value", "language"),
    [
        (b"de", b"de"),
        (b"DE", b"de"),
        (b"fr, de", b"de"),
        (b"fr;q=0.5, de;q=1.0", b"de"),
        (b"en;q=0.8, de;q=0.9", b"de"),
        (b"de, en", b"de"),
        (b"en, de", b"en"),
        (b" de ; q = 0.5 ,en; q=0.4", b"de"),
        (b"de;q=0, fr", b"en"),
        (b"de;q=0.001", b"de"),
        (b"de;q=2", b"en"),
        (b"de;level=1", b"en"),
        (b"de;", b"en"),
        (b"", b"en"),
        (b"*", b"en"),
        (b"*, de;q=0.5", b"de"),
        (b"de-" + b"a-" * 62 + b"a", b"de"),
        (b"de-" + b"a-" * 63 + b"a, pt", b"pt-br"),  # longer than any language
        (b",,;q=1,-,de", b"de"),
    ],
)
def test_rfc9110_12_5_4_the_best_language(value, language):
    assert best_language(value, SITE) == language


@pytest.mark.parametrize(
    ("value", "language"),
    [
        (b"de-CH-1996", b"de"),
        (b"zh-Hant-CN-x-private1-private2", b"zh-hant"),
        (b"zh-Hant-x-a", b"zh-hant"),
        (b"pt-BR", b"pt-br"),
        (b"pt", b"pt-br"),
        (b"zh", b"zh-hant"),
        (b"zh-hans, de;q=0.1", b"de"),
        (b"d, de;q=0.1", b"de"),
        (b"deu", b"en"),
    ],
)
def test_rfc4647_3_4_lookup(value, language):
    assert best_language(value, SITE) == language


def test_ranges_at_the_limit_and_one_more():
    others = [b"x%d" % number for number in range(MAX_MEMBERS - 1)]
    assert best_language(b",".join([*others, b"de"]), SITE) == b"de"
    assert best_language(b",".join([*others, b"xx", b"de"]), SITE) == b"en"
    assert best_language(b"," * 100_000 + b"de", SITE) == b"en"


def test_a_request_asks_for_one_language_of_its_route():
    policy = Policy("a")
    policy.languages = SITE
    asked = request_fields((b"accept-language", b"fr"), (b"accept-language", b"de-AT"), (b"accept", b"*/*"))
    narrow(asked, policy)
    assert asked.get_all(b"accept-language") == [b"de"]
    assert (asked.get_all(b"accept"), b"accept-encoding" in asked.names) == ([b"*/*"], False)
    bare = request_fields()
    narrow(bare, policy)
    assert bare.get_all(b"accept-language") == [b"en"]


def test_a_route_that_tells_everything_apart_changes_nothing():
    asked = request_fields((b"accept-language", b"fr , de"), (b"accept-encoding", b"x"))
    narrow(asked, Policy("a"))
    assert (asked.names, asked.lines) == (
        [b"accept-language", b"accept-encoding"],
        request_fields((b"accept-language", b"fr , de"), (b"accept-encoding", b"x")).lines,
    )


def test_both_wishes():
    policy = Policy("a")
    policy.languages = (b"de",)
    policy.codings = (b"gzip",)
    asked = request_fields((b"accept-language", b"fr"), (b"accept-encoding", b"br, gzip"))
    narrow(asked, policy)
    assert asked.get_all(b"accept-language") + asked.get_all(b"accept-encoding") == [b"de", b"gzip"]
