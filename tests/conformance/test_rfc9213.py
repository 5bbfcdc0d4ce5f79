"""RFC 9213: targeted cache control.

All rules and the tests that hold them stand in docs/conformance-cache.md.
"""

import pytest

from headgate.cache import entry as e
from headgate.cache.outcome import REASONS
from headgate.cache.policy import Policy
from headgate.cache.reuse import ACTIONS, decide
from headgate.cache.storing import may_store
from headgate.testing.cache import NOW, entry_of, request_of, response_of, stored_of

FRESH = ("Cache-Control", "max-age=60")


def cdn(value):
    return ("CDN-Cache-Control", value)


def verdict(*lines):
    return REASONS[may_store(request_of(), response_of(*lines), Policy(), NOW)[1]]


def lifetime(*lines, policy=None):
    return stored_of(*lines, policy=policy).lifetime


@pytest.mark.parametrize("value", ["max-age=5;a", 'max-age=5;a=1;b="x"', "x;max-age=60, max-age=5"])
def test_rfc9213_2_1_parameters_are_ignored(value):
    assert lifetime(cdn(value)) == 5


@pytest.mark.parametrize(
    "value", ["max-age=5.0", 'max-age="5"', "max-age=five", "max-age=(5)", "max-age=?1", "max-age"]
)
def test_rfc9213_2_1_values_of_another_type(value):
    assert lifetime(cdn(value), FRESH) == 0


def test_rfc9213_2_2_the_first_of_the_list():
    policy = Policy()
    policy.targeted = (b"headgate-cache-control", b"cdn-cache-control")
    mine = ("Headgate-Cache-Control", "max-age=1")
    assert lifetime(cdn("max-age=2"), mine, FRESH, policy=policy) == 1
    assert lifetime(cdn("max-age=2"), ("Headgate-Cache-Control", "max-age=1,"), FRESH, policy=policy) == 2
    assert lifetime(("Headgate-Cache-Control", "?"), cdn(""), FRESH, policy=policy) == 60


def test_rfc9213_2_2_cache_control_and_expires_count_for_nothing():
    assert lifetime(cdn("max-age=5"), FRESH, ("Expires", 600), ("Date", 0)) == 5
    assert lifetime(cdn("none"), FRESH, ("Expires", 600), ("Date", 0)) == 0
    assert lifetime(cdn("none"), ("Cache-Control", "s-maxage=9"), ("Last-Modified", -1000)) == 100
    assert verdict(cdn("max-age=5"), ("Cache-Control", "no-store, private")) == "stored"
    stored = stored_of(cdn("max-age=5"), ("Cache-Control", "no-cache, must-revalidate"))
    assert stored.flags == e.EXPLICIT


@pytest.mark.parametrize(
    "value",
    ["", " ", "max-age =5", "max-age= 5", "max-age=5,", "Max-Age=5", "max-age=5, &", 'a="x', "max-age=5; A"],
)
def test_rfc9213_2_2_empty_or_invalid(value):
    assert lifetime(cdn(value), FRESH) == 60
    assert verdict(cdn("no-store, " + value if value.strip() else value), FRESH) == "stored"


def test_rfc9213_2_2_fields_off_the_list():
    other = ("Other-Cache-Control", "no-store")
    assert verdict(other, FRESH) == "stored"
    assert stored_of(other, FRESH).fields.get(b"other-cache-control") == b"no-store"
    policy = Policy()
    policy.targeted = ()
    assert lifetime(cdn("max-age=5"), FRESH, policy=policy) == 60


def test_rfc9213_2_2_these_must_work():
    assert lifetime(cdn("max-age=5"), FRESH) == 5
    assert verdict(cdn("no-store"), FRESH) == "no-store"
    assert verdict(cdn("private"), FRESH) == "private"
    assert stored_of(cdn("max-age=5, must-revalidate"), FRESH).flags & e.MUST_REVALIDATE
    stored = stored_of(cdn("no-cache"), FRESH, ("ETag", '"a"'))
    assert ACTIONS[decide(request_of(), entry_of(stored), Policy(), NOW).action] == "VALIDATE"


def test_rfc9213_2_2_these_should_work():
    stored = stored_of(cdn("max-age=5, stale-while-revalidate=6, stale-if-error=7, immutable"), FRESH)
    assert (stored.stale_while_revalidate, stored.stale_if_error) == (6.0, 7.0)
    assert stored.flags & e.IMMUTABLE
    assert stored_of(cdn("s-maxage=5, max-age=6"), FRESH).lifetime == 5
    assert stored_of(cdn('max-age=5, no-cache="a"'), ("A", "1")).fields.names == [b"cdn-cache-control"]
    assert verdict(cdn("max-age=5, must-understand, no-store")) == "stored"


def test_rfc9213_2_2_precedence():
    assert verdict(cdn("max-age=600, no-store")) == "no-store"
    stored = stored_of(cdn("max-age=600, no-cache"), ("ETag", '"a"'))
    assert ACTIONS[decide(request_of(), entry_of(stored), Policy(), NOW).action] == "VALIDATE"
    assert lifetime(cdn("max-age=5, foo, bar=1, baz=(a b)")) == 5


def test_rfc9213_3_1_the_field_is_stored_and_goes_on():
    assert stored_of(cdn("max-age=5")).fields.get(b"cdn-cache-control") == b"max-age=5"
