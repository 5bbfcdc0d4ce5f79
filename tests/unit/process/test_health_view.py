"""What workers write of their endpoints, and what is made of it."""

import pytest

from headgate.process.health_view import MAX_ROWS, PAGE_SIZE, HealthView, rows_of
from headgate.process.quic_sample import SamplePage

API = ("api", "http://10.0.0.1:80")


def row(word="up", since=0.0, why="", counts=(0, 0, 0, 0), place=API):
    return [*place, word, since, why, *counts, "10.0.0.1"]


def page(*rows):
    made = SamplePage(PAGE_SIZE)
    made.store(list(rows))
    return made


def described(*pages, running=None):
    view = HealthView([API], pages, None)
    return view.describe(running if running is not None else dict.fromkeys(range(len(pages)), 1))


def test_counts_of_workers_are_added_up():
    (found,) = described(page(row(counts=(1, 10, 2, 3))), page(row(counts=(2, 20, 0, 1))))
    assert (found["active"], found["requests"], found["failures"], found["server_errors"]) == (3, 30, 2, 4)
    assert found["workers"] == {"up": 2}
    assert found["state"] == "up"


@pytest.mark.parametrize("order", [1, -1])
def test_the_worst_word_is_shown_with_its_reason(order):
    pages = [page(row()), page(row("ejected", 7.0, "5 failures in a row"))][::order]
    (found,) = described(*pages)
    assert (found["state"], found["since"], found["why"]) == ("ejected", 7.0, "5 failures in a row")
    assert found["workers"] == {"up": 1, "ejected": 1}


def test_a_worker_that_does_not_run_says_nothing():
    (found,) = described(page(row("down", 7.0, "probe")), page(row()), running={1: 1})
    assert found["workers"] == {"up": 1}


def test_endpoints_of_the_configuration_are_there_before_anybody_spoke():
    (found,) = described()
    assert (found["endpoint"], found["state"], found["probe"]) == (API[1], "up", None)


def test_endpoints_that_came_later_are_shown_too():
    found = described(page(row(place=("api", "http://10.0.0.9:80"))))
    assert [one["endpoint"] for one in found] == [API[1], "http://10.0.0.9:80"]


def test_places_have_the_name_that_was_asked_for():
    view = HealthView([], [page(row()), page(row(place=("api", "http://10.0.0.9:80")))], None)
    assert view.places({0: 1}) == [(*API, "10.0.0.1")]
    assert len(view.places({0: 1, 1: 1})) == 2


def test_rows_of_another_shape_are_left_out():
    (found,) = described(page("x", [1, 2], {"a": 1}))
    assert found["workers"] == {}


def test_metrics_have_a_share_of_workers():
    view = HealthView([API], [page(row()), page(row("ejected", 1.0, "x"))], None)
    samples = view.samples({0: 1, 1: 1})
    assert samples["endpoint_up"] == [({"upstream": "api", "endpoint": API[1]}, 0.5)]
    assert samples["endpoint_probe_up"] == []


class Health:
    def __init__(self, *, is_up=True, requests=0):
        self.is_up = is_up
        self.requests = requests
        self.since = 90.0
        self.why = "w" * 1000
        self.failures = self.server_errors = 0

    def describe(self):
        return "up" if self.is_up else "down"


class Endpoint:
    def __init__(self, number, **health):
        self.url = f"http://10.0.0.{number}:80"
        self.health = Health(**health)
        self.active = 0
        self.name = "api.internal"


class Group:
    def __init__(self, endpoints):
        self.upstream = self
        self.name = "api"
        self.endpoints = endpoints


def test_so_many_rows_and_one_more_is_left_out():
    quiet = [Endpoint(number) for number in range(MAX_ROWS)]
    found = rows_of([Group([*quiet, Endpoint("ill", is_up=False)])], 100.0, 1000.0)
    assert len(found) == MAX_ROWS
    assert found[0][1] == "http://10.0.0.ill:80"
    assert found[0][3] == 990.0  # wall time
    made = SamplePage(PAGE_SIZE)
    made.store(found)
    assert len(made.load()) == MAX_ROWS  # they fit, with long reasons
