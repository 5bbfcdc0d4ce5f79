"""0-RTT packets (RFC 9000 section 7.4.1, RFC 9001 section 4.6): what goes ahead, comes back, or is replayed."""

import dataclasses

import pytest
from tests.unit.engine.quic.peers import (
    DELAY,
    SETTINGS,
    WALL,
    Link,
    Talk,
    brief_client,
    flushed,
    new_client,
    new_server,
    receive,
)
from tests.unit.engine.tls13.peers import keys

from headgate.counters import EARLY_ACCEPTED, EARLY_OFF, EARLY_RETRIED, EARLY_USED
from headgate.engine.quic.closing import State
from headgate.engine.quic.early import early_context
from headgate.engine.quic.errors import INTERNAL_ERROR, PROTOCOL_VIOLATION
from headgate.engine.quic.levels import EARLY, INITIAL
from headgate.engine.quic.packet import VERSION_1, VERSION_2, encode_long_header, parse_long_header
from headgate.engine.quic.retry import encode_retry
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.spaces import MAX_EARLY_AHEAD
from headgate.engine.quic.stream import StreamSettings
from headgate.engine.tls13.early import EarlyData
from headgate.engine.tls13.groups import SECP256R1, X25519

CONTEXT = early_context(SETTINGS, b"settings of HTTP/3")
LATER = WALL + 60


def rule(context=CONTEXT):
    return EarlyData(context, 3, WALL - 100)


def link(client, early, *, settings=SETTINGS, wall=LATER, options=(), **weather):
    def make(first, **at):
        return new_server(
            first, settings=settings, wall=wall, tickets=keys(), early=early, **dict(options), **at
        )

    return Link(client, make_server=make, **weather)


def session(early, *, settings=SETTINGS, **changes):
    ours = link(new_client(**changes), early, wall=WALL, settings=settings).shake()
    ours.rest(1.0)
    return ours.client.tls.take_sessions()[0]


def ask(client, data=b"GET", *, fin=True):
    stream = client.streams.open(is_uni=False)
    assert client.streams.write(stream, data, fin=fin) == len(data)
    return stream


def kinds_of(datagrams):
    found = []
    for datagram in datagrams:
        at = 0
        while at < len(datagram) and datagram[at] >= 0x80:
            header = parse_long_header(datagram, at, len(datagram))
            found.append(header.kind)
            at = header.end
    return found


def test_rfc8446_4_2_11_1_a_ticket_ages_from_when_it_came():
    """Not from when its connection began: then it would look older than the server knows it to be."""
    ours = link(new_client(), rule(), wall=WALL).shake()
    ours.run(lambda: ours.client.tls._sessions)
    (held, *_) = ours.client.tls.take_sessions()
    assert held.received - WALL == pytest.approx(ours.now, abs=0.05)
    assert held.received > WALL


@pytest.mark.parametrize("make", [brief_client, new_client])
def test_a_request_is_answered_in_the_first_round_trip(make):
    early = rule()
    client = make(session=session(early), early=True, wall=LATER)
    assert client.may_use_streams()
    stream = ask(client, b"GET " * 100)
    ours = link(client, early)
    ours.flush()
    assert kinds_of(ours.sent[True])[-1] == EARLY
    ours.run(lambda: ours.server is not None and ours.server.streams._arrived)
    server = ours.server
    assert ours.now == pytest.approx(DELAY)
    assert not server.is_complete
    assert server.may_use_streams()
    assert server.is_early(stream)
    assert server.streams.take_arrived() == [(stream, b"GET " * 100, True)]
    server.streams.write(stream, b"200", fin=True)
    ours.run(lambda: client.streams._arrived)
    assert ours.now == pytest.approx(2 * DELAY)
    assert client.streams.take_arrived() == [(stream, b"200", True)]
    ours.shake()
    assert not server.is_early(stream)  # it was no replay
    assert server.tls.early_outcome == EARLY_ACCEPTED


def test_rfc9001_5_6_no_0_rtt_packets_once_there_are_1_rtt_keys():
    early = rule()
    client = brief_client(session=session(early), early=True, wall=LATER)
    ask(client, bytes(5000), fin=False)
    ours = link(client, early).shake()
    client.streams.write(0, bytes(5000), fin=True)
    ours.rest(1.0)
    seen = kinds_of(ours.sent[True])
    assert seen.count(EARLY) == 5  # packets of the first flight
    assert client._early_keys is None


def test_rfc9001_4_9_3_a_server_lets_the_keys_go_after_a_while():
    early = rule()
    client = brief_client(session=session(early), early=True, wall=LATER)
    ask(client)
    ours = link(client, early).shake()
    assert ours.server._early_keys is not None
    ours.rest(2.0)
    assert ours.server._early_keys is None
    late = next(each for each in ours.sent[True] if EARLY in kinds_of([each]))
    receive(ours.server, late, ours.now)
    assert ours.server.dropped["0-rtt"] == 1


@pytest.mark.parametrize("loss", [0.1, 0.3])
@pytest.mark.parametrize("seed", range(10))
def test_early_data_in_bad_weather(loss, seed):
    early = rule()
    client = new_client(session=session(early), early=True, wall=LATER)
    data = bytes(range(256)) * 100
    stream = ask(client, data)
    ours = link(client, early, loss=loss, reorder=0.3, duplicate=0.2, corruption=0.1, seed=seed)
    ours.run(lambda: ours.server is not None)
    ours.work[ours.server] = listener = Talk(opens=False)
    ours.run(lambda: listener.finished)
    assert bytes(listener.read[stream]) == data
    ours.shake()


# -- refused


@pytest.mark.parametrize(
    ("early", "options", "outcome"),
    [
        (None, {}, EARLY_OFF),
        (rule(), {"groups": (SECP256R1,)}, EARLY_RETRIED),
    ],
)
@pytest.mark.parametrize("size", [3, 5000, 200_000])
def test_rfc9001_4_6_2_what_is_refused_goes_again_and_nothing_is_seen_of_it_before(
    early, options, outcome, size
):
    held = session(rule())
    data = bytes(range(256)) * (size // 256 + 1)
    client = new_client(session=held, early=True, wall=LATER, groups=(X25519, SECP256R1), shares=(X25519,))
    stream = ask(client, data)
    ours = link(client, early, options=tuple(options.items()))
    ours.flush()
    assert EARLY in kinds_of(ours.sent[True])
    ours.run(lambda: ours.server is not None)
    ours.work[ours.server] = listener = Talk(opens=False)
    ours.run(lambda: listener.finished)
    assert bytes(listener.read[stream]) == data
    assert ours.server.tls.early_outcome == outcome
    assert ours.server.dropped.get("0-rtt", 0) > 0
    assert not ours.server.is_early(stream)
    assert client.recovery.lost_packets == 0  # nothing of it was the network's fault
    ours.shake()


def test_a_ticket_that_is_not_known_any_more_is_the_same():
    held = session(rule())
    client = brief_client(session=held, early=True, wall=LATER)
    stream = ask(client, b"GET")
    ours = Link(client, make_server=lambda first, **at: new_server(first, wall=LATER, **at))
    ours.run(lambda: ours.server is not None)
    ours.work[ours.server] = listener = Talk(opens=False)
    ours.run(lambda: listener.finished)
    assert bytes(listener.read[stream]) == b"GET"
    assert not client.tls.resumed


def test_after_a_refusal_the_new_limits_hold():
    """Less credit than before: what was sent in 0-RTT packets begins anew by it."""
    held = session(rule())
    small = ConnectionSettings(streams=StreamSettings(stream_window=1000, connection_window=2000))
    client = brief_client(session=held, early=True, wall=LATER)
    stream = ask(client, bytes(range(250)) * 20)
    ours = link(client, None, settings=small)
    ours.run(lambda: ours.server is not None)
    ours.work[ours.server] = listener = Talk(opens=False)
    ours.run(lambda: listener.finished)
    assert bytes(listener.read[stream]) == bytes(range(250)) * 20
    assert ours.is_open()


def test_after_a_refusal_fewer_streams_are_allowed_than_are_open():
    held = session(rule())
    few = ConnectionSettings(streams=StreamSettings(bidi_streams=2))
    client = brief_client(session=held, early=True, wall=LATER)
    for _ in range(3):
        ask(client)
    ours = link(client, None, settings=few)
    ours.run(lambda: client.state is not State.OPEN)
    assert (client.end.code, client.end.is_ours) == (INTERNAL_ERROR, True)


def test_streams_that_were_reset_in_early_data_that_is_refused():
    held = session(rule())
    client = brief_client(session=held, early=True, wall=LATER)
    stream = ask(client, bytes(3000), fin=False)
    ours = link(client, None)
    ours.flush()
    client.streams.reset(stream, 9)
    ours.shake()
    ours.rest(1.0)
    assert ours.server.resets == [(stream, 9)]
    assert ours.is_open()


# -- limits that were remembered


def test_rfc9000_7_4_1_remembered_limits_hold_for_early_data():
    few = ConnectionSettings(streams=StreamSettings(bidi_streams=2, stream_window=100))
    early = rule(early_context(few, b""))
    held = session(early, settings=few)
    client = brief_client(session=held, early=True, wall=LATER)
    assert client.streams.openable(is_uni=False) == 2
    stream = client.streams.open(is_uni=False)
    client.streams.write(stream, bytes(150), fin=False)
    flushed(client, 0.0)
    assert client.streams.table[stream].send.sent == 100


def test_rfc9000_7_4_1_a_server_whose_limits_have_changed_refuses():
    held = session(rule())
    client = brief_client(session=held, early=True, wall=LATER)
    other = ConnectionSettings(streams=StreamSettings(bidi_streams=2))
    ours = link(client, rule(early_context(other, b"settings of HTTP/3")), settings=other).shake()
    assert ours.server.tls.resumed
    assert not client.tls.early_accepted
    assert early_context(SETTINGS, b"one") != early_context(SETTINGS, b"two")


def test_rfc9000_7_4_1_a_server_that_takes_early_data_and_reduces_a_limit():
    early = rule()
    held = session(early)
    client = brief_client(session=held, early=True, wall=LATER)
    other = ConnectionSettings(streams=StreamSettings(bidi_streams=99))
    ours = link(client, early, settings=other)
    ours.run(lambda: client.state is not State.OPEN)
    assert (client.end.code, client.end.is_ours) == (PROTOCOL_VIOLATION, True)


# -- what a server keeps


def test_rfc9001_5_7_early_packets_that_overtook_their_hello_at_the_limit_and_one_more():
    early = rule()
    client = new_client(session=session(early), early=True, wall=LATER)
    ask(client, bytes(100_000))
    first, second, *ahead = flushed(client, 0.0)
    while datagrams := flushed(client, 0.0):
        ahead += datagrams
    server = new_server(first, wall=LATER, tickets=keys(), early=early)
    receive(server, first, 0.0)
    whole = ahead[0]
    fits = MAX_EARLY_AHEAD // len(whole)
    for _ in range(fits):
        receive(server, whole, 0.0)
    assert server._ahead._early == fits * len(whole) <= MAX_EARLY_AHEAD
    assert "ahead-of-keys" not in server.dropped
    receive(server, whole, 0.0)
    assert server.dropped["ahead-of-keys"] == 1
    receive(server, second, 0.0)
    assert len(server._ahead) == 0
    assert server.dropped["duplicate"] == fits - 1
    assert server.streams.take_arrived()


def test_a_server_that_takes_no_early_data_keeps_none():
    client = new_client(session=session(rule()), early=True, wall=LATER)
    ask(client, bytes(5000))
    first, _, *ahead = flushed(client, 0.0)
    server = new_server(first, wall=LATER, tickets=keys())
    receive(server, first, 0.0)
    receive(server, ahead[0], 0.0)
    assert len(server._ahead) == 0
    assert server.dropped == {"0-rtt": 1}


def test_rfc8446_8_a_replayed_flight_does_nothing():
    """All datagrams of the first flight again, at another connection of the same worker."""
    early = rule()
    client = brief_client(session=session(early), early=True, wall=LATER)
    stream = ask(client, b"POST")
    flight = flushed(client, 0.0)
    outcomes, seen = [], []
    for _ in range(3):
        server = new_server(flight[0], wall=LATER + 1, tickets=keys(), early=early)
        for datagram in flight:
            receive(server, datagram, 0.0)
        outcomes.append(server.tls.early_outcome)
        seen.append(server.streams.take_arrived())
    assert outcomes == [EARLY_ACCEPTED, EARLY_USED, EARLY_USED]
    assert seen == [[(stream, b"POST", True)], [], []]


def test_what_may_not_stand_in_a_0_rtt_packet():
    """RFC 9000 section 12.4: ACK, CRYPTO, HANDSHAKE_DONE, NEW_TOKEN, PATH_RESPONSE, RETIRE_CONNECTION_ID."""
    early = rule()
    for frame in (
        b"\x02\0\0\0\0",
        b"\x06\0\x01x",
        b"\x1e",
        b"\x07\x01t",
        b"\x1b" + bytes(8),
        b"\x19\0",
    ):
        client = brief_client(session=session(early), early=True, wall=LATER)
        (first,) = flushed(client, 0.0)
        server = new_server(first, wall=LATER, tickets=keys(), early=early)
        receive(server, first, 0.0)
        assert server.tls.early_outcome == EARLY_ACCEPTED
        destination = parse_long_header(first, 0, len(first)).destination
        content = frame.ljust(20, b"\0")
        header = encode_long_header(EARLY, VERSION_1, destination, client.source, b"", 7, 1, len(content))
        client._early_keys.seal(header, 1, 7, content)
        receive(server, client._early_keys.take_sealed(), 0.0)
        assert server.end.code == PROTOCOL_VIOLATION, frame


# -- with everything else


def test_rfc9000_17_2_5_3_early_data_goes_again_after_a_retry():
    early = rule()
    client = brief_client(session=session(early), early=True, wall=LATER)
    stream = ask(client, bytes(3000))
    first = flushed(client, 0.0)[0]
    header = parse_long_header(first, 0, len(first))
    receive(client, encode_retry(VERSION_1, header.source, b"retry id", header.destination, b"token", 0), 0.0)
    ours = link(client, early, options=(("retry_original", header.destination),))
    ours.run(lambda: ours.server is not None)
    ours.work[ours.server] = listener = Talk(opens=False)
    ours.run(lambda: listener.finished)
    assert bytes(listener.read[stream]) == bytes(3000)
    assert ours.server.tls.early_outcome == EARLY_ACCEPTED


def test_rfc9369_4_1_early_data_is_of_the_first_version():
    early = rule()
    newest = dataclasses.replace(SETTINGS, versions=(VERSION_2, VERSION_1))
    client = brief_client(session=session(early), early=True, wall=LATER, settings=newest)
    stream = ask(client, b"GET")
    ours = link(client, early)
    ours.run(lambda: ours.server is not None and ours.server.streams._arrived)
    assert ours.server.streams.take_arrived() == [(stream, b"GET", True)]
    ours.shake()
    assert ours.client.version == ours.server.version == VERSION_2
    early_versions = {
        parse_long_header(each, 0, len(each)).version
        for each in ours.sent[True]
        if each[0] >= 0x80 and parse_long_header(each, 0, len(each)).kind == EARLY
    }
    assert early_versions <= {VERSION_1}


def test_a_session_without_early_data_waits_for_the_handshake():
    ours = link(new_client(), None, wall=WALL).shake()
    ours.rest(1.0)
    held = ours.client.tls.take_sessions()[0]
    client = brief_client(session=held, early=True, wall=LATER)
    assert not client.may_use_streams()
    assert kinds_of(flushed(client, 0.0)) == [INITIAL]


def test_the_client_is_not_stuck_when_only_its_early_data_is_in_flight():
    """RFC 9002 section 6.2.2.1: it must be able to give the server the right to send."""
    early = rule()
    client = brief_client(session=session(early), early=True, wall=LATER)
    ask(client, bytes(3000))
    ours = link(client, early)
    ours.flush()
    ours.step()  # the Initial arrives, and its answers are lost
    ours.flush()
    ours._queue.clear()
    client.recovery.forget(INITIAL)
    assert client.deadline() < ours.now + 5
    ours.shake()
