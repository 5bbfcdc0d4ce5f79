"""The client role: requests out, responses in."""

import pytest
from tests.unit.engine.h3.peers import Peer, data, fields, headers, settings

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request
from headgate.engine.h3.connection import MAX_INTERIM_RESPONSES
from headgate.engine.h3.errors import (
    H3_ID_ERROR,
    H3_MESSAGE_ERROR,
    H3_NO_ERROR,
    H3_REQUEST_INCOMPLETE,
    H3_REQUEST_REJECTED,
    H3ConnectionError,
)
from headgate.engine.h3.frames import GOAWAY, PUSH_PROMISE, encode_frame
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.errors import LocalProtocolError

OK = (b":status", b"200")


def asked(method=b"GET", body=0):
    peer = Peer(is_client=True)
    request = Request(method, b"/", 11, fields((b"host", b"a.test")), body)
    peer.engine.send(request)
    assert request.stream == 0
    peer.take()
    return peer


def failed(peer):
    events = peer.events()
    assert [type(event) for event in events] == [StreamFailed]
    return events[0]


def test_requests_take_one_stream_after_the_other():
    peer = Peer(is_client=True)
    for stream in (0, 4, 8):
        request = Request(b"GET", b"/", 11, fields((b"host", b"a.test")), 0)
        peer.engine.send(request)
        assert request.stream == stream
        assert stream in peer.take()
        assert stream in peer.ended


def test_a_response():
    peer = asked()
    peer.feed(0, headers(OK, (b"content-length", b"2")) + data(b"hi"), fin=True)
    response, content, end = peer.events()
    assert (response.status, response.reason, response.body, response.stream) == (200, b"OK", 2, 0)
    assert isinstance(content, Data)
    assert isinstance(end, EndOfMessage)
    assert peer.engine.streams == {}


def test_a_response_without_a_length_and_one_to_head():
    peer = asked()
    peer.feed(0, headers(OK))
    assert peer.events()[0].body == UNKNOWN_LENGTH
    peer = asked(b"HEAD")
    peer.feed(0, headers(OK, (b"content-length", b"2")))
    assert peer.events()[0].body == 0
    peer.feed(0, data(b"hi"))
    assert failed(peer).code == H3_MESSAGE_ERROR


def test_interim_responses_at_the_limit_and_one_more():
    peer = asked()
    peer.feed(0, headers((b":status", b"103")) * MAX_INTERIM_RESPONSES)
    assert [event.status for event in peer.events()] == [103] * MAX_INTERIM_RESPONSES
    peer.feed(0, headers((b":status", b"103")))
    assert failed(peer).code == H3_MESSAGE_ERROR


def test_rfc9114_4_1_a_second_final_response_is_a_trailer_section_and_malformed():
    peer = asked()
    peer.feed(0, headers(OK) + headers(OK), fin=True)
    assert failed(peer).code == H3_MESSAGE_ERROR


def test_a_stream_that_ends_without_a_final_response():
    peer = asked()
    peer.feed(0, headers((b":status", b"103")), fin=True)
    assert failed(peer).code == H3_REQUEST_INCOMPLETE


def test_a_server_that_rejects():
    peer = asked(b"POST", UNKNOWN_LENGTH)
    peer.engine.receive_reset(0, H3_REQUEST_REJECTED, 0.0)
    event = failed(peer)
    assert (event.code, event.by_peer) == (H3_REQUEST_REJECTED, True)


def test_rfc9114_4_1_a_server_may_stop_a_request_and_answer_it():
    peer = asked(b"POST", UNKNOWN_LENGTH)
    peer.engine.receive_stop(0, H3_NO_ERROR)
    peer.engine.send(Data(b"late", 0))
    peer.engine.send(EndOfMessage(None, 0))
    assert peer.take() == {}
    peer.feed(0, headers((b":status", b"413")), fin=True)
    assert [event.status for event in peer.events()] == [413]
    assert peer.engine.streams == {}


def test_rfc9114_5_2_what_a_leaving_server_did_not_look_at():
    peer = Peer(is_client=True)
    for _ in range(3):
        peer.engine.send(Request(b"GET", b"/", 11, fields((b"host", b"a.test")), 0))
    peer.feed(3, encode_frame(GOAWAY, b"\x04"))
    events = peer.events()
    assert isinstance(events[0], GoingAway)
    assert [(event.stream, event.code) for event in events[1:]] == [
        (4, H3_REQUEST_REJECTED),
        (8, H3_REQUEST_REJECTED),
    ]
    assert not peer.engine.can_request
    with pytest.raises(LocalProtocolError):
        peer.engine.send(Request(b"GET", b"/", 11, fields((b"host", b"a.test")), 0))
    peer.feed(0, headers(OK), fin=True)
    assert [event.status for event in peer.events()] == [200]


def test_rfc9114_7_2_5_a_push_that_nobody_allowed():
    with pytest.raises(H3ConnectionError) as caught:
        asked().feed(0, encode_frame(PUSH_PROMISE, b"\0\0\0"))
    assert caught.value.code == H3_ID_ERROR


def test_an_answer_that_nobody_waits_for_is_not_read():
    peer = asked()
    peer.engine.abort(0)
    peer.engine.forget(0)
    peer.feed(0, b"\xff" * 100)
    assert peer.events() == []


def test_connect_becomes_a_tunnel():
    peer = asked(b"CONNECT", UNKNOWN_LENGTH)
    peer.engine.send(Data(b"hello", 0))
    assert peer.take()[0] == data(b"hello")
    peer.feed(0, headers(OK) + data(b"there"))
    response, content = peer.events()
    assert (response.body, content.data) == (UNKNOWN_LENGTH, b"there")
    peer.feed(0, b"", fin=True)
    assert [type(event) for event in peer.events()] == [EndOfMessage]
    assert 0 in peer.engine.streams  # one half may be closed long before the other
    peer.engine.send(EndOfMessage(None, 0))
    assert peer.take() == {0: b""}
    assert peer.engine.streams == {}


def test_rfc9220_3_extended_connect_only_when_it_was_announced():
    peer = Peer(is_client=True, hello=False)
    request = Request(b"CONNECT", b"/chat", 11, fields((b"host", b"a.test")), UNKNOWN_LENGTH)
    request.upgrade = b"websocket"
    with pytest.raises(LocalProtocolError):
        peer.engine.send(request)
    peer.feed(3, b"\x00" + settings(0x08, 1))
    peer.engine.send(request)
    assert request.stream == 0
