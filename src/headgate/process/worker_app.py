"""An application on a worker's own loop (`in_worker = true`): no process and no socket between.

It starts while the worker does, before it listens, for up to `START_WAIT`; one that takes longer goes on, and its
requests get 503 until it stands. One that fails is not tried again in this process: half of it may be imported.
"""

from __future__ import annotations

import asyncio
from typing import Final

from headgate.asgi.application import ApplicationError, ApplicationSpec
from headgate.asgi.handler import AsgiHandler, Event, Hosted
from headgate.asgi.host import start_application, stop_application
from headgate.asgi.lifespan import Lifespan
from headgate.asgi.scope import ScopeMaker
from headgate.net.poller import Poller
from headgate.pipeline.middleware.headers import FieldEdits

# Half of what a worker has to be ready (`ANSWER_TIMEOUT`).
START_WAIT: Final = 30.0


class WorkerApp:
    """One application in one worker."""

    def __init__(self, spec: ApplicationSpec, poller: Poller, values: list[int], event: Event) -> None:
        self.hosted = Hosted(spec.upstream, spec.target, spec.websocket_message, poller, values, event)
        self._spec = spec
        self._event = event
        self._scopes = ScopeMaker(spec.root_path, {}, None, None)
        self._lifespan: Lifespan | None = None
        self._starting: asyncio.Task[None] | None = None

    def handler(self, edits: FieldEdits) -> AsgiHandler:
        """Return what answers for one route."""
        return AsgiHandler(self.hosted, edits)

    @property
    def stop_timeout(self) -> float:
        """How long it may take to stop."""
        return self._spec.stop_timeout

    async def start(self) -> None:
        """Start it; return when it stands, has failed, or takes its time."""
        self._starting = asyncio.get_running_loop().create_task(
            self._start(), name=f"app {self._spec.target}"
        )
        await asyncio.wait({self._starting}, timeout=START_WAIT)

    async def _start(self) -> None:
        try:
            self._lifespan = await start_application(self.hosted, self._spec, self._scopes)
        except ApplicationError as error:
            self.hosted.broken = "app-failed"
            self._event(
                "app-failed",
                "error",
                upstream=self._spec.upstream,
                app=self._spec.target,
                reason=str(error),
                next="its requests get 503 app-failed; repair it and start the gate again",
            )

    async def stop(self, seconds: float) -> None:
        """Finish what is under way and shut it down, in so many seconds."""
        if self._starting is not None:
            self._starting.cancel()
        if self._lifespan is not None:
            await stop_application(self.hosted, self._spec, self._lifespan, seconds)
