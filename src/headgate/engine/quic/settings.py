"""What a connection is told before it begins, and what it says of that to its peer (RFC 9000 section 18.2)."""

from dataclasses import dataclass, field
from typing import Final

from headgate.engine.quic.connection_ids import MAX_PEER_IDS
from headgate.engine.quic.stream import StreamSettings
from headgate.engine.quic.transport_parameters import TransportParameters

# Every datagram: what section 14 lets everybody count on. Larger ones need a search that is not built.
DATAGRAM: Final = 1200
# Section 10.1; quic-go 5 s, nginx 60.
IDLE_SECONDS: Final = 30.0
# A peer that asks for less would lose connections to a busy second.
LEAST_IDLE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """How a connection behaves; one for all connections of a listener. `idle_timeout` in seconds, 0: never."""

    streams: StreamSettings = field(default_factory=StreamSettings)
    idle_timeout: float = IDLE_SECONDS

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
        said.disable_active_migration = True
        said.initial_source_connection_id = source
        return said

    def idle_seconds(self, peer_milliseconds: int) -> float:
        """Return after how long without a packet a connection ends, given the peer's wish; 0: never."""
        theirs = max(peer_milliseconds / 1000, LEAST_IDLE_SECONDS) if peer_milliseconds else 0.0
        if self.idle_timeout and theirs:
            return min(self.idle_timeout, theirs)
        return self.idle_timeout or theirs
