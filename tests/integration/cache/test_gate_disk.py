"""The cache on disk through a real gate: restarts, a writer that dies, invalidations."""

import http.client
import os
import signal

import pytest
from tests.integration.cache.story import Story
from tests.integration.gate import Gate, wait_for

TEXT = """
[cache]
enabled = true
memory = "4MiB"
disk = "64MiB"
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""
FRESH = "Cache-Control: max-age=3600"


def ask(gate, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", gate.http_ports[0], timeout=20)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=fields)
    try:
        with connection.getresponse() as response:
            return response.status, response.read(), response.headers
    finally:
        connection.close()


@pytest.fixture(scope="module")
def story():
    with Story() as origin:
        yield origin


@pytest.fixture
def gate(story, tmp_path):
    with Gate(tmp_path, TEXT.format(url=story.url)) as running:
        yield running


def objects(gate):
    return gate.metrics().get("headgate_cache_disk_objects", 0.0)


def restart(gate):
    assert gate.stop() == 0
    gate.start()


def is_hit(reply):
    return reply[2]["cache-status"].startswith("headgate; hit")


def test_a_restart_finds_what_was_stored(gate, story):
    paths = [f"/kept/{number}" for number in range(20)]
    for path in paths:
        story.tell(path, path.encode() * 100, FRESH, 'ETag: "x"', "Vary: Accept-Language")
        ask(gate, path, Accept_Language="en")
    assert not os.stat(gate.state / "cache").st_mode & 0o077
    restart(gate)
    for path in paths:
        reply = ask(gate, path, Accept_Language="en")
        assert reply[:2] == (200, path.encode() * 100)
        assert is_hit(reply)
        assert len(story.asked(path)) == 1
    assert not is_hit(ask(gate, paths[0], Accept_Language="de"))
    assert gate.events("cache-disk-unusable") == []
    found = wait_for("the look-ups to be counted", lambda: hits(gate))
    assert found == len(paths)


def hits(gate):
    return gate.metrics().get('headgate_cache_disk_lookups_total{result="hit"}', 0.0)


def test_what_was_invalidated_is_not_found_after_a_restart(gate, story):
    for path in ("/changed", "/other"):
        story.tell(path, b"old", FRESH)
        ask(gate, path)
    wait_for("both to be on the disk", lambda: objects(gate) == 2)
    assert ask(gate, "/changed", "POST")[0] == 200
    story.tell("/changed", b"new", FRESH)
    restart(gate)
    assert ask(gate, "/changed")[1] == b"new"
    assert is_hit(ask(gate, "/other"))


def test_what_a_304_says_is_on_the_disk_too(gate, story):
    story.tell("/confirmed", b"hello", "Cache-Control: max-age=0", 'ETag: "a"')
    ask(gate, "/confirmed")
    story.tell("/confirmed", b"hello", FRESH, 'ETag: "a"')
    assert ask(gate, "/confirmed")[1] == b"hello"
    restart(gate)
    reply = ask(gate, "/confirmed")
    assert reply[1] == b"hello"
    assert is_hit(reply)
    assert len(story.asked("/confirmed")) == 2


def test_a_writer_that_is_killed_costs_nobody_an_answer(gate, story):
    story.tell("/before", b"before", FRESH)
    ask(gate, "/before")
    wait_for("it to be on the disk", lambda: objects(gate) == 1)
    (old,) = gate.child_pids("cache writer")
    os.kill(old, signal.SIGKILL)
    story.tell("/meanwhile", b"meanwhile", FRESH)
    assert ask(gate, "/meanwhile")[1] == b"meanwhile"
    wait_for("another writer", lambda: len(gate.child_pids("cache writer")) == 2)
    assert gate.events("child-exited")[0]["child"] == "cache writer"
    story.tell("/after", b"after", FRESH)
    assert ask(gate, "/after")[1] == b"after"
    restart(gate)
    for path in ("/before", "/after"):
        assert is_hit(ask(gate, path))
