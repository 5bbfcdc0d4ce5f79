"""What a cache answers over TLS in HTTP/1.1, HTTP/2 and HTTP/3: the same outcomes, fields and octets in each."""

import random
import time
from email.utils import formatdate

import pytest
from tests.integration.cache.wire import CLIENTS, NAME
from tests.integration.gate import wait_for
from tests.integration.gate_tls.conftest import make_site

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
LIVES = "Cache-Control: max-age=60"
TAG = 'ETag: "one"'
BODY = random.Random(3).randbytes(300_000)
FILM = random.Random(4).randbytes(5 << 20)  # more than all of the memory
BLOCK = 256 * 1024  # of a file's checksums
LOGGED = {"h1": "HTTP/1.1", "h2": "HTTP/2.0", "h3": "HTTP/3.0"}


@pytest.fixture(scope="module")
def gate(story, tmp_path_factory):
    site = make_site(tmp_path_factory.mktemp("gate"))
    site.certificate("a", NAME)
    with site.gate(TEXT.format(url=story.url), listener_extra='protocols = ["h1", "h2", "h3"]\n') as running:
        yield running


@pytest.fixture(params=sorted(CLIENTS))
def version(request):
    return request.param


@pytest.fixture
def client(gate, version):
    return CLIENTS[version](gate.https_ports[0])


@pytest.fixture
def path(request, version):
    return f"/{request.node.originalname}/{version}"


def expect_hit(got):
    assert got.cache.startswith("headgate; hit; ttl="), got.cache
    age = got.get("age")
    assert age is not None
    assert 0 <= int(age) <= 5


def test_a_miss_and_then_a_hit(gate, story, client, version, path):
    story.tell(path, BODY, LIVES, "Content-Type: text/plain")
    first, second = client.ask(path), client.ask(path)
    assert first.cache.startswith("headgate; fwd=uri-miss; fwd-status=200; ttl="), first.cache
    assert "; stored" in first.cache
    assert first.get("age") is None
    expect_hit(second)
    for got in (first, second):
        assert (got.status, got.body) == (200, BODY)
        assert got.get("content-length") == str(len(BODY))
        assert got.get("content-type") == "text/plain"
    assert second.get("date") == first.get("date")
    assert len(story.asked(path)) == 1
    lines = wait_for(
        "two lines of the log",
        lambda: (
            (found := [line for line in gate.access_lines() if line["target"] == path])
            and found[1:]
            and found
        ),
    )
    assert [(line["protocol"], line["cache"]) for line in lines] == [
        (LOGGED[version], "MISS"),
        (LOGGED[version], "HIT"),
    ]


def test_what_one_version_has_stored_answers_the_others(gate, story, client, version, path):
    story.tell(path, BODY, LIVES)
    client.ask(path)
    for other in CLIENTS.values():
        got = other(gate.https_ports[0]).ask(path)
        expect_hit(got)
        assert got.body == BODY
    assert len(story.asked(path)) == 1


def test_who_has_it_already_gets_304(story, client, path):
    story.tell(path, BODY, LIVES, TAG)
    client.ask(path)
    got = client.ask(path, if_none_match='"one"')
    assert (got.status, got.body, got.get("etag")) == (304, b"", '"one"')
    expect_hit(got)
    other = client.ask(path, if_none_match='"two"')
    assert (other.status, other.body) == (200, BODY)
    assert len(story.asked(path)) == 1


def test_head_is_answered_from_what_get_has_stored(story, client, path):
    story.tell(path, BODY, LIVES)
    client.ask(path)
    got = client.ask(path, "HEAD")
    assert (got.status, got.body, got.get("content-length")) == (200, b"", str(len(BODY)))
    expect_hit(got)
    assert len(story.asked(path)) == 1


def test_ranges_of_what_is_stored(story, client, path):
    story.tell(path, BODY, LIVES, TAG)
    client.ask(path)
    size = len(BODY)
    for first, last in [(0, 0), (65_535, 65_536), (100, size - 1)]:
        got = client.ask(path, range=f"bytes={first}-{last}")
        assert (got.status, got.get("content-range")) == (206, f"bytes {first}-{last}/{size}")
        assert got.body == BODY[first : last + 1]
        assert got.get("content-length") == str(last + 1 - first)
        expect_hit(got)
    assert client.ask(path, range="bytes=-7").body == BODY[-7:]
    beyond = client.ask(path, range=f"bytes={size}-")
    assert (beyond.status, beyond.get("content-range"), beyond.body) == (416, f"bytes */{size}", b"")
    assert client.ask(path, range="bytes=5-", if_range='"two"').body == BODY
    assert len(story.asked(path)) == 1


def test_a_stale_response_is_served_while_it_is_confirmed(story, client, path):
    past = formatdate(time.time() - 10, usegmt=True)
    story.tell(
        path, b"old", "Cache-Control: max-age=5, stale-while-revalidate=60", f"Date: {past}", "Age: 10"
    )
    client.ask(path)
    answer = story.tell(path, b"new", LIVES)
    answer.gate.clear()
    for _ in range(2):
        got = client.ask(path)
        assert (got.status, got.body) == (200, b"old")
        assert got.cache.startswith("headgate; hit; ttl=-"), got.cache
        assert "stale-while-revalidate" in got.cache
        assert int(got.get("age")) >= 10
    wait_for("the request that confirms it", lambda: len(story.asked(path)) == 2)
    answer.gate.set()
    wait_for("the new response", lambda: client.ask(path).body == b"new")
    expect_hit(client.ask(path))
    assert len(story.asked(path)) == 2


def test_who_comes_while_it_comes_in_reads_along(story, client, path):
    answer = story.tell(path, BODY, LIVES)
    answer.middle.clear()
    half = len(BODY) // 2
    first = client.begin(path)
    first.read(half)
    second = client.begin(path)
    second.read(half)
    assert "fwd=uri-miss" in first.cache
    assert "collapsed" in second.cache
    assert second.get("age") in ("0", "1")
    assert first.body == second.body == BODY[:half]
    answer.middle.set()
    assert second.rest() == BODY
    assert first.rest() == BODY
    first.leave()
    second.leave()
    assert len(story.asked(path)) == 1
    expect_hit(client.ask(path))


def test_a_client_that_goes_leaves_what_it_began(story, client, path):
    answer = story.tell(path, BODY, LIVES)
    answer.middle.clear()
    gone = client.begin(path)
    gone.read(1000)
    gone.leave()
    answer.middle.set()
    got = wait_for(
        "the stored response", lambda: (got := client.ask(path)).cache.startswith("headgate; hit") and got
    )
    assert got.body == BODY
    assert len(story.asked(path)) == 1


def test_a_large_object_comes_from_disk(gate, story, client, path):
    story.tell(path, FILM, LIVES, TAG)
    first = client.ask(path)
    assert first.body == FILM
    got = client.ask(path)
    assert (got.status, got.get("content-length"), got.body == FILM) == (200, str(len(FILM)), True)
    expect_hit(got)
    for start, end in [(BLOCK - 1, BLOCK), (BLOCK, 2 * BLOCK - 1), (700_000, 1_600_000)]:
        part = client.ask(path, range=f"bytes={start}-{end}")
        assert (part.status, part.body == FILM[start : end + 1]) == (206, True)
    assert client.ask(path, if_none_match='"one"').status == 304
    assert client.ask(path, "HEAD").get("content-length") == str(len(FILM))
    assert len(story.asked(path)) == 1
    files = gate.state / "cache" / "files"
    wait_for("its file", lambda: any(file.stat().st_size >= len(FILM) for file in files.glob("*/*")))
