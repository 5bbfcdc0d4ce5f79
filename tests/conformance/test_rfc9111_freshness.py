"""RFC 9111 sections 1.2.2, 4.2, 5.1 and 5.3: lifetimes and ages.

All rules and the tests that hold them stand in docs/conformance-cache.md.
"""

import os
import time

import pytest

from headgate.cache.policy import Policy
from headgate.cache.reuse import current_age, decide
from headgate.testing.cache import NOW, entry_of, request_of, stored_of


def fresh_for(*lines, **more):
    """Return for how many seconds after it came a response is served without asking."""
    stored = stored_of(*lines, **more)
    left = max(stored.fresh_until - NOW, 0.0)
    for later, expected in ((left - 0.5, "HIT"), (left, "VALIDATE")):
        if later >= 0.0:
            decision = decide(request_of(), entry_of(stored), Policy(), NOW + later)
            assert expected in repr(decision)
    return left


@pytest.mark.parametrize("digits", ["2147483648", "2147483649", "99999999999", "9" * 5000])
def test_rfc9111_1_2_2_large_numbers(digits):
    assert fresh_for(("Cache-Control", f"max-age={digits}")) == 2**31
    assert stored_of(("Cache-Control", "max-age=60"), ("Age", digits)).age_value == 2**31


def test_rfc9111_4_2_dates_are_whole_seconds():
    assert stored_of(("Expires", 10), ("Date", 0), came=NOW + 0.9).lifetime == 10.0
    assert stored_of(("Expires", 10), ("Date", 0), came=NOW + 0.9).born == NOW + 0.9


@pytest.fixture
def another_zone():
    before = os.environ.get("TZ")
    os.environ["TZ"] = "Pacific/Kiritimati"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.mark.usefixtures("another_zone")
def test_rfc9111_4_2_local_time_has_no_say():
    assert fresh_for(("Expires", 60), ("Date", 0)) == 60
    assert stored_of(("Expires", 60), ("Date", -5)).born == NOW - 5


@pytest.mark.parametrize("zone", ["UTC", "EST", "AEST", "+0000", "Z", ""])
def test_rfc9111_4_2_other_zones_are_no_dates(zone):
    assert fresh_for(("Expires", f"Thu, 18 Aug 2050 02:01:18 {zone}"), ("Date", 0)) == 0


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([("Cache-Control", "s-maxage=1, max-age=2"), ("Expires", 3)], 1),
        ([("Cache-Control", "max-age=2"), ("Expires", 3)], 2),
        ([("Cache-Control", "max-age=2, s-maxage=9"), ("Expires", 3)], 9),
        ([("Expires", 3), ("Last-Modified", -1000)], 3),
        ([("Last-Modified", -1000)], 100),
    ],
)
def test_rfc9111_4_2_1_the_first_that_says_anything(lines, seconds):
    assert fresh_for(*lines, ("Date", 0)) == seconds


@pytest.mark.parametrize(("first", "second"), [(60, 30), (30, 60), (60, 60)])
def test_rfc9111_4_2_1_twice_is_never_fresher_than_the_first(first, second):
    one = fresh_for(("Cache-Control", f"max-age={first}, max-age={second}"))
    two = fresh_for(("Cache-Control", f"max-age={first}"), ("Cache-Control", f"max-age={second}"))
    dates = fresh_for(("Expires", first), ("Expires", second), ("Date", 0))
    assert one == two == dates == min(first, second)


@pytest.mark.parametrize("number", ["abc", "-1", "1.5", "'60'", "", "6 0", "60s", "0x3c"])
def test_rfc9111_4_2_1_what_is_no_number_is_stale(number):
    assert fresh_for(("Cache-Control", f"max-age={number}"), ("Expires", 60), ("Last-Modified", -1000)) == 0
    assert fresh_for(("Cache-Control", f"s-maxage={number}, max-age=60")) == 0


@pytest.mark.parametrize("line", [("Expires", -1), ("Expires", "0"), ("Cache-Control", "max-age=0")])
def test_rfc9111_4_2_2_no_guess_beside_an_explicit_lifetime(line):
    assert fresh_for(line, ("Last-Modified", -1000), ("Date", 0)) == 0


@pytest.mark.parametrize("status", range(200, 600))
def test_rfc9111_4_2_2_statuses(status):
    guessed = {200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501}
    assert (stored_of(("Last-Modified", -1000), status=status).lifetime > 0) == (status in guessed)
    assert stored_of(("Last-Modified", -1000), ("Cache-Control", "public"), status=status).lifetime > 0


@pytest.mark.parametrize(
    ("lines", "took", "age"),
    [
        ([("Date", 0)], 0.0, 0),
        ([("Date", -30)], 0.0, 30),
        ([("Date", -30), ("Age", "10")], 0.0, 30),
        ([("Date", -5), ("Age", "10")], 0.0, 10),
        ([("Date", -5), ("Age", "10")], 7.0, 17),
        ([("Date", 0)], 7.0, 7),
        ([("Date", 1000), ("Age", "10")], 1.0, 11),
        ([("Date", 1000)], 0.0, 0),
        ([], 2.5, 2),
    ],
)
def test_rfc9111_4_2_3_the_current_age(lines, took, age):
    stored = stored_of(("Cache-Control", "max-age=60"), *lines, took=took)
    assert current_age(stored, NOW) == age
    assert current_age(stored, NOW + 100) == age + 100


@pytest.mark.parametrize(("date", "expires", "age"), [(10, 20, "15"), (-10, 10, "25")])
def test_rfc9111_4_2_3_age_against_a_fast_clock(date, expires, age):
    assert fresh_for(("Date", date), ("Expires", expires), ("Age", age)) == 0


def test_rfc9111_5_1_age_of_a_reused_response():
    stored = stored_of(("Cache-Control", "max-age=60"), ("Age", "30"))
    assert decide(request_of(), entry_of(stored), Policy(), NOW + 3.2).age == 33


@pytest.mark.parametrize(("age", "left"), [("0,7200", 10000), ("7200, 0", 2800), ("10000,0", 0)])
def test_rfc9111_5_1_the_first_member_of_a_list(age, left):
    assert fresh_for(("Cache-Control", "max-age=10000"), ("Age", age)) == left


@pytest.mark.parametrize(
    "ages",
    [["abc"], ["-7200"], ["7200.0"], ["0, 0"], ["0", "0"], ["0", "7200"], ["1;a=b"], ["1,x"], [""]],
)
def test_rfc9111_5_1_a_doubtful_age_is_stale(ages):
    assert fresh_for(("Cache-Control", "max-age=10000"), *[("Age", age) for age in ages]) == 0


@pytest.mark.parametrize(
    "value",
    [
        "0",
        "",
        "-1",
        "now",
        "Thu, 18 Aug 50 02:01:18 GMT",
        "Thu 18 Aug 2050 02:01:18 GMT",
        "2050-08-18T02:01:18Z",
    ],
)
def test_rfc9111_5_3_what_is_no_date_lies_in_the_past(value):
    assert fresh_for(("Expires", value), ("Date", 0), ("Last-Modified", -1000)) == 0
    assert fresh_for(("Expires", value), ("Expires", 60), ("Date", 0)) == 0


@pytest.mark.parametrize("expires", [-60, 6000, "0"])
def test_rfc9111_5_3_directives_take_expires_away(expires):
    assert fresh_for(("Cache-Control", "max-age=60"), ("Expires", expires), ("Date", 0)) == 60
    assert fresh_for(("Cache-Control", "s-maxage=60"), ("Expires", expires), ("Date", 0)) == 60


@pytest.mark.parametrize("lines", [[], [("Date", "foo")], [("Date", ""), ("Date", 5)]])
def test_rfc9110_6_6_1_no_date(lines):
    assert fresh_for(("Expires", 10), *lines) == 10
    assert stored_of(("Expires", 10), *lines).date == int(NOW)
