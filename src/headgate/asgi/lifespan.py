"""The lifespan of an application: what it does once before its first request and once after its last.

ASGI's lifespan protocol. An application that raises at once does not speak it and is served without; one that says
startup.failed is not served. `state` is what it has put into its scope: each request gets a shallow copy.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from headgate.asgi.application import Application, ApplicationError, ApplicationSpec, Message, last_line

ASGI: Final = {"version": "3.0", "spec_version": "2.0"}


class Lifespan:
    """One application in one process."""

    def __init__(self, application: Application, spec: ApplicationSpec) -> None:
        self.state: dict[str, Any] = {}
        self.spoken = False  # whether the application takes part
        self._application = application
        self._spec = spec
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._outcome: asyncio.Future[str] | None = None

    async def start(self) -> None:
        """Run its startup. Raises `ApplicationError` when that fails or takes longer than `start_timeout`."""
        loop = asyncio.get_running_loop()
        self._outcome = loop.create_future()
        self._task = loop.create_task(self._run(), name=f"lifespan {self._spec.target}")
        await self._inbox.put({"type": "lifespan.startup"})
        try:
            async with asyncio.timeout(self._spec.start_timeout):
                failure = await asyncio.shield(self._outcome)
        except TimeoutError:
            self._task.cancel()
            raise ApplicationError(
                f"{self._spec.target}: its startup took longer than {self._spec.start_timeout:g} s"
            ) from None
        if failure:
            raise ApplicationError(f"{self._spec.target}: its startup failed: {failure}")

    async def stop(self, seconds: float) -> str:
        """Run its shutdown, for so long at most; return "" or what went wrong."""
        task = self._task
        if task is None or not self.spoken:
            return ""
        if task.done():
            return "it ended by itself"
        self._outcome = asyncio.get_running_loop().create_future()
        await self._inbox.put({"type": "lifespan.shutdown"})
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._outcome)
        except TimeoutError:
            return f"it took longer than {seconds:.1f} s"
        finally:
            task.cancel()

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": ASGI, "state": self.state}
        failure = ""
        try:
            await self._application(scope, self._inbox.get, self._send)
        except GeneratorExit:
            raise
        except BaseException as error:
            # Before it said anything that means "lifespan? never heard of it" (the protocol's own words). Not so
            # SystemExit and KeyboardInterrupt, which a task would raise out of the loop, and a cancellation.
            unheard = isinstance(error, Exception) and not self.spoken
            failure = "" if unheard else last_line(error)
            if isinstance(error, asyncio.CancelledError):
                self._end(failure)
                raise
        self._end(failure)

    async def _send(self, message: Message) -> None:
        self.spoken = True
        kind = message["type"]
        if kind in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
            self._end("")
        elif kind in ("lifespan.startup.failed", "lifespan.shutdown.failed"):
            said = str(message.get("message", "")).strip().splitlines()
            self._end(said[-1] if said else "it gave no reason")
        else:
            raise RuntimeError(f"lifespan knows no message {kind!r}")

    def _end(self, failure: str) -> None:
        if self._outcome is not None and not self._outcome.done():
            self._outcome.set_result(failure)
