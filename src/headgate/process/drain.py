"""The end of a gate in order: workers first, then the applications that they ask, then the keeper, which answers
`headgate status` until then, with the writer of the cache. Who takes too long at its step is killed there.
"""

from collections.abc import Callable
from typing import final

from headgate.process import slots
from headgate.process.channel import Kind, encode_frame
from headgate.process.child import Child, Input, State
from headgate.process.children import Children
from headgate.process.parts import Events, SupervisorSettings


@final
class Drain:
    """The drain of one gate, from `begin` on. Times are those of `now`, in seconds."""

    def __init__(
        self, settings: SupervisorSettings, children: Children, events: Events, now: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._children = children
        self._events = events
        self._now = now
        self._workers_until: float | None = None
        self._apps_until: float | None = None
        self._rest_until: float | None = None

    def __repr__(self) -> str:
        return f"<Drain {'begun' if self.begun else 'not begun'}>"

    @property
    def begun(self) -> bool:
        """Whether the gate is on its way to the end."""
        return self._workers_until is not None

    @property
    def over(self) -> bool:
        """Whether nobody is left."""
        return self.begun and all(child.state is State.DOWN for child in self._children.all)

    @property
    def deadline(self) -> float | None:
        """When `go_on` has something to do at the latest; None before the drain."""
        return self._rest_until or self._apps_until or self._workers_until

    def begin(self, cause: str) -> bool:
        """Tell the workers to finish; where that was done already, to hurry. Tell whether it was the first time."""
        now = self._now()
        if self.begun:
            self._events.event("drain-cut-short", "warning", cause=cause)
            self._workers_until = now
            if self._apps_until is not None:
                self._apps_until = now
            return False
        seconds = self._settings.drain_timeout
        self._workers_until = now + seconds
        self._events.event("draining", cause=cause, seconds=seconds)
        for child in self._children.all:
            child.restart_at = child.answer_by = None
        # A worker ends by itself a little earlier than it is killed: it has log lines to write.
        told = seconds - min(slots.WORKER_GRACE, seconds / 4)
        self._tell([worker for worker in self._children.workers if worker.state is not State.DOWN], told)
        self._children.status_due = True
        return True

    def go_on(self, now: float) -> None:
        """Take the next step, if it is time for one."""
        left = [worker for worker in self._children.workers if worker.state is not State.DOWN]
        if left and self._workers_until is not None and now >= self._workers_until:
            self._kill(left)
            self._workers_until = now + 1.0
        rest = [
            child
            for child in (self._children.keeper, *self._children.writers)
            if child.state is not State.DOWN
        ]
        if left or not self._drain_apps(now) or not rest:
            return
        if self._rest_until is None:
            self._rest_until = now + slots.KEEPER_GRACE
            self._tell(rest, slots.KEEPER_GRACE)
        elif now >= self._rest_until:
            self._rest_until = now + 1.0
            for child in rest:
                child.kill()

    def _drain_apps(self, now: float) -> bool:
        """Have the applications shut down; tell whether all have."""
        left = [app for app in self._children.apps if app.state is not State.DOWN]
        if left and self._apps_until is None:
            longest = max(plan.spec.stop_timeout for plan in self._settings.apps)
            self._apps_until = now + longest + slots.APP_GRACE
            self._tell(left, longest)
        elif left and self._apps_until is not None and now >= self._apps_until:
            self._kill(left)
            self._apps_until = now + 1.0
        return not left

    def _tell(self, children: list[Child], seconds: float) -> None:
        for child in children:
            child.step(Input.DRAIN)
            self._children.send(child, encode_frame(Kind.DRAIN, {"seconds": seconds}))

    def _kill(self, children: list[Child]) -> None:
        for child in children:
            self._events.event("drain-killed", "warning", child=child.name, pid=child.pid)
            child.kill()
