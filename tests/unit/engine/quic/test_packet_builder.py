"""What datagrams look like: their sizes, what shares one, what is said again."""

from tests.unit.engine.quic.peers import Link, Talk, flushed, new_client, receive

from headgate.engine.quic.frames import FRAME_CRYPTO
from headgate.engine.quic.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import parse_long_header
from headgate.engine.quic.sent_packets import SentPacket
from headgate.engine.quic.settings import DATAGRAM, ConnectionSettings
from headgate.engine.tls13.groups import DEFAULT_SHARES, GROUPS, X25519


def kinds(datagram):
    """The levels of the packets of a datagram, in order."""
    found, at = [], 0
    while at < len(datagram):
        if datagram[at] < 0x80:
            return [*found, APPLICATION]
        header = parse_long_header(datagram, at, len(datagram))
        found.append(header.kind)
        at = header.end
    return found


def test_rfc9000_14_1_datagrams_with_initials_are_full_and_none_is_larger():
    link = Link(new_client(settings=ConnectionSettings(max_datagram=DATAGRAM))).shake()
    link.work = {link.client: Talk(b"x" * 20_000)}
    link.run(lambda: link.client.streams.sender.held == 0 and link.now > 0.2)
    for is_client, datagrams in link.sent.items():
        assert max(map(len, datagrams)) <= DATAGRAM
        with_initial = [datagram for datagram in datagrams if kinds(datagram)[0] == INITIAL]
        assert with_initial
        if is_client:
            assert {len(datagram) for datagram in with_initial} == {DATAGRAM}
    (hello,) = [datagram for datagram in link.sent[False] if kinds(datagram) == [INITIAL, HANDSHAKE]]
    assert len(hello) == DATAGRAM


def test_rfc9000_17_2_2_each_probe_of_a_client_has_octets_of_its_hello():
    """Whichever reaches the server first, it begins a connection; both halves of a long hello go again at once."""
    for shares, parts in ((DEFAULT_SHARES, 2), ((X25519,), 1)):
        client = new_client(groups=GROUPS, shares=shares)
        assert len(flushed(client, 0.0)) == parts
        now = client.deadline()
        client.on_deadline(now)
        probes = flushed(client, now)
        assert len(probes) == 2
        found = []
        for packet in client.recovery.spaces[INITIAL]._slots[-2:]:
            ((kind, _, offset, length, _),) = packet.frames
            assert (kind, length > 0) == (FRAME_CRYPTO, True)
            found.append(offset)
        assert (found[1] > 0) is (parts == 2)
        assert found[0] == 0


def test_rfc9002_6_2_4_a_probe_brings_both_levels_of_the_handshake():
    link = Link(new_client(groups=(X25519,), shares=(X25519,)))
    link.run(lambda: link.server is not None)
    flushed(link.server, link.now)
    now = link.server.deadline()
    link.server.on_deadline(now)
    first, *_ = flushed(link.server, now)
    assert kinds(first) == [INITIAL, HANDSHAKE]


def test_a_peer_that_acknowledges_nothing_is_answered_no_more():
    link = Link(new_client()).shake()
    link.client.streams.write(link.client.streams.open(is_uni=False), b"question", fin=True)
    (datagram,) = flushed(link.client, link.now)
    receive(link.server, datagram, link.now)
    sent = link.server.recovery.spaces[APPLICATION]
    while link.server.recovery.has_room(APPLICATION):
        sent.add(SentPacket(sent.take_number(), link.now, 40, False, False, ()))
    late = link.now + 0.03  # behind the longest that an acknowledgement waits
    assert link.server.deadline() < late
    assert flushed(link.server, late) == []
    assert link.server.deadline() > late


def test_resets_and_requests_to_stop_reach_the_owner_through_losses():
    link = Link(new_client(), loss=0.2).shake()
    streams = link.client.streams
    for _ in range(20):
        streams.write(streams.open(is_uni=False), b"question", fin=False)
    link.run(lambda: len(link.server.streams.table) == 20)
    for stream in range(0, 80, 4):
        streams.reset(stream, 7)
        streams.stop(stream, 8)
    link.run(lambda: len(link.server.resets) == len(link.server.stops) == 20)
    assert sorted(link.server.resets) == [(stream, 7) for stream in range(0, 80, 4)]
    assert sorted(link.server.stops) == [(stream, 8) for stream in range(0, 80, 4)]
    for side in (link.client, link.server):
        for stream in range(0, 80, 4):
            side.streams.release(stream)
    link.run(lambda: not link.client.streams.table and not link.server.streams.table)
    assert link.is_open()
