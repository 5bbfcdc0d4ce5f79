"""What those get who have waited for the origin to confirm what is stored: that, or a request of their own.

`leader` is the one whose request it was: what suits it suits its request by its making.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.cache.entry import StoredResponse
from headgate.cache.outcome import NONE, STALE
from headgate.cache.reuse import REFUSE, SERVE, Decision
from headgate.connection.exchange import Exchange

if TYPE_CHECKING:
    from headgate.proxy.cached import CacheHandler


def serve_confirmed(
    handler: CacheHandler,
    waiting: list[Exchange],
    leader: Exchange | None,
    fresh: StoredResponse,
    outcome: int,
    reason: int,
    now: float,
) -> None:
    """The origin has confirmed it by a 304."""
    for client in waiting:
        if client is leader or handler.suits(client.request, fresh, now):
            handler.serve(client, fresh, outcome, reason, now, 304)
            continue
        why = handler.unfit(client.request, fresh, now)
        if why == NONE:
            handler.go_alone(client, reason, fresh)
        else:
            handler.go_alone(client, why)


def serve_stale(
    handler: CacheHandler,
    waiting: list[Exchange],
    leader: Exchange | None,
    variant: StoredResponse,
    reason: int,
    now: float,
) -> None:
    """The worker that is at home has the same, and serves it in place of an error."""
    for client in waiting:
        why = handler.unfit(client.request, variant, now)
        if client is leader or why == NONE:
            handler.serve(client, variant, STALE, reason, now)
        else:
            handler.go_alone(client, why)


def serve_instead(
    handler: CacheHandler,
    waiting: list[Exchange],
    leader: Exchange | None,
    variant: StoredResponse,
    decision: Decision,
    reason: int,
    status: int,
    now: float,
) -> None:
    """The origin has failed (`status` 0: it gave no answer); `decision` is what that means for its request."""
    for client in waiting:
        if client is not leader:
            why = handler.unfit(client.request, variant, now)
            if why != NONE:
                handler.go_alone(client, why)
                continue
            decision = handler.instead(client.request, variant, reason, status, now)
        if decision.action == SERVE:
            handler.serve(client, variant, STALE, decision.reason, now, status)
        elif decision.action == REFUSE:
            handler.refuse(client, decision.reason)
        else:
            handler.go_alone(client, reason)
