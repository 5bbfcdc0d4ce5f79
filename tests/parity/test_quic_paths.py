"""Paths, connection IDs and keys against another implementation, in both roles and in memory: aioquic."""

import pytest
from tests.parity.test_quic_connection import ADDRESS, MIB, STEP, Pair
from tests.unit.engine.quic.peers import CLIENT, SERVER, switch

from headgate.engine.quic.closing import State
from headgate.engine.quic.connection_ids import MAX_OWN_IDS
from headgate.engine.quic.levels import APPLICATION

OTHER = ("198.51.100.9", 5555)


class MovingPair(Pair):
    """A pair whose client may come from another address: `where` is the address that its packets come from."""

    def __init__(self, *, ours_is_client):
        super().__init__(ours_is_client=ours_is_client)
        self.ours_is_client = ours_is_client
        self.where = {b"": ADDRESS if ours_is_client else CLIENT}

    def turn(self):
        self.now += STEP
        if self.ours is not None:
            self.ours.on_deadline(self.now)
            self._read_ours()
            while (batch := self.ours.take_batch(self.now)) is not None:
                for datagram in batch.datagrams():
                    if self.ours_is_client:
                        self._give_theirs(datagram, self.where[batch.local])
                    elif batch.peer in self.where.values():
                        self._give_theirs(datagram, ADDRESS)
        self.now += STEP
        if self.theirs is not None:
            timer = self.theirs.get_timer()
            if timer is not None and timer <= self.now:
                self.theirs.handle_timer(self.now)
            self._read_theirs()
            for datagram, address in self.theirs.datagrams_to_send(self.now):
                if not self.ours_is_client:
                    self.to_ours_from(datagram, self.where[b""], b"")
                for local, known in self.where.items():
                    if self.ours_is_client and known == address:
                        self.to_ours_from(datagram, SERVER, local)
            self._read_theirs()

    def _give_theirs(self, datagram, address):
        if self.theirs is None:
            self.to_theirs(datagram)
        else:
            self.theirs.receive_datagram(datagram, address, self.now)

    def to_ours_from(self, datagram, peer, local):
        if self.ours is None:
            self.to_ours(datagram)
        else:
            self.ours.receive_batch(datagram, len(datagram), peer, local, 0, self.now)

    def rest(self, seconds):
        until = self.now + seconds
        while self.now < until:
            self.turn()

    def say(self, size=50_000):
        """Send so much each way on a stream, and see it arrive."""
        heard, read = len(self.data), len(self.read)
        streams = self.ours.streams
        if self.ours_is_client:
            stream = streams.open(is_uni=False)
            streams.write(stream, MIB[:size], fin=True)
            self.run(lambda: len(self.data) == heard + size)
            self.theirs.send_stream_data(stream, MIB[:size], end_stream=True)
        else:
            stream = self.theirs.get_next_available_stream_id()
            self.theirs.send_stream_data(stream, MIB[:size], end_stream=True)
            self.run(lambda: len(self.read) == read + size)
            streams.write(stream, MIB[:size], fin=True)
        self.run(lambda: len(self.data) == heard + size and len(self.read) == read + size)
        streams.release(stream)
        assert self.ours.state is State.OPEN


@pytest.fixture(params=[True, False], ids=["ours-is-client", "ours-is-server"])
def pair(request):
    made = MovingPair(ours_is_client=request.param)
    made.run(made.is_complete)
    made.rest(0.5)
    return made


def test_ids_are_exchanged(pair):
    assert len(pair.ours.own_ids.active) == MAX_OWN_IDS
    assert pair.ours.peer_ids.count() == MAX_OWN_IDS


def test_a_nat_that_forgets(pair):
    pair.say()
    pair.where[b""] = OTHER
    pair.say()
    pair.rest(5.0)
    pair.say()
    if not pair.ours_is_client:
        assert (pair.ours.path.peer, pair.ours.path.state()) == (OTHER, "validated")
        assert pair.ours.path.is_wide


def test_a_client_of_ours_moves():
    pair = MovingPair(ours_is_client=True)
    pair.run(pair.is_complete)
    pair.rest(0.5)
    pair.say()
    pair.where[b"wifi"] = OTHER
    assert pair.ours.migrate(b"wifi", pair.now)
    pair.run(lambda: pair.ours.path.local == b"wifi")
    pair.say()
    pair.rest(5.0)
    pair.say()
    assert [path.local for path in pair.ours._paths.all] == [b"wifi"]


def test_it_takes_another_id(pair):
    for _ in range(6):
        pair.theirs.change_connection_id()
        pair.say(5000)
        pair.rest(0.5)
    assert min(pair.ours.own_ids.active) == 6
    assert len(pair.ours.own_ids.active) == MAX_OWN_IDS


def test_we_take_another_id(pair):
    for turn in range(1, 5):
        assert switch(pair.ours.peer_ids)
        pair.ours.path.sequence = pair.ours.peer_ids.sequence
        pair.say(5000)
        pair.rest(0.5)
        assert pair.ours.peer_ids.sequence == turn


def test_it_follows_our_key_updates(pair):
    for count in range(1, 4):
        assert pair.ours.update_keys(pair.now)
        pair.say(5000)
        pair.rest(2.0)
        keys = pair.ours._spaces[APPLICATION].keys
        assert (keys.read_generation, keys.write_generation) == (count, count)


def test_larger_datagrams_arrive(pair):
    pair.say(200_000)
    assert pair.ours.path.datagram > 1200
