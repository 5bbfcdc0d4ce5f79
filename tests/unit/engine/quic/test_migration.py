"""Paths of a whole connection: rebinding, migration, validation, amplification (RFC 9000 sections 5.1, 8, 9)."""

import pytest
from tests.unit.engine.quic.peers import (
    CLIENT,
    SERVER,
    Link,
    Talk,
    brief_client,
    flushed,
    new_client,
    new_server,
    receive,
    switch,
)

from headgate.engine.quic.closing import AMPLIFICATION, State
from headgate.engine.quic.connection_ids import MAX_OWN_IDS
from headgate.engine.quic.errors import PROTOCOL_VIOLATION
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
from headgate.engine.quic.migration import MAX_TOKEN, MAX_TOKENS
from headgate.engine.quic.packet import encode_short_header
from headgate.engine.quic.paths import MAX_ANSWERS, MAX_CHALLENGES, MAX_NEW_PATHS, MAX_PATHS, NEW_PATH_SECONDS
from headgate.engine.quic.rtt import INITIAL_RTT, NEVER
from headgate.engine.quic.settings import ConnectionSettings
from headgate.errors import LocalProtocolError

OTHER = ("198.51.100.7", 4433)
MIB = bytes(range(256)) * 4096


def settled(**changes):
    """A confirmed connection whose sides have said everything about IDs."""
    link = Link(new_client(), **changes).shake()
    link.rest(0.5)
    return link


def exchange(link, size=200_000):
    """Let both sides say so much, and see that all of it arrives."""
    ours, theirs = Talk(MIB[:size]), Talk(MIB[:size], opens=False, answers=True)
    link.work = {link.client: ours, link.server: theirs}
    return lambda: ours.finished and theirs.finished


def raw(link, content, *, to=None, size=0, by_client=True):
    """A 1-RTT packet of one side with these frames, sealed behind its back; `to`: the ID that it is sent to."""
    side = link.client if by_client else link.server
    space, sent = side._spaces[APPLICATION], side.recovery.spaces[APPLICATION]
    number = sent.take_number()
    to = side.peer_ids.current if to is None else to
    header = encode_short_header(to, space.keys.phase, 0, number, 4)
    space.keys.seal(header, 4, number, content.ljust(max(size - len(header) - 16, 4), b"\0"))
    return space.keys.take_sealed()


def from_address(link, datagram, address, *, at=None):
    """Give the server a datagram, as if from this address."""
    link.server.receive_batch(datagram, len(datagram), address, b"", 0, link.now if at is None else at)


def batches(side, now):
    found = []
    while (batch := side.take_batch(now)) is not None:
        found.append(batch)
    return found


# --- connection IDs of our own ---


def test_rfc9000_5_1_1_both_sides_give_as_many_ids_as_the_other_takes():
    link = settled()
    for one, other in ((link.client, link.server), (link.server, link.client)):
        assert len(one.own_ids.active) == MAX_OWN_IDS
        assert {one.peer_ids._held[n][0] for n in range(MAX_OWN_IDS)} == set(other.own_ids.active.values())
    new = link.server.take_new_ids()
    assert sorted(new) == sorted(set(link.server.own_ids.active.values()) - {link.server.source})
    assert link.server.take_new_ids() == []


def test_rfc9000_13_3_ids_that_were_lost_are_said_again():
    link = Link(new_client(), loss=0.4, seed=5).shake()
    link.run(lambda: len(link.client.peer_ids._held) == len(link.server.peer_ids._held) == MAX_OWN_IDS)


def test_a_server_that_was_given_no_way_to_make_ids_gives_none():
    def make_server(first, **at):
        server = new_server(first, **at)
        server._has_more_ids = False
        return server

    link = settled(make_server=make_server)
    assert list(link.server.own_ids.active) == [0]
    assert link.server.take_new_ids() == []


def test_rfc9000_5_1_2_a_retired_id_is_replaced_and_gone():
    link = settled()
    link.server.take_new_ids()
    assert switch(link.client.peer_ids)
    link.rest(0.5)
    assert link.server.take_gone_ids() == [link.server._original_destination, link.server.source]
    (new,) = link.server.take_new_ids()
    assert link.server.own_ids.active[MAX_OWN_IDS] == new
    exchange(link)
    link.rest(1.0)
    assert link.is_open()
    before = dict(link.server.dropped)
    from_address(link, raw(link, PING_FRAME, to=link.server.source), CLIENT)
    assert link.server.dropped["other-connection"] == before.get("other-connection", 0) + 1


def test_the_first_destination_is_gone_when_nothing_late_can_come_to_it():
    link = Link(new_client()).shake()
    assert link.server.take_gone_ids() == []
    link.rest(1.0)
    assert link.server.take_gone_ids() == [link.server.initial_destinations()[1]]


@pytest.mark.parametrize("sequence", [0, MAX_OWN_IDS])
def test_rfc9000_19_16_an_id_that_cannot_be_retired(sequence):
    link = settled()
    from_address(link, raw(link, encode_retire_connection_id(sequence)), CLIENT)
    assert link.server.end.code == PROTOCOL_VIOLATION


def test_rfc9000_5_1_2_a_path_whose_id_is_taken_back_goes_on_with_another():
    link = settled()
    client = link.client
    link.addresses[b"wifi"] = OTHER
    client.migrate(b"wifi", link.now)
    assert [path.sequence for path in client._paths.all] == [0, 1]
    taken = encode_new_connection_id(4, 2, b"server-4", b"t" * 16)
    receive(client, raw(link, taken, by_client=False), link.now)
    sequences = [path.sequence for path in client._paths.all]
    assert sorted(sequences) == [2, 3]
    assert client.peer_ids.sequence == client.path.sequence == sequences[0]
    assert sorted(client.peer_ids.due) == [0, 1]
    question = encode_path(FRAME_PATH_CHALLENGE, b"question")
    receive(client, raw(link, question, by_client=False, size=1200), link.now)
    assert 1200 in [len(batch.data) for batch in batches(client, link.now) if batch.local == b""]


def test_rfc9000_5_1_2_without_another_the_path_goes():
    link = settled()
    client = link.client
    link.addresses[b"wifi"] = OTHER
    client.migrate(b"wifi", link.now)
    taken = encode_new_connection_id(4, 4, b"server-4", b"t" * 16)
    receive(client, raw(link, taken, by_client=False), link.now)
    assert [path.sequence for path in client._paths.all] == [4]
    assert client.state is State.OPEN


# --- NAT rebinding ---


@pytest.mark.parametrize("address", [None, OTHER])
def test_rfc9000_9_3_a_nat_that_forgets_costs_nothing_but_a_challenge(address):
    link = settled()
    done = exchange(link, 1_000_000)
    link.run(lambda: link.client.streams.sender.held > 100_000)
    link.rebind(address=address)
    link.run(done)
    assert link.is_open()
    assert link.server.migrations == 1
    assert link.server.path.peer == link.addresses[b""]
    assert link.server.path.is_validated
    # Section 9.5: it did not know that it moved, so the same ID goes on.
    assert link.server.peer_ids.sequence == 0
    link.rest(5.0)
    assert link.server._paths.all == [link.server.path]
    assert link.server.peer_ids.due == []
    assert 0 in link.server.peer_ids._held


def test_rfc9000_9_4_what_was_learnt_stands_where_only_the_port_changed():
    link = settled()
    exchange(link)
    link.rest(1.0)
    controller, rtt, datagram = (
        link.server.recovery.controller,
        link.server.recovery.rtt,
        link.server.path.datagram,
    )
    assert datagram > 1200
    link.rebind()
    exchange(link)
    link.rest(1.0)
    assert link.server.migrations == 1
    assert (link.server.recovery.controller, link.server.recovery.rtt) == (controller, rtt)
    assert link.server.path.datagram == datagram


def test_rfc9000_9_4_another_host_is_learnt_anew():
    link = settled()
    done = exchange(link)
    link.run(done)
    controller = link.server.recovery.controller
    link.rebind(address=OTHER)
    link.client.streams.write(link.client.streams.open(is_uni=False), b"hello", fin=True)
    link.run(lambda: link.server.migrations == 1)
    assert link.server.recovery.controller is not controller
    assert link.server.recovery.rtt.first_sample_at == NEVER
    assert (link.server.path.datagram, link.server.recovery.controller.datagram) == (1200, 1200)


def test_rfc9000_9_3_1_three_times_as_much_to_a_new_address():
    link = settled()
    stream = link.server.streams.open(is_uni=True)
    link.server.streams.write(stream, MIB[:100_000], fin=True)
    datagram = raw(link, PING_FRAME)
    from_address(link, datagram, OTHER)
    assert link.server.path.peer == OTHER
    sent, now = 0, link.now
    while link.server.path.peer == OTHER and link.server.state is State.OPEN:
        sent += sum(len(batch.data) for batch in batches(link.server, now) if batch.peer == OTHER)
        now = link.server.deadline()
        link.server.on_deadline(now)
    assert 0 < sent <= AMPLIFICATION * len(datagram)


def test_rfc9000_8_2_1_an_address_that_was_proved_in_a_small_datagram_is_asked_again_in_a_large_one():
    link = settled()
    link.rebind()
    from_address(link, raw(link, PING_FRAME), link.addresses[b""])
    (small,) = [batch for batch in batches(link.server, link.now) if batch.peer == link.addresses[b""]]
    assert len(small.data) < 100
    link.client.receive_batch(small.data, len(small.data), SERVER, b"", 0, link.now)
    for batch in batches(link.client, link.now):
        from_address(link, batch.data, link.addresses[b""])
    path = link.server.path
    assert (path.is_validated, path.is_wide, path.state()) == (True, False, "validating")
    assert 1200 in [len(batch.data) for batch in batches(link.server, link.now) if batch.peer == path.peer]


def test_rfc9000_9_3_2_an_address_that_does_not_answer_is_left_for_the_last_one_that_did():
    link = settled()
    controller = link.server.recovery.controller
    from_address(link, raw(link, PING_FRAME, size=600), OTHER)
    assert link.server.path.peer == OTHER
    now, challenges = link.now, 0
    while link.server.path.peer == OTHER:
        challenges += sum(batch.peer == OTHER for batch in batches(link.server, now))
        now = link.server.deadline()
        link.server.on_deadline(now)
    assert challenges <= MAX_CHALLENGES + 1
    assert now - link.now == pytest.approx(MAX_CHALLENGES * (3 * INITIAL_RTT + 0.025))  # section 8.2.4
    assert link.server.path.peer == CLIENT
    assert link.server.recovery.controller is controller
    assert [path.peer for path in link.server._paths.all] == [CLIENT]
    link.now = now
    link.run(exchange(link))
    assert link.is_open()


def test_rfc9000_9_3_2_without_an_address_that_ever_answered_it_ends_in_silence():
    link = settled()
    link.rebind()
    from_address(link, raw(link, PING_FRAME, size=600), OTHER)
    now = link.now
    while link.server.state is State.OPEN:
        batches(link.server, now)  # nobody gets them
        now = link.server.deadline()
        link.server.on_deadline(now)
    assert link.server.state is State.CLOSED
    assert link.server.end.reason in ("no path answers", "idle timeout")
    assert batches(link.server, now) == []


def test_rfc9000_9_3_3_who_copies_packets_wins_a_detour_and_no_more():
    """An attacker is faster than the network: each packet of the client comes from it first."""
    link = settled()
    done = exchange(link, 300_000)
    for _ in range(3):
        datagram = raw(link, PING_FRAME)
        from_address(link, datagram, OTHER)
        assert link.server.path.peer == OTHER
        from_address(link, datagram, CLIENT)  # the original: a duplicate by now
        link.rest(1.0)
    link.run(done)
    assert link.is_open()
    assert link.server.path.peer == CLIENT


def test_rfc9000_9_3_3_a_challenge_on_the_path_in_use_is_answered_by_more_than_a_probe():
    link = settled()
    datagram = raw(link, PING_FRAME)
    from_address(link, datagram, OTHER)
    to_client = [batch for batch in batches(link.server, link.now) if batch.peer == CLIENT]
    assert [len(batch.data) for batch in to_client] == [1200]
    receive(link.client, to_client[0].data, link.now)
    for batch in batches(link.client, link.now):
        from_address(link, batch.data, CLIENT)
    assert link.server.path.peer == CLIENT


def test_rfc9000_9_3_a_probe_or_an_old_packet_moves_nothing():
    link = settled()
    old = raw(link, PING_FRAME)
    from_address(link, raw(link, encode_path(FRAME_PATH_CHALLENGE, b"question"), size=1200), OTHER)
    assert link.server.path.peer == CLIENT
    answers = [batch for batch in batches(link.server, link.now) if batch.peer == OTHER]
    assert [len(batch.data) for batch in answers] == [1200]
    from_address(link, old, OTHER)
    assert link.server.path.peer == CLIENT
    assert link.server.migrations == 0


def test_rfc9000_9_nobody_moves_in_the_handshake():
    link = Link(new_client())
    link.run(lambda: link.server is not None)
    link.rebind()
    link.run(lambda: link.server.dropped.get("moved-in-handshake", 0) > 0)
    assert link.server.path.peer == CLIENT


def test_rfc9000_9_a_client_hears_no_other_server():
    link = settled()
    link.server.streams.write(link.server.streams.open(is_uni=True), b"hello", fin=True)
    (batch,) = batches(link.server, link.now)
    link.client.receive_batch(batch.data, len(batch.data), OTHER, b"", 0, link.now)
    assert link.client.dropped["unknown-server"] == 1
    assert link.client.streams.take_arrived() == []
    receive(link.client, batch.data, link.now)
    assert len(link.client.streams.take_arrived()) == 1


# --- limits of paths ---


def test_new_paths_at_the_limit_of_a_second_and_one_more():
    link = settled()
    for port in range(1, MAX_NEW_PATHS + 2):
        from_address(link, raw(link, PING_FRAME), ("198.51.100.7", port))
    assert link.server.dropped["path-rate"] == 1
    assert link.server.path.peer == ("198.51.100.7", MAX_NEW_PATHS)
    later = link.now + NEW_PATH_SECONDS + 0.001
    from_address(link, raw(link, PING_FRAME), ("198.51.100.7", MAX_NEW_PATHS + 1), at=later)
    assert link.server.path.peer == ("198.51.100.7", MAX_NEW_PATHS + 1)


def test_paths_at_the_limit_and_one_more():
    link = settled()
    for port in range(1, MAX_PATHS + 3):
        link.now += NEW_PATH_SECONDS
        probe = raw(link, encode_path(FRAME_PATH_CHALLENGE, b"question"), size=1200)
        from_address(link, probe, ("198.51.100.7", port))
        assert len(link.server._paths.all) == min(1 + port, MAX_PATHS)
    assert link.server.path.peer == CLIENT
    assert link.server.path in link.server._paths.all


def test_challenges_at_the_limit_of_a_round_trip_and_one_more():
    link = settled()
    question = encode_path(FRAME_PATH_CHALLENGE, b"question")
    for _ in range(MAX_ANSWERS):
        from_address(link, raw(link, question, size=1200), CLIENT)
        assert len(batches(link.server, link.now)) >= 1
    assert "path-challenge" not in link.server.dropped
    from_address(link, raw(link, question, size=1200), CLIENT)
    assert link.server.dropped["path-challenge"] == 1
    link.rest(1.0)
    from_address(link, raw(link, question, size=1200), CLIENT)
    assert link.server.dropped["path-challenge"] == 1


def test_rfc9000_19_18_an_answer_to_nothing():
    link = settled()
    from_address(link, raw(link, encode_path(FRAME_PATH_RESPONSE, b"answered")), CLIENT)
    assert link.server.end.code == PROTOCOL_VIOLATION


def test_rfc9000_9_5_without_another_id_there_is_no_other_path():
    link = settled()
    while link.server.peer_ids.take() >= 0:
        pass
    other = link.server.own_ids.active[1]
    from_address(link, raw(link, PING_FRAME, to=other), OTHER)
    assert link.server.path.peer == CLIENT
    assert link.server.dropped["no-connection-id"] == 1


# --- a client that moves ---


def test_rfc9000_9_2_a_client_moves_and_both_take_fresh_ids():
    link = settled()
    done = exchange(link, 1_000_000)
    link.run(lambda: link.client.streams.sender.held > 100_000)
    link.addresses[b"wifi"] = OTHER
    assert link.client.migrate(b"wifi", link.now)
    link.run(lambda: link.client.path.local == b"wifi" and link.server.path.peer == OTHER)
    link.run(done)
    assert link.is_open()
    assert (link.client.peer_ids.sequence, link.server.peer_ids.sequence) == (1, 1)
    link.rest(5.0)
    for side in (link.client, link.server):
        assert [path.state() for path in side._paths.all] == ["validated"]
        assert sorted(side.peer_ids._held) == [1, 2, 3, 4]  # the first was retired and replaced
        assert side.migrations == 1


def test_a_client_moves_again_and_again():
    link = settled()
    for turn in range(8):
        local = b"network %d" % turn
        link.addresses[local] = ("198.51.100.7", 1000 + turn)
        assert link.client.migrate(local, link.now)
        link.run(lambda local=local: link.client.path.local == local)
        link.run(exchange(link, 20_000))
        link.rest(4.0)
    assert link.is_open()
    assert link.server.migrations == 8


def test_rfc9000_9_1_a_path_that_does_not_answer_is_not_taken():
    link = settled()
    link.addresses[b"wifi"] = OTHER
    del link.addresses[b""]  # so that what the server sends elsewhere stands out
    link.addresses[b""] = CLIENT
    assert link.client.migrate(b"wifi", link.now)
    for batch in batches(link.client, link.now):
        assert (batch.local, len(batch.data)) == (b"wifi", 1200)  # and lost
    now = link.now
    while len(link.client._paths.all) > 1:
        now = link.client.deadline()
        link.client.on_deadline(now)
        batches(link.client, now)
    assert link.client.path.local == b""
    assert link.client.state is State.OPEN


def test_who_may_not_move():
    link = settled()
    with pytest.raises(LocalProtocolError):
        link.server.migrate(b"wifi", link.now)
    with pytest.raises(LocalProtocolError):
        new_client().migrate(b"wifi", 0.0)
    stays = ConnectionSettings(is_migration_allowed=False)
    link = settled(make_server=lambda first, **at: new_server(first, settings=stays, **at))
    assert not link.client.migrate(b"wifi", link.now)
    # A NAT asks nobody.
    link.rebind()
    link.run(exchange(link))
    assert link.is_open()


def test_rfc9000_9_4_marks_are_tested_anew():
    link = settled()
    link.run(exchange(link))
    link.addresses[b"wifi"] = OTHER
    link.client.migrate(b"wifi", link.now)
    link.run(lambda: link.server.path.peer == OTHER)
    link.run(exchange(link))
    for side in (link.client, link.server):
        assert side.recovery.ecn.state.value == "capable"


# --- preferred address ---

PREFERRED = ("203.0.113.9", 8443)


def preferring(first, **at):
    return new_server(first, settings=ConnectionSettings(preferred=(PREFERRED,)), **at)


def test_rfc9000_9_6_1_a_client_goes_where_the_server_would_rather_be_reached():
    link = Link(new_client(), make_server=preferring)
    link.servers[PREFERRED] = b"there"
    link.shake()
    link.run(lambda: link.client.path.peer == PREFERRED)
    link.run(exchange(link))
    assert link.is_open()
    assert link.client.peer_ids.sequence == 1
    assert link.server.path.local == b"there"
    assert link.server.own_ids.active[1] in link.server.take_new_ids()


def test_rfc9000_9_6_1_a_preferred_address_that_does_not_answer_is_left_alone():
    link = Link(new_client(), make_server=preferring).shake()
    link.run(exchange(link))
    link.rest(5.0)
    assert link.client.path.peer == SERVER
    assert link.is_open()


def test_a_client_that_does_not_want_to_go():
    link = Link(new_client(settings=ConnectionSettings(follows_preferred=False)), make_server=preferring)
    link.servers[PREFERRED] = b"there"
    link.shake()
    link.rest(1.0)
    assert link.client.path.peer == SERVER


# --- tokens ---


def test_rfc9000_8_1_3_one_token_for_each_address_that_was_proved():
    made = []

    def make_token(peer):
        made.append(peer)
        return b"token for %d" % peer[1]

    link = settled(make_server=lambda first, **at: new_server(first, make_token=make_token, **at))
    assert link.client.take_tokens() == [b"token for 50000"]
    link.rebind()
    link.run(exchange(link))
    link.rest(5.0)
    assert made == [CLIENT, (CLIENT[0], CLIENT[1] + 1)]
    assert link.client.take_tokens() == [b"token for 50001"]
    assert link.client.take_tokens() == []


def test_rfc9000_13_3_a_token_that_was_lost_is_said_again():
    lossy = Link(
        new_client(),
        make_server=lambda first, **at: new_server(first, make_token=lambda peer: b"token", **at),
        loss=0.5,
        seed=11,
    ).shake()
    lossy.run(lambda: lossy.client._tokens == [b"token"])


def test_rfc9000_8_1_2_a_token_that_is_good_proves_the_address():
    (first,) = flushed(brief_client(), 0.0)
    server = new_server(first, is_validated=True)
    assert (server.path.is_validated, server.path.allowance()) == (True, -1)


def test_tokens_kept_at_the_limit_and_one_more():
    link = settled()
    client, keys = link.client, link.server._spaces[APPLICATION].keys
    for number in range(MAX_TOKENS + 1):
        size = MAX_TOKEN if number else MAX_TOKEN + 1
        sent = link.server.recovery.spaces[APPLICATION].take_number()
        header = encode_short_header(client.source, 0, 0, sent, 4)
        keys.seal(header, 4, sent, encode_new_token(b"t" * size))
        receive(client, keys.take_sealed(), link.now)
    assert client.dropped["new-token"] == 1
    assert len(client._tokens) == MAX_TOKENS
    sent = link.server.recovery.spaces[APPLICATION].take_number()
    keys.seal(encode_short_header(client.source, 0, 0, sent, 4), 4, sent, encode_new_token(b"one more"))
    receive(client, keys.take_sealed(), link.now)
    assert client.dropped["new-token"] == 2
    assert client.take_tokens() == [b"t" * MAX_TOKEN] * MAX_TOKENS


# --- stateless reset, section 10.3 ---


def test_rfc9000_10_3_1_a_reset_by_the_token_of_any_id_in_use_and_of_no_other():
    link = settled()
    held = link.client.peer_ids._held
    unused, used = held[2][1], held[1][1]
    link.addresses[b"wifi"] = OTHER
    link.client.migrate(b"wifi", link.now)
    receive(link.client, b"\x40" + b"r" * 30 + unused, link.now)
    assert link.client.state is State.OPEN
    receive(link.client, b"\x40" + b"r" * 30 + used, link.now)
    assert link.client.state is State.DRAINING
    assert link.client.end.reason == "stateless reset"
