"""How a connection changes its path, and proves one: RFC 9000 sections 8.2, 9 and 5.1.

The peer of a server moves, on purpose or because a NAT forgot it. A packet from an unknown address that opens makes a
path; a packet that is no mere probe and has the highest number so far makes it the one in use (section 9.3), and both
it and the path before it are asked whether they are real (section 9.3.3): whoever copies packets from elsewhere
wins a detour of three challenges, not the connection. A path that does not answer is left; was it the one in use,
the last validated one takes its place, and where there is none, the connection ends in silence (section 9.3.2).
When only the port is another, what was learnt of the path stands; else round trip, window and size begin anew
(section 9.4).

A client moves by `migrate`: it asks a new path first and goes over when that answers. Servers do not move: what comes
from any other address than the server's is dropped (section 9).

Challenges and answers travel in datagrams of their own, over the path that they are about.
"""

from typing import Final

from headgate.engine.quic import frames
from headgate.engine.quic.closing import CloseReason, End
from headgate.engine.quic.errors import PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.handshake import ConnectionHandshake
from headgate.engine.quic.mtu import BASE
from headgate.engine.quic.path import Address, Batch
from headgate.engine.quic.paths import Path
from headgate.engine.quic.preferred import choose
from headgate.engine.quic.rtt import INITIAL_RTT, NEVER, RttEstimator
from headgate.errors import LocalProtocolError

# NEW_TOKEN frames that a client keeps of one connection, and how long they may be (section 19.7 sets no bound).
MAX_TOKENS: Final = 2
MAX_TOKEN: Final = 512
# Section 8.2.4: as long as the first flight of a new connection would wait for its answer.
_LEAST_INTERVAL: Final = 3 * INITIAL_RTT
# A PATH_CHALLENGE or PATH_RESPONSE; and what stands round such frames in a packet without padding at most.
_PATH_FRAME: Final = 9
_AROUND: Final = 1 + 20 + 4 + 16


class Migration(ConnectionHandshake):
    """Base of `FrameDispatch`: paths and the connection IDs that go with them."""

    def migrate(self, local: bytes, now: float, *, peer: Address | None = None) -> bool:
        """Move to another local address, as a client, as soon as it is proved to work; False where it cannot be now.

        `local` is a name that the owner of the sockets knows it by: batches come out with it. `peer`: another
        address of the server, which it prefers.
        """
        said = self.peer_parameters
        if not self.is_client or not self.is_confirmed or said is None:
            raise LocalProtocolError("only a client moves, when the handshake is confirmed")
        if said.disable_active_migration and peer is None:
            return False
        sequence = self.peer_ids.take()
        if sequence < 0:
            return False
        self._try(Path(peer or self.path.peer, local, is_limited=False), sequence, now)
        return True

    def _try(self, path: Path, sequence: int, now: float) -> None:
        path.sequence = sequence
        path.is_wanted = True
        self._add(path, now)
        self._ask(path, now)

    def _follow_preferred(self, now: float) -> None:
        """Try the address that the server prefers, with the ID that came with it (section 9.6.1)."""
        said = self.peer_parameters
        if said is None or said.preferred_address is None:
            return
        preferred = said.preferred_address
        peer = choose(preferred, self.path.peer) if self._settings.follows_preferred else None
        if peer is not None and peer != self.path.peer and self.peer_ids.claim(1):
            self._try(Path(peer, self.path.local, is_limited=False), 1, now)

    # Where datagrams come from

    def _origin(self, peer: Address, local: bytes, now: float) -> Path | None:
        """Return the path that a datagram took which did not come over the one in use; None: it is dropped."""
        path = self._paths.find(peer, local)
        if path is not None:
            return path
        if self.is_client:
            return self._from_server(peer, local)
        if not self.is_confirmed:
            self._drop("moved-in-handshake")  # section 9
            return None
        if not self._paths.may_add(now):
            self._drop("path-rate")
            return None
        return Path(peer, local, is_limited=True)

    def _from_server(self, peer: Address, local: bytes) -> Path | None:
        """Return the path to an address of the server, None for any other; ours is what the network makes of it."""
        for path in [self.path, *self._paths.all]:
            if path.peer[0] == peer[0] and path.peer[1] == peer[1]:
                path.peer = peer  # with flow and scope, as the socket says it
                if not path.local:
                    path.local = local
                return path
        self._drop("unknown-server")
        return None

    def _came_over(self, path: Path, now: float, *, is_newest: bool) -> None:
        """A packet of a client opened that did not come over the path in use: probe or move (section 9.3)."""
        if self.is_client or (path not in self._paths.all and not self._admit(path, now)):
            return
        path.own_id = self._came_to
        if is_newest and not self._reader.is_probing:
            self._move(path, now)
        elif not path.is_validated and path.gives_up_at == NEVER:
            self._ask(path, now)

    def _admit(self, path: Path, now: float) -> bool:
        """Take in a path, with an ID of the peer's to send to; False where there is none (section 9.5)."""
        for known in self._paths.all:
            if known.own_id == self._came_to and self.peer_ids.destination(known.sequence) is not None:
                path.sequence = known.sequence  # a NAT: the peer does not know that it moved
                self._add(path, now)
                return True
        sequence = self.peer_ids.take()
        if sequence < 0:
            self._drop("no-connection-id")
            return False
        path.sequence = sequence
        self._add(path, now)
        return True

    def _add(self, path: Path, now: float) -> None:
        gone = self._paths.add(path, now)
        if gone is not None:
            self._leave(gone, now)

    def _leave(self, path: Path, now: float) -> None:
        """Forget a path that is not in use, and give back its connection ID."""
        self._paths.all.remove(path)
        self._tell(path, "left", now)
        if not self._paths.shares(path):
            self.peer_ids.give_back(path.sequence)
        self._paths.set_timer()

    def _move(self, path: Path, now: float) -> None:
        """Make a path the one in use; the one before is asked, or left where it never was proved."""
        old = self.path
        if self.peer_ids.destination(path.sequence) is None:
            sequence = self.peer_ids.take()
            if sequence < 0:
                self._drop("no-connection-id")
                return
            path.sequence = sequence
        self._switch(path, now)
        self.migrations += 1
        if path.is_validated:
            self._give_token()
        else:
            self._ask(path, now)
        if not old.is_validated:
            self._leave(old, now)
            return
        old.leaves_at = now + 3 * self._interval()
        if not self.is_client:
            self._ask(old, now)
        self._paths.set_timer()

    def _switch(self, path: Path, now: float) -> None:
        """Put everything that is known of a path in the place of what was known of the one before (section 9.4)."""
        old, recovery = self.path, self.recovery
        old.controller, old.rtt = recovery.controller, recovery.rtt
        controller, rtt = path.controller, path.rtt
        if path.peer[0] == old.peer[0] and path.local == old.local:
            controller, rtt = recovery.controller, recovery.rtt
            path.datagram, path.search = old.datagram, old.search
        if controller is None or rtt is None:
            controller, rtt = self._settings.controller(BASE), RttEstimator()
        recovery.use_path(controller, rtt, now)
        self.peer_ids.use(path.sequence)
        path.is_wanted = False
        path.leaves_at = NEVER
        self._paths.use(path)
        self._paths.set_timer()
        self.path = path
        self._builder.path = path
        self._tell(path, "used", now)

    def _tell(self, path: Path, what: str, now: float) -> None:
        if self.log is not None:
            self.log.path(now, what, path.peer, path.local)

    # Validation

    def _interval(self) -> float:
        """Return how long a challenge waits for its answer (section 8.2.4)."""
        return max(self._probe_timeout(), _LEAST_INTERVAL)

    def _ask(self, path: Path, now: float) -> None:
        path.ask(now, self._interval())
        self._paths.is_due = True
        self._paths.set_timer()

    def _receive_challenge(self, data: bytes, now: float) -> None:
        if not self._paths.hold_answer(self._over, data, now, self.recovery.rtt.smoothed):
            self._drop("path-challenge")

    def _receive_response(self, data: bytes, now: float) -> None:
        path = self._paths.answered(data)
        if self._paths.is_lie():
            detail = "an answer to a challenge that was not sent"
            raise QuicError(PROTOCOL_VIOLATION, detail, frames.FRAME_PATH_RESPONSE)
        if path is None:
            self._drop("path-response")
            return
        self._tell(path, "validated", now)
        if not path.is_wide:
            self._ask(path, now)  # section 8.2.1: now that the size may be tried
        elif path.is_wanted and path is not self.path:
            self._move(path, now)
        self._paths.set_timer()
        self._give_token()

    def _on_path_timer(self, now: float) -> None:
        for path in list(self._paths.all):
            if path.gives_up_at <= now:
                self._on_silence(path, now)
            elif path.asks_at <= now:
                self._paths.is_due = True
            if path.leaves_at <= now and path is not self.path and path in self._paths.all:
                if self.path.gives_up_at == NEVER:
                    self._leave(path, now)
                else:
                    path.leaves_at = self.path.gives_up_at
        self._paths.set_timer()

    def _on_silence(self, path: Path, now: float) -> None:
        """A path did not answer: leave it, and go back where it was the one in use (section 9.3.2)."""
        path.asks_at = path.gives_up_at = NEVER
        if path is not self.path:
            # While nothing better is proved, it is still the last one that was.
            if self.path.is_validated or not path.is_validated:
                self._leave(path, now)
            return
        fallback = self._paths.fallback()
        if fallback is None or self.peer_ids.destination(fallback.sequence) is None:
            reason = CloseReason(0, "no path answers", is_application=False, is_ours=True)
            self._finish(End.TIME, reason, b"", now)
            return
        fallback.asks_at = fallback.gives_up_at = NEVER
        self._switch(fallback, now)
        self._leave(path, now)

    def _path_batch(self, now: float) -> Batch | None:
        """Return the next datagram of challenges and answers."""
        for path in self._paths.all:
            if path.answers or path.asks_at <= now:
                data = self._path_datagram(path, now)
                if data:
                    path.octets_sent += len(data)
                    self._paths.set_timer()
                    return Batch(data, len(data), path.peer, path.local, 0)
        self._paths.is_due = False
        self._paths.set_timer()
        return None

    def _path_datagram(self, path: Path, now: float) -> bytes:
        """Return a datagram of 1200 octets, or without padding where so many may not go there yet (section 8.2.1)."""
        is_asking = path.asks_at <= now
        allowance = path.allowance()
        is_wide = not 0 <= allowance < BASE
        pieces = [frames.encode_path(frames.FRAME_PATH_RESPONSE, data) for data in path.answers]
        path.answers.clear()
        ids = self.peer_ids
        # Where the peer took back everything, the last one is as good as none.
        destination = ids.current if path is self.path else ids.destination(path.sequence)
        most = len(pieces) + 1 if is_wide else (allowance - _AROUND) // _PATH_FRAME
        if destination is None or most <= 0:
            if is_asking:
                path.asked(now)
            return b""
        if is_asking:
            data = path.challenge(self._random, now, is_wide=is_wide)
            self._paths.on_challenge_sent()
            pieces.insert(0, frames.encode_path(frames.FRAME_PATH_CHALLENGE, data))
        elif path is self.path:
            # Section 9.3.3: whoever asks may have seen us elsewhere, and only more than a probe brings it back.
            pieces.append(frames.PING_FRAME)
        content = b"".join(pieces[:most])
        return self._builder.lone_datagram(content, destination, BASE if is_wide else 0, now)

    # Connection IDs of our own, and tokens

    def _on_confirmed(self, now: float) -> None:
        said = self.peer_parameters
        if said is None:
            return
        self.own_ids.set_limit(said.active_connection_id_limit)
        if self.is_client:
            self._follow_preferred(now)
        else:
            # What is late still comes to the ID that the client chose: its packets must begin no other connection.
            self._original_until = now + 3 * self._probe_timeout()
            self._give_token()
        self._issue_ids(now)

    def _on_ids_timer(self, now: float) -> None:
        if now >= self._original_until:
            self._original_until = NEVER
            self._gone_ids.append(self._retry_source or self._original_destination)
        self._issue_ids(now)

    def _issue_ids(self, now: float) -> None:
        """Announce as many IDs as the peer takes and the pace allows (section 5.1.1)."""
        self._ids_at = self._original_until
        if not self._has_more_ids:
            return
        rtt = self.recovery.rtt.smoothed
        for sequence, connection_id, _ in self.own_ids.take_new(now, rtt):
            self._new_ids.append(connection_id)
            self._notices.add(frames.FRAME_NEW_CONNECTION_ID, sequence)
        self._ids_at = min(self._ids_at, self.own_ids.next_at(rtt))

    def _receive_new_id(self, reader: frames.FrameReader, now: float) -> None:
        """Take in an ID of the peer's; a path whose own was taken back gets another, or goes (section 5.1.2)."""
        ids = self.peer_ids
        ids.add(reader.sequence, reader.retire_prior_to, reader.content, reader.token)
        if not reader.retire_prior_to:
            return
        self.path.sequence = ids.sequence
        for path in list(self._paths.all):
            if path is not self.path and ids.destination(path.sequence) is None:
                path.sequence = ids.take()
                if path.sequence < 0:
                    self._leave(path, now)

    def _receive_retirement(self, sequence: int, now: float) -> None:
        gone = self.own_ids.retire(sequence, self._came_to, now)
        if gone:
            self._gone_ids.append(gone)
            self._issue_ids(now)

    def _give_token(self) -> None:
        """Give the client a token for its next connection from this address, once (section 8.1.3)."""
        path = self.path
        if self._make_token is not None and path.is_validated and not path.has_token:
            path.has_token = True
            self._notices.give_token(self._make_token(path.peer))

    def _receive_token(self, token: bytes) -> None:
        if len(token) > MAX_TOKEN or len(self._tokens) >= MAX_TOKENS:
            self._drop("new-token")
        else:
            self._tokens.append(token)

    def take_tokens(self) -> list[bytes]:
        """Return the tokens that the server gave for later connections; the newest is the last."""
        tokens, self._tokens = self._tokens, []
        return tokens
