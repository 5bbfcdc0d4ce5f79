"""Windows: opened by consumption only, told by halves, grown by fast consumption, never exceeded unnoticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.h2.flow import LARGEST_WINDOW, OVERFLOW, ReceiveWindow, widened

FIRST_WINDOW = 65_535
FAST = 0.05  # half a window in less than the round trip that we allow for
SLOW = 0.2


def flow(window, rounds, each):
    """Let a peer use half of its window every `each` seconds, and consume it at once; return the windows."""
    windows, now = [], 0.0
    for _ in range(rounds):
        half = window.window // 2
        assert window.receive(half)
        window.consume(half, now)
        windows.append(window.window)
        now += each
    return windows


@pytest.mark.parametrize("size", [FIRST_WINDOW, 64 * 1024, 1024 * 1024])
def test_rfc9113_6_9_1_a_window_at_the_limit_and_one_more(size):
    window = ReceiveWindow(size, size)
    assert window.receive(size)
    assert window.receive(0)
    assert not window.receive(1)
    assert (window.left, window.unread) == (0, size)


def test_what_is_received_and_not_consumed_opens_nothing():
    window = ReceiveWindow(1000, 8000)
    assert window.receive(1000)
    assert window.opened(0.0) == 0
    assert window.consume(499, 0.0) == 0
    assert window.consume(1, 0.0) == 500
    assert window.opened(0.0) == 0
    assert repr(window) == "<ReceiveWindow 500 of 1000 left, 500 unread>"


def test_small_pieces_are_told_by_halves():
    window = ReceiveWindow(1000, 1000)
    told = []
    for _ in range(2000):
        assert window.receive(1)
        told.append(window.consume(1, 0.0))
    assert [increment for increment in told if increment] == [500] * 4


def test_a_fast_stream_gets_a_larger_window_up_to_the_maximum():
    assert flow(ReceiveWindow(1000, 6000), 6, FAST) == [1000, 2000, 4000, 6000, 6000, 6000]


def test_a_slow_stream_keeps_its_window():
    assert flow(ReceiveWindow(1000, 8000), 5, SLOW) == [1000] * 5


def test_the_first_half_only_starts_the_clock():
    window = ReceiveWindow(1000, 8000)
    assert window.receive(500)
    assert window.consume(500, 0.0) == 500
    assert window.window == 1000


def test_growth_is_told_with_what_was_used():
    window = ReceiveWindow(1000, 8000)
    assert window.receive(500)
    window.consume(500, 0.0)
    assert window.receive(500)
    assert window.consume(500, FAST) == 1500
    assert window.left == window.window == 2000


def test_a_lower_bound_takes_nothing_back_and_opens_nothing_before_it_is_reached():
    window = ReceiveWindow(8000, 8000)
    window.bound(1000)
    assert window.left == 8000
    assert window.receive(8000)
    assert window.consume(7000, 0.0) == 0
    assert window.consume(499, 0.0) == 0
    assert window.consume(1, 0.0) == 500
    assert window.left + window.unread == 1000


def test_a_bound_that_is_lifted_lets_it_grow_again():
    window = ReceiveWindow(1000, 8000)
    window.bound(1000)
    assert flow(window, 3, FAST) == [1000, 1000, 1000]
    window.bound(4000)
    assert flow(window, 3, FAST)[-1] == 4000


def test_a_maximum_below_the_first_window_is_that_window():
    assert ReceiveWindow(1000, 10).max_window == 1000


def test_an_empty_window_tells_no_empty_increment():
    window = ReceiveWindow(0, 0)
    assert window.consume(0, 0.0) == 0
    assert not window.receive(1)


def test_rfc9113_6_9_1_a_window_for_sending_at_the_limit_and_one_more():
    assert widened(0, LARGEST_WINDOW) == LARGEST_WINDOW
    assert widened(1, LARGEST_WINDOW) == OVERFLOW
    assert widened(FIRST_WINDOW, 1) == FIRST_WINDOW + 1


def test_rfc9113_6_9_2_a_window_for_sending_may_be_negative():
    assert widened(100, -FIRST_WINDOW) == 100 - FIRST_WINDOW
    assert widened(-FIRST_WINDOW, LARGEST_WINDOW) == LARGEST_WINDOW - FIRST_WINDOW
    assert widened(-LARGEST_WINDOW, 0) > OVERFLOW


@given(
    st.integers(1, 5000),
    st.integers(1, 50_000),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 4000), st.floats(0, 0.3)), max_size=60),
)
def test_what_is_granted_is_never_more_than_the_maximum(size, maximum, steps):
    """A peer that sends as much as it may, and a reader that takes what it likes: the sum is always accounted for."""
    window = ReceiveWindow(size, maximum)
    allowed = size  # what the peer knows
    unread = 0
    now = 0.0
    for sent, taken, passed in steps:
        now += passed
        sent = min(sent, allowed)
        assert window.receive(sent)
        allowed -= sent
        unread += sent
        taken = min(taken, unread)
        unread -= taken
        allowed += window.consume(taken, now)
        assert (window.left, window.unread) == (allowed, unread)
        assert allowed + unread <= window.window <= max(size, maximum)
        # Nothing hangs: with nothing unread, the peer may send at least half a window.
        assert unread > 0 or allowed * 2 >= window.window
        assert not window.receive(allowed + 1)


def test_a_window_does_not_grow_beyond_what_it_may_have_of_the_connection():
    window = ReceiveWindow(1000, 8000)
    for _ in range(8):
        half = window.window // 2
        window.receive(half)
        window.consume(half, 0.0, 3000)
    assert window.window == 3000
