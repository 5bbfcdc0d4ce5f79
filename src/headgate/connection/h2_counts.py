"""What HTTP/2 connections count by themselves, brought into the counters of the process.

The engine counts resets where they happen, for each connection alone. Here they are taken over: in the sweep, so
that connections that live for days are seen too, and when one ends. Why a connection was ended for a fault is the
counter of nearly every limit of HTTP/2 in docs/limits.md.
"""

from typing import Final

from headgate.counters import (
    H2_CLOSED_FIRST,
    H2_CODES,
    H2_GIVEN_UP,
    H2_REASONS,
    H2_RESET_FIRST,
    UPSTREAM_H2_CLOSED_FIRST,
    UPSTREAM_H2_RESET_FIRST,
)

_OTHER: Final = H2_REASONS.index("other")
_OTHER_CODE: Final = H2_CODES.index("other")
_REASONS: Final = {word: place for place, word in enumerate(H2_REASONS)}


def count_client(resets_sent: dict[int, int], resets_received: int, values: list[int]) -> None:
    """Add the resets of a connection with a client since the last call: `resets_sent` by code, which is emptied."""
    values[H2_GIVEN_UP] += resets_received
    _count_resets(resets_sent, values, H2_RESET_FIRST)


def count_origin(resets_sent: dict[int, int], values: list[int]) -> None:
    """Add the resets that we sent to an origin since the last call."""
    _count_resets(resets_sent, values, UPSTREAM_H2_RESET_FIRST)


def _count_resets(resets_sent: dict[int, int], values: list[int], first: int) -> None:
    if resets_sent:
        for code, count in resets_sent.items():
            values[first + min(code, _OTHER_CODE)] += count
        resets_sent.clear()


def count_client_end(reason: str, values: list[int]) -> None:
    """Count a connection with a client that we ended for a fault; `reason` is that of `H2ConnectionError`."""
    values[H2_CLOSED_FIRST + _REASONS.get(reason, _OTHER)] += 1


def count_origin_end(reason: str, values: list[int]) -> None:
    """Count a connection with an origin that we ended for a fault."""
    values[UPSTREAM_H2_CLOSED_FIRST + _REASONS.get(reason, _OTHER)] += 1
