"""What routes say of their own, through a gate: codings, targeted fields, lifetimes of errors, stale content.

`old` has a Date and an Age that make an answer stale when it comes, so that no test waits for it to be so.
"""

import socket
import time
from email.utils import formatdate

import pytest
from tests.integration.cache.test_gate_cache import ask
from tests.integration.gate import wait_for

TEXT = """
[cache]
enabled = true
accept_encoding = ["br", "gzip"]
targeted_fields = ["Shop-Cache-Control", "CDN-Cache-Control"]
s_maxage_allows_stale = true
[[route]]
path = "/own"
upstream = "origin"
[route.cache]
accept_encoding = []
targeted_fields = []
s_maxage_allows_stale = false
stale_if_unreachable = "0s"
[[route]]
path = "/errors"
upstream = "origin"
[route.cache]
negative_ttl = {{ 404 = "1m", 410 = "1h", 503 = "1s" }}
uncacheable_ttl = "0s"
[[route]]
path = "/guessed"
upstream = "origin"
[route.cache]
heuristic = "50%"
heuristic_max = "1h"
[[route]]
path = "/languages"
upstream = "origin"
[route.cache]
accept_language = ["en", "de-DE"]
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""


def old(seconds):
    return f"Date: {formatdate(time.time() - seconds, usegmt=True)}", f"Age: {seconds}"


def ttl(reply):
    return int(reply.cache.partition("ttl=")[2].partition(";")[0])


def test_codings_that_a_route_does_not_tell_apart(gate, story):
    story.tell("/codings", b"hello", "Cache-Control: max-age=60", "Vary: Accept-Encoding")
    asked = ["gzip, deflate, br, zstd", "br;q=0.9,gzip", "GZIP", "deflate", "identity;q=0.5", "*", ""]
    replies = [ask(gate, "/codings", Accept_Encoding=value) for value in asked]
    assert ["hit" in reply.cache for reply in replies] == [False, True, False, False, True, True, True]
    assert [head.get("accept-encoding") for head in story.asked("/codings")] == [
        "br, gzip",
        "gzip",
        "identity",
    ]


def test_a_request_that_names_no_coding_takes_none(gate, story):
    story.tell("/bare", b"hello", "Cache-Control: max-age=60", "Vary: Accept-Encoding")
    ask(gate, "/bare", Accept_Encoding="identity")
    host = b"127.0.0.1:%d" % gate.http_ports[0]
    with socket.create_connection(
        ("127.0.0.1", gate.http_ports[0]), 20
    ) as sock:  # http.client names one itself
        sock.sendall(b"GET /bare HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
        got = b"".join(iter(lambda: sock.recv(65536), b""))
    assert b"Cache-Status: headgate; hit" in got


def test_languages_that_a_route_does_not_tell_apart(gate, story):
    story.tell("/languages", b"hello", "Cache-Control: max-age=60", "Vary: Accept-Language")
    asked = ["fr, de-CH;q=0.1", "de", "DE-de;q=1,en;q=0.9", "fr", "en-GB,de;q=0.5", "*"]
    replies = [ask(gate, "/languages", Accept_Language=value) for value in asked]
    assert ["hit" in reply.cache for reply in replies] == [False, False, True, True, True, True]
    assert [head.get("accept-language") for head in story.asked("/languages")] == ["en", "de-de"]


def test_a_route_of_its_own_passes_codings_on(gate, story):
    story.tell("/own/codings", b"hello", "Cache-Control: max-age=60", "Vary: Accept-Encoding")
    for value in ("zstd, br", "br, zstd;q=1", "br"):
        ask(gate, "/own/codings", Accept_Encoding=value)
    assert [head.get("accept-encoding") for head in story.asked("/own/codings")] == ["zstd, br", "br"]


@pytest.mark.parametrize(
    ("name", "lines", "lifetime"),
    [
        ("first", ("Shop-Cache-Control: max-age=30", "CDN-Cache-Control: max-age=300"), 30),
        ("order", ("CDN-Cache-Control: max-age=300", "Shop-Cache-Control: max-age=30"), 30),
        ("next", ("Shop-Cache-Control: max-age=;", "CDN-Cache-Control: max-age=300"), 300),
        ("neither", ("Shop-Cache-Control: ", "Other-Cache-Control: max-age=9"), 900),
    ],
)
def test_the_first_valid_targeted_field_is_obeyed(gate, story, name, lines, lifetime):
    story.tell(f"/targeted-{name}", b"hello", "Cache-Control: max-age=900", *lines)
    ask(gate, f"/targeted-{name}")
    assert lifetime - 5 <= ttl(ask(gate, f"/targeted-{name}")) <= lifetime


def test_a_route_that_obeys_no_targeted_field(gate, story):
    story.tell("/own/targeted", b"hello", "Cache-Control: max-age=900", "CDN-Cache-Control: no-store")
    story.tell("/targeted", b"hello", "Cache-Control: max-age=900", "CDN-Cache-Control: no-store")
    for path, count in (("/own/targeted", 1), ("/targeted", 2)):
        ask(gate, path)
        ask(gate, path)
        assert len(story.asked(path)) == count


def test_s_maxage_forbids_stale_content_or_not(gate, story):
    said = "Cache-Control: s-maxage=5, stale-while-revalidate=600"
    for path, word in (("/stale", "hit"), ("/own/stale", "fwd=stale")):
        story.tell(path, b"hello", said, 'ETag: "1"', *old(60))
        ask(gate, path)
        assert word in ask(gate, path).cache


def test_a_silent_origin_and_what_is_stale(gate, story):
    for path, status in (("/silent", 200), ("/own/silent", 502)):
        answer = story.tell(path, b"hello", "Cache-Control: max-age=5", 'ETag: "1"', *old(60))
        assert ask(gate, path).status == 200
        answer.drops = True
        reply = ask(gate, path)
        assert reply.status == status
        assert ("detail=unreachable" in reply.cache) is (status == 200)


def test_errors_have_the_lifetime_of_their_status(gate, story):
    for status, lifetime in ((404, 60), (410, 3600), (503, 1)):
        path = f"/errors/{status}"
        story.tell(path, b"none", status=status)
        assert "stored" in ask(gate, path).cache
        reply = ask(gate, path)
        assert (reply.status, reply.body) == (status, b"none")
        assert lifetime - 5 <= ttl(reply) <= lifetime
    wait_for("the end of the second", lambda: "hit" not in ask(gate, "/errors/503").cache)
    assert len(story.asked("/errors/404")) == len(story.asked("/errors/410")) == 1


def test_errors_that_say_for_how_long_or_are_of_another_status(gate, story):
    story.tell("/errors/said", b"none", "Cache-Control: max-age=7", status=404)
    story.tell("/errors/never", b"none", "Cache-Control: no-store", status=404)
    story.tell("/errors/other", b"none", status=500)
    story.tell("/elsewhere", b"none", status=404)
    for path, count in (("/errors/said", 1), ("/errors/never", 2), ("/errors/other", 2), ("/elsewhere", 2)):
        ask(gate, path)
        last = ask(gate, path)
        assert len(story.asked(path)) == count, path
        if count == 1:
            assert 2 <= ttl(last) <= 7


def test_what_was_not_storable_may_not_be_remembered(gate, story):
    for path, word in (("/errors/private", "uri-miss"), ("/private", "known-uncacheable")):
        story.tell(path, b"mine", "Cache-Control: private")
        ask(gate, path)
        assert word in ask(gate, path).cache


def test_a_guess_has_a_bound(gate, story):
    changed = f"Last-Modified: {formatdate(time.time() - 86400 * 30, usegmt=True)}"
    for path, lifetime in (("/guessed", 3600), ("/not-guessed", 86400)):
        story.tell(path, b"hello", changed)
        ask(gate, path)
        assert lifetime - 5 <= ttl(ask(gate, path)) <= lifetime
