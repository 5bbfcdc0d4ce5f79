"""Where the keeper is asked: the admin socket and the address of the metrics, opened and opened anew.

One that cannot be opened is tried again; the socket whose file was removed is made anew.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

from headgate.admin.api import AdminApi, MetricsApi
from headgate.admin.http import AdminSocketError, Handler, SmallServer
from headgate.config.kinds import parse_address
from headgate.config.model import Config
from headgate.process.control import KeeperControl
from headgate.process.parts import Events
from headgate.tasks import spawn

# Until the next try of one that could not be opened, in seconds.
LISTEN_AGAIN: Final = 10.0


@final
class KeeperSockets:
    """The sockets of one keeper; `broke` is called where a task of theirs ends with an exception."""

    def __init__(self, events: Events, broke: Callable[[str, BaseException], None]) -> None:
        self._events = events
        self._broke = broke
        self._servers: list[SmallServer] = []

    def __repr__(self) -> str:
        return f"<KeeperSockets {len(self._servers)}>"

    def listen(self, config: Config, control: KeeperControl) -> list["asyncio.Task[None]"]:
        """Open what the configuration names; return the tasks that see to it."""
        path = config.admin_socket
        tasks = [self._serve("admin-socket", str(path), AdminApi(control), path)]
        if config.metrics is not None:
            tasks.append(self._serve("metrics", config.metrics.address, MetricsApi(control), None))
        return tasks

    def close(self) -> None:
        """Answer nobody any more."""
        for server in self._servers:
            server.close()

    def _serve(self, what: str, where: str, handler: Handler, path: Path | None) -> "asyncio.Task[None]":
        server = SmallServer(handler, self._handler_failed)
        self._servers.append(server)
        return spawn(what, self._keep_open(server, what, where, path), self._broke)

    async def _keep_open(self, server: SmallServer, what: str, where: str, path: Path | None) -> None:
        while True:
            try:
                if path is not None:
                    await server.listen_unix(path)
                else:
                    host, port = parse_address(where)
                    await server.listen_tcp(host, port)
            except AdminSocketError as exc:
                self._events.event(
                    f"{what}-failed", "error", reason=str(exc), next=f"another try in {LISTEN_AGAIN:g} s"
                )
                await asyncio.sleep(LISTEN_AGAIN)
            else:
                self._events.event(f"{what}-open", address=where)
                if path is None:
                    return
                await server.until_lost(path)
                self._events.event(
                    f"{what}-lost", "warning", reason=f"{where} was removed", next="it is opened anew"
                )

    def _handler_failed(self, name: str, exc: BaseException) -> None:
        self._events.event("defect", "error", where=f"admin: {name}", error=f"{type(exc).__name__}: {exc}")
