"""HTTP/3 over a real UDP socket, with aioquic as the client."""

import asyncio

import pytest
from tests.integration.gate import wait_for
from tests.integration.quic.door import Door, Echo, visit

from headgate.engine.events import Response
from headgate.http.fields import Fields


@pytest.fixture
def door():
    doors = []

    def make(*arguments, **options):
        doors.append(Door(*arguments, **options))
        return doors[-1]

    yield make
    for made in doors:
        made.close()


def test_a_request_without_content(door):
    gate = door()

    async def work(client):
        return await client.ask()

    status, fields, content = visit(gate, work)
    assert (status, content, fields[b"x-version"]) == (200, b"", b"30")
    assert b"date" in fields
    wait_for("the exchange", lambda: gate.seen.exchanges)


def test_content_both_ways(door):
    gate = door()
    body = bytes(range(256)) * 8192  # 2 MiB

    async def work(client):
        return await client.ask("POST", body=body)

    status, _, content = visit(gate, work)
    assert status == 200
    assert content == body


def test_a_hundred_at_once(door):
    gate = door()

    async def work(client):
        streams = [client.begin("POST", body=b"%d" % number * 100) for number in range(100)]
        return await asyncio.gather(*[client.answer(stream) for stream in streams])

    answers = visit(gate, work)
    assert [content for _, _, content in answers] == [b"%d" % number * 100 for number in range(100)]
    assert {status for status, _, _ in answers} == {200}


class Slow(Echo):
    """Answers when it is told to."""

    def __init__(self):
        self.exchanges = []
        self.closed = []

    def handle(self, exchange):
        self.exchanges.append(exchange)

    def request_data(self, exchange, data):
        return

    def downstream_closed(self, exchange):
        self.closed.append(exchange)

    def answer(self):
        for exchange in self.exchanges:
            exchange.handler = None
            exchange.downstream.respond(Response(204, b"", 11, Fields([], []), 0))
            exchange.downstream.flush()


def test_a_client_that_gives_up_is_heard(door):
    slow = Slow()
    gate = door(slow)

    async def work(client):
        stream = client.begin("POST", body=b"x" * 1000, fin=False)
        await wait_in_loop(lambda: slow.exchanges)
        client._quic.reset_stream(stream, 0x10C)
        client._quic.stop_stream(stream, 0x10C)
        client.transmit()
        await wait_in_loop(lambda: slow.closed)

    visit(gate, work)
    assert [exchange.reason for exchange in gate.seen.exchanges] == ["reset"]


def test_a_drain_lets_answers_end_and_then_the_connection(door):
    slow = Slow()
    gate = door(slow)

    async def work(client):
        stream = client.begin()
        await wait_in_loop(lambda: slow.exchanges)
        gate.do(gate.endpoint.drain)
        gate.do(slow.answer)
        answer = await client.answer(stream)
        for _ in range(40):
            gate.sweep()
            if client.ended is not None:
                break
            await asyncio.sleep(0.05)
        return answer[0], client.ended

    status, ended = visit(gate, work)
    assert status == 204
    assert ended.error_code == 0x100
    assert not gate.endpoint.connections


def test_a_reader_that_waits_is_waited_for(door):
    """A window of 16 KiB: the answer goes on as the client reads, and nothing is held beyond a bound."""
    gate = door()
    body = bytes(range(256)) * 4096

    async def work(client):
        return await client.ask("POST", body=body)

    status, _, content = visit(gate, work, max_stream_data=16_384, max_data=32_768)
    assert (status, content) == (200, body)


async def wait_in_loop(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")
