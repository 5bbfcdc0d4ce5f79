"""One request to the origin for all workers together, through a gate of two."""

import asyncio
import itertools
import os
import re
import shutil
import signal
import socket
import time
from pathlib import Path

from tests.integration.gate import wait_for

from headgate.admin.client import AdminClient
from headgate.cache.home import GONE, MALFORMED, PURGED, UNSUITED, Question
from headgate.config.loader import load
from headgate.process.peer_plane import route_number
from headgate.proxy.peer_gate import MAX_CONNECTIONS
from headgate.proxy.peers import REST_SECONDS, SILENCE
from headgate.testing.origin import Head, Wire

TEXT = """
[cache]
enabled = true
memory = "64MiB"
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""
WORKERS = 2
# The crowd is one client to the gate.
LISTENER = """[listener.limits]
per_client = 4000
connection_rate = "20000/s"
"""
LIVES = "Cache-Control: max-age=600"
PATIENCE = 30.0


class Client:
    """One connection with one request, and as much of the answer as has come."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.is_over = False

    @property
    def head(self) -> Head:
        return Head(bytes(self.data).partition(b"\r\n\r\n")[0])

    @property
    def body(self) -> bytes:
        return bytes(self.data).partition(b"\r\n\r\n")[2]


async def crowd(gate, path, count, *lines):
    """Send as many requests for a path, each on a connection of its own; return clients whose answers come in."""
    port = gate.http_ports[0]
    text = "\r\n".join([f"GET {path} HTTP/1.1", "Host: site", "Connection: close", *lines, "", ""]).encode()
    room = asyncio.Semaphore(200)

    async def one(client):
        async with room:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(text)
        try:
            while data := await reader.read(65536):
                client.data += data
        except OSError:
            pass
        client.is_over = True
        writer.close()

    clients = [Client() for _ in range(count)]
    return clients, [asyncio.ensure_future(one(client)) for client in clients]


async def until(what, ready, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        await asyncio.sleep(0.02)


async def over(tasks):
    done, pending = await asyncio.wait(tasks, timeout=PATIENCE)
    assert not pending, f"{len(pending)} clients hang"
    assert len(done) == len(tasks)


def url_of(path):
    return b"http://site" + path.encode()


def claimed_by(gate):
    """The slots of the workers that have claimed a key just now, one for each key."""
    slots = {gate.child_pids(f"worker {slot}")[-1]: slot for slot in range(WORKERS)}
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return [slots[int(line[4])] for line in lines if line[1] == "POSIX" and int(line[4]) in slots]


def held_by(gate, story, slot, stem, body, *lines):
    """Return a path whose answer this worker alone has in memory."""
    for number in range(40):
        path = f"{stem}-{number}"
        answer = story.tell(path, body, *lines)
        answer.gate.clear()

        async def one(path=path, answer=answer):
            _, tasks = await crowd(gate, path, 1)
            await until("the request", lambda: story.asked(path))
            owners = claimed_by(gate)
            answer.gate.set()
            await over(tasks)
            return owners

        if asyncio.run(one()) == [slot]:
            return path
    raise AssertionError(f"worker {slot} was never the first")


def workers_asked(gate):
    """How many requests workers have made of one another and had answered."""
    return gate.metrics().get('headgate_cache_peers_total{result="answered"}', 0)


async def answered(gate, path, count, *lines):
    """As many clients, once they have their answers."""
    clients, tasks = await crowd(gate, path, count, *lines)
    await over(tasks)
    return clients


def total(gate, what):
    """The sum of one of the cache's counters over its labels."""
    metrics = gate.metrics()
    return sum(metrics[name] for name in metrics if name.startswith(f"headgate_cache_{what}_total{{"))


def settled(gate):
    """How many requests the cache has counted, all so far among them."""
    gate.settle()
    return total(gate, "requests")


def connections(gate):
    return gate.metrics()["headgate_connections_total"]


def meet(gate, story, paths, count):
    """Have as many clients for each path come before there is an answer, and wait until all have theirs."""
    gate.settle()
    before = connections(gate)
    for path in paths:
        story.answers[path].gate.clear()

    async def met():
        crowds = [await crowd(gate, path, count) for path in paths]
        await until("all clients", lambda: connections(gate) >= before + count * len(paths))
        for path in paths:
            story.answers[path].gate.set()
        for _, tasks in crowds:
            await over(tasks)

    asyncio.run(met())


def outcomes(clients):
    return [re.split(r"; ", client.head.get("cache-status") or "") for client in clients]


def test_two_thousand_clients_of_two_workers_make_one_request_and_read_along(gate, story):
    body = os.urandom(1 << 16)
    for slot in (0, 1):
        path = f"/herd-{slot}"
        answer = story.tell(path, body, LIVES)
        answer.gate.clear()
        answer.middle.clear()

        async def herd(path=path, answer=answer, count=1000 if slot else 2000):
            clients, tasks = await crowd(gate, path, count)
            await until("the first request", lambda: story.asked(path))
            await asyncio.sleep(0.3)  # the rest of them reach their workers, who wait
            answer.gate.set()
            # The first half of the content gets to everybody before the second is there.
            await until("the first octets", lambda: all(len(client.data) > 1 << 15 for client in clients))
            assert not any(client.is_over for client in clients)
            answer.middle.set()
            await over(tasks)
            return clients

        before = workers_asked(gate)
        clients = asyncio.run(herd())
        assert len(story.asked(path)) == 1
        assert {client.head.status for client in clients} == {200}
        assert all(client.body == body for client in clients)
        said = outcomes(clients)
        assert all(words[0] == "headgate" for words in said)
        # Two lead, one at each worker; only the one at home was the first.
        assert sum("collapsed" in words for words in said) == len(clients) - 1
        wait_for("the count of the workers", lambda before=before: workers_asked(gate) == before + 1)


def test_a_stale_response_is_confirmed_once_for_all(gate, story):
    paths = [f"/stale-{slot}" for slot in (0, 1)]
    meanwhile = [f"/meanwhile-{slot}" for slot in (0, 1)]
    for path in paths:
        story.tell(path, b"kept", "Cache-Control: max-age=1", 'ETag: "1"')
    for path in meanwhile:
        story.tell(path, b"kept", "Cache-Control: max-age=1, stale-while-revalidate=60", 'ETag: "1"')
    meet(gate, story, [*paths, *meanwhile], 40)
    assert [len(story.asked(path)) for path in (*paths, *meanwhile)] == [1] * 4
    time.sleep(2.1)
    for path in (*paths, *meanwhile):
        # What confirms it makes it last: however long a crowd takes to come, there is one more request.
        story.tell(path, b"kept", LIVES, 'ETag: "1"')
    for path in meanwhile:
        # Nobody waits, and both workers have it confirmed by one request.
        clients = asyncio.run(answered(gate, path, 60))
        assert {client.body for client in clients} == {b"kept"}
        wait_for("the request that confirms", lambda path=path: len(story.asked(path)) == 2)
        assert [head.get("if-none-match") for head in story.asked(path)] == [None, '"1"']
    for path in paths:
        answer = story.answers[path]
        answer.gate.clear()

        async def herd(path=path, answer=answer):
            clients, tasks = await crowd(gate, path, 300)
            await until("the request that confirms", lambda: len(story.asked(path)) == 2)
            await asyncio.sleep(0.3)
            answer.gate.set()
            await over(tasks)
            return clients

        clients = asyncio.run(herd())
        assert {client.body for client in clients} == {b"kept"}
        assert [head.get("if-none-match") for head in story.asked(path)] == [None, '"1"']


def test_an_answer_that_is_not_stored_releases_all_at_once(gate, story):
    seen = settled(gate)
    paths = [f"/private-{slot}" for slot in (0, 1)]
    for path in paths:
        answer = story.tell(path, b"x" * 2000, "Cache-Control: private")
        answer.gate.clear()
        answer.middle.clear()

        async def herd(path=path, answer=answer):
            clients, tasks = await crowd(gate, path, 100)
            await until("the first request", lambda: story.asked(path))
            await asyncio.sleep(0.3)
            answer.gate.set()
            # The first answer is not over, and everybody has asked for itself.
            await until("all requests", lambda: len(story.asked(path)) >= len(clients))
            answer.middle.set()
            await over(tasks)
            return clients

        clients = asyncio.run(herd())
        assert {len(client.body) for client in clients} == {2000}
        assert len(story.asked(path)) == len(clients)
    # It is remembered at both workers: nobody asks another one. Pages of counters are a sweep behind.
    wait_for("the count of the crowds", lambda: total(gate, "requests") == seen + 200)
    asked = total(gate, "peers")
    for path in paths:
        asyncio.run(answered(gate, path, 10))
    wait_for("their count", lambda: total(gate, "requests") == seen + 220)
    assert total(gate, "peers") == asked


def test_a_home_that_is_killed_in_mid_fill_leaves_nobody_hanging(gate, story):
    path = "/killed"
    body = os.urandom(600_000)
    answer = story.tell(path, body, LIVES)
    answer.middle.clear()

    async def herd():
        clients, tasks = await crowd(gate, path, 200)
        await until("the first octets", lambda: all(len(client.data) > 100_000 for client in clients))
        (slot,) = claimed_by(gate)
        served = len(gate.serving_pids(f"worker {slot}"))
        os.kill(gate.child_pids(f"worker {slot}")[-1], signal.SIGKILL)
        await over(tasks)
        return clients, slot, served

    clients, slot, served = asyncio.run(herd())
    assert all(len(client.body) < len(body) for client in clients), (
        "it was cut short, and so it ended for all"
    )
    assert all(body.startswith(client.body) for client in clients)
    answer.middle.set()
    wait_for("the successor", lambda: len(gate.serving_pids(f"worker {slot}")) > served)
    assert {client.body for client in asyncio.run(answered(gate, path, 50))} == {body}
    time.sleep(REST_SECONDS)


def test_a_home_that_dies_before_the_head_is_done_without(gate, story):
    path = "/dying"
    answer = story.tell(path, b"here", LIVES)
    answer.gate.clear()

    async def herd():
        clients, tasks = await crowd(gate, path, 100)
        await until("the first request", lambda: story.asked(path))
        await asyncio.sleep(0.3)
        (slot,) = claimed_by(gate)
        served = len(gate.serving_pids(f"worker {slot}"))
        os.kill(gate.child_pids(f"worker {slot}")[-1], signal.SIGKILL)
        await until("the request of the other worker", lambda: len(story.asked(path)) == 2)
        answer.gate.set()
        await over(tasks)
        return clients, slot, served

    clients, slot, served = asyncio.run(herd())
    whole = [client for client in clients if client.data]
    assert whole, "the clients of the worker that lived are answered"
    assert {client.body for client in whole} == {b"here"}
    assert len(story.asked(path)) == 2
    wait_for("the successor", lambda: len(gate.serving_pids(f"worker {slot}")) > served)
    assert any(event["reason"] == "broken" for event in gate.events("cache-peer-failed"))
    time.sleep(REST_SECONDS)


def test_a_home_that_hangs_holds_nobody_for_long(gate, story):
    path = held_by(gate, story, 0, "/hanging", b"here", LIVES)
    hung = gate.child_pids("worker 0")[-1]

    async def herd():
        # Those whom the kernel gives to the hung worker wait for it; the others do not.
        clients, tasks = await crowd(gate, path, 60)
        await until(
            "the answers of the other worker",
            lambda: sum(client.is_over for client in clients) >= 10,
            SILENCE - 1.0,
        )
        os.kill(hung, signal.SIGCONT)
        await over(tasks)
        return clients

    os.kill(hung, signal.SIGSTOP)
    try:
        clients = asyncio.run(herd())
    finally:
        os.kill(hung, signal.SIGCONT)
    assert {client.body for client in clients} == {b"here"}
    time.sleep(REST_SECONDS)


def test_a_purge_in_mid_flight_is_for_all_workers(gate, story):
    for slot in (0, 1):
        path = f"/purged-{slot}"
        answer = story.tell(path, b"old" * 1000, LIVES)
        answer.middle.clear()

        async def herd(path=path, answer=answer):
            clients, tasks = await crowd(gate, path, 60)
            await until("the first octets", lambda: all(client.body for client in clients))
            admin = AdminClient(gate.runtime / "admin.sock")
            done = await asyncio.to_thread(admin.purge, "url", f"http://site{path}", is_soft=False)
            assert not done["behind"]
            answer.middle.set()
            await over(tasks)
            return clients

        assert {client.body for client in asyncio.run(herd())} == {b"old" * 1000}
        story.tell(path, b"new", LIVES)
        assert {client.body for client in asyncio.run(answered(gate, path, 60))} == {b"new"}
        assert len(story.asked(path)) == 2


def test_what_an_unsafe_request_made_old_is_not_got_from_another_worker(gate, story):
    for slot in (0, 1):
        path = f"/changed-{slot}"
        story.tell(path, b"old", LIVES, 'ETag: "1"')
        asyncio.run(answered(gate, path, 40))
        for round_ in range(6):
            body = b"new %d" % round_
            story.tell(path, body, LIVES, f'ETag: "{round_ + 2}"')
            # On one connection: the worker that has heard of the change is the one that is asked.
            assert change_and_get(gate, path) == body


def change_and_get(gate, path):
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 10) as sock:
        wire = Wire(sock)
        wire.send(f"POST {path} HTTP/1.1\r\nHost: site\r\nContent-Length: 0\r\n\r\n".encode())
        head = wire.read_head()
        wire.read_content(head)
        wire.send(f"GET {path} HTTP/1.1\r\nHost: site\r\n\r\n".encode())
        head = wire.read_head()
        return wire.read_content(head)


def test_the_field_of_the_workers_is_nobody_elses(gate, story):
    for slot in (0, 1):
        path = f"/field-{slot}"
        story.tell(path, b"mine", LIVES, "Headgate-Peer: alone 1")
        clients = asyncio.run(answered(gate, path, 30, "Headgate-Peer: 0 0 0 0 .a2V5 .aA== .Lw=="))
        assert {client.body for client in clients} == {b"mine"}
        assert all(client.head.get("headgate-peer") is None for client in clients)
        (asked,) = story.asked(path)
        assert asked.get("headgate-peer") is None


def peer_answer(sock, path, field):
    wire = Wire(sock)
    wire.send(f"GET {path} HTTP/1.1\r\nHost: site\r\nHeadgate-Peer: {field}\r\n\r\n".encode())
    while (head := wire.read_head()).status < 200:
        assert head.get("headgate-peer") == "sign"
    return head, wire.read_content(head)


def peer_socket(gate, slot):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(gate.runtime / "peers" / str(slot)))
    return sock


def question(gate, path, purges=0, more=0):
    config = load(gate.config)
    route = route_number(config, config.route[0]) + more
    (row, _) = AdminClient(gate.runtime / "admin.sock").explain(url_of(path).decode(), "GET", [])
    key = row["key"].encode("latin-1")
    return Question(purges, -1, False, route, key, b"site", path.encode()).encode().decode()


def test_what_a_worker_answers_another(gate, story):
    here, elsewhere = held_by(gate, story, 0, "/peer", b"mine", LIVES, "Headgate-Peer: alone 1"), "/elsewhere"
    folder = (gate.runtime / "peers").stat()
    assert (folder.st_mode & 0o777, folder.st_uid) == (0o700, os.geteuid())
    seen = settled(gate)
    with peer_socket(gate, 0) as sock:
        head, body = peer_answer(sock, here, question(gate, here))
        # What the origin says in that field is nobody's word, and our member of Cache-Status is for clients.
        assert (head.get("headgate-peer").split()[0], body) == ("answer", b"mine")
        assert head.get("cache-status") is None
        for field, why in (
            (question(gate, here, purges=1 << 58), PURGED),
            (question(gate, elsewhere), GONE),
            (question(gate, here, more=1), UNSUITED),
            ("0 0 0 0 . . .", MALFORMED),
        ):
            head, body = peer_answer(sock, here, field)
            assert (head.status, head.get("headgate-peer"), body) == (503, f"alone {why}", b"")
    assert not story.asked(elsewhere), "who asks fetches it"
    assert settled(gate) == seen, "no client has asked for anything"
    assert sum(here in str(line) for line in gate.access_lines()) == 1, "the client of before"


def test_workers_whose_sockets_were_removed_are_asked_again(gate, story):
    shutil.rmtree(gate.runtime / "peers")
    for slot in (0, 1):
        address = str(gate.runtime / "peers" / str(slot))
        wait_for(
            "the socket",
            lambda address=address: [e for e in gate.events("cache-peer-bound") if e["address"] == address],
        )
        gate.settle()
        before, paths = workers_asked(gate), itertools.count()

        def is_asked(slot=slot, before=before, paths=paths):
            path = held_by(gate, story, slot, f"/removed-{slot}-{next(paths)}", b"back", LIVES)
            assert {client.body for client in asyncio.run(answered(gate, path, 20))} == {b"back"}
            return workers_asked(gate) > before

        wait_for("an answer of the home", is_asked)


def test_one_connection_of_workers_more_than_there_is_room_for(gate, story):
    path = "/room"
    story.tell(path, b"x", "Cache-Control: no-store")
    refused = "headgate_cache_peers_refused_total"
    before = gate.metrics()[refused]
    others = [peer_socket(gate, 0) for _ in range(MAX_CONNECTIONS + 1)]
    try:
        wait_for("the refusal", lambda: gate.metrics()[refused] > before)
        # Clients do not suffer: who finds no room asks the origin.
        assert {client.body for client in asyncio.run(answered(gate, path, 40))} == {b"x"}
    finally:
        for sock in others:
            sock.close()
    time.sleep(REST_SECONDS)


def homes(gate, path, *fields):
    rows = AdminClient(gate.runtime / "admin.sock").explain(url_of(path).decode(), "GET", list(fields))
    return [row.get("home") for row in rows]


def test_explain_names_the_home_of_a_key_and_whether_it_is_reached(gate, story):
    time.sleep(REST_SECONDS)
    assert homes(gate, "/nobody-has-it") == [None, None]
    for slot in (0, 1):
        path = held_by(gate, story, slot, f"/told-{slot}", b"x", LIVES)
        there = {"worker": slot, "reachable": True, "why": ""}
        # Worker by worker: the home asks nobody.
        assert homes(gate, path) == [{**there, "asked": slot != 0}, {**there, "asked": slot != 1}]
        assert homes(gate, path, "Cache-Control: no-cache") == [{**there, "asked": False}] * 2
    done = gate.run("explain", url_of(path).decode())
    assert "at home in worker 1, which the others ask and reach" in done.stdout


def test_explain_says_that_a_home_is_not_reached(gate, story):
    path = held_by(gate, story, 1, "/lost", b"x", LIVES)
    place = gate.runtime / "peers" / "1"
    place.rename(gate.runtime / "peers" / "kept")
    place.touch()  # something else of that name: nobody binds it anew
    try:
        lost = {"worker": 1, "reachable": False, "why": "Connection refused"}
        assert homes(gate, path) == [{**lost, "asked": True}, {**lost, "asked": False}]
        done = gate.run("explain", url_of(path).decode())
        assert "at home in worker 1, which is not reached by worker 0 (Connection refused)" in done.stdout
    finally:
        (gate.runtime / "peers" / "kept").rename(place)
