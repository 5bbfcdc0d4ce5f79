"""Connection IDs: readable for us alone, and never more of them than agreed (RFC 9000 sections 5.1, 19.15, 19.16)."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.quic.peers import switch

from headgate.engine.quic.connection_ids import (
    CID_LENGTH,
    MAX_OWN_IDS,
    MAX_PEER_IDS,
    MAX_REPLACED,
    MAX_RETIRED,
    MAX_RETIRING,
    MAX_SLOT,
    ConnectionIdCodec,
    OwnConnectionIds,
    PeerConnectionIds,
)
from headgate.engine.quic.errors import CONNECTION_ID_LIMIT_ERROR, PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.rtt import NEVER
from headgate.errors import LocalProtocolError

KEY = b"0123456789abcdef"
TOKEN = bytes(16)


def own(limit=MAX_OWN_IDS):
    numbers = itertools.count(1)
    pool = OwnConnectionIds(b"first", lambda: (b"own-%d" % next(numbers), TOKEN))
    pool.set_limit(limit)
    return pool


def give(pool, sequence, retire_prior_to=0):
    pool.add(sequence, retire_prior_to, b"peer-%d" % sequence, sequence.to_bytes(16, "big"))


def told(pool):
    """The sequence numbers that RETIRE_CONNECTION_ID frames are due for, once each."""
    due = list(pool.due)
    pool.due.clear()
    return due


def refused(function, *arguments):
    with pytest.raises(QuicError) as caught:
        function(*arguments)
    return caught.value.code


# IDs that name a worker


@given(st.integers(0, MAX_SLOT), st.integers(0, 1 << 20), st.integers(0, 1 << 40))
def test_an_id_names_its_worker(slot, generation, counter):
    codec = ConnectionIdCodec(KEY)
    made = codec.encode(slot, generation, counter)
    assert len(made) == CID_LENGTH
    assert codec.decode(made) == (slot, generation & 0xFF)
    assert ConnectionIdCodec(KEY).decode(made) == (slot, generation & 0xFF)


@given(st.binary(max_size=20))
def test_any_octets_can_be_asked(octets):
    found = ConnectionIdCodec(KEY).decode(octets)
    assert found is None or len(octets) == CID_LENGTH


def test_what_is_no_id_of_ours_is_told_but_for_one_in_256():
    codec = ConnectionIdCodec(KEY)
    other = ConnectionIdCodec(b"another key 1234")
    taken = sum(codec.decode(other.encode(1, 1, counter)) is not None for counter in range(4096))
    assert taken < 64


def test_ids_never_repeat_and_do_not_show_what_they_say():
    codec = ConnectionIdCodec(KEY)
    made = [codec.encode(3, 7, counter) for counter in range(4096)]
    assert len(set(made)) == len(made)
    # Neighbours differ in about half their bits, wherever one looks.
    for at in range(CID_LENGTH):
        assert len({octets[at] for octets in made}) == 256
    bits = [
        (int.from_bytes(a, "big") ^ int.from_bytes(b, "big")).bit_count() for a, b in itertools.pairwise(made)
    ]
    assert 30 < sum(bits) / len(bits) < 34


def test_the_last_slot_and_one_more():
    codec = ConnectionIdCodec(KEY)
    assert codec.decode(codec.encode(MAX_SLOT, 0, 0)) == (MAX_SLOT, 0)
    with pytest.raises(LocalProtocolError):
        codec.encode(MAX_SLOT + 1, 0, 0)


# Ours


@pytest.mark.parametrize("peer_limit", [2, 3, MAX_OWN_IDS, MAX_OWN_IDS + 1, 1 << 60])
def test_limit_of_our_ids_whatever_the_peer_takes(peer_limit):
    pool = own(peer_limit)
    new = pool.take_new(0.0, 0.1)
    assert len(pool.active) == 1 + len(new) == min(peer_limit, MAX_OWN_IDS)
    assert [sequence for sequence, _, _ in new] == list(range(1, len(new) + 1))
    assert pool.take_new(0.0, 0.1) == []


def test_rfc9000_19_16_what_cannot_be_retired():
    pool = own()
    assert refused(pool.retire, 1, b"first", 0.0) == PROTOCOL_VIOLATION
    pool.take_new(0.0, 0.1)
    assert refused(pool.retire, 4, b"first", 0.0) == PROTOCOL_VIOLATION
    assert refused(pool.retire, 1, b"own-1", 0.0) == PROTOCOL_VIOLATION
    assert pool.retire(1, b"own-2", 0.0) == b"own-1"
    assert pool.retire(1, b"own-2", 0.0) == b""
    assert repr(pool) == "<OwnConnectionIds [0, 2, 3] of 4>"


def test_limit_of_replacements_and_one_more():
    pool = own()
    pool.take_new(0.0, 0.1)
    now = 1.0
    for _ in range(MAX_REPLACED):
        assert pool.retire(min(pool.active), b"elsewhere", now)
        assert len(pool.take_new(now, 0.1)) == 1
        now += 0.11
    assert pool.retire(min(pool.active), b"elsewhere", now)
    assert pool.take_new(now, 0.1) == []
    assert len(pool.take_new(60.1, 0.1)) == 1


def test_one_replacement_in_a_round_trip():
    pool = own()
    pool.take_new(0.0, 0.1)
    for sequence in (0, 1):
        assert pool.retire(sequence, b"elsewhere", 1.0)
    assert len(pool.take_new(1.0, 0.1)) == 1
    assert pool.take_new(1.09, 0.1) == []
    assert len(pool.take_new(1.11, 0.1)) == 1


def test_the_time_that_is_named_is_the_time_that_counts():
    for step in range(200):
        pool = own()
        pool.take_new(0.0, 0.1)
        now, rtt = 7.9 + step / 777, 0.04 + step / 3333
        pool.retire(0, b"elsewhere", now)
        pool.retire(1, b"elsewhere", now)
        assert len(pool.take_new(now, rtt)) == 1
        assert pool.next_at(rtt) > now
        assert len(pool.take_new(pool.next_at(rtt), rtt)) == 1
        assert pool.next_at(rtt) == NEVER


def test_limit_of_retirements_in_a_minute_and_one_more():
    pool = own()
    pool.take_new(0.0, 0.1)
    for _ in range(MAX_RETIRED):
        pool.retire(1, b"first", 0.0)
    assert refused(pool.retire, 1, b"first", 59.9) == PROTOCOL_VIOLATION
    pool.retire(1, b"first", 60.0)


# The peer's


def test_limit_of_the_peers_ids_and_one_more():
    pool = PeerConnectionIds(b"peer-0")
    for sequence in range(1, MAX_PEER_IDS):
        give(pool, sequence)
        give(pool, sequence)  # the same frame again
    assert refused(give, pool, MAX_PEER_IDS) == CONNECTION_ID_LIMIT_ERROR


def test_rfc9000_5_1_2_retire_prior_to():
    pool = PeerConnectionIds(b"peer-0")
    for sequence in (1, 2, 3):
        give(pool, sequence)
    give(pool, 4, 2)
    assert (pool.current, pool.sequence) == (b"peer-2", 2)
    assert told(pool) == [0, 1]
    assert told(pool) == []
    give(pool, 5, 3)
    # What comes late and is below is retired at once; what was held before is not taken up again.
    assert sorted(told(pool)) == [2]
    give(pool, 1)
    assert told(pool) == []
    late = PeerConnectionIds(b"peer-0")
    give(late, 9, 9)
    assert late.current == b"peer-9"
    give(late, 4)
    assert told(late) == [0, 4]
    assert repr(late) == "<PeerConnectionIds [9], uses 9, retires 2>"


def test_rfc9000_5_1_2_a_far_jump_costs_what_is_held():
    pool = PeerConnectionIds(b"peer-0")
    last = (1 << 62) - 1
    give(pool, last, last)
    assert pool.current == b"peer-%d" % last
    assert told(pool) == [0]


def test_limit_of_retired_ids_and_one_more():
    pool = PeerConnectionIds(b"peer-0")
    for sequence in range(1, MAX_RETIRING + 1):
        give(pool, sequence, sequence)
        told(pool)
        pool.lost(sequence - 1)  # sent again, and still not acknowledged
    assert refused(give, pool, MAX_RETIRING + 1, MAX_RETIRING + 1) == CONNECTION_ID_LIMIT_ERROR
    honest = PeerConnectionIds(b"peer-0")
    for sequence in range(1, 100):
        give(honest, sequence, sequence)
        for retired in told(honest):
            honest.acknowledged(retired)


def test_a_lost_retirement_is_due_again_until_it_is_acknowledged():
    pool = PeerConnectionIds(b"peer-0")
    give(pool, 1, 1)
    assert told(pool) == [0]
    pool.lost(0)
    pool.lost(0)
    assert told(pool) == [0]
    pool.acknowledged(0)
    pool.lost(0)
    assert told(pool) == []


@pytest.mark.parametrize(
    ("sequence", "connection_id", "token"),
    [
        (1, b"other", (1).to_bytes(16, "big")),
        (2, b"peer-1", bytes(16)),
        (1, b"peer-1", bytes(16)),
        (2, b"peer-0", bytes(16)),
    ],
)
def test_rfc9000_19_15_an_id_or_its_number_comes_twice_and_differs(sequence, connection_id, token):
    pool = PeerConnectionIds(b"peer-0")
    give(pool, 1)
    assert refused(pool.add, sequence, 0, connection_id, token) == PROTOCOL_VIOLATION


def test_rfc9000_19_15_a_peer_without_ids_gives_none():
    pool = PeerConnectionIds(b"")
    assert refused(give, pool, 1) == PROTOCOL_VIOLATION


def test_another_path_takes_another_id():
    pool = PeerConnectionIds(b"random")
    assert pool.tokens() == []
    pool.replace_first(b"peer-0", TOKEN)
    assert (pool.current, pool.tokens()) == (b"peer-0", [TOKEN])
    assert not switch(pool)
    give(pool, 1)
    assert switch(pool)
    assert (pool.current, told(pool)) == (b"peer-1", [0])
    assert pool.tokens() == [(1).to_bytes(16, "big")]
    assert not switch(pool)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=60))
def test_whatever_a_peer_sends_the_pool_stays_within_its_bounds(frames):
    pool = PeerConnectionIds(b"peer-0")
    pool.replace_first(b"peer-0", TOKEN)
    for sequence, retire_prior_to in frames:
        try:
            give(pool, sequence, min(sequence, retire_prior_to))
        except QuicError:
            break
        assert len(pool._held) <= MAX_PEER_IDS
        assert len(pool._retiring) <= MAX_RETIRING
        assert len(pool._seen) <= 16
        assert pool.current == pool._held[pool.sequence][0]
        assert len(told(pool)) <= MAX_RETIRING
