"""What `[cache]` and `[route.cache]` mean together."""

from gate_text import config_of, edited

from headgate.cache.policy import COOKIES_REFUSE, COOKIES_STRIP, QUERY_WITHOUT, Policy
from headgate.config.cache import Cache, RouteCache
from headgate.config.cache_policy import policy_in_force, policy_of

ACTION = 'upstream = "api"'


def route_cache(text):
    return config_of(edited((ACTION, f"{ACTION}\n[route.cache]\n{text}"))).route[0].cache


def test_a_route_makes_a_policy():
    own = route_cache(
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


def test_tables_that_say_nothing_make_the_policy_that_nobody_has_touched():
    policy, untouched = policy_of(Cache(), RouteCache(), "a"), Policy("a")
    # Sizes are the configuration's alone: the rules know no memory.
    names = [name for name in dir(Policy) if not name.startswith(("_", "max_"))]
    assert "uncacheable_ttl" in names
    assert {name: getattr(policy, name) for name in names} == {
        name: getattr(untouched, name) for name in names
    }


def test_what_a_route_leaves_to_all():
    general = Cache(accept_encoding=["BR"], targeted_fields=["Our-Cache-Control"], s_maxage_allows_stale=True)
    policy = policy_of(general, RouteCache(), "a")
    assert (policy.codings, policy.targeted) == ((b"br",), (b"our-cache-control",))
    assert policy.s_maxage_allows_stale
    own = RouteCache(accept_encoding=[], targeted_fields=[], s_maxage_allows_stale=False)
    policy = policy_of(general, own, "a")
    assert (policy.codings, policy.targeted, policy.s_maxage_allows_stale) == ((), (), False)


def test_what_is_in_force_and_who_says_so():
    general = Cache(enabled=True, targeted_fields=["Our-Cache-Control"], max_object="1MiB")
    own = RouteCache(ttl="1h", query="none", negative_ttl={"404": "10s"})
    shown = policy_in_force(general, own, has_sticky_cookie=True)
    assert set(shown) == set(RouteCache.model_fields)
    expected = {
        "enabled": (True, "[cache]"),
        "ttl": ("1h", "route"),
        "query": ("none", "route"),
        "negative_ttl": ({"404": "10s"}, "route"),
        "targeted_fields": (["Our-Cache-Control"], "[cache]"),
        "accept_encoding": ([], "default"),
        "max_object": ("1MiB", "[cache]"),
        "set_cookie": ("refuse", "upstream"),
        "default_ttl": (None, "default"),
        "max_variants": (32, "default"),
    }
    assert {key: (shown[key]["value"], shown[key]["from"]) for key in expected} == expected
