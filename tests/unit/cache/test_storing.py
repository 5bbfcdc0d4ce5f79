"""What is stored, why not, and as what."""

import pytest

from headgate.cache import entry as e
from headgate.cache import outcome as o
from headgate.cache.outcome import REASONS
from headgate.cache.policy import COOKIES_REFUSE, COOKIES_STRIP, Policy
from headgate.cache.storing import MAX_PLAIN_HEAD, NEVER_STORED, build, may_store, names_target, refresh
from headgate.testing.cache import NOW, fields_of, request_of, response_of, stored_of

FRESH = ("Cache-Control", "max-age=60")


def verdict(*lines, request=None, status=200, policy=None, length=5):
    stored, reason = may_store(
        request or request_of(), response_of(*lines, status=status, length=length), policy or Policy(), NOW
    )
    assert stored == (reason == o.STORED)
    return REASONS[reason]


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([FRESH], "stored"),
        ([("Cache-Control", "s-maxage=5")], "stored"),
        ([("Expires", 60), ("Date", 0)], "stored"),
        ([("Last-Modified", -100)], "stored"),
        ([], "no-lifetime"),
        ([("ETag", '"a"')], "stored"),
        ([("Cache-Control", "max-age=0")], "no-use"),
        ([("Cache-Control", "max-age=0"), ("ETag", '"a"')], "stored"),
        ([("Cache-Control", "max-age=0, stale-if-error=60")], "stored"),
        ([("Cache-Control", "max-age=0, stale-while-revalidate=60")], "stored"),
        ([("Cache-Control", "no-cache, max-age=60")], "no-use"),
        ([("Cache-Control", "no-cache"), ("ETag", '"a"')], "stored"),
        ([("Cache-Control", 'no-cache="a", max-age=60')], "stored"),
        ([("Cache-Control", "no-store, max-age=60")], "no-store"),
        ([("Cache-Control", "private, max-age=60")], "private"),
        ([("Cache-Control", 'private="a", max-age=60')], "stored"),
        ([("Cache-Control", "max-age=60, no-store, must-understand")], "stored"),
        ([("CDN-Cache-Control", "max-age=60"), ("Cache-Control", "no-store")], "stored"),
        ([("CDN-Cache-Control", "no-store"), FRESH], "no-store"),
        ([("CDN-Cache-Control", "private"), FRESH], "private"),
        ([FRESH, ("Vary", "*")], "vary-any"),
        ([FRESH, ("Vary", "Accept, *")], "vary-any"),
        ([FRESH, ("Vary", "Accept")], "stored"),
        ([FRESH, ("Set-Cookie", "a=b")], "stored"),
        ([("Last-Modified", -100), ("Set-Cookie", "a=b")], "set-cookie"),
        ([FRESH, ("Content-Range", "nonsense"), ("Content-Encoding", "nonsense")], "stored"),
    ],
)
def test_why(lines, reason):
    assert verdict(*lines) == reason


@pytest.mark.parametrize("status", sorted(NEVER_STORED))
def test_statuses_that_are_true_for_one_request_only(status):
    assert verdict(FRESH, status=status) == "status"


@pytest.mark.parametrize("status", [100, 103, 101])
def test_no_interim_response_is_stored(status):
    assert verdict(FRESH, status=status) == "status"


@pytest.mark.parametrize(
    "status", [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599]
)
def test_any_other_status_with_a_lifetime(status):
    assert verdict(FRESH, status=status) == "stored"


def test_must_understand_and_a_status_that_nobody_knows():
    assert verdict(("Cache-Control", "max-age=60, must-understand"), status=599) == "not-understood"


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([FRESH], "authorization"),
        ([("Expires", 60)], "authorization"),
        ([("Last-Modified", -1000)], "authorization"),
        ([("Cache-Control", "max-age=60, public")], "stored"),
        ([("Cache-Control", "max-age=60, must-revalidate")], "stored"),
        ([("Cache-Control", "s-maxage=60")], "stored"),
        ([("Cache-Control", "max-age=60, proxy-revalidate")], "authorization"),
    ],
)
def test_answers_to_credentials(lines, reason):
    assert verdict(*lines, request=request_of(("Authorization", "Basic eA=="))) == reason


def test_what_a_request_forbids():
    assert verdict(FRESH, request=request_of(("Cache-Control", "no-store"))) == "client-no-store"
    assert verdict(FRESH, request=request_of(("Cache-Control", "no-cache"))) == "stored"
    assert verdict(FRESH, request=request_of(method=b"HEAD")) == "method"
    assert verdict(FRESH, request=request_of(method=b"PUT")) == "method"


def test_a_guess_is_not_kept_for_clients_with_cookies_when_nothing_says_so():
    cookie = request_of(("Cookie", "a=b"))
    assert verdict(("ETag", '"a"'), request=cookie) == "no-lifetime"
    assert verdict(FRESH, request=cookie) == "stored"


def test_an_answer_to_post_that_is_the_answer_to_get():
    post = request_of(method=b"POST", target=b"/a?b")
    assert verdict(FRESH, ("Content-Location", "/a?b"), request=post) == "stored"
    assert verdict(FRESH, ("Content-Location", "http://Example.com/a?b"), request=post) == "stored"
    assert verdict(FRESH, ("Content-Location", "/other"), request=post) == "method"
    assert verdict(FRESH, request=post) == "method"
    assert verdict(FRESH, ("Content-Location", "/a?b"), request=post, status=201) == "method"
    assert verdict(("ETag", '"a"'), ("Content-Location", "/a?b"), request=post) == "no-lifetime"


@pytest.mark.parametrize(
    "location", [b"a?b", b"./a?b", b"//Example.com:80/a?b", b"https://example.com/a?b#c"]
)
def test_what_names_the_same_target(location):
    """As references are read for invalidation (RFC 3986 section 5.2)."""
    assert names_target(location, request_of(target=b"/a?b"))


@pytest.mark.parametrize("status", [400, 413, 415])
def test_an_error_that_a_request_may_have_provoked(status):
    """CPDoS: kept by an origin's or an operator's own word alone, and not for a large head."""
    own, modified = FRESH, ("Last-Modified", "Sun, 06 Nov 1994 08:49:37 GMT")
    others = sum(len(line) for line in request_of(("X", "")).fields.lines)
    at_limit = request_of(("X", "a" * (MAX_PLAIN_HEAD - others)))
    one_more = request_of(("X", "a" * (MAX_PLAIN_HEAD - others + 1)))
    assert verdict(own, status=status, request=at_limit) == "stored"
    assert verdict(own, status=status, request=one_more) == "status"
    assert verdict(own, status=404, request=one_more) == "stored"
    for name in ("ttl", "default_ttl"):
        policy = Policy()
        setattr(policy, name, 60.0)
        assert verdict(modified, ("Cache-Control", "public"), status=status, policy=policy) == "status"
    policy = Policy()
    policy.negative_ttl = {status: 10.0}
    assert verdict(status=status, policy=policy, request=at_limit) == "stored"
    assert verdict(status=status, policy=policy, request=one_more) == "status"


@pytest.mark.parametrize(
    "location",
    [b"", b"b?b", b"//example.org/a?b", b"ftp://example.com/a?b", b"http://example.com", b"http://x/a?b"],
)
def test_what_names_another_target(location):
    assert not names_target(location, request_of(target=b"/a?b"))


def test_what_a_route_forbids_and_allows():
    policy = Policy()
    policy.set_cookie = COOKIES_REFUSE
    assert verdict(FRESH, ("Set-Cookie", "a=b"), policy=policy) == "set-cookie"
    policy.set_cookie = COOKIES_STRIP
    assert verdict(("Last-Modified", -100), ("Set-Cookie", "a=b"), policy=policy) == "stored"
    policy.max_object = 5
    assert verdict(FRESH, policy=policy, length=5) == "stored"
    assert verdict(FRESH, policy=policy, length=6) == "too-large"
    policy.negative_ttl = {503: 2.0}
    assert verdict(status=503, policy=policy) == "stored"


def test_a_part_is_stored_by_those_who_can():
    asked = request_of(("Range", "bytes=0-4"))
    part = response_of(FRESH, ("Content-Range", "bytes 0-4/10"), status=206)
    assert may_store(asked, part, Policy(), NOW) == (False, o.RANGE)
    assert may_store(asked, part, Policy(), NOW, takes_parts=True) == (True, o.STORED)
    assert may_store(request_of(), part, Policy(), NOW, takes_parts=True) == (False, o.RANGE)
    nonsense = response_of(FRESH, ("Content-Range", "nonsense"), status=206)
    assert may_store(asked, nonsense, Policy(), NOW, takes_parts=True) == (False, o.RANGE)
    secret = response_of(("Cache-Control", "private"), ("Content-Range", "bytes 0-4/10"), status=206)
    assert may_store(asked, secret, Policy(), NOW, takes_parts=True) == (False, o.PRIVATE)


def test_what_is_stored_of_the_fields():
    stored = stored_of(
        ("Cache-Control", 'max-age=60, no-cache="a, b", private="C"'),
        ("Connection", "x-mine"),
        ("X-Mine", "1"),
        ("Keep-Alive", "5"),
        ("Proxy-Authenticate", "x"),
        ("Proxy-Authentication-Info", "x"),
        ("Age", "5"),
        ("A", "1"),
        ("B", "2"),
        ("B", "3"),
        ("C", "4"),
        ("D", "5"),
        ("Set-Cookie", "x=y"),
    )
    assert stored.fields.names == [b"cache-control", b"d", b"set-cookie"]
    assert (stored.age_value, stored.born) == (5, NOW - 5)


def test_the_response_itself_is_left_alone():
    response = response_of(FRESH, ("Age", "5"), ("Connection", "close"))
    build(b"k", request_of(), response, Policy(), NOW, NOW)
    assert response.fields.names == [b"cache-control", b"age", b"connection"]


def test_numbers():
    stored = stored_of(
        ("Cache-Control", "max-age=60, stale-while-revalidate=7, stale-if-error=8, immutable"),
        ("Date", -10),
        ("Age", "4"),
        ("ETag", 'W/"x"'),
        ("Last-Modified", -1000),
        ("Cache-Tag", "a, b,a"),
        ("Surrogate-Key", "c  b"),
        ("Vary", "Accept-Language"),
        took=2.0,
        request=request_of(("Accept-Language", "de")),
    )
    assert (stored.request_time, stored.response_time, stored.date) == (NOW - 2, NOW, int(NOW) - 10)
    assert (stored.born, stored.lifetime, stored.fresh_until) == (NOW - 10, 60.0, NOW + 50)
    assert (stored.stale_while_revalidate, stored.stale_if_error) == (7.0, 8.0)
    assert stored.stale_if_unreachable == Policy().stale_if_unreachable
    assert stored.flags == e.EXPLICIT | e.IMMUTABLE
    assert (stored.etag, stored.last_modified) == (b'W/"x"', int(NOW) - 1000)
    assert stored.tags == (b"a", b"b", b"c")
    assert stored.vary == ((b"accept-language", b"de"),)


@pytest.mark.parametrize(
    "value",
    ["max-age=5, must-revalidate", "max-age=5, proxy-revalidate", "s-maxage=5", "max-age=5, no-cache"],
)
def test_what_may_never_be_stale(value):
    stored = stored_of(("Cache-Control", value + ", stale-while-revalidate=60, stale-if-error=60"))
    assert stored.flags & e.MUST_REVALIDATE
    assert (stored.stale_while_revalidate, stored.stale_if_error, stored.stale_if_unreachable) == (
        0.0,
        0.0,
        0.0,
    )
    assert (stored.flags & e.NO_CACHE != 0) == ("no-cache" in value)


def test_a_route_may_let_s_maxage_be_stale():
    policy = Policy()
    policy.s_maxage_allows_stale = True
    stored = stored_of(("Cache-Control", "s-maxage=5, stale-while-revalidate=60"), policy=policy)
    assert stored.stale_while_revalidate == 60.0
    assert stored.flags & e.MUST_REVALIDATE == 0


def test_what_has_no_lifetime_is_never_used_without_the_origin():
    stored = stored_of(("ETag", '"a"'))
    assert (stored.lifetime, stored.stale_if_unreachable) == (0.0, 0.0)
    assert stored.flags == e.MUST_REVALIDATE


def test_defaults_of_a_route_for_stale_uses():
    policy = Policy()
    policy.stale_while_revalidate, policy.stale_if_error, policy.stale_if_unreachable = 5.0, 100.0, 50.0
    stored = stored_of(FRESH, policy=policy)
    assert (stored.stale_while_revalidate, stored.stale_if_error, stored.stale_if_unreachable) == (
        5.0,
        100.0,
        100.0,
    )
    said = stored_of(
        ("Cache-Control", "max-age=5, stale-if-error=0, stale-while-revalidate=0"), policy=policy
    )
    assert (said.stale_while_revalidate, said.stale_if_error) == (0.0, 0.0)


def test_a_guess_is_marked():
    assert stored_of(("Last-Modified", -1000)).flags == e.HEURISTIC


def test_refresh_works_out_what_merged_fields_say():
    stored = stored_of(FRESH, ("Date", 0), ("ETag", '"a"'))
    stored.flags |= e.SOFT_PURGED
    stored.fields = fields_of(("Cache-Control", "max-age=10"), ("Date", 100), ("ETag", '"a"'), ("Age", "3"))
    refresh(stored, Policy(), NOW + 100, NOW + 101)
    assert (stored.born, stored.lifetime, stored.age_value) == (NOW + 97, 10.0, 3)
    assert stored.flags == e.EXPLICIT
    assert b"age" not in stored.fields.names
