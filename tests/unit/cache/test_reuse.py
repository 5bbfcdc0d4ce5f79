"""What answers a request, and what must happen first."""

import pytest

from headgate.cache import entry as e
from headgate.cache import outcome as o
from headgate.cache.directives import FOREVER
from headgate.cache.entry import MemoryBody
from headgate.cache.partial import Piece, set_partial
from headgate.cache.policy import Policy
from headgate.cache.reuse import ACTIONS, Decision, current_age, decide, on_error, ttl
from headgate.testing.cache import NOW, entry_of, request_of, stored_of

FRESH = ("Cache-Control", "max-age=60")
STALE = ("Cache-Control", "max-age=0")


def shown(decision):
    return f"{ACTIONS[decision.action]} {o.OUTCOMES[decision.outcome]} {o.REASONS[decision.reason]}"


def decided(entry, *lines, policy=None, later=0.0, **request):
    return shown(decide(request_of(*lines, **request), entry, policy or Policy(), NOW + later))


def test_nothing_is_stored():
    assert decided(None) == "FETCH MISS not-stored"
    assert decided(entry_of()) == "FETCH MISS not-stored"
    assert decided(None, ("Authorization", "x")) == "FETCH_ALONE MISS not-stored"
    assert decided(None, ("Cache-Control", "no-store")) == "PASS BYPASS client-no-store"
    assert decided(None, ("Cache-Control", "only-if-cached")) == "REFUSE REFUSED only-if-cached"


def test_another_variant_is_stored():
    german = stored_of(FRESH, ("Vary", "Accept-Language"), request=request_of(("Accept-Language", "de")))
    assert decided(entry_of(german), ("Accept-Language", "fr")) == "FETCH MISS vary"
    assert decided(entry_of(german), ("Accept-Language", "de")) == "SERVE HIT fresh"


def test_a_key_that_is_known_to_be_uncacheable():
    entry = entry_of()
    entry.uncacheable_until = NOW + 10
    assert decided(entry) == "FETCH_ALONE UNCACHEABLE known-uncacheable"
    assert decided(entry, later=10.0) == "FETCH MISS not-stored"


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"OPTIONS", b"M-SEARCH", b"get"])
def test_methods_that_go_by(method):
    assert decided(entry_of(stored_of(FRESH)), method=method) == "PASS BYPASS method"


def test_head_is_answered_from_get():
    assert decided(entry_of(stored_of(FRESH)), method=b"HEAD") == "SERVE HIT fresh"


def test_what_else_goes_by():
    entry = entry_of(stored_of(FRESH))
    request = request_of()
    request.body = 5
    assert shown(decide(request, entry, Policy(), NOW)) == "PASS BYPASS content"
    request = request_of()
    request.upgrade = b"websocket"
    assert shown(decide(request, entry, Policy(), NOW)) == "PASS BYPASS upgrade"
    policy = Policy()
    policy.bypass_fields = (b"x-debug",)
    policy.bypass_cookies = (b"session",)
    assert decided(entry, ("X-Debug", "1"), policy=policy) == "PASS BYPASS bypassed"
    assert decided(entry, ("Cookie", "a=b; session=1"), policy=policy) == "PASS BYPASS bypassed"
    assert decided(entry, ("Cookie", "a=session; sessions=1"), policy=policy) == "SERVE HIT fresh"


@pytest.mark.parametrize(
    ("lines", "asked", "expected"),
    [
        ([FRESH], None, "SERVE HIT fresh"),
        ([("Cache-Control", "max-age=10")], None, "VALIDATE EXPIRED expired"),
        ([("Cache-Control", "max-age=60"), ("Age", "55")], None, "VALIDATE EXPIRED expired"),
        ([("Cache-Control", "max-age=60, no-cache"), ("ETag", '"a"')], None, "VALIDATE EXPIRED no-cache"),
        ([FRESH], "no-cache", "VALIDATE EXPIRED client-no-cache"),
        ([FRESH], "max-age=9", "VALIDATE EXPIRED client-max-age"),
        ([FRESH], "max-age=10", "SERVE HIT fresh"),
        ([FRESH], "max-age=0", "VALIDATE EXPIRED client-max-age"),
        ([FRESH], "max-age=oops", "VALIDATE EXPIRED client-max-age"),
        ([FRESH], "min-fresh=50", "SERVE HIT fresh"),
        ([FRESH], "min-fresh=51", "VALIDATE EXPIRED client-min-fresh"),
        ([FRESH], "no-store", "SERVE HIT fresh"),
        ([FRESH], "only-if-cached", "SERVE HIT fresh"),
        ([FRESH], "only-if-cached, no-cache", "REFUSE REFUSED only-if-cached"),
        ([STALE], "only-if-cached", "REFUSE REFUSED only-if-cached"),
        ([STALE], "no-store", "PASS BYPASS client-no-store"),
        ([STALE], "max-stale", "SERVE STALE client-max-stale"),
        ([STALE], "max-stale=10", "SERVE STALE client-max-stale"),
        ([STALE], "max-stale=9", "VALIDATE EXPIRED expired"),
        ([STALE], "max-stale=10, max-age=5", "VALIDATE EXPIRED client-max-age"),
        ([STALE], "max-stale=10, only-if-cached", "SERVE STALE client-max-stale"),
        ([("Cache-Control", "max-age=0, must-revalidate")], "max-stale", "VALIDATE EXPIRED expired"),
        ([("Cache-Control", "s-maxage=0")], "max-stale", "VALIDATE EXPIRED expired"),
        (
            [("Cache-Control", "max-age=5, stale-while-revalidate=6")],
            None,
            "SERVE_AND_REVALIDATE STALE stale-while-revalidate",
        ),
        (
            [("Cache-Control", "max-age=5, stale-while-revalidate=6")],
            "no-store",
            "SERVE STALE stale-while-revalidate",
        ),
        ([("Cache-Control", "max-age=5, stale-while-revalidate=5")], None, "VALIDATE EXPIRED expired"),
        ([("Cache-Control", "max-age=60, immutable")], "max-age=0", "SERVE HIT fresh"),
        ([("Cache-Control", "max-age=60, immutable")], "no-cache", "VALIDATE EXPIRED client-no-cache"),
        ([("Cache-Control", "max-age=5, immutable")], "max-age=0", "VALIDATE EXPIRED client-max-age"),
    ],
)
def test_ten_seconds_later(lines, asked, expected):
    entry = entry_of(stored_of(*lines))
    said = [("Cache-Control", asked)] if asked else []
    assert decided(entry, *said, later=10.0) == expected


def test_pragma_speaks_when_cache_control_does_not():
    entry = entry_of(stored_of(FRESH))
    assert decided(entry, ("Pragma", "no-cache")) == "VALIDATE EXPIRED client-no-cache"
    assert decided(entry, ("Pragma", "foo")) == "SERVE HIT fresh"
    assert decided(entry, ("Pragma", "no-cache"), ("Cache-Control", "nothing")) == "SERVE HIT fresh"


@pytest.mark.parametrize("asked", ["no-cache", "max-age=0", "min-fresh=1000"])
def test_a_route_may_ignore_what_clients_want(asked):
    policy = Policy()
    policy.ignore_client_no_cache = True
    entry = entry_of(stored_of(FRESH))
    assert decided(entry, ("Cache-Control", asked), policy=policy, later=10.0) == "SERVE HIT fresh"


def test_what_was_purged_or_invalidated_is_confirmed():
    stored = stored_of(FRESH)
    stored.flags |= e.SOFT_PURGED
    assert decided(entry_of(stored)) == "VALIDATE EXPIRED purged"
    entry = entry_of(stored_of(FRESH))
    entry.invalid_before = NOW + 1
    assert decided(entry, later=2.0) == "VALIDATE EXPIRED invalidated"
    entry.invalid_before = NOW
    assert decided(entry, later=2.0) == "SERVE HIT fresh"


def test_rfc9111_3_3_a_part_answers_for_what_is_here():
    asked = request_of(("Range", "bytes=0-4"))
    part = stored_of(FRESH, ("Content-Range", "bytes 0-4/10"), status=206, request=asked)
    assert set_partial(part, Piece(0, 5, 10), MemoryBody([b"01234"]), True, b"bytes=0-4")
    entry = entry_of(part)
    assert decided(entry, ("Range", "bytes=1-3")) == "SERVE HIT fresh"
    assert decided(entry, ("Range", "bytes=1-5")) == "FETCH MISS partial"
    assert decided(entry) == "FETCH MISS partial"
    assert decided(entry, ("Cache-Control", "no-store")) == "PASS BYPASS client-no-store"
    assert decided(entry, ("Cache-Control", "only-if-cached")) == "REFUSE REFUSED only-if-cached"
    assert decided(entry, ("Range", "bytes=1-3"), later=60.0) == "VALIDATE EXPIRED expired"


def failed(stored, status, *lines, later=0.0, policy=None):
    policy = policy or Policy()
    request = request_of(*lines)
    decision = decide(request, entry_of(stored), policy, NOW + later)
    assert ACTIONS[decision.action] == "VALIDATE"
    return shown(on_error(decision, request, policy, status, NOW + later))


def test_an_origin_that_is_gone():
    stored = stored_of(("Cache-Control", "max-age=5"))
    assert failed(stored, 0, later=10.0) == "SERVE STALE unreachable"
    assert failed(stored, 0, later=86_405.0) == "SERVE STALE unreachable"
    assert failed(stored, 0, later=86_406.0) == "FORWARD EXPIRED expired"
    assert failed(stored, 503, later=10.0) == "FORWARD EXPIRED expired"
    assert failed(stored, 0, ("Cache-Control", "no-cache"), later=10.0) == "FORWARD EXPIRED client-no-cache"
    policy = Policy()
    policy.stale_if_unreachable = 0.0
    assert (
        failed(stored_of(("Cache-Control", "max-age=5"), policy=policy), 0, later=6.0)
        == "FORWARD EXPIRED expired"
    )


@pytest.mark.parametrize("value", ["max-age=2, must-revalidate", "max-age=2, proxy-revalidate", "s-maxage=2"])
def test_rfc9111_5_2_2_what_must_be_confirmed_is_a_504(value):
    stored = stored_of(("Cache-Control", value + ", stale-if-error=60"))
    assert failed(stored, 0, later=10.0) == "REFUSE REFUSED must-revalidate"
    assert failed(stored, 503, later=10.0) == "FORWARD EXPIRED expired"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_rfc5861_4_an_origin_that_fails(status):
    stored = stored_of(("Cache-Control", "max-age=5, stale-if-error=10"))
    assert failed(stored, status, later=15.0) == "SERVE STALE stale-if-error"
    assert failed(stored, status, later=16.0) == "FORWARD EXPIRED expired"
    assert failed(stored, 404, later=6.0) == "FORWARD EXPIRED expired"
    plain = stored_of(("Cache-Control", "max-age=5"))
    assert (
        failed(plain, status, ("Cache-Control", "stale-if-error=10"), later=15.0)
        == "SERVE STALE stale-if-error"
    )
    assert (
        failed(plain, status, ("Cache-Control", "stale-if-error=9"), later=15.0) == "FORWARD EXPIRED expired"
    )


def test_what_was_purged_softly_may_stand_in():
    stored = stored_of(FRESH)
    stored.flags |= e.SOFT_PURGED
    assert failed(stored, 0) == "SERVE STALE unreachable"


def test_an_error_of_a_request_that_confirmed_nothing():
    request = request_of()
    decision = decide(request, None, Policy(), NOW)
    assert shown(on_error(decision, request, Policy(), 0, NOW)) == "FORWARD MISS not-stored"


def test_ages_and_what_is_left():
    stored = stored_of(FRESH, ("Age", "4"))
    assert decide(request_of(), entry_of(stored), Policy(), NOW + 3.9).age == 7
    assert current_age(stored, NOW - 1000) == 0
    assert current_age(stored, NOW + 1e12) == FOREVER
    assert (ttl(stored, NOW), ttl(stored, NOW + 56.5), ttl(stored, NOW + 59)) == (56, 0, -3)


def test_repr():
    assert repr(Decision(0, o.HIT, o.FRESH)) == "<Decision SERVE HIT fresh>"


def test_what_was_purged_softly_and_is_invalid_may_not_stand_in():
    """RFC 9111 section 4.4: the stricter of the two holds."""
    variant = stored_of(("Cache-Control", "max-age=1000, stale-if-error=1000"))
    variant.flags |= e.SOFT_PURGED
    entry = entry_of(variant)
    entry.invalid_before = NOW + 1
    decision = decide(request_of(), entry, Policy(), NOW + 2)
    assert shown(decision) == "VALIDATE EXPIRED invalidated"
    assert shown(on_error(decision, request_of(), Policy(), 0, NOW + 2)).startswith("FORWARD")
