"""Rules of RFC 9111, RFC 9110 and RFC 9211 that a gate keeps: docs/conformance-cache.md names them one by one."""

import gzip
import socket
import time
from email.utils import parsedate_to_datetime

import pytest
from tests.integration.cache.test_gate_cache import ask, crowd
from tests.integration.gate import wait_for

BODY = bytes(range(256)) * 8
TAG = 'ETag: "one"'
OLD = "Age: 30"
LASTS = "Cache-Control: max-age=60"


def is_asked(story, path, count):
    wait_for(f"request {count} for {path}", lambda: len(story.asked(path)) == count)


def two_who_wait(gate, story, path, answer, first, second):
    """Let two clients ask with these fields while the origin holds its answer back, the second after the first;
    return what they get."""
    answer.gate.clear()
    asked = len(story.asked(path))
    before = gate.settled_metrics()["headgate_connections_total"]
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


def raw(gate, path):
    """Return the octets of an answer to one who takes trailers, up to the end of its connection."""
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as client:
        lines = [f"GET {path} HTTP/1.1", "Host: a", "TE: trailers", "Connection: TE, close", "", ""]
        client.sendall("\r\n".join(lines).encode())
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(("path", "said", "passed"), [("/tr-kept", LASTS, 0), ("/tr-not", "X: y", 2)])
def test_rfc9111_3_1_trailers_of_what_is_stored_are_discarded(gate, story, path, said, passed):
    """Not stored, not combined with the header fields, and not sent to the first client either: what it gets and
    what later ones get is the same. Those of what is not stored go through."""
    answer = story.tell(path, b"hello", said, "Trailer: X-Sum")
    answer.chunked = True
    answer.trailers = ("X-Sum: 1",)
    replies = [raw(gate, path), raw(gate, path)]
    assert all(reply.startswith(b"HTTP/1.1 200 ") and b"llo" in reply for reply in replies)
    assert sum(b"\r\nX-Sum: 1\r\n" in reply for reply in replies) == passed
    assert all(b"\r\nTrailer: X-Sum\r\n" in reply for reply in replies)
    assert len(story.asked(path)) == max(passed, 1)


def test_rfc9111_3_1_fields_of_one_connection_are_not_stored(gate, story):
    story.tell(
        "/hop", b"hello", LASTS, "Connection: X-Mine", "X-Mine: 1", "Proxy-Authenticate: Basic", "X-Other: 1"
    )
    for reply in (ask(gate, "/hop"), ask(gate, "/hop")):
        names = {name.lower() for name in reply.headers}
        assert "x-other" in names
        assert not names & {"x-mine", "proxy-authenticate"}
    assert len(story.asked("/hop")) == 1


def test_rfc9111_4_age_is_ours(gate, story):
    story.tell("/age", b"hello", LASTS, OLD)
    assert ask(gate, "/age").headers.get_all("age") == ["30"]
    assert [int(age) for age in ask(gate, "/age").headers.get_all("age")] in ([30], [31], [32])


def test_rfc9110_6_6_1_a_date_is_added_and_stored(gate, story):
    story.tell("/dated", b"hello", LASTS)
    first = ask(gate, "/dated").headers.get_all("date")
    assert len(first) == 1
    assert abs(parsedate_to_datetime(first[0]).timestamp() - time.time()) < 5
    time.sleep(1.1)
    second = ask(gate, "/dated").headers
    assert second.get_all("date") == first
    assert int(second["age"]) >= 1


def test_rfc9111_4_3_2_a_304_of_another_tag_is_a_200_to_the_client(gate, story):
    """What the origin confirms is ours, not the client's, unless they are the same."""
    story.tell("/other-tag", b"hello", "Cache-Control: max-age=0", TAG)
    ask(gate, "/other-tag")
    reply = ask(gate, "/other-tag", If_None_Match='"theirs"')
    assert (reply.status, reply.body) == (200, b"hello")
    assert story.asked("/other-tag")[-1].get("if-none-match") == '"one"'
    reply = ask(gate, "/other-tag", If_None_Match='"theirs", "one"')
    assert (reply.status, reply.body) == (304, b"")
    assert len(story.asked("/other-tag")) == 3


def test_rfc9111_4_3_3_a_full_response_is_used_and_an_error_goes_through(gate, story):
    story.tell("/full", b"old", "Cache-Control: max-age=0", TAG)
    ask(gate, "/full")
    story.tell("/full", b"sorry", status=500)
    assert (ask(gate, "/full").status, len(story.asked("/full"))) == (500, 2)
    story.tell("/full", b"new", LASTS, 'ETag: "two"')
    assert [ask(gate, "/full").body for _ in range(2)] == [b"new", b"new"]
    assert len(story.asked("/full")) == 3


@pytest.mark.parametrize(
    ("name", "status", "lines", "asked"),
    [
        ("location", 201, ["Location: /inv-location"], 2),
        ("content-location", 200, ["Content-Location: /inv-content-location"], 2),
        ("elsewhere", 200, ["Location: http://other.example/inv-elsewhere"], 1),
        ("error", 400, ["Location: /inv-error"], 1),
    ],
)
def test_rfc9111_4_4_what_an_unsafe_request_invalidates(gate, story, name, status, lines, asked):
    story.tell(f"/inv-{name}", b"hello", LASTS)
    ask(gate, f"/inv-{name}")
    story.tell(f"/do-{name}", b"done", *lines, status=status)
    assert ask(gate, f"/do-{name}", "POST", b"x").status == status
    ask(gate, f"/inv-{name}")
    assert len(story.asked(f"/inv-{name}")) == asked


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "POST", "FROB"])
def test_rfc9111_4_4_methods_that_invalidate_their_target(gate, story, method):
    """And they are written through, and what they are answered with is not stored (section 3)."""
    path = f"/target-{method}"
    story.tell(path, b"hello", LASTS)
    ask(gate, path)
    assert ask(gate, path, method, b"x").status == 200
    assert [head.words[0] for head in story.asked(path)] == ["GET", method]
    assert "hit" not in ask(gate, path).cache
    assert "hit" in ask(gate, path).cache


@pytest.mark.parametrize("method", ["OPTIONS", "PROPFIND"])
def test_rfc9111_3_answers_to_other_safe_methods_are_not_stored(gate, story, method):
    path = f"/safe-{method}"
    story.tell(path, b"hello", LASTS)
    for _ in range(2):
        assert ask(gate, path, method).status == 200
    assert len(story.asked(path)) == 2
    ask(gate, path)
    ask(gate, path, method)
    assert "hit" in ask(gate, path).cache


def test_rfc9111_5_2_directives_go_through(gate, story):
    """Known or not, in both directions, from the store too; also targeted fields, on our list or off it (RFC 9213
    section 2.2)."""
    lines = ["Cache-Control: max-age=60, private-ish, x=y", "Cache-Control: s-maxage=50, no-transform"]
    targeted = ["CDN-Cache-Control: max-age=40", "Other-Cache-Control: no-store"]
    story.tell("/directives", b"hello", *lines, *targeted)
    for _ in range(2):
        reply = ask(gate, "/directives", Cache_Control="max-stale=5, x=z")
        assert [f"Cache-Control: {value}" for value in reply.headers.get_all("cache-control")] == lines
        assert reply.headers["cdn-cache-control"] == "max-age=40"
        assert reply.headers["other-cache-control"] == "no-store"
    (asked,) = story.asked("/directives")
    assert asked.get("cache-control") == "max-stale=5, x=z"


def test_rfc9111_5_2_2_6_content_is_never_transformed(gate, story):
    body = gzip.compress(BODY)
    story.tell("/coded", body, LASTS, "Content-Encoding: gzip", "Content-Type: text/plain")
    for coding in ("gzip", "identity", "br"):
        reply = ask(gate, "/coded", Accept_Encoding=coding)
        assert (reply.body, reply.headers["content-encoding"]) == (body, "gzip")
    assert len(story.asked("/coded")) == 1


def test_rfc9111_5_2_1_5_a_request_that_says_no_store(gate, story):
    story.tell("/unstored", b"hello", LASTS)
    for _ in range(2):
        assert "hit" not in ask(gate, "/unstored", Cache_Control="no-store").cache
    ask(gate, "/unstored")
    assert "hit" in ask(gate, "/unstored", Cache_Control="no-store").cache
    assert len(story.asked("/unstored")) == 3


def test_rfc9111_5_5_no_warning_is_made_and_none_is_taken_away(gate, story):
    """Stale all the same shows by its Age (RFC 5861 section 4)."""
    said = "Cache-Control: max-age=5, stale-if-error=60"
    story.tell("/warned", b"hello", said, OLD, 'Warning: 299 - "theirs"')
    ask(gate, "/warned")
    story.tell("/warned", b"sorry", status=503)
    reply = ask(gate, "/warned")
    assert (reply.body, reply.headers.get_all("warning")) == (b"hello", ['299 - "theirs"'])
    assert int(reply.headers["age"]) >= 30


def test_rfc9110_12_5_5_no_vary_is_made(gate, story):
    story.tell("/plain", b"hello", LASTS)
    assert [ask(gate, "/plain").headers["vary"] for _ in range(2)] == [None, None]


def test_rfc9110_15_3_7_a_206_has_the_fields_of_the_200(gate, story):
    """With If-Range too: no server leaves any out, and clients that want them there exist."""
    lines = [LASTS, TAG, "Expires: 0", "Content-Location: /a", "Vary: B", "Content-Type: a/b", "X-Any: 1"]
    story.tell("/fields", BODY, *lines)
    whole = dict(ask(gate, "/fields").headers)
    own = {"age", "content-length", "content-range", "content-type", "cache-status"}
    for fields in ({}, {"If_Range": '"one"'}):
        part = ask(gate, "/fields", Range="bytes=0-9", **fields)
        assert (part.status, part.body) == (206, BODY[:10])
        assert part.headers["content-range"] == f"bytes 0-9/{len(BODY)}"
        assert part.headers["content-type"] == "a/b"
        parts = ask(gate, "/fields", Range="bytes=0-9,1000-1009", **fields)
        assert parts.headers["content-type"].startswith("multipart/byteranges")
        assert parts.headers["content-range"] is None
        assert parts.body.count(b"Content-Type: a/b\r\n") == 2
        for reply in (part, parts):
            for name, value in whole.items():
                if name.lower() not in own:
                    assert reply.headers[name] == value
    assert len(story.asked("/fields")) == 1


def test_rfc9211_2_answers_of_our_own_have_no_member(gate, story):
    story.tell("/silent", b"").drops = True
    for method, body in (("GET", None), ("HEAD", None), ("POST", b"x")):
        reply = ask(gate, "/silent", method, body)
        assert (reply.status, reply.cache) == (502, "")
    reply = ask(gate, "/silent", Cache_Control="only-if-cached")
    assert (reply.status, reply.cache) == (504, "")


def test_rfc9211_2_members_of_other_caches_stay_before_ours(gate, story):
    story.tell("/chain", b"hello", LASTS, "Cache-Status: Origin; hit")
    for expected in ("headgate; fwd=uri-miss", "headgate; hit"):
        theirs, ours = ask(gate, "/chain").headers.get_all("cache-status")
        assert theirs == "Origin; hit"
        assert ours.startswith(expected)


def test_rfc9211_2_3_what_the_origin_said_first(gate, story):
    said = "Cache-Control: max-age=0, stale-if-error=60"
    story.tell("/first", b"hello", said, TAG)
    ask(gate, "/first")
    assert ask(gate, "/first").cache.startswith("headgate; fwd=stale; fwd-status=304; ttl=")
    story.tell("/first", b"sorry", status=503)
    assert ask(gate, "/first").cache.startswith("headgate; fwd=stale; fwd-status=503; ttl=")


@pytest.mark.parametrize("said", [LASTS, "Cache-Control: max-age=0"])
@pytest.mark.parametrize(
    ("method", "name", "value"),
    [
        ("GET", "If-Match", '"other"'),
        ("GET", "If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("POST", "If-None-Match", "*"),
        ("OPTIONS", "If-None-Match", '"one"'),
        ("PUT", "If-Modified-Since", "Thu, 01 Jan 2099 00:00:00 GMT"),
    ],
)
def test_rfc9110_13_2_1_conditions_for_the_origin_go_to_it(gate, story, method, name, value, said):
    """Whatever is stored; the answer is the origin's."""
    path = f"/condition-{method}-{name}-{len(said)}"
    story.tell(path, b"hello", said, 'ETag: "two"')
    ask(gate, path)
    reply = ask(gate, path, method, **{name.replace("-", "_"): value})
    assert (reply.status, reply.body) == (200, b"hello")
    assert story.asked(path)[-1].get(name.lower()) == value
    assert len(story.asked(path)) == 2


def test_rfc9110_14_4_a_part_in_other_units_goes_through_and_is_not_stored(gate, story):
    story.tell("/items", b"two items", LASTS, TAG, "Content-Range: items 0-1/5", status=206)
    for _ in range(2):
        reply = ask(gate, "/items", Range="items=0-1")
        assert (reply.status, reply.body) == (206, b"two items")
        assert reply.headers["content-range"] == "items 0-1/5"
    assert len(story.asked("/items")) == 2


def test_rfc9110_14_4_part_of_no_valid_range_goes_through_and_is_not_stored(gate, story):
    for number, span in enumerate(("bytes 5-4/10", "bytes 0-9/5", "bytes 0-9")):
        path = f"/invalid-{number}"
        story.tell(path, b"0123456789", LASTS, TAG, f"Content-Range: {span}", status=206)
        assert [ask(gate, path, Range="bytes=0-9").status for _ in range(2)] == [206, 206]
        assert len(story.asked(path)) == 2


def test_rfc9110_15_4_5_a_304_has_what_updates_a_cache_and_no_more(gate, story):
    wanted = [LASTS, "Content-Location: /a", TAG, "Expires: 0", "Vary: B"]
    others = ["Content-Type: a/b", "Content-Language: de", "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT"]
    story.tell("/304", b"hello", *wanted, *others)
    ask(gate, "/304")
    reply = ask(gate, "/304", If_None_Match='W/"one"')
    assert (reply.status, reply.body) == (304, b"")
    assert "date" in reply.headers
    assert [f"{name}: {reply.headers[name]}" for name in map(name_of, wanted)] == wanted
    assert [reply.headers[name] for name in map(name_of, others)] == [None] * 3
    assert len(story.asked("/304")) == 1


def name_of(line):
    return line.split(":", 1)[0]


def test_rfc9111_4_3_1_both_validators_are_sent(gate, story):
    modified = "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT"
    story.tell("/validators", b"hello", "Cache-Control: max-age=0", TAG, modified)
    ask(gate, "/validators")
    ask(gate, "/validators", Cache_Control="x", B="1")
    asked = story.asked("/validators")[-1]
    assert asked.get("if-none-match") == '"one"'
    assert asked.get("if-modified-since") == "Thu, 01 Jan 1970 00:00:00 GMT"
    assert (asked.get("cache-control"), asked.get("b")) == ("x", "1")


@pytest.mark.parametrize("size", [2048, 1 << 20])
@pytest.mark.parametrize("said", ["Cache-Control: no-store", "Cache-Control: private, max-age=9"])
def test_rfc9110_13_2_1_conditions_are_evaluated_with_what_is_not_stored(gate, story, said, size):
    """They were not forwarded: had the answer been one to store, all were to get it."""
    path = f"/not-stored-{size}-{len(said)}"
    body = b"x" * size
    story.tell(path, body, said, TAG, "Content-Type: a/b")
    reply = ask(gate, path, If_None_Match='"one"')
    assert (reply.status, reply.body, reply.headers["content-type"]) == (304, b"", None)
    assert reply.cache.startswith("headgate; fwd=uri-miss; fwd-status=200")
    assert story.asked(path)[0].get("if-none-match") is None
    # From now on nobody waits for this key, and conditions go to the origin.
    assert ask(gate, path, If_None_Match='"one"').status == 304
    assert story.asked(path)[1].get("if-none-match") == '"one"'
    assert ask(gate, path, If_None_Match='"two"').body == body


def test_rfc9110_13_2_1_a_stored_response_that_is_replaced_by_one_that_is_not(gate, story):
    story.tell("/replaced", b"old", "Cache-Control: max-age=0", TAG)
    ask(gate, "/replaced")
    story.tell("/replaced", b"new", "Cache-Control: no-store", 'ETag: "two"')
    assert ask(gate, "/replaced", If_None_Match='"two"').status == 304
    assert story.asked("/replaced")[1].get("if-none-match") == '"one"'
    assert ask(gate, "/replaced").body == b"new"
