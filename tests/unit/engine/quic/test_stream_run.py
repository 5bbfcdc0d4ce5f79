"""Runs of packets with nothing but streams: full, in order, and readable frame by frame."""

import pytest
from tests.unit.engine.quic.peers import Link, flushed, new_client, receive

from headgate.engine.quic.frames import FRAME_STREAM, FrameReader
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.path import MAX_BATCH
from headgate.engine.quic.scheduler import NOBODY
from headgate.engine.quic.settings import DATAGRAM
from headgate.engine.quic.stream import StreamSettings
from headgate.engine.quic.stream_run import StreamRun
from headgate.engine.quic.streams import Streams

ROOM = 1000
OVERHEAD = 27


def sending(*sizes):
    """Streams with so many octets each, all of them finished."""
    streams = Streams(is_client=True, settings=StreamSettings())
    streams.set_peer_limits(
        max_data=1 << 30, bidi_local=1 << 20, bidi_remote=1 << 20, uni=0, bidi_streams=100, uni_streams=0
    )
    for at, size in enumerate(sizes):
        stream = streams.open(is_uni=False)
        assert streams.write(stream, bytes((at + 1,)) * size, fin=True) == size
    return streams


def filled(streams, most=MAX_BATCH):
    run = StreamRun()
    run.fill(streams.sender, 7, most, ROOM, OVERHEAD, 1.0, False)
    return run


def pieces(run):
    """What a receiver reads: the octets of each stream."""
    found, reader = {}, FrameReader(is_server=True)
    for content in run.contents:
        assert len(content) <= ROOM
        reader.begin(content, APPLICATION)
        while reader.next():
            assert reader.kind == FRAME_STREAM
            held = found.setdefault(reader.stream, [b"", False])
            assert reader.offset == len(held[0])
            held[0] += reader.data[reader.start : reader.start + reader.length]
            held[1] = reader.fin
    return found


@pytest.mark.parametrize("size", [1, 3, ROOM - 5, ROOM - 4, ROOM - 3, ROOM - 2, ROOM - 1, ROOM, 40_000])
def test_one_stream_fills_its_packets(size):
    run = filled(sending(size))
    assert pieces(run) == {0: [b"\1" * size, True]}
    *full, last = run.contents
    assert {len(content) for content in full} <= {ROOM}
    assert run.is_short == (len(last) < ROOM)
    assert run.size == sum(len(content) + OVERHEAD for content in run.contents)
    assert [packet.number for packet in run.packets] == list(range(7, 7 + len(run.contents)))
    assert [packet.size for packet in run.packets] == [len(content) + OVERHEAD for content in run.contents]


@pytest.mark.parametrize(
    "sizes", [(100, 100, 100), (940, 940, 2000), (990, 5), (3000, 1, 1, 5000), (967,) * 9]
)
def test_several_streams_share_packets(sizes):
    run = filled(sending(*sizes))
    assert pieces(run) == {4 * at: [bytes((at + 1,)) * size, True] for at, size in enumerate(sizes)}
    *full, _ = run.contents
    assert {len(content) for content in full} <= {ROOM}  # padded where others follow
    told = sum(packet.length if packet.stream != NOBODY else 0 for packet in run.packets)
    told += sum(record[3] for packet in run.packets for record in packet.frames)
    assert told == sum(sizes)


def test_a_run_ends_at_its_limit():
    run = filled(sending(100_000), most=3)
    assert len(run.contents) == 3
    assert not run.is_short
    assert run.size == 3 * (ROOM + OVERHEAD)
    assert filled(sending()).contents == []


def test_packets_of_a_run_are_said_again_when_they_are_lost():
    link = Link(new_client()).shake()
    client, server = link.client, link.server
    stream = client.streams.open(is_uni=False)
    client.streams.write(stream, bytes(5000), fin=True)
    datagrams = flushed(client, link.now)
    assert len(datagrams) == 5
    packets = [packet for packet in client.recovery.spaces[APPLICATION]._slots if packet is not None][-5:]
    assert packets[1].stream == stream
    assert packets[1].frames == ()
    client._outcomes.on_lost(packets[1])
    client._outcomes.on_acked([packets[0], packets[2], packets[3], packets[4]])
    assert stream in client.streams.table
    again = flushed(client, link.now)
    assert again
    for datagram in (datagrams[0], *again, *datagrams[2:]):
        receive(server, datagram, link.now)
    arrived = server.streams.take_arrived()
    assert sum(len(piece) for _, piece, _ in arrived) == 5000
    assert arrived[-1][2]


def test_a_number_that_is_skipped_stands_in_no_run():
    link = Link(new_client()).shake()
    sent = link.client.recovery.spaces[APPLICATION]
    sent._skip_at = sent.next_number + 2
    first = sent.next_number
    assert sent.run_length(50) == 2
    stream = link.client.streams.open(is_uni=False)
    link.client.streams.write(stream, bytes(5 * DATAGRAM), fin=True)
    for datagram in flushed(link.client, link.now):
        receive(link.server, datagram, link.now)
    link.now += 1.0
    assert link.server.dropped == {}
    skipped = sent._slots[first + 2 - sent._origin]
    assert skipped is None
    assert sum(len(piece) for _, piece, _ in link.server.streams.take_arrived()) == 5 * DATAGRAM
