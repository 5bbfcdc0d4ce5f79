"""gRPC end to end: grpcio calls grpcio through a gate, over TLS and in the clear, to an origin of h2c.

What gRPC asks of a proxy is HTTP/2 (RFC 9113) without exceptions: trailers, answers of trailers alone, streams that
are open both ways, resets that arrive, and flow control. Messages are octets: no compiler of protobuf is needed.
"""

import hashlib
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.integration.gate import free_port
from tests.integration.h2.calls import content
from tests.integration.h2.conftest import fresh_site, no_defect

# Gates are started by fork and exec while its threads run: grpcio need not be ready for a fork of its own.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc

PATIENCE = 20.0
MIB = 1 << 20
SERVICE = "headgate.Test"
NO_LIMIT = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Service:
    """What the origin does; `cancelled` is set when a call that it works at is given up."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.begun = threading.Event()
        self.time_left = None

    def forget(self):
        self.cancelled.clear()
        self.begun.clear()

    def echo(self, request, context):
        return request

    def reverse(self, request, context):
        return request[::-1]

    def digest(self, request, context):
        return hashlib.sha256(request).digest()

    def big(self, request, context):
        return content(int(request))

    def metadata(self, request, context):
        seen = dict(context.invocation_metadata())
        context.send_initial_metadata(
            (("x-first", seen.get("x-text", "")), ("x-raw-bin", seen.get("x-some-bin", b"")))
        )
        context.set_trailing_metadata((("x-last", "end"), ("x-last-bin", bytes(range(256)))))
        return seen.get("user-agent", "").encode()

    def deadline(self, request, context):
        self.time_left = context.time_remaining()
        self._hang(context)
        return b""

    def refuse(self, request, context):
        context.set_trailing_metadata((("x-why", "because"),))
        context.abort(code_of(request), "no: \u00e4 \u2013 100 %")

    def hang(self, request, context):
        self._hang(context)
        return b""

    def _hang(self, context):
        if not context.add_callback(self.cancelled.set):
            self.cancelled.set()
        self.begun.set()
        self.cancelled.wait(PATIENCE)

    def count(self, request, context):
        for number in range(int(request)):
            yield b"%d" % number

    def fail_late(self, request, context):
        yield b"one"
        yield b"two"
        context.abort(grpc.StatusCode.DATA_LOSS, "after two")

    def endless(self, request, context):
        if not context.add_callback(self.cancelled.set):
            self.cancelled.set()
        self.begun.set()
        while not self.cancelled.is_set():
            yield content(1000)

    def add(self, requests, context):
        return b"%d" % sum(int(one) for one in requests)

    def early(self, requests, context):
        first = next(requests)
        return b"enough: " + first

    def talk(self, requests, context):
        for one in requests:
            yield one.upper()

    def pour(self, requests, context):
        yield from requests


UNARY = ("echo", "reverse", "digest", "big", "metadata", "deadline", "refuse", "hang")
ANSWER_STREAM = ("count", "fail_late", "endless")
REQUEST_STREAM = ("add", "early")
BOTH = ("talk", "pour")


def code_of(request):
    return next(code for code in grpc.StatusCode if code.value[0] == int(request))


def handlers(service):
    made = {}
    for names, kind in (
        (UNARY, grpc.unary_unary_rpc_method_handler),
        (ANSWER_STREAM, grpc.unary_stream_rpc_method_handler),
        (REQUEST_STREAM, grpc.stream_unary_rpc_method_handler),
        (BOTH, grpc.stream_stream_rpc_method_handler),
    ):
        made.update({name: kind(getattr(service, name)) for name in names})
    return grpc.method_handlers_generic_handler(SERVICE, made)


@pytest.fixture(scope="module")
def service():
    return Service()


@pytest.fixture(scope="module")
def origin(service):
    """The port of a server of grpcio."""
    server = grpc.server(ThreadPoolExecutor(40), options=NO_LIMIT)
    server.add_generic_rpc_handlers((handlers(service),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(0).wait(10)


@pytest.fixture(scope="module")
def place(tmp_path_factory, origin):
    site = fresh_site(tmp_path_factory.mktemp("grpc"))
    text = f'[[route]]\nupstream = "u"\n[upstream.u]\nendpoints = ["http://127.0.0.1:{origin}"]\nprotocols = ["h2"]\n'
    text += '[[route]]\npath = "/down.Service"\nupstream = "down"\n[upstream.down]\nprotocols = ["h2"]\n'
    text += f'endpoints = ["http://127.0.0.1:{free_port()}"]\n'
    with site.gate(text) as gate:
        yield site, gate
        no_defect(gate)


@pytest.fixture(scope="module", params=["tls", "clear"])
def channel(request, place):
    site, gate = place
    if request.param == "tls":
        credentials = grpc.ssl_channel_credentials(site.root.pem)
        options = [*NO_LIMIT, ("grpc.ssl_target_name_override", "a.test")]
        made = grpc.secure_channel(f"127.0.0.1:{gate.https_ports[0]}", credentials, options)
    else:
        made = grpc.insecure_channel(f"127.0.0.1:{gate.http_ports[0]}", NO_LIMIT)
    with made:
        yield made


@pytest.fixture
def call(channel, service):
    """call("echo") is the method of the stub."""
    service.forget()

    def method(name):
        kinds = (
            (UNARY, channel.unary_unary),
            (ANSWER_STREAM, channel.unary_stream),
            (REQUEST_STREAM, channel.stream_unary),
            (BOTH, channel.stream_stream),
        )
        return next(kind for names, kind in kinds if name in names)(f"/{SERVICE}/{name}")

    return method


def test_unary(call):
    assert call("echo")(b"hello", timeout=PATIENCE) == b"hello"
    assert call("reverse")(b"", timeout=PATIENCE) == b""


def test_many_at_once(call):
    echo = call("echo")
    futures = [echo.future(b"%d" % number, timeout=PATIENCE) for number in range(300)]
    assert [one.result() for one in futures] == [b"%d" % number for number in range(300)]


def test_the_origin_streams(call):
    assert list(call("count")(b"1000", timeout=PATIENCE)) == [b"%d" % number for number in range(1000)]
    assert list(call("count")(b"0", timeout=PATIENCE)) == []


def test_the_client_streams(call):
    numbers = (b"%d" % number for number in range(1000))
    assert call("add")(numbers, timeout=PATIENCE) == b"%d" % sum(range(1000))


class Speaker:
    """Requests that are said one at a time."""

    def __init__(self):
        self._words = []
        self._more = threading.Condition()
        self._is_over = False

    def say(self, word):
        with self._more:
            self._words.append(word)
            self._more.notify()

    def end(self):
        with self._more:
            self._is_over = True
            self._more.notify()

    def __iter__(self):
        return self

    def __next__(self):
        with self._more:
            self._more.wait_for(lambda: self._words or self._is_over, PATIENCE)
            if not self._words:
                raise StopIteration
            return self._words.pop(0)


def test_both_stream_and_answers_come_before_the_client_has_ended(call):
    speaker = Speaker()
    answers = call("talk")(speaker, timeout=PATIENCE)
    for number in range(100):
        speaker.say(b"word %d" % number)
        assert next(answers) == b"WORD %d" % number
    speaker.end()
    assert list(answers) == []
    assert answers.code() is grpc.StatusCode.OK


def test_an_answer_before_the_client_has_ended(call):
    speaker = Speaker()
    speaker.say(b"first")
    future = call("early").future(speaker, timeout=PATIENCE)
    assert future.result() == b"enough: first"
    speaker.end()


@pytest.mark.parametrize("number", [1, 3, 5, 7, 14, 16])
def test_errors_of_trailers_alone(call, number):
    with pytest.raises(grpc.RpcError) as caught:
        call("refuse")(b"%d" % number, timeout=PATIENCE)
    error = caught.value
    assert error.code().value[0] == number
    assert error.details() == "no: \u00e4 \u2013 100 %"
    assert ("x-why", "because") in [tuple(pair) for pair in error.trailing_metadata()]


def test_an_unknown_method(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{SERVICE}/nothing")(b"", timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_an_origin_that_is_down_is_unavailable(channel):
    """The gate answers in HTTP alone, which clients of gRPC read by its status."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/down.Service/anything")(b"", timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_an_error_after_messages(call):
    answers = call("fail_late")(b"", timeout=PATIENCE)
    assert [next(answers), next(answers)] == [b"one", b"two"]
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "after two")


def test_metadata_both_ways(call):
    raw = bytes(range(256))
    sent = (("x-text", "some text, and more"), ("x-some-bin", raw))
    answer, done = call("metadata").with_call(b"", metadata=sent, timeout=PATIENCE)
    assert answer.startswith(b"grpc-python")
    first = dict(done.initial_metadata())
    assert (first["x-first"], first["x-raw-bin"]) == ("some text, and more", raw)
    last = dict(done.trailing_metadata())
    assert (last["x-last"], last["x-last-bin"]) == ("end", raw)


def test_a_deadline_is_the_origins_too_and_its_end_arrives(call, service):
    with pytest.raises(grpc.RpcError) as caught:
        call("deadline")(b"", timeout=1.0)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # It is rounded on the wire, and so may be a little more here than it was there.
    assert 0 < service.time_left < 1.2
    assert service.cancelled.wait(PATIENCE)


@pytest.mark.parametrize("name", ["hang", "endless"])
def test_a_cancel_reaches_the_origin(call, service, name):
    if name == "hang":
        future = call(name).future(b"", timeout=PATIENCE)
    else:
        future = call(name)(b"", timeout=PATIENCE)
        assert next(future) == content(1000)
    assert service.begun.wait(PATIENCE)
    future.cancel()
    began = time.monotonic()
    assert service.cancelled.wait(PATIENCE)
    # By the cancel, not by the deadline that would have come anyway.
    assert time.monotonic() - began < PATIENCE / 2


def test_the_channel_lives_on_after_all_that(call, place):
    _, gate = place
    assert call("echo")(b"still here", timeout=PATIENCE) == b"still here"
    assert gate.events("defect") == []


@pytest.mark.parametrize("size", [16_383, 65_536, 20 * MIB])
def test_big_messages(call, size):
    data = content(size)
    assert call("digest")(data, timeout=PATIENCE) == hashlib.sha256(data).digest()
    assert call("big")(b"%d" % size, timeout=PATIENCE) == data


def test_big_messages_both_ways_at_once(call):
    pieces = [content(MIB - number) for number in range(20)]
    answers = list(call("pour")(iter(pieces), timeout=PATIENCE))
    assert answers == pieces


@pytest.mark.slow
def test_thousands_of_calls_on_one_connection(call, place):
    """Each makes grpcio send frames that open windows and ask how fast it was: none of it is a flood."""
    _, gate = place
    echo = call("echo")
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(echo, b"x", timeout=PATIENCE) for _ in range(4000)]
        assert {one.result() for one in asked} == {b"x"}
    assert [
        name for name, value in gate.settled_metrics().items() if "h2_closed_total" in name and value
    ] == []


@pytest.mark.slow
def test_thousands_of_small_messages_on_one_stream(call, place):
    _, gate = place
    assert len(list(call("pour")((b"1" for _ in range(6000)), timeout=PATIENCE))) == 6000
    assert [
        name for name, value in gate.settled_metrics().items() if "h2_closed_total" in name and value
    ] == []


def test_a_reader_that_does_not_read_holds_only_itself(call):
    """Flow control from end to end: a stream that stands does not stop the one beside it."""
    standing = call("pour")(iter([content(MIB)] * 40), timeout=60)
    assert next(standing) == content(MIB)
    for number in range(50):
        assert call("echo")(b"%d" % number, timeout=PATIENCE) == b"%d" % number
    assert sum(len(one) for one in standing) == 39 * MIB
