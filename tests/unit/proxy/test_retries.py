"""Retries between two ends in memory: what is sent again, what never is, and what it costs to decide.

The origins record all that they are sent. For every method and every point at which an endpoint can fail, the request
is sent as often as is safe and no oftener.
"""

import pytest
from tests.unit.proxy.data_path import DataPath, Dials

from headgate.counters import (
    ENDPOINT_RESTED,
    GATEWAY_CONNECT_TIMEOUT,
    GATEWAY_HEAD_TIMEOUT,
    GATEWAY_TOTAL_TIMEOUT,
    HELD_REPLAY,
    NOT_RETRIED_BUDGET,
    NOT_RETRIED_CONTENT,
    NOT_RETRIED_METHOD,
    NOT_RETRIED_NOBODY,
    RETRIED_FIRST,
    UPSTREAM_OPEN,
)
from headgate.errors import TransportError
from headgate.http.date import format_date
from headgate.proxy.attempt import MAX_READ_AWAY, MAX_REPLAY, MAX_REPLAY_TOTAL
from headgate.upstream.outliers import OutlierRules, Outliers
from headgate.upstream.retries import (
    CLOSED,
    CONNECT,
    IDEMPOTENT,
    INVALID,
    MAX_REST,
    REUSED,
    STATUS,
    TIMEOUT,
    UNTOUCHED,
    WINDOW,
    Retries,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
RESET = TransportError("econnreset", 104, "read")
NO_CLOSE_NOTIFY = TransportError("eof-without-close-notify", 0, "TLS read")
ALL = frozenset((CONNECT, CLOSED, TIMEOUT, INVALID))
METHODS = (b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE", b"POST", b"PATCH", b"MKCOL", b"X-OWN")


@pytest.fixture
def make():
    made = []

    def path(endpoints=2, upstream=None, **settings):
        rules = {"retries": Retries(on=ALL, statuses=frozenset((429, 503)), now=1000.0)}
        made.append(DataPath(endpoints, upstream={**rules, **(upstream or {})}, **settings))
        return made[-1]

    yield path
    for one in made:
        one.close()
        assert one.seen.crashes == []
        assert one.active == [0] * len(one.endpoints), "every exchange gives its endpoint back"
        assert one.values[UPSTREAM_OPEN] == 0
        assert one.values[HELD_REPLAY] == 0
        assert one.upstream.deadlines is None or len(one.upstream.deadlines) == 0


def request_(method, content=b"", sent=None):
    head = method + b" / HTTP/1.1\r\nHost: x\r\n"
    if content:
        head += b"Content-Length: %d\r\n" % len(content)
    return head + b"\r\n" + content[:sent]


def written(path, method):
    """How often the request line stands in what the origins got."""
    return sum(transport.outgoing.count(method + b" / HTTP/1.1\r\n") for transport in path.dials.transports)


def answer(path, method=b"GET", data=OK):
    """Let the endpoint that has the request now answer."""
    (busy,) = [
        connection
        for endpoint in path.endpoints
        for connection in endpoint.connections
        if connection.exchange is not None
    ]
    head_only = data.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    path.send(busy, head_only if method == b"HEAD" else data)


def break_off(connection, error=RESET):
    connection.transport.broken = error
    connection.on_readable()


# -- the points of failure; each returns how many times the request may have been written by then


def never_connected(path, send):
    path.dials.refuse = {path.endpoints[0].url}
    send()
    path.dials.refuse = set()
    return 0


def connects_but_takes_nothing(path, send):
    """The first octet that goes out meets a broken connection."""
    path.dials.hold = True
    send()
    path.dials.hold = False
    path.dials.broken = TransportError("epipe", 32, "write")
    path.dials.release()
    path.dials.broken = None


def dead_on_arrival(path, send):
    """Accepted and reset before an octet went out: the kernel refuses to write."""
    connects_but_takes_nothing(path, send)
    path.origin().on_readable()
    return 0


def spoke_before_it_was_asked(path, send):
    """What a keep-alive connection says on its own (a 408) is nobody's answer."""
    connects_but_takes_nothing(path, send)
    origin = path.origin()
    origin.transport.broken = None
    path.send(origin, b"HTTP/1.1 408 Late\r\nContent-Length: 0\r\n\r\n")
    return 0


def silent_end(path, send):
    send()
    path.send(path.origin(), b"")
    return 1


def reset(path, send):
    send()
    break_off(path.origin())
    return 1


def timeout(path, send):
    send()
    path.pass_time(61)
    return 1


def no_http(path, send):
    send()
    path.send(path.origin(), b"SSH-2.0-x\r\n\r\n")
    return 1


def half_a_head(path, send):
    send()
    path.send(path.origin(), b"HTTP/1.1 200 OK\r\nConte")
    path.send(path.origin(), b"")
    return 1


def busy(path, send):
    send()
    answer(path, path.method, BUSY)
    return 1


NOTHING_SENT = (never_connected, dead_on_arrival, spoke_before_it_was_asked)
THE_ORIGIN_HAD_IT = (silent_end, reset, timeout, no_http, half_a_head, busy)


@pytest.mark.parametrize("content", [b"", b"content"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fail", [*NOTHING_SENT, *THE_ORIGIN_HAD_IT])
def test_no_request_is_sent_twice_unless_it_is_safe(make, fail, method, content):
    path = make()
    path.method = method
    client = path.client()
    before = fail(path, lambda: path.send(client, request_(method, content)))
    assert written(path, method) >= before
    again = fail in NOTHING_SENT or method in IDEMPOTENT
    if again:
        assert written(path, method) == before + 1
        answer(path, method)
        assert client.transport.outgoing.startswith(b"HTTP/1.1 200 ")
        assert all(
            transport.outgoing.endswith(b"\r\n\r\n" + content)
            for transport in path.dials.transports
            if transport.outgoing
        ), "and all of it"
        assert path.seen.exchanges[0].retries == 1
    else:
        assert written(path, method) == before == 1
        assert client.transport.outgoing.startswith(b"HTTP/1.1 50")
        assert path.values[NOT_RETRIED_METHOD] == 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", [silent_end, reset])
def test_mid_request_only_what_is_idempotent_goes_elsewhere(make, end, method):
    """The client is still sending; what it sent goes to the other endpoint, and then the rest."""
    path = make()
    path.method = method
    client = path.client()
    end(path, lambda: path.send(client, request_(method, b"0123456789", sent=4)))
    path.send(client, b"456789")
    if method in IDEMPOTENT:
        assert written(path, method) == 2
        assert path.sent().endswith(b"\r\n\r\n0123456789")
        answer(path, method)
        assert client.transport.outgoing.startswith(b"HTTP/1.1 200 ")
    else:
        assert written(path, method) == 1
        assert client.transport.outgoing.startswith(b"HTTP/1.1 50")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", [b"", RESET])
def test_an_answer_that_was_passed_on_is_final(make, method, end):
    path = make()
    client = path.client()
    path.send(client, request_(method))
    origin = path.origin()
    path.send(origin, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin")
    if not origin.closed and origin.exchange is not None:
        path.send(origin, end) if end == b"" else break_off(origin, end)
    assert written(path, method) == 1
    assert client.transport.outgoing.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("content", [b"", b"content"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("end", [b"", RESET, NO_CLOSE_NOTIFY])
def test_a_reused_connection_that_was_closing_costs_one_repetition_of_any_method(make, method, content, end):
    path = make(endpoints=1)
    client = path.client()
    path.send(client, request_(b"GET"))
    answer(path)
    path.send(client, request_(method, content))
    stale = path.origin()
    path.send(stale, end) if end == b"" else break_off(stale, end)
    assert written(path, method) == (3 if method == b"GET" else 2)
    assert path.values[RETRIED_FIRST + REUSED] == 1
    path.send(path.origin(), b"")
    assert written(path, method) == (3 if method == b"GET" else 2), "there is nobody else to ask"
    assert client.transport.outgoing.count(b"HTTP/1.1 502") == 1


def test_a_reused_connection_that_answered_an_octet_is_not_repeated(make):
    path = make()
    client = path.client()
    path.send(client, request_(b"GET"))
    answer(path)
    path.send(path.client(), request_(b"GET"))
    answer(path)
    path.send(client, request_(b"POST"))
    (stale,) = [c for e in path.endpoints for c in e.connections if c.exchange is not None]
    path.send(stale, b"H")
    path.send(stale, b"")
    assert written(path, b"POST") == 1
    assert b"502" in client.transport.outgoing


def test_what_waits_for_the_end_of_a_round_does_not_go_out_when_its_connection_breaks(make):
    """The request was queued, not sent: it goes elsewhere, and must not go out here as well."""
    path = make(endpoints=1)
    client = path.client()
    path.send(client, request_(b"GET"))
    answer(path)
    path.poller.in_round = True
    path.send(client, request_(b"POST"))
    stale = path.origin()
    path.send(stale, b"")
    path.poller.in_round = False
    path.poller._end_round()
    assert written(path, b"POST") == 1
    assert stale.transport.outgoing.count(b"POST") == 0
    assert path.values[RETRIED_FIRST + UNTOUCHED] == 1
    answer(path, data=OK)
    assert client.transport.outgoing.endswith(b"ok")


class EarlyDials(Dials):
    """Dials that are done with the first octets."""

    async def connect(self, endpoint):
        transport = await Dials.connect(self, endpoint)
        transport.early = True
        return transport


def test_the_one_repetition_is_not_sent_early_again(make):
    """A road that loses what is sent with SYN loses it the second time too."""
    path = make(endpoints=1)
    early = EarlyDials()
    path.endpoints[0]._early = early
    client = path.client()
    path.send(client, request_(b"GET"))
    assert (len(early.dialled), len(path.dials.dialled)) == (1, 0)
    (lost,) = path.endpoints[0].connections
    break_off(lost)
    assert (len(early.dialled), len(path.dials.dialled)) == (1, 1)
    answer(path)
    assert client.transport.outgoing.endswith(b"ok")


def test_a_client_that_leaves_in_the_same_round_is_asked_for_nothing(make):
    path = make(endpoints=1)
    client = path.client()
    path.send(client, request_(b"GET"))
    answer(path)
    path.poller.in_round = True
    path.send(client, request_(b"POST"))
    client.close()
    path.poller.in_round = False
    path.poller._end_round()
    assert written(path, b"POST") == 0


# -- which failures, how often, and for whom


@pytest.mark.parametrize("fail", THE_ORIGIN_HAD_IT)
def test_only_failures_on_the_list_are_followed_by_another_try(make, fail):
    path = make(upstream={"retries": Retries(on=frozenset((CONNECT,)))})
    path.method = b"GET"
    client = path.client()
    fail(path, lambda: path.send(client, request_(b"GET")))
    assert written(path, b"GET") == 1
    assert client.transport.outgoing.startswith(b"HTTP/1.1 50")


@pytest.mark.parametrize(
    ("fail", "kind"),
    [
        (never_connected, CONNECT),
        (dead_on_arrival, UNTOUCHED),
        (reset, CLOSED),
        (timeout, TIMEOUT),
        (no_http, INVALID),
        (busy, STATUS),
    ],
)
def test_each_kind_is_counted(make, fail, kind):
    path = make()
    path.method = b"GET"
    client = path.client()
    fail(path, lambda: path.send(client, request_(b"GET")))
    assert [path.values[RETRIED_FIRST + one] for one in range(STATUS + 1)] == [
        int(one == kind) for one in range(STATUS + 1)
    ]
    answer(path)


@pytest.mark.parametrize("attempts", [1, 2, 4])
def test_each_endpoint_is_tried_once_and_no_more_than_so_many(make, attempts):
    path = make(endpoints=6, upstream={"retries": Retries(attempts=attempts, on=ALL)})
    client = path.client()
    path.send(client, request_(b"GET"))
    for _ in range(attempts):
        path.send(path.origin(), b"")
    assert written(path, b"GET") == attempts
    assert len(set(path.dials.dialled)) == attempts
    assert client.transport.outgoing.startswith(b"HTTP/1.1 502 ")
    assert path.seen.exchanges[0].retries == attempts - 1


def test_the_last_answer_is_passed_on_whatever_it_is(make):
    path = make(endpoints=2)
    client = path.client()
    path.send(client, request_(b"GET"))
    answer(path, data=BUSY)
    answer(path, data=BUSY.replace(b"busy", b"last"))
    assert client.transport.outgoing.startswith(b"HTTP/1.1 503 Busy\r\n")
    assert client.transport.outgoing.endswith(b"last")
    assert path.values[NOT_RETRIED_NOBODY] == 1


def test_content_beyond_what_is_kept_is_not_sent_again(make):
    path = make()
    client = path.client()
    path.send(client, request_(b"PUT", b"c" * (MAX_REPLAY + 1)))
    path.send(path.origin(), b"")
    assert written(path, b"PUT") == 1
    assert client.transport.outgoing.startswith(b"HTTP/1.1 502 ")
    assert path.values[NOT_RETRIED_CONTENT] == 1


def test_content_at_the_limit_is_kept_until_the_answer_and_no_longer(make):
    path = make()
    client = path.client()
    path.send(client, request_(b"PUT", b"c" * MAX_REPLAY))
    assert path.values[HELD_REPLAY] == MAX_REPLAY
    path.send(path.origin(), b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    assert path.values[HELD_REPLAY] == 0
    client.close()


def test_content_of_all_requests_is_kept_up_to_a_bound(make):
    path = make()
    path.values[HELD_REPLAY] = MAX_REPLAY_TOTAL - 10
    fits, beyond = path.client(), path.client()
    path.send(fits, request_(b"PUT", b"c" * 10))
    path.send(beyond, request_(b"PUT", b"c"))
    path.send(path.origin(1), b"")
    assert beyond.transport.outgoing.startswith(b"HTTP/1.1 502 ")
    path.send(path.origin(0), b"")
    assert written(path, b"PUT") == 3
    answer(path)
    assert fits.transport.outgoing.endswith(b"ok")
    path.values[HELD_REPLAY] -= MAX_REPLAY_TOTAL - 10


def test_an_endpoint_with_too_many_dials_is_passed_over(make):
    path = make()
    path.endpoints[0].dialling = path.endpoints[1].dialling = 1 << 20
    client = path.client()
    path.send(client, request_(b"POST"))
    assert client.transport.outgoing.startswith(b"HTTP/1.1 503 ")
    assert path.values[RETRIED_FIRST + CONNECT] == 1


# -- answers that are not passed on


@pytest.mark.parametrize("size", [0, 4, MAX_READ_AWAY])
def test_an_answer_that_is_not_passed_on_leaves_its_connection(make, size):
    path = make()
    client = path.client()
    path.send(client, request_(b"GET"))
    first = path.origin()
    path.send(first, b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % size)
    if size:
        path.send(first, b"b" * size)
    assert not first.closed
    assert first.pooled
    answer(path)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 503 Busy\r\nContent-Length: %d\r\n\r\n" % (MAX_READ_AWAY + 1),
        b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbusy\r\n0\r\n\r\n",
        b"HTTP/1.1 503 Busy\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_one_that_is_too_long_closes_it(make, data):
    path = make()
    client = path.client()
    path.send(client, request_(b"GET"))
    first = path.origin()
    path.send(first, data)
    assert first.closed
    answer(path)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("end", [b"", b"bus", None])
def test_one_that_is_never_complete_is_nobodys_trouble(make, end):
    path = make()
    client = path.client()
    path.send(client, request_(b"GET"))
    first = path.origin()
    path.send(first, b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\n")
    answer(path)
    if end is None:
        break_off(first)
    else:
        path.send(first, end)
    path.pass_time(61)
    assert first.closed
    assert client.transport.outgoing.endswith(b"ok")
    assert client.transport.outgoing.count(b"HTTP/1.1") == 1


def test_an_answer_before_the_content_is_complete_closes_its_connection(make):
    path = make()
    client = path.client()
    path.send(client, request_(b"PUT", b"0123456789", sent=4))
    first = path.origin()
    path.send(first, BUSY)
    assert first.closed
    path.send(client, b"456789")
    assert path.sent().endswith(b"\r\n\r\n0123456789")
    answer(path)
    assert client.transport.outgoing.endswith(b"ok")


def test_interim_answers_of_a_try_do_not_bind_the_client(make):
    path = make()
    client = path.client()
    path.send(client, request_(b"GET"))
    path.send(path.origin(), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + BUSY)
    answer(path)
    assert client.transport.outgoing.endswith(b"ok")
    assert b"503" not in client.transport.outgoing


# -- Retry-After


def resting(make, endpoints=3):
    path = make(endpoints=endpoints)
    path.outliers = Outliers(path.upstream, OutlierRules(), path.tell, path.values, path.poller)
    return path


def urls_of(path, count):
    """Have `count` requests answered; return who answered."""
    seen = []
    for _ in range(count):
        client = path.client()
        path.send(client, request_(b"GET"))
        answer(path)
        seen.append(path.seen.exchanges[-1].endpoint)
    return seen


@pytest.mark.parametrize("status", [b"429", b"503"])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_rfc9110_10_2_3_an_endpoint_is_left_alone_for_as_long_as_it_asks(make, status, method):
    path = resting(make)
    client = path.client()
    path.send(client, request_(method))
    url = client.exchange.endpoint
    wish = b"HTTP/1.1 %b Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n" % status
    answer(path, data=wish)
    if method == b"GET":
        answer(path)
    assert url not in urls_of(path, 9)
    path.poller.now += 29
    path.outliers.sweep(path.poller.now)
    assert url not in urls_of(path, 9)
    path.poller.now += 2
    path.outliers.sweep(path.poller.now)
    assert url in urls_of(path, 9)
    assert path.values[ENDPOINT_RESTED] == 1
    (told,) = [fields for name, fields in path.told if name == "endpoint-rests"]
    assert told["next"] == "it gets no requests for 30 s, as it asked with Retry-After"


def test_retry_after_is_granted_up_to_a_bound(make):
    path = resting(make)
    client = path.client()
    path.send(client, request_(b"GET"))
    url = client.exchange.endpoint
    answer(path, data=b"HTTP/1.1 503 Busy\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n")
    answer(path)
    path.poller.now += MAX_REST + 1
    path.outliers.sweep(path.poller.now)
    assert url in urls_of(path, 9)


@pytest.mark.parametrize("wish", [b"0", b"soon", b"", format_date(0)])
def test_retry_after_without_a_time_is_no_wish(make, wish):
    path = resting(make)
    path.send(path.client(), request_(b"GET"))
    answer(path, data=b"HTTP/1.1 503 Busy\r\nRetry-After: %b\r\nContent-Length: 0\r\n\r\n" % wish)
    answer(path)
    assert len(set(urls_of(path, 9))) == 3


def test_where_nobody_else_is_up_an_endpoint_is_asked_on(make):
    path = resting(make, endpoints=1)
    for _ in range(3):
        client = path.client()
        path.send(client, request_(b"GET"))
        answer(path, data=b"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n")
        assert b"Retry-After: 30" in client.transport.outgoing, "the client hears of it"
    assert path.values[ENDPOINT_RESTED] == 0


def test_all_that_rest_but_one_leave_that_one(make):
    path = resting(make)
    client = path.client()
    path.send(client, request_(b"GET"))
    for _ in range(3):
        answer(path, data=b"HTTP/1.1 503 Busy\r\nRetry-After: 30\r\nContent-Length: 0\r\n\r\n")
    assert client.transport.outgoing.startswith(b"HTTP/1.1 503")
    assert path.values[ENDPOINT_RESTED] == 2
    assert len(set(urls_of(path, 5))) == 1


# -- budget and time


def test_an_outage_is_not_made_worse(make):
    """Everything fails, for a long time: what the origins get beyond the requests is the budget's share."""
    path = make(endpoints=3, upstream={"retries": Retries(on=ALL, share=0.2, floor=0.0, now=1000.0)})
    requests = 500
    for _ in range(requests):
        client = path.client()
        path.send(client, request_(b"GET"))
        while client.exchange is not None:
            (busy_one,) = [c for e in path.endpoints for c in e.connections if c.exchange is not None]
            path.send(busy_one, b"")
        path.poller.now += 0.1
        client.close()
    assert 0.15 * requests < written(path, b"GET") - requests <= 0.2 * requests
    assert path.values[NOT_RETRIED_BUDGET] > 0


def test_failures_to_connect_cost_no_budget(make):
    path = make(upstream={"retries": Retries(on=ALL, share=0.0, floor=0.0)})
    path.dials.refuse = {path.endpoints[0].url}
    for _ in range(50):
        client = path.client()
        path.send(client, request_(b"POST"))
        answer(path)
        assert client.transport.outgoing.endswith(b"ok")
        for endpoint in path.endpoints:
            for connection in list(endpoint.connections):
                connection.close()


def test_the_floor_holds_where_there_is_little_traffic(make):
    path = make(upstream={"retries": Retries(on=ALL, share=0.0, floor=1.0, now=1000.0)})
    for _ in range(int(WINDOW) + 1):
        path.send(path.client(), request_(b"GET"))
        path.send(path.origin(), b"")
        if path.values[NOT_RETRIED_BUDGET] == 0:
            answer(path)
    assert path.values[RETRIED_FIRST + CLOSED] == WINDOW
    assert path.values[NOT_RETRIED_BUDGET] == 1


def test_one_try_has_its_time(make):
    path = make(upstream={"try_timeout": 2.0})
    client = path.client()
    path.send(client, request_(b"GET"))
    path.pass_time(1.9)
    assert written(path, b"GET") == 1
    path.pass_time(0.2)
    assert written(path, b"GET") == 2
    path.pass_time(2.1)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 504 ")
    assert path.values[GATEWAY_HEAD_TIMEOUT] == 1
    assert path.seen.exchanges[0].reason == "upstream-timeout"


def test_dialling_is_part_of_a_try(make):
    path = make(endpoints=1, upstream={"try_timeout": 2.0})
    path.dials.hold = True
    client = path.client()
    path.send(client, request_(b"GET"))
    path.pass_time(1.5)
    path.dials.release()
    path.pass_time(0.6)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 504 ")


def test_the_time_of_a_try_does_not_run_while_the_client_sends(make):
    path = make(endpoints=1, upstream={"try_timeout": 2.0}, body_idle=30.0)
    client = path.client()
    path.send(client, request_(b"PUT", b"0123456789", sent=4))
    path.pass_time(20)
    path.send(client, b"456789")
    path.pass_time(1.9)
    assert client.transport.outgoing == b""
    path.pass_time(0.2)
    assert client.transport.outgoing.startswith(b"HTTP/1.1 504 ")


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("dialling", [False, True])
def test_all_tries_together_have_their_time(make, method, dialling):
    path = make(endpoints=3, upstream={"try_timeout": 2.0, "total_timeout": 5.0})
    client = path.client()
    path.send(client, request_(method))
    if method == b"GET":
        path.pass_time(2.1)
        path.dials.hold = dialling
        path.pass_time(2.1)
        path.pass_time(1.0)
        assert client.transport.outgoing.startswith(b"HTTP/1.1 504 ")
        assert path.values[GATEWAY_TOTAL_TIMEOUT] == 1
        exchange = path.seen.exchanges[0]
        assert exchange.reason == "total-timeout"
        assert exchange.detail.endswith("was the last of 3 tries")
        path.dials.release()
        assert all(endpoint.active == 0 for endpoint in path.endpoints)
    else:
        path.pass_time(2.1)
        assert path.values[GATEWAY_HEAD_TIMEOUT] == 1


def test_the_time_of_all_tries_ends_with_the_head_of_an_answer(make):
    path = make(upstream={"total_timeout": 5.0})
    client = path.client()
    path.send(client, request_(b"GET"))
    path.pass_time(4.0)
    path.send(path.origin(), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    path.pass_time(30.0)
    path.send(path.origin(), b"ok")
    assert client.transport.outgoing.endswith(b"ok")
    path.send(client, request_(b"GET"))
    path.pass_time(4.0)
    client.close()
    path.pass_time(4.0)
    assert path.values[GATEWAY_TOTAL_TIMEOUT] == 0


def test_slow_dials_are_tries(make):
    path = make()
    path.dials.error = TransportError("timeout", 110, "slow")
    client = path.client()
    path.send(client, request_(b"POST"))
    assert len(path.dials.dialled) == 2
    assert path.values[GATEWAY_CONNECT_TIMEOUT] == 1
    assert client.transport.outgoing.startswith(b"HTTP/1.1 504 ")


# -- nothing stays behind


def test_after_a_storm_everything_is_what_it_was(make):
    path = make(endpoints=5, upstream={"total_timeout": 300.0})
    storms = [*NOTHING_SENT, *THE_ORIGIN_HAD_IT]
    for number in range(400):
        path.method = METHODS[number % len(METHODS)]
        client = path.client()
        content = b"" if number % 3 else b"c" * (number * 100)
        for endpoint in path.endpoints:  # everybody fresh: the points of failure are of the newest connection
            for connection in list(endpoint.connections):
                connection.close()
        path.dials.refuse = set()
        storms[number % len(storms)](path, lambda c=client, b=content: path.send(c, request_(path.method, b)))
        if number % 4 == 0:
            client.close()
        elif client.exchange is not None:
            answer(path, path.method)
        client.close()
    assert [endpoint.dialling for endpoint in path.endpoints] == [0] * 5
    assert path.active == [0] * 5
    assert path.values[HELD_REPLAY] == 0
    assert len(path.upstream.deadlines) == 0
