"""The sweep: deadlines of all connections, looked at twice a second instead of one timer each.

A timeout may come half a second late, which nobody notices at ten seconds; arming and cancelling a timer for every
read and write would be noticed by everybody.
"""

from __future__ import annotations

from typing import Final

from headgate.counters import HELD_DOWNSTREAM, HELD_HEADS, HELD_UPSTREAM
from headgate.server.listener import Listener
from headgate.upstream.endpoint import Endpoint

SWEEP_SECONDS: Final = 0.5


def sweep(listeners: list[Listener], endpoints: list[Endpoint], values: list[int], now: float) -> None:
    """End what is past its deadline, let tired listeners accept again, and add up what is held for peers."""
    heads = 0
    held = 0
    for listener in listeners:
        if listener.rest_until and now >= listener.rest_until:
            listener.wake()
        for connection in list(listener.connections):
            if now >= connection.deadline:
                try:
                    connection.on_deadline(now)
                except Exception as error:
                    connection.on_crash(error)  # one defect must not keep everybody else's deadlines
            elif not connection.closed:
                heads += connection.engine.buffered
                held += connection.unsent
        listener.limits.forget(now)
    upstream = 0
    for endpoint in endpoints:
        for spare in endpoint.connections:
            if now >= spare.deadline:
                try:
                    spare.on_deadline(now)
                except Exception as error:
                    spare.on_crash(error)
            elif not spare.closed:
                upstream += spare.unsent + spare.engine.buffered
    values[HELD_HEADS] = heads
    values[HELD_DOWNSTREAM] = held
    values[HELD_UPSTREAM] = upstream
