"""Connections of ours face to face: handshakes, streams, losses and time (RFC 9000, 9001, 9002)."""

import gc
import tracemalloc

import pytest
from tests.unit.engine.quic.peers import Link, Talk, brief_client, flushed, new_client, new_server, receive
from tests.unit.engine.tls13.peers import credential, trusting

from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import REST_SECONDS
from headgate.engine.quic.cubic import Cubic
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.newreno import NewReno
from headgate.engine.quic.settings import LEAST_IDLE_SECONDS, ConnectionSettings

MIB = bytes(range(256)) * 4096


def test_a_handshake_in_memory():
    link = Link(new_client()).shake()
    assert link.is_open()
    assert link.client.tls.alpn == link.server.tls.alpn == b"h3"
    assert link.server.tls.server_name == b"a.test"
    assert link.client.peer_parameters.initial_max_streams_bidi == 100
    assert link.now == pytest.approx(0.08)  # two round trips: the last leg is HANDSHAKE_DONE
    chain, name, staple = trusting.asked
    assert (len(chain), name, staple) == (2, b"a.test", b"")


def test_a_mebibyte_each_way():
    link = Link(new_client())
    ours, theirs = Talk(MIB), Talk(MIB[::-1], opens=False, answers=True)
    link.shake()
    link.work = {link.client: ours, link.server: theirs}
    link.run(lambda: ours.finished and theirs.finished)
    assert theirs.read == {0: MIB}
    assert ours.read == {0: MIB[::-1]}
    assert link.is_open()


@pytest.mark.parametrize(("name", "controller"), [("cubic", Cubic), ("newreno", NewReno)])
def test_the_congestion_controller_is_the_one_that_was_asked_for(name, controller):
    settings = ConnectionSettings(congestion=name)
    link = Link(
        new_client(settings=settings),
        make_server=lambda first, **at: new_server(first, settings=settings, **at),
        loss=0.03,
    ).shake()
    ours, theirs = Talk(MIB), Talk(MIB[::-1], opens=False, answers=True)
    link.work = {link.client: ours, link.server: theirs}
    link.run(lambda: ours.finished and theirs.finished)
    link.rest(0.5)
    before = link.server.recovery.controller
    assert before.events
    link.rebind(address=("198.51.100.7", 4433))
    link.client.ping()
    link.run(lambda: link.server.migrations == 1)
    after = link.server.recovery.controller
    assert after is not before
    assert [type(side) for side in (link.client.recovery.controller, before, after)] == [controller] * 3


def test_a_congestion_controller_that_is_none():
    with pytest.raises(ValueError, match="cubic, newreno, not 'vegas'"):
        ConnectionSettings(congestion="vegas")


@pytest.mark.parametrize("seed", range(6))
def test_a_link_that_loses_reorders_and_duplicates(seed):
    link = Link(new_client(seed=seed + 1), loss=0.1, reorder=0.2, duplicate=0.1, seed=seed)
    ours, theirs = Talk(MIB), Talk(MIB, opens=False, answers=True)
    link.shake()
    link.work = {link.client: ours, link.server: theirs}
    link.run(lambda: ours.finished and theirs.finished)
    assert theirs.read == ours.read == {0: MIB}
    assert link.is_open()
    assert link.client.recovery.lost_packets > 0


def test_everything_is_acknowledged_and_then_nobody_says_anything():
    link = Link(new_client(), loss=0.05)
    ours, theirs = Talk(b"x" * 50_000), Talk(b"y" * 50_000, opens=False, answers=True)
    link.shake()
    link.work = {link.client: ours, link.server: theirs}
    link.run(lambda: ours.finished and theirs.finished)
    while link.step(link.now + 10.0):
        pass
    assert link.is_open()
    assert link.client.recovery.bytes_in_flight == link.server.recovery.bytes_in_flight == 0
    assert link.client.streams.sender.held == 0


def test_rfc9000_8_1_three_times_as_much_and_no_more():
    client = brief_client()
    (first,) = flushed(client, 0.0)
    server = new_server(first, select=lambda name: [credential("rsa")])
    receive(server, first, 0.0)
    sent, now = flushed(server, 0.0), 0.0
    while (due := server.deadline()) < 25.0:
        assert due >= now
        now = due
        server.on_deadline(now)
        sent += flushed(server, now)
    assert now < 25.0
    assert 0 < sum(map(len, sent)) <= 3 * len(first)
    assert flushed(server, now) == []


def test_rfc9000_10_1_idle_for_as_long_as_both_allow():
    link = Link(new_client(settings=ConnectionSettings(idle_timeout=7.0))).shake()
    began = link.now
    while link.step():
        pass
    assert link.client.state is link.server.state is State.CLOSED
    assert link.client.end.reason == link.server.end.reason == "idle timeout"
    assert 7.0 <= link.now - began < 7.1
    assert flushed(link.client, link.now) == flushed(link.server, link.now) == []


def test_rfc9000_10_1_2_a_ping_keeps_a_connection_alive():
    link = Link(new_client(settings=ConnectionSettings(idle_timeout=7.0))).shake()
    assert link.client.idle_seconds == 7.0
    for _ in range(5):
        until = link.now + 5.0
        while link.step(until):
            pass
        link.now = until
        link.client.ping()
        link.flush()
    assert link.is_open()


def test_progress_is_what_the_peer_brings_and_nobody_forges():
    client = new_client()
    first, *_ = flushed(client, 0.0)
    server = new_server(first)
    begun = server.progress()
    receive(server, first, 0.0)
    assert server.progress() > begun
    link = Link(new_client()).shake()
    before = link.server.progress()
    link.client.ping()
    (datagram,) = flushed(link.client, link.now)
    receive(link.server, datagram[:-1] + bytes((datagram[-1] ^ 1,)), link.now)
    assert link.server.progress() == before
    receive(link.server, datagram, link.now)
    after = link.server.progress()
    assert after > before
    receive(link.server, datagram, link.now)
    assert link.server.progress() == after


def test_idle_timeouts_of_a_peer_have_a_floor():
    assert ConnectionSettings().idle_seconds(1) == LEAST_IDLE_SECONDS
    assert ConnectionSettings().idle_seconds(0) == 30.0
    assert ConnectionSettings(idle_timeout=0.0).idle_seconds(60_000) == 60.0
    assert ConnectionSettings(idle_timeout=0.0).idle_seconds(0) == 0.0


def test_the_ciphers_of_an_idle_connection_rest_and_come_back():
    link = Link(new_client()).shake()
    link.run(lambda: link.server._is_resting and link.client._is_resting, limit=REST_SECONDS + 1)
    assert "at rest" in repr(link.server._spaces[APPLICATION].keys._read)
    talk = Talk(b"question")
    heard = Talk(opens=False)
    link.work = {link.client: talk, link.server: heard}
    link.run(lambda: heard.finished)
    assert not link.server._is_resting
    assert heard.read == {0: b"question"}
    assert link.server.dropped == link.client.dropped == {}


def test_an_idle_connection_holds_little():
    """What Python allocates of a server's; its ciphers rest, and OpenSSL holds two small contexts more."""

    def idle(seed):
        link = Link(new_client(seed=seed)).shake()
        link.run(lambda: link.server._is_resting, limit=REST_SECONDS + 1)
        return link.server

    kept = [idle(seed) for seed in range(2)]
    gc.collect()
    tracemalloc.start()
    try:
        kept += [idle(seed) for seed in range(10, 20)]
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Each link's own random numbers and records are gone with it; plain Python adds a dict for each object.
    assert held / 10 < 22 * 1024, held / 10
