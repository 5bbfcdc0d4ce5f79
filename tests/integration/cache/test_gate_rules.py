"""Rules of RFC 9111, RFC 9110 and RFC 9211 that a gate keeps: docs/conformance-cache.md names them one by one."""

import time

from tests.integration.cache.test_gate_cache import ask, crowd
from tests.integration.gate import wait_for

BODY = bytes(range(256)) * 8
TAG = 'ETag: "one"'
OLD = "Age: 30"


def is_asked(story, path, count):
    wait_for(f"request {count} for {path}", lambda: len(story.asked(path)) == count)


def two_who_wait(gate, story, path, answer, first, second):
    """Let two clients ask with these fields while the origin holds its answer back, the second after the first;
    return what they get."""
    answer.gate.clear()
    asked = len(story.asked(path))
    before = gate.metrics()["headgate_connections_total"]
    one, replies = crowd(gate, path, 1, **first)
    is_asked(story, path, asked + 1)
    other, others = crowd(gate, path, 1, **second)
    wait_for("both clients", lambda: gate.metrics()["headgate_connections_total"] - before >= 2)
    time.sleep(0.1)  # a request follows its connection at once
    answer.gate.set()
    for thread in one + other:
        thread.join(20)
    return replies[0], others[0]


def test_rfc9111_4_1_an_error_gives_nobody_the_variant_of_another(gate, story):
    """Whoever waits for a request that confirms somebody else's variant gets none of it when that fails."""
    path = "/variants-fail"
    story.tell(path, b"deutsch", "Cache-Control: max-age=5, stale-if-error=60", "Vary: Accept-Language", OLD)
    assert ask(gate, path, Accept_Language="de").body == b"deutsch"
    answer = story.tell(path, b"sorry", status=503)
    german, english = two_who_wait(
        gate, story, path, answer, {"Accept_Language": "de"}, {"Accept_Language": "en"}
    )
    assert german.body == b"deutsch"
    assert (english.status, english.body) == (503, b"sorry")


def test_rfc9111_3_3_a_part_that_is_confirmed_is_not_the_whole_of_another(gate, story):
    """Whoever wants all waits while a part is confirmed, and asks for all then, not whether the part is still true
    (section 4.3.2)."""
    path = "/part-confirmed"
    story.tell(path, BODY, "Cache-Control: max-age=5, stale-while-revalidate=60", TAG, OLD).ranges = True
    assert ask(gate, path, Range="bytes=0-99").status == 206
    answer = story.tell(path, BODY, "Cache-Control: max-age=60", TAG)
    part, whole = two_who_wait(gate, story, path, answer, {"Range": "bytes=0-9"}, {})
    assert (part.status, part.body) == (206, BODY[:10])
    assert (whole.status, whole.body) == (200, BODY)
    assert story.asked(path)[-1].get("if-none-match") is None


def test_rfc9111_3_3_a_part_is_not_the_whole_in_place_of_an_error(gate, story):
    path = "/part-fails"
    said = "Cache-Control: max-age=5, stale-while-revalidate=60, stale-if-error=60"
    story.tell(path, BODY, said, TAG, OLD).ranges = True
    assert ask(gate, path, Range="bytes=0-99").status == 206
    answer = story.tell(path, b"sorry", status=503)
    part, whole = two_who_wait(gate, story, path, answer, {"Range": "bytes=0-9"}, {})
    assert (part.status, part.body) == (206, BODY[:10])
    assert (whole.status, whole.body) == (503, b"sorry")


def two_variants(gate, story, path, *lines):
    """Store two variants that a request with A and B of "1" could both have got, of which the second is preferred."""
    story.tell(path, b"hello", "Vary: A", *lines)
    ask(gate, path, A="1", B="0")
    story.tell(path, b"hello", "Vary: B", *lines)
    ask(gate, path, A="0", B="1")
    assert len(story.asked(path)) == 2


def test_rfc9111_4_3_4_all_that_share_a_strong_validator_are_updated(gate, story):
    path = "/both-confirmed"
    two_variants(gate, story, path, "Cache-Control: max-age=5", TAG, OLD)
    story.tell(path, b"hello", "Cache-Control: max-age=60", TAG, "X-New: yes")
    assert "fwd=stale" in ask(gate, path, A="1", B="1").cache
    replies = [ask(gate, path, A="1", B="0"), ask(gate, path, A="0", B="1")]
    assert [(reply.headers["x-new"], "hit" in reply.cache) for reply in replies] == [("yes", True)] * 2
    assert len(story.asked(path)) == 3


def test_rfc9111_4_3_5_head_is_for_all_that_could_have_been_chosen(gate, story):
    path = "/both-head"
    two_variants(gate, story, path, "Cache-Control: max-age=60")
    story.tell(path, b"other!", "Cache-Control: max-age=60")
    assert ask(gate, path, "HEAD", A="1", B="1", Cache_Control="no-cache").status == 200
    replies = [ask(gate, path, A="1", B="0"), ask(gate, path, A="0", B="1")]
    assert [reply.body for reply in replies] == [b"other!"] * 2


def test_rfc9111_4_3_5_head_updates_what_it_confirms(gate, story):
    path = "/head-updates"
    story.tell(path, b"hello", "Cache-Control: max-age=60", "X-Version: 1")
    ask(gate, path)
    story.tell(path, b"hello", "Cache-Control: max-age=60", "X-Version: 2")
    ask(gate, path, "HEAD", Cache_Control="no-cache")
    reply = ask(gate, path)
    assert (reply.body, reply.headers["x-version"]) == (b"hello", "2")
    assert "hit" in reply.cache
    story.tell(path, b"hello", "Cache-Control: no-store, max-age=60")
    ask(gate, path, "HEAD", Cache_Control="no-cache")
    assert "hit" not in ask(gate, path).cache
