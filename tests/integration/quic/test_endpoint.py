"""HTTP/3 over a real UDP socket, with aioquic as the client."""

import asyncio

import pytest
from tests.integration.quic.door import Door, visit, wait_for


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
    wait_for(lambda: gate.seen.exchanges)


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
