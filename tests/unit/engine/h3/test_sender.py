"""The writing half, as a server mostly; test_client has requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.h3.peers import GET, POST, Pair, Peer, data, decode_headers, fields, settings

from headgate.engine.events import UNKNOWN_LENGTH, Closed, Data, EndOfMessage, Request, Response
from headgate.engine.h3.errors import H3_INTERNAL_ERROR, H3_NO_ERROR, H3_REQUEST_CANCELLED
from headgate.engine.h3.frames import GOAWAY, encode_frame
from headgate.engine.h3.qpack_encoder import MAX_ENCODER_TABLE
from headgate.engine.h3.settings import H3Settings
from headgate.engine.message.events import StreamFailed
from headgate.errors import LocalProtocolError


def asked(*pairs, **options):
    peer = Peer()
    peer.ask(*(pairs or GET), **options)
    peer.take()
    return peer


def answer(status=200, body=0, *pairs, stream=0):
    return Response(status, b"", 11, fields(*pairs), body, stream)


def test_the_control_stream_comes_first():
    peer = Peer(hello=False)
    assert peer.take() == {3: b"\x00" + encode_frame(4, peer.engine.local.encode(False))}
    client = Peer(is_client=True, hello=False)
    assert list(client.take()) == [2]


def test_an_answer_without_content_ends_with_its_head():
    peer = asked()
    peer.engine.send(answer(304, 0, (b"etag", b'"x"')))
    assert decode_headers(peer.take()[0]) == ([(b":status", b"304"), (b"etag", b'"x"')], b"")
    assert peer.ended == {0}
    assert peer.engine.streams == {}


@pytest.mark.parametrize("size", [1, 1024, 1025, 70000])
def test_an_answer_with_content(size):
    peer = asked()
    peer.engine.send(answer(200, size))
    peer.engine.send(Data(b"x" * size, 0))
    peer.engine.send(EndOfMessage(None, 0))
    head, rest = decode_headers(peer.take()[0])
    assert head == [(b":status", b"200"), (b"content-length", b"%d" % size)]
    assert rest == data(b"x" * size)
    assert peer.ended == {0}


def test_an_answer_whose_end_comes_later():
    peer = asked()
    peer.engine.send(answer(200, UNKNOWN_LENGTH))
    peer.engine.send(Data(b"x", 0))
    peer.take()
    peer.engine.send(Data(b"", 0))
    peer.engine.send(EndOfMessage(fields(), 0))
    assert peer.engine.take_writes() == [(0, b"", True)]


def test_trailers():
    peer = asked()
    peer.engine.send(answer(200, UNKNOWN_LENGTH))
    peer.take()
    peer.engine.send(EndOfMessage(fields((b"digest", b"x")), 0))
    assert decode_headers(peer.take()[0]) == ([(b"digest", b"x")], b"")
    assert peer.ended == {0}


def test_interim_answers():
    peer = asked()
    peer.engine.send(answer(103, 0, (b"link", b"</a>")))
    peer.engine.send(answer(200))
    first, rest = decode_headers(peer.take()[0])
    assert first == [(b":status", b"103"), (b"link", b"</a>")]
    assert decode_headers(rest) == ([(b":status", b"200")], b"")


def test_rfc9114_4_1_an_answer_before_the_end_of_its_request_stops_it():
    peer = asked(*POST, fin=False)
    peer.engine.send(answer(413))
    assert peer.engine.take_stops() == [(0, H3_NO_ERROR)]
    assert peer.engine.take_resets() == []
    peer.feed(0, b"whatever")
    peer.engine.receive_reset(0, H3_REQUEST_CANCELLED, 0.0)
    assert peer.events() == []
    assert peer.engine.streams == {}


@pytest.mark.parametrize(
    "events",
    [
        [Data(b"x", 0)],
        [EndOfMessage(None, 0)],
        [answer(101)],
        [answer(204, 5)],
        [answer(304, -1)],
        [answer(103, 5)],
        [answer(200, 2), answer(200)],
        [answer(200, 2), Data(b"xyz", 0)],
        [answer(200, 2), Data(b"x", 0), EndOfMessage(None, 0)],
        [Closed()],
        [Request(b"GET", b"/", 11, fields(), 0)],
    ],
)
def test_what_is_out_of_turn_is_our_own_mistake(events):
    peer = asked(*POST, fin=False)
    for event in events[:-1]:
        peer.engine.send(event)
    with pytest.raises(LocalProtocolError):
        peer.engine.send(events[-1])


def test_rfc9114_4_2_2_a_section_that_the_peer_does_not_take():
    peer = Peer(hello=False)
    peer.feed(2, b"\x00" + settings(0x06, 100))
    peer.ask(*GET)
    peer.ask(*GET, stream=4)
    peer.engine.send(answer(200, 0, (b"x", b"y" * 24)))
    assert peer.engine.take_resets() == []
    peer.engine.send(answer(200, 0, (b"x", b"y" * 50), stream=4))
    assert peer.engine.take_resets() == [(4, H3_INTERNAL_ERROR)]
    (event,) = peer.events()
    assert isinstance(event, StreamFailed)
    assert event.reason == "peer-field-limit"


def test_the_dynamic_table_of_a_peer_that_has_one():
    pair = Pair(client=H3Settings(table_capacity=10**6))
    assert pair.server.encoder.capacity == MAX_ENCODER_TABLE
    sizes = []
    for number in range(4):
        pair.client.send(Request(b"GET", b"/", 11, fields((b"host", b"a.test")), 0))
        pair.exchange()
        assert len(pair.events(pair.server)) == 1
        response = answer(200, 0, (b"server", b"somebody"), (b"set-cookie", b"a=b"), stream=4 * number)
        pair.server.send(response)
        sizes.append(sum(len(octets) for stream, octets, _ in pair.server._writes if stream == 4 * number))
        pair.exchange()
        (got,) = pair.events(pair.client)
        assert got.fields.lines == [b"server: somebody", b"set-cookie: a=b"]
    assert sizes[0] == sizes[1]
    assert sizes[3] < sizes[0]
    assert pair.client.decoder._table.inserted == 1


BODIES = st.lists(st.binary(min_size=1, max_size=3000), max_size=4)


@given(BODIES, BODIES, st.booleans(), st.sampled_from([b"GET", b"POST", b"PUT"]))
def test_what_one_sends_the_other_gets(up, down, known, method):
    """Whole exchanges between our two roles."""
    pair = Pair()
    size = sum(map(len, up))
    request = Request(
        method, b"/x?y=1", 11, fields((b"host", b"a.test"), (b"accept", b"*/*")), size if known else -1
    )
    pair.client.send(request)
    if size or not known:
        for piece in up:
            pair.client.send(Data(piece, request.stream))
        pair.client.send(EndOfMessage(fields((b"digest", b"up")), request.stream))
    pair.exchange()
    events = pair.events(pair.server)
    assert (events[0].method, events[0].target, events[0].host) == (method, b"/x?y=1", b"a.test")
    assert events[0].fields.get(b"accept") == b"*/*"
    assert b"".join(event.data for event in events if isinstance(event, Data)) == b"".join(up)
    pair.server.send(answer(200, UNKNOWN_LENGTH))
    for piece in down:
        pair.server.send(Data(piece, 0))
    pair.server.send(EndOfMessage(None, 0))
    pair.exchange()
    events = pair.events(pair.client)
    assert events[0].status == 200
    assert b"".join(event.data for event in events if isinstance(event, Data)) == b"".join(down)
    assert pair.client.streams == pair.server.streams == {}


def test_goaway_of_a_client_names_a_push():
    peer = Peer(is_client=True)
    peer.take()
    peer.engine.go_away()
    assert peer.take() == {2: encode_frame(GOAWAY, b"\x00")}
