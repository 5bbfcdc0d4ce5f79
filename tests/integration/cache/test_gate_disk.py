"""The cache on disk through a real gate: restarts, a writer that dies, invalidations."""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
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
    wait_for("that variant to be written", lambda: objects(gate) == len(paths) + 1)
    assert gate.events("cache-disk-unusable") == []
    gate.settle()
    assert hits(gate) == len(paths)
    total = json.loads(gate.run("cache", "--json").stdout)["cache"][-1]
    assert (total["disk_hits"], total["disk"]["objects"]) == (len(paths), objects(gate))
    assert f"on disk: {total['disk']['objects']} objects, " in gate.run("cache").stdout


def hits(gate):
    return gate.metrics().get('headgate_cache_disk_lookups_total{result="hit"}', 0.0)


def test_what_was_put_together_of_parts_is_on_the_disk_once_nothing_is_missing(gate, story):
    bodies = {f"/joined/{size}": random.Random(size).randbytes(size) for size in (50_000, 500_000)}
    for path, body in bodies.items():
        story.tell(path, body, FRESH, 'ETag: "x"').ranges = True
        half = len(body) // 2
        assert ask(gate, path, Range=f"bytes={half}-{len(body) - 1}")[1] == body[half:]
        assert ask(gate, path, Range=f"bytes=0-{half}")[1] == body[: half + 1]
    path, body = "/joined/at-once", random.Random(3).randbytes(300_000)
    story.tell(path, body, FRESH, 'ETag: "x"').ranges = True
    assert ask(gate, path, Range=f"bytes=0-{len(body) - 1}")[1] == bodies.setdefault(path, body)
    for path, body in bodies.items():
        assert ask(gate, path)[:2] == (200, body)
    restart(gate)
    for path, body in bodies.items():
        for _ in range(2):
            reply = ask(gate, path)
            assert (reply[:2], is_hit(reply)) == ((200, body), True)
        assert ask(gate, path, Range="bytes=-9")[1] == body[-9:]
    assert [len(story.asked(path)) for path in bodies] == [2, 2, 1]


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


def test_what_was_purged_is_not_found_after_a_restart(gate, story):
    for path in ("/old", "/soft", "/stays"):
        story.tell(path, b"old", FRESH, 'ETag: "o"', f"Cache-Tag: {path[1:]}")
        ask(gate, path)
    wait_for("them to be on the disk", lambda: objects(gate) == 3)
    assert gate.call("purge", "--tag", "old").returncode == 0
    assert gate.call("purge", "--tag", "soft", "--soft").returncode == 0
    story.tell("/old", b"new", FRESH, "Cache-Tag: old")
    restart(gate)
    assert ask(gate, "/old")[1] == b"new"
    assert "detail=purged" in ask(gate, "/soft")[2]["cache-status"]
    assert is_hit(ask(gate, "/stays"))
    restart(gate)
    reply = ask(gate, "/old")
    assert reply[1] == b"new"
    assert is_hit(reply)  # stored after the purge


def test_a_purge_is_obeyed_although_the_clock_was_set_back_since_the_last_one(gate, story):
    ahead = int((time.time() + 3600) * 1e6)  # as if the clock had been an hour ahead until now
    (gate.state / "purge-number").write_text(f"{ahead}\n")
    for content in (b"one", b"two", b"three"):
        story.tell("/page", content, FRESH)
        assert ask(gate, "/page")[1] == content
        wait_for("it to be on the disk", lambda: objects(gate) == 1)
        assert gate.call("purge", "--everything").returncode == 0
        restart(gate)
    numbers = [event["generation"] for event in gate.events("cache-purge")]
    assert numbers == [ahead + 1, ahead + 2, ahead + 3]


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


def content_of(size, seed=0):
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("chunked", [False, True])
def test_large_content_is_the_same_from_disk(gate, story, chunked):
    content = content_of(3 << 20)
    story.tell("/film", content, FRESH, 'ETag: "f"').chunked = chunked
    assert ask(gate, "/film")[1] == content
    reply = ask(gate, "/film")
    assert reply[1] == content
    assert is_hit(reply)
    assert gate.settled_metrics()["headgate_cache_memory_bytes"] < 1 << 20
    restart(gate)
    reply = ask(gate, "/film")
    assert reply[1] == content
    assert is_hit(reply)
    status, part, fields = ask(gate, "/film", Range="bytes=700000-1600000")
    assert (status, part) == (206, content[700_000:1_600_001])
    assert fields["content-range"] == f"bytes 700000-1600000/{len(content)}"
    assert ask(gate, "/film", Range="bytes=-5")[1] == content[-5:]
    assert len(story.asked("/film")) == (1 if not chunked else 2)


def test_content_that_memory_could_have_is_in_its_file_alone(gate, story):
    content = content_of(300_000)
    story.tell("/picture", content, FRESH)
    assert [ask(gate, "/picture")[1] for _ in range(2)] == [content] * 2
    figures = gate.settled_metrics()
    assert figures["headgate_cache_sendfile_bytes_total"] == len(content)
    assert 0 < figures["headgate_cache_memory_bytes"] < 10_000
    assert figures['headgate_held_bytes{limit="cache-fills"}'] == 0
    restart(gate)
    reply = ask(gate, "/picture")
    assert reply[1] == content
    assert is_hit(reply)


def test_what_is_too_large_for_the_disk_too_passes_through(gate, story):
    content = content_of((8 << 20) + 1)
    story.tell("/huge", content, FRESH)
    story.tell("/unknown", content, FRESH).chunked = True
    for path in ("/huge", "/unknown"):
        assert [ask(gate, path)[1] == content for _ in range(2)] == [True, True]
        assert len(story.asked(path)) == 2
    assert list((gate.state / "cache" / "incoming").iterdir()) == []


def test_rfc9111_5_2_2_5_nothing_is_kept_of_what_says_no_store(gate, story):
    """Neither on disk nor in memory, whoever says it."""
    content = content_of(300_000)
    story.tell("/secret", content, FRESH, "Cache-Control: no-store")
    story.tell("/asked", content, FRESH)
    story.tell("/public", content, FRESH)
    assert ask(gate, "/secret")[1] == content
    assert ask(gate, "/asked", Cache_Control="no-store")[1] == content
    assert ask(gate, "/public")[1] == content
    wait_for("the one that may be stored", lambda: objects(gate) == 1)
    metrics = gate.settled_metrics()
    assert metrics["headgate_cache_objects"] == 1
    assert metrics['headgate_held_bytes{limit="cache-fills"}'] == 0
    restart(gate)
    assert not is_hit(ask(gate, "/secret"))
    assert not is_hit(ask(gate, "/asked"))
    assert is_hit(ask(gate, "/public"))


def go(gate, path, count):
    """Ask, read so many octets, and go."""
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as leaving:
        leaving.sendall(
            b"GET %b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n" % (path.encode(), gate.http_ports[0])
        )
        got = 0
        while got < count:
            got += len(leaving.recv(min(65536, count - got)))


def test_what_all_clients_have_left_is_fetched_within_a_bound(story, tmp_path):
    text = TEXT.format(url=story.url).replace("[cache]", "[cache]\nbackground_fill = '1MiB'")
    with Gate(tmp_path, text) as gate:

        def left():
            return gate.metrics()["headgate_cache_fills_left_total"]

        small, large = content_of(2 << 20), content_of(6 << 20)
        for path, content in (("/left-small", small), ("/left-large", large)):
            answer = story.tell(path, content, FRESH, 'ETag: "l"')
            answer.middle.clear()
            go(gate, path, 1 << 20)
            gate.settle()
            wait_for("the client to be gone", lambda: gate.metrics()["headgate_connections_open"] == 0)
            answer.middle.set()
        wait_for("the large one to be given up", lambda: left() == 1)
        wait_for("the small one", lambda: is_hit(ask(gate, "/left-small")))
        assert ask(gate, "/left-small")[1] == small
        assert len(story.asked("/left-small")) == 1
        assert ask(gate, "/left-large")[1] == large
        assert is_hit(ask(gate, "/left-large"))
        assert left() == 1
        wait_for("nothing unfinished", lambda: not list((gate.state / "cache" / "incoming").iterdir()))


def test_several_read_what_is_being_written_and_one_who_leaves_harms_nobody(gate, story):
    content = content_of(2 << 20)
    answer = story.tell("/shared", content, FRESH)
    answer.middle.clear()
    replies = []
    readers = [threading.Thread(target=lambda: replies.append(ask(gate, "/shared")[1])) for _ in range(3)]
    readers[0].start()
    wait_for("the first one's request", lambda: story.asked("/shared"))
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as leaving:
        leaving.sendall(b"GET /shared HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for reader in readers[1:]:
            reader.start()
        leaving.recv(1000)
    answer.middle.set()
    for reader in readers:
        reader.join(20)
    assert [reply == content for reply in replies] == [True] * 3


def test_a_confirmed_large_response_keeps_its_file(gate, story):
    content = content_of(1 << 20)
    story.tell("/slow", content, "Cache-Control: max-age=0", 'ETag: "s"')
    ask(gate, "/slow")
    wait_for("it to be on the disk", lambda: objects(gate) == 1)
    story.tell("/slow", content, FRESH, 'ETag: "s"')
    assert ask(gate, "/slow")[1] == content
    restart(gate)
    reply = ask(gate, "/slow")
    assert reply[1] == content
    assert is_hit(reply)


# -- disks that are bad


def files(gate):
    return [path for path in (gate.state / "cache" / "files").rglob("*") if path.is_file()]


def test_a_file_that_is_not_what_was_written_is_asked_for_again(gate, story):
    content = content_of(1 << 20)
    story.tell("/torn", content, FRESH)
    ask(gate, "/torn")
    wait_for("its file", lambda: files(gate))
    gate.stop()
    with files(gate)[0].open("r+b") as file:
        file.write(b"another")
    gate.start()
    assert ask(gate, "/torn")[1] == content
    assert len(story.asked("/torn")) == 2


@pytest.mark.parametrize("life", ["max-age=3600", "max-age=0"])
def test_many_who_want_a_file_that_is_gone_make_one_request(gate, story, life):
    path, content = f"/gone-{life[8:]}", content_of(1 << 20)
    answer = story.tell(path, content, f"Cache-Control: {life}", 'ETag: "g"')
    ask(gate, path)
    wait_for("its file", lambda: files(gate))
    story.requests.clear()
    for file in files(gate):
        file.unlink()
    story.tell(path, content, FRESH, 'ETag: "g"').gate = answer.gate
    answer.gate.clear()
    replies = []
    clients = [threading.Thread(target=lambda: replies.append(ask(gate, path))) for _ in range(6)]
    for client in clients:
        client.start()
    wait_for("all to be there", lambda: gate.metrics()["headgate_connections_open"] >= len(clients))
    answer.gate.set()
    for client in clients:
        client.join(20)
    assert [reply[1] == content for reply in replies] == [True] * len(clients)
    whole = [head for head in story.asked(path) if not head.get("if-none-match")]
    assert len(whole) == 1


def test_no_store_where_the_file_is_gone_says_nothing_of_others(gate, story):
    """RFC 9111 section 5.2.1.5: what is answered to it is not stored, and others may still wait for one another."""
    story.tell("/unkept", content_of(1 << 20), FRESH)
    ask(gate, "/unkept")
    wait_for("its file", lambda: files(gate))
    for file in files(gate):
        file.unlink()
    passed = ask(gate, "/unkept", Cache_Control="no-store")
    assert "detail=client-no-store" in passed[2]["cache-status"]
    assert "detail=not-stored" in ask(gate, "/unkept")[2]["cache-status"]


def test_only_if_cached_is_refused_where_the_file_is_gone(gate, story):
    """RFC 9111 section 5.2.1.7."""
    story.tell("/lost", content_of(1 << 20), FRESH)
    ask(gate, "/lost")
    wait_for("its file", lambda: files(gate))
    for file in files(gate):
        file.unlink()
    assert ask(gate, "/lost", Cache_Control="only-if-cached")[0] == 504
    assert len(story.asked("/lost")) == 1


def test_an_index_that_is_damaged_begins_anew(gate, story):
    story.tell("/damaged", b"hello", FRESH)
    ask(gate, "/damaged")
    gate.stop()
    index = gate.state / "cache" / "index" / "data.mdb"
    index.write_bytes(b"\xff" * index.stat().st_size)
    gate.start()
    assert ask(gate, "/damaged")[1] == b"hello"
    wait_for("a warning", lambda: gate.events("cache-disk-damaged"))
    assert [event["process"] for event in gate.events("cache-disk-damaged")] == ["cache writer"]


@pytest.fixture
def small(story, tmp_path):
    """A gate whose state lies on a disk of 8 MiB."""
    folder = tmp_path / "state"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "tmpfs", str(folder)], check=True)
    try:
        with Gate(tmp_path, TEXT.format(url=story.url)) as running:
            yield running
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_costs_a_warning(small, story):
    content = content_of(1 << 20)
    for number in range(12):
        story.tell(f"/full/{number}", content[number:], FRESH)
        assert ask(small, f"/full/{number}")[1] == content[number:]
    wait_for("a warning", lambda: small.events("cache-disk-unusable"))
    assert len(small.events("cache-disk-unusable")) <= 2  # a worker's and the writer's
    for number in range(12):
        assert ask(small, f"/full/{number}")[1] == content[number:]


def test_a_disk_that_is_read_only_costs_a_warning(small, story):
    content = content_of(1 << 20)
    small.stop()
    subprocess.run(["mount", "-o", "remount,ro", str(small.state)], check=True)
    small.start()
    for path in ("/ro/1", "/ro/2"):
        story.tell(path, content, FRESH)
        assert [ask(small, path)[1] for _ in range(2)] == [content] * 2
    wait_for("a warning", lambda: small.events("cache-disk-unusable"))


def test_a_disk_that_goes_away_costs_a_warning(gate, story):
    content = content_of(1 << 20)
    shutil.rmtree(gate.state / "cache")
    for path in ("/gone/1", "/gone/2"):
        story.tell(path, content, FRESH)
        replies = [ask(gate, path) for _ in range(2)]
        assert [reply[1] for reply in replies] == [content] * 2
        # That says nothing of the URL: whoever comes at the same time still waits for one request.
        assert "known-uncacheable" not in replies[1][2]["cache-status"]
    assert {event["child"] for event in gate.events("child-exited")} == set()
    wait_for("the access log", lambda: len(gate.access_lines()) == 4)
    assert {line["cache_stored"] for line in gate.access_lines()} == {"no-room"}


def test_a_writer_whose_socket_was_removed_is_reached_again(gate, story):
    """By what cleans up old files: workers that start later have to find it, and a writer that dies another one."""
    for kills in ("worker 0", "cache writer", "worker 0"):
        os.unlink(gate.runtime / "cache.sock")
        bound = len(gate.events("cache-writer-bound"))
        wait_for("the socket", lambda bound=bound: len(gate.events("cache-writer-bound")) > bound)
        served = len(gate.child_pids(kills))
        os.kill(gate.child_pids(kills)[-1], signal.SIGKILL)
        wait_for("its successor", lambda kills=kills, served=served: len(gate.child_pids(kills)) > served)
        wait_for("a worker", lambda: answers(gate, story))
        wait_for("the writer", lambda: is_stored(gate, story))


def answers(gate, story):
    story.tell("/there", b"there", "Cache-Control: no-store")
    try:
        return ask(gate, "/there")[0] == 200
    except OSError:
        return False


def is_stored(gate, story):
    """Have something new stored; tell whether it gets to the disk."""
    before = objects(gate)
    path = f"/new/{time.monotonic_ns()}"
    story.tell(path, b"new", FRESH)
    ask(gate, path)
    end = time.monotonic() + 3.0
    while objects(gate) == before and time.monotonic() < end:
        time.sleep(0.1)
    return objects(gate) > before


def fill_up(folder):
    """Leave no room at all on a disk; return what takes it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 12)):
            pass
    return filler


def test_what_was_purged_or_changed_while_the_disk_was_full_is_not_found_after_a_restart(small, story):
    """The writer cannot write that down: it does so before it ends, or the index goes."""
    for path in ("/purged", "/changed", "/other"):
        story.tell(path, b"old", FRESH, f"Cache-Tag: {path[1:]}")
        ask(small, path)
    wait_for("them to be on the disk", lambda: objects(small) == 3)
    filler = fill_up(small.state)
    for number in range(60):
        story.tell(f"/more/{number}", bytes(50_000), FRESH)
        ask(small, f"/more/{number}")
    wait_for("a warning", lambda: small.events("cache-disk-unusable"))
    assert ask(small, "/changed", "POST")[0] == 200
    small.call("purge", "--tag", "purged")
    for path in ("/purged", "/changed"):
        story.tell(path, b"new", FRESH)
    assert small.stop() == 0
    filler.unlink()
    small.start()
    assert ask(small, "/purged")[1] == b"new"
    assert ask(small, "/changed")[1] == b"new"


def test_a_cache_whose_folder_is_removed_while_it_runs_begins_anew(gate, story):
    """Nothing tells the writer: what it has open can be written for ever, and nobody finds it."""
    story.tell("/before", b"before", FRESH)
    ask(gate, "/before")
    wait_for("it to be on the disk", lambda: objects(gate) == 1)
    shutil.rmtree(gate.state / "cache")
    wait_for("a warning", lambda: gate.events("cache-disk-damaged"))
    wait_for("a new index", lambda: objects(gate) == 0)
    assert "its index was removed" in gate.events("cache-disk-damaged")[0]["detail"]
    story.tell("/after", b"after", FRESH)
    ask(gate, "/after")
    wait_for("it to be on the disk", lambda: objects(gate) == 1)
    restart(gate)
    assert is_hit(ask(gate, "/after"))


def test_what_was_changed_while_the_disk_is_full_is_not_read_from_it(small, story):
    """Not even by the one worker whose memory has let go of what it knew of the URL."""
    story.tell("/changed", b"old", FRESH)
    ask(small, "/changed")
    wait_for("it to be on the disk", lambda: objects(small) == 1)
    fill_up(small.state)
    fetch_many(small, story, "first", 60)
    wait_for("a warning", lambda: small.events("cache-disk-unusable"))
    assert ask(small, "/changed", "POST")[0] == 200
    story.tell("/changed", b"new", FRESH)
    time.sleep(6.0)  # in which a writer that is well has long written that down
    fetch_many(small, story, "second", 120)
    assert ask(small, "/changed")[1] == b"new"


def fetch_many(gate, story, name, count):
    for number in range(count):
        path = f"/{name}/{number}"
        story.tell(path, bytes(50_000), FRESH)
        ask(gate, path)
