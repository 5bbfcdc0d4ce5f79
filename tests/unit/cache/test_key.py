"""Primary keys."""

import pytest

from headgate.cache import policy as rules
from headgate.cache.key import (
    MAX_KEY,
    MAX_PARAMETERS,
    cookie_values,
    is_slice,
    method_is_answered,
    method_is_stored,
    normal_query,
    primary_key,
    uri_key,
)
from headgate.cache.policy import Policy
from headgate.http.fields import Fields
from headgate.http.forwarded import ForwardedInfo


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


def test_fields_in_the_key():
    made = policy(key_fields=(b"x-device", b"accept-language"))
    request = fields((b"x-device", b"phone"), (b"accept-language", b"DE, en"))
    assert primary_key(made, True, b"a", b"/", request) == (
        b"https://a/\nfield:x-device=phone\nfield:accept-language=de,en"
    )
    assert primary_key(made, True, b"a", b"/", fields((b"x-device", b""))) == (
        b"https://a/\nfield:x-device=\nfield:accept-language"
    )


def test_cookies_in_the_key():
    made = policy(key_cookies=(b"plan",))
    assert primary_key(made, True, b"a", b"/", fields()) == b"https://a/\ncookie:plan"
    one = fields((b"cookie", b"sid=9; plan=pro"))
    assert primary_key(made, True, b"a", b"/", one) == b"https://a/\ncookie:plan=pro"
    two = fields((b"cookie", b"plan=pro; plan=free"))
    assert primary_key(made, True, b"a", b"/", two) == b"https://a/\ncookie:plan=pro\ncookie:plan=free"


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


def asked(secure, host, /, **values):
    """What is told of a request that a client made itself, with `values` in place of some of it."""
    scheme = b"https" if secure else b"http"
    made = ForwardedInfo(b"192.0.2.1", scheme, host, 443 if secure else 80)
    for name, value in values.items():
        setattr(made, name, value)
    if values:
        made.is_plain = False
    return made


def test_a_plain_request_has_no_further_parts():
    plain = asked(True, b"a.example")
    assert plain.is_plain
    assert primary_key(Policy(), True, b"a.example", b"/", fields(), plain) == b"https://a.example/"


@pytest.mark.parametrize("name", [b"asked-host", b"asked-scheme", b"slice", b"host", b"listeners", b"asked"])
def test_no_field_in_the_key_looks_like_a_part_of_ours(name):
    """A client that may choose the value of a field must not choose what a proxy has said, or a slice."""
    made = policy(key_fields=(name,))
    forged = [
        primary_key(made, False, b"a", b"/", fields((name, value)), asked(False, b"a"))
        for value in (b"b", b"https", b"3", b"host=b")
    ]
    true = [
        primary_key(Policy(), False, b"a", b"/", fields(), asked(False, b"a", host=b"b", port=80)),
        primary_key(Policy(), False, b"a", b"/", fields(), asked(False, b"a", scheme=b"https", port=443)),
        primary_key(Policy(), False, b"a", b"/", fields(), asked(False, b"a"), 3),
        primary_key(policy(scope=b"b"), False, b"a", b"/", fields(), asked(False, b"a")),
    ]
    assert len(set(forged + true)) == len(forged) + len(true)


def test_two_cookies_are_not_one_with_an_equals_sign():
    made = policy(key_cookies=(b"plan",))
    two = fields((b"cookie", b"plan=pro; plan=free"))
    one = fields((b"cookie", b"plan=pro=free"))
    assert primary_key(made, True, b"a", b"/", one) != primary_key(made, True, b"a", b"/", two)


def test_a_digest_has_no_line_feed():
    """Of 300 long values some have a digest with the octet of a line feed in it."""
    made = policy(key_fields=(b"x",))
    for number in range(300):
        key = primary_key(made, True, b"a", b"/", fields((b"x", b"%d" % number * 200)))
        assert key.count(b"\n") == 1


@pytest.mark.parametrize(
    ("host", "values", "parts"),
    [
        (b"A.Example", {}, b"\nasked:written=A.Example\nasked:host=a.example"),
        (b"a.example:443", {}, b"\nasked:written=a.example:443\nasked:host=a.example"),
        (b"a.example.", {}, b"\nasked:written=a.example.\nasked:host=a.example"),
        (b"a.example", {"host": b"b.example"}, b"\nasked:host=b.example"),
        (b"a.example", {"scheme": b"http"}, b"\nasked:scheme=http\nasked:port=443"),
        (b"a.example", {"scheme": b"http", "port": 80}, b"\nasked:scheme=http"),
        (b"a.example", {"port": 8443}, b"\nasked:port=8443"),
        (b"a.example", {"host": b"a.example:8443", "port": 8443}, b"\nasked:host=a.example:8443"),
        (b"a.example", {"hearsay": b"4:http1:b"}, b"\nasked:forwarded=4:http1:b"),
        (b"a.example", {"is_trusted": True}, b"\nasked:x-forwarded-prefix=/shop"),
    ],
)
def test_what_the_origin_is_told_is_in_the_key(host, values, parts):
    lines = fields((b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-prefix", b"/shop"))
    told = asked(True, b"a.example", **values)
    told.is_plain = False
    assert primary_key(Policy(), True, host, b"/", lines, told) == b"https://a.example/" + parts


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


def test_a_key_says_whether_it_is_that_of_a_slice():
    asked = primary_key(
        policy(key_fields=(b"x",)), True, b"a.example", b"/", fields((b"x", b"slice:1")), piece=7
    )
    assert is_slice(asked)
    other = primary_key(
        policy(key_fields=(b"x",)), True, b"a.example", b"/slice:1", fields((b"x", b"slice:1"))
    )
    assert not is_slice(other)
    assert not is_slice(b"https://a.example/")
