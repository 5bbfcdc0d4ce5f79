"""RFC 9111 sections 4, 4.2.4, 5.2 and 5.4, RFC 5861 and RFC 8246: when a stored response is used.

All rules and the tests that hold them stand in docs/conformance-cache.md.
"""

import pytest

from headgate.cache.outcome import OUTCOMES, REASONS
from headgate.cache.policy import Policy
from headgate.cache.reuse import ACTIONS, decide, on_error
from headgate.testing.cache import NOW, entry_of, request_of, stored_of

AT = 10.0  # seconds after it came


def used(said, asked="", at=AT, failed=None, method=b"GET"):
    """Return what is done with a request at NOW + `at`; `failed`: once its origin has answered with that status."""
    entry = entry_of(stored_of(("Cache-Control", said), ("ETag", '"a"')))
    request = request_of(*([("Cache-Control", asked)] if asked else []), method=method)
    decision = decide(request, entry, Policy(), NOW + at)
    if failed is not None:
        assert ACTIONS[decision.action] == "VALIDATE"
        decision = on_error(decision, request, Policy(), failed, NOW + at)
    return f"{ACTIONS[decision.action]} {OUTCOMES[decision.outcome]} {REASONS[decision.reason]}"


HIT = "SERVE HIT fresh"
EXPIRED = "VALIDATE EXPIRED expired"


def test_rfc9111_4_fresh_or_confirmed():
    assert used("max-age=11") == HIT
    assert used("max-age=10") == EXPIRED
    assert used("max-age=11", method=b"HEAD") == HIT


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE", b"M-SEARCH"])
def test_rfc9111_4_unsafe_methods_go_through(method):
    assert used("max-age=60", method=method) == "PASS BYPASS method"


NEVER = ["max-age=5, must-revalidate", "max-age=5, proxy-revalidate", "s-maxage=5", "max-age=60, no-cache"]


@pytest.mark.parametrize("said", NEVER)
@pytest.mark.parametrize("failed", [0, 500, 503])
def test_rfc9111_4_2_4_prohibited(said, failed):
    said += ", stale-while-revalidate=60, stale-if-error=60"
    assert used(said, "max-stale").startswith("VALIDATE")
    assert not used(said, "stale-if-error=60", failed=failed).startswith("SERVE")


def test_rfc9111_4_2_4_cut_off_or_permitted():
    assert used("max-age=5") == EXPIRED
    assert used("max-age=5", failed=0) == "SERVE STALE unreachable"
    assert used("max-age=5", failed=503) == "FORWARD EXPIRED expired"
    assert used("max-age=5", failed=404) == "FORWARD EXPIRED expired"


@pytest.mark.parametrize("said", ["MAX-AGE=60", 'max-age="60"', 'Max-Age="6\\0"', "a, max-age=060 ,b"])
def test_rfc9111_5_2_case_and_forms(said):
    assert used(said) == HIT
    assert used(said, "NO-CACHE") == "VALIDATE EXPIRED client-no-cache"


def test_rfc9111_5_2_1_1_max_age():
    assert used("max-age=60", "max-age=10") == HIT
    assert used("max-age=60", "max-age=9") == "VALIDATE EXPIRED client-max-age"
    assert used("max-age=60", "max-age=0") == "VALIDATE EXPIRED client-max-age"


def test_rfc9111_5_2_1_2_max_stale():
    assert used("max-age=5", "max-stale") == "SERVE STALE client-max-stale"
    assert used("max-age=5", "max-stale=5") == "SERVE STALE client-max-stale"
    assert used("max-age=5", "max-stale=4") == EXPIRED


def test_rfc9111_5_2_1_3_min_fresh():
    assert used("max-age=60", "min-fresh=50") == HIT
    assert used("max-age=60", "min-fresh=51") == "VALIDATE EXPIRED client-min-fresh"


def test_rfc9111_5_2_1_4_no_cache():
    assert used("max-age=60", "no-cache") == "VALIDATE EXPIRED client-no-cache"
    assert used("max-age=60", "no-cache", failed=0) == "FORWARD EXPIRED client-no-cache"


def test_rfc9111_5_2_1_5_no_store():
    assert used("max-age=60", "no-store") == HIT
    assert used("max-age=5", "no-store") == "PASS BYPASS client-no-store"


def test_rfc9111_5_2_1_7_only_if_cached():
    assert used("max-age=60", "only-if-cached") == HIT
    assert used("max-age=5", "only-if-cached") == "REFUSE REFUSED only-if-cached"
    assert used("max-age=5", "only-if-cached, max-stale") == "SERVE STALE client-max-stale"
    nothing = decide(request_of(("Cache-Control", "only-if-cached")), None, Policy(), NOW)
    assert ACTIONS[nothing.action] == "REFUSE"


@pytest.mark.parametrize("said", NEVER[:3])
def test_rfc9111_5_2_2_2_must_revalidate(said):
    assert used(said, at=4.0) == HIT
    assert used(said) == EXPIRED
    assert used(said, failed=0) == "REFUSE REFUSED must-revalidate"


def test_rfc9111_5_2_2_4_no_cache():
    assert used("max-age=60, no-cache", at=0.0) == "VALIDATE EXPIRED no-cache"
    assert used("max-age=60, no-cache", failed=0) == "REFUSE REFUSED must-revalidate"
    assert used('max-age=60, no-cache="set-cookie"') == HIT


def test_rfc9111_5_2_3_unknown_directives():
    assert used('max-age=60, no-storage, x="no-store", private-ish, community="UCI"') == HIT
    assert used("max-age=60", 'no-cachee, x="no-cache, max-age=0"') == HIT


def test_rfc9111_5_4_pragma():
    entry = entry_of(stored_of(("Cache-Control", "max-age=60"), ("Pragma", "no-cache")))

    def pragma(*lines):
        return ACTIONS[decide(request_of(("Pragma", "no-cache"), *lines), entry, Policy(), NOW).action]

    assert pragma(("Cache-Control", "max-age=60")) == "SERVE"
    assert pragma() == "VALIDATE"


def test_rfc5861_3_stale_while_revalidate():
    said = "max-age=5, stale-while-revalidate=6"
    assert used(said, at=4.0) == HIT
    assert used(said, at=10.9) == "SERVE_AND_REVALIDATE STALE stale-while-revalidate"
    assert used(said, at=11.0) == EXPIRED


@pytest.mark.parametrize("failed", [500, 502, 503, 504])
def test_rfc5861_4_stale_if_error(failed):
    said = "max-age=5, stale-if-error=6"
    assert used(said, at=11.0, failed=failed) == "SERVE STALE stale-if-error"
    assert used(said, at=11.1, failed=failed) == "FORWARD EXPIRED expired"
    assert used("max-age=5", "stale-if-error=6", at=11.0, failed=failed) == "SERVE STALE stale-if-error"
    assert used("max-age=5", "stale-if-error=6", at=11.1, failed=failed) == "FORWARD EXPIRED expired"


def test_rfc8246_2_immutable():
    assert used("max-age=60, immutable", "max-age=0") == HIT
    assert used("max-age=60, immutable", "no-cache") == "VALIDATE EXPIRED client-no-cache"
    assert used("max-age=5, immutable") == EXPIRED
    assert used('max-age=60, immutable=1, immutable="x"', "max-age=0") == HIT
    assert used("max-age=60", "immutable, max-age=0") == "VALIDATE EXPIRED client-max-age"
