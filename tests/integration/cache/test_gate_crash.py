"""Kill -9 of workers, writer, keeper and all of them, at seeded moments under load: no wrong octet is ever served.

Content is made from its path and version, so that a client knows whether what it got is right. An answer may be cut
short by a kill; then what came of it has to be right too. A gate goes through five rounds: one process is killed in
each, in an order of its own, and in the last one all of them. The next gate begins with what is on the disk.
"""

import contextlib
import http.client
import os
import random
import signal
import threading
from functools import lru_cache

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.origin import Origin

GATES = 40 if os.environ.get("HEADGATE_SOAK") == "1" else 4  # of five rounds
CLIENTS = 4
PATHS = 40
BETWEEN = 60  # answers, at most, from one kill to the next
TEXT = """
[cache]
enabled = true
memory = "1MiB"
disk = "64MiB"
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""


@lru_cache(512)
def content_of(number, version):
    """Small ones, some for files, and a few that only the disk may have."""
    chance = random.Random(number * 1000 + version)
    size = 2_000_000 if number % 20 == 0 else 90_000 if number % 5 == 0 else 100 + number * 150
    return chance.randbytes(size + version)


class Versions:
    """The origin: each POST makes another version of its path."""

    def __init__(self):
        self.versions = [0] * PATHS
        self.origin = Origin(self.serve)

    def serve(self, wire):
        while head := wire.read_head():
            wire.read_content(head)
            number = int(head.target.rpartition("/")[2])
            if head.words[0] == "POST":
                self.versions[number] += 1
                wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")
                continue
            version = self.versions[number]
            content = content_of(number, version)
            lines = f'Content-Length: {len(content)}\r\nX-Version: {version}\r\nETag: "{version}"\r\n'
            wire.send(
                b"HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n" + lines.encode() + b"\r\n" + content
            )


class Load:
    """Clients that ask until they are told to stop. `wrong` is what must stay empty."""

    def __init__(self, gate, seed):
        self.gate = gate
        self.answers = self.hits = self.cut = 0
        self.wrong = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.ask_on, args=(seed * 100 + n,)) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def ask_on(self, seed):
        chance = random.Random(seed)
        while not self.over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.gate.http_ports[0], timeout=20)
            try:
                while not self.over.is_set():
                    self.ask(connection, chance)
            except (OSError, http.client.HTTPException):
                self.cut += 1
                self.over.wait(0.002)
            finally:
                connection.close()

    def ask(self, connection, chance):
        number = chance.randrange(PATHS)
        if chance.random() < 0.03:
            connection.request("POST", f"/{number}")
            connection.getresponse().read()
            return
        fields = {}
        if chance.random() < 0.2:
            begin = chance.randrange(100)
            fields["Range"] = f"bytes={begin}-{begin + chance.randrange(90_000)}"
        connection.request("GET", f"/{number}", headers=fields)
        response = connection.getresponse()
        try:
            got = response.read()
        except http.client.IncompleteRead as error:
            self.check(number, response, error.partial, is_whole=False)
            raise
        self.check(number, response, got, is_whole=True)
        self.answers += 1
        self.hits += "headgate; hit" in response.headers.get("cache-status", "")

    def check(self, number, response, got, is_whole):
        if response.status >= 500:
            return  # the origin could not be asked
        content = content_of(number, int(response.headers["x-version"]))
        begin, length = 0, len(content)
        if response.status == 206:
            span = response.headers["content-range"].split()[1].partition("/")
            begin, end = (int(word) for word in span[0].split("-"))
            length = end + 1 - begin
        if got != content[begin : begin + len(got)] or len(got) > length or (is_whole and len(got) != length):
            self.wrong.append((number, response.status, dict(response.headers), len(got)))

    def wait(self, answers):
        """Wait until so many more have come."""
        until = self.answers + answers
        wait_for(f"{answers} answers", lambda: self.answers >= until)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(30)


def kill(gate, name):
    """Kill the process of that name, which has none or one running."""
    pids = gate.child_pids(name)
    dead = {event["pid"] for event in gate.events("child-exited")}
    if pids[-1] not in dead:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[-1], signal.SIGKILL)


def kill_all(gate):
    children = [gate.child_pids(name)[-1] for name in ("worker 0", "worker 1", "keeper", "cache writer")]
    gate.process.kill()
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    gate.process.wait()
    gate.process = None


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_killed_at_any_moment_nothing_wrong_is_served(tmp_path):
    chance = random.Random(11)
    served = hits = 0
    origin = Versions()
    with origin.origin, Gate(tmp_path, TEXT.format(url=origin.origin.url), workers=2, start=False) as gate:
        for number in range(GATES):
            gate.start()
            load = Load(gate, number)
            try:
                victims = ["worker 0", "worker 1", "keeper", "cache writer"]
                chance.shuffle(victims)
                for victim in victims:
                    load.wait(chance.randrange(1, BETWEEN))
                    kill(gate, victim)
                load.wait(chance.randrange(1, BETWEEN))
                kill_all(gate)
            finally:
                load.stop()
            served += load.answers
            hits += load.hits
            assert load.wrong == []
        gate.start()
        load = Load(gate, GATES)
        load.wait(200)
        load.stop()
        assert load.wrong == []
        assert not gate.events("cache-disk-unusable")
        gate.settle()
        assert disk_hits(gate) > 10
    assert hits > served // 3


def disk_hits(gate):
    return gate.metrics().get('headgate_cache_disk_lookups_total{result="hit"}', 0.0)
