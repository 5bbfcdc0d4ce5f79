"""What workers must not get from one another, or not fail to: another route's answer, and one with a large head."""

import asyncio
import os
import signal
import socket
import time

from tests.integration.cache.peers import listens
from tests.integration.cache.story import Story
from tests.integration.cache.test_herd import (
    LISTENER,
    LIVES,
    TEXT,
    WORKERS,
    answered,
    connections,
    crowd,
    over,
    until,
    workers_asked,
)
from tests.integration.gate import Gate, wait_for

from headgate.engine.h1.grammar import MAX_FIELDS
from headgate.testing.origin import Wire, ask
from headgate.upstream.endpoint import MAX_RESPONSE_HEAD

__all__ = ["LISTENER", "TEXT"]

CACHE = "[cache]\nenabled = true\n"
ROUTE = '[[route]]\nhosts = ["{0}"]\nupstream = "{0}"\n'
UPSTREAM = '[upstream.{}]\nendpoints = ["{}"]\n'


def test_a_worker_of_another_configuration_is_not_asked(tmp_path):
    with Story() as left, Story() as right:
        upstreams = UPSTREAM.format("left", left.url) + UPSTREAM.format("right", right.url)
        routes = [ROUTE.format("left"), ROUTE.format("right")]
        with Gate(tmp_path, CACHE + "".join(routes) + upstreams, workers=WORKERS) as gate:
            port = gate.http_ports[0]
            # Half a head each: workers that end let them finish.
            wires = [Wire(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(16)]
            for number, wire in enumerate(wires):
                for story, words in ((left, b"left"), (right, b"right")):
                    story.tell(f"/{number}", words, LIVES)
                wire.send(f"GET /{number} HTTP/1.1\r\nHost: left\r\n".encode())
            gate.process.kill()
            gate.process.wait()
            wait_for("the workers to see it", lambda: len(gate.events("supervisor-gone")) >= WORKERS)
            text = gate.config.read_text()
            gate.config.write_text(text.replace("".join(routes), "".join(reversed(routes))))
            gate.start()
            for wire in wires:
                wire.send(b"\r\n")
            assert {wire.read_response()[1] for wire in wires} == {b"left"}
            for wire in wires:
                wire.close()
            assert {ask(port, f"/{number}", host="left")[1] for number in range(len(wires))} == {b"left"}


def test_the_largest_head_of_an_origin_is_none_too_large_for_another_worker(gate, story):
    many = [f"X-{n}: {n}" for n in range(MAX_FIELDS - 2)]
    long = f"X-Long: {'x' * (MAX_RESPONSE_HEAD - 120)}"
    for stem, lines in (("/many", many), ("/long", [long])):
        path = stem
        story.tell(path, b"large", LIVES, *lines)
        gate.settle()
        answered = workers_asked(gate)
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 10) as sock:
                wire = Wire(sock)
                wire.send(f"GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode())
                assert wire.read_response()[1] == b"large"
        assert len(story.asked(path)) == 1
        wait_for("the count of the workers", lambda answered=answered: workers_asked(gate) == answered + 1)


def test_content_of_unknown_length_is_written_to_the_disk_by_one_worker(story, tmp_path):
    text = TEXT.format(url=story.url).replace('memory = "64MiB"', 'memory = "64MiB"\ndisk = "64MiB"')
    body = os.urandom(400_000)
    with Gate(tmp_path, text, workers=WORKERS) as gate:
        for slot in (0, 1):
            path = f"/chunked-{slot}"
            answer = story.tell(path, body, LIVES)
            answer.chunked = True
            answer.middle.clear()

            async def herd(path=path, answer=answer):
                clients, tasks = await crowd(gate, path, 20)
                await until("the first octets", lambda: all(client.body for client in clients))
                answer.middle.set()
                await over(tasks)

            asyncio.run(herd())
            assert len(story.asked(path)) == 1
        wait_for("the count of the workers", lambda: workers_asked(gate) == 2)
        wait_for("the files", lambda: gate.metrics()["headgate_cache_disk_sent_total"] >= 2)
        assert gate.settled_metrics()["headgate_cache_disk_sent_total"] == 2


def test_a_304_that_came_through_another_worker_is_told_to_the_disk_by_one(story, tmp_path):
    text = TEXT.format(url=story.url).replace('memory = "64MiB"', 'memory = "64MiB"\ndisk = "64MiB"')
    with Gate(tmp_path, text, workers=WORKERS) as gate:
        for slot in (0, 1):
            path = f"/confirmed-{slot}"
            answer = story.tell(path, b"kept", "Cache-Control: max-age=1", 'ETag: "1"')
            asyncio.run(answered(gate, path, 40))
            time.sleep(2.1)
            wait_for("both workers to have it", lambda slot=slot: workers_asked(gate) == 2 * slot + 1)
            sent = gate.metrics()["headgate_cache_disk_sent_total"]
            answer.gate.clear()

            async def herd(path=path, answer=answer):
                _, tasks = await crowd(gate, path, 40)
                await until("the request that confirms", lambda: len(story.asked(path)) == 2)
                await asyncio.sleep(0.3)
                answer.gate.set()
                await over(tasks)

            asyncio.run(herd())
            wait_for("the other one's question", lambda slot=slot: workers_asked(gate) == 2 * slot + 2)
            assert [head.get("if-none-match") for head in story.asked(path)] == [None, '"1"']
            time.sleep(1.1)
            assert gate.metrics()["headgate_cache_disk_sent_total"] == sent + 1


def test_who_waits_for_another_worker_is_answered_before_a_gate_ends(gate, story):
    paths = [f"/draining-{slot}" for slot in (0, 1)]
    body = os.urandom(300_000)
    told = [story.tell(path, body, LIVES) for path in paths]
    for answer in told:
        answer.gate.clear()
        answer.middle.clear()

    async def herd():
        crowds = [await crowd(gate, path, 40) for path in paths]
        await until("all clients", lambda: connections(gate) >= before + 80)
        await until("the requests", lambda: all(story.asked(path) for path in paths))
        await asyncio.sleep(0.1)  # a request follows its connection at once
        os.kill(gate.pid, signal.SIGTERM)
        await until("the listeners to close", lambda: not listens(gate.http_ports[0]))
        await asyncio.sleep(1.2)  # signs go on
        for answer in told:
            answer.gate.set()
        await asyncio.sleep(0.2)
        for answer in told:
            answer.middle.set()
        for _, tasks in crowds:
            await over(tasks)
        return [client for clients, _ in crowds for client in clients]

    gate.settle()
    before = connections(gate)
    assert all(client.body == body for client in asyncio.run(herd()))
    assert gate.process.wait(30) == 0
    assert [len(story.asked(path)) for path in paths] == [1, 1]
    assert not gate.events("cache-peer-failed")
