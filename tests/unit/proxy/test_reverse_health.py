"""What the reverse proxy tells of an endpoint: every end of an attempt once, and nothing that is not its doing."""

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.errors import TransportError
from headgate.upstream.health import BROKEN, EJECTED, HALF_OPEN, READY
from headgate.upstream.outliers import OutlierRules, Outliers

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nc"


@pytest.fixture
def path():
    made = DataPath()
    yield made
    made.close()
    assert made.seen.crashes == []


def counts(path):
    health = path.endpoints[0].health
    return health.requests, health.failures, health.server_errors


def answer(status):
    return b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status


@pytest.mark.parametrize(("status", "seen"), [(200, (1, 0, 0)), (404, (1, 0, 0)), (503, (1, 0, 1))])
def test_a_response_is_told_with_its_status(path, status, seen):
    path.send(path.client(), GET)
    path.send(path.origin(), answer(status))
    assert counts(path) == seen


def test_the_time_to_the_head_is_told(path):
    path.send(path.client(), GET)
    origin = path.origin()
    path.poller.now += 2.0
    path.send(origin, b"HTTP/1.1 200 X\r\nContent-Length: 1\r\n\r\n")
    path.poller.now += 5.0
    path.send(origin, b"c")
    assert path.endpoints[0].health.seconds == pytest.approx(2.0)


def test_a_failed_dial_is_told(path):
    path.dials.refuse.add(path.endpoints[0].url)
    path.send(path.client(), GET)
    assert counts(path) == (1, 1, 0)


@pytest.mark.parametrize("reason", ["descriptors", "internal", "upgrade"])
def test_a_dial_that_failed_by_our_own_fault_is_not(path, reason):
    path.dials.error = TransportError(reason, 24, "ours")
    path.send(path.client(), GET)
    assert counts(path) == (0, 0, 0)


def test_a_response_that_breaks_off_is_told_once(path):
    path.send(path.client(), GET)
    origin = path.origin()
    path.send(origin, b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nc")
    path.send(origin, b"")
    assert counts(path) == (1, 1, 0)


def test_a_silent_origin_is_told(path):
    path.send(path.client(), GET)
    path.pass_time(60.0)
    assert counts(path) == (1, 1, 0)


def test_a_stale_connection_is_nobodys_fault(path):
    client = path.client()
    path.send(client, GET)
    path.send(path.origin(), answer(200))
    path.send(client, GET)
    path.send(path.origin(), b"")
    path.send(path.origin(), answer(200))
    assert counts(path) == (2, 0, 0)


def test_a_client_that_leaves_says_nothing_of_the_endpoint(path):
    client = path.client()
    path.send(client, POST)
    client.close()
    assert counts(path) == (0, 0, 0)


def test_an_answer_to_an_extended_connect_is_told_as_the_answer_that_it_is(path):
    client = path.client()
    path.send(client, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    client.exchange.is_connect = True
    path.send(path.origin(), answer(200))
    assert client.transport.outgoing.startswith(b"HTTP/1.1 502")
    assert path.seen.exchanges[-1].reason == "upstream-not-switched"
    assert (counts(path), path.active) == ((1, 0, 0), [0])


def hurried():
    return DataPath(upstream={"total_timeout": 2.0})


def test_an_origin_that_is_silent_for_the_total_timeout_is_told():
    path = hurried()
    client = path.client()
    path.send(client, GET)
    path.pass_time(2.0)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 504")
    assert (counts(path), path.active) == ((1, 1, 0), [0])
    path.close()


@pytest.mark.parametrize("content", [b"", b"c"])
def test_one_that_was_asked_when_the_total_timeout_was_nearly_over_is_not(content):
    path = hurried()
    client = path.client()
    path.send(client, POST[:-1])
    path.pass_time(1.5)
    if content:
        path.send(client, content)
    path.pass_time(0.5)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 504")
    assert counts(path) == (0, 0, 0)
    path.close()


def on_trial():
    """Return a path whose only endpoint is on trial, and the health of that."""
    path = DataPath(endpoints=2)
    outliers = Outliers(path.upstream, OutlierRules(), path.tell, path.values, path.poller)
    health = path.endpoints[0].health
    for _ in range(health.limits.failures):
        health.failed(path.poller.now, BROKEN)
    path.poller.now = health.until
    outliers.sweep(path.poller.now)
    path.upstream.set_endpoints(path.endpoints[:1])
    return path, health


def test_requests_on_trial_are_counted_while_they_run_and_decide_it():
    path, health = on_trial()
    for number in range(health.limits.trials):
        assert (health.state, health.trials_passed) == (HALF_OPEN, number)
        path.send(path.client(), GET)
        assert health.trials_active == 1
        path.send(path.origin(), answer(200))
        assert health.trials_active == 0
    assert health.state == READY
    path.close()


def test_a_request_on_trial_that_breaks_off_ejects_again():
    path, health = on_trial()
    path.send(path.client(), GET)
    path.send(path.origin(), b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nc")
    path.send(path.origin(), b"")
    assert health.state == EJECTED
    path.close()


def test_a_client_that_leaves_a_trial_makes_room_for_another():
    path, health = on_trial()
    client = path.client()
    path.send(client, GET)
    client.close()
    assert (health.state, health.trials_active, health.trials_passed) == (HALF_OPEN, 0, 0)
    path.close()
