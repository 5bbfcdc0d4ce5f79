"""What a connection tells whoever writes it down (draft-ietf-quic-qlog-quic-events): the shape, nothing written here.

A connection without a log pays one comparison for each packet. One with a log hands over what it knows as it is:
numbers, and the frames of a packet as octets; what they say is read by the writer (telemetry/qlog). Levels are those
of engine/quic/levels, times are those of the connection. No method may raise.
"""

from mypy_extensions import mypyc_attr

from headgate.engine.quic.closing import CloseReason
from headgate.engine.quic.path import Address
from headgate.engine.quic.recovery import Recovery
from headgate.engine.quic.transport_parameters import TransportParameters


@mypyc_attr(allow_interpreted_subclasses=True)
class QuicLog:
    """Base class of what writes the log of one connection; by itself it forgets everything."""

    def packet_sent(self, now: float, level: int, number: int, size: int, content: bytes) -> None:
        """A packet of `size` octets was sealed; `content` are its frames."""

    def packet_received(self, now: float, level: int, number: int, size: int, content: bytes) -> None:
        """A packet opened that was not known yet."""

    def packet_dropped(self, now: float, reason: str) -> None:
        """A packet or datagram was not believed, or too much: the key of `dropped`."""

    def packet_lost(self, now: float, level: int, number: int) -> None:
        """A packet of ours was lost."""

    def metrics(self, now: float, recovery: Recovery) -> None:
        """Something was sent or received; what of recovery is the same as before need not be written."""

    def key_updated(self, now: float, generation: int, *, is_ours: bool) -> None:
        """Packets are sealed, or by the peer, with keys of another generation."""

    def path(self, now: float, what: str, peer: Address, local: bytes) -> None:
        """A path is `used`, `validated` or `left`."""

    def datagram_size(self, now: float, size: int) -> None:
        """Datagrams go out with another size."""

    def parameters(self, now: float, said: TransportParameters, *, is_ours: bool) -> None:
        """Transport parameters are known."""

    def state(self, now: float, state: str) -> None:
        """The connection went on to another state, a word of the draft."""

    def closed(self, now: float, reason: CloseReason) -> None:
        """The connection ended; nothing more follows than what is left of it."""
