"""RFC 9112 sections 4, 7.8 of RFC 9110, and 9: persistence, pipelining, interim responses, closing.

What these sections ask of somebody else than the engine, and where it is tested:

| section | who | rule | tested in |
|---|---|---|---|
| 9.3 | server | a request is read to its end, or the connection closes | |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_9_3_content_that_nobody_wants_is_not_the_next_request` |
| | | | integration/limits/test_inner_bounds.py: `test_content_that_nobody_wants_is_read_away_up_to_a_bound` |
| | | | unit/proxy/test_reverse.py: `test_an_early_answer_closes_the_upstream_and_reads_the_rest_away` |
| 9.3 | proxy | no persistence towards HTTP/1.0 clients of a *proxy*; a gateway is an origin server to them | |
| | | | here: `test_rfc9112_9_3_persistence` |
| 9.3.1 | client | nothing is repeated but on a new connection in place of one that lay idle | |
| | | | unit/proxy/test_reverse.py: `test_a_stale_connection_costs_one_retry` |
| | | | unit/proxy/test_reverse.py: `test_a_request_is_written_twice_at_most` |
| 9.3.1 | client | nothing is repeated once an octet of an answer has come | |
| | | | unit/proxy/test_reverse.py: `test_an_answer_that_has_begun_is_not_asked_for_again` |
| | | | unit/proxy/test_reverse.py: `test_an_interim_answer_is_an_answer` |
| | | | integration/proxy/test_origin_faults.py: `test_a_begun_answer_is_never_asked_for_again` |
| 9.3.2 | server | answers come in the order of the requests | |
| | | | integration/proxy/test_messages.py: `test_pipelined_requests_are_answered_in_order` |
| 9.5 | server | idle connections time out | unit/connection/test_downstream.py: `test_an_idle_connection_is_closed` |
| | | | integration/limits/test_bad_input.py: `test_an_idle_connection` |
| 9.5 | client | the same | unit/upstream/test_endpoint.py: `test_idle_connections_end_after_their_time` |
| 9.5 | both | the other's close is noticed while idle, and answered | |
| | | | unit/connection/test_upstream.py: `test_bytes_and_a_break_on_an_idle_connection_drop_it` |
| 9.6 | client | behind a response with Connection: close it sends nothing, and closes | |
| | | | here: `test_rfc9112_9_6_a_client_asks_nothing_behind_close` |
| | | | unit/upstream/test_endpoint.py: `test_a_connection_that_cannot_carry_another_request_is_closed` |
| 9.6 | client | behind its own Connection: close it sends nothing: it never says it | |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_9_6_a_close_of_the_client_is_not_for_the_origin` |
| 9.6 | server | it closes behind the answer to a request with Connection: close | |
| | | | integration/proxy/test_messages.py: `test_connection_close_is_honoured` |
| 9.6 | server | it closes in stages, so that no reset overtakes the answer | |
| | | | unit/connection/test_downstream.py: `test_a_malformed_request_is_answered_and_lingered_on` |
| | | | integration/limits/test_bad_input.py: `test_an_oversize_upload_gets_its_answer_before_the_close` |
| 9.8 | client | without close_notify a response until close is incomplete, and no other | |
| | | | unit/tls/test_transport.py: `test_end_without_close_notify_is_an_error` |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_9_8_a_response_until_close_ends_with_close_notify` |
| 9.8 | client | it says close_notify before it closes | |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_9_8_a_client_says_a_closure_alert` |
| 9.8 | server | so does a server, when a connection times out too | |
| | | | unit/tls/test_transport.py: `test_shutdown_says_close_notify` |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_9_8_a_closure_alert_precedes_our_close` |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_9_8_a_closure_alert_precedes_the_close_when_idle` |
| 9.8 | server | it is prepared for clients that do not | |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9112_9_8_a_client_that_leaves_without_an_alert_is_no_failure` |
| 9110 10.1.1 | server | 100 or a final answer is sent before content is waited for | |
| | | | integration/proxy/test_rfc9112.py: `test_rfc9110_10_1_1_an_answer_of_our_own_does_not_wait_for_content` |
| 9110 10.1.1 | proxy | the expectation goes to the origin, and its 100 or its final answer comes back | |
| | | | integration/proxy/test_messages.py: `test_100_continue_and_103_are_passed_on` |
| | | | integration/proxy/test_messages.py: `test_a_final_response_instead_of_100` |

Where we do what a proxy must not (9.3.1): a request that found a stale connection is repeated whatever its method.
An origin may have acted on it before it closed.
"""

import pytest

from headgate.engine.events import Closed, Data, EndOfMessage, Request, Response
from headgate.engine.h1.machine import DONE, IDLE, SWITCHED
from headgate.errors import LocalProtocolError, RemoteProtocolError

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"


@pytest.mark.parametrize(
    ("version", "connection", "persists"),
    [
        (b"HTTP/1.1", b"", True),
        (b"HTTP/1.1", b"Connection: keep-alive\r\n", True),
        (b"HTTP/1.1", b"Connection: close\r\n", False),
        (b"HTTP/1.1", b"Connection: CLOSE\r\n", False),
        (b"HTTP/1.1", b"Connection: x, close , y\r\n", False),
        (b"HTTP/1.1", b"Connection: x\r\nConnection: close\r\n", False),
        (b"HTTP/1.1", b"Connection: closed, enclose\r\n", True),
        (b"HTTP/1.1", b"X-Connection: close\r\n", True),
        (b"HTTP/1.1", b"Connection: close, keep-alive\r\n", False),
        (b"HTTP/1.0", b"", False),
        (b"HTTP/1.0", b"Connection: keep-alive\r\n", True),
        (b"HTTP/1.0", b"Connection: Keep-Alive\r\n", True),
        (b"HTTP/1.0", b"Connection: keep-alive, close\r\n", False),
        (b"HTTP/1.0", b"Keep-Alive: timeout=5\r\n", False),
    ],
)
def test_rfc9112_9_3_persistence(read, fields, version, connection, persists):
    engine, _ = read("server", b"GET / " + version + b"\r\nHost: a\r\n" + connection + b"\r\n")
    engine.send(Response(200, b"OK", 11, fields()))
    head = engine.take_output()
    assert engine.must_close is not persists
    assert (b"Connection: close\r\n" in head) is not persists, "a server says that it closes"
    assert (b"Connection: keep-alive\r\n" in head) is (persists and version == b"HTTP/1.0")
    engine, events = read("client", version + b" 200 OK\r\nContent-Length: 0\r\n" + connection + b"\r\n")
    assert engine.reusable is persists
    assert events[0].close is not persists


def test_rfc9112_9_6_nothing_is_read_behind_close(read, fields):
    engine, events = read("server", GET + b"Connection: close\r\n\r\n" + GET + b"\r\n")
    assert len(events) == 1
    engine.send(Response(200, b"OK", 11, fields()))
    assert engine.next_event() is None
    with pytest.raises(LocalProtocolError):
        engine.reuse()


def test_rfc9112_9_6_a_server_may_close_by_itself(read, fields):
    engine, _ = read("server", GET + b"\r\n")
    response = Response(200, b"OK", 11, fields())
    response.close = True
    engine.send(response)
    assert b"Connection: close\r\n" in engine.take_output()
    with pytest.raises(LocalProtocolError):
        engine.reuse()


def test_rfc9112_9_6_a_client_asks_nothing_behind_close(read):
    engine, _ = read("client", OK + b"Connection: close\r\n\r\n")
    with pytest.raises(LocalProtocolError):
        engine.reuse()
    with pytest.raises(LocalProtocolError):
        engine.send(Request(b"GET", b"/", 11, engine.request.fields))


def test_rfc9112_9_3_2_pipelined_requests_are_answered_in_order(read, fields):
    engine, events = read("server", b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(3)))
    seen = []
    while events:
        assert len(events) == 1, "the next request waits for the answer to this one"
        seen.append(events[0].target)
        assert engine.next_event() is None
        engine.send(Response(200, events[0].target, 11, fields()))
        engine.reuse()
        events = [event] if (event := engine.next_event()) else []
    assert seen == [b"/0", b"/1", b"/2"]
    assert [line for line in engine.take_output().split(b"\r\n") if b"HTTP" in line] == [
        b"HTTP/1.1 200 /%d" % n for n in range(3)
    ]


def test_rfc9112_9_3_2_a_client_sends_one_request_at_a_time(engine_of, fields):
    engine = engine_of("client")
    with pytest.raises(LocalProtocolError):
        engine.send(Request(b"GET", b"/2", 11, fields()))
    assert engine.take_output() == b""


def test_rfc9112_9_2_a_response_without_a_request_is_refused(engine_of, fields):
    engine = engine_of("client")
    engine.receive(OK + b"\r\n")
    engine.next_event()
    engine.reuse()
    engine.receive(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    with pytest.raises(RemoteProtocolError, match="unexpected-response"):
        engine.next_event()


def test_rfc9112_9_2_what_follows_a_response_spoils_the_connection(read):
    engine, events = read("client", OK + b"\r\n" + OK + b"\r\n")
    assert len(events) == 1
    assert not engine.reusable


def test_rfc9112_9_3_a_response_may_come_before_the_request_is_sent(engine_of, fields):
    engine = engine_of("client")
    engine.receive(OK + b"\r\n")
    engine.next_event()
    engine.reuse()
    engine.send(Request(b"POST", b"/", 11, fields(), 5))
    engine.receive(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert engine.next_event().status == 413
    assert not engine.reusable
    engine.send(Data(b"hello"))
    engine.send(EndOfMessage())
    assert engine.reusable


def test_rfc9110_15_2_interim_responses_precede_the_final_one(read):
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 199 X\r\n\r\n"
    engine, events = read("client", data + OK + b"\r\n")
    assert [event.status for event in events] == [100, 103, 199, 200]
    assert engine.reusable


@pytest.mark.parametrize("status", [100, 103])
def test_rfc9110_15_2_no_interim_response_to_http10(read, fields, status):
    engine, _ = read("server", b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    engine.send(Response(status, b"X", 11, fields()))
    assert engine.take_output() == b""
    assert engine.sending == IDLE


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-Continue\r\n\r\n", True),
        (b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", False),
        (b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", False),
    ],
)
def test_rfc9110_10_1_1_expectation(read, head, expected):
    _, events = read("server", head)
    assert events[0].expect_continue is expected


@pytest.mark.parametrize("value", [b"200-ok", b"", b"100-continue, x", b"100-continue x"])
def test_rfc9110_10_1_1_another_expectation_is_417(refused, value):
    assert refused("server", GET + b"Expect: " + value + b"\r\n\r\n") == (417, "bad-expectation")


@pytest.mark.parametrize(
    ("head", "upgrade"),
    [
        (GET + b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b"websocket"),
        (GET + b"Connection: keep-alive, upgrade\r\nUpgrade: a, b/2\r\n\r\n", b"a, b/2"),
        (GET + b"Upgrade: websocket\r\n\r\n", b""),
        (GET + b"Connection: Upgrade\r\n\r\n", b""),
        (b"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", b""),
    ],
)
def test_rfc9110_7_8_upgrade_counts_when_connection_names_it(read, head, upgrade):
    _, events = read("server", head)
    assert events[0].upgrade == upgrade


def test_rfc9110_7_8_upgrade_hands_over_both_ways(read, fields):
    engine, _ = read("server", GET + b"Upgrade: x\r\nConnection: upgrade\r\n\r\nearly")
    engine.send(
        Response(101, b"Switching Protocols", 11, fields((b"Upgrade", b"x"), (b"Connection", b"upgrade")))
    )
    assert (
        engine.take_output()
        == b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
    )
    engine.switch()
    assert (engine.receiving, engine.sending) == (SWITCHED, SWITCHED)
    assert engine.next_event() is None
    assert engine.take_rest() == b"early"
    engine, events = read(
        "client", b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nlate", upgrade=b"x"
    )
    assert events[0].status == 101
    assert engine.take_rest() == b"late"
    assert not engine.reusable


def test_rfc9110_7_8_a_switch_that_nobody_asked_for_is_refused(refused):
    assert refused("client", b"HTTP/1.1 101 Switching Protocols\r\n\r\n") == (502, "unexpected-switch")


def test_rfc9112_9_6_the_end_between_messages_is_clean(read):
    _, events = read("server", b"", eof=True)
    assert isinstance(events[0], Closed)


def test_rfc9112_9_6_a_half_closed_client_gets_its_answer(read, fields):
    engine, events = read("server", GET + b"\r\n", eof=True)
    assert len(events) == 1
    assert engine.receiving == DONE
    assert engine.must_close
    engine.send(Response(200, b"OK", 11, fields()))
    assert b"Connection: close\r\n" in engine.take_output()


def test_rfc9112_9_6_an_unreadable_request_gets_an_answer_and_a_close(engine_of, fields):
    engine = engine_of("server")
    engine.receive(b"GET / HTTP/3.0\r\n\r\n")
    with pytest.raises(RemoteProtocolError):
        engine.next_event()
    engine.send(Response(505, b"HTTP Version Not Supported", 11, fields()))
    assert engine.take_output().endswith(b"\r\nConnection: close\r\n\r\n")
    with pytest.raises(LocalProtocolError):
        engine.reuse()
