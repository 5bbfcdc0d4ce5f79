"""What a connection does of its own accord: new keys, larger datagrams.

Keys are updated when the AEAD's limit comes near (RFC 9001 section 6): never before the handshake is confirmed, never
before a packet under the present keys was acknowledged and the keys before them are forgotten. Datagrams grow by
the search of engine/quic/mtu, which begins when a path has carried as much as an initial window: who asks for a
single page pays for no probe.
"""

from typing import Final

from headgate.engine.quic.closing import State
from headgate.engine.quic.frames import PING_FRAME
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.migration import Migration
from headgate.engine.quic.mtu import BASE, MtuSearch
from headgate.engine.quic.path import Batch
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.sent_packets import SentPacket

# What a path has carried before larger datagrams are tried: an initial window (RFC 9002 section 7.2).
SEARCH_AFTER: Final = 14_720


class Upkeep(Migration):
    """Base of `FrameDispatch`."""

    # Keys

    def update_keys(self, now: float) -> bool:
        """Go on to the next keys, False where it is too soon (RFC 9001 sections 6.1 and 6.5)."""
        keys = self._spaces[APPLICATION].keys
        sent = self.recovery.spaces[APPLICATION]
        if (
            not self.is_confirmed
            or keys.write_generation != keys.read_generation
            or sent.largest_acked < self._first_of_keys
            or self._old_keys_until != NEVER
        ):
            return False
        keys.update()
        self._note_write_keys(now)
        return True

    def _on_key_update(self, now: float) -> None:
        """The peer uses new keys, in answer to ours or by itself: the old ones stay for a while (section 6.5)."""
        keys = self._spaces[APPLICATION].keys
        self._key_generation = keys.read_generation
        self._old_keys_until = now + 3 * self._probe_timeout()
        if keys.write_generation != self._write_generation:
            self._note_write_keys(now)
        if self.log is not None:
            self.log.key_updated(now, keys.read_generation, is_ours=False)

    def _note_write_keys(self, now: float) -> None:
        self._write_generation = self._spaces[APPLICATION].keys.write_generation
        if self.log is not None:
            self.log.key_updated(now, self._write_generation, is_ours=True)
        self._first_of_keys = self.recovery.spaces[APPLICATION].next_number
        self.key_updates += 1

    # Sizes of datagrams

    def _size_probe(self, now: float) -> Batch | None:
        """Return the probe for a larger datagram that is due, if window and pace let it go."""
        path = self.path
        search = path.search
        if search is None or search.next_at > now or not path.is_validated:
            return None
        if self.recovery.budget(now) < search.ceiling:
            return None
        size = search.probe()
        destination = self.peer_ids.current
        data = self._builder.lone_datagram(PING_FRAME, destination, size, now, is_size_probe=True)
        if not size or not data:
            return None
        path.octets_sent += len(data)
        return Batch(data, len(data), path.peer, path.local, 0)

    def _begin_search(self, now: float) -> None:
        """Look for larger datagrams on a path that has carried some."""
        said = self.peer_parameters
        most = self._settings.max_datagram
        if said is not None:
            most = min(most, said.max_udp_payload_size)
        self.path.search = MtuSearch(most, now)

    def _watch_acked(self, search: MtuSearch, acked: list[SentPacket], now: float) -> None:
        """See whether large packets arrived: only called while that matters."""
        for packet in acked:
            if packet.size > BASE:
                search.suspicions = 0
                if packet.is_size_probe and search.on_acked(packet.size, now):
                    self._set_datagram(search.size, now)

    def _watch_lost(self, search: MtuSearch, lost: list[SentPacket], now: float) -> None:
        is_suspect = False
        for packet in lost:
            if packet.is_size_probe:
                search.on_lost(packet.size, now)
            elif packet.size > BASE:
                is_suspect = True
        if is_suspect:
            self._suspect(now)

    def _suspect(self, now: float) -> None:
        """Large packets were lost, or nobody answers: at the third time go back to what every path takes."""
        search = self.path.search
        if search is not None and search.suspect(now):
            self._set_datagram(search.size, now)

    def _set_datagram(self, size: int, now: float) -> None:
        if self.log is not None:
            self.log.datagram_size(now, size)
        self.path.datagram = size
        self.recovery.set_datagram(size)

    # What time brings

    def _do_upkeep(self, now: float) -> bool:
        """Do what is due by time; False where the connection ended of it."""
        if now >= self._ids_at:
            self._on_ids_timer(now)
        if now >= self._paths.at:
            self._on_path_timer(now)
        return self.state is State.OPEN
