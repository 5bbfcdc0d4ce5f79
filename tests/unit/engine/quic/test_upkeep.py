"""What a connection does of its own accord: keys (RFC 9001 section 6), sizes (RFC 8899), marks."""

import pytest
from tests.unit.engine.quic.peers import Link, new_client, new_server, receive
from tests.unit.engine.quic.test_migration import batches, exchange, settled

from headgate.engine.quic.errors import KEY_UPDATE_ERROR
from headgate.engine.quic.frames import encode_ack
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.mtu import BASE, BLACK_HOLE_SECONDS, MAX_SIZE_PROBES
from headgate.engine.quic.packet import encode_short_header
from headgate.engine.quic.protect import MAX_SEALED, UPDATE_MARGIN
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.settings import MAX_DATAGRAM, ConnectionSettings
from headgate.engine.quic.upkeep import SEARCH_AFTER


def keys(side):
    return side._spaces[APPLICATION].keys


# --- keys ---


@pytest.mark.parametrize("by_client", [True, False])
def test_rfc9001_6_1_one_side_updates_and_the_other_follows(by_client):
    link = settled()
    one, other = (link.client, link.server) if by_client else (link.server, link.client)
    done = exchange(link, 500_000)
    link.run(lambda: link.client.streams.sender.held > 100_000)
    assert one.update_keys(link.now)
    link.run(done)
    assert link.is_open()
    for side in (link.client, link.server):
        assert (keys(side).read_generation, keys(side).write_generation) == (1, 1)
    assert (one.key_updates, other.key_updates) == (1, 1)


def test_rfc9001_6_1_not_before_the_handshake_is_confirmed():
    link = Link(new_client())
    link.run(lambda: link.client.is_complete)
    assert not link.client.is_confirmed
    assert not link.client.update_keys(link.now)


def test_rfc9001_6_1_not_again_before_a_packet_of_this_phase_was_acknowledged_and_the_old_keys_are_gone():
    link = settled()
    assert link.client.update_keys(link.now)
    assert not link.client.update_keys(link.now)
    link.run(exchange(link, 1000))
    assert link.client._old_keys_until != NEVER
    assert not link.client.update_keys(link.now)  # section 6.5
    link.rest(1.0)
    assert link.client._old_keys_until == NEVER
    assert link.client.update_keys(link.now)
    link.run(exchange(link, 1000))
    assert keys(link.server).read_generation == 2
    assert link.is_open()


def test_rfc9001_6_6_keys_are_updated_before_their_limit():
    link = settled()
    keys(link.client).sealed = MAX_SEALED[keys(link.client).suite] - UPDATE_MARGIN - 1
    link.run(exchange(link, 100_000))
    assert link.client.key_updates == 1
    assert keys(link.client).sealed < 200
    assert link.is_open()


@pytest.mark.parametrize("seed", range(3))
def test_updates_over_a_link_that_loses_and_reorders(seed):
    link = Link(new_client(seed=seed + 1), loss=0.05, reorder=0.2, duplicate=0.1, seed=seed).shake()
    done = exchange(link, 1_000_000)
    updates = 0
    while not done():
        updates += link.client.update_keys(link.now) + link.server.update_keys(link.now)
        link.step()
    assert updates > 3
    assert link.is_open()


def test_rfc9001_6_2_new_keys_acknowledged_under_old_ones():
    link = settled()
    client, server = link.client, link.server
    assert client.update_keys(link.now)
    client.streams.write(client.streams.open(is_uni=False), b"hello", fin=True)
    batches(client, link.now)  # sealed with the new keys; the server never sees it and yet:
    number = server.recovery.spaces[APPLICATION].take_number()
    header = encode_short_header(client.source, 0, 0, number, 4)
    largest = client.recovery.spaces[APPLICATION].next_number - 1
    keys(server).seal(header, 4, number, encode_ack([largest, largest], 0, None, 100))
    receive(client, keys(server).take_sealed(), link.now)
    assert client.end.code == KEY_UPDATE_ERROR


# --- sizes ---


def test_rfc9000_14_3_datagrams_grow_to_what_the_road_takes():
    link = settled()
    link.run(exchange(link, 300_000))
    for side in (link.client, link.server):
        assert side.path.datagram == MAX_DATAGRAM == side.recovery.controller.datagram
    assert max(len(datagram) for datagram in link.sent[True]) == MAX_DATAGRAM


def test_rfc9000_14_4_probes_that_are_lost_are_no_congestion():
    link = settled(road=1300)
    link.run(exchange(link, 2_000_000))
    assert link.client.recovery.controller.events == link.server.recovery.controller.events == 0
    large = [len(datagram) for datagram in link.sent[True] if len(datagram) > 1300]
    assert large.count(MAX_DATAGRAM) == MAX_SIZE_PROBES
    assert 1250 < link.client.path.datagram <= 1300


def test_who_asks_for_little_pays_for_no_probe():
    link = settled()
    link.run(exchange(link, 1000))
    link.rest(1.0)
    for side in (link.client, link.server):
        assert side.path.octets_sent < SEARCH_AFTER
        assert side.path.search is None
    assert max(len(datagram) for datagram in link.sent[True]) == BASE


def test_rfc9000_18_2_nobody_gets_more_than_it_said_that_it_takes():
    link = settled()
    link.client.peer_parameters.max_udp_payload_size = 1250
    link.run(exchange(link, 300_000))
    assert link.client.path.datagram == 1250
    assert max(len(datagram) for datagram in link.sent[True]) == 1250


def test_the_ceiling_is_a_setting():
    settings = ConnectionSettings(max_datagram=9000)
    link = Link(
        new_client(settings=settings),
        make_server=lambda first, **at: new_server(first, settings=settings, **at),
    ).shake()
    link.run(exchange(link, 1_000_000))
    assert link.client.path.datagram == link.server.path.datagram == 9000


def test_rfc8899_4_3_a_road_that_narrows_in_silence():
    link = settled()
    done = exchange(link, 1_000_000)
    link.run(lambda: link.client.path.datagram == link.server.path.datagram == MAX_DATAGRAM)
    link.road = 1250
    link.run(done)
    assert link.is_open()
    assert link.client.path.datagram == BASE
    assert link.client.path.search.black_holes == 1
    # And when it widens again, that is noticed in time.
    link.road = 1500
    link.now += BLACK_HOLE_SECONDS / 3  # shorter than the idle timeout
    link.client.path.search.next_at = link.now
    link.run(exchange(link, 100_000))
    assert link.client.path.datagram == MAX_DATAGRAM


# --- marks ---


def test_rfc9000_13_4_2_marks_go_out_while_they_arrive():
    link = Link(new_client()).shake()
    link.run(exchange(link))
    for side in (link.client, link.server):
        assert side.recovery.ecn.state.value == "capable"
    assert link.marked[True] > 100
    assert link._random is not None
    assert link.server._spaces[APPLICATION].received.ect_0 > 100


@pytest.mark.parametrize(
    ("marks", "reason"),
    [
        (lambda to_server, ecn: 0, "no-counts"),
        (lambda to_server, ecn: 1 if ecn else 0, "marks-removed"),
    ],
)
def test_rfc9000_13_4_2_1_a_network_that_changes_marks_gets_no_more(marks, reason):
    link = Link(new_client(), marks=marks).shake()
    link.run(exchange(link))
    assert link.client.recovery.ecn.reason == reason
    assert link.marked[True] <= 12
    assert link.is_open()


def test_rfc9000_13_4_1_a_congestion_mark_slows_down():
    link = settled()
    link.run(lambda: link.client.recovery.ecn.state.value == "capable")
    link.marks = lambda to_server, ecn: 3 if ecn and to_server else ecn
    link.run(exchange(link))
    assert link.client.recovery.controller.events > 0
    assert link.client.recovery.lost_packets == 0


def test_marks_are_a_setting():
    off = ConnectionSettings(is_ecn_enabled=False)
    link = Link(
        new_client(settings=off), make_server=lambda first, **at: new_server(first, settings=off, **at)
    ).shake()
    link.run(exchange(link))
    assert link.marked == {True: 0, False: 0}
