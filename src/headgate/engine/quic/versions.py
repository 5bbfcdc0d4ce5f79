"""Which version a connection speaks (RFC 9368, RFC 9369): 1 and 2 are one protocol with other keys and other bits.

    client                                        server
    Initial, version 1: "I chose 1, I speak 2, 1"  ->
                       <-  Initial, version 2: "I chose 2, I speak 1, 2"       compatible negotiation
    Initial, version 2, and so on                 ->

The client begins with its original version and says which ones it speaks, best first. The server answers in the
negotiated one, which the client learns from the first packet that opens with its keys; the transport parameters,
which TLS authenticates, then say whether somebody in between had a hand in it. A server that does not speak the
original version at all answers with a Version Negotiation packet, which nothing authenticates: a client follows one,
once, and its new choice must be what the server's parameters would have led it to (RFC 9368 section 4).
"""

from collections.abc import Sequence
from typing import Final, final

from headgate.engine.quic.errors import VERSION_NEGOTIATION_ERROR, QuicError
from headgate.engine.quic.packet import VERSION_1, VERSION_2, VERSIONS
from headgate.engine.quic.transport_parameters import (
    TransportParameters,
    decode_parameters,
    encode_parameters,
)
from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.settings import ClientSettings, Random, Session, TransportAnswer

# Original version → those that its first flight can be read as (RFC 9369 section 4).
COMPATIBLE: Final[dict[int, tuple[int, ...]]] = {
    VERSION_1: (VERSION_1, VERSION_2),
    VERSION_2: (VERSION_2, VERSION_1),
}


def choose(ours: Sequence[int], theirs: Sequence[int]) -> int:
    """Return the first of `ours` that is among `theirs`, 0 when there is none."""
    for version in ours:
        if version in theirs:
            return version
    return 0


@final
class Introduction(TransportAnswer):
    """What a server says of itself to one client, and what came of it.

    `peer` are the client's parameters, `negotiated` the version to go on with; the original one until then.
    """

    __slots__ = ("_prefers_newest", "_said", "_versions", "negotiated", "original", "peer")

    def __init__(
        self, said: TransportParameters, original: int, versions: tuple[int, ...], *, prefers_newest: bool
    ) -> None:
        self._said = said
        self._versions = versions
        self._prefers_newest = prefers_newest
        self.original: Final = original
        self.negotiated = original
        self.peer: TransportParameters | None = None

    def __repr__(self) -> str:
        return f"<Introduction {self.original:#x} to {self.negotiated:#x}>"

    def answer(self, said: bytes) -> bytes:
        peer = decode_parameters(said, from_client=True)
        # RFC 9368 section 4: what it chose is what its packets show.
        if peer.chosen_version not in (self.original, 0):
            detail = f"chosen version {peer.chosen_version:#x} in packets of version {self.original:#x}"
            raise QuicError(VERSION_NEGOTIATION_ERROR, detail)
        self.peer = peer
        self.negotiated = self._negotiate(peer)
        ours = self._said
        ours.chosen_version = self.negotiated
        ours.versions = self._versions
        return encode_parameters(ours)

    def _negotiate(self, peer: TransportParameters) -> int:
        """Return the version to go on with: the client's first one, unless it likes version 2 better, or we do."""
        if self.original != VERSION_1 or VERSION_2 not in self._versions or VERSION_2 not in peer.versions:
            return self.original
        if self._prefers_newest:
            return VERSION_2
        # Versions that we do not know, and grease (RFC 9368 section 6), are passed over.
        return choose(peer.versions, (VERSION_1, VERSION_2))


def check_server(
    parameters: TransportParameters, *, original: int, in_use: int, ours: Sequence[int], refused: int
) -> None:
    """Hold a server's version information against what we saw (RFC 9368 sections 4 and 8, RFC 9369 section 4).

    `ours` are the versions that we speak, best first; `refused` is the one that a Version Negotiation turned us away
    from, 0 without one. Raises QuicError with VERSION_NEGOTIATION_ERROR.
    """
    chosen = parameters.chosen_version
    if not chosen and in_use == original == VERSION_1:
        return  # a server of version 1 alone, that knows nothing of all this; also after a Version Negotiation
    if chosen != in_use:
        detail = f"the server says that it chose {chosen:#x} in packets of version {in_use:#x}"
        raise QuicError(VERSION_NEGOTIATION_ERROR, detail)
    if refused:
        # Would we have come to this version if the packet had said the truth?
        known = parameters.versions
        if refused in known or choose(ours, known) != original:
            words = ", ".join([f"{version:#x}" for version in known])
            detail = f"turned away from {refused:#x}, and the server speaks {words or 'nothing'}"
            raise QuicError(VERSION_NEGOTIATION_ERROR, detail)


def follow(offered: Sequence[int], ours: Sequence[int], original: int) -> int:
    """Return what to begin anew with after a Version Negotiation, 0 for nothing (RFC 9000 section 6.2).

    Versions that we do not speak cannot be followed, and one that offers our own says nothing true.
    """
    if original in offered:
        return 0
    return choose([version for version in ours if version in VERSIONS], offered)


@final
class ClientBeginning:
    """What a client begins with, kept until the server has said anything: it may have to begin in another version."""

    __slots__ = ("_early", "_now_wall", "_random", "_said", "_session", "_settings", "versions")

    def __init__(
        self,
        settings: ClientSettings,
        said: TransportParameters,
        versions: tuple[int, ...],
        random: Random,
        now_wall: float,
        session: Session | None,
        *,
        early: bool,
    ) -> None:
        self._settings = settings
        self._said = said
        self._random = random
        self._now_wall = now_wall
        self._session = session
        self._early = early
        self.versions: Final = versions

    def handshake(self, version: int) -> ClientHandshake:
        """Return a handshake whose first flight is of this version."""
        said = self._said
        said.chosen_version = version
        said.versions = self.versions if version in self.versions else (version, *self.versions)
        return ClientHandshake(
            self._settings,
            self._random,
            self._now_wall,
            transport_parameters=encode_parameters(said),
            session=self._session,
            early=self._early,
            version=version,
        )
