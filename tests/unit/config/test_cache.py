"""`[cache]` and `[route.cache]`: what they take."""

import pytest
from gate_text import config_of, edited, told

from headgate.config.cache import MAX_CODINGS, MAX_LANGUAGES, MAX_TARGETED

ENDPOINTS = 'endpoints = ["http://10.0.0.1:8080"]'
ACTION = 'upstream = "api"'


def with_cache(text):
    return edited((ENDPOINTS, f"{ENDPOINTS}\n[cache]\n{text}"))


def with_route_cache(text):
    return edited((ACTION, f"{ACTION}\n[route.cache]\n{text}"))


def test_it_is_off_until_somebody_asks():
    config = config_of(edited())
    assert not config.cache.enabled
    assert config.route[0].cache.enabled is None


def test_the_whole_table():
    config = config_of(with_cache("enabled = true\nmemory = '1GiB'\nmax_object = '4MiB'"))
    assert (config.cache.enabled, config.cache.memory, config.cache.max_object) == (True, 1 << 30, 4 << 20)
    assert config_of(edited()).from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("key_headers = ['Host']", "the host is in the key already"),
        ("negative_ttl = { 200 = '1s' }", 'expected a status from "400" to "599", got "200"'),
        ("query = 'some'", 'got "some"'),
        ("max_variants = 0", "got 0"),
        ("key_cookies = ['a b']", 'got "a b"'),
        ("accept_encodings = ['br']", 'unknown key; did you mean "accept_encoding"?'),
        ("target_fields = []", 'unknown key; did you mean "targeted_fields"?'),
        ("s_maxage_allows_stal = true", 'unknown key; did you mean "s_maxage_allows_stale"?'),
        ("stale_if_unreachabel = '1h'", 'unknown key; did you mean "stale_if_unreachable"?'),
        ("disk = '1GiB'", "unknown key; `disk` belongs to [cache]"),
        ("s_maxage_allows_stale = 'true'", "write true without quotes"),
        ("heuristic_max = '0s'", 'expected a duration above zero, got "0s"'),
        ("uncacheable_ttl = 60", 'write "60s" for seconds'),
    ],
)
def test_what_it_cannot_be(text, end):
    (line,) = told(with_route_cache(text))
    assert end in line


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("accept_encoding = 'br'", 'put brackets around it: ["br"]'),
        (
            "accept_encoding = ['identity']",
            "content without a coding is what clients get who take none of them",
        ),
        ("accept_encoding = ['*']", "content without a coding is what clients get who take none of them"),
        ("accept_encoding = ['x-gzip']", 'write "gzip"'),
        ("accept_encoding = ['br;q=1']", "each coding is a text of its own, without a weight"),
        ("accept_encoding = ['br', 'BR']", "expected each name once, and br is there twice, got an array"),
        ("targeted_fields = ['Cache-Control']", "Cache-Control is obeyed where no targeted field is valid"),
        ("targeted_fields = ['Surrogate-Control']", "RFC 9213; let the origin send CDN-Cache-Control"),
        ("targeted_fields = ['CDN Cache-Control']", "expected the name of a header field"),
        ("targeted_fields = ['A-Cache-Control', 'a-cache-control']", "a-cache-control is there twice"),
    ],
)
def test_lists_that_cannot_be(text, end):
    for whole in (with_cache(text), with_route_cache(text)):
        (line,) = told(whole)
        assert end in line


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("accept_language = 'de'", 'put brackets around it: ["de"]'),
        ("accept_language = ['*']", 'a language such as "en" or "pt-BR"'),
        ("accept_language = ['de;q=1']", "each language is a text of its own, without a weight"),
        ("accept_language = ['de_DE']", 'a language such as "en" or "pt-BR"'),
        ("accept_language = ['de', 'DE']", "expected each name once, and de is there twice"),
    ],
)
def test_languages_that_cannot_be(text, end):
    (line,) = told(with_route_cache(text))
    assert end in line


def test_languages_at_the_limit_and_one_more():
    names = [f"x{'abcdefghijklmnopq'[at]}" for at in range(MAX_LANGUAGES + 1)]
    own = config_of(with_route_cache(f"accept_language = {names[:MAX_LANGUAGES]}")).route[0].cache
    assert len(own.accept_language) == MAX_LANGUAGES
    (line,) = told(with_route_cache(f"accept_language = {names}"))
    assert f"expected at most {MAX_LANGUAGES} names" in line


def test_lists_at_the_limit_and_one_more():
    for key, limit in (("accept_encoding", MAX_CODINGS), ("targeted_fields", MAX_TARGETED)):
        names = [f"x{number}-cache-control" for number in range(limit + 1)]
        config_of(with_cache(f"{key} = {names[:limit]}"))
        (line,) = told(with_cache(f"{key} = {names}"))
        assert f"expected at most {limit} names" in line
