"""What a QUIC endpoint is given by the process around it: keys, a timer, a way to other workers, and TLS."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from headgate.engine.tls13.server import ServerHandshake
from headgate.engine.tls13.settings import ServerSettings
from headgate.net.udp import Peer


@dataclass(frozen=True, slots=True, repr=False)
class EndpointKeys:
    """What all workers of a gate share, and keep over a restart: 16 octets for connection IDs, 32 for stateless
    resets, 32 for tokens."""

    cid_key: bytes
    reset_key: bytes
    token_key: bytes


class Timer(Protocol):
    """What `Timers.call_at` returns."""

    def cancel(self) -> None: ...


class Timers(Protocol):
    """Where the one timer of an endpoint comes from: the worker's event loop."""

    def call_at(self, when: float, callback: Callable[[], None], /) -> Timer: ...


class Forward(Protocol):
    """Hands datagrams to the worker that their connection ID names; False: it cannot have them.

    `data` are datagrams end to end, `segment` octets each but the last.
    """

    def __call__(self, slot: int, data: bytes, segment: int, peer: Peer, local: bytes, ecn: int) -> bool: ...


class EndpointTls(Protocol):
    """The TLS of a listener over QUIC (`tls.quic_server.QuicServerTls`)."""

    @property
    def settings(self) -> ServerSettings:
        """What the next connection is accepted with."""

    def finished(self, handshake: ServerHandshake, /) -> None:
        """Count a handshake that is complete."""

    def failed(self, handshake: ServerHandshake, /) -> None:
        """Count one that came to nothing."""
