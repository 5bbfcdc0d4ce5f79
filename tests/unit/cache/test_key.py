"""Primary keys."""

import pytest

from headgate.cache import policy as rules
from headgate.cache.key import (
    MAX_KEY,
    MAX_PARAMETERS,
    cookie_values,
    method_is_answered,
    method_is_stored,
    normal_query,
    primary_key,
    uri_key,
)
from headgate.cache.policy import Policy
from headgate.http.fields import Fields


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


def policy(**values):
    made = Policy()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_the_plain_key_is_the_uri():
    assert primary_key(Policy(), True, b"a.example", b"/x?y=1", fields((b"cookie", b"a=b"))) == (
        b"https://a.example/x?y=1"
    )


@pytest.mark.parametrize(
    ("secure", "host", "expected"),
    [
        (True, b"A.Example:443", b"https://a.example/"),
        (False, b"a.example:80", b"http://a.example/"),
        (False, b"a.example:443", b"http://a.example:443/"),
        (True, b"a.example:", b"https://a.example/"),
        (True, b"a.example.", b"https://a.example/"),
        (True, b"[::0:1]:8443", b"https://[::1]:8443/"),
    ],
)
def test_authorities_are_normal(secure, host, expected):
    assert primary_key(Policy(), secure, host, b"/", fields()) == expected


@pytest.mark.parametrize("host", [b"", b"a b", b"a@b", b"a/b", b"a\nb", b"a:0"])
def test_without_a_host_there_is_no_key(host):
    assert primary_key(Policy(), True, host, b"/", fields()) == b""


@pytest.mark.parametrize("target", [b"*", b"", b"a.example:443"])
def test_only_targets_in_origin_form_have_a_key(target):
    assert primary_key(Policy(), True, b"a", target, fields()) == b""


def test_keys_at_the_limit_and_one_more():
    before = len(b"http://a")
    assert primary_key(Policy(), False, b"a", b"/" + b"x" * (MAX_KEY - before - 1), fields()) != b""
    assert primary_key(Policy(), False, b"a", b"/" + b"x" * (MAX_KEY - before), fields()) == b""


def test_different_queries_are_different_keys():
    assert uri_key(Policy(), True, b"a", b"/?a=1") != uri_key(Policy(), True, b"a", b"/?a=2")
    assert uri_key(Policy(), True, b"a", b"/?") != uri_key(Policy(), True, b"a", b"/")


def test_scheme_and_host_may_be_left_out():
    assert primary_key(policy(key_scheme=False), True, b"a", b"/", fields()) == b"://a/"
    assert primary_key(policy(key_host=False), True, b"a", b"/", fields()) == b"https:///"


def test_fields_in_the_key():
    made = policy(key_fields=(b"x-device", b"accept-language"))
    request = fields((b"x-device", b"phone"), (b"accept-language", b"DE, en"))
    assert primary_key(made, True, b"a", b"/", request) == (
        b"https://a/\nx-device=phone\naccept-language=de,en"
    )
    assert primary_key(made, True, b"a", b"/", fields((b"x-device", b""))) == (
        b"https://a/\nx-device=\naccept-language"
    )


def test_cookies_in_the_key():
    made = policy(key_cookies=(b"plan",))
    assert primary_key(made, True, b"a", b"/", fields()) == b"https://a/\ncookie:plan"
    one = fields((b"cookie", b"sid=9; plan=pro"))
    assert primary_key(made, True, b"a", b"/", one) == b"https://a/\ncookie:plan=pro"
    two = fields((b"cookie", b"plan=pro; plan=free"))
    assert primary_key(made, True, b"a", b"/", two) == b"https://a/\ncookie:plan=pro=free"


def test_parts_cannot_be_forged_by_another():
    """A value holds no line feed, so what looks like a part in a path or a value is none."""
    made = policy(key_fields=(b"x", b"y"))
    keys = {
        primary_key(made, True, b"a", b"/", fields((b"x", b"1"), (b"y", b"2"))),
        primary_key(made, True, b"a", b"/", fields((b"x", b"1=y=2"))),
        primary_key(made, True, b"a", b"/", fields((b"y", b"1"), (b"x", b"2"))),
        primary_key(made, True, b"a", b"/", fields((b"x", b""), (b"y", b""))),
        primary_key(made, True, b"a", b"/", fields()),
    }
    assert len(keys) == 5


def test_cookies_are_split():
    lines = fields((b"cookie", b"a=1; b=2=3;c ; =4;  a = 5 "), (b"cookie", b"a="))
    assert cookie_values(b"a", lines) == [b"1", b"5", b""]
    assert cookie_values(b"b", lines) == [b"2=3"]
    assert cookie_values(b"c", lines) == []


@pytest.mark.parametrize(
    ("values", "query", "expected"),
    [
        ({"query": rules.QUERY_NONE}, b"?a=1", b""),
        ({"query_sorted": True}, b"?b=1&a=2&b=0", b"?a=2&b=1&b=0"),
        ({"query_sorted": True}, b"?a=2&a=1", b"?a=2&a=1"),
        ({"query": rules.QUERY_ONLY, "query_names": frozenset([b"a"])}, b"?b=1&a=2&a", b"?a=2&a"),
        ({"query": rules.QUERY_ONLY, "query_names": frozenset([b"a"])}, b"?b=1", b""),
        (
            {"query": rules.QUERY_WITHOUT, "query_names": frozenset([b"utm_*", b"gclid"])},
            b"?utm_source=x&a=1&gclid=2&%75tm_medium=y",
            b"?a=1",
        ),
        (
            {"query": rules.QUERY_WITHOUT, "query_names": frozenset([b"a"])},
            b"?%61=1&%zz=2&%=3",
            b"?%zz=2&%=3",
        ),
        ({"query": rules.QUERY_WITHOUT, "query_names": frozenset([b"a"])}, b"?a%26b=1", b"?a%26b=1"),
    ],
)
def test_query_rules(values, query, expected):
    assert normal_query(policy(**values), query) == expected


def test_rules_are_in_the_key():
    made = policy(query=rules.QUERY_NONE)
    assert uri_key(made, True, b"a", b"/x?y") == uri_key(made, True, b"a", b"/x") == b"https://a/x"


def test_parameters_at_the_limit_and_one_more():
    def query(n):
        return b"?" + b"&".join(b"%05d" % i for i in range(n, 0, -1))

    made = policy(query_sorted=True)
    assert normal_query(made, query(MAX_PARAMETERS)) != query(MAX_PARAMETERS)
    assert normal_query(made, query(MAX_PARAMETERS + 1)) == query(MAX_PARAMETERS + 1)


def test_methods():
    assert method_is_stored(b"GET")
    assert not method_is_stored(b"HEAD")
    assert method_is_answered(b"GET")
    assert method_is_answered(b"HEAD")
    assert not method_is_answered(b"POST")
    assert not method_is_answered(b"get")
