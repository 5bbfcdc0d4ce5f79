"""Credit: opened by consumption only, grown by fast consumption, never exceeded unnoticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic import errors
from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.flow import (
    CONNECTION_WINDOW,
    MAX_CONNECTION_WINDOW,
    MAX_STREAM_WINDOW,
    STREAM_WINDOW,
    ReceiveCredit,
    SendCredit,
)

RTT = 0.02


def flow(credit, rounds, each):
    """Let a peer use all of its credit every `each` seconds, and consume it at once; return the windows."""
    windows, now = [], 0.0
    for _ in range(rounds):
        half = credit.window // 2
        credit.received += half
        credit.consumed += half
        if credit.is_update_due():
            credit.update(now, RTT)
        windows.append(credit.window)
        now += each
    return windows


@pytest.mark.parametrize(
    ("window", "maximum"), [(STREAM_WINDOW, MAX_STREAM_WINDOW), (CONNECTION_WINDOW, MAX_CONNECTION_WINDOW)]
)
def test_rfc9000_4_1_a_window_at_the_limit_and_one_more(window, maximum):
    credit = ReceiveCredit(window, maximum)
    credit.check(window)
    credit.received += window
    credit.check(0)
    with pytest.raises(QuicError) as caught:
        credit.check(1)
    assert caught.value.code == errors.FLOW_CONTROL_ERROR


def test_what_is_received_and_not_consumed_opens_nothing():
    credit = ReceiveCredit(1000, 8000)
    credit.received = 1000
    assert not credit.is_update_due()
    credit.consumed = 499
    assert not credit.is_update_due()
    credit.consumed = 500
    assert credit.is_update_due()
    assert credit.update(1.0, RTT) == 1500
    assert not credit.is_update_due()
    assert repr(credit) == "<ReceiveCredit 500 consumed, 1000 received, up to 1500>"


@pytest.mark.parametrize(
    ("window", "maximum"), [(STREAM_WINDOW, MAX_STREAM_WINDOW), (CONNECTION_WINDOW, MAX_CONNECTION_WINDOW)]
)
def test_fast_consumption_grows_the_window_to_its_maximum(window, maximum):
    assert flow(ReceiveCredit(window, maximum), 6, RTT) == [
        window,
        2 * window,
        4 * window,
        maximum,
        maximum,
        maximum,
    ]


def test_slow_consumption_grows_nothing():
    assert flow(ReceiveCredit(1000, 8000), 6, 2.1 * RTT) == [1000] * 6


def test_a_bound_keeps_what_was_granted():
    credit = ReceiveCredit(1000, 8000)
    credit.bound(100)
    assert credit.limit == 1000
    credit.consumed = credit.received = 600
    assert not credit.is_update_due()
    credit.consumed = credit.received = 950
    assert credit.update(0.0, RTT) == 1050
    assert flow(credit, 4, RTT) == [100] * 4


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0, 0.1)), max_size=100))
def test_nobody_is_owed_more_than_the_largest_window(steps):
    credit, now = ReceiveCredit(100, 800), 0.0
    for consumed, passed in steps:
        now += passed
        credit.received = min(credit.limit, credit.received + consumed)
        credit.consumed = credit.received
        before = credit.limit
        if credit.is_update_due():
            credit.update(now, RTT)
        assert before <= credit.limit <= credit.consumed + 800
        assert credit.limit > credit.received


def test_rfc9000_4_1_limits_only_rise():
    credit = SendCredit(100)
    assert not credit.raise_limit(100)
    assert not credit.raise_limit(50)
    assert credit.limit == 100
    assert credit.raise_limit(101)
    assert credit.limit == 101


def test_rfc9000_4_1_blocked_is_told_once_for_each_limit():
    credit = SendCredit(100)
    assert not credit.must_tell()
    credit.used = 100
    assert credit.must_tell()
    assert not credit.must_tell()
    credit.raise_limit(200)
    assert not credit.must_tell()
    credit.used = 200
    assert credit.must_tell()
    assert repr(credit) == "<SendCredit 200 of 200 used>"
