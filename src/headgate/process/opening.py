"""When a gate opens: once the keeper has tried what may not be missing and every application stands or has failed, or
when `startup_wait` is over. Then workers are told to listen, and once all do, whoever started the gate is told.
"""

from typing import final

from headgate.process.channel import Kind, encode_frame
from headgate.process.child import Child, State
from headgate.process.children import Children
from headgate.process.current import Current, tell_defect
from headgate.process.parts import Parts, SupervisorSettings
from headgate.process.starter import Starter


@final
class Opening:
    """The opening of one gate. `deadline`: when it opens whatever is missing, in seconds of the clock; `may_listen`:
    workers that are ready listen; `announced`: all of them have."""

    def __init__(
        self,
        settings: SupervisorSettings,
        parts: Parts,
        children: Children,
        starter: Starter,
        current: Current,
    ) -> None:
        self.deadline: float | None = None
        self.may_listen = False
        self.announced = False
        self._settings = settings
        self._parts = parts
        self._events = parts.events
        self._children = children
        self._starter = starter
        self._current = current
        self._apps_tried: set[str] = set()
        self._staples_tried = False
        self._given_up = False

    def __repr__(self) -> str:
        return f"<Opening may_listen={self.may_listen} announced={self.announced}>"

    def give_up(self) -> None:
        """The gate ends: it opens no more."""
        self._given_up = True
        self.deadline = None

    def staples_tried(self) -> None:
        """The keeper has tried all must-staple certificates and the first probes."""
        self._staples_tried = True
        self._open_if_tried()

    def app_tried(self, app: Child) -> None:
        """An application stands, or its first start has failed: listening need not wait for it any more."""
        self._apps_tried.add(app.name)
        self._open_if_tried()

    def on_deadline(self, now: float) -> None:
        """Open without what is still missing, if it is time."""
        if self.deadline is None or now < self.deadline:
            return
        self._events.event(
            "startup-wait-over",
            "warning",
            seconds=self._settings.startup_wait,
            next=f"listening without {self._missing()}",
        )
        self._open()

    def _open_if_tried(self) -> None:
        if self._staples_tried and len(self._apps_tried) == len(self._children.apps) and not self._given_up:
            self._open()

    def _missing(self) -> str:
        """Say what the listeners would have waited for."""
        missing = []
        if not self._staples_tried:
            missing = ["the staples of all must-staple certificates and the first probes that are waited for"]
        missing += [app.name for app in self._children.apps if app.name not in self._apps_tried]
        return ", ".join(missing)

    def _open(self) -> None:
        self.deadline = None
        if self.may_listen:
            return
        self.may_listen = True
        for worker in self._children.workers:
            if worker.state is State.READY:
                self.tell_to_listen(worker)

    def tell_to_listen(self, worker: Child) -> None:
        """Have a worker that is ready listen."""
        worker.answer_by = self._parts.clock.now() + self._settings.answer_timeout
        self._children.send(worker, encode_frame(Kind.LISTEN))

    def listens(self, worker: Child) -> None:
        """A worker listens. The first ones are told of together, a successor by itself."""
        if self.announced:
            self._events.event(
                "child-listening", child=worker.name, pid=worker.pid, generation=worker.generation
            )
        elif all(other.state is State.LISTENING for other in self._children.workers):
            self._announce()

    def _announce(self) -> None:
        self.announced = True
        addresses = self._starter.addresses
        self._events.event("listening", addresses=[str(address) for address in addresses])
        try:
            self._parts.listening(addresses, self._current.snapshot)
        except Exception as exc:
            tell_defect(self._events, "start report", exc)
        notify(self._parts, "READY=1", f"STATUS=listening on {len(addresses)} addresses")


def notify(parts: Parts, *lines: str) -> None:
    """Tell systemd, where it is there; say when it cannot be told."""
    problem = parts.notifier.send(*lines)
    if problem:
        parts.events.event("notify-failed", "warning", reason=problem, lines=list(lines))
