"""What the keeper tells of QUIC, and the switch for writing connections down (qlog)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from headgate.counters import (
    QUIC_ACCEPTED,
    QUIC_DATAGRAMS_READ,
    QUIC_DATAGRAMS_WRITTEN,
    QUIC_DROPPED_FIRST,
    QUIC_DROPS,
    QUIC_HALF_OPEN,
    QUIC_HANDED_OVER,
    QUIC_LOST,
    QUIC_OPEN,
    QUIC_RESETS,
    QUIC_RETRIES,
    CounterPage,
)
from headgate.process.quic_sample import SamplePage

# Below state_dir: workers may write there, and nobody else may look.
QLOG_FOLDER: Final = "qlog"

_TOTALS: Final = {
    "connections": QUIC_OPEN,
    "half_open": QUIC_HALF_OPEN,
    "accepted": QUIC_ACCEPTED,
    "datagrams_read": QUIC_DATAGRAMS_READ,
    "datagrams_written": QUIC_DATAGRAMS_WRITTEN,
    "packets_lost": QUIC_LOST,
    "handed_over": QUIC_HANDED_OVER,
    "retries": QUIC_RETRIES,
    "stateless_resets": QUIC_RESETS,
}


class QuicView:
    """The totals of all workers, and the worst of their connections as each saw them last."""

    def __init__(
        self, samples: Sequence[SamplePage], switch: Callable[[bool], None], qlog_folder: Path
    ) -> None:
        self.switch = switch
        self.qlog_folder = qlog_folder
        self._samples = samples

    def describe(self, pages: Mapping[str, CounterPage], running: Mapping[int, int]) -> dict[str, object]:
        """Return what `status` says; `pages` by process, `running` the slots whose worker lives."""
        values = [page.load() for page in pages.values()]
        totals: dict[str, object] = {
            name: sum(page[index] for page in values) for name, index in _TOTALS.items()
        }
        dropped = {
            word: sum(page[QUIC_DROPPED_FIRST + place] for page in values)
            for place, word in enumerate(QUIC_DROPS)
        }
        worst = [row for slot, sample in enumerate(self._samples) if slot in running for row in sample.load()]
        return {
            **totals,
            "dropped": {word: count for word, count in dropped.items() if count},
            "worst": worst,
        }
