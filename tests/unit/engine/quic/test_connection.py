"""Connections of ours face to face: handshakes, streams, limits and endings (RFC 9000, 9001, 9002)."""

import random as randomness

import pytest
from tests.unit.engine.quic.peers import Link, Talk, new_client, new_server
from tests.unit.engine.tls13.peers import credential, identity, trusting

from headgate.counters import STAPLE_SENT
from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import MAX_COALESCED
from headgate.engine.quic.crypto_buffer import MAX_CRYPTO_AHEAD
from headgate.engine.quic.errors import (
    APPLICATION_ERROR,
    CRYPTO_BUFFER_EXCEEDED,
    STREAM_LIMIT_ERROR,
    TRANSPORT_PARAMETER_ERROR,
    VERSION_NEGOTIATION_ERROR,
)
from headgate.engine.quic.frames import FRAME_STREAM, PING_FRAME, crypto_header
from headgate.engine.quic.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import (
    TAG,
    VERSION_1,
    encode_long_header,
    encode_short_header,
    encode_version_negotiation,
    long_header_size,
    parse_long_header,
)
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.retry import encode_retry
from headgate.engine.quic.rtt import NEVER
from headgate.engine.quic.settings import LEAST_IDLE_SECONDS, ConnectionSettings
from headgate.engine.quic.spaces import (
    MAX_AHEAD_OCTETS,
    MAX_AHEAD_PACKETS,
    MAX_AHEAD_UNVALIDATED,
    AheadOfKeys,
)
from headgate.engine.tls13.credential import load
from headgate.engine.tls13.groups import X25519

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


def test_the_staple_is_the_one_of_the_moment():
    held = load(identity(), lambda _identity, _wall: (STAPLE_SENT, b"a staple"))
    link = Link(
        new_client(), make_server=lambda first, **at: new_server(first, select=lambda name: [held], **at)
    ).shake()
    assert link.client.tls.staple == trusting.asked[2] == b"a staple"


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


# --- what anybody and a hostile peer may send ---


def test_corrupted_datagrams_are_dropped_and_said_again():
    link = Link(new_client(), corruption=0.1)
    ours, theirs = Talk(MIB[:200_000]), Talk(MIB[:200_000], opens=False, answers=True)
    link.shake()
    link.work = {link.client: ours, link.server: theirs}
    link.run(lambda: ours.finished and theirs.finished)
    assert theirs.read == ours.read == {0: MIB[:200_000]}
    assert link.is_open()
    assert link.client.dropped["forged"] > 0


def nearly_frames(random):
    """A few frames of any kind with small numbers, so that many are well formed."""
    pieces = []
    for _ in range(random.randrange(1, 6)):
        kind = random.choice([*range(0x1F), 0x30, 0x31, random.randrange(256)])
        pieces.append(bytes((kind,)) + bytes(random.choice((0, 1, 2, 4, 7, 8, 63)) for _ in range(3)))
        pieces.append(random.randbytes(random.choice((0, 0, 1, 20))))
    return b"".join(pieces)


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_a_hostile_peer_close_and_never_raise(seed):
    random = randomness.Random(seed)
    ends = set()
    for _ in range(40):
        link = Link(brief_client()).shake()
        for hostile, victim in ((link.client, link.server), (link.server, link.client)):
            keys = hostile._spaces[APPLICATION].keys
            number = 1000
            while victim.state is State.OPEN and number < 1100:
                header = encode_short_header(victim.source, 0, 0, number, 2)
                keys.seal(header, 2, number, nearly_frames(random))
                victim.receive_datagram(keys.take_sealed(), 0, link.now)
                victim.streams.take_arrived()
                victim.send(link.now)
                victim.deadline()
                number += 1
            ends.add(victim.end.code if victim.end is not None else None)
    assert len(ends) > 3


# --- what stands before an address is validated ---


def brief_client(**changes):
    """A client whose ClientHello fits into one datagram: ML-KEM does not."""
    return new_client(groups=(X25519,), shares=(X25519,), **changes)


def test_rfc9000_8_1_three_times_as_much_and_no_more():
    client = brief_client()
    (first,) = client.send(0.0)
    server = new_server(first, select=lambda name: [credential("rsa")])
    server.receive_datagram(first, 0, 0.0)
    sent, now = server.send(0.0), 0.0
    while (due := server.deadline()) < 25.0:
        assert due >= now
        now = due
        server.on_deadline(now)
        sent += server.send(now)
    assert now < 25.0
    assert 0 < sum(map(len, sent)) <= 3 * len(first)
    assert server.send(now) == []


def test_rfc9000_8_1_a_handshake_goes_on_when_the_first_answers_are_lost():
    """The server may not send any more: the client's probes give it the right to."""
    link = Link(new_client())
    link.flush()
    link.step()
    link.flush()
    link._queue.clear()
    link.shake()
    assert link.is_open()


def test_rfc9000_14_1_a_small_initial_is_dropped():
    (first,) = brief_client().send(0.0)
    server = new_server(first)
    server.receive_datagram(first[:-1], 0, 0.0)
    assert server.dropped == {"truncated": 1}
    keys = initial_keys(first)
    small = initial(keys, first, PING_FRAME, size=1199)
    server.receive_datagram(small, 0, 0.0)
    assert server.dropped["small-initial"] == 1
    assert server.send(0.0) == []


def initial_keys(first):
    """The keys that a client seals Initial packets with, for a test that plays one."""
    keys = KeySet(INITIAL, VERSION_1)
    header = parse_long_header(first, 0, len(first))
    keys.install_initial(header.destination, is_client=True, is_write=True)
    return keys


def initial(keys, first, content, *, number=10, size=1200):
    """An Initial of the same client with other frames, padded to a datagram of `size`."""
    header = parse_long_header(first, 0, len(first))
    overhead = long_header_size(header.destination, header.source, b"", INITIAL, 1) + TAG
    content = content.ljust(size - overhead, b"\0")
    names = header.destination, header.source, b""
    keys.seal(encode_long_header(INITIAL, VERSION_1, *names, number, 1, len(content)), 1, number, content)
    return keys.take_sealed()


@pytest.mark.parametrize(("offset", "closes"), [(MAX_CRYPTO_AHEAD - 1, False), (MAX_CRYPTO_AHEAD, True)])
def test_sparse_crypto_at_the_limit_and_one_more(offset, closes):
    (first,) = brief_client().send(0.0)
    server = new_server(first)
    server.receive_datagram(initial(initial_keys(first), first, crypto_header(offset, 1) + b"x"), 0, 0.0)
    if not closes:
        assert server.state is State.OPEN
        return
    assert server.state is State.CLOSING
    assert (server.end.code, server.end.is_ours, server.end.frame_type) == (CRYPTO_BUFFER_EXCEEDED, True, 6)
    assert len(server.send(0.0)) == 1


def test_a_client_hello_in_single_octets_last_one_first():
    client = brief_client()
    (hello,) = [bytes(chunk) for chunk in client._spaces[INITIAL].crypto_out._chunks]
    (first,) = client.send(0.0)
    server, keys, at = new_server(first), initial_keys(first), len(hello)
    number = 10
    while at > 0:
        octets = range(at - 1, max(at - 200, 0) - 1, -1)
        frames = b"".join(crypto_header(offset, 1) + hello[offset : offset + 1] for offset in octets)
        server.receive_datagram(initial(keys, first, frames, number=number), 0, 0.0)
        at, number = octets[-1], number + 1
    assert server.tls.server_name == b"a.test"
    assert server.state is State.OPEN


def test_coalesced_packets_at_the_limit_and_one_more():
    (first,) = brief_client().send(0.0)
    keys = initial_keys(first)
    for count, dropped in ((MAX_COALESCED, {}), (MAX_COALESCED + 1, {"coalesced": 1})):
        packets = [initial(keys, first, PING_FRAME, number=number, size=200) for number in range(count)]
        server = new_server(first)
        server.receive_datagram(b"".join(packets), 0, 0.0)
        assert server.dropped == dropped
        assert server._spaces[INITIAL].received.largest == MAX_COALESCED - 1


def test_packets_ahead_of_their_keys_at_the_limit_and_one_more():
    for is_validated, most in ((False, MAX_AHEAD_UNVALIDATED), (True, MAX_AHEAD_PACKETS)):
        ahead = AheadOfKeys()
        kept = [ahead.keep(HANDSHAKE, b"x" * 100, 0, is_validated=is_validated) for _ in range(most + 1)]
        assert kept == [True] * most + [False]
    ahead = AheadOfKeys()
    assert ahead.keep(HANDSHAKE, bytes(MAX_AHEAD_OCTETS), 0, is_validated=True)
    assert not ahead.keep(HANDSHAKE, b"x", 0, is_validated=True)
    assert ahead.take(lambda level: level == HANDSHAKE) == [(HANDSHAKE, bytes(MAX_AHEAD_OCTETS), 0)]
    assert ahead.keep(HANDSHAKE, b"x", 0, is_validated=True)


def test_rfc9001_5_7_packets_that_overtake_the_handshake_wait():
    """Everything of the server arrives at once, the ServerHello last."""
    client = brief_client()
    (first,) = client.send(0.0)
    server = new_server(first)
    server.receive_datagram(first, 0, 0.0)
    packets = []
    for datagram in server.send(0.0):
        at = 0
        while at < len(datagram) and datagram[at] >= 0x80:
            header = parse_long_header(datagram, at, len(datagram))
            packets.append((header.kind, datagram[at : header.end]))
            at = header.end
    assert {kind for kind, _ in packets} == {INITIAL, HANDSHAKE}
    for _, packet in sorted(packets, reverse=True):
        client.receive_datagram(packet, 0, 0.02)
    assert client.is_complete
    assert client.dropped == {}


# --- endings ---


def test_rfc9000_10_1_idle_for_as_long_as_both_allow():
    link = Link(new_client(settings=ConnectionSettings(idle_timeout=7.0))).shake()
    began = link.now
    while link.step():
        pass
    assert link.client.state is link.server.state is State.CLOSED
    assert link.client.end.reason == link.server.end.reason == "idle timeout"
    assert 7.0 <= link.now - began < 7.1
    assert link.client.send(link.now) == link.server.send(link.now) == []


def test_idle_timeouts_of_a_peer_have_a_floor():
    assert ConnectionSettings().idle_seconds(1) == LEAST_IDLE_SECONDS
    assert ConnectionSettings().idle_seconds(0) == 30.0
    assert ConnectionSettings(idle_timeout=0.0).idle_seconds(60_000) == 60.0
    assert ConnectionSettings(idle_timeout=0.0).idle_seconds(0) == 0.0


@pytest.mark.parametrize("by_client", [True, False])
def test_rfc9000_10_2_closing_and_draining(by_client):
    link = Link(new_client()).shake()
    one, other = (link.client, link.server) if by_client else (link.server, link.client)
    one.close(0x0105, "enough", link.now)
    (datagram,) = one.send(link.now)
    other.receive_datagram(datagram, 0, link.now)
    assert (one.state, other.state) == (State.CLOSING, State.DRAINING)
    assert (other.end.code, other.end.reason, other.end.is_application) == (0x0105, "enough", True)
    assert (one.end.is_ours, other.end.is_ours) == (True, False)
    assert other.send(link.now) == []
    answered = []
    for count in range(1, 17):
        one.receive_datagram(b"\x40" * 40, 0, link.now)
        if one.send(link.now) == [datagram]:
            answered.append(count)
    assert answered == [1, 2, 4, 8, 16]
    for side in (one, other):
        due = side.deadline()
        assert link.now < due < link.now + 2.0
        side.on_deadline(due)
        assert side.state is State.CLOSED
        assert side.deadline() == NEVER
        side.receive_datagram(datagram, 0, due)
        assert side.send(due) == []


def test_rfc9000_10_2_3_a_reason_of_the_application_is_not_shown_in_the_handshake():
    client = brief_client()
    (first,) = client.send(0.0)
    server = new_server(first)
    client.close(0x0105, "enough", 0.0)
    (datagram,) = client.send(0.0)
    assert len(datagram) == 1200
    server.receive_datagram(datagram, 0, 0.0)
    assert (server.end.code, server.end.reason, server.end.is_application) == (APPLICATION_ERROR, "", False)


def test_rfc9000_8_1_a_close_is_not_repeated_beyond_three_times_as_much():
    (first,) = brief_client().send(0.0)
    server = new_server(first)
    server.receive_datagram(initial(initial_keys(first), first, b"\x1e"), 0, 0.0)
    assert server.state is State.CLOSING
    sent = server.send(0.0)
    received = len(first)
    for _ in range(2000):
        server.receive_datagram(b"\x40", 0, 0.0)
        received += 1
        sent += server.send(0.0)
    assert 1 < len(sent) <= 12
    assert sum(map(len, sent)) <= 3 * received


def test_rfc9001_4_8_an_alert_closes_with_its_code():
    link = Link(new_client(alpn=(b"other",)))
    link.run(lambda: link.client.state is not State.OPEN)
    assert link.client.end.code == link.server.end.code == 0x0100 + 120
    assert (link.client.end.is_ours, link.server.end.is_ours) == (False, True)


def test_a_breach_names_its_frame():
    link = Link(new_client()).shake()
    link.client.streams.set_peer_limits(
        max_data=0, bidi_local=0, bidi_remote=1000, uni=0, bidi_streams=1000, uni_streams=0
    )
    for _ in range(101):
        link.client.streams.write(link.client.streams.open(is_uni=False), b"x", fin=True)
    link.run(lambda: link.client.state is not State.OPEN)
    assert link.client.end.code == link.server.end.code == STREAM_LIMIT_ERROR
    assert link.client.end.frame_type == FRAME_STREAM


def test_rfc9000_10_3_a_stateless_reset_ends_it():
    token = b"t" * 16
    link = Link(
        new_client(), make_server=lambda first, **at: new_server(first, reset_token=token, **at)
    ).shake()
    link.client.receive_datagram(b"\x40" + b"r" * 30 + b"u" * 16, 0, link.now)
    assert link.client.state is State.OPEN
    link.client.receive_datagram(b"\x40" + b"r" * 30 + token, 0, link.now)
    assert link.client.state is State.DRAINING
    assert link.client.end.reason == "stateless reset"


# --- Retry and Version Negotiation ---


def retry_for(first, source=b"retry id"):
    header = parse_long_header(first, 0, len(first))
    return encode_retry(VERSION_1, header.source, source, header.destination, b"a token", 0)


@pytest.mark.parametrize("knows_original", [True, False])
def test_rfc9000_17_2_5_a_retry_is_followed(knows_original):
    client = brief_client()
    (first,) = client.send(0.0)
    retry = retry_for(first)
    client.receive_datagram(retry[:-1] + bytes((retry[-1] ^ 1,)), 0, 0.0)
    assert client.dropped == {"retry": 1}
    client.receive_datagram(retry, 0, 0.0)
    client.receive_datagram(retry, 0, 0.0)
    assert client.dropped == {"retry": 2}
    original = parse_long_header(first, 0, len(first)).destination

    def second(datagram, **at):
        header = parse_long_header(datagram, 0, len(datagram))
        assert (header.destination, header.token) == (b"retry id", b"a token")
        return new_server(datagram, retry_original=original if knows_original else b"somebody", **at)

    link = Link(client, make_server=second)
    if knows_original:
        link.shake()
        assert link.is_open()
        return
    link.run(lambda: link.server is not None and link.server.state is not State.OPEN)
    assert client.end.code == link.server.end.code == TRANSPORT_PARAMETER_ERROR


def test_rfc9000_6_2_a_server_of_other_versions():
    client = brief_client()
    (first,) = client.send(0.0)
    header = parse_long_header(first, 0, len(first))
    ids = header.source, header.destination
    client.receive_datagram(encode_version_negotiation(*ids, [0x1A2A3A4A, VERSION_1], 0), 0, 0.0)
    assert client.state is State.OPEN
    client.receive_datagram(encode_version_negotiation(*ids, [0x1A2A3A4A], 0), 0, 0.0)
    assert client.state is State.CLOSED
    assert client.end.code == VERSION_NEGOTIATION_ERROR
    assert client.send(0.0) == []


def test_rfc9000_12_3_a_packet_counts_once():
    client = brief_client()
    (first,) = client.send(0.0)
    server = new_server(first)
    server.receive_datagram(first, 0, 0.0)
    assert server.dropped == {}
    server.receive_datagram(first, 0, 0.0)
    assert server.dropped == {"duplicate": 1}


def test_rfc9001_4_9_1_initial_keys_go_when_handshake_packets_are_in_use():
    client = brief_client()
    (first,) = client.send(0.0)
    server = new_server(first)
    server.receive_datagram(first, 0, 0.0)
    hello, *rest = server.send(0.0)
    assert rest
    client.receive_datagram(hello, 0, 0.02)
    assert not client._spaces[INITIAL].is_discarded
    answers = client.send(0.02)
    assert client._spaces[INITIAL].is_discarded
    for answer in answers:
        server.receive_datagram(answer, 0, 0.04)
    assert server._spaces[INITIAL].is_discarded
    assert not server.is_complete
    assert server._builder.is_validated
