"""`[cache]` and `[route.cache]`: what they mean as a policy."""

import pytest
from gate_text import config_of, edited, told

from headgate.cache.policy import COOKIES_REFUSE, COOKIES_STRIP, QUERY_WITHOUT
from headgate.config.cache import Cache, RouteCache, policy_of

ENDPOINTS = 'endpoints = ["http://10.0.0.1:8080"]'
ACTION = 'upstream = "api"'


def with_route_cache(text):
    return config_of(edited((ACTION, f"{ACTION}\n[route.cache]\n{text}"))).route[0].cache


def test_it_is_off_until_somebody_asks():
    config = config_of(edited())
    assert not config.cache.enabled
    assert config.route[0].cache.enabled is None


def test_the_whole_table():
    config = config_of(
        edited((ENDPOINTS, ENDPOINTS + "\n[cache]\nenabled = true\nmemory = '1GiB'\nmax_object = '4MiB'"))
    )
    assert (config.cache.enabled, config.cache.memory, config.cache.max_object) == (True, 1 << 30, 4 << 20)
    assert config_of(edited()).from_json(config.to_json()) == config


def test_a_route_makes_a_policy():
    own = with_route_cache(
        "ttl = '1h'\nmin_ttl = '1s'\nmax_ttl = '1d'\nnegative_ttl = { 404 = '10s' }\nset_cookie = 'refuse'\n"
        "key_headers = ['X-Country']\nkey_cookies = ['lang']\nquery = 'without'\nquery_names = ['utm_*']\n"
        "query_sorted = true\nbypass_headers = ['Authorization']\nbypass_cookies = ['sid']\nmax_variants = 4\n"
        "stale_while_revalidate = '5s'\nstale_if_error = '1m'\nheuristic = '0%'\nignore_client_no_cache = true"
    )
    policy = policy_of(Cache(), own, "a")
    assert (policy.ttl, policy.default_ttl, policy.min_ttl, policy.max_ttl) == (3600.0, -1.0, 1.0, 86400.0)
    assert policy.negative_ttl == {404: 10.0}
    assert policy.set_cookie == COOKIES_REFUSE
    assert (policy.key_fields, policy.key_cookies) == ((b"x-country",), (b"lang",))
    assert (policy.query, policy.query_names, policy.query_sorted) == (QUERY_WITHOUT, {b"utm_*"}, True)
    assert (policy.bypass_fields, policy.bypass_cookies) == ((b"authorization",), (b"sid",))
    assert (policy.stale_while_revalidate, policy.stale_if_error) == (5.0, 60.0)
    assert (policy.heuristic_fraction, policy.ignore_client_no_cache) == (0.0, True)
    assert (policy.max_variants, policy.max_object) == (4, 8 << 20)


def test_a_route_may_store_less_than_all_others():
    policy = policy_of(Cache(), RouteCache(max_object="1KiB"), "a")
    assert policy.max_object == 1024


def test_a_sticky_cookie_is_never_stored():
    assert policy_of(Cache(), RouteCache(), "a", has_sticky_cookie=True).set_cookie == COOKIES_REFUSE
    stripped = policy_of(Cache(), RouteCache(set_cookie="strip"), "a", has_sticky_cookie=True)
    assert stripped.set_cookie == COOKIES_STRIP


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("key_headers = ['Host']", "the host is in the key already"),
        ("negative_ttl = { 200 = '1s' }", 'expected a status from "400" to "599", got "200"'),
        ("query = 'some'", 'got "some"'),
        ("max_variants = 0", "got 0"),
        ("key_cookies = ['a b']", 'got "a b"'),
    ],
)
def test_what_it_cannot_be(text, end):
    (line,) = told(edited((ACTION, f"{ACTION}\n[route.cache]\n{text}")))
    assert end in line
