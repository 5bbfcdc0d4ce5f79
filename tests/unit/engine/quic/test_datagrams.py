"""Datagrams of the application (RFC 9221): their queues and limits."""

import pytest

from headgate.engine.quic.datagrams import (
    HEADER,
    MAX_DATAGRAM_FRAME,
    MAX_QUEUED,
    MAX_QUEUED_OCTETS,
    DatagramQueue,
    Datagrams,
)
from headgate.errors import LocalProtocolError


def agreed(frame_size=65_535, room=1300):
    held = Datagrams(is_enabled=True)
    held.set_peer_limit(frame_size, room)
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
    ("said", "room", "largest"),
    [
        (65_535, 2000, MAX_DATAGRAM_FRAME - HEADER),
        (100, 2000, 97),
        (65_535, 1156, 1153),
        (3, 2000, 0),
        (0, 2000, 0),
    ],
)
def test_rfc9221_3_a_datagram_at_the_limit_and_one_more(said, room, largest):
    """No frame is larger than the peer takes, than a packet, and than our own limit."""
    held = agreed(said, room)
    assert held.largest == largest
    if largest:
        held.send(bytes(largest))
    with pytest.raises(LocalProtocolError):
        held.send(bytes(largest + 1))
    assert len(held.outgoing) == bool(largest)


def test_rfc9221_3_nothing_is_sent_before_both_agree():
    held = Datagrams(is_enabled=False)
    held.set_peer_limit(65_535, 1300)
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
    assert "up to 1197 octets" in repr(held)
