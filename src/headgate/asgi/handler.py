"""The handler of an ASGI application: each exchange becomes a task that runs the application.

The one place in Headgate where a request has a task of its own: that is what ASGI is. Everything below it stays as it
is: the connection's driver and engine know nothing of tasks, and the application is called from a turn of the loop
of its own, never from within a driver. The same handler serves on a worker's loop and in a process of its own
(`host`).

What an application raises is told with its traceback (event `app-error`, bounded like every event); its client gets
500, or an answer that is cut short.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import Any, Final, Protocol, final

from headgate.asgi.application import Application, last_line
from headgate.asgi.call import Call, HttpCall
from headgate.asgi.scope import ScopeMaker
from headgate.asgi.websocket import WebSocketCall, WebSocketLimits, handshake_problem, refuse_handshake
from headgate.connection.exchange import Exchange, Handler
from headgate.counters import ASGI_RAISED, ASGI_RUNNING, GATEWAY_UNAVAILABLE
from headgate.http.fields import Fields
from headgate.net.poller import Poller
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.proxy.answers import answer_error

# Lines of a traceback that an event carries: the innermost, with the error itself.
TRACEBACK_LINES: Final = 12


class Event(Protocol):
    """Where events go (`EventLog.event`)."""

    def __call__(self, name: str, level: str = "info", *, limit_key: str = "", **fields: object) -> None: ...


class Hosted:
    """One application as it runs in this process, shared by the handlers of all routes that lead to it.

    `application` is None while it is not there; `calls` are those that run. `broken` says why it is not.
    """

    def __init__(
        self, upstream: str, target: str, max_message: int, poller: Poller, values: list[int], event: Event
    ) -> None:
        self.upstream = upstream
        self.target = target
        self.websockets = WebSocketLimits(max_message)
        self.poller = poller
        self.values = values
        self.event = event
        self.application: Application | None = None
        self.scopes: ScopeMaker | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.calls: set[Call] = set()
        self.broken = "app-starting"

    def __repr__(self) -> str:
        return f"<Hosted {self.target}: {len(self.calls)} calls>"

    def open(self, application: Application, scopes: ScopeMaker) -> None:
        """From now on requests are served; called on the loop that they run on."""
        self.application = application
        self.scopes = scopes
        self.loop = asyncio.get_running_loop()

    def begin(self, call: Call, exchange: Exchange, scope: dict[str, Any]) -> None:
        """Run the application for one exchange."""
        loop = self.loop
        assert loop is not None
        self.values[ASGI_RUNNING] += 1
        # A loop refers to its tasks only weakly; one that waits would be the garbage collector's to end.
        self.calls.add(call)
        call.task = loop.create_task(self._run(call, exchange, scope))

    async def _run(self, call: Call, exchange: Exchange, scope: dict[str, Any]) -> None:
        application = self.application
        reason = "app-cancelled"
        try:
            if application is not None:
                await application(scope, call.receive, call.send)
            reason = ""
        except (asyncio.CancelledError, GeneratorExit):
            raise
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too: a task raises them out of the loop, and its worker would end.
            reason = "app-error"
            if not call.gone or not isinstance(error, OSError):
                self.failed(exchange, error)
        finally:
            self.calls.discard(call)
            self.values[ASGI_RUNNING] -= 1
            call.over(reason)

    def failed(self, exchange: Exchange, error: BaseException) -> None:
        """Tell what the application raised."""
        self.values[ASGI_RAISED] += 1
        where = last_line(error)
        lines = "".join(traceback.format_exception(error)).splitlines()
        self.event(
            "app-error",
            "error",
            limit_key=where,
            upstream=self.upstream,
            app=self.target,
            request=exchange.request.method + b" " + exchange.request.target,
            error=where,
            traceback=lines[-TRACEBACK_LINES:],
        )

    def cancel(self) -> None:
        """End what still runs."""
        for call in list(self.calls):
            if call.task is not None:
                call.task.cancel()


@final
class AsgiHandler(Handler):
    """Answers the exchanges of one route from one application."""

    def __init__(self, hosted: Hosted, edits: FieldEdits) -> None:
        self.hosted = hosted
        self.edits = edits
        self.poller = hosted.poller

    def __repr__(self) -> str:
        return f"<AsgiHandler {self.hosted!r}>"

    def handle(self, exchange: Exchange) -> None:
        hosted = self.hosted
        exchange.upstream = hosted.upstream
        exchange.endpoint = hosted.target
        scopes = hosted.scopes
        if hosted.application is None or scopes is None:
            hosted.values[GATEWAY_UNAVAILABLE] += 1
            answer_error(exchange, 503, hosted.broken, edits=self.edits)
            return
        if exchange.request.upgrade and exchange.request.upgrade.lower() == b"websocket":
            self._websocket(exchange, scopes)
            return
        exchange.upstream_started = self.poller.now
        call = HttpCall(exchange, self.poller, self.edits, hosted.values)
        exchange.attempt = call
        hosted.begin(call, exchange, scopes.http(exchange))

    def _websocket(self, exchange: Exchange, scopes: ScopeMaker) -> None:
        problem = handshake_problem(exchange)
        if problem:
            refuse_handshake(exchange, problem, self.edits)
            return
        hosted = self.hosted
        exchange.upstream_started = self.poller.now
        call = WebSocketCall(exchange, self.poller, self.edits, hosted.values, hosted.websockets)
        exchange.attempt = call
        hosted.begin(call, exchange, scopes.websocket(exchange))

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        call = exchange.attempt
        if isinstance(call, HttpCall):
            call.take_content(data)

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        call = exchange.attempt
        if isinstance(call, HttpCall):
            call.take_end()

    def downstream_drained(self, exchange: Exchange) -> None:
        call = exchange.attempt
        if isinstance(call, HttpCall):
            call.drained()

    def downstream_closed(self, exchange: Exchange) -> None:
        call = exchange.attempt
        exchange.attempt = None
        if isinstance(call, Call):
            call.leave()
