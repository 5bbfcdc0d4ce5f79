"""The children of a gate, as the supervisor sees them: who they are, their channels in one selector, words to them.

A child whose channel says what it may not, or takes nothing any more, is killed: a successor is worth more.
"""

import selectors
import socket
from collections.abc import Callable, Sequence
from typing import Final, final

from headgate.process import slots
from headgate.process.channel import Channel, ChannelError
from headgate.process.child import Child
from headgate.process.parts import Events, SupervisorSettings


@final
class Children:
    """All slots of a gate, through all their generations. `status_due`: what they are has changed."""

    def __init__(self, settings: SupervisorSettings, events: Events, now: Callable[[], float]) -> None:
        self.workers: Final = [Child(f"worker {slot}", slot) for slot in range(settings.workers)]
        self.keeper: Final = Child("keeper", -1)
        self.apps: Final = [
            Child(plan.name, slots.APP_SLOT + place) for place, plan in enumerate(settings.apps)
        ]
        self.writers: Final = [Child(slots.WRITER, slots.WRITER_SLOT)] if settings.cache_disk else []
        self.all: Final[Sequence[Child]] = (*self.workers, *self.apps, *self.writers, self.keeper)
        self.selector: Final = selectors.DefaultSelector()
        self.status_due = False
        self._events = events
        self._now = now

    def __repr__(self) -> str:
        return f"<Children {len(self.all)}>"

    # -- come and go

    def register(self, child: Child, pid: int, sock: socket.socket) -> None:
        """A process runs in this slot from now on; `sock` is our end of its channel."""
        child.forked(pid, Channel(sock), self._now())
        self.selector.register(sock.fileno(), selectors.EVENT_READ, child)
        self.status_due = True
        level = "info" if child.generation == 1 else "warning"
        self._events.event("child-started", level, child=child.name, pid=pid, generation=child.generation)

    def unregister(self, child: Child) -> None:
        """Listen to this child no longer."""
        if child.channel is not None and child.channel.fileno() in self.selector.get_map():
            self.selector.unregister(child.channel.fileno())

    def start_failed(self, child: Child, reason: str) -> None:
        """No process could be started in this slot: say why, and note when it is tried again."""
        delay = child.failed(self._now())
        self.status_due = True
        self._events.event(
            "child-not-started", "error", child=child.name, reason=reason, next=f"another try in {delay:g} s"
        )

    def distrust(self, child: Child, exc: ChannelError) -> None:
        """End a child whose channel cannot be used."""
        self._events.event(
            "child-distrusted", "error", child=child.name, pid=child.pid, reason=str(exc), next="it is killed"
        )
        self.unregister(child)
        child.kill()

    def close_channels(self) -> None:
        """Close our end of every channel; who is still there reads end of file and drains."""
        for child in self.all:
            if child.channel is not None:
                child.channel.close()

    # -- words

    def send(self, child: Child, frame: bytes) -> None:
        """Send to one child; nothing where it has no channel."""
        if child.channel is None:
            return
        try:
            child.channel.send(frame)
        except ChannelError as exc:
            self.distrust(child, exc)
            return
        self.poll(child, child.channel)

    def send_workers(self, frame: bytes) -> None:
        """Send to all workers."""
        for worker in self.workers:
            self.send(worker, frame)

    def send_all(self, frame: bytes) -> None:
        """Send to everybody."""
        for child in self.all:
            self.send(child, frame)

    def poll(self, child: Child, channel: Channel) -> None:
        """Wait for writability exactly while something is unsent."""
        if channel.fileno() in self.selector.get_map():
            writing = selectors.EVENT_WRITE if channel.unsent else 0
            self.selector.modify(channel.fileno(), selectors.EVENT_READ | writing, child)
