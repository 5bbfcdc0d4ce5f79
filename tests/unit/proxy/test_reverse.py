"""The reverse proxy between two ends in memory: retries, dials, timeouts, early answers, and nobody left behind."""

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.counters import (
    GATEWAY_CLOSED,
    GATEWAY_CONNECT,
    GATEWAY_HEAD_TIMEOUT,
    GATEWAY_PROTOCOL,
    GATEWAY_UNAVAILABLE,
    RETRIED_FIRST,
    UPSTREAM_OPEN,
)
from headgate.errors import TransportError
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.proxy.attempt import MAX_REPLAY
from headgate.upstream.endpoint import MAX_DIALLING
from headgate.upstream.pool import MAX_IDLE
from headgate.upstream.retries import REUSED, Retries

ATTEMPTS = Retries().attempts
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
DATE = b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Length: 2\r\n\r\nok"


@pytest.fixture
def make():
    made = []

    def path(endpoints=1, **settings):
        made.append(DataPath(endpoints, **settings))
        return made[-1]

    yield path
    for one in made:
        one.close()
        assert one.seen.crashes == []
        assert one.active == [0] * len(one.endpoints), "every exchange gives its endpoint back"
        assert one.values[UPSTREAM_OPEN] == 0


def answered(path, client, data=OK):
    """One exchange from end to end."""
    path.send(client, GET)
    path.send(path.origin(), data)


def post(size, sent=None):
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"c" * (
        size if sent is None else sent
    )


def test_a_connection_is_used_again(make):
    path = make()
    client = path.client()
    for _ in range(3):
        answered(path, client)
    assert len(path.dials.transports) == 1
    assert path.sent().count(b"GET / HTTP/1.1\r\n") == 3
    assert client.transport.outgoing.count(b"200 OK") == 3


@pytest.mark.parametrize("end", ["end", "reset"])
@pytest.mark.parametrize("content", [0, 10, MAX_REPLAY])
def test_a_stale_connection_costs_one_retry(make, end, content):
    path = make()
    client = path.client()
    answered(path, client)
    path.send(client, post(content))
    stale = path.origin()
    if end == "end":
        path.send(stale, b"")
    else:
        stale.transport.broken = TransportError("econnreset", 104, "read")
        stale.on_readable()
    assert len(path.dials.transports) == 2
    assert path.sent().endswith(b"\r\n\r\n" + b"c" * content)
    assert path.values[RETRIED_FIRST + REUSED] == 1
    path.send(path.origin(), b"")  # a fresh one that closes is no accident
    assert client.transport.outgoing.count(b"HTTP/1.1 502") == 1
    assert path.values[GATEWAY_CLOSED] == 1


def test_content_beyond_what_is_kept_is_not_repeated(make):
    path = make()
    client = path.client()
    answered(path, client)
    path.send(client, post(MAX_REPLAY + 1))
    path.send(path.origin(), b"")
    assert len(path.dials.transports) == 1
    assert b"502 Bad Gateway" in client.transport.outgoing


def test_content_that_is_still_coming_goes_to_the_new_connection(make):
    path = make()
    client = path.client()
    answered(path, client)
    path.send(client, post(10, sent=4))
    path.dials.hold = True
    path.send(path.origin(), b"")
    path.send(client, b"c" * 3)
    path.dials.release()
    path.send(client, b"c" * 3)
    assert path.sent().endswith(b"\r\n\r\n" + b"c" * 10)
    path.send(path.origin(), OK)
    assert client.transport.outgoing.endswith(b"ok")


def test_an_answer_that_has_begun_is_not_asked_for_again(make):
    path = make()
    client = path.client()
    answered(path, client)
    path.send(client, GET)
    stale = path.origin()
    path.send(stale, b"HTTP/1.1 2")
    path.send(stale, b"")
    assert len(path.dials.transports) == 1
    assert path.values[GATEWAY_PROTOCOL] == 1


def test_an_interim_answer_is_an_answer(make):
    path = make()
    client = path.client()
    answered(path, client)
    path.send(client, GET)
    stale = path.origin()
    path.send(stale, b"HTTP/1.1 103 Early Hints\r\n\r\n")
    path.send(stale, b"")
    assert len(path.dials.transports) == 1
    assert b"502" in client.transport.outgoing


def test_failed_dials_go_round_all_endpoints_once(make):
    path = make(endpoints=3)
    path.dials.refuse = {endpoint.url for endpoint in path.endpoints}
    client = path.client()
    path.send(client, GET)
    assert sorted(path.dials.dialled) == sorted(path.dials.refuse), "none is asked twice"
    assert path.values[GATEWAY_CONNECT] == 1
    exchange = path.seen.exchanges[0]
    assert (exchange.status, exchange.reason, exchange.retries) == (502, "connect", 2)
    assert b"10.0.0" not in client.transport.outgoing


def test_dials_for_one_request_are_bounded(make):
    path = make(endpoints=ATTEMPTS + 2)
    path.dials.refuse = {endpoint.url for endpoint in path.endpoints}
    path.send(path.client(), GET)
    assert len(path.dials.dialled) == ATTEMPTS


def test_a_failed_dial_goes_on_with_an_idle_connection_and_the_content(make):
    path = make(endpoints=2)
    first = path.client()
    answered(path, first)
    idle = next(endpoint for endpoint in path.endpoints if endpoint.pool.idle)
    other = next(endpoint for endpoint in path.endpoints if not endpoint.pool.idle)
    path.dials.refuse = {other.url}
    client = path.client()
    path.send(client, post(5))
    assert path.sent().endswith(b"\r\n\r\nccccc"), "content waits for nobody"
    assert path.active[path.endpoints.index(idle)] == 1
    path.send(path.origin(), OK)
    assert client.transport.outgoing.endswith(b"ok")
    assert "another endpoint was asked" in path.seen.exchanges[-1].detail


def warm(path):
    """Leave an idle connection with each endpoint."""
    for _ in path.endpoints:
        answered(path, path.client())
    assert [len(endpoint.pool.idle) for endpoint in path.endpoints] == [1] * len(path.endpoints)


def written(path):
    return sum(transport.outgoing.count(b"POST / HTTP/1.1\r\n") for transport in path.dials.transports)


def test_a_request_is_written_twice_at_most(make):
    """Its repetition goes out on a fresh connection or not at all: idle ones of other endpoints may be stale too."""
    path = make(endpoints=3)
    warm(path)
    client = path.client()
    path.send(client, post(5))
    stale = next(
        connection
        for endpoint in path.endpoints
        for connection in endpoint.connections
        if connection.uses == 2
    )
    path.dials.refuse = {stale.address}
    path.send(stale, b"")
    assert written(path) == 2
    assert path.sent().endswith(b"\r\n\r\nccccc")
    assert sum(len(endpoint.pool.idle) for endpoint in path.endpoints) == 2
    path.send(path.origin(), b"")
    assert client.transport.outgoing.startswith(b"HTTP/1.1 502 ")
    assert written(path) == 2
    assert path.values[RETRIED_FIRST + REUSED] == 1


def test_a_repetition_dials_no_more_than_any_request(make):
    path = make(endpoints=ATTEMPTS + 2)
    warm(path)
    path.dials.refuse = {endpoint.url for endpoint in path.endpoints}
    dialled = len(path.dials.dialled)
    client = path.client()
    path.send(client, post(5))
    stale = next(
        connection
        for endpoint in path.endpoints
        for connection in endpoint.connections
        if connection.uses == 2
    )
    path.send(stale, b"")
    assert len(path.dials.dialled) - dialled == ATTEMPTS
    assert written(path) == 1
    assert path.values[GATEWAY_CONNECT] == 1
    assert path.seen.exchanges[-1].retries == ATTEMPTS


def test_a_spare_connection_may_be_stale_as_well(make):
    """Nobody ever used it, but it lay idle: what ends it may have been under way before the request was."""
    path = make()
    path.dials.hold = True
    left = path.client()
    path.send(left, GET)
    left.close()
    path.dials.release()
    path.dials.hold = False
    client = path.client()
    path.send(client, post(5))
    path.send(path.origin(), b"")
    assert path.values[RETRIED_FIRST + REUSED] == 1
    path.send(path.origin(), OK)
    assert client.transport.outgoing.endswith(b"ok")


def test_a_silent_origin_is_given_up(make):
    path = make()
    client = path.client()
    path.send(client, GET)
    path.pass_time(59)
    assert client.transport.outgoing == b""
    path.pass_time(2)
    assert b"504 Gateway Timeout" in client.transport.outgoing
    assert path.values[GATEWAY_HEAD_TIMEOUT] == 1
    assert path.origin() is None


def test_a_client_that_leaves_closes_its_upstream(make):
    path = make()
    client = path.client()
    path.send(client, GET)
    client.transport.broken = TransportError("econnreset", 104, "read")
    client.on_readable()
    assert path.origin() is None
    assert path.active == [0]


def test_a_client_that_leaves_while_dialling_leaves_a_spare_connection(make):
    path = make()
    path.dials.hold = True
    client = path.client()
    path.send(client, GET)
    client.close()
    path.dials.release()
    assert len(path.endpoints[0].pool.idle) == 1
    path.dials.hold = False
    answered(path, path.client())
    assert len(path.dials.transports) == 1


def test_spare_connections_are_bounded(make):
    path = make()
    path.dials.hold = True
    for _ in range(MAX_IDLE + 5):
        client = path.client()
        path.send(client, GET)
        client.close()
    path.dials.release()
    assert len(path.endpoints[0].pool.idle) == MAX_IDLE
    assert path.values[UPSTREAM_OPEN] == MAX_IDLE


def test_an_early_answer_closes_the_upstream_and_reads_the_rest_away(make):
    path = make()
    client = path.client()
    path.send(client, post(100, sent=10))
    path.send(path.origin(), b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n")
    assert b"413 Large" in client.transport.outgoing
    assert path.origin() is None
    path.send(client, b"c" * 90)
    answered(path, client)
    assert client.transport.outgoing.endswith(b"ok")


def test_a_slow_client_stops_the_origin_and_wakes_it_again(make):
    path = make()
    client = path.client()
    client.transport.take = 100
    path.send(client, GET)
    origin = path.origin()
    path.send(origin, b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n" + b"x" * 1000)
    assert not origin.reading
    held = client.unsent
    origin.on_readable()  # a hang-up while nobody reads: parked, not read
    assert client.unsent == held
    client.transport.take = 1 << 20
    client.on_writable()
    assert origin.reading
    path.send(origin, b"x" * 2000)
    assert client.transport.outgoing.endswith(b"x" * 3000)


def test_a_slow_origin_stops_the_client_and_wakes_it_again(make):
    path = make()
    client = path.client()
    path.send(client, post(5000, sent=10))
    origin = path.origin()
    origin.transport.take = 100
    path.send(client, b"c" * 990)
    path.send(client, b"c" * 1000)
    assert not client.reading
    assert origin.unsent < 3000
    origin.transport.take = 1 << 20
    origin.on_writable()
    assert client.reading
    path.send(client, b"c" * 3000)
    assert path.sent().endswith(b"\r\n\r\n" + b"c" * 5000)


def test_an_idle_connection_that_its_origin_ends_is_dropped(make):
    path = make()
    answered(path, path.client())
    path.send(path.origin(), b"")
    assert path.endpoints[0].pool.idle == []
    answered(path, path.client())
    assert len(path.dials.transports) == 2


def test_what_comes_unasked_for_spoils_a_connection(make):
    """Bytes behind an answer are nobody's answer: the next request must not get them."""
    path = make()
    client = path.client()
    answered(path, client, OK + OK)
    assert client.transport.outgoing.count(b"200 OK") == 1
    assert path.origin() is None


def test_trailers_may_not_carry_identity_or_routing(make):
    path = make()
    client = path.client()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n"
    path.send(
        client, head + b"X-Forwarded-For: 6.6.6.6\r\nAuthorization: y\r\nConnection: x\r\nX-Sum: 1\r\n\r\n"
    )
    assert path.sent().endswith(b"0\r\nX-Sum: 1\r\n\r\n")
    path.send(path.origin(), OK)
    assert client.transport.outgoing.endswith(b"ok")


def test_trailers_may_not_undo_the_edits_of_the_route(make):
    path = make(
        request_edits=FieldEdits({"X-User": "ours"}, ["X-Secret"], request=True),
        response_edits=FieldEdits({"X-Route": "ours"}, ["X-Powered-By"]),
    )
    client = path.client()
    chunked = b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
    path.send(
        client,
        b"POST / HTTP/1.1\r\nHost: x\r\n"
        + chunked
        + b"X_User: 6\r\nx-user: 6\r\nX-Secret: 6\r\nX-Sum: 1\r\n\r\n",
    )
    assert path.sent().endswith(b"0\r\nX-Sum: 1\r\n\r\n")
    path.send(
        path.origin(),
        b"HTTP/1.1 200 OK\r\n" + chunked + b"X-Route: 6\r\nX-Powered-By: x\r\nX-Sum: 2\r\nVia: x\r\n\r\n",
    )
    assert client.transport.outgoing.endswith(b"0\r\nX-Sum: 2\r\n\r\n")
    assert b"6" not in client.transport.outgoing.partition(b"\r\n\r\n")[2]


def test_more_dials_than_may_be_under_way(make):
    path = make()
    path.dials.hold = True
    path.endpoints[0].dialling = MAX_DIALLING - 1
    last, beyond = path.client(), path.client()
    path.send(last, GET)
    path.send(beyond, GET)
    assert beyond.transport.outgoing.startswith(b"HTTP/1.1 503 ")
    assert path.values[GATEWAY_UNAVAILABLE] == 1
    path.dials.release()
    path.send(path.origin(), OK)
    assert last.transport.outgoing.endswith(b"ok")


def refused(path):
    path.dials.refuse = {path.endpoints[0].url}


def too_slow_to_reach(path):
    path.dials.error = TransportError("timeout", 110, "10.0.0.0 did not answer")


def too_many_dials(path):
    path.endpoints[0].dialling = MAX_DIALLING


def silent(path):
    path.pass_time(61)


def broken(path):
    path.send(path.origin(), b"SSH-2.0-x\r\n\r\n")


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        (refused, None, 502),
        (too_slow_to_reach, None, 504),
        (too_many_dials, None, 503),
        (None, silent, 504),
        (None, broken, 502),
    ],
)
def test_answers_of_our_own_have_the_routes_edits(make, before, after, status):
    path = make(response_edits=FieldEdits({"X-Frame-Options": "DENY"}, ["content-type"]))
    client = path.client()
    if before is not None:
        before(path)
    path.send(client, GET)
    if after is not None:
        after(path)
    head = client.transport.outgoing.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nX-Frame-Options: DENY" in head
    assert b"content-type" not in head.lower()


@pytest.mark.parametrize(
    ("status", "kept"),
    [(b"426 Upgrade Required", b"\r\nUpgrade: t/2, u\r\nConnection: upgrade\r\n"), (b"200 OK", b"")],
)
def test_rfc9110_15_5_22_an_answer_that_requires_an_upgrade_says_which(make, status, kept):
    path = make()
    client = path.client()
    lines = b"Upgrade: t/2\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\nUpgrade: u\r\nContent-Length: 2"
    answered(path, client, b"HTTP/1.1 %b\r\n%b%b\r\n\r\nok" % (status, DATE, lines))
    head, _, body = client.transport.outgoing.partition(b"\r\n\r\n")
    assert head + b"\r\n" == b"HTTP/1.1 %b\r\n%bContent-Length: 2" % (status, DATE) + (kept or b"\r\n")
    assert body == b"ok"
    answered(path, client)
    assert client.transport.outgoing.endswith(b"ok" + OK), "the connection goes on"


@pytest.mark.parametrize("length", [b"Transfer-Encoding: chunked", b"Content-Length: 2"])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_rfc9110_6_5_who_gets_no_trailers_is_promised_none(make, version, length):
    path = make()
    client = path.client()
    path.send(client, b"GET / HTTP/%b\r\nHost: x\r\nConnection: keep-alive\r\n\r\n" % version)
    content = b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n" if length.endswith(b"chunked") else b"ok"
    path.send(path.origin(), b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\n%b\r\n\r\n%b" % (length, content))
    head, _, content = client.transport.outgoing.partition(b"\r\n\r\n")
    assert (b"\r\nTrailer: X-Sum" in head) == (version == b"1.1")
    assert (b"X-Sum: 1" in content) == (version == b"1.1" and length.endswith(b"chunked"))
    assert b"ok" in content


@pytest.mark.parametrize("status", [b"204 No Content", b"103 Early Hints"])
def test_rfc9110_8_6_a_length_that_may_not_be_there_goes_and_the_answer_comes(make, status):
    path = make()
    client = path.client()
    path.send(client, GET)
    path.send(path.origin(), b"HTTP/1.1 %b\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
    head = client.transport.outgoing
    assert head.startswith(b"HTTP/1.1 %b\r\n" % status)
    assert b"Content-Length" not in head


# -- Alt-Svc (RFC 7838)

ELSEWHERE = b'Alt-Svc: h3=":9"; ma=60\r\n'
OURS = b'h3=":443"; ma=86400'


def advertised(path, data, alt_svc):
    """Return what a client sees when its origin answers with `data`."""
    client = path.client()
    client.context.alt_svc = alt_svc
    answered(path, client, data)
    return client.transport.outgoing


@pytest.mark.parametrize("alt_svc", [b"", OURS])
def test_rfc7838_2_an_origins_alternatives_are_not_the_gates(make, alt_svc):
    data = OK.replace(DATE, DATE + ELSEWHERE)
    seen = advertised(make(), data, alt_svc)
    assert b":9" not in seen
    assert seen.count(b"Alt-Svc: " + OURS) == bool(alt_svc)


def test_an_interim_answer_brings_no_alternatives_of_the_origin(make):
    data = b"HTTP/1.1 103 Early Hints\r\n" + ELSEWHERE + b"Link: </a>\r\n\r\n" + OK
    seen = advertised(make(), data, b"")
    assert b"103" in seen
    assert b":9" not in seen


@pytest.mark.parametrize(
    ("edits", "lines"),
    [
        (FieldEdits({}, ["Alt-Svc"]), []),
        (FieldEdits({"Alt-Svc": "clear"}), [b"Alt-Svc: clear"]),
    ],
    ids=["removed", "cleared"],
)
def test_a_route_decides_about_alt_svc_last(make, edits, lines):
    seen = advertised(make(response_edits=edits), OK, OURS)
    assert [line for line in seen.split(b"\r\n") if line.lower().startswith(b"alt-svc")] == lines
