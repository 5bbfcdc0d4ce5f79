"""Whether HTTP/3 is offered, the race with TCP, and who gets which connection; all in memory."""

import pytest
from tests.unit.proxy.h3_path import H3Path, fields

from headgate.counters import (
    UPSTREAM_CONNECTIONS,
    UPSTREAM_H3_BROKEN,
    UPSTREAM_H3_CONNECTIONS,
    UPSTREAM_RACE_H3,
    UPSTREAM_RACE_TCP,
)
from headgate.engine.h3.errors import H3_INTERNAL_ERROR, H3_NO_ERROR
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.stream import StreamSettings
from headgate.errors import TransportError
from headgate.upstream.endpoint import RACE_DELAY
from headgate.upstream.h3_pool import BROKEN_SECONDS, MAX_BROKEN_SECONDS
from headgate.upstream.lane_pool import MAX_SHARED_CONNECTIONS

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
REFUSED = TransportError("econnrefused", 111, "nobody listens")


@pytest.fixture
def path():
    made = H3Path(is_only=False)
    yield made
    made.close()
    made.run()
    assert made.seen.crashes == []
    assert made.active == [0]
    assert made.endpoint.dialling == 0


def offer(path, value=b'h3=":443"; ma=3600'):
    """Let an answer over TCP offer HTTP/3; its connection is closed."""
    client = path.client()
    path.send(client, GET)
    origin = path.origin()
    path.send(origin, b"HTTP/1.1 204 No Content\r\nConnection: close\r\nAlt-Svc: " + value + b"\r\n\r\n")
    assert b"204" in client.transport.outgoing
    assert b"lt-svc" not in client.transport.outgoing.lower().replace(b"a", b"")


def test_without_an_offer_tcp_alone_is_used(path):
    path.ask(GET)
    assert path.connector.ports == []
    path.send(path.origin(), NO_CONTENT)


def test_an_offer_is_taken_up_by_the_next_request(path):
    offer(path, b'h2=":443", h3=":8443"; ma=60')
    client, origin = path.ask(GET)
    assert path.connector.ports == [8443]
    assert len(path.dials.dialled) == 1, "QUIC was ready at once: no TCP beside it"
    origin.respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing
    assert path.values[UPSTREAM_RACE_H3] == path.values[UPSTREAM_RACE_TCP] == 0


@pytest.mark.parametrize(
    "value",
    [b'h3="other.test:443"', b'h2=":443"', b'h3-29=":443"', b'h3=":443"; ma=0', b"clear", b"nonsense"],
)
def test_what_is_no_offer_for_us(path, value):
    offer(path, value)
    assert not path.pool.is_wanted


def test_the_same_host_by_name_is_an_offer(path):
    offer(path, b'h3="A.test:443"')
    assert path.pool.is_wanted


def test_an_offer_ends_after_its_time(path):
    offer(path, b'h3=":443"; ma=60')
    path.pass_time(59.0)
    assert path.pool.is_wanted
    path.pass_time(2.0)
    assert not path.pool.is_wanted


def test_rfc7838_3_clear_and_another_offer_replace_what_was_known(path):
    offer(path)
    client, origin = path.ask(GET)
    origin.respond(204, alt_svc=b"clear")
    path.run()
    assert b"204 No Content" in client.transport.outgoing
    assert path.drivers[0].closed
    assert not path.pool.is_wanted
    path.ask(GET)
    assert len(path.dials.dialled) == 2
    path.send(path.origin(), NO_CONTENT)


def test_an_answer_over_http3_moves_it_to_another_port(path):
    offer(path)
    _, origin = path.ask(GET)
    origin.respond(204, alt_svc=b'h3=":444"')
    path.run()
    _, origin = path.ask(GET)
    assert path.connector.ports == [443, 444]
    origin.respond(204)
    path.run()


def test_rfc7838_6_a_421_withdraws_the_offer(path):
    offer(path)
    client, origin = path.ask(GET)
    origin.respond(421)
    path.run()
    assert b"421 Misdirected" in client.transport.outgoing
    assert not path.pool.is_wanted


def test_tcp_begins_beside_a_slow_quic_and_the_first_wins(path):
    offer(path)
    path.connector.hold = True
    client, _ = path.ask(GET)
    path.pass_time(RACE_DELAY - 0.02)
    assert len(path.dials.dialled) == 1
    path.pass_time(0.04)
    assert len(path.dials.dialled) == 2
    path.send(path.origin(), NO_CONTENT)
    assert b"204 No Content" in client.transport.outgoing
    assert (path.values[UPSTREAM_RACE_TCP], path.values[UPSTREAM_RACE_H3]) == (1, 0)
    path.connector.release()
    assert path.pool.connections == path.drivers, "late, and good for the next request"
    client, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing
    assert path.values[UPSTREAM_H3_BROKEN] == 0


def test_quic_wins_while_tcp_is_dialled_too_and_tcp_stays_for_the_next(path):
    offer(path)
    path.connector.hold = True
    path.dials.hold = True
    client, _ = path.ask(GET)
    path.pass_time(RACE_DELAY + 0.02)
    path.connector.release()
    path.run()
    path.origins[0].respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing
    assert (path.values[UPSTREAM_RACE_TCP], path.values[UPSTREAM_RACE_H3]) == (0, 1)
    path.dials.release()
    assert len(path.endpoint.pool.idle) == 1


def test_a_failed_quic_is_followed_by_tcp_at_once_and_left_alone_for_longer_each_time(path):
    offer(path, b'h3=":443"; ma=604800')
    path.connector.refuse = REFUSED
    expected = [BROKEN_SECONDS, 2 * BROKEN_SECONDS, 4 * BROKEN_SECONDS, 8 * BROKEN_SECONDS]
    expected += [MAX_BROKEN_SECONDS, MAX_BROKEN_SECONDS]
    for count, seconds in enumerate(expected, 1):
        client, _ = path.ask(GET)
        path.send(path.origin(), b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        assert b"204 No Content" in client.transport.outgoing
        assert path.values[UPSTREAM_H3_BROKEN] == count
        assert path.pool.broken_until == path.poller.now + seconds
        path.poller.now += seconds - 1.0
        assert not path.pool.is_wanted
        path.poller.now += 2.0
        assert path.pool.is_wanted
    name, told = path.told[0]
    assert name == "upstream-h3-broken"
    assert told["detail"] == "econnrefused: nobody listens"
    assert told["next"] == "TCP only for 300 s"
    path.connector.refuse = None
    _, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    assert path.pool._failures == 0


def test_when_both_fail_both_are_told(path):
    offer(path)
    path.connector.refuse = REFUSED
    path.dials.error = TransportError("timeout", 110, "no answer")
    client, _ = path.ask(GET)
    assert b"504 Gateway Timeout" in client.transport.outgoing
    assert path.seen.exchanges[-1].detail == "HTTP/3: econnrefused: nobody listens; TCP: timeout: no answer"


def test_tcp_fails_first_and_quic_goes_on(path):
    offer(path)
    path.connector.hold = True
    path.dials.error = REFUSED
    client, _ = path.ask(GET)
    path.pass_time(RACE_DELAY + 0.02)
    assert client.transport.outgoing == b""
    path.connector.release()
    path.run()
    path.origins[0].respond(204)
    path.run()
    assert b"204 No Content" in client.transport.outgoing


def test_an_idle_connection_of_tcp_is_used_while_quic_warms_up(path):
    client = path.client()
    path.send(client, GET)
    path.send(path.origin(), b'HTTP/1.1 204 No Content\r\nAlt-Svc: h3=":443"\r\n\r\n')
    path.connector.hold = True
    path.ask(GET, client)
    assert len(path.dials.dialled) == 1
    path.send(path.origin(), NO_CONTENT)
    path.connector.release()
    _, origin = path.ask(GET, client)
    assert len(origin.requests) == 1
    origin.respond(204)
    path.run()


def test_an_upgrade_goes_by_http1(path):
    offer(path)
    client, _ = path.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert path.connector.ports == []
    path.send(path.origin(), b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert b"101 Switching" in client.transport.outgoing


def test_with_http3_alone_an_upgrade_is_502():
    path = H3Path()
    client, _ = path.ask(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert "HTTP/3 knows no Upgrade" in path.seen.exchanges[-1].detail
    path.close()


def test_with_http3_alone_nothing_is_broken_and_tcp_is_never_dialled():
    path = H3Path()
    path.connector.refuse = REFUSED
    for _ in range(3):
        client, _ = path.ask(GET)
        assert b"502 Bad Gateway" in client.transport.outgoing
    assert path.dials.dialled == []
    assert len(path.connector.ports) == 3
    assert path.values[UPSTREAM_H3_BROKEN] == 0
    path.close()


def test_one_dial_serves_all_who_wait():
    path = H3Path()
    path.connector.hold = True
    clients = [path.ask(GET)[0] for _ in range(10)]
    assert len(path.connector.held) == 1
    path.connector.release()
    path.run()
    origin = path.origins[0]
    for request in origin.requests:
        origin.respond(204, stream=request.stream)
    path.run()
    assert all(b"204 No Content" in client.transport.outgoing for client in clients)
    assert path.values[UPSTREAM_H3_CONNECTIONS] == path.values[UPSTREAM_CONNECTIONS] == 1
    path.close()


def test_who_waits_and_leaves_takes_no_lane():
    path = H3Path()
    path.connector.hold = True
    client, _ = path.ask(GET)
    client.close()
    path.connector.release()
    path.run()
    assert path.drivers[0].reserved == 0
    assert path.origins[0].requests == []
    path.close()
    path.run()
    assert path.drivers[0].closed


def test_connections_at_the_limit_and_one_more():
    path = H3Path(server_settings=ConnectionSettings(streams=StreamSettings(bidi_streams=1)))
    clients = [path.ask(GET)[0] for _ in range(MAX_SHARED_CONNECTIONS + 1)]
    assert len(path.drivers) == MAX_SHARED_CONNECTIONS
    path.origins[0].respond(204)
    path.run()
    path.pass_time(0.1)
    assert len(path.origins[0].requests) == 2, "who waited has the place that is free again"
    path.origins[0].respond(204)
    path.run()
    assert b"204 No Content" in clients[-1].transport.outgoing
    path.ask(GET)
    late, _ = path.ask(GET)
    path.pass_time(5.1)
    assert b"503 Service Unavailable" in late.transport.outgoing, "busy, and not silent"
    assert f"no room on any of {MAX_SHARED_CONNECTIONS} connections" in path.seen.exchanges[-1].detail
    path.close()


def test_an_origin_that_lets_nobody_ask_is_dialled_once():
    path = H3Path(server_settings=ConnectionSettings(streams=StreamSettings(bidi_streams=0)))
    client, _ = path.ask(GET)
    path.ask(GET)
    assert len(path.drivers) == 1
    path.pass_time(5.1)
    assert b"503 Service Unavailable" in client.transport.outgoing
    path.close()


def test_a_breach_marks_it_broken_and_a_proper_end_does_not(path):
    offer(path)
    client, origin = path.ask(GET)
    origin.respond(204)
    path.run()
    origin.quic.close(H3_NO_ERROR, "", path.poller.now)
    path.run()
    assert path.values[UPSTREAM_H3_BROKEN] == 0
    client, origin = path.ask(GET)
    origin.h3._writes.append((3, b"\x00\x00", False))  # DATA on the control stream
    path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert path.values[UPSTREAM_H3_BROKEN] == 1
    assert not path.pool.is_wanted


def test_an_origin_that_falls_silent_is_marked_broken(path):
    offer(path)
    client, _ = path.ask(GET)
    path.origins[0].receive = lambda datagram, now: None  # the road is gone
    path.pass_time(50.0)  # 30 s of silence behind the PING of the 15th second
    assert path.drivers[0].closed
    assert path.values[UPSTREAM_H3_BROKEN] == 1
    assert path.connector.forgotten == path.drivers
    assert b"502 Bad Gateway" in client.transport.outgoing


def test_an_end_with_an_error_is_told(path):
    offer(path)
    client, origin = path.ask(GET)
    origin.quic.close(H3_INTERNAL_ERROR, "out of coffee", path.poller.now)
    path.run()
    assert b"502 Bad Gateway" in client.transport.outgoing
    assert "out of coffee" in path.seen.exchanges[-1].detail


def test_fields_without_an_offer_change_nothing(path):
    path.pool.learn(fields(server=b"x"))
    assert not path.pool.is_wanted
