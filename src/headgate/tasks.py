"""Background tasks that cannot vanish: each has a name, a strong reference, and a place where its failure goes."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

Failure = Callable[[str, BaseException], None]

_running: set[asyncio.Task[Any]] = set()


def spawn(name: str, coro: Coroutine[Any, Any, Any], failed: Failure) -> asyncio.Task[Any]:
    """Run `coro` as a task called `name`; an exception other than cancellation is given to `failed(name, exc)`."""
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _running.add(task)

    def finished(task: asyncio.Task[Any]) -> None:
        _running.discard(task)
        if not task.cancelled() and (exc := task.exception()) is not None:
            failed(name, exc)

    task.add_done_callback(finished)
    return task
