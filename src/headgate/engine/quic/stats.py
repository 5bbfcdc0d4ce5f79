"""What can be said of a connection at one moment: numbers for people, `headgate status` and metrics.

Taken only when somebody asks: nothing here is counted for it but what recovery and the streams count anyway.
"""

from dataclasses import dataclass
from typing import Final

from headgate.engine.quic.path import Address
from headgate.engine.quic.paths import Path

# A round trip that was not measured yet.
UNKNOWN: Final = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PathStats:
    """One path; `state` is unknown, validating or validated, `datagram` how large datagrams are."""

    peer: Address
    local: bytes
    state: str
    is_active: bool
    datagram: int
    octets_sent: int
    octets_received: int
    black_holes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStats:
    """A connection. Round trips in seconds, `UNKNOWN` before the first; windows in octets; `ecn` a state of
    engine/quic/ecn with its reason; `dropped` counts by reason what was not believed."""

    version: int
    state: str
    smoothed_rtt: float
    minimum_rtt: float
    window: int
    in_flight: int
    congestion_events: int
    persistent_congestions: int
    probe_timeouts: int
    packets_sent: int
    packets_received: int
    packets_lost: int
    streams_open: int
    migrations: int
    key_updates: int
    own_ids: int
    peer_ids: int
    ecn: str
    paths: tuple[PathStats, ...]
    dropped: dict[str, int]


def path_stats(path: Path, *, is_active: bool) -> PathStats:
    """Return what is known of a path."""
    return PathStats(
        peer=path.peer,
        local=path.local,
        state=path.state(),
        is_active=is_active,
        datagram=path.datagram,
        octets_sent=path.octets_sent,
        octets_received=path.octets_received,
        black_holes=0 if path.search is None else path.search.black_holes,
    )
