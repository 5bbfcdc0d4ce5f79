"""Frames about the connection itself: what waits, what fits, what is said again (RFC 9000 section 13.3)."""

from tests.unit.engine.quic.peers import switch

from headgate.engine.quic.connection_ids import OwnConnectionIds, PeerConnectionIds
from headgate.engine.quic.frames import (
    FRAME_HANDSHAKE_DONE,
    FRAME_NEW_CONNECTION_ID,
    FRAME_NEW_TOKEN,
    FRAME_RETIRE_CONNECTION_ID,
    HANDSHAKE_DONE_FRAME,
    encode_new_connection_id,
    encode_new_token,
)
from headgate.engine.quic.notices import Notices

NOTHING = (-1, 0, b"")


def notices():
    own = OwnConnectionIds(b"own-0000", lambda: (b"own-0001", b"t" * 16))
    own.set_limit(2)
    own.take_new(0.0, 0.1)
    peer = PeerConnectionIds(b"peer-0")
    peer.add(1, 0, b"peer-1", bytes(16))
    return Notices(own, peer), own, peer


def test_they_go_in_order_and_each_once():
    queue, _, peer = notices()
    queue.add(FRAME_HANDSHAKE_DONE, 0)
    queue.add(FRAME_NEW_CONNECTION_ID, 1)
    switch(peer)
    assert len(queue) == 3
    assert "1 to retire" in repr(queue)
    assert queue.take(100) == (FRAME_HANDSHAKE_DONE, 0, HANDSHAKE_DONE_FRAME)
    frame = encode_new_connection_id(1, 0, b"own-0001", b"t" * 16)
    assert queue.take(len(frame) - 1) == NOTHING
    assert queue.take(len(frame)) == (FRAME_NEW_CONNECTION_ID, 1, frame)
    assert queue.take(8) == NOTHING
    assert queue.take(100) == (FRAME_RETIRE_CONNECTION_ID, 0, b"\x19\x00")
    assert queue.take(100) == NOTHING
    assert len(queue) == 0


def test_rfc9000_13_3_what_was_lost_is_said_again_until_it_is_acknowledged():
    queue, _, peer = notices()
    switch(peer)
    queue.take(100)
    queue.on_lost(FRAME_RETIRE_CONNECTION_ID, 0)
    queue.on_lost(FRAME_HANDSHAKE_DONE, 0)
    queue.on_lost(FRAME_HANDSHAKE_DONE, 0)
    assert len(queue) == 2
    assert queue.take(100)[0] == FRAME_HANDSHAKE_DONE
    assert queue.take(100)[0] == FRAME_RETIRE_CONNECTION_ID
    queue.on_acked(FRAME_RETIRE_CONNECTION_ID, 0)
    queue.on_acked(FRAME_HANDSHAKE_DONE, 0)
    queue.on_lost(FRAME_RETIRE_CONNECTION_ID, 0)
    assert queue.take(100) == NOTHING


def test_an_id_that_was_retired_in_the_meantime_is_not_announced():
    queue, own, _ = notices()
    queue.add(FRAME_NEW_CONNECTION_ID, 1)
    own.retire(1, b"own-0000", 0.0)
    assert queue.take(100) == NOTHING
    assert len(queue) == 0


def test_the_newest_token_only_is_said_again():
    queue, _, _ = notices()
    queue.give_token(b"first")
    assert queue.take(100) == (FRAME_NEW_TOKEN, 1, encode_new_token(b"first"))
    queue.give_token(b"second")
    queue.on_lost(FRAME_NEW_TOKEN, 1)
    assert queue.take(100) == (FRAME_NEW_TOKEN, 2, encode_new_token(b"second"))
    assert queue.take(100) == NOTHING
