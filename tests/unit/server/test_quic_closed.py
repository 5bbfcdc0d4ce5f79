"""What is kept of connections that have ended."""

from headgate.engine.quic.closing import Closing
from headgate.server.quic_closed import MAX_CLOSED, ClosedConnections, ClosedRecord

PEER = ("192.0.2.1", 4000)


def record(*ids, until=10.0):
    return ClosedRecord(Closing(b"the end", until, -1), list(ids), PEER, b"")


def test_rfc9000_10_2_all_ids_lead_to_the_end():
    closed = ClosedConnections()
    kept = record(b"one", b"two")
    closed.add(kept)
    assert closed.find(b"one") is closed.find(b"two") is kept
    assert closed.find(b"three") is None


def test_an_end_is_forgotten_in_time():
    closed = ClosedConnections()
    closed.add(record(b"soon", until=1.0))
    closed.add(record(b"later", until=2.0))
    closed.sweep(1.0)
    assert closed.find(b"soon") is None
    assert closed.find(b"later") is not None
    assert len(closed) == 1


def test_so_many_ends_and_one_more():
    closed = ClosedConnections()
    for number in range(MAX_CLOSED + 1):
        closed.add(record(b"%d" % number))
    assert len(closed) == MAX_CLOSED
    assert closed.find(b"0") is None
    assert closed.find(b"1") is not None
    assert len(closed._by_id) == MAX_CLOSED
