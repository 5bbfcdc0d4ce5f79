"""What was lost is said again, in its newest form."""

from tests.unit.engine.quic.peers import Link, flushed, new_client, receive

from headgate.engine.quic.frames import FRAME_CRYPTO, FRAME_STREAM
from headgate.engine.quic.levels import APPLICATION, INITIAL
from headgate.engine.quic.outcomes import Outcomes
from headgate.engine.quic.settings import DATAGRAM


def test_what_a_packet_carried_is_said_again_when_it_is_lost():
    link = Link(new_client()).shake()
    outcomes = link.client._outcomes
    assert isinstance(outcomes, Outcomes)
    stream = link.client.streams.open(is_uni=False)
    link.client.streams.write(stream, b"question", fin=True)
    assert len(flushed(link.client, link.now)) == 1
    assert flushed(link.client, link.now) == []
    packet = link.client.recovery.spaces[APPLICATION].oldest()
    assert packet.frames[-1] == (FRAME_STREAM, stream, 0, 8, 1)
    outcomes.on_lost(packet)
    (again,) = flushed(link.client, link.now)
    receive(link.server, again, link.now)
    assert link.server.streams.take_arrived() == [(stream, b"question", True)]
    newest = link.client.recovery.spaces[APPLICATION]._slots[-1]
    assert newest.losses == packet.losses + 1 == 1


def test_octets_of_the_handshake_are_remembered_with_their_level():
    client = new_client()
    flushed(client, 0.0)
    packet = client.recovery.spaces[INITIAL].oldest()
    ((kind, level, offset, length, _),) = packet.frames
    assert (kind, level, offset) == (FRAME_CRYPTO, INITIAL, 0)
    assert 1000 < length < DATAGRAM
