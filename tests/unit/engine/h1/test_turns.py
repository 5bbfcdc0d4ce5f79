"""What is sent out of turn is a `LocalProtocolError`, and changes nothing on the wire."""

import pytest

from headgate.engine.events import UNKNOWN_LENGTH, Closed, Data, EndOfMessage, Request, Response
from headgate.engine.h1.client import ClientEngine
from headgate.engine.h1.server import ServerEngine
from headgate.errors import LocalProtocolError
from headgate.http.fields import Fields


def request(body=0):
    return Request(b"POST", b"/", 11, Fields([], []), body)


def response(body=0, status=200):
    return Response(status, b"OK", 11, Fields([], []), body)


@pytest.fixture
def server():
    engine = ServerEngine()
    engine.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert engine.next_event() is not None
    return engine


ROLES = {
    "server": (lambda: response(), lambda body: response(body), [request(), Closed()]),
    "client": (lambda: request(), lambda body: request(body), [response(), Closed()]),
}


@pytest.fixture(params=ROLES)
def role(request, server):
    engine = server if request.param == "server" else ClientEngine()
    return engine, *ROLES[request.param]


def refuse(engine, event):
    before = engine.sending, engine.receiving
    with pytest.raises(LocalProtocolError):
        engine.send(event)
    assert (engine.sending, engine.receiving) == before
    assert engine.take_output() == b""


def test_events_of_the_other_role(role):
    engine, _, _, foreign = role
    for event in foreign:
        refuse(engine, event)


def test_content_before_a_head(role):
    engine = role[0]
    refuse(engine, Data(b"x"))
    refuse(engine, EndOfMessage())


@pytest.mark.parametrize("body", [0, 3, UNKNOWN_LENGTH])
def test_a_second_head(role, body):
    engine, _, head, _ = role
    engine.send(head(body))
    engine.take_output()
    for again in (0, 3, UNKNOWN_LENGTH):
        refuse(engine, head(again))


def test_content_behind_an_empty_head(role):
    engine, head, _, _ = role
    engine.send(head())
    engine.take_output()
    refuse(engine, Data(b"x"))
    refuse(engine, EndOfMessage())


@pytest.mark.parametrize("body", [3, UNKNOWN_LENGTH])
def test_content_behind_its_end(role, body):
    engine, _, head, _ = role
    engine.send(head(body))
    engine.send(Data(b"abc"))
    engine.send(EndOfMessage())
    engine.take_output()
    refuse(engine, Data(b"x"))
    refuse(engine, EndOfMessage())


def test_more_and_less_content_than_promised(role):
    engine, _, head, _ = role
    engine.send(head(3))
    engine.take_output()
    refuse(engine, Data(b"four"))
    refuse(engine, EndOfMessage())


def test_a_head_out_of_turn_leaves_the_promise_alone(role):
    engine, _, head, _ = role
    engine.send(head(3))
    engine.take_output()
    refuse(engine, head(100))
    refuse(engine, Data(b"four"))
    engine.send(Data(b"abc"))
    engine.send(EndOfMessage())


def test_an_interim_response_behind_the_final_one(server):
    server.send(response(3))
    server.take_output()
    refuse(server, response(status=103))


def test_switching_before_the_request_is_complete():
    engine = ServerEngine()
    engine.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")
    engine.next_event()
    with pytest.raises(LocalProtocolError):
        engine.switch()


def test_reuse_before_the_exchange_is_over(server):
    with pytest.raises(LocalProtocolError):
        server.reuse()
    client = ClientEngine()
    client.send(request())
    with pytest.raises(LocalProtocolError):
        client.reuse()


def test_nothing_goes_out_behind_close(role):
    engine, head, _, _ = role
    engine.close()
    refuse(engine, head())
    refuse(engine, Data(b"x"))


def test_a_client_knows_whether_it_was_answered():
    engine = ClientEngine()
    engine.send(request())
    assert not engine.answered
    engine.receive(b"H")
    assert engine.answered
    engine = ClientEngine()
    engine.send(request())
    engine.receive(b"HTTP/1.1 103 X\r\n\r\n")
    engine.next_event()
    assert engine.buffered == 0
    assert engine.answered
