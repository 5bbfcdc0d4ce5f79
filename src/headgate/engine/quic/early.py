"""0-RTT packets (RFC 9000 sections 5.2 and 7.4.1, RFC 9001 sections 4.6 and 5.6), on both sides.

A client that offers early data sends it in 0-RTT packets of its first version, by the limits that the server's
parameters set at the time of the session. They share their numbers with 1-RTT packets and are acknowledged in those.
When the server refuses, nothing of them has happened: all that was sent is forgotten and goes again, in 1-RTT packets
and by the new limits, from its first octet.

A server reads them as soon as the ClientHello is read and may answer them at once. What overtook the ClientHello
waits, up to `MAX_EARLY_AHEAD`. Which streams have early data in them is known until the handshake is complete: until
then their requests may be a replay, and `is_early` says so.
"""

from typing import Final

from headgate.engine.quic.errors import INTERNAL_ERROR, PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.levels import APPLICATION, EARLY
from headgate.engine.quic.negotiation import Negotiation
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.transport_parameters import TransportParameters, decode_parameters
from headgate.engine.tls13.handshake import Secret

# What a client sends by, and must find again (section 7.4.1).
_REMEMBERED: Final = (
    "active_connection_id_limit",
    "initial_max_data",
    "initial_max_stream_data_bidi_local",
    "initial_max_stream_data_bidi_remote",
    "initial_max_stream_data_uni",
    "initial_max_streams_bidi",
    "initial_max_streams_uni",
    "max_datagram_frame_size",
)


def early_context(settings: ConnectionSettings, application: bytes) -> bytes:
    """Return what tickets of a listener remember of its limits (`tls13.early.EarlyData`).

    `application`: what the protocol above remembers, the settings of HTTP/3. Where anything of it has changed, early
    data of an older ticket is refused.
    """
    said = settings.parameters(b"")
    limits = [b"%d" % getattr(said, name) for name in _REMEMBERED]
    return b",".join(limits) + b"\0" + application


class EarlyPackets(Negotiation):
    """Base of `ConnectionHandshake`."""

    def is_early(self, stream: int) -> bool:
        """Tell whether a request may be a replay: it came in 0-RTT packets, and the handshake is not complete."""
        early = self._early_streams
        return early is not None and stream in early and not self.is_complete

    def may_use_streams(self) -> bool:
        """Tell whether streams may be used: TLS is done, or early data goes by older or newer limits."""
        return self.is_complete or self._early_keys is not None

    def _install_early(self, secret: Secret) -> None:
        keys = KeySet(EARLY, self.original_version)
        keys.install(secret.suite, secret.secret, is_write=secret.is_write)
        self._early_keys = keys
        if self.is_client:
            self._builder.early_keys = keys

    def _take_limits(self, said: TransportParameters) -> None:
        """Send by the limits of these parameters."""
        self.streams.set_peer_limits(
            max_data=said.initial_max_data,
            bidi_local=said.initial_max_stream_data_bidi_local,
            bidi_remote=said.initial_max_stream_data_bidi_remote,
            uni=said.initial_max_stream_data_uni,
            bidi_streams=said.initial_max_streams_bidi,
            uni_streams=said.initial_max_streams_uni,
        )

    def _remember(self, parameters: bytes) -> None:
        """Begin with what the server said when the session was made."""
        remembered = decode_parameters(parameters, from_client=False)
        self._remembered = remembered
        self._take_limits(remembered)

    def _check_remembered(self, said: TransportParameters) -> None:
        """A server that takes early data reduces nothing that it went by (section 7.4.1)."""
        remembered = self._remembered
        if remembered is None:
            return
        for name in _REMEMBERED:
            if getattr(said, name) < getattr(remembered, name):
                raise QuicError(PROTOCOL_VIOLATION, f"early data was taken, and {name} is lower than before")

    def _refuse_early(self) -> None:
        """The server does not take early data: all of it goes again when the handshake is complete."""
        self._end_early()
        for sent in self.recovery.forget(APPLICATION):
            self._outcomes.repeat(sent)
        self.streams.rewind()

    def _check_refused(self) -> None:
        """More streams are open than a server allows that has refused early data: there is no way to go on."""
        if self.streams.is_beyond_limits():
            raise QuicError(
                INTERNAL_ERROR, "early data was refused, and fewer streams are allowed than before"
            )

    def _end_early(self) -> None:
        """Let go of the keys of 0-RTT packets (RFC 9001 section 4.9.3)."""
        self._early_keys = None
        self._builder.early_keys = None
        self._early_until = NEVER
        self._remembered = None
