"""What is handed over to QUIC; the rest of the base is in test_connection and test_sender."""

from tests.unit.engine.h3.peers import GET, Peer

from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.errors import H3_INTERNAL_ERROR


def test_what_was_taken_is_gone():
    peer = Peer()
    peer.ask(*GET, (b"priority", b"u=0"), fin=False)
    peer.engine.abort(0)
    taken = [
        peer.engine.take_writes(),
        peer.engine.take_resets(),
        peer.engine.take_stops(),
        peer.engine.take_priorities(),
        peer.engine.take_consumed(),
    ]
    assert all(taken)
    assert taken[1:4] == [[(0, H3_INTERNAL_ERROR)], [(0, H3_INTERNAL_ERROR)], [(0, 0)]]
    assert peer.engine.take_writes() == peer.engine.take_resets() == peer.engine.take_stops() == []
    assert peer.engine.take_priorities() == peer.engine.take_consumed() == []


def test_events_come_in_order_and_once():
    peer = Peer()
    peer.ask(*GET)
    assert peer.engine.next_event() is None
    peer.ask(*GET, stream=4)
    assert peer.engine.next_event() is None


def test_streams_that_have_begun_and_those_that_live_as_long_as_the_connection():
    engine = H3Connection(False, 0.0)
    assert engine.critical == 1
    assert not engine.has_begun(0)
    engine.receive_stream(0, b"\x01", False, 0.0)
    assert engine.has_begun(0)
    engine.receive_stream(2, b"\x40", False, 0.0)
    assert not engine.has_begun(2)
    engine.receive_stream(2, b"\x00", False, 0.0)
    assert engine.has_begun(2)
    assert engine.critical == 2
    engine.receive_stream(6, b"\x21", False, 0.0)
    assert engine.has_begun(6)
    assert engine.critical == 2
