"""What happens beside the data: the access log record of each exchange, and the events of failing connections."""

from __future__ import annotations

import time
import traceback
from typing import Final, Protocol, final

from headgate.connection.accepted import Accepted
from headgate.connection.context import ConnectionContext
from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import TCP, Exchange
from headgate.connection.observer import DownstreamObserver
from headgate.connection.stream_driver import StreamDriver
from headgate.server.listener import Listener
from headgate.telemetry.access_log import AccessLog, connection_fields
from headgate.tls.transport import TlsTransport

_OTHERS: Final = {10: "HTTP/1.0", TCP: "TCP"}
_PROTOCOLS: Final = {11: "HTTP/1.1", 20: "HTTP/2.0", 30: "HTTP/3.0"}


class Event(Protocol):
    """Where events go (`EventLog.event`)."""

    def __call__(self, name: str, level: str = "info", *, limit_key: str = "", **fields: object) -> None: ...


@final
class Observer(DownstreamObserver):
    """One for each worker."""

    def __init__(self, log: AccessLog, event: Event) -> None:
        self.log = log
        self.event = event

    def exchange_over(self, exchange: Exchange, now: float) -> None:
        log = self.log
        if exchange.detail:
            self.tell_failure(exchange)
        if not log.enabled:
            return
        context = exchange.context
        request = exchange.request
        shared = context.log_fields
        version = request.version
        if version < 11:
            # Old clients are rare, and a head that could not be read has no version, no method and no target.
            shared = _connection_fields(context, _OTHERS.get(version, "-"))
        elif not shared:
            shared = context.log_fields = _connection_fields(context, _PROTOCOLS[version])
        fields = request.fields
        took = -1.0
        if exchange.upstream_head > 0.0:
            took = exchange.upstream_head - exchange.upstream_started
        log.record(
            shared,
            time.time(),
            request.method,
            exchange.host,
            exchange.path or request.target,
            exchange.status,
            exchange.bytes_in,
            exchange.bytes_out,
            now - exchange.started,
            exchange.upstream,
            exchange.endpoint,
            took,
            exchange.retries,
            exchange.route,
            exchange.reason,
            fields.get(b"user-agent") or b"",
            fields.get(b"x-request-id") or b"",
            exchange.upstream_protocol,
            exchange.user,
            exchange.cache,
            exchange.cache_reason,
            exchange.cache_stored,
        )

    def tell_failure(self, exchange: Exchange) -> None:
        """Say what the answer does not: it names the reason only; address, errno and milliseconds are for the
        operator."""
        self.event(
            "upstream-failed",
            "warning",
            # What a client of a forward proxy asks for is its own choice: it shall not make keys.
            limit_key=exchange.endpoint if exchange.upstream else exchange.context.network,
            upstream=exchange.upstream,
            endpoint=exchange.endpoint,
            reason=exchange.reason or "failed-over",
            detail=exchange.detail,
            status=exchange.status,
        )

    def handshake_over(self, connection: StreamDriver) -> None:
        transport = connection.transport
        if isinstance(transport, TlsTransport) and isinstance(connection, DownstreamConnection):
            context = connection.context
            context.sni = transport.server_name().lower()
            context.tls_version = transport.version()

    def connection_failed(self, context: ConnectionContext, reason: str, detail: str) -> None:
        # One key for each reason: a flood of one kind must not hide the others.
        self.event(
            "connection-failed",
            "info",
            limit_key=reason,
            reason=reason,
            detail=detail,
            peer=context.peer,
            listener=context.listener,
        )

    def connection_closed(self, connection: StreamDriver) -> None:
        if not isinstance(connection, Accepted):
            return
        context = connection.context
        context.closed = True
        context.sock = None
        owner = context.owner
        if isinstance(owner, Listener):
            owner.gone(connection, context.network)

    def crashed(self, where: str, error: Exception) -> None:
        text = "".join(traceback.format_exception(error))
        self.event(
            "defect",
            "error",
            where=where,
            error=repr(error),
            traceback=text[-3000:],
            next="closed; the rest goes on",
        )


def _connection_fields(context: ConnectionContext, protocol: str) -> bytes:
    peer = f"[{context.peer}]:{context.port}" if ":" in context.peer else f"{context.peer}:{context.port}"
    return connection_fields(peer, context.listener, protocol, context.tls_version, context.sni)
