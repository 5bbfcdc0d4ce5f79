"""A hostile peer plays with paths and connection IDs: nothing raises, everything stays within its bounds, and time
moves on.
"""

import random as randomness

import pytest
from tests.unit.engine.quic.peers import CLIENT, SERVER, Link, brief_client

from headgate.engine.quic.closing import AMPLIFICATION, State
from headgate.engine.quic.connection_ids import MAX_OWN_IDS, MAX_PEER_IDS, MAX_RETIRING
from headgate.engine.quic.frames import (
    FRAME_PATH_CHALLENGE,
    FRAME_PATH_RESPONSE,
    PING_FRAME,
    encode_new_connection_id,
    encode_new_token,
    encode_path,
    encode_retire_connection_id,
)
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.migration import MAX_TOKENS
from headgate.engine.quic.packet import encode_short_header
from headgate.engine.quic.paths import MAX_ANSWERS_HELD, MAX_PATHS


class Hostile:
    """One side of a confirmed connection whose keys somebody else uses."""

    def __init__(self, seed, *, is_server):
        self.random = randomness.Random(seed)
        link = Link(brief_client(seed=seed + 1)).shake()
        link.rest(0.3)
        self.victim, self.puppet = (link.server, link.client) if is_server else (link.client, link.server)
        self.now = link.now
        self.number = 10_000
        self.given = MAX_PEER_IDS - 1
        self.to = b""
        self.heard = {}
        self.told = {}

    def frames(self):
        random = self.random
        pieces = [
            PING_FRAME,
            encode_path(FRAME_PATH_CHALLENGE, random.randbytes(8)),
            self._answer(),
            self._new_id(),
            encode_retire_connection_id(self._retired()),
        ]
        if not self.victim.is_client:
            return b"".join(random.choices(pieces, weights=(8, 6, 6, 2, 2), k=random.randrange(1, 4)))
        pieces.append(encode_new_token(random.randbytes(random.randrange(1, 600))))
        return b"".join(random.choices(pieces, weights=(8, 6, 6, 2, 2, 2), k=random.randrange(1, 4)))

    def _new_id(self):
        """The next ID, that takes back what is too old, most of the time."""
        random = self.random
        number = random.randrange(12)
        retire_prior_to = random.randrange(number + 1)
        if random.random() < 0.95:
            self.given += 1
            number = self.given
            retire_prior_to = number - random.randrange(1, MAX_PEER_IDS)
        return encode_new_connection_id(number, max(retire_prior_to, 0), b"%08d" % number, bytes(16))

    def _retired(self):
        """An ID that the packet is not sent to, most of the time."""
        others = [number for number, known in self.victim.own_ids.active.items() if known != self.to]
        if others and self.random.random() < 0.98:
            return self.random.choice(others)
        return self.random.randrange(99)

    def _answer(self):
        """An answer to a challenge of the victim, most of the time, or nothing where there is none."""
        asked = [data for path in self.victim._paths.all for data, _ in path._challenges]
        if self.random.random() < 0.02:
            return encode_path(FRAME_PATH_RESPONSE, bytes(8))
        return encode_path(FRAME_PATH_RESPONSE, self.random.choice(asked)) if asked else PING_FRAME

    def send(self):
        random, victim = self.random, self.victim
        keys = self.puppet._spaces[APPLICATION].keys
        to = self.to = random.choice(list(victim.own_ids.active.values()))
        self.number += random.choice((1, 1, 1, 2, -1))
        header = encode_short_header(to, keys.phase, 0, self.number, 4)
        keys.seal(header, 4, self.number, self.frames().ljust(random.choice((4, 40, 1170)), b"\0"))
        datagram = keys.take_sealed()
        home = SERVER if victim.is_client else CLIENT
        where = random.choice((home, home, ("198.51.100.1", random.randrange(1, 9))))
        self.heard[where] = self.heard.get(where, 0) + len(datagram)
        victim.receive_batch(datagram, len(datagram), where, random.choice((b"", b"", b"x")), 0, self.now)

    def take(self):
        while (batch := self.victim.take_batch(self.now)) is not None:
            if batch.peer != (SERVER if self.victim.is_client else CLIENT):
                self.told[batch.peer] = self.told.get(batch.peer, 0) + len(batch.data)

    def check(self):
        victim = self.victim
        assert len(victim._paths.all) <= MAX_PATHS
        assert victim.path in victim._paths.all
        assert all(len(path.answers) <= MAX_ANSWERS_HELD for path in victim._paths.all)
        assert len(victim.own_ids.active) <= MAX_OWN_IDS
        assert len(victim.own_ids._tokens) == len([n for n in victim.own_ids.active if n])
        assert victim.peer_ids.count() <= MAX_PEER_IDS
        assert len(victim.peer_ids._retiring) <= MAX_RETIRING
        assert len(victim._tokens) <= MAX_TOKENS
        victim.stats()


@pytest.mark.parametrize("is_server", [True, False])
@pytest.mark.parametrize("seed", [*range(25), 253])
def test_bounds_hold_and_time_moves_on(seed, is_server):
    hostile = Hostile(seed, is_server=is_server)
    victim, random = hostile.victim, hostile.random
    for _ in range(400):
        if victim.state is not State.OPEN:
            break
        hostile.send()
        if victim.state is State.OPEN:
            hostile.check()
        hostile.take()
        if random.random() < 0.3:
            stuck = 0
            until = hostile.now + random.choice((0.01, 0.3, 2.0))
            while (due := victim.deadline()) <= until:
                stuck = stuck + 1 if due <= hostile.now else 0
                assert stuck < 10, "a timer goes off without effect"
                hostile.now = max(hostile.now, due)
                victim.on_deadline(hostile.now)
                hostile.take()
            hostile.now = until
    assert victim.state is State.OPEN or victim.end is not None


@pytest.mark.parametrize("seed", range(10))
def test_rfc9000_9_3_1_who_never_answers_gets_three_times_what_it_sent(seed):
    hostile = Hostile(seed, is_server=True)
    hostile._answer = lambda: PING_FRAME
    stream = hostile.victim.streams.open(is_uni=True)
    hostile.victim.streams.write(stream, bytes(200_000), fin=False)
    for _ in range(200):
        hostile.send()
        hostile.take()
        hostile.now += 0.05
        hostile.victim.on_deadline(hostile.now)
        hostile.take()
    for where, told in hostile.told.items():
        assert told <= AMPLIFICATION * hostile.heard[where]
