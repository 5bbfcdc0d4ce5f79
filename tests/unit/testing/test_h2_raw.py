"""Frames by hand, read by h2, and what h2 writes, read by hand."""

import socket

import h2.config
import h2.connection
import h2.events
import hpack
import pytest

from headgate.testing import h2_raw as raw_h2
from headgate.testing.h2_raw import RawH2


class Peer:
    """A server of h2 at the other end of a pair of sockets."""

    def __init__(self):
        ours, self.sock = socket.socketpair()
        self.raw = RawH2(ours)
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.events = []
        self.flush()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def read(self):
        self.sock.settimeout(0.0)
        try:
            self.events += self.h2.receive_data(self.sock.recv(1 << 20))
        except BlockingIOError:
            pass
        finally:
            self.flush()
        return self.events

    def met(self, kind):
        return [event for event in self.read() if isinstance(event, kind)]


@pytest.fixture
def peer():
    peer = Peer()
    yield peer
    peer.raw.close()
    peer.sock.close()


def test_a_request_and_its_answer(peer):
    raw = peer.raw
    raw.start((raw_h2.INITIAL_WINDOW_SIZE, 1000))
    raw.send(raw_h2.headers(1, raw_h2.request_block(b"/a", b"POST", (b"x", b"y" * 200)), end=False))
    raw.send(raw_h2.data(1, b"body", padding=7), raw_h2.data(1, b"", end=True))
    (request,) = peer.met(h2.events.RequestReceived)
    assert (b":path", b"/a") in request.headers
    assert (b"x", b"y" * 200) in request.headers
    content = peer.met(h2.events.DataReceived)
    assert b"".join(event.data for event in content) == b"body"
    assert content[0].flow_controlled_length == 12
    assert len(peer.met(h2.events.StreamEnded)) == 1
    peer.h2.send_headers(1, [(b":status", b"200")])
    peer.h2.send_data(1, b"hello", end_stream=True)
    peer.flush()
    assert raw.wait(lambda raw: raw.ended(1))
    assert raw.octets == 5
    assert [one.payload[:1] for one in raw.of(raw_h2.HEADERS, 1)] == [b"\x88"]


def test_what_asks_for_an_answer_gets_one_and_resets_and_goaway_are_noted(peer):
    raw = peer.raw
    raw.start()
    raw.send(raw_h2.headers(1, raw_h2.request_block()), raw_h2.ping(b"12345678"))
    peer.read()
    peer.h2.ping(b"abcdefgh")
    peer.h2.reset_stream(1, 7)
    peer.h2.close_connection(11, b"calm")
    peer.flush()
    assert raw.wait(lambda raw: raw.goaway)
    assert raw.goaway == (11, 1, b"calm")
    assert raw.resets == {1: 7}
    assert raw.acks == 2
    data = peer.sock.recv(1 << 16)  # h2 reads nothing more
    assert raw_h2.frame(raw_h2.PING, raw_h2.ACK, 0, b"abcdefgh") in data
    peer.sock.close()
    assert not raw.wait(lambda _: False)
    assert raw.closed


def test_frames_of_every_kind(peer):
    raw = peer.raw
    raw.start()
    half = raw_h2.request_block()
    raw.send(
        raw_h2.headers(1, half[:9], end=False, last=False),
        raw_h2.continuation(1, half[9:20]),
        raw_h2.continuation(1, half[20:], last=True),
        raw_h2.settings((raw_h2.HEADER_TABLE_SIZE, 100)),
        raw_h2.settings_ack(),
        raw_h2.window_update(0, 5),
        raw_h2.priority(1, 3),
        raw_h2.priority_update(1),
        raw_h2.frame(0xFA, 0, 0, b"?"),
        raw_h2.rst_stream(1),
    )
    peer.read()
    assert len(peer.met(h2.events.RequestReceived)) == 1
    assert [event.error_code for event in peer.met(h2.events.StreamReset)] == [8]
    assert [event.stream_id for event in peer.met(h2.events.PriorityUpdated)] == [1]
    assert [event.delta for event in peer.met(h2.events.WindowUpdated)] == [5]


def test_sections():
    decoder = hpack.Decoder()
    block = raw_h2.table_size(1000) + raw_h2.remembered(b"a", b"1") + raw_h2.literal(b"b", b"2" * 300)
    assert decoder.decode(block, raw=True) == [(b"a", b"1"), (b"b", b"2" * 300)]
    assert decoder.decode(raw_h2.indexed(62) * 3, raw=True) == [(b"a", b"1")] * 3
    assert raw_h2.integer(1337, 5) == bytes.fromhex("1f9a0a")  # RFC 7541 C.1.2


def test_what_is_not_taken_is_kept(peer):
    raw = peer.raw
    raw.send(bytes(4 << 20))
    assert raw.unsent
    count = 0
    peer.sock.settimeout(5.0)
    while count < 4 << 20:
        count += len(peer.sock.recv(1 << 20))
        raw.send()
    assert raw.unsent == 0
