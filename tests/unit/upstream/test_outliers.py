"""Outliers of an upstream: how many may be out, who is too slow, and what is told."""

import pytest

from headgate.counters import SIZE
from headgate.net.poller import Poller
from headgate.upstream.endpoint import Endpoint
from headgate.upstream.health import BROKEN, DOWN, EJECTED, HALF_OPEN, PENDING, READY, UP, OutlierLimits
from headgate.upstream.outliers import STALE_SECONDS, OutlierRules, Outliers, median_without
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.upstream import Upstream


class NoConnector:
    def connect(self, endpoint):
        raise AssertionError("nobody dials here")

    def begin(self, name, work):
        raise AssertionError("nobody dials here")


class Group:
    """An upstream of `count` endpoints with its outliers, and what was told."""

    def __init__(self, count, *, failures=3, unknown=UP, **rules):
        self.poller = Poller()
        self.poller.now = 0.0
        self.told = []
        self.values = [0] * SIZE
        self.upstream = Upstream("api", [self.endpoint(i, failures) for i in range(count)], RoundRobin())
        self.outliers = Outliers(
            self.upstream, OutlierRules(**rules), self.tell, self.values, self.poller, unknown=unknown
        )
        self.poller.close()

    def endpoint(self, number, failures=3):
        url = f"http://10.0.0.{number}"
        return Endpoint(
            url,
            "http",
            f"10.0.0.{number}",
            80,
            poller=self.poller,
            connector=NoConnector(),
            values=[0] * SIZE,
            defect=lambda where, error: None,
            outliers=OutlierLimits(failures=failures),
        )

    def tell(self, name, level="info", *, limit_key="", **fields):
        self.told.append((name, fields.get("endpoint"), fields))

    def health(self, number):
        return self.upstream.endpoints[number].health

    def fail(self, number, times=3, now=0.0):
        for _ in range(times):
            self.health(number).failed(now, BROKEN, self.health(number).round)

    def ejected(self):
        return [i for i in range(len(self.upstream.endpoints)) if self.health(i).state == EJECTED]

    def answer(self, number, seconds, times=20):
        for _ in range(times):
            self.health(number).succeeded(0.0, seconds, 200, self.health(number).round)


@pytest.mark.parametrize(
    ("count", "share", "most"),
    [
        (1, 1.0, 0),
        (2, 0.5, 1),
        (2, 0.1, 1),
        (2, 1.0, 1),
        (5, 0.5, 2),
        (10, 0.1, 1),
        (10, 1.0, 9),
        (10, 0.0, 0),
    ],
)
def test_so_many_are_out_at_once_and_never_all(count, share, most):
    group = Group(count, max_ejected=share)
    for number in range(count):
        group.fail(number, 6)
    assert len(group.ejected()) == most


def test_one_that_may_not_be_ejected_is_told_of():
    group = Group(2)
    group.fail(0)
    group.fail(1)
    name, url, fields = group.told[-1]
    assert (name, url) == ("endpoint-kept", "http://10.0.0.1")
    assert fields["reason"] == "3 failures in a row, the last: broken"
    assert fields["next"]


def test_a_single_endpoint_is_not_talked_about():
    group = Group(1)
    group.fail(0, 30)
    assert group.told == []


def test_the_last_that_is_up_stays_whatever_the_share():
    group = Group(3, max_ejected=1.0)
    group.outliers.judge({"http://10.0.0.0": (DOWN, "probe")}, 0.0)
    group.outliers.judge({"http://10.0.0.1": (DOWN, "probe")}, 0.0)
    group.fail(2)
    assert group.ejected() == []


def test_room_is_made_by_one_that_comes_back():
    group = Group(2)
    group.fail(0)
    group.outliers.sweep(30.0)
    assert group.health(0).state == HALF_OPEN
    group.fail(1)
    assert group.ejected() == []  # who is on trial is not back yet
    group.answer(0, 0.01, 3)
    group.fail(1)
    assert group.ejected() == [1]


def test_requests_from_before_an_ejection_make_no_room_for_trials():
    group = Group(2)
    endpoint = group.upstream.endpoints[0]
    old = [group.upstream.began(endpoint) for _ in range(50)]
    group.fail(0)
    group.outliers.sweep(30.0)
    trials = 0
    for trial in old:
        while group.health(0).is_up:
            group.upstream.began(endpoint)
            trials += 1
        group.upstream.ended(endpoint, trial)
    assert trials == group.health(0).limits.trials


def test_trials_make_no_room_for_the_others():
    """What is out and on trial together is never more than may be out, whoever fails when."""
    group = Group(4, max_ejected=0.5)
    for number in (0, 1):
        group.fail(number)
    group.outliers.sweep(30.0)
    for number in (2, 3, 0, 1):
        group.fail(number, now=31.0)
    assert group.ejected() == [0, 1]


def test_the_last_that_is_up_is_not_one_on_trial():
    group = Group(3, max_ejected=1.0)
    group.fail(0)
    group.outliers.sweep(30.0)
    group.outliers.judge({"http://10.0.0.1": (DOWN, "probe")}, 30.0)
    group.fail(2, now=31.0)
    assert group.ejected() == []


def test_every_step_says_what_why_and_what_next():
    group = Group(2)
    group.fail(0)
    group.outliers.sweep(30.0)
    for _ in range(3):
        group.health(0).succeeded(31.0, 0.01, 200, group.health(0).began())
    assert [name for name, _, _ in group.told] == ["endpoint-ejected", "endpoint-on-trial", "endpoint-back"]
    ejected = group.told[0][2]
    assert ejected["next"] == "no requests for 30 s, then 3 requests on trial"
    assert all(fields["reason"] and fields["upstream"] == "api" for _, _, fields in group.told)


def test_one_far_slower_than_the_others_is_ejected():
    group = Group(4, slower_than_others=3)
    for number in range(3):
        group.answer(number, 0.020)
    group.answer(3, 0.100)
    group.outliers.sweep(9.9)
    assert group.ejected() == []
    group.outliers.sweep(10.0)
    assert group.ejected() == [3]
    assert "100 ms" in group.health(3).why
    assert "the others 20 ms" in group.health(3).why


@pytest.mark.parametrize(
    ("slow", "times", "reason"),
    [(0.059, 20, "not three times"), (0.100, 19, "too few responses")],
)
def test_one_that_is_a_little_slower_or_hardly_asked_stays(slow, times, reason):
    group = Group(4, slower_than_others=3)
    for number in range(3):
        group.answer(number, 0.020)
    group.answer(3, slow, times)
    group.outliers.sweep(10.0)
    assert group.ejected() == [], reason


def test_milliseconds_are_nothing_to_talk_of():
    group = Group(2, slower_than_others=3)
    group.answer(0, 0.001)
    group.answer(1, 0.010)
    group.outliers.sweep(10.0)
    assert group.ejected() == []


def test_a_bound_for_latency_ejects_without_comparing():
    group = Group(3, max_latency=0.5)
    group.answer(0, 0.6)
    group.outliers.sweep(10.0)
    assert group.ejected() == [0]
    assert "more than 500 ms" in group.health(0).why


def test_each_interval_begins_anew():
    group = Group(3, max_latency=0.5)
    group.answer(0, 0.6, 10)
    group.outliers.sweep(10.0)
    group.answer(0, 0.6, 10)
    group.outliers.sweep(20.0)
    assert group.ejected() == []


@pytest.mark.parametrize(
    ("means", "mean", "median"),
    [
        ([1.0, 9.0], 9.0, 1.0),
        ([1.0, 9.0], 1.0, 9.0),
        ([1.0, 2.0, 9.0], 9.0, 1.0),
        ([1.0, 2.0, 3.0, 9.0], 9.0, 2.0),
    ],
)
def test_the_median_of_the_others(means, mean, median):
    assert median_without(means, mean) == median


def test_verdicts_are_kept_for_endpoints_that_come_later():
    group = Group(1)
    group.outliers.judge({"http://10.0.0.7": (DOWN, "refused")}, 0.0)
    group.upstream.set_endpoints([*group.upstream.endpoints, group.endpoint(7)])
    assert group.health(1).describe() == "down"
    group.outliers.judge({"http://10.0.0.7": None}, 0.0)
    group.upstream.set_endpoints(group.upstream.endpoints[:1])
    group.upstream.set_endpoints([*group.upstream.endpoints, group.endpoint(7)])
    assert group.health(1).describe() == "up"


def test_an_endpoint_that_comes_waits_for_its_first_probe_where_that_is_asked_for():
    group = Group(1, unknown=PENDING)
    group.outliers.judge({"http://10.0.0.0": (UP, "200")}, 0.0)
    group.upstream.set_endpoints([*group.upstream.endpoints, group.endpoint(7)])
    assert [endpoint.url for endpoint in group.upstream.ready] == ["http://10.0.0.0"]


def test_endpoints_wait_for_their_first_probe_where_that_is_asked_for():
    group = Group(2, unknown=PENDING)
    assert [group.health(i).verdict for i in (0, 1)] == [PENDING, PENDING]
    group.outliers.judge({"http://10.0.0.0": (UP, "200")}, 0.0)
    assert [group.health(i).is_up for i in (0, 1)] == [True, False]


def test_many_verdicts_are_taken_at_a_time_and_nothing_new_changes_nothing():
    group = Group(4)
    verdicts = {f"http://10.0.0.{i}": (DOWN, "refused") for i in range(3)}
    group.outliers.judge(verdicts, 1.0)
    ready = group.upstream.ready
    assert [endpoint.url for endpoint in ready] == ["http://10.0.0.3"]
    group.outliers.judge(verdicts, 2.0)
    assert group.upstream.ready is ready


def test_a_keeper_that_is_silent_for_long_keeps_nobody_out():
    group = Group(2)
    group.outliers.judge({"http://10.0.0.0": (DOWN, "refused")}, 1.0)
    group.outliers.judge({"http://10.0.0.1": (UP, "200")}, 100.0)  # somebody still looks
    group.outliers.sweep(100.0 + STALE_SECONDS - 0.1)
    assert group.health(0).describe() == "down"
    group.outliers.sweep(100.0 + STALE_SECONDS)
    assert group.health(0).describe() == "up"
    assert [name for name, _, _ in group.told] == ["probes-silent"]
    group.outliers.judge({"http://10.0.0.0": (DOWN, "refused")}, 500.0)
    assert group.health(0).describe() == "down"


def test_who_waits_for_its_first_probe_does_not_wait_for_a_silent_keeper():
    group = Group(2, unknown=PENDING)
    group.outliers.judge({"http://10.0.0.0": (PENDING, "no probe yet")}, 1.0)
    group.outliers.sweep(STALE_SECONDS + 0.9)
    assert [group.health(i).describe() for i in (0, 1)] == ["pending", "pending"]
    group.outliers.sweep(STALE_SECONDS + 1.0)
    assert [group.health(i).describe() for i in (0, 1)] == ["up", "up"]
    assert [(name, fields["endpoints"]) for name, _, fields in group.told] == [("probes-silent", 2)]


def test_a_keeper_that_never_says_anything_keeps_nobody_out():
    group = Group(1, unknown=PENDING)
    group.outliers.sweep(STALE_SECONDS)
    assert group.health(0).describe() == "up"


def test_an_ejected_endpoint_that_comes_back_is_ready_again():
    group = Group(2)
    group.fail(0)
    group.outliers.sweep(30.0)
    for _ in range(3):
        group.health(0).succeeded(31.0, 0.01, 200, group.health(0).began())
    assert group.health(0).state == READY
