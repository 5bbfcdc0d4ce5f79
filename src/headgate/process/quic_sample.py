"""A look at the QUIC connections of a worker, for `headgate status`: a page that is shared with the keeper.

Every second the worker writes what stands how with a few of its connections, those with the most lost packets and the
slowest round trips first; the keeper reads when somebody asks. Like counters, the page is made before the fork, has
one writer, and is there when its worker has died. Its size bounds it, and so does `MAX_LOOKED_AT` the work: a worker
with 20,000 connections looks at some of them.
"""

import mmap
import zlib
from collections.abc import Iterable
from itertools import islice
from typing import Final

import orjson

from headgate.connection.quic_driver import QuicDriver
from headgate.process.channel import Json

SAMPLE_SECONDS: Final = 1.0
# About 5 ms of each second at most.
MAX_LOOKED_AT: Final = 500
MAX_SHOWN: Final = 20
_PAGE: Final = 16 * 1024
_HEAD: Final = 8  # length and CRC-32: a reader may come while the writer is in the middle
_TRIES: Final = 5


class SamplePage:
    """The page of one slot, for rows of any kind."""

    def __init__(self, size: int = _PAGE) -> None:
        self._size = size
        self._map = mmap.mmap(-1, size)

    def store(self, rows: list[Json]) -> None:
        """Publish rows; of more than there is room for, the last are left out."""
        while len(data := orjson.dumps(rows)) > self._size - _HEAD:
            rows = rows[: len(rows) // 2]
        head = len(data).to_bytes(4, "big") + zlib.crc32(data).to_bytes(4, "big")
        self._map[: _HEAD + len(data)] = head + data

    def load(self) -> list[Json]:
        """Return what was last published, nothing before the first time."""
        for _ in range(_TRIES):
            head = self._map[:_HEAD]
            length = int.from_bytes(head[:4], "big")
            data = self._map[_HEAD : _HEAD + length]
            if length and zlib.crc32(data) == int.from_bytes(head[4:], "big"):
                rows = orjson.loads(data)
                return rows if isinstance(rows, list) else []
        return []


def look_at(drivers: Iterable[QuicDriver], slot: int) -> list[Json]:
    """Return rows for the worst of some connections."""
    found = [_row(driver, slot) for driver in islice(drivers, MAX_LOOKED_AT)]
    found.sort(key=_badness, reverse=True)
    return list(found[:MAX_SHOWN])


def _badness(row: dict[str, Json]) -> tuple[float, float]:
    lost, rtt = row["packets_lost"], row["rtt_ms"]
    return (
        float(lost) if isinstance(lost, int) else 0.0,
        float(rtt) if isinstance(rtt, int | float) else 0.0,
    )


def _row(driver: QuicDriver, slot: int) -> dict[str, Json]:
    stats = driver.quic.stats()
    active = next((path for path in stats.paths if path.is_active), None)
    host, port = (active.peer[0], active.peer[1]) if active is not None else ("", 0)
    return {
        "worker": slot,
        "peer": f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        "version": 2 if stats.version == 0x6B3343CF else 1,
        "state": stats.state,
        "rtt_ms": _milliseconds(stats.smoothed_rtt),
        "minimum_rtt_ms": _milliseconds(stats.minimum_rtt),
        "window": stats.window,
        "in_flight": stats.in_flight,
        "packets_sent": stats.packets_sent,
        "packets_received": stats.packets_received,
        "packets_lost": stats.packets_lost,
        "streams": stats.streams_open,
        "migrations": stats.migrations,
        "datagram": active.datagram if active is not None else 0,
        "ecn": stats.ecn,
        "paths": [
            {
                "peer": f"{path.peer[0]}:{path.peer[1]}",
                "state": path.state,
                "active": path.is_active,
                "datagram": path.datagram,
                "octets_sent": path.octets_sent,
                "octets_received": path.octets_received,
            }
            for path in stats.paths
        ],
    }


def _milliseconds(seconds: float) -> float | None:
    return round(seconds * 1000, 2) if seconds >= 0 else None
