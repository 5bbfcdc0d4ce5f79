"""What the supervisor knows about one child: its process, its channel, its state, and when it may start
again.

The states and what moves between them are one table; a message that the table does not have is the child's
fault and ends it. A child that dies is started again at once the first time, then after 1, 2, 4 … 30
seconds; one that stood for a minute, and was ready, begins anew.
"""

import os
import signal
from enum import Enum
from typing import Final

from headgate.counters import CounterPage
from headgate.process.channel import Channel, ChannelError, Json
from headgate.process.health_view import PAGE_SIZE
from headgate.process.quic_sample import SamplePage

BACKOFF_FIRST: Final = 1.0
# Precedent: nothing that an operator repairs by hand is repaired in less.
BACKOFF_CAP: Final = 30.0
STABLE_AFTER: Final = 60.0


class State(Enum):
    """Where a child stands."""

    DOWN = "down"
    STARTING = "starting"
    READY = "ready"
    LISTENING = "listening"
    DRAINING = "draining"


class Input(Enum):
    """What moves a child from one state to the next."""

    FORKED = "forked"
    READY = "ready"
    LISTENING = "listening"
    DRAIN = "drain"
    EXITED = "exited"


TABLE: Final[dict[tuple[State, Input], State]] = {
    (State.DOWN, Input.FORKED): State.STARTING,
    (State.STARTING, Input.READY): State.READY,
    (State.READY, Input.READY): State.READY,  # a new Snapshot is in use
    (State.READY, Input.LISTENING): State.LISTENING,
    (State.LISTENING, Input.READY): State.LISTENING,
    (State.STARTING, Input.DRAIN): State.DRAINING,
    (State.READY, Input.DRAIN): State.DRAINING,
    (State.LISTENING, Input.DRAIN): State.DRAINING,
    (State.DRAINING, Input.READY): State.DRAINING,  # said before it read the DRAIN
    (State.DRAINING, Input.LISTENING): State.DRAINING,
    (State.STARTING, Input.EXITED): State.DOWN,
    (State.READY, Input.EXITED): State.DOWN,
    (State.LISTENING, Input.EXITED): State.DOWN,
    (State.DRAINING, Input.EXITED): State.DOWN,
}


class Child:
    """One slot: a worker (`slot` ≥ 0), the keeper (`slot` -1) or the cache's writer (-2), through all of its
    generations."""

    def __init__(self, name: str, slot: int) -> None:
        self.name = name
        self.slot = slot
        self.page = CounterPage()
        self.sample = SamplePage()
        self.health = SamplePage(PAGE_SIZE)
        self.state = State.DOWN
        self.pid = 0
        self.generation = 0
        self.channel: Channel | None = None
        self.started = 0.0
        self.restart_at: float | None = None
        self.kill_at: float | None = None
        self.answer_by: float | None = None
        self.snapshot = 0
        self.last_exit = ""
        self._failures = 0

    def __repr__(self) -> str:
        return f"<Child {self.name} {self.state.value} pid={self.pid} generation={self.generation}>"

    def step(self, event: Input) -> None:
        """Move along the table. Raises `ChannelError` when the child may not do that now."""
        following = TABLE.get((self.state, event))
        if following is None:
            raise ChannelError(f"{self.name} is {self.state.value} and says {event.value}")
        self.state = following

    def forked(self, pid: int, channel: Channel, now: float) -> None:
        """A new process runs in this slot."""
        self.step(Input.FORKED)
        self.pid = pid
        self.channel = channel
        self.started = now
        self.restart_at = None
        self.snapshot = 0

    def exited(self, status: int, now: float) -> float:
        """The process was reaped with a wait status; close the channel. Return the seconds until a
        restart."""
        was_ready = self.state is not State.STARTING
        self.step(Input.EXITED)
        self.last_exit = describe_exit(status)
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        self.pid = 0
        self.kill_at = self.answer_by = None
        if was_ready and now - self.started >= STABLE_AFTER:
            self._failures = 0
        return self.failed(now)

    def failed(self, now: float) -> float:
        """A start failed or ended: note when to try again, return the seconds until then."""
        delay = 0.0 if self._failures == 0 else min(BACKOFF_CAP, BACKOFF_FIRST * 2 ** (self._failures - 1))
        self._failures = min(self._failures + 1, 32)
        self.restart_at = now + delay
        return delay

    def kill(self) -> None:
        """End the process at once. It is our child and not yet reaped, so the number is surely its own."""
        if self.pid > 0:
            os.kill(self.pid, signal.SIGKILL)

    def to_json(self) -> Json:
        """Describe it for the status."""
        return {
            "name": self.name,
            "slot": self.slot,
            "pid": self.pid,
            "state": self.state.value,
            "generation": self.generation,
            "snapshot": self.snapshot,
            "last_exit": self.last_exit,
        }


def describe_exit(status: int) -> str:
    """Put a wait status into words: "signal SIGKILL" or "exit status 1"."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"signal {signal.Signals(number).name}"
        except ValueError:
            return f"signal {number}"
    return f"exit status {os.waitstatus_to_exitcode(status)}"
