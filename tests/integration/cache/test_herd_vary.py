"""Several variants of one key, and one request to the origin for each of them: a gate of two workers."""

import asyncio

import pytest
from tests.integration.cache.test_herd import (
    LISTENER,
    LIVES,
    TEXT,
    WORKERS,
    claimed_by,
    connections,
    crowd,
    over,
    until,
)

__all__ = ["LISTENER", "TEXT", "WORKERS"]
CODINGS = ("br", "gzip")


async def crowds(gate, path, count, values):
    """As many clients of each value, mixed; returns them and what they wait for."""
    clients, tasks = [], []
    for value in list(values) * (count // 20):
        some, theirs = await crowd(gate, path, 20, f"Accept-Encoding: {value}")
        clients += some
        tasks += theirs
    return clients, tasks


def by_value(story, path):
    return sorted(head.get("accept-encoding") for head in story.asked(path))


@pytest.mark.parametrize("number", range(2))
def test_two_variants_that_crowds_of_both_workers_wait_for_cost_a_request_each(gate, story, number):
    path = f"/both-{number}"
    answer = story.tell(path, b"x" * 3000, LIVES, "Vary: Accept-Encoding")
    answer.gate.clear()

    async def herd():
        gate.settle()
        before = connections(gate)
        clients, tasks = await crowds(gate, path, 200, CODINGS)
        await until("all clients", lambda: connections(gate) >= before + 400)
        answer.gate.set()
        await over(tasks)
        return clients

    clients = asyncio.run(herd())
    assert {client.head.status for client in clients} == {200}
    assert by_value(story, path) == ["br", "gzip"]


@pytest.mark.parametrize("number", range(2))
def test_a_second_variant_while_the_first_one_fills(gate, story, number):
    path = f"/second-{number}"
    answer = story.tell(path, b"x" * 300_000, LIVES, "Vary: Accept-Encoding")
    answer.middle.clear()

    async def herd():
        first, tasks = await crowds(gate, path, 200, CODINGS[:1])
        await until("its octets", lambda: all(len(client.data) > 1000 for client in first))
        second, others = await crowds(gate, path, 200, CODINGS[1:])
        await until("its octets", lambda: all(len(client.data) > 1000 for client in second))
        answer.middle.set()
        await over(tasks + others)
        return first + second

    clients = asyncio.run(herd())
    assert {len(client.body) for client in clients} == {300_000}
    assert by_value(story, path) == ["br", "gzip"]


@pytest.mark.parametrize("number", range(2))
def test_a_second_variant_when_the_first_one_is_stored(gate, story, number):
    """Whoever has the first has no second, and so the one or the other fetches it."""
    path = f"/stored-{number}"
    answer = story.tell(path, b"x" * 3000, LIVES, "Vary: Accept-Encoding")

    async def herd():
        for value in CODINGS * 2:
            gate.settle()
            before = connections(gate)
            answer.gate.clear()
            _, tasks = await crowds(gate, path, 200, [value])
            await until("all clients", lambda before=before: connections(gate) >= before + 200)
            answer.gate.set()
            await over(tasks)

    asyncio.run(herd())
    assert by_value(story, path) == ["br", "gzip"]


def test_a_variant_that_one_worker_has_and_another_one_that_the_other_has(gate, story):
    """Each has fetched one of them: who wants what the other one has gets it there."""
    for number in range(40):
        path = f"/apart-{number}"
        if [owner_of(gate, story, path, value) for value in CODINGS] == [0, 1]:
            break
    else:
        raise AssertionError("the workers were never the first in turn")

    async def herd():
        for value in CODINGS:
            _, tasks = await crowds(gate, path, 100, [value])
            await over(tasks)

    asyncio.run(herd())
    assert by_value(story, path) == ["br", "gzip"]


def owner_of(gate, story, path, value):
    """Have one client ask; return the slot of the worker that asked the origin."""
    answer = story.tell(path, b"x" * 3000, LIVES, "Vary: Accept-Encoding")
    answer.gate.clear()
    before = len(story.asked(path))

    async def one():
        _, tasks = await crowd(gate, path, 1, f"Accept-Encoding: {value}")
        await until("the request", lambda: len(story.asked(path)) > before)
        (owner,) = claimed_by(gate)
        answer.gate.set()
        await over(tasks)
        return owner

    return asyncio.run(one())
