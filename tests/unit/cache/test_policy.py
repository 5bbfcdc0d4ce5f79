"""An untouched policy is the strict one."""

from headgate.cache.policy import COOKIES_KEEP, QUERY_ALL, Policy


def test_the_defaults_guess_little_and_override_nothing():
    policy = Policy()
    assert (policy.ttl, policy.default_ttl, policy.min_ttl, policy.max_ttl) == (-1.0, -1.0, 0.0, -1.0)
    assert (policy.stale_while_revalidate, policy.stale_if_error) == (0.0, 0.0)
    assert (policy.heuristic_fraction, policy.heuristic_max) == (0.1, 86400.0)
    assert not policy.ignore_client_no_cache
    assert not policy.s_maxage_allows_stale
    assert not policy.negative_ttl
    assert (policy.set_cookie, policy.query, policy.max_variants) == (COOKIES_KEEP, QUERY_ALL, 32)
    assert policy.targeted == (b"cdn-cache-control",)


def test_repr():
    assert repr(Policy("api")) == "<Policy api>"
    assert repr(Policy()) == "<Policy default>"


def test_two_policies_share_nothing():
    one, other = Policy(), Policy()
    one.negative_ttl[404] = 5.0
    assert other.negative_ttl == {}
