"""Datagrams of the application (RFC 9221): their queues and limits."""

import pytest
from tests.unit.engine.quic.peers import SETTINGS, Link, brief_client, new_server, receive

from headgate.engine.quic.closing import State
from headgate.engine.quic.datagrams import (
    HEADER,
    MAX_DATAGRAM_FRAME,
    MAX_QUEUED,
    MAX_QUEUED_OCTETS,
    ROOM,
    DatagramQueue,
    Datagrams,
)
from headgate.engine.quic.errors import PROTOCOL_VIOLATION
from headgate.engine.quic.frames import datagram_header
from headgate.engine.quic.settings import ConnectionSettings
from headgate.errors import LocalProtocolError


def agreed(frame_size=65_535):
    held = Datagrams(is_enabled=True)
    held.set_peer_limit(frame_size)
    return held


def test_they_come_out_in_order():
    held = agreed()
    for index in range(3):
        held.send(b"%d" % index)
        held.on_frame(b"in %d" % index)
    assert [held.next(100, is_alone=False) for _ in range(4)] == [b"0", b"1", b"2", None]
    assert [held.receive() for _ in range(4)] == [b"in 0", b"in 1", b"in 2", None]


def test_datagrams_at_the_limit_and_one_more_the_oldest_goes():
    queue = DatagramQueue()
    for index in range(MAX_QUEUED):
        queue.push(b"%d" % index)
    assert (len(queue), queue.dropped) == (MAX_QUEUED, 0)
    queue.push(b"one more")
    assert (len(queue), queue.dropped) == (MAX_QUEUED, 1)
    assert queue.pop() == b"1"


def test_octets_of_datagrams_at_the_limit_and_one_more():
    queue = DatagramQueue()
    for _ in range(32):
        queue.push(bytes(MAX_QUEUED_OCTETS // 32))
    assert (len(queue), queue.dropped) == (32, 0)
    queue.push(b"!")
    assert (len(queue), queue.dropped) == (32, 1)
    assert "1 dropped" in repr(queue)


@pytest.mark.parametrize(
    ("said", "largest"),
    [(65_535, ROOM - HEADER), (MAX_DATAGRAM_FRAME, ROOM - HEADER), (100, 97), (4, 1), (3, 0), (0, 0)],
)
def test_rfc9221_3_a_datagram_at_the_limit_and_one_more(said, largest):
    """No frame is larger than the peer takes, and than every packet holds."""
    held = agreed(said)
    assert held.largest == largest
    if largest:
        held.send(bytes(largest))
    with pytest.raises(LocalProtocolError):
        held.send(bytes(largest + 1))
    assert len(held.outgoing) == bool(largest)


def test_rfc9221_3_nothing_is_sent_before_both_agree():
    held = Datagrams(is_enabled=False)
    held.set_peer_limit(65_535)
    with pytest.raises(LocalProtocolError, match="not enabled"):
        held.send(b"")
    with pytest.raises(LocalProtocolError, match="not enabled"):
        Datagrams(is_enabled=True).send(b"")


def test_one_that_does_not_fit_waits_for_the_next_packet_and_none_for_ever():
    held = agreed()
    held.send(bytes(1000))
    held.send(b"small")
    assert held.next(500, is_alone=False) is None
    assert len(held.outgoing) == 2
    # The path has shrunk: no packet will ever take it.
    assert held.next(500, is_alone=True) == b"small"
    assert held.outgoing.dropped == 1
    assert f"up to {ROOM - HEADER} octets" in repr(held)


# -- in a connection

ON = ConnectionSettings(has_datagrams=True)


def link(client=ON, server=ON, **weather):
    return Link(
        brief_client(settings=client),
        make_server=lambda first, **at: new_server(first, settings=server, **at),
        **weather,
    ).shake()


def test_datagrams_go_both_ways_and_before_streams():
    ours = link()
    stream = ours.client.streams.open(is_uni=False)
    ours.client.streams.write(stream, bytes(50_000), fin=True)
    for index in range(3):
        ours.client.datagrams.send(b"%d" % index)
        ours.server.datagrams.send(b"back %d" % index)
    ours.rest(0.03)
    assert [ours.server.datagrams.receive() for _ in range(4)] == [b"0", b"1", b"2", None]
    assert [ours.client.datagrams.receive() for _ in range(4)] == [b"back 0", b"back 1", b"back 2", None]
    ours.rest(1.0)
    assert ours.is_open()


def test_the_largest_fits_into_every_packet():
    ours = link()
    largest = ours.client.datagrams.largest
    for _ in range(5):
        ours.client.datagrams.send(bytes(largest))
    ours.rest(0.1)
    assert [len(ours.server.datagrams.receive()) for _ in range(5)] == [largest] * 5
    assert ours.client.datagrams.outgoing.dropped == 0


@pytest.mark.parametrize("seed", range(5))
def test_rfc9221_5_what_is_lost_is_lost(seed):
    ours = link(loss=0.3, seed=seed)
    for index in range(40):
        ours.client.datagrams.send(b"%d" % index)
    ours.rest(5.0)
    came = []
    while (data := ours.server.datagrams.receive()) is not None:
        came.append(int(data))
    assert len(came) == len(set(came)) <= 40
    assert ours.is_open()
    assert ours.client.recovery.bytes_in_flight == 0  # they are acknowledged, or given up, as anything else


def test_a_receiver_that_reads_nothing_holds_the_newest():
    ours = link()
    for index in range(200):
        ours.client.datagrams.send(b"%d" % index)
        ours.rest(0.001)
    ours.rest(0.1)
    held = ours.server.datagrams.incoming
    assert (len(held), held.dropped) == (MAX_QUEUED, 200 - MAX_QUEUED)
    assert held.pop() == b"136"


@pytest.mark.parametrize(("client", "server"), [(ON, SETTINGS), (SETTINGS, ON), (SETTINGS, SETTINGS)])
def test_one_side_alone_is_not_enough(client, server):
    ours = link(client, server)
    for side in (ours.client, ours.server):
        assert side.datagrams.largest == 0
        with pytest.raises(LocalProtocolError):
            side.datagrams.send(b"x")


@pytest.mark.parametrize(("settings", "size"), [(SETTINGS, 1), (ON, MAX_DATAGRAM_FRAME)])
def test_rfc9221_3_a_datagram_that_was_not_agreed_on_closes(settings, size):
    """None was, or none so large."""
    ours = link(ON, settings)
    data = datagram_header(size) + bytes(size)
    ours.client.path.datagram = 1400
    packet = ours.client._builder.lone_datagram(data, ours.client.peer_ids.current, 0, ours.now)
    receive(ours.server, packet, ours.now)
    assert ours.server.state is State.CLOSING
    assert (ours.server.end.code, ours.server.end.frame_type) == (PROTOCOL_VIOLATION, 0x31)
