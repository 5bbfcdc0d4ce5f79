"""Every outcome and every reason that the cache has words for, provoked through a gate: what Cache-Status says, and
what the access log says.

A row is what the origin tells, what is asked before, and what the last request meets.
"""

import re
import threading
import time
from email.utils import formatdate

import pytest
from tests.integration.cache.test_gate_cache import ask
from tests.integration.gate import wait_for

from headgate.admin.client import AdminClient
from headgate.cache.outcome import OUTCOMES, REASONS, STORED

TEXT = """
[cache]
enabled = true
memory = "1MiB"
max_object = "128KiB"
[[route]]
upstream = "origin"
[route.cache]
bypass_headers = ["X-Preview"]
[upstream.origin]
endpoints = ["{url}"]
"""
TAG = 'ETag: "1"'
FRESH = "Cache-Control: max-age=600"
LARGEST = 128 * 1024


def stale(said, age=60):
    """Lines of an answer that is `age` seconds old when it comes."""
    return f"Cache-Control: {said}", TAG, f"Date: {formatdate(time.time() - age, usegmt=True)}", f"Age: {age}"


class Case:
    """One row at work: its path, the origin and the gate."""

    def __init__(self, gate, story, path):
        self.gate = gate
        self.story = story
        self.path = path
        self.count = 0

    def tell(self, *lines, body=b"hello", **more):
        return self.story.tell(self.path, body, *lines, **more)

    def ask(self, method="GET", body=None, **fields):
        self.count += 1
        # The log is read by it: lines are in the order in which answers end.
        fields["User-Agent"] = str(self.count)
        return ask(self.gate, self.path, method, body, **fields)

    def store(self, *lines, **fields):
        """Have an answer stored."""
        answer = self.tell(*lines)
        assert "; stored" in self.ask(**fields).cache
        return answer


# -- what requests meet: each returns the reply of the request that the row is about


def fresh(case):
    case.store(FRESH)
    return case.ask()


def for_the_origin(case):
    """A condition that only the origin can judge."""
    case.store(FRESH, TAG)
    return case.ask(If_Match='"1"')


def not_stored(case):
    case.tell(FRESH)
    return case.ask()


def vary(case):
    case.store(FRESH, "Vary: Accept-Language", Accept_Language="de")
    return case.ask(Accept_Language="en")


def a_part(case):
    case.tell(FRESH, TAG, body=b"0123456789").ranges = True
    case.ask(Range="bytes=0-3")
    return case.ask()


def confirmed(*lines):
    def asked(case):
        case.store(*lines)
        return case.ask()

    return asked


def client_wants(said):
    def asked(case):
        case.store(*stale("max-age=600"))
        return case.ask(Cache_Control=said)

    return asked


def replaced(case):
    case.store(*stale("max-age=5"))
    case.tell(FRESH, 'ETag: "2"')
    return case.ask()


def invalidated(case):
    case.store(FRESH, TAG)
    case.ask("POST", b"x=1")
    return case.ask()


def purged(case):
    case.store(FRESH, TAG)
    url = f"http://127.0.0.1:{case.gate.http_ports[0]}{case.path}"
    AdminClient(case.gate.runtime / "admin.sock").purge("url", url, is_soft=True)
    return case.ask()


def max_stale(case):
    case.store(*stale("max-age=5"))
    return case.ask(Cache_Control="max-stale")


def while_revalidate(case):
    case.store(*stale("max-age=5, stale-while-revalidate=600"))
    return case.ask()


def if_error(case):
    case.store(*stale("max-age=5, stale-if-error=600"))
    case.tell(status=503)
    return case.ask()


def unreachable(case):
    case.store(*stale("max-age=5")).drops = True
    return case.ask()


def must_revalidate(case):
    case.store(*stale("max-age=5, must-revalidate")).drops = True
    return case.ask()


def only_if_cached(case):
    return case.ask(Cache_Control="only-if-cached")


def second_of_two(case, *lines):
    """Ask twice before there is a head; return the reply of the one who waited for the other."""
    answer = case.tell(*lines)
    answer.gate.clear()
    first = threading.Thread(target=case.ask)
    first.start()
    wait_for("the request", lambda: case.story.asked(case.path))
    before = case.gate.settled_metrics()["headgate_connections_total"]
    replies = []
    second = threading.Thread(target=lambda: replies.append(case.ask()))
    second.start()
    wait_for("the second client", lambda: case.gate.metrics()["headgate_connections_total"] > before)
    answer.gate.set()
    first.join(20)
    second.join(20)
    return replies[0]


def collapsed(case):
    return second_of_two(case, FRESH)


def let_go(case):
    return second_of_two(case, "Cache-Control: private")


def known(case):
    case.tell("Cache-Control: private")
    case.ask()
    return case.ask()


def with_method(case):
    case.tell(FRESH)
    return case.ask("DELETE")


def with_content(case):
    case.tell(FRESH)
    return case.ask("GET", b"x=1")


def with_upgrade(case):
    case.tell(FRESH)
    return case.ask(Connection="Upgrade", Upgrade="websocket")


def bypassed(case):
    case.store(FRESH)
    return case.ask(X_Preview="1")


def client_no_store(case):
    case.tell(FRESH)
    return case.ask(Cache_Control="no-store")


# Without a start of Cache-Status: a 504 is the gate's own, and nobody stands between connections that may be handed
# over.
REQUESTS = [
    (fresh, "HIT", "fresh", "hit; ttl="),
    (for_the_origin, "BYPASS", "precondition", "fwd=request"),
    (not_stored, "MISS", "not-stored", "fwd=uri-miss; fwd-status=200; ttl="),
    (vary, "MISS", "vary", "fwd=vary-miss"),
    (a_part, "MISS", "partial", "fwd=partial"),
    (confirmed(*stale("max-age=5")), "REVALIDATED", "expired", "fwd=stale; fwd-status=304"),
    (confirmed("Cache-Control: no-cache", TAG), "REVALIDATED", "no-cache", "fwd=stale; fwd-status=304"),
    (client_wants("no-cache"), "REVALIDATED", "client-no-cache", "fwd=request; fwd-status=304"),
    (client_wants("max-age=5"), "REVALIDATED", "client-max-age", "fwd=request; fwd-status=304"),
    (client_wants("min-fresh=900"), "REVALIDATED", "client-min-fresh", "fwd=request; fwd-status=304"),
    (replaced, "EXPIRED", "expired", "fwd=stale; fwd-status=200"),
    (invalidated, "REVALIDATED", "invalidated", "fwd="),
    (purged, "REVALIDATED", "purged", "fwd=stale; fwd-status=304"),
    (max_stale, "STALE", "client-max-stale", "hit; ttl=-"),
    (while_revalidate, "STALE", "stale-while-revalidate", "hit; ttl=-"),
    (if_error, "STALE", "stale-if-error", "fwd=stale; fwd-status=503; ttl=-"),
    (unreachable, "STALE", "unreachable", "hit; ttl=-"),
    (must_revalidate, "REFUSED", "must-revalidate", None),
    (only_if_cached, "REFUSED", "only-if-cached", None),
    (collapsed, "COLLAPSED", "none", "fwd=miss"),
    (let_go, "UNCACHEABLE", "known-uncacheable", "fwd=uri-miss; fwd-status=200"),
    (known, "UNCACHEABLE", "known-uncacheable", "fwd=uri-miss; fwd-status=200"),
    (with_method, "BYPASS", "method", "fwd=method"),
    (with_content, "BYPASS", "content", "fwd=bypass"),
    (with_upgrade, "BYPASS", "upgrade", None),
    (bypassed, "BYPASS", "bypassed", "fwd=bypass"),
    (client_no_store, "BYPASS", "client-no-store", "fwd=request"),
]


# -- why answers are not stored: what the origin tells, and what is asked


def told(*lines, status=200, body=b"hello", **fields):
    def asked(case):
        case.tell(*lines, status=status, body=body)
        return case.ask(**fields)

    return asked


def too_large_as_it_turns_out(case):
    case.tell(FRESH, body=b"x" * (LARGEST + 1)).chunked = True
    return case.ask()


def without_room(case, *, method="GET", body=None):
    """Three that are stored and come to no end: half of each is held, and a quarter of the memory is all there is."""
    held = []
    for number in range(3):
        answer = case.story.tell(f"{case.path}/{number}", b"x" * LARGEST, FRESH)
        answer.middle.clear()
        reader = threading.Thread(target=ask, args=(case.gate, f"{case.path}/{number}"))
        reader.start()
        held.append((answer, reader))
    room = 'headgate_held_bytes{limit="cache-fills"}'
    wait_for("three halves", lambda: case.gate.metrics()[room] >= 3 * LARGEST // 2)
    case.tell(FRESH, f"Content-Location: {case.path}", body=b"x" * LARGEST)
    reply = case.ask(method, body)
    for answer, reader in held:
        answer.middle.set()
        reader.join(20)
    wait_for("room", lambda: case.gate.metrics()[room] == 0)
    return reply


UNSTORED = [
    (told(FRESH, status=401), "status"),
    (told("Cache-Control: max-age=600, must-understand", status=299), "not-understood"),
    (told("Cache-Control: no-store"), "no-store"),
    (told("Cache-Control: private, max-age=600"), "private"),
    (told(FRESH, Authorization="Basic YTpi"), "authorization"),
    (told("Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT", "Set-Cookie: a=b"), "set-cookie"),
    (told(), "no-lifetime"),
    (told("Cache-Control: max-age=0"), "no-use"),
    (told(FRESH, "Vary: *"), "vary-any"),
    (told(FRESH, body=b"x" * (LARGEST + 1)), "too-large"),
    (too_large_as_it_turns_out, "too-large"),
    (told(FRESH, "Content-Range: lines 1-5/9", status=206), "range"),
    (without_room, "no-room"),
]


def run(gate, story, make, number):
    """Run one row; return the reply and its line in the access log."""
    case = Case(gate, story, f"/{getattr(make, '__name__', 'row')}-{number}")
    reply = make(case)

    def line():
        mine = (case.path, str(case.count))
        return [line for line in gate.access_lines() if (line["target"], line.get("user_agent")) == mine]

    return reply, wait_for("the access log", line)[0]


@pytest.mark.parametrize("number", range(len(REQUESTS)), ids=[f"{row[1]}-{row[2]}" for row in REQUESTS])
def test_what_becomes_of_a_request(gate, story, number):
    make, outcome, reason, start = REQUESTS[number]
    reply, line = run(gate, story, make, number)
    assert (line["cache"], line["cache_reason"]) == (outcome, reason)
    if start is None:
        assert reply.cache == ""
        return
    assert reply.cache.startswith(f"headgate; {start}")
    word = re.search("detail=([a-z-]+)", reply.cache)
    assert (word[1] if word else reason) == reason
    assert bool(word) is (reason not in ("fresh", "none"))
    assert ("collapsed" in reply.cache) is (outcome == "COLLAPSED")


@pytest.mark.parametrize("number", range(len(UNSTORED)), ids=[row[1] for row in UNSTORED])
def test_why_an_answer_is_not_stored(gate, story, number):
    make, why = UNSTORED[number]
    reply, line = run(gate, story, make, f"unstored-{number}")
    assert line["cache_stored"] == why
    assert line["cache"] == "MISS"
    # The head of one that turns out too large has promised it.
    assert ("; stored" in reply.cache) is (make is too_large_as_it_turns_out)
    assert "hit" not in ask(gate, line["target"]).cache


def test_want_of_room_says_nothing_of_the_key(gate, story):
    """The next request finds room, and is one that others may wait for."""
    case = Case(gate, story, "/room-again")
    without_room(case)
    assert "; stored" in case.ask().cache
    wait_for("the access log", lambda: len(lines_of(case)) == 2)
    assert [(line["cache"], line.get("cache_stored")) for line in lines_of(case)] == [
        ("MISS", "no-room"),
        ("MISS", None),
    ]


def without_room_for_post(case):
    return without_room(case, method="POST", body=b"x")


def post_of(size, *lines):
    def make(case):
        case.tell(FRESH, *(lines or (f"Content-Location: {case.path}",)), body=b"x" * size).chunked = True
        return case.ask("POST", b"x")

    return make


def test_why_an_answer_to_post_is_not_stored(gate, story):
    rows = [
        (without_room_for_post, "no-room"),
        (post_of(LARGEST), None),
        (post_of(LARGEST + 1), "too-large"),
        (post_of(1, "Content-Location: /post-3", "Cache-Control: private"), "private"),
        (post_of(1, "X-No: content-location"), None),
    ]
    cases = [Case(gate, story, f"/post-{number}") for number in range(len(rows))]
    room = 'headgate_cache_limited_total{limit="room"}'
    before = gate.settled_metrics()[room]
    for case, (make, _) in zip(cases, rows, strict=True):
        assert make(case).body
    wait_for("the access log", lambda: all(lines_of(case) for case in cases))
    assert [lines_of(case)[0].get("cache_stored") for case in cases] == [why for _, why in rows]
    assert gate.settled_metrics()[room] == before + 1


def lines_of(case):
    return [line for line in case.gate.access_lines() if line["target"] == case.path]


def test_a_stored_answer_has_no_reason_why_not(gate, story):
    reply, line = run(gate, story, not_stored, "stored")
    assert "; stored" in reply.cache
    assert "cache_stored" not in line


def test_every_word_is_provoked_here():
    assert {row[1] for row in REQUESTS} == set(OUTCOMES)
    assert {row[2] for row in REQUESTS} == set(REASONS[:STORED])
    assert {row[1] for row in UNSTORED} == set(REASONS[STORED + 1 :])
