"""What is done with datagrams for no connection here (RFC 9000 sections 5.2, 8.1 and 10.3).

A datagram for no connection here may belong to another worker (its ID says so: handed on), to one that has
ended (answered with its end), to one that nobody knows (stateless reset), or begin one. A first Initial costs a few
microseconds until its tag is found right; only then is anybody admitted (server/quic_admission), and only then is
anything kept.

What is answered is bounded by rates (server/quic_answers); what becomes a connection is the endpoint's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, final

from headgate.clock import Clock
from headgate.counters import QUIC_DROPPED_FIRST, QUIC_DROPS
from headgate.engine.quic.connection_ids import ConnectionIdCodec
from headgate.engine.quic.errors import CONNECTION_REFUSED, QuicError, UnreadablePacketError
from headgate.engine.quic.initial import open_initial
from headgate.engine.quic.levels import HANDSHAKE, INITIAL
from headgate.engine.quic.packet import UNKNOWN_VERSION, LongHeader, parse_long_header
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.retry import FROM_NEW_TOKEN, Token, TokenKeys
from headgate.net.poller import Poller
from headgate.net.udp import Peer
from headgate.server.limits import ConnectionLimits, client_network
from headgate.server.quic_admission import Admission, Verdict
from headgate.server.quic_answers import LEAST_INITIAL, Answers
from headgate.server.quic_backlog import Waiting
from headgate.server.quic_closed import ClosedConnections
from headgate.server.quic_parts import EndpointKeys, Forward
from headgate.server.quic_tokens import SeenTokens

# Section 7.2: a client's first choice of our ID has eight octets at least, so that nobody else guesses it.
LEAST_FIRST_ID: Final = 8

_MALFORMED: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("malformed")
_SMALL_INITIAL: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("small-initial")
_BAD_INITIAL: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("bad-initial")
_BAD_TOKEN: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("bad-token")
_UNKNOWN_VERSION: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("unknown-version")
_UNKNOWN_CONNECTION: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("unknown-connection")
_CONNECTIONS: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("connections")
_DRAINING: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("draining")


def plain_host(peer: Peer) -> str:
    """Return the host of an address, that of IPv4 on a socket of both families as IPv4."""
    return peer[0][7:] if peer[0].startswith("::ffff:") else peer[0]


class StrangersOwner(Protocol):
    """The endpoint."""

    def make_id(self) -> tuple[bytes, bytes]:
        """Return a new connection ID, and its stateless reset token."""

    def answer(self, datagram: bytes, peer: Peer, local: bytes) -> None:
        """Send a datagram that belongs to no connection, if there is one and it finds room."""

    def accept(
        self, header: LongHeader, keys: KeySet, token: Token | None, network: str, data: bytes, item: Waiting
    ) -> None:
        """Make a connection of a first Initial; it was admitted."""


@final
class Strangers:
    """The strangers of one endpoint. `draining`: no new connections."""

    def __init__(
        self,
        owner: StrangersOwner,
        values: list[int],
        codec: ConnectionIdCodec,
        slot: int,
        closed: ClosedConnections,
        keys: EndpointKeys,
        versions: tuple[int, ...],
        limits: ConnectionLimits,
        poller: Poller,
        clock: Clock,
        random: Callable[[int], bytes],
        forward: Forward | None,
    ) -> None:
        self.admission = Admission(values, poller.now)
        self.draining = False
        self._owner = owner
        self._values = values
        self._codec = codec
        self._slot = slot
        self._closed = closed
        self._tokens = TokenKeys(keys.token_key)
        self._seen = SeenTokens()
        self._answers = Answers(values, random, keys.reset_key, self._tokens, poller.now, versions)
        self._limits = limits
        self._poller = poller
        self._clock = clock
        self._random = random
        self._forward = forward

    def __repr__(self) -> str:
        return f"<Strangers, {self.admission!r}>"

    def receive(self, connection_id: bytes, data: bytes, item: Waiting) -> None:
        """Take a datagram for no connection of ours."""
        now, peer, local = self._poller.now, item.peer, item.local
        record = self._closed.find(connection_id)
        if record is not None:
            if record.closing.receive(len(data)):
                self._owner.answer(record.closing.answer(), record.peer, record.local)
            return
        header: LongHeader | None = None
        if data[0] >= 0x80:
            try:
                header = parse_long_header(data, 0, len(data))
            except UnreadablePacketError:
                self._values[_MALFORMED] += 1
                return
            if header.kind == UNKNOWN_VERSION or header.version not in self._answers.versions:
                self._values[_UNKNOWN_VERSION] += 1
                if header.kind <= UNKNOWN_VERSION and header.version != 0:
                    self._owner.answer(self._answers.negotiate(header, len(data), now), peer, local)
                return
        names = self._codec.decode(connection_id)
        if names is not None and not item.is_handed and self._hand_on(names[0], data, item):
            return
        if header is None or (header.kind == HANDSHAKE and names is not None):
            # Section 10.3 leaves long headers to us: a client whose handshake is over, but was not confirmed before
            # its worker died, begins its datagrams with one, and knows the token by then.
            self._values[_UNKNOWN_CONNECTION] += 1
            self._owner.answer(self._answers.reset(connection_id, len(data), peer, now), peer, local)
        elif header.kind == INITIAL:
            self._receive_initial(header, data, item)
        else:
            self._values[_UNKNOWN_CONNECTION] += 1

    def _hand_on(self, slot: int, data: bytes, item: Waiting) -> bool:
        """Give a datagram to the worker of a slot; False: that is us, or nobody."""
        forward = self._forward
        if forward is None or slot == self._slot:
            return False
        return forward(slot, data, len(data), item.peer, item.local, item.ecn)

    def _receive_initial(self, header: LongHeader, data: bytes, item: Waiting) -> None:
        """Take a first Initial: nothing is kept of it before its tag is right."""
        values = self._values
        if len(data) < LEAST_INITIAL or len(header.destination) < LEAST_FIRST_ID:
            values[_SMALL_INITIAL] += 1
            return
        keys = open_initial(data, header)
        if keys is None:
            values[_BAD_INITIAL] += 1
            return
        if self.draining:
            values[_DRAINING] += 1
            self._refuse(header, CONNECTION_REFUSED, "", item)
            return
        token: Token | None = None
        if header.token:
            try:
                token = self._open_token(header, item.peer)
            except QuicError as error:
                values[_BAD_TOKEN] += 1
                self._refuse(header, error.code, error.detail, item)
                return
        self._admit(header, keys, token, data, item)

    def _open_token(self, header: LongHeader, peer: Peer) -> Token | None:
        """Return a token that proves the client's address. Raises `QuicError` for a Retry's that does not."""
        wall = self._clock.wall()
        token = self._tokens.open(header.token, peer[0].encode(), peer[1], header.destination, wall)
        if token is not None and token.kind == FROM_NEW_TOKEN and not self._seen.use(token.nonce, wall):
            return None
        return token

    def _admit(
        self, header: LongHeader, keys: KeySet, token: Token | None, data: bytes, item: Waiting
    ) -> None:
        now, peer = self._poller.now, item.peer
        network = client_network(plain_host(peer))
        verdict = self.admission.decide(network, token is not None, now)
        if verdict == Verdict.RETRY:
            source = self._owner.make_id()[0]
            retry = self._answers.retry(header, source, peer, self._clock.wall())
            self._owner.answer(retry, peer, item.local)
        elif verdict == Verdict.ADMIT:
            if self._limits.admit(network, now):
                self.admission.settled(network, token is not None)
                self._values[_CONNECTIONS] += 1
                self._refuse(header, CONNECTION_REFUSED, "", item)
                return
            self._owner.accept(header, keys, token, network, data, item)

    def _refuse(self, header: LongHeader, code: int, reason: str, item: Waiting) -> None:
        answer = self._answers.refuse(header, code, reason, self._poller.now)
        self._owner.answer(answer, item.peer, item.local)

    def make_token(self, peer: Peer) -> bytes:
        """Return a token with which a client need not prove this address again (RFC 9000 section 8.1.3)."""
        return self._tokens.seal_new_token(peer[0].encode(), self._clock.wall(), self._random)
