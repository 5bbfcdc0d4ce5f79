"""Sending: credit, room for writers, fairness, and a cost that only ready streams make."""

from collections import Counter

import pytest

from headgate.engine.quic.frames import (
    FRAME_DATA_BLOCKED,
    FRAME_STREAM_DATA_BLOCKED,
    stream_header_size,
)
from headgate.engine.quic.stream import StreamSettings
from headgate.engine.quic.stream_sender import MAX_CONNECTION_HELD, MAX_STREAM_HELD
from headgate.engine.quic.streams import Streams
from headgate.errors import LocalProtocolError

MUCH = 1 << 40


def server(count=0, *, max_data=MUCH, window=MUCH, bidi_streams=100):
    """Return a server with `count` requests that wait for their answers."""
    streams = Streams(is_client=False, settings=StreamSettings(bidi_streams=bidi_streams))
    streams.set_peer_limits(
        max_data=max_data, bidi_local=window, bidi_remote=window, uni=window, bidi_streams=100, uni_streams=8
    )
    for n in range(count):
        streams.receive_stream(4 * n, 0, b"x", fin=True)
    streams.take_arrived()
    return streams


def pieces(streams, room=1200):
    found = []
    while (piece := streams.next_piece(room)) is not None:
        found.append(piece)
    return found


def controls(streams):
    frames = []
    while (frame := streams.next_control(0.0, 0.02))[0] >= 0:
        frames.append(frame)
    return frames


def acknowledge(streams, sent):
    for name, offset, data, fin in sent:
        streams.on_ack(name, offset, len(data), fin=fin)


@pytest.mark.parametrize("room", [8, 30, 64, 100, 1200])
def test_a_piece_fits_with_its_header(room):
    streams = server(1)
    streams.write(0, b"x" * 20_000, fin=True)
    sent = pieces(streams, room)
    assert sum(len(data) for _, _, data, _ in sent) == 20_000
    assert all(
        stream_header_size(name, offset, len(data)) + len(data) <= room for name, offset, data, _ in sent
    )
    assert sent[-1][3]


def test_too_little_room_changes_nothing():
    streams = server(1)
    streams.write(0, b"x", fin=True)
    assert streams.next_piece(3) is None
    assert streams.next_piece(4) == (0, 0, b"x", True)


def test_rfc9000_4_1_the_credit_of_a_stream_is_never_exceeded():
    streams = server(1, window=10)
    assert streams.write(0, b"0123456789abc", fin=True) == 13
    assert pieces(streams) == [(0, 0, b"0123456789", False)]
    assert controls(streams) == [(FRAME_STREAM_DATA_BLOCKED, 0, 10, 0)]
    streams.on_control_loss(FRAME_STREAM_DATA_BLOCKED, 0, 10)
    assert controls(streams) == [(FRAME_STREAM_DATA_BLOCKED, 0, 10, 0)]
    streams.receive_max_stream_data(0, 5)
    assert pieces(streams) == []
    streams.receive_max_stream_data(0, 12)
    streams.on_control_loss(FRAME_STREAM_DATA_BLOCKED, 0, 10)
    assert pieces(streams) == [(0, 10, b"ab", False)]
    streams.receive_max_stream_data(0, 13)
    assert controls(streams) == []
    assert pieces(streams) == [(0, 12, b"c", True)]


def test_a_writer_that_comes_behind_its_credit_is_told_to_the_peer_too():
    streams = server(1, window=3)
    streams.write(0, b"abc", fin=False)
    assert pieces(streams) == [(0, 0, b"abc", False)]
    assert controls(streams) == []
    streams.write(0, b"d", fin=True)
    assert controls(streams) == [(FRAME_STREAM_DATA_BLOCKED, 0, 3, 0)]


def test_rfc9000_4_1_the_credit_of_the_connection_is_never_exceeded():
    streams = server(2, max_data=10)
    streams.write(0, b"01234567", fin=True)
    streams.write(4, b"abcdef", fin=True)
    assert pieces(streams) == [(0, 0, b"01234567", True), (4, 0, b"ab", False)]
    assert controls(streams) == [(FRAME_DATA_BLOCKED, 0, 10, 0)]
    assert len(streams.sender.scheduler) == 0
    streams.receive_max_data(10)
    assert pieces(streams) == []
    streams.receive_max_data(13)
    assert pieces(streams) == [(4, 2, b"cde", False)]
    streams.receive_max_data(100)
    assert controls(streams) == []  # it waited, and says nothing any more
    assert pieces(streams) == [(4, 5, b"f", True)]


def test_what_was_lost_goes_again_without_credit():
    streams = server(2, max_data=4)
    streams.write(0, b"0123", fin=True)
    streams.write(4, b"abcd", fin=True)
    assert pieces(streams) == [(0, 0, b"0123", True)]
    streams.on_loss(0, 0, 4, fin=True)
    assert pieces(streams) == [(0, 0, b"0123", True)]
    streams.receive_max_data(6)
    assert pieces(streams) == [(4, 0, b"ab", False)]
    streams.on_loss(4, 0, 2, fin=False)  # it had been set aside
    assert pieces(streams) == [(4, 0, b"ab", False)]
    assert streams.sender.credit.used == 6


def test_what_arrives_after_all_is_not_sent_again():
    streams = server(1)
    streams.write(0, b"0123", fin=True)
    pieces(streams)
    streams.on_loss(0, 0, 4, fin=True)
    assert len(streams.sender.scheduler) == 1
    streams.on_ack(0, 0, 4, fin=True)
    assert len(streams.sender.scheduler) == 0
    assert pieces(streams) == []


def test_a_stream_that_is_reset_while_it_lacks_credit_comes_back_for_nothing():
    streams = server(1, max_data=0)
    streams.write(0, b"x", fin=True)
    assert pieces(streams) == []
    assert streams.sender.is_starving()
    streams.reset(0, 1)
    assert not streams.sender.is_starving()
    streams.receive_max_data(100)
    assert pieces(streams) == []


def test_priorities_decide_who_is_first():
    streams = server(4)
    for n in range(4):
        streams.write(4 * n, b"x" * 3000, fin=True)
    own = streams.open(is_uni=True)
    streams.write(own, b"settings", fin=False)
    streams.set_priority(8, 1, is_incremental=False)
    streams.set_priority(0, 5, is_incremental=True)
    streams.set_priority(12, 5, is_incremental=True)
    streams.set_priority(400, 0, is_incremental=False)
    order = [name for name, _, _, _ in pieces(streams)]
    assert order == [own, 8, 8, 8, 4, 4, 4, 0, 12, 0, 12, 0, 12]


def test_incremental_streams_get_equal_shares():
    streams = server(5)
    for n in range(5):
        streams.set_priority(4 * n, 3, is_incremental=True)
        streams.write(4 * n, b"x" * 100_000, fin=True)
    shares = Counter()
    for _ in range(100):
        name, _, data, _ = streams.next_piece(1200)
        shares[name] += len(data)
    assert max(shares.values()) - min(shares.values()) < 100


def test_a_packet_costs_by_ready_streams_among_ten_thousand_open_ones():
    """The touched entries of the schedule, and the streams looked up, are those of the three that send."""
    streams = server(10_000, bidi_streams=10_000)
    assert len(streams.table) == 10_000
    looked_up = Counter()

    class Table(dict):
        def __getitem__(self, name):
            looked_up[name] += 1
            return dict.__getitem__(self, name)

        def get(self, name, default=None):
            looked_up[name] += 1
            return dict.get(self, name, default)

        def values(self):
            raise AssertionError("a walk over all streams")

        __iter__ = items = keys = values

    streams.table = streams.sender._table = Table(streams.table)
    touched = streams.sender.scheduler.touched
    sent = []
    for name in (40, 20_000, 36_000):
        streams.write(name, b"x" * 12_000, fin=True)
    while (piece := streams.next_piece(1200)) is not None:
        sent.append(piece)
    acknowledge(streams, sent)
    for name in (40, 20_000, 36_000):
        streams.release(name)
    assert len(sent) == 33
    assert looked_up.keys() == {40, 20_000, 36_000}
    assert looked_up.total() <= 3 * len(sent)
    # One look for each piece, one more to see that nobody is left, and one for each stream that comes and goes.
    assert streams.sender.scheduler.touched - touched <= len(sent) + 1 + 2 * 3
    assert len(streams.table) == 10_000 - 3


# Room for writers


def test_a_stream_holds_so_much_and_not_one_octet_more():
    streams = server(1)
    assert streams.write(0, b"x" * (MAX_STREAM_HELD + 1), fin=True) == MAX_STREAM_HELD
    assert streams.write(0, b"y", fin=True) == 0
    assert streams.take_writable() == []
    sent = pieces(streams)
    assert not sent[-1][3]
    acknowledge(streams, sent[:3])
    assert streams.take_writable() == []  # not worth waking anybody
    acknowledge(streams, sent[3:20])
    assert streams.take_writable() == [0]
    assert streams.take_writable() == []
    assert streams.write(0, b"y", fin=True) == 1


def test_a_connection_holds_so_much_and_not_one_octet_more():
    streams = server(6)
    chunk = b"x" * MAX_STREAM_HELD
    assert [streams.write(4 * n, chunk, fin=True) for n in range(6)] == [*[MAX_STREAM_HELD] * 4, 0, 0]
    assert streams.sender.held == MAX_CONNECTION_HELD
    sent = pieces(streams)
    half = next(n for n, piece in enumerate(sent) if piece[0] == 8)
    acknowledge(streams, sent[: half - 1])
    assert streams.take_writable() == []
    acknowledge(streams, sent[half - 1 : half])
    assert streams.take_writable() == [16, 20]
    assert streams.write(16, chunk, fin=True) == MAX_STREAM_HELD
    streams.reset(20, 1)
    acknowledge(streams, sent[half:])
    acknowledge(streams, pieces(streams))
    assert streams.sender.held == 0


def test_streams_that_nobody_reads_do_not_fill_what_the_connection_holds():
    streams = server(90, window=0)
    for n in range(89):
        assert streams.write(4 * n, b"x" * 100_000, fin=True) == 4096
    assert streams.sender.held == 89 * 4096
    streams.receive_max_stream_data(4 * 89, 200_000)
    assert streams.write(4 * 89, b"x" * 100_000, fin=True) == 100_000
    assert streams.take_writable() == []
    streams.receive_max_stream_data(0, 1)
    assert streams.take_writable() == [0]
    assert streams.write(0, b"x" * 100_000, fin=True) == 1


def test_everybody_who_was_cut_short_is_woken_in_the_end():
    """Writers that always have more, a peer that acknowledges everything: nobody waits for ever."""
    streams = server(12)
    left = dict.fromkeys(range(0, 48, 4), 300_000)
    writable = list(left)
    for _ in range(1000):
        for name in writable:
            taken = streams.write(name, b"x" * left[name], fin=True)
            left[name] -= taken
        acknowledge(streams, [piece for piece in [streams.next_piece(1200) for _ in range(40)] if piece])
        writable = streams.take_writable()
        if not any(left.values()) and streams.sender.held == 0:
            break
    assert set(left.values()) == {0}
    assert streams.sender.held == 0


def test_a_writer_that_gives_up_its_rest_is_not_woken():
    streams = server(1, window=0)
    streams.write(0, b"x" * 5000, fin=False)
    streams.write(0, b"", fin=True)
    streams.receive_max_stream_data(0, 5000)
    acknowledge(streams, pieces(streams))
    streams.release(0)
    assert streams.take_writable() == []
    assert streams.table == {}


def test_misuse_is_ours():
    streams = server(1)
    streams.receive_stream(2, 0, b"x", fin=False)
    streams.write(0, b"x", fin=True)
    for name in (0, 2, 4):
        with pytest.raises(LocalProtocolError):
            streams.write(name, b"x", fin=False)


def test_a_writer_whose_stream_is_reset_is_not_woken():
    streams = server(6)
    for n in range(6):
        streams.write(4 * n, b"x" * MAX_STREAM_HELD, fin=True)
    sent = pieces(streams)
    streams.reset(20, 1)
    acknowledge(streams, sent)
    assert streams.take_writable() == [16]


def test_a_writer_goes_on_where_it_was_cut_short():
    streams = server(1, window=100_000)
    data = bytes(range(251)) * 1000
    at = streams.write(0, data, fin=True)
    assert 100_000 <= at < len(data)
    got = b"".join(piece for _, _, piece, _ in pieces(streams))
    streams.receive_max_stream_data(0, MUCH)
    while at < len(data):
        at += streams.write(0, data, fin=True, start=at)
        sent = pieces(streams)
        got += b"".join(piece for _, _, piece, _ in sent)
        acknowledge(streams, [(0, 0, b"x" * len(got), False)])
    assert got == data
    assert sent[-1][3]
