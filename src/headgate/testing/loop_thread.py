"""An event loop in a thread of its own: fakes built on it serve blocking and asynchronous tests alike.

Sockets are handled bare, not through asyncio's streams: tests count descriptors, and a stream whose handler is
cancelled before its first step, as happens when a fake is closed right after a connection, is closed by nobody.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar

T = TypeVar("T")


class LoopThread:
    """Starts at once; `stop` cancels what still runs in it and joins the thread."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def call(self, coro: Coroutine[None, None, T], timeout: float = 10.0) -> T:
        """Run `coro` in the loop and return its result; never call it from within that loop."""
        return asyncio.run_coroutine_threadsafe(coro, self.loop).result(timeout)

    def stop(self) -> None:
        """Cancel every task, stop the loop, join the thread. May be called twice."""
        if self.loop.is_closed():
            return
        self.call(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10.0)
        self.loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Acceptor:
    """Runs `serve(connection)` in a loop thread for each connection of a bound socket, and closes it afterwards."""

    def __init__(
        self,
        thread: LoopThread,
        listening: socket.socket,
        serve: Callable[[socket.socket], Coroutine[None, None, None]],
    ) -> None:
        self._thread = thread
        self._listening = listening
        self._serve = serve
        # A loop refers to its tasks only weakly; one that waits would be the garbage collector's to end.
        self._serving: set[asyncio.Task[None]] = set()
        listening.setblocking(False)
        listening.listen(128)
        thread.call(self._begin())

    async def _begin(self) -> None:
        self._thread.loop.add_reader(self._listening.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listening.accept()
        except OSError:
            return  # It went away again, or there is no descriptor for it: the listening socket wakes us again.
        connection.setblocking(False)
        task = self._thread.loop.create_task(self._serve(connection))
        self._serving.add(task)
        task.add_done_callback(lambda task: self._finished(task, connection))

    def _finished(self, task: asyncio.Task[None], connection: socket.socket) -> None:
        self._serving.discard(task)
        connection.close()

    async def _end(self) -> None:
        if self._listening.fileno() >= 0:
            self._thread.loop.remove_reader(self._listening.fileno())
            self._listening.close()

    def close(self) -> None:
        """Stop listening; connections go on until their thread is stopped. May be called twice."""
        if not self._thread.loop.is_closed():
            self._thread.call(self._end())
