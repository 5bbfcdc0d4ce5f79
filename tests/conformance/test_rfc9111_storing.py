"""RFC 9111 section 3: what a shared cache may store, and what of it.

All rules and the tests that hold them stand in docs/conformance-cache.md.
"""

import pytest

from headgate.cache.outcome import REASONS
from headgate.cache.policy import Policy
from headgate.cache.storing import may_store
from headgate.cache.update import merge_304, still_storable
from headgate.testing.cache import NOW, request_of, response_of, stored_of

FRESH = ("Cache-Control", "max-age=60")
AUTHORIZATION = ("Authorization", "Basic eA==")


def verdict(*lines, status=200, request=None):
    stored, reason = may_store(request or request_of(), response_of(*lines, status=status), Policy(), NOW)
    assert stored == (REASONS[reason] == "stored")
    return REASONS[reason]


@pytest.mark.parametrize("method", [b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"M-SEARCH"])
def test_rfc9111_3_methods(method):
    assert verdict(FRESH) == "stored"
    assert verdict(FRESH, request=request_of(method=method)) == "method"


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_rfc9111_3_interim_responses_are_not_stored(status):
    assert verdict(FRESH, status=status) == "status"


def test_rfc9111_3_a_304_is_not_stored():
    assert verdict(FRESH, status=304) == "status"


@pytest.mark.parametrize(
    "value", ["no-store", "max-age=60, no-store", "No-StOrE", "public, no-store, s-maxage=60"]
)
def test_rfc9111_3_no_store(value):
    assert verdict(("Cache-Control", value), ("Expires", 60)) == "no-store"


@pytest.mark.parametrize("value", ["private", "private, max-age=60", "public, private, max-age=60"])
def test_rfc9111_3_private(value):
    assert verdict(("Cache-Control", value)) == "private"


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (("Expires", 60), 599),
        (("Cache-Control", "max-age=60"), 599),
        (("Cache-Control", "s-maxage=60"), 599),
        (("Cache-Control", "stale-while-revalidate=60, max-age=0"), 599),
    ],
)
def test_rfc9111_3_one_of_these_makes_it_cacheable(line, status):
    assert verdict(line, status=status) == "stored"


def test_rfc9111_3_public_or_a_status_that_is_cacheable_by_default():
    assert verdict(("Last-Modified", -100), ("Cache-Control", "public"), status=599) == "stored"
    assert verdict(("Last-Modified", -100), status=200) == "stored"
    assert verdict(("Last-Modified", -100), status=404) == "stored"


@pytest.mark.parametrize("lines", [(), (("Content-Type", "text/html"),), (("Cache-Control", "foo"),)])
def test_rfc9111_3_without_any_it_is_not_stored(lines):
    assert verdict(*lines) == "no-lifetime"


def test_rfc9111_3_1_every_field_is_stored():
    lines = [
        ("Cache-Control", "max-age=60"),
        ("Expires", 60),
        ("X-Unknown", "1"),
        ("X-Unknown", "2"),
        ("Content-Encoding", "unknown"),
        ("Set-Cookie", "a=b"),
        ("Warning", "110 - x"),
        ("Trailer", "X"),
    ]
    stored = stored_of(*lines)
    assert stored.fields.names == [name.lower().encode() for name, _ in lines]
    assert stored.fields.get_all(b"x-unknown") == [b"1", b"2"]


def test_rfc9111_3_1_fields_of_the_connection_are_not_stored():
    stored = stored_of(
        FRESH,
        ("Connection", "a, B"),
        ("A", "1"),
        ("b", "2"),
        ("C", "3"),
        ("Keep-Alive", "x"),
        ("Proxy-Connection", "x"),
        ("TE", "x"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "x"),
        ("Proxy-Authenticate", "x"),
        ("Proxy-Authentication-Info", "x"),
        ("Proxy-Authorization", "x"),
    )
    assert stored.fields.names == [b"cache-control", b"c"]


@pytest.mark.parametrize("directive", ["no-cache", "private"])
def test_rfc9111_3_1_fields_that_directives_name_are_not_stored(directive):
    stored = stored_of(
        ("Cache-Control", f'max-age=60, {directive}="A, set-cookie"'), ("a", "1"), ("Set-Cookie", "x")
    )
    assert stored.fields.names == [b"cache-control"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("max-age=60", "authorization"),
        ("max-age=60, proxy-revalidate", "authorization"),
        ("max-age=60, public", "stored"),
        ("max-age=60, must-revalidate", "stored"),
        ("s-maxage=60", "stored"),
    ],
)
def test_rfc9111_3_5_answers_to_credentials(value, reason):
    assert verdict(("Cache-Control", value), request=request_of(AUTHORIZATION)) == reason
    assert verdict(("Expires", 60), request=request_of(AUTHORIZATION)) == "authorization"


@pytest.mark.parametrize(("request_", "kept"), [(request_of(AUTHORIZATION), False), (request_of(), True)])
def test_rfc9111_3_5_what_a_304_takes_away(request_, kept):
    """Only public made it everybody's, if it was the answer to credentials, whoever has it confirmed."""
    stored = stored_of(("Cache-Control", "max-age=60, public"), ("ETag", '"a"'), request=request_)
    for said, expected in (("max-age=60, public", True), ("max-age=60", kept)):
        response = response_of(("Cache-Control", said), ("ETag", '"a"'), status=304, length=0)
        assert merge_304(stored, request_of(), response, Policy(), NOW, NOW) is stored
        assert still_storable(stored, Policy(), NOW) is expected


@pytest.mark.parametrize("lines", [["*"], ["Accept, *"], ["Accept", "*"], [", *,"]])
def test_rfc9111_4_1_a_star_is_not_stored(lines):
    assert verdict(FRESH, *[("Vary", line) for line in lines]) == "vary-any"


def test_rfc9111_5_2_1_5_no_store_of_a_request():
    assert verdict(FRESH, request=request_of(("Cache-Control", "no-store"))) == "client-no-store"


def test_rfc9111_5_2_2_3_must_understand():
    said = ("Cache-Control", "max-age=60, must-understand, no-store")
    assert verdict(said) == "stored"
    assert verdict(said, status=599) == "not-understood"
    assert verdict(("Cache-Control", "max-age=60, must-understand"), status=599) == "not-understood"


def test_rfc9111_5_2_2_4_no_cache_is_stored_to_be_confirmed():
    assert verdict(("Cache-Control", "no-cache"), ("ETag", '"a"')) == "stored"


def test_rfc9111_7_3_set_cookie():
    assert verdict(FRESH, ("Set-Cookie", "a=b")) == "stored"
    assert verdict(("Last-Modified", -100), ("Set-Cookie", "a=b")) == "set-cookie"


def test_rfc9110_9_3_3_an_answer_to_post():
    post = request_of(method=b"POST", target=b"/a")
    assert verdict(("Expires", 60), ("Content-Location", "/a"), request=post) == "stored"
    assert verdict(("Expires", 60), request=post) == "method"
    assert verdict(("Expires", 60), ("Content-Location", "/b"), request=post) == "method"
    assert verdict(("Last-Modified", -60), ("Content-Location", "/a"), request=post) == "no-lifetime"


@pytest.mark.parametrize("status", [428, 429, 431, 511])
def test_rfc6585_statuses_that_must_not_be_stored(status):
    assert verdict(FRESH, status=status) == "status"
