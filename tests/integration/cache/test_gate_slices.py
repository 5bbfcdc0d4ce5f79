"""Slice mode through a gate: 64 MiB, ranges across slices, versions that change, origins without ranges."""

import hashlib
import http.client
import json
import random
import threading

import pytest
from tests.integration.cache.test_gate_cache import ask
from tests.integration.gate import wait_for

MIB = 1 << 20
TEXT = """
[cache]
enabled = true
memory = "160MiB"
[[route]]
upstream = "origin"
[route.cache]
slice = "1MiB"
slice_prefetch = 2
[upstream.origin]
endpoints = ["{url}"]
"""
BODY = random.Random(7).randbytes(3 * MIB + 12345)
LIVES = "Cache-Control: max-age=60"
TAG = 'ETag: "one"'
SLICES = 4


def tell(story, path, body=BODY, *lines):
    answer = story.tell(path, body, *(lines or (LIVES, TAG)))
    answer.ranges = True
    return answer


def bad(gate):
    """How many slices were of no use, by what was wrong with them: what all that has happened so far has counted."""
    metrics = gate.settled_metrics()
    return {
        what: metrics.get(f'headgate_cache_slices_bad_total{{what="{what}"}}', 0.0)
        for what in ("asked-again", "broken-off", "unsliced")
    }


def test_an_object_of_64_mebibytes_is_fetched_once_in_slices(gate, story):
    body = BODY[:MIB] * 64
    tell(story, "/film", body)
    digest = hashlib.sha256(body).digest()
    for _ in range(2):
        reply = ask(gate, "/film")
        assert (reply.status, reply.headers["content-length"]) == (200, str(len(body)))
        assert hashlib.sha256(reply.body).digest() == digest
        assert reply.headers["content-range"] is None
    assert "hit" in reply.cache
    ranges = [head.get("range") for head in story.asked("/film")]
    assert sorted(ranges) == sorted(f"bytes={at * MIB}-{at * MIB + MIB - 1}" for at in range(64))


def test_any_range_is_answered_from_slices(gate, story):
    tell(story, "/any")
    size = len(BODY)
    for first, last in [(0, 0), (MIB - 1, MIB), (100, 3 * MIB + 99), (MIB, 2 * MIB - 1), (5, size - 1)]:
        reply = ask(gate, "/any", Range=f"bytes={first}-{last}")
        assert (reply.status, reply.headers["content-range"]) == (206, f"bytes {first}-{last}/{size}")
        assert reply.body == BODY[first : last + 1]
    assert ask(gate, "/any", Range="bytes=-7").body == BODY[-7:]
    assert ask(gate, "/any", Range=f"bytes={2 * MIB}-").body == BODY[2 * MIB :]
    assert len(story.asked("/any")) == SLICES


def test_explain_tells_of_the_first_slice_that_a_request_needs(gate, story):
    tell(story, "/told")
    assert ask(gate, "/told", Range="bytes=0-9").status == 206
    assert len(story.asked("/told")) == 1
    url = f"http://127.0.0.1:{gate.http_ports[0]}/told"
    for wanted, outcome, piece in [("0-", "HIT", 0), (f"{MIB - 1}-", "HIT", 0), (f"{MIB}-", "MISS", 1)]:
        done = gate.run("explain", url, "-H", f"Range: bytes={wanted}", "--json")
        (row,) = json.loads(done.stdout)["workers"]
        assert (row["outcome"], row["slice"], row["slices"]) == (outcome, piece, MIB)
        assert [held["ranges"] for held in row["stored"]] == ([[f"0-{MIB - 1}"]] if outcome == "HIT" else [])
    assert f"key {url}, slice:0\n" in gate.run("explain", url).stdout
    story.tell("/told-whole", b"x", LIVES)  # an origin that answers with 200
    ask(gate, "/told-whole")
    (row,) = json.loads(gate.run("explain", f"{url}-whole", "--json").stdout)["workers"]
    assert (row["outcome"], "slice" in row) == ("HIT", False)
    assert len(story.asked("/told")) == 1


def test_several_ranges_in_the_order_of_the_request(gate, story):
    tell(story, "/several")
    reply = ask(gate, "/several", Range=f"bytes={2 * MIB}-{2 * MIB + 9},{MIB - 5}-{MIB + 4},0-9")
    assert reply.status == 206
    assert reply.headers["content-type"].startswith("multipart/byteranges; boundary=")
    assert len(reply.body) == int(reply.headers["content-length"])
    places = [reply.body.index(BODY[at : at + 10]) for at in (2 * MIB, MIB - 5, 0)]
    assert places == sorted(places)


def test_head_conditions_and_ranges_beyond_the_end(gate, story):
    tell(story, "/asked")
    head = ask(gate, "/asked", "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(BODY)), b"")
    same = ask(gate, "/asked", If_None_Match='"one"')
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", '"one"')
    beyond = ask(gate, "/asked", Range=f"bytes={len(BODY)}-")
    assert (beyond.status, beyond.headers["content-range"]) == (416, f"bytes */{len(BODY)}")
    far = ask(gate, "/asked", Range=f"bytes={len(BODY) * 3}-")
    assert (far.status, far.headers["content-range"]) == (416, f"bytes */{len(BODY)}")
    assert ask(gate, "/asked", Range="bytes=0-9", If_Range='"other"').body == BODY


def test_rfc9111_4_what_comes_from_slices_has_an_age(gate, story):
    tell(story, "/old", BODY, LIVES, TAG, "Age: 7")
    ask(gate, "/old")
    for asked in (
        {},
        {"Range": "bytes=0-9"},
        {"Range": f"bytes=0-9,{MIB}-{MIB + 9}"},
        {"If_None_Match": "*"},
    ):
        (age,) = ask(gate, "/old", **asked).headers.get_all("age")
        assert 7 <= int(age) <= 10
    assert len(story.asked("/old")) == SLICES


def test_an_object_of_one_slice(gate, story):
    tell(story, "/small", b"small", LIVES)
    assert ask(gate, "/small").body == b"small"
    assert ask(gate, "/small", Range="bytes=1-2").body == b"ma"
    assert len(story.asked("/small")) == 1


def test_a_download_is_resumed_where_it_broke_off(gate, story):
    tell(story, "/resumed")
    connection = http.client.HTTPConnection("127.0.0.1", gate.http_ports[0], timeout=20)
    connection.request("GET", "/resumed")
    got = connection.getresponse().read(MIB + 100)
    connection.close()
    reply = ask(gate, "/resumed", Range=f"bytes={len(got)}-", If_Range='"one"')
    assert reply.status == 206
    assert got + reply.body == BODY


def test_who_wants_the_same_slices_makes_one_request_for_each(gate, story):
    answer = tell(story, "/shared")
    answer.gate.clear()
    replies = []
    threads = [threading.Thread(target=lambda: replies.append(ask(gate, "/shared"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_for("a request at the origin", lambda: story.asked("/shared"))
    answer.gate.set()
    for thread in threads:
        thread.join(20)
    assert [reply.body == BODY for reply in replies] == [True] * 4
    assert len(story.asked("/shared")) == SLICES


def test_a_slice_of_an_older_version_is_asked_for_again(gate, story):
    before = bad(gate)
    tell(story, "/older", BODY[::-1], LIVES, 'ETag: "old"')
    ask(gate, "/older", Range=f"bytes={MIB}-{MIB + 9}")
    tell(story, "/older", BODY, LIVES, 'ETag: "new"')
    assert ask(gate, "/older").body == BODY
    assert bad(gate) == before | {"asked-again": before["asked-again"] + 1}


def test_a_version_that_ends_in_the_middle_breaks_off_and_begins_anew(gate, story):
    before = bad(gate)
    tell(story, "/ended", BODY[::-1], LIVES, 'ETag: "old"')
    ask(gate, "/ended", Range="bytes=0-9")
    tell(story, "/ended", BODY, LIVES, 'ETag: "new"')
    with pytest.raises(http.client.IncompleteRead) as caught:
        ask(gate, "/ended")
    assert caught.value.partial == BODY[::-1][:MIB]
    assert bad(gate) == before | {
        "asked-again": before["asked-again"] + 1,
        "broken-off": before["broken-off"] + 1,
    }
    assert ask(gate, "/ended", Range=f"bytes={MIB}-", If_Range='"old"').body == BODY
    assert ask(gate, "/ended").body == BODY


@pytest.mark.parametrize("lines", [(LIVES, 'ETag: W/"weak"'), (LIVES, "X-No: tag")])
def test_what_cannot_be_told_apart_is_not_sliced(gate, story, lines):
    path = f"/weak-{len(lines[1])}"
    tell(story, path, BODY, *lines)
    assert ask(gate, path).body == BODY
    assert ask(gate, path).body == BODY
    assert [head.get("range") is None for head in story.asked(path)] == [False, True]


def test_an_origin_without_ranges_is_asked_the_normal_way_from_then_on(gate, story):
    before = bad(gate)
    story.tell("/whole", BODY, LIVES, TAG)
    for _ in range(3):
        assert ask(gate, "/whole").body == BODY
    assert ask(gate, "/whole", Range="bytes=5-9").body == BODY[5:10]
    assert [head.get("range") is None for head in story.asked("/whole")] == [False, True]
    assert bad(gate) == before | {"unsliced": before["unsliced"] + 1}


def test_what_may_not_be_stored_is_asked_for_as_a_whole(gate, story):
    def requests():
        return sum(
            value
            for name, value in gate.metrics().items()
            if name.startswith("headgate_cache_requests_total")
        )

    tell(story, "/no-store", BODY, "Cache-Control: no-store", TAG)
    gate.settle()
    before = requests()
    for _ in range(3):
        assert ask(gate, "/no-store").body == BODY
    part = ask(gate, "/no-store", Range="bytes=5-9")
    assert (part.status, part.body) == (206, BODY[5:10])
    asked = [head.get("range") for head in story.asked("/no-store")]
    assert asked == [f"bytes=0-{MIB - 1}", None, None, None, "bytes=5-9"]
    gate.settle()
    assert requests() - before == 4, "as many as clients made"


def test_an_error_is_passed_on(gate, story):
    story.tell("/gone", b"gone", LIVES, status=404)
    for _ in range(2):
        reply = ask(gate, "/gone")
        assert (reply.status, reply.body) == (404, b"gone")
    assert ask(gate, "/gone", "HEAD").status == 404
    assert len(story.asked("/gone")) == 1


def test_what_is_posted_to_its_url_makes_all_its_slices_be_asked_for_again(gate, story):
    tell(story, "/posted")
    assert ask(gate, "/posted").body == BODY
    story.tell("/posted", b"done")
    ask(gate, "/posted", "POST", b"x")
    tell(story, "/posted", BODY[::-1], LIVES, 'ETag: "two"')
    assert ask(gate, "/posted").body == BODY[::-1]


def test_slices_are_purged_by_the_url_of_the_object(gate, story):
    url = f"http://127.0.0.1:{gate.http_ports[0]}/purged"
    tell(story, "/purged")
    assert ask(gate, "/purged").body == BODY
    assert gate.call("purge", "--soft", url).returncode == 0
    assert ask(gate, "/purged").body == BODY
    confirmed = story.asked("/purged")[SLICES:]
    assert [head.get("if-none-match") for head in confirmed] == ['"one"'] * SLICES
    assert all(head.get("range") for head in confirmed)
    tell(story, "/purged", BODY[::-1], LIVES, 'ETag: "two"')
    assert ask(gate, "/purged").body == BODY
    assert gate.call("purge", url).returncode == 0
    assert ask(gate, "/purged").body == BODY[::-1]
    assert len(story.asked("/purged")) == 3 * SLICES


def test_nothing_is_held_when_all_is_over(gate, story):
    wait_for("nothing held", lambda: gate.metrics()['headgate_held_bytes{limit="cache-fills"}'] == 0)


def test_rfc9111_5_2_1_7_only_if_cached_is_504_unless_all_slices_are_stored(gate, story):
    tell(story, "/stored-alone")
    stored = {"Cache_Control": "only-if-cached"}
    assert ask(gate, "/stored-alone", **stored).status == 504  # nothing is
    assert ask(gate, "/stored-alone", Range="bytes=0-9").status == 206
    # Its client has what it wanted before all of the slice is here.
    wait_for("a slice", lambda: ask(gate, "/stored-alone", Range="bytes=0-9", **stored).status == 206)
    for asked in ({}, {"Range": f"bytes={MIB - 1}-{MIB}"}, {"Range": f"bytes=0-9,{MIB}-{MIB + 9}"}):
        reply = ask(gate, "/stored-alone", **stored, **asked)
        assert (reply.status, b"only-if-cached" in reply.body) == (504, True)
    assert ask(gate, "/stored-alone", Range="bytes=5-6", **stored).body == BODY[5:7]
    assert ask(gate, "/stored-alone", "HEAD", **stored).status == 200
    assert ask(gate, "/stored-alone", If_None_Match='"one"', **stored).status == 304
    assert len(story.asked("/stored-alone")) == 1
    assert ask(gate, "/stored-alone").body == BODY
    assert ask(gate, "/stored-alone", **stored).body == BODY
    assert len(story.asked("/stored-alone")) == SLICES
