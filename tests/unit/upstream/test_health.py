"""The health of one endpoint: each row of the table, how long ejections last, and what trials let through."""

import pytest

from headgate.upstream.health import (
    BROKEN,
    CONNECT_FAILED,
    DOWN,
    EJECTED,
    HALF_OPEN,
    PENDING,
    READY,
    TABLE,
    TIMED_OUT,
    UP,
    EndpointHealth,
    Event,
    HealthOwner,
    OutlierLimits,
    State,
)


class Owner(HealthOwner):
    """Ejects whom it may, and writes down what it is told."""

    def __init__(self, *, may_eject=True):
        self.allowed = may_eject
        self.told = []

    def may_eject(self, health):
        return self.allowed

    def health_changed(self, health, state):
        self.told.append((state, health.describe()))

    def kept(self, health, why):
        self.told.append(("kept", why))


def made(*, may_eject=True, **limits):
    health = EndpointHealth("http://10.0.0.1", OutlierLimits(**limits))
    health.owner = Owner(may_eject=may_eject)
    return health


def fail(health, times, now=0.0, kind=CONNECT_FAILED):
    for _ in range(times):
        health.failed(now, kind)


def half_open(health, now=0.0):
    fail(health, health.limits.failures, now)
    health.sweep(health.until)
    assert health.state == HALF_OPEN
    return health


def test_the_table_is_whole():
    assert {state for state, _ in TABLE} == set(State)
    assert {event for _, event in TABLE} == set(Event)


def test_one_endpoint_is_up_to_begin_with():
    assert made().is_up
    assert made().describe() == "up"


@pytest.mark.parametrize("kind", [CONNECT_FAILED, TIMED_OUT, BROKEN])
def test_failures_in_a_row_eject_it_and_one_less_does_not(kind):
    health = made(failures=3)
    fail(health, 2, kind=kind)
    assert health.is_up
    fail(health, 1, kind=kind)
    assert (health.state, health.is_up, health.describe()) == (EJECTED, False, "ejected")
    assert "3 failures in a row" in health.why
    assert health.owner.told == [(READY, "ejected")]


def test_a_response_between_failures_begins_the_count_anew():
    health = made(failures=3)
    fail(health, 2)
    health.succeeded(0.0, 0.1, 200)
    fail(health, 2)
    assert health.is_up
    assert (health.requests, health.failures) == (5, 4)


def test_server_errors_in_a_row_eject_it_and_other_answers_do_not():
    health = made(server_errors=3)
    for status in (500, 503, 404, 502, 500):
        health.succeeded(0.0, 0.1, status)
    assert health.is_up
    health.succeeded(0.0, 0.1, 599)
    assert health.state == EJECTED
    assert health.why == "3 failures in a row, the last: status 599"
    assert health.server_errors == 5


def test_a_check_that_is_off_ejects_nobody():
    health = made(server_errors=0, failures=0)
    fail(health, 100)
    for _ in range(100):
        health.succeeded(0.0, 0.1, 500)
    assert health.state == READY


def test_nobody_is_ejected_whom_the_owner_keeps():
    health = made(may_eject=False, failures=3)
    fail(health, 5)
    assert health.is_up
    assert health.owner.told == [("kept", "3 failures in a row, the last: connect")]
    health.owner.allowed = True
    fail(health, 1)
    assert not health.is_up


def test_an_ejection_ends_with_its_time_and_begins_trials():
    health = made(ejection=30.0)
    fail(health, 5, now=100.0)
    health.sweep(129.9)
    assert health.state == EJECTED
    health.sweep(130.0)
    assert (health.state, health.is_up, health.describe()) == (HALF_OPEN, True, "half-open")


def test_so_many_requests_are_on_trial_at_once_and_not_one_more():
    health = half_open(made(trials=2))
    health.began()
    assert health.is_up
    trial = health.began()
    assert not health.is_up
    health.ended(trial)  # the client left: nothing is known, another may try
    assert health.is_up


def test_trials_that_all_succeed_end_the_matter():
    health = half_open(made(trials=2))
    for _ in range(2):
        trial = health.began()
    health.succeeded(40.0, 0.1, 200, trial)
    health.ended(trial)
    assert (health.state, health.is_up) == (HALF_OPEN, False)  # one has passed, one is under way
    health.succeeded(40.0, 0.1, 200, trial)
    health.ended(trial)
    assert (health.state, health.is_up) == (READY, True)


@pytest.mark.parametrize("how", ["failed", "server error"])
def test_one_trial_that_fails_ejects_it_for_twice_as_long(how):
    health = half_open(made(ejection=30.0))
    trial = health.began()
    if how == "failed":
        health.failed(50.0, TIMED_OUT, trial)
    else:
        health.succeeded(50.0, 0.1, 500, trial)
    assert (health.state, health.until) == (EJECTED, 110.0)


def test_a_server_error_passes_a_trial_where_they_are_no_failures():
    health = half_open(made(server_errors=0, trials=2))
    health.succeeded(40.0, 0.1, 500, health.began())
    health.succeeded(40.0, 0.1, 503, health.began())
    assert (health.state, health.server_errors) == (READY, 2)


def test_ejections_grow_up_to_the_ceiling():
    health = made(ejection=30.0, max_ejection=100.0)
    lengths = []
    now = 0.0
    fail(health, 5, now)
    for _ in range(4):
        lengths.append(health.until - now)
        now = health.until
        health.sweep(now)
        health.failed(now, BROKEN, health.began())
    assert lengths == [30.0, 60.0, 100.0, 100.0]


def test_old_ejections_are_forgotten():
    health = half_open(made(trials=1, max_ejection=300.0))
    health.succeeded(40.0, 0.1, 200, health.began())
    health.sweep(339.9)
    assert health.ejections == 1
    health.sweep(340.0)
    assert health.ejections == 0


def test_trials_that_hang_make_room_for_others():
    health = half_open(made(trials=1, ejection=30.0))
    health.began()
    health.sweep(59.9)
    assert not health.is_up
    health.sweep(60.0)
    assert health.is_up


def test_the_verdict_of_probes_is_taken():
    health = made()
    health.judge(1.0, DOWN, "probe: refused")
    assert (health.is_up, health.describe(), health.why) == (False, "down", "probe: refused")
    health.judge(2.0, DOWN, "again")
    assert health.why == "probe: refused"
    health.judge(3.0, UP, "probe: 200")
    assert health.is_up
    assert health.owner.told == [(READY, "down"), (READY, "up")]


def test_one_that_waits_for_its_first_probe_is_not_up():
    health = made()
    health.judge(1.0, PENDING, "no probe yet")
    assert (health.is_up, health.describe()) == (False, "pending")


def test_a_probe_that_finds_it_well_ends_an_ejection_with_trials():
    health = made()
    fail(health, 5)
    health.judge(1.0, DOWN, "probe: refused")
    health.judge(2.0, UP, "probe: 200")
    assert (health.state, health.is_up) == (HALF_OPEN, True)


def test_a_verdict_down_outlasts_an_ejection():
    health = made()
    fail(health, 5)
    health.judge(1.0, DOWN, "probe: refused")
    health.sweep(1000.0)
    assert (health.state, health.is_up, health.describe()) == (HALF_OPEN, False, "down")


def test_only_requests_on_trial_decide_a_trial():
    health = made(trials=1)
    before = health.began()
    half_open(health)
    health.succeeded(40.0, 0.1, 200, before)
    health.failed(40.0, BROKEN, before)
    assert health.state == HALF_OPEN
    trial = health.began()
    health.ended(before)
    assert not health.is_up
    health.failed(40.0, BROKEN, trial)
    late = trial
    health.sweep(health.until)
    assert health.state == HALF_OPEN
    health.succeeded(200.0, 0.1, 200, late)  # on trial, but not in this round
    health.failed(200.0, BROKEN, late)
    assert health.state == HALF_OPEN


def test_late_answers_of_an_ejected_one_change_nothing():
    health = made()
    fail(health, 5)
    health.succeeded(1.0, 0.1, 200)
    health.failed(1.0, BROKEN)
    assert (health.state, health.until) == (EJECTED, 30.0)
