"""The sweep: deadlines of all connections, looked at twice a second instead of one timer each.

A timeout may come half a second late, which nobody notices at ten seconds; arming and cancelling a timer for every
read and write would be noticed by everybody.
"""

from __future__ import annotations

from typing import Final

from mypy_extensions import trait

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.h2_downstream import H2Downstream
from headgate.counters import HELD_DOWNSTREAM, HELD_HEADS, HELD_UPSTREAM
from headgate.server.listener import Listener
from headgate.upstream.endpoint import Endpoint

SWEEP_SECONDS: Final = 0.5


@trait
class HoldsBytes:
    """A tunnel, or a connection that never was HTTP: holds bytes for both its ends."""

    def held_for_client(self) -> int:
        """Bytes that the client did not take yet."""
        raise NotImplementedError

    def held_for_origin(self) -> int:
        """Bytes that the origin did not take yet."""
        raise NotImplementedError


def sweep(listeners: list[Listener], endpoints: list[Endpoint], values: list[int], now: float) -> None:
    """End what is past its deadline, let tired listeners accept again, and add up what is held for peers."""
    heads = 0
    held = 0
    upstream = 0
    for listener in listeners:
        if listener.rest_until and now >= listener.rest_until:
            listener.wake()
        for connection in list(listener.connections):
            if now >= connection.deadline:
                try:
                    connection.on_deadline(now)
                except Exception as error:
                    connection.on_crash(error)  # one defect must not keep everybody else's deadlines
            elif isinstance(connection, H2Downstream):
                try:
                    connection.sweep(now)
                except Exception as error:
                    connection.on_crash(error)
                heads += connection.buffered()
                held += connection.held_sent()
                upstream += connection.held_received()
            elif not connection.closed:
                heads += connection.buffered()
                held += connection.unsent
                tunnel: object = connection
                if isinstance(connection, DownstreamConnection):
                    tunnel = connection.tunnel
                if isinstance(tunnel, HoldsBytes):
                    held += tunnel.held_for_client()
                    upstream += tunnel.held_for_origin()
        listener.limits.forget(now)
    for endpoint in endpoints:
        for spare in endpoint.connections:
            if spare.is_due(now):
                try:
                    spare.on_deadline(now)
                except Exception as error:
                    spare.on_crash(error)
            elif not spare.closed:
                upstream += spare.held()
        try:
            if endpoint.pool.spare > 0:
                endpoint.tend(now)
            if endpoint.h2 is not None:
                upstream += endpoint.h2.sweep(now)
            if endpoint.h3 is not None:
                upstream += endpoint.h3.sweep(now)
        except Exception as error:
            endpoint.crashed("upstream", error)  # the other endpoints have their deadlines too
    values[HELD_HEADS] = heads
    values[HELD_DOWNSTREAM] = held
    values[HELD_UPSTREAM] = upstream
