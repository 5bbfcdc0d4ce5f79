"""What a connection is told before it begins, and what it says of that to its peer (RFC 9000 section 18.2)."""

from dataclasses import dataclass, field
from typing import Final, Literal

from headgate.engine.quic.congestion import CongestionController
from headgate.engine.quic.connection_ids import MAX_PEER_IDS
from headgate.engine.quic.cubic import Cubic
from headgate.engine.quic.datagrams import MAX_DATAGRAM_FRAME
from headgate.engine.quic.mtu import BASE
from headgate.engine.quic.newreno import NewReno
from headgate.engine.quic.packet import VERSION_1, VERSION_2
from headgate.engine.quic.path import Address
from headgate.engine.quic.stream import StreamSettings
from headgate.engine.quic.transport_parameters import TransportParameters

# The datagrams of a handshake: what section 14 lets everybody count on.
DATAGRAM: Final = BASE
# Where the search for larger ones ends: 1500 octets of Ethernet behind the headers of IPv6 and UDP.
MAX_DATAGRAM: Final = 1452
# Section 10.1; quic-go 5 s, nginx 60.
IDLE_SECONDS: Final = 30.0
# A peer that asks for less would lose connections to a busy second.
LEAST_IDLE_SECONDS: Final = 5.0
# RFC 9438 and RFC 9002 section 7.
_CONTROLLERS: Final[dict[str, type[CongestionController]]] = {"cubic": Cubic, "newreno": NewReno}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """How a connection behaves; one for all connections of a listener. Times in seconds, 0: never.

    `max_datagram`: where the search for larger datagrams ends; 1200: there is none. `is_migration_allowed`: a client
    may come from another address on purpose (that a NAT forgets it is always borne); false where its packets would
    reach somebody else. `preferred`: where a server would rather be reached, one address for each family.
    `follows_preferred`: a client goes there.

    `versions` are spoken, best first. A server goes on in the one that a client likes best, with `prefers_newest` in
    version 2 wherever it can. `has_datagrams`: RFC 9221, both ways. `congestion`: the controller of each path.
    """

    streams: StreamSettings = field(default_factory=StreamSettings)
    idle_timeout: float = IDLE_SECONDS
    max_datagram: int = MAX_DATAGRAM
    is_ecn_enabled: bool = True
    is_migration_allowed: bool = True
    preferred: tuple[Address, ...] = ()
    follows_preferred: bool = True
    versions: tuple[int, ...] = (VERSION_1, VERSION_2)
    prefers_newest: bool = False
    has_datagrams: bool = False
    congestion: Literal["cubic", "newreno"] = "cubic"

    def __post_init__(self) -> None:
        """Refuse a controller that is none."""
        if self.congestion not in _CONTROLLERS:
            raise ValueError(f"congestion is one of {', '.join(_CONTROLLERS)}, not {self.congestion!r}")

    def controller(self, datagram: int) -> CongestionController:
        """Return the congestion controller of a new path."""
        return _CONTROLLERS[self.congestion](datagram)

    def parameters(self, source: bytes) -> TransportParameters:
        """Return our transport parameters for a connection that uses `source` as its own ID."""
        streams = self.streams
        said = TransportParameters()
        said.max_idle_timeout = int(self.idle_timeout * 1000)
        said.initial_max_data = streams.connection_window
        said.initial_max_stream_data_bidi_local = streams.stream_window
        said.initial_max_stream_data_bidi_remote = streams.stream_window
        said.initial_max_stream_data_uni = streams.stream_window
        said.initial_max_streams_bidi = streams.bidi_streams
        said.initial_max_streams_uni = streams.uni_streams
        said.active_connection_id_limit = MAX_PEER_IDS
        said.disable_active_migration = not self.is_migration_allowed
        said.initial_source_connection_id = source
        said.max_datagram_frame_size = MAX_DATAGRAM_FRAME if self.has_datagrams else 0
        return said

    def idle_seconds(self, peer_milliseconds: int) -> float:
        """Return after how long without a packet a connection ends, given the peer's wish; 0: never."""
        theirs = max(peer_milliseconds / 1000, LEAST_IDLE_SECONDS) if peer_milliseconds else 0.0
        if self.idle_timeout and theirs:
            return min(self.idle_timeout, theirs)
        return self.idle_timeout or theirs
