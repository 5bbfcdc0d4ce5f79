"""How a connection begins, and begins again: the keys of Initial packets, versions, Retry (RFC 9000 sections 6 and
8.1, RFC 9368, RFC 9369 section 4).

Only Initial packets are read in two versions. A client tries the other one's keys on what comes in it, until it has
the keys of the handshake; a server keeps those of the client's first version until Handshake packets are in use.
Everything else is of the negotiated version, or dropped.
"""

from headgate.engine.quic.closing import CloseReason, End
from headgate.engine.quic.core import ConnectionCore
from headgate.engine.quic.errors import VERSION_NEGOTIATION_ERROR
from headgate.engine.quic.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import LongHeader
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.retry import is_genuine_retry
from headgate.engine.quic.send_buffer import SendBuffer
from headgate.engine.quic.versions import COMPATIBLE, follow
from headgate.engine.tls13.client import ClientHandshake


class Negotiation(ConnectionCore):
    """Base of `EarlyPackets`."""

    def _begin(self, destination: bytes, keys: KeySet | None = None) -> None:
        """Take the keys of Initial packets for the first destination of the client, or for that of a Retry.

        `keys`: those that read are there already.
        """
        self._keyed_by = destination
        if keys is None:
            keys = KeySet(INITIAL, self.version)
            keys.install_initial(destination, is_client=not self.is_client, is_write=False)
        keys.install_initial(destination, is_client=self.is_client, is_write=True)
        self._spaces[INITIAL].keys = keys

    def _use_version(self, version: int, keys: KeySet | None = None) -> None:
        """Go on in another version, with `keys` that read its Initial packets, if they are there already."""
        self.version = self.tls.negotiated = version
        # RFC 9369 section 4.1: what a client still sends in its first version is read until it knows.
        self._other_keys = None if self.is_client else self._spaces[INITIAL].keys
        self._begin(self._keyed_by, keys)
        for level in (HANDSHAKE, APPLICATION):
            self._spaces[level].keys = KeySet(level, version)

    def _keys_of(self, version: int) -> KeySet | None:
        """Return keys that may open an Initial of another version than ours, None when it cannot be for us."""
        keys = self._other_keys
        if not self.is_client:
            return keys if keys is not None and keys.version == version else None
        if self.recovery.has_handshake_keys or self.version != self.original_version:
            return None
        if version not in self._settings.versions or version not in COMPATIBLE[self.original_version]:
            return None
        if keys is None or keys.version != version:
            keys = self._other_keys = KeySet(INITIAL, version)
            keys.install_initial(self._keyed_by, is_client=False, is_write=False)
        return keys

    def _is_first_answer(self) -> bool:
        """Tell whether Version Negotiation or Retry may still come: to a client, once, before anything else."""
        return self.is_client and self._peer_source is None and self._retry_source is None

    def _receive_negotiation(self, header: LongHeader, now: float) -> None:
        """Version Negotiation: begin anew in a version of both, or end where there is none (section 6.2)."""
        beginning = self._beginning
        offered = header.versions
        if (
            beginning is None
            or not self._is_first_answer()
            or header.source != self._original_destination
            or self._refused_version
            or self.original_version in offered
        ):
            self._drop("negotiation")
            return
        version = follow(offered, beginning.versions, self.original_version)
        if not version:
            text = f"the server speaks {', '.join(f'{each:#x}' for each in offered)}"
            reason = CloseReason(VERSION_NEGOTIATION_ERROR, text, is_application=False, is_ours=True)
            self._finish(End.TIME, reason, b"", now)
            return
        self._refused_version = self.original_version
        self.version = self.original_version = version
        self._other_keys = None
        self.recovery.forget(INITIAL)
        self._spaces[INITIAL].crypto_out = SendBuffer()
        for level in (HANDSHAKE, APPLICATION):
            self._spaces[level].keys = KeySet(level, version)
        self._begin(self._original_destination)
        self._restart(beginning.handshake(version), now)

    def _restart(self, tls: ClientHandshake, now: float) -> None:
        """Go on with another handshake, of which nothing is sent yet."""
        raise NotImplementedError

    def _receive_retry(self, header: LongHeader, data: bytes) -> None:
        """Begin again with a token and another destination: once, before anything else came (section 17.2.5.2)."""
        packet = data[header.start : header.end]
        if (
            not self._is_first_answer()
            or header.source == self._original_destination
            or not is_genuine_retry(self.original_version, self._original_destination, packet)
        ):
            self._drop("retry")
            return
        self._retry_source = header.source
        self._builder.token = header.token
        self.peer_ids.replace_first(header.source, b"")
        self._other_keys = None
        self._begin(header.source)
        # What went ahead of it was dropped, 0-RTT packets too (section 17.2.5.3).
        for level in (INITIAL, APPLICATION):
            for sent in self.recovery.forget(level):
                self._outcomes.repeat(sent)
