"""The handshake of a connection, as far as QUIC has a part in it (RFC 9001 sections 4 and 8).

CRYPTO goes to TLS, whose secrets become keys and whose answers wait in the spaces. What the peer says of itself is
held against its packets, and counts once its Finished is verified. Keys are discarded as section 4.9 says: Initial
when Handshake packets are in use, Handshake when the handshake is confirmed.
"""

from headgate.engine.quic import frames
from headgate.engine.quic.early import EarlyPackets
from headgate.engine.quic.errors import TRANSPORT_PARAMETER_ERROR, QuicError
from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.quic.spaces import GONE, Space
from headgate.engine.quic.transport_parameters import (
    TransportParameters,
    check_connection_ids,
    decode_parameters,
)
from headgate.engine.quic.versions import check_server
from headgate.engine.tls13.client import ClientHandshake
from headgate.errors import LocalProtocolError, RemoteProtocolError


class ConnectionHandshake(EarlyPackets):
    """Base of `FrameDispatch`: keys, TLS, transport parameters."""

    def _receive_crypto(self, space: Space, offset: int, data: bytes, now: float) -> None:
        ready = space.crypto_in.receive(offset, data)
        if not ready:
            return
        self.tls.elapsed = now - self._began
        try:
            self.tls.receive(space.level, bytes(ready))
        except RemoteProtocolError as error:
            # TLS names its codes as QUIC wants them (RFC 9001 section 4.8).
            raise QuicError(error.code, str(error), frames.FRAME_CRYPTO) from error
        self._follow_tls(now)

    def _follow_tls(self, now: float) -> None:
        """Take over what the handshake has come to: keys, answers, the peer's parameters, its end."""
        tls = self.tls
        introduction = self._introduction
        if introduction is not None and introduction.negotiated != self.version:
            self._use_version(introduction.negotiated)
        for secret in tls.take_secrets():
            if secret.level == EARLY:
                self._install_early(secret)
                continue
            space = self._spaces[secret.level]
            if not space.is_discarded:
                space.keys.install(secret.suite, secret.secret, is_write=secret.is_write)
            if secret.level == HANDSHAKE and secret.is_write:
                self.recovery.has_handshake_keys = True
        for level, data in tls.take_output():
            if not self._spaces[level].is_discarded:
                self._spaces[level].crypto_out.write(data)
        if self.peer_parameters is None and tls.peer_transport_parameters:
            self.peer_parameters = self._check_parameters(tls.peer_transport_parameters)
            if self._early_keys is not None and not self.is_client:
                # The binder of the ticket has authenticated them.
                self._take_limits(self.peer_parameters)
        if self._remembered is not None and tls.early_refused:
            self._refuse_early()
        if tls.complete and not self.is_complete:
            self._complete(now)

    def _check_parameters(self, content: bytes) -> TransportParameters:
        """Read the peer's parameters and hold them against its packets (sections 7.3 and 7.4)."""
        introduction = self._introduction
        if introduction is not None and introduction.peer is not None:
            parameters = introduction.peer
        else:
            parameters = decode_parameters(content, from_client=not self.is_client)
        check_connection_ids(
            parameters,
            initial_source=self._peer_source or b"",
            original_destination=self._original_destination if self.is_client else None,
            retry_source=self._retry_source if self.is_client else None,
        )
        if self.is_client:
            check_server(
                parameters,
                original=self.original_version,
                in_use=self.version,
                ours=self._settings.versions,
                refused=self._refused_version,
            )
        return parameters

    def _restart(self, tls: ClientHandshake, now: float) -> None:
        self._refuse_early()
        self.tls = tls
        self._follow_tls(now)

    def _complete(self, now: float) -> None:
        """TLS has verified the peer's Finished: what it said of itself counts from now on (RFC 9001 section 8.2)."""
        said = self.peer_parameters
        if said is None:
            raise LocalProtocolError("a handshake is complete without transport parameters")
        self.is_complete = True
        self._introduction = None
        self._ack_exponent = said.ack_delay_exponent
        self.recovery.max_ack_delay = said.max_ack_delay / 1000
        self._idle = self._settings.idle_seconds(said.max_idle_timeout)
        if said.stateless_reset_token:
            self.peer_ids.replace_first(self._peer_source or b"", said.stateless_reset_token)
        preferred = said.preferred_address
        if preferred is not None:
            if not self._peer_source:
                raise QuicError(TRANSPORT_PARAMETER_ERROR, "a preferred address of a server without IDs")
            self.peer_ids.add(1, 0, preferred.connection_id, preferred.token)  # section 5.1.1
        self._take_limits(said)
        self.datagrams.set_peer_limit(said.max_datagram_frame_size)
        if self.log is not None:
            self.log.parameters(now, said, is_ours=False)
            self.log.state(now, "handshake_complete")
        if self.is_client:
            self._check_remembered(said)
            self._check_refused()
            self._end_early()
            return
        if self._early_keys is not None:
            self._early_until = now + 3 * self._probe_timeout()
        self._notices.add(frames.FRAME_HANDSHAKE_DONE, 0)
        self._confirm(now)

    def _confirm(self, now: float) -> None:
        """The handshake is confirmed (RFC 9001 section 4.1.2)."""
        if self.is_confirmed:
            return
        self.is_confirmed = True
        self.recovery.is_confirmed = True
        self.recovery.is_peer_validated = True
        if self.log is not None:
            self.log.state(now, "handshake_confirmed")
        self._discard(INITIAL)
        self._discard(HANDSHAKE)
        self._on_confirmed(now)

    def _on_confirmed(self, now: float) -> None:
        """What begins with a confirmed handshake: engine/quic/migration."""
        raise NotImplementedError

    def _discard(self, level: int) -> None:
        space = self._spaces[level]
        if not space.is_discarded:
            # The limit of forgeries is the connection's (RFC 9001 section 6.6).
            self._spaces[APPLICATION].keys.forged += space.keys.forged
            self._received_before += space.received.count
            space.discard()
            self._spaces[level] = GONE[level]
            if level == INITIAL:
                self._other_keys = None
                self._beginning = None
            self.recovery.discard(level)
