"""Datagrams and packets that come: dropped, held back, followed."""

import pytest
from tests.unit.engine.quic.peers import (
    Link,
    Talk,
    brief_client,
    flushed,
    initial,
    initial_keys,
    new_client,
    new_server,
    receive,
)

from headgate.engine.quic.closing import State
from headgate.engine.quic.errors import (
    TRANSPORT_PARAMETER_ERROR,
    VERSION_NEGOTIATION_ERROR,
)
from headgate.engine.quic.frames import PING_FRAME
from headgate.engine.quic.levels import HANDSHAKE, INITIAL
from headgate.engine.quic.packet import (
    VERSION_1,
    encode_version_negotiation,
    parse_long_header,
)
from headgate.engine.quic.receiving import MAX_COALESCED
from headgate.engine.quic.retry import encode_retry
from headgate.engine.quic.spaces import (
    MAX_AHEAD_OCTETS,
    MAX_AHEAD_PACKETS,
    MAX_AHEAD_UNVALIDATED,
    AheadOfKeys,
)

MIB = bytes(range(256)) * 4096


def test_corrupted_datagrams_are_dropped_and_said_again():
    link = Link(new_client(), corruption=0.1)
    ours, theirs = Talk(MIB[:200_000]), Talk(MIB[:200_000], opens=False, answers=True)
    link.shake()
    link.work = {link.client: ours, link.server: theirs}
    link.run(lambda: ours.finished and theirs.finished)
    assert theirs.read == ours.read == {0: MIB[:200_000]}
    assert link.is_open()
    assert link.client.dropped["forged"] > 0


def test_rfc9000_14_1_a_small_initial_is_dropped():
    (first,) = flushed(brief_client(), 0.0)
    server = new_server(first)
    receive(server, first[:-1], 0.0)
    assert server.dropped == {"truncated": 1}
    keys = initial_keys(first)
    small = initial(keys, first, PING_FRAME, size=1199)
    receive(server, small, 0.0)
    assert server.dropped["small-initial"] == 1
    assert flushed(server, 0.0) == []


def test_coalesced_packets_at_the_limit_and_one_more():
    (first,) = flushed(brief_client(), 0.0)
    keys = initial_keys(first)
    for count, dropped in ((MAX_COALESCED, {}), (MAX_COALESCED + 1, {"coalesced": 1})):
        packets = [initial(keys, first, PING_FRAME, number=number, size=200) for number in range(count)]
        server = new_server(first)
        receive(server, b"".join(packets), 0.0)
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
    (first,) = flushed(client, 0.0)
    server = new_server(first)
    receive(server, first, 0.0)
    packets = []
    for datagram in flushed(server, 0.0):
        at = 0
        while at < len(datagram) and datagram[at] >= 0x80:
            header = parse_long_header(datagram, at, len(datagram))
            packets.append((header.kind, datagram[at : header.end]))
            at = header.end
    assert {kind for kind, _ in packets} == {INITIAL, HANDSHAKE}
    for _, packet in sorted(packets, reverse=True):
        receive(client, packet, 0.02)
    assert client.is_complete
    assert client.dropped == {}


def test_rfc9000_10_3_a_stateless_reset_ends_it():
    token = b"t" * 16
    link = Link(
        new_client(), make_server=lambda first, **at: new_server(first, reset_token=token, **at)
    ).shake()
    receive(link.client, b"\x40" + b"r" * 30 + b"u" * 16, link.now)
    assert link.client.state is State.OPEN
    receive(link.client, b"\x40" + b"r" * 30 + token, link.now)
    assert link.client.state is State.DRAINING
    assert link.client.end.reason == "stateless reset"


def retry_for(first, source=b"retry id"):
    header = parse_long_header(first, 0, len(first))
    return encode_retry(VERSION_1, header.source, source, header.destination, b"a token", 0)


@pytest.mark.parametrize("knows_original", [True, False])
def test_rfc9000_17_2_5_a_retry_is_followed(knows_original):
    client = brief_client()
    (first,) = flushed(client, 0.0)
    retry = retry_for(first)
    receive(client, retry[:-1] + bytes((retry[-1] ^ 1,)), 0.0)
    assert client.dropped == {"retry": 1}
    receive(client, retry, 0.0)
    receive(client, retry, 0.0)
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
    (first,) = flushed(client, 0.0)
    header = parse_long_header(first, 0, len(first))
    ids = header.source, header.destination
    receive(client, encode_version_negotiation(*ids, [0x1A2A3A4A, VERSION_1], 0), 0.0)
    assert client.state is State.OPEN
    receive(client, encode_version_negotiation(*ids, [0x1A2A3A4A], 0), 0.0)
    assert client.state is State.CLOSED
    assert client.end.code == VERSION_NEGOTIATION_ERROR
    assert flushed(client, 0.0) == []


def test_rfc9000_12_3_a_packet_counts_once():
    client = brief_client()
    (first,) = flushed(client, 0.0)
    server = new_server(first)
    receive(server, first, 0.0)
    assert server.dropped == {}
    receive(server, first, 0.0)
    assert server.dropped == {"duplicate": 1}
