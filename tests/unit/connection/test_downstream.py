"""The downstream driver on a transport in memory: its phases, deadlines, backpressure and ends."""

import time
from email.utils import parsedate_to_datetime

import pytest

from headgate.build_info import is_compiled
from headgate.connection.accepted import ProtocolHost
from headgate.connection.context import ConnectionContext
from headgate.connection.downstream import (
    HTTP,
    LINGER,
    LINGER_SECONDS,
    DownstreamConnection,
)
from headgate.connection.exchange import Handler
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.connection.stream_driver import DEFER_MAX
from headgate.counters import (
    ABORTED_DOWNSTREAM,
    ABORTED_UPSTREAM,
    DOWNSTREAM_WRITTEN,
    REFUSED_BODY,
    REFUSED_HEAD,
    REFUSED_MALFORMED,
    SIZE,
    TIMEOUT_BODY,
    TIMEOUT_HEAD,
    TIMEOUT_KEEP_ALIVE,
    TIMEOUT_WRITE,
)
from headgate.engine.events import UNKNOWN_LENGTH, Response
from headgate.errors import TransportError
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.testing.memory import MemoryTransport

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Recorder(DownstreamObserver):
    def __init__(self):
        self.exchanges = []
        self.sizes = []
        self.failures = []
        self.closed = 0
        self.crashes = []

    def exchange_over(self, exchange, now):
        self.exchanges.append((exchange.request.target, exchange.status, exchange.reason))
        self.sizes.append(exchange.bytes_out)

    def connection_failed(self, context, reason, detail):
        self.failures.append(reason)

    def connection_closed(self, connection):
        self.closed += 1

    def crashed(self, where, error):
        self.crashes.append(error)


class Script(Handler):
    """Keeps what comes; answers only when the test does."""

    def __init__(self):
        self.exchanges = []
        self.content = b""
        self.ends = 0
        self.drained = 0
        self.closed = 0
        self.accepting = True

    def handle(self, exchange):
        exchange.accepting = self.accepting
        self.exchanges.append(exchange)

    def request_data(self, exchange, data):
        self.content += data

    def request_end(self, exchange, trailers):
        self.ends += 1

    def downstream_drained(self, exchange):
        self.drained += 1

    def downstream_closed(self, exchange):
        self.closed += 1


class Client:
    """A connection with a client in memory."""

    def __init__(self, **settings):
        self.poller = Poller()
        self.poller.now = 1000.0
        self.transport = MemoryTransport()
        self.handler = Script()
        self.seen = Recorder()
        self.values = [0] * SIZE
        peer = Forwarder(Networks(())).connection(b"192.0.2.1", b"http", 80)
        self.driver = DownstreamConnection(
            self.transport,
            self.poller,
            self.handler,
            self.seen,
            ConnectionSettings(**settings),
            self.values,
            ConnectionContext("test", "192.0.2.1", 4000, b"http", peer),
        )
        self.driver.start(secure=False)

    def send(self, data):
        self.transport.incoming.append(data)
        self.driver.on_readable()

    def pass_time(self, seconds):
        self.poller.now += seconds
        if self.poller.now >= self.driver.deadline:
            self.driver.on_deadline(self.poller.now)

    def answer(self, body=b"ok", size=None):
        exchange = self.handler.exchanges[-1]
        size = len(body) if size is None else size
        self.driver.respond(Response(200, b"OK", 11, Fields([], []), size))
        self.driver.write(body)
        if size in (len(body), UNKNOWN_LENGTH):
            self.driver.finish(None)
        exchange.handler = None
        return self.driver.flush()

    @property
    def status(self):
        return self.transport.outgoing[9:12]

    def close(self):
        self.driver.close()
        self.poller.close()


@pytest.fixture
def make():
    made = []

    def client(**settings):
        made.append(Client(**settings))
        return made[-1]

    yield client
    for one in made:
        one.close()
        assert one.seen.crashes == []
        assert one.seen.closed == 1, "its place is given back exactly once"


def test_a_request_and_the_next(make):
    client = make()
    for _ in range(2):
        client.send(GET)
        assert client.answer()
        assert client.transport.outgoing.endswith(b"\r\n\r\nok")
        assert client.driver.phase == HTTP
    assert [status for _, status, _ in client.seen.exchanges] == [200, 200]


def test_a_head_in_pieces_has_one_clock(make):
    client = make(head=10.0)
    client.send(GET[:5])
    client.pass_time(6)
    client.send(GET[5:9])
    client.pass_time(5)
    assert client.status == b"408"
    assert client.values[TIMEOUT_HEAD] == 1
    assert client.driver.phase == LINGER


def test_a_silent_connection_is_closed_without_a_word(make):
    client = make(head=10.0)
    client.pass_time(10.5)
    assert client.transport.closed
    assert client.transport.outgoing == b""


def test_the_keep_alive_clock_ends_with_the_first_byte(make):
    client = make(keep_alive=60.0, head=10.0)
    client.send(GET)
    client.answer()
    client.pass_time(59)
    client.send(b"G")
    client.pass_time(9)
    assert not client.transport.closed
    client.pass_time(2)
    assert client.values[TIMEOUT_HEAD] == 1
    assert client.values[TIMEOUT_KEEP_ALIVE] == 0


def test_an_idle_connection_is_closed(make):
    client = make(keep_alive=60.0)
    client.send(GET)
    client.answer()
    client.pass_time(60.5)
    assert client.transport.closed
    assert client.values[TIMEOUT_KEEP_ALIVE] == 1


def test_content_that_does_not_come(make):
    client = make(body_idle=30.0)
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    client.pass_time(29)
    client.send(b"c")
    client.pass_time(29)
    assert client.transport.outgoing == b""
    client.pass_time(2)
    assert client.status == b"408"
    assert client.values[TIMEOUT_BODY] == 1
    assert client.handler.closed == 1, "the upstream side is told"


def test_a_client_that_may_not_send_is_not_late(make):
    """The origin takes nothing: that is not the client's fault, and not answered with 408."""
    client = make(body_idle=30.0)
    client.handler.accepting = False
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd")
    assert not client.driver.reading
    client.pass_time(300)
    assert client.values[TIMEOUT_BODY] == 0
    exchange = client.handler.exchanges[0]
    exchange.accepting = True
    client.driver.resume()
    assert client.handler.content == b"abcd"
    assert client.handler.ends == 1


CHUNKS = b"4\r\nabcd\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 1\r\n\r\n"


@pytest.mark.parametrize("at", range(1, len(CHUNKS)))
def test_chunks_may_be_cut_anywhere(make, at):
    """RFC 9112 section 7.1: half of a chunk's size is no pipelined request, whose turn it is not yet."""
    client = make()
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(CHUNKS[:at])
    assert client.driver.reading
    client.send(CHUNKS[at:])
    assert (client.handler.content, client.handler.ends) == (b"abcd0123456789abcdef", 1)


@pytest.mark.parametrize(("size", "refused"), [(10, False), (11, True)])
@pytest.mark.parametrize("chunked", [False, True])
def test_content_at_its_limit(make, size, refused, chunked):
    client = make(max_body=10)
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % size
    client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n")
    client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size) if chunked else b"x" * size)
    assert client.values[REFUSED_BODY] == int(refused)
    assert (client.status == b"413") is refused
    assert client.handler.ends == int(not refused)


@pytest.mark.parametrize(("size", "refused"), [(200, False), (201, True)])
def test_a_head_at_its_limit(make, size, refused):
    client = make(max_head=200)
    start = b"GET / HTTP/1.1\r\nHost: x\r\nA: "
    client.send(start + b"a" * (size - len(start)) + b"\r\n\r\n")
    assert client.values[REFUSED_HEAD] == int(refused)
    assert len(client.handler.exchanges) == int(not refused)


def test_a_malformed_request_is_answered_and_lingered_on(make):
    client = make()
    client.send(b"GET / HTTP/1.1\r\nHost : x\r\n\r\n")
    assert client.status == b"400"
    assert b"Connection: close" in client.transport.outgoing
    assert client.transport.ended
    assert not client.transport.closed
    assert client.values[REFUSED_MALFORMED] == 1
    client.send(b"and more of it")
    assert len(client.handler.exchanges) == 0
    client.pass_time(LINGER_SECONDS + 0.1)
    assert client.transport.closed


def test_a_slow_reader_is_waited_for_and_then_given_up(make):
    client = make(write_idle=60.0)
    client.send(GET)
    client.transport.take = 50
    assert not client.answer(b"x" * 1000, 2000)
    assert client.driver.unsent > 0
    client.pass_time(59)
    client.transport.take = 100
    client.driver.on_writable()
    client.pass_time(59)
    assert not client.transport.closed
    client.pass_time(2)
    assert client.transport.closed
    assert client.values[TIMEOUT_WRITE] == 1
    assert client.seen.exchanges[0][2] == "write-timeout"


def test_a_reader_that_goes_on_is_told_of(make):
    client = make()
    client.send(GET)
    client.transport.take = 50
    exchange = client.handler.exchanges[0]
    client.driver.respond(Response(200, b"OK", 11, Fields([], []), UNKNOWN_LENGTH))
    client.driver.write(b"x" * 1000)
    assert not client.driver.flush()
    client.transport.take = 1 << 20
    client.driver.on_writable()
    assert client.handler.drained == 1
    client.driver.finish(None)
    exchange.handler = None
    assert client.driver.flush()
    assert client.transport.outgoing.endswith(b"0\r\n\r\n")


def test_pipelined_requests_wait_their_turn(make):
    client = make()
    client.send(GET * 3)
    assert len(client.handler.exchanges) == 1
    assert not client.driver.reading, "what waits is bounded by one read"
    for count in (2, 3):
        client.answer()
        assert len(client.handler.exchanges) == count
    client.answer()
    assert client.driver.reading
    assert client.transport.outgoing.count(b"200 OK") == 3


def test_a_client_that_breaks_while_nobody_reads_is_noticed_once(make):
    client = make()
    client.send(GET)
    client.send(b"")  # half-closed: the answer is still owed
    assert not client.transport.closed
    client.driver.on_readable()  # a hang-up: interest in it cannot be taken back
    assert client.transport.closed
    assert client.values[ABORTED_DOWNSTREAM] == 1
    assert client.seen.exchanges[0][2] == "hung-up"


def test_a_broken_transport_ends_the_exchange(make):
    client = make()
    client.send(GET)
    client.transport.broken = TransportError("econnreset", 104, "read")
    client.driver.on_readable()
    assert client.handler.closed == 1
    assert client.seen.failures == ["econnreset"]


@pytest.mark.parametrize(("version", "reset"), [(b"1.1", False), (b"1.0", True)])
def test_an_answer_cut_short_never_ends_like_a_whole_one(make, version, reset):
    """RFC 9112 section 8: without framing only a reset tells."""
    client = make()
    client.send(b"GET / HTTP/%b\r\nHost: x\r\n\r\n" % version)
    client.driver.respond(Response(200, b"OK", 11, Fields([], []), UNKNOWN_LENGTH))
    client.driver.write(b"begin")
    client.driver.flush()
    client.driver.abort("upstream-closed")
    assert client.transport.reset is reset
    assert client.transport.closed
    assert not client.transport.outgoing.endswith(b"0\r\n\r\n")
    assert client.values[ABORTED_UPSTREAM] == 1


def test_a_refused_head_request_has_no_content(make):
    client, other = make(max_body=1), make(max_body=1)
    client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    assert client.status == b"413"
    assert client.transport.outgoing.endswith(b"\r\n\r\n")
    assert client.seen.sizes == [0]
    other.send(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    length = b"\r\nContent-Length: %d\r\n" % other.seen.sizes[0]
    assert length in client.transport.outgoing, "RFC 9110 section 8.6: that of the answer to GET"


def test_a_refusal_is_counted_like_any_answer(make):
    client = make()
    client.send(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n")
    assert client.status == b"505"
    content = client.transport.outgoing.partition(b"\r\n\r\n")[2]
    assert client.seen.sizes == [len(content)]
    assert client.values[DOWNSTREAM_WRITTEN] == len(client.transport.outgoing)


def test_draining_ends_an_idle_connection_and_closes_a_busy_one_after_its_answer(make):
    idle, busy = make(), make()
    idle.send(GET)
    idle.answer()
    busy.send(GET)
    idle.driver.drain()
    busy.driver.drain()
    assert idle.transport.ended
    assert not busy.transport.ended
    busy.answer()
    assert b"Connection: close" in busy.transport.outgoing
    assert busy.transport.ended


class Round:
    """A round of the poller around what happens in it: small output goes out at its end."""

    def __init__(self, client):
        self.poller = client.poller

    def __enter__(self):
        self.poller.in_round = True

    def __exit__(self, *_):
        self.poller.in_round = False
        self.poller._end_round()


def test_answers_go_out_together_at_the_end_of_a_round(make):
    client = make()
    with Round(client):
        client.send(GET * 2)
        for count in (1, 2):
            assert len(client.handler.exchanges) == count
            assert client.answer()
        assert client.transport.outgoing == b""
    assert client.transport.outgoing.count(b"200 OK") == 2
    assert client.driver.unsent == 0


def test_big_output_does_not_wait_for_the_end_of_a_round(make):
    client = make()
    with Round(client):
        client.send(GET)
        client.answer(b"x" * (DEFER_MAX + 1))
        assert len(client.transport.outgoing) > DEFER_MAX


def test_what_is_deferred_is_bounded(make):
    client = make()
    client.transport.take = 0
    with Round(client):
        client.send(GET * 40)
        while client.answer(b"x" * 1000):
            assert client.driver.unsent <= DEFER_MAX
    assert client.driver.unsent < DEFER_MAX + 2000
    assert len(client.handler.exchanges) < 20, "the others wait until the client has read"


def test_who_does_not_take_an_answer_is_not_asked_for_another_request(make):
    client = make(write_idle=60.0)
    client.transport.take = 10
    with Round(client):
        client.send(GET)
        assert client.answer()
    assert client.seen.exchanges, "the answer counts as written"
    assert client.driver.unsent > 0
    assert not client.driver.reading
    client.transport.take = 1 << 20
    client.driver.on_writable()
    assert client.transport.outgoing.endswith(b"\r\n\r\nok")
    assert client.driver.reading
    client.send(GET)
    assert client.answer()


def test_an_answer_that_is_never_taken_is_given_up(make):
    client = make(write_idle=60.0)
    client.transport.take = 10
    with Round(client):
        client.send(GET + GET[:5])
        client.answer()
    client.pass_time(61)
    assert client.transport.closed
    assert client.values[TIMEOUT_WRITE] == 1
    assert b"408" not in client.transport.outgoing


def test_content_that_stalls_at_the_end_of_a_round_stops_its_producer(make):
    client = make()
    client.transport.take = 10
    with Round(client):
        client.send(GET)
        exchange = client.handler.exchanges[0]
        client.driver.respond(Response(200, b"OK", 11, Fields([], []), UNKNOWN_LENGTH))
        client.driver.write(b"x" * 100)
        assert client.driver.flush()
    client.driver.write(b"y" * 100)
    assert not client.driver.flush()
    client.transport.take = 1 << 20
    client.driver.on_writable()
    assert client.handler.drained == 1
    client.driver.finish(None)
    exchange.handler = None
    assert client.driver.flush()
    assert client.transport.outgoing.endswith(b"0\r\n\r\n")


def test_an_answer_is_written_before_its_connection_ends_in_the_same_round(make):
    client = make()
    with Round(client):
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.answer()
        assert not client.transport.closed
    assert client.transport.closed
    assert client.status == b"200"
    client = make()
    with Round(client):
        client.send(GET)
        client.answer()
        client.send(b"")
        assert client.transport.closed
    assert client.status == b"200"


def test_a_client_that_is_gone_at_the_end_of_a_round(make):
    client = make()
    with Round(client):
        client.send(GET)
        client.answer()
        client.transport.broken = TransportError("epipe", 32, "write")
    assert client.transport.closed
    assert client.seen.failures == ["epipe"]


ASKED = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("request_", "closed"),
    [
        (ASKED + b"\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (ASKED + b"Content-Length: 2\r\n\r\nhi", False),  # old browsers send an empty line behind content
        (ASKED + b"\r\nGET", False),
    ],
)
def test_a_close_that_the_client_asked_for_needs_no_lingering(make, request_, closed):
    client = make()
    client.send(request_)
    client.answer()
    assert client.transport.closed is closed
    assert client.driver.phase == LINGER
    assert client.status == b"200"


def test_a_close_waits_for_an_answer_that_is_not_taken_yet(make):
    client = make()
    client.transport.take = 10
    with Round(client):
        client.send(ASKED + b"\r\n")
        client.answer()
    assert not client.transport.closed
    client.transport.take = 1 << 20
    client.driver.on_writable()
    assert client.transport.outgoing.endswith(b"ok")


def dates(outgoing):
    """The values of every Date line, as times."""
    lines = outgoing.partition(b"\r\n\r\n")[0].split(b"\r\n")
    return [parsedate_to_datetime(line[6:].decode()).timestamp() for line in lines if line[:6] == b"Date: "]


@pytest.mark.parametrize(
    "request_",
    [
        GET,
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    ],
    ids=["answered", "400", "505", "413"],
)
def test_rfc9110_6_6_1_a_final_response_without_date_gets_one(make, request_):
    client = make(max_body=1)
    before = int(time.time())
    client.send(request_)
    if client.handler.exchanges:
        client.answer()
    (date,) = dates(client.transport.outgoing)
    assert before <= date <= time.time()


def test_rfc9110_6_6_1_a_response_that_has_its_date_keeps_it(make):
    client = make()
    client.send(GET)
    fields = Fields([b"date"], [b"Date: Sun, 06 Nov 1994 08:49:37 GMT"])
    client.driver.respond(Response(204, b"", 11, fields, 0))
    client.driver.flush()
    assert dates(client.transport.outgoing) == [784111777.0]


@pytest.mark.parametrize("status", [100, 103, 101])
def test_rfc9110_6_6_1_an_interim_response_gets_no_date(make, status):
    client = make()
    client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: y\r\n\r\n")
    client.driver.respond(Response(status, b"", 11, Fields([], []), 0))
    client.driver.flush()
    assert client.status == b"%d" % status
    assert dates(client.transport.outgoing) == []


class Refusing(MemoryTransport):
    """A transport whose handshake fails, with an alert where `alert`."""

    def __init__(self, *, alert):
        super().__init__()
        self.alert = alert

    def handshake(self):
        raise TransportError("certificate-required", 0, "TLS handshake")

    def parting(self):
        return self.alert


@pytest.mark.parametrize("alert", [True, False])
def test_a_failed_handshake_waits_until_its_alert_was_read(alert):
    client = Client()
    transport = Refusing(alert=alert)
    driver = DownstreamConnection(
        transport,
        client.poller,
        client.handler,
        client.seen,
        client.driver.settings,
        client.values,
        client.driver.context,
    )
    driver.start(secure=True)
    driver.on_readable()
    assert client.seen.failures == ["certificate-required"]
    assert (transport.ended, transport.closed) == (alert, not alert)
    if alert:
        transport.incoming += [b"what was sent meanwhile", b""]
        driver.on_readable()
        assert not transport.closed
        driver.on_readable()
        assert transport.closed
    client.close()


only_pure = pytest.mark.skipif(is_compiled("headgate.connection.accepted"), reason="only pure: a trait")


class Host(ProtocolHost):
    """A listener that is told of HTTP/2."""

    def __init__(self):
        self.told = []

    def is_h2(self, alpn):
        return alpn == b"h2"

    def speak_h2(self, connection, early):
        connection.closed = True
        self.told.append(early)


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@only_pure
@pytest.mark.parametrize("at", [*range(1, len(PREFACE) + 1)])
def test_rfc9113_3_4_a_preface_hands_over_however_it_comes(at):
    client = Client()
    client.driver.host = host = Host()
    client.send(PREFACE[:at])
    assert host.told == ([] if at < len(PREFACE) else [PREFACE])
    if at < len(PREFACE):
        client.send(PREFACE[at:] + b"rest")
        assert host.told == [PREFACE + b"rest"]
    client.driver.closed = False
    client.close()


@only_pure
@pytest.mark.parametrize("at", [1, 2, 10, 24])
def test_what_only_begins_like_a_preface_is_http_1_1(at):
    client = Client()
    client.driver.host = host = Host()
    data = PREFACE[:at] if at < 24 else PREFACE[:-1] + b"x"
    client.send(data)
    client.send(b"X / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert host.told == []
    asked = [exchange.request.method for exchange in client.handler.exchanges]
    assert asked == [PREFACE[:at] + b"X"] if at < 3 else client.status in (b"400", b"505")
    client.close()


@only_pure
def test_a_client_that_ends_inside_a_preface_is_answered_like_any_other():
    client = Client()
    client.driver.host = Host()
    client.send(b"PRI * HT")
    client.send(b"")
    client.send(b"")
    assert client.driver.closed or client.driver.phase == LINGER
    client.close()
