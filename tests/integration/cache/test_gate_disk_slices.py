"""Slices on disk through a gate: found after a restart and after kill -9, purged, dropped with their version, sent as
files are."""

import http.client
import os
import random
import signal
import subprocess

import pytest
from tests.integration.cache.test_gate_disk import FRESH, ask, files, objects, restart
from tests.integration.cache.test_gate_sendfile import SENT, Slow
from tests.integration.cache.test_gate_sendfile import TEXT as LARGE
from tests.integration.gate import Gate, wait_for

from headgate.testing.pki import Authority

SLICE = 256 << 10
SIZE = 5 * SLICE + 777
TEXT = f"""{LARGE}
[route.cache]
slice = "256KiB"
slice_prefetch = 1
"""


@pytest.fixture(scope="module")
def gate(story, tmp_path_factory):
    with Gate(tmp_path_factory.mktemp("slices"), TEXT.format(url=story.url)) as running:
        yield running


def film(story, path, tag="one", *more):
    """Have six slices of content, as no other has, at the origin, the last one small; return it."""
    body = random.Random(f"{path}{tag}").randbytes(SIZE)
    answer = story.tell(path, body, FRESH, f'ETag: "{tag}"', *more)
    answer.ranges = True
    return body


def stored(gate, story, path, *more):
    """The same, stored: what has not been written yet a restart waits for."""
    body = film(story, path, "one", *more)
    assert ask(gate, path)[1] == body
    return body


def asked(gate, story, path, body):
    """How often the origin is asked for all of it to come."""
    before = len(story.asked(path))
    assert ask(gate, path)[1] == body
    return len(story.asked(path)) - before


def test_a_restart_finds_slices_and_sends_them_as_files(gate, story):
    body = stored(gate, story, "/film")
    restart(gate)
    for first, last in [
        (0, 9),
        (SLICE - 20_000, 2 * SLICE + 20_000),
        (100, 4 * SLICE),
        (5 * SLICE, SIZE - 1),
    ]:
        status, got, _ = ask(gate, "/film", Range=f"bytes={first}-{last}")
        assert (status, got == body[first : last + 1]) == (206, True)
    before = gate.settled_metrics()[SENT]
    assert asked(gate, story, "/film", body) == 0
    assert gate.settled_metrics()[SENT] - before == 5 * SLICE
    ranges = [(3 * SLICE, 3 * SLICE + 99_999), (SLICE, SLICE + 99_999), (SLICE + 150_000, SLICE + 190_000)]
    before += 5 * SLICE
    _, got, _ = ask(gate, "/film", Range="bytes=" + ",".join(f"{a}-{b}" for a, b in ranges))
    places = [got.index(body[a : b + 1]) for a, b in ranges]
    assert places == sorted(places)
    assert gate.settled_metrics()[SENT] - before == sum(b + 1 - a for a, b in ranges)
    assert len(story.asked("/film")) == 6


def test_nothing_wrong_comes_of_slices_after_kill_9(gate, story):
    before = objects(gate)
    body = stored(gate, story, "/killed")
    wait_for("it to be written", lambda: objects(gate) >= before + 6)
    other = film(story, "/other")
    assert ask(gate, "/other")[1] == other
    writers = gate.child_pids("cache writer")
    os.kill(writers[-1], signal.SIGKILL)
    wait_for("another writer", lambda: len(gate.child_pids("cache writer")) > len(writers))
    gate.kill_worker(0)
    assert asked(gate, story, "/killed", body) == 0
    assert asked(gate, story, "/other", other) <= 6  # what the writer had not written yet
    assert asked(gate, story, "/other", other) == 0


def test_a_purge_takes_all_slices_on_disk(gate, story):
    paths = ("/one", "/two", "/three", "/four")
    bodies = {path: stored(gate, story, path, f"Cache-Tag: tag{path[1:]}") for path in paths}
    url = f"http://127.0.0.1:{gate.http_ports[0]}"
    for purge in ([f"{url}/one"], ["--tag", "tagtwo"], ["--prefix", f"{url}/th"]):
        assert gate.call("purge", *purge).returncode == 0
    restart(gate)
    assert [asked(gate, story, path, body) for path, body in bodies.items()] == [6, 6, 6, 0]
    # What memory has nothing of any more is looked up on the disk.
    for purge in (["--host", "127.0.0.1"], ["--everything"]):
        assert gate.call("purge", *purge).returncode == 0
        assert asked(gate, story, "/four", bodies["/four"]) == 6
        assert asked(gate, story, "/four", bodies["/four"]) == 0


def test_another_version_drops_the_slices_of_the_one_before(gate, story):
    stored(gate, story, "/changed")
    body = film(story, "/changed", "two")
    url = f"http://127.0.0.1:{gate.http_ports[0]}/changed"
    assert gate.call("purge", "--soft", url).returncode == 0
    restart(gate)
    assert asked(gate, story, "/changed", body) >= 6
    restart(gate)
    assert asked(gate, story, "/changed", body) == 0


def test_older_slices_take_none_of_the_newer_version_along(gate, story):
    film(story, "/mixed")
    for at in (3, 5):
        assert ask(gate, "/mixed", Range=f"bytes={at * SLICE}-{at * SLICE + 9}")[0] == 206
    body = film(story, "/mixed", "two")
    assert asked(gate, story, "/mixed", body) == 6
    confirmed = {head.get("range") for head in story.asked("/mixed") if head.get("if-none-match") == '"one"'}
    assert confirmed == {
        f"bytes={3 * SLICE}-{4 * SLICE - 1}",
        f"bytes={5 * SLICE}-{6 * SLICE - 1}",
    }
    restart(gate)
    assert asked(gate, story, "/mixed", body) == 0


def test_an_older_slice_in_place_of_an_error_purges_nothing(gate, story):
    film(story, "/erring", "one", "Cache-Control: stale-if-error=600")
    assert ask(gate, "/erring", Range=f"bytes={SLICE}-{SLICE + 9}")[0] == 206
    body = film(story, "/erring", "two")
    assert ask(gate, "/erring", Range="bytes=0-9")[1] == body[:10]
    story.tell("/erring", b"down", status=503)
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(gate, "/erring")
    assert caught.value.partial == body[:SLICE]
    assert ask(gate, "/erring", Range="bytes=5-9")[1] == body[5:10]
    film(story, "/erring", "two")
    assert ask(gate, "/erring")[1] == body
    # What is good of the newer version was not fetched again.
    assert [head.get("range") for head in story.asked("/erring")].count(f"bytes=0-{SLICE - 1}") == 1


def test_a_slice_that_is_not_what_was_written_is_asked_for_again(gate, story):
    before = set(files(gate))
    body = stored(gate, story, "/torn")
    restart(gate)
    for path in set(files(gate)) - before:
        with path.open("r+b") as file:
            file.write(b"another")
    assert asked(gate, story, "/torn", body) >= 5
    assert asked(gate, story, "/torn", body) == 0


def test_a_slow_client_gets_slices_as_files_and_holds_nobody_up(gate, story):
    body = stored(gate, story, "/slow")
    restart(gate)
    slow = Slow(gate, "/slow")
    assert asked(gate, story, "/slow", body) == 0
    assert slow.rest(SIZE)[1] == body


def test_over_tls_slices_are_read_and_written(story, tmp_path):
    leaf = Authority.root("Test Root").leaf("localhost")
    (tmp_path / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    text = f'[[certificate]]\nfiles = "{tmp_path / "a.pem"}"\n' + TEXT.format(url=story.url)
    with Gate(tmp_path, text, http=0, https=1) as gate:
        body = film(story, "/secure")
        for version in ("--http1.1", "--http2"):
            command = ["curl", "-sk", version, f"https://localhost:{gate.https_ports[0]}/secure"]
            assert subprocess.run(command, check=True, capture_output=True).stdout == body
        assert len(story.asked("/secure")) == 6
        assert gate.settled_metrics()[SENT] == 0
