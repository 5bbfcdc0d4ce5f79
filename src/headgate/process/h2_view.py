"""What the keeper tells of HTTP/2: the totals of all workers, from their counters."""

from collections.abc import Mapping
from typing import Final

from headgate.counters import (
    H2_ACCEPTED,
    H2_CLOSED_FIRST,
    H2_CODES,
    H2_GIVEN_UP,
    H2_OPEN,
    H2_REASONS,
    H2_REQUESTS,
    H2_RESET_FIRST,
    UPSTREAM_H2_CLOSED,
    UPSTREAM_H2_CLOSED_FIRST,
    UPSTREAM_H2_COALESCED,
    UPSTREAM_H2_CONNECTIONS,
    UPSTREAM_H2_INTERIM,
    UPSTREAM_H2_MALFORMED,
    UPSTREAM_H2_MISDIRECTED,
    UPSTREAM_H2_OPEN,
    UPSTREAM_H2_PLAIN,
    UPSTREAM_H2_REFUSED,
    UPSTREAM_H2_REQUESTS,
    UPSTREAM_H2_RESET,
    CounterPage,
)

_TOTALS: Final = {
    "connections": H2_OPEN,
    "accepted": H2_ACCEPTED,
    "requests": H2_REQUESTS,
    "streams_given_up": H2_GIVEN_UP,
}
_ORIGIN_TOTALS: Final = {
    "connections": UPSTREAM_H2_OPEN,
    "opened": UPSTREAM_H2_CONNECTIONS,
    "requests": UPSTREAM_H2_REQUESTS,
    "declined": UPSTREAM_H2_PLAIN,
    "coalesced": UPSTREAM_H2_COALESCED,
    "misdirected": UPSTREAM_H2_MISDIRECTED,
}
_ORIGIN_FAILED: Final = {
    "refused": UPSTREAM_H2_REFUSED,
    "reset": UPSTREAM_H2_RESET,
    "too-many-interim": UPSTREAM_H2_INTERIM,
    "malformed": UPSTREAM_H2_MALFORMED,
    "connection": UPSTREAM_H2_CLOSED,
}


def describe_h2(pages: Mapping[str, CounterPage]) -> dict[str, object]:
    """Return what `status` says of connections with clients; `pages` by process."""
    values = [page.load() for page in pages.values()]
    totals: dict[str, object] = {name: sum(page[index] for page in values) for name, index in _TOTALS.items()}
    return {
        **totals,
        "streams_reset": _by_word(values, H2_RESET_FIRST, H2_CODES),
        "closed": _by_word(values, H2_CLOSED_FIRST, H2_REASONS),
    }


def describe_h2_origins(pages: Mapping[str, CounterPage]) -> dict[str, object]:
    """Return what `status` says of connections with origins."""
    values = [page.load() for page in pages.values()]
    failed = {word: sum(page[index] for page in values) for word, index in _ORIGIN_FAILED.items()}
    totals: dict[str, object] = {
        name: sum(page[index] for page in values) for name, index in _ORIGIN_TOTALS.items()
    }
    return {
        **totals,
        "failed": {word: count for word, count in failed.items() if count},
        "closed": _by_word(values, UPSTREAM_H2_CLOSED_FIRST, H2_REASONS),
    }


def _by_word(values: list[list[int]], first: int, words: tuple[str, ...]) -> dict[str, int]:
    """Return the counters of a row of words that are not 0."""
    sums = {word: sum(page[first + place] for page in values) for place, word in enumerate(words)}
    return {word: count for word, count in sums.items() if count}
