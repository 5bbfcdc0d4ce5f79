"""The state table, the pauses between restarts, the words for an exit."""

import os
import signal

import pytest

from headgate.process.channel import Channel, ChannelError, socket_pair
from headgate.process.child import TABLE, Child, Input, State, describe_exit

KILLED = signal.SIGKILL  # a wait status is the signal's number in its low bits


def run_once(child, now, lived, ready=True):
    ours, theirs = socket_pair()
    theirs.close()
    child.forked(12345, Channel(ours), now)
    if ready:
        child.step(Input.READY)
    return child.exited(KILLED, now + lived)


def test_first_restart_at_once_then_growing_to_a_cap():
    child = Child("worker 0", 0)
    assert [run_once(child, 0.0, 1.0) for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert child.restart_at == 31.0


def test_a_child_that_stood_for_a_minute_begins_anew():
    child = Child("worker 0", 0)
    for _ in range(5):
        run_once(child, 0.0, 1.0)
    assert run_once(child, 0.0, 60.0) == 0
    assert run_once(child, 0.0, 59.9) == 1


def test_a_child_that_hung_for_a_minute_and_was_never_ready_does_not():
    child = Child("worker 0", 0)
    assert [run_once(child, 0.0, 60.0, ready=False) for _ in range(4)] == [0, 1, 2, 4]


def test_failed_starts_count_like_exits():
    child = Child("worker 0", 0)
    assert [child.failed(10.0) for _ in range(3)] == [0, 1, 2]
    assert child.restart_at == 12.0


def test_exit_closes_the_channel_and_forgets_the_pid():
    child = Child("keeper", -1)
    ours, theirs = socket_pair()
    channel = Channel(ours)
    child.forked(12345, channel, 0.0)
    child.exited(KILLED, 1.0)
    assert channel.fileno() == -1
    assert child.pid == 0
    assert child.last_exit == "signal SIGKILL"
    child.kill()  # nothing to kill: must not touch process 0, which is our own group
    theirs.close()


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("event", list(Input))
def test_every_step_is_in_the_table_or_the_childs_fault(state, event):
    child = Child("worker 0", 0)
    child.state = state
    if (state, event) in TABLE:
        child.step(event)
        assert child.state is TABLE[state, event]
    else:
        with pytest.raises(ChannelError, match=f"worker 0 is {state.value} and says {event.value}"):
            child.step(event)
        assert child.state is state


def test_every_state_can_be_left_and_reached():
    assert {state for state, _ in TABLE} == set(State) == set(TABLE.values())


def test_exit_in_words():
    assert describe_exit(os.waitstatus_to_exitcode(0)) == "exit status 0"
    assert describe_exit(3 << 8) == "exit status 3"
    assert describe_exit(signal.SIGSEGV) == "signal SIGSEGV"
    assert describe_exit(40) == "signal 40"


def test_repr():
    assert repr(Child("worker 3", 3)) == "<Child worker 3 down pid=0 generation=0>"
