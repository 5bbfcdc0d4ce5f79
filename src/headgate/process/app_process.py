"""The life of a process that runs an application.

It is forked from the spawner, like a keeper: before any private key is read, so there is none in its memory. A fork
and no fresh interpreter, because then it is a child like the others: the same channel, the same states, the same
restarts, its counters in the same pages, and Headgate's own code is loaded and shared already. What
a fresh interpreter would have for itself is given back here: signals are not ignored (programs that the application
starts would inherit that), and standard output is standard error, for the access log may go to standard output.
Variables that the configuration was filled with are taken out of the environment; its values stay in the memory that
was forked (docs/asgi.md says what an application can reach).

What the application writes there becomes events (`app_output`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Final

import uvloop

from headgate.asgi.application import ApplicationError
from headgate.asgi.host import AppHost
from headgate.config.environment import hide_expanded
from headgate.counters import MEMORY_BYTES, OPEN_FILES, STARTED_AT, WORKER_GENERATION, Counters
from headgate.process.app_output import divert_output
from headgate.process.app_plan import AppPlan, decode_plan
from headgate.process.channel import AsyncChannel, Kind
from headgate.process.start import AppStart
from headgate.telemetry.event_log import EventLog
from headgate.telemetry.process_stats import open_files, resident_bytes

STATS_SECONDS: Final = 5.0
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
FAILED: Final = 1


def app_main(start: AppStart) -> int:
    """Be an application's process: the whole life of it. Return the exit code."""
    for number in _SIGNALS:
        # They go to whole groups, and the supervisor says when to end. A handler, unlike SIG_IGN, ends with exec.
        signal.signal(number, _ignore)
    hide_expanded(os.environ)
    events = EventLog(process=start.name)
    divert_output(start.name)
    os.dup2(2, 1)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(AppProcess(start, events).run())
    events.close()
    return code


class AppProcess:
    """One process of one application."""

    def __init__(self, start: AppStart, events: EventLog) -> None:
        self._start = start
        self._events = events
        self._counters = Counters(start.page)

    async def run(self) -> int:
        """Serve until told to end; return the exit code."""
        channel = AsyncChannel(self._start.control)
        message = await channel.receive()
        if message is None or message.kind is not Kind.APPLICATION:
            return 0
        plan = decode_plan(message)
        host = AppHost(plan.spec, Path(plan.socket), plan.trusted, self._counters, self._events.event)
        try:
            await host.start()
        except (ApplicationError, OSError) as error:
            self._failed(plan, error)
            return FAILED
        self._counters.values[STARTED_AT] = int(time.time())
        self._counters.values[WORKER_GENERATION] = self._start.generation
        stats = asyncio.get_running_loop().create_task(self._stats())
        channel.send(Kind.READY, {"snapshot": 0})
        self._events.event("app-ready", app=plan.spec.target, upstream=plan.spec.upstream, socket=plan.socket)
        while (message := await channel.receive()) is not None and message.kind is not Kind.DRAIN:
            pass
        if message is None:
            self._events.event("supervisor-gone", "error", next="the application is shut down")
        stats.cancel()
        await host.stop()
        channel.close()
        return 0

    def _failed(self, plan: AppPlan, error: Exception) -> None:
        cause = error.__cause__ if isinstance(error, ApplicationError) else None
        self._events.event(
            "app-failed",
            "error",
            upstream=plan.spec.upstream,
            app=plan.spec.target,
            reason=str(error),
            cause=type(cause).__name__ if cause is not None else "",
            next="this process ends and another is started; its requests get 503 app-down meanwhile",
        )

    async def _stats(self) -> None:
        while True:
            self._counters.values[MEMORY_BYTES] = resident_bytes()
            self._counters.values[OPEN_FILES] = open_files()
            await asyncio.sleep(STATS_SECONDS)


def _ignore(number: int, frame: object) -> None:
    """The supervisor has the last word."""
