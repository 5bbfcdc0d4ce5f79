"""The cache through a real gate and a real origin, asked with http.client and curl."""

import http.client
import json
import socket
import struct
import subprocess
import threading
import time
from email.utils import formatdate

import pytest
from tests.integration.cache.story import Story
from tests.integration.gate import Gate, wait_for


class Reply:
    """What a client got."""

    def __init__(self, response):
        self.status = response.status
        self.body = response.read()
        self.headers = response.headers
        self.cache = response.headers.get("cache-status", "")


def ask(gate, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", gate.http_ports[0], timeout=20)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body=body, headers=fields)
    try:
        with connection.getresponse() as response:
            return Reply(response)
    finally:
        connection.close()


def metric(gate, outcome):
    return gate.metrics().get(f'headgate_cache_requests_total{{outcome="{outcome}"}}', 0.0)


def test_a_miss_and_then_a_hit(gate, story):
    story.tell("/one", b"hello", "Cache-Control: max-age=60")
    first, second = ask(gate, "/one"), ask(gate, "/one")
    assert (first.status, first.body) == (second.status, second.body) == (200, b"hello")
    assert first.cache.startswith("headgate; fwd=uri-miss; fwd-status=200")
    assert "stored" in first.cache
    assert second.cache.startswith("headgate; hit; ttl=")
    assert first.headers["age"] is None
    assert 0 <= int(second.headers["age"]) <= 2
    assert second.headers["date"] == first.headers["date"]
    assert second.headers["content-length"] == "5"
    assert len(story.asked("/one")) == 1


def test_curl_sees_the_same(gate, story):
    story.tell("/curl", b"hello", "Cache-Control: max-age=60", "Content-Type: text/plain")
    url = f"http://127.0.0.1:{gate.http_ports[0]}/curl"
    outputs = [
        subprocess.run(["curl", "-sSi", url], capture_output=True, timeout=20).stdout for _ in range(2)
    ]
    assert all(output.endswith(b"\r\n\r\nhello") for output in outputs)
    assert b"Age: 0" in outputs[1]
    assert len(story.asked("/curl")) == 1


def test_the_access_log_says_what_and_why(gate, story):
    story.tell("/logged", b"hello", "Cache-Control: max-age=60")
    ask(gate, "/logged")
    ask(gate, "/logged")

    def lines():
        found = [line for line in gate.access_lines() if line["target"] == "/logged"]
        return found if len(found) == 2 else None

    first, second = wait_for("two lines of the log", lines)
    assert (first["cache"], first["cache_reason"]) == ("MISS", "not-stored")
    assert (second["cache"], second["cache_reason"]) == ("HIT", "fresh")
    assert first["upstream"] == "origin"
    assert "upstream" not in second


def test_what_says_no_store_is_not_stored(gate, story):
    story.tell("/no-store", b"hello", "Cache-Control: no-store")
    replies = [ask(gate, "/no-store") for _ in range(3)]
    assert [reply.body for reply in replies] == [b"hello"] * 3
    assert len(story.asked("/no-store")) == 3
    assert "hit" not in replies[2].cache


def test_chunked_content_gets_its_length(gate, story):
    body = bytes(range(256)) * 2000
    answer = story.tell("/chunked", body, "Cache-Control: max-age=60")
    answer.chunked = True
    first, second = ask(gate, "/chunked"), ask(gate, "/chunked")
    assert first.body == second.body == body
    assert second.headers["content-length"] == str(len(body))
    assert len(story.asked("/chunked")) == 1


def test_head_is_answered_from_what_get_has_stored(gate, story):
    story.tell("/head", b"hello", "Cache-Control: max-age=60")
    ask(gate, "/head")
    reply = ask(gate, "/head", "HEAD")
    assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", "5")
    assert len(story.asked("/head")) == 1


def test_a_conditional_request_is_answered_from_the_store(gate, story):
    story.tell("/conditional", b"hello", "Cache-Control: max-age=60", 'ETag: "a"')
    ask(gate, "/conditional")
    reply = ask(gate, "/conditional", If_None_Match='"a"')
    assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", '"a"')
    assert ask(gate, "/conditional", If_None_Match='"b"').body == b"hello"
    assert len(story.asked("/conditional")) == 1


def test_a_stale_response_is_confirmed(gate, story):
    story.tell("/stale", b"hello", "Cache-Control: max-age=0", 'ETag: "a"')
    ask(gate, "/stale")
    reply = ask(gate, "/stale")
    assert reply.body == b"hello"
    assert "fwd=stale" in reply.cache
    first, second = story.asked("/stale")
    assert first.get("if-none-match") is None
    assert second.get("if-none-match") == '"a"'
    story.tell("/stale", b"other", "Cache-Control: max-age=60", 'ETag: "b"')
    assert ask(gate, "/stale").body == b"other"
    assert ask(gate, "/stale").body == b"other"
    assert len(story.asked("/stale")) == 3


def test_an_unsafe_request_invalidates(gate, story):
    story.tell("/changed", b"old", "Cache-Control: max-age=60")
    ask(gate, "/changed")
    story.tell("/changed", b"new", "Cache-Control: max-age=60")
    assert ask(gate, "/changed").body == b"old"
    posted = ask(gate, "/changed", "POST", b"x=1")
    assert "fwd=method" in posted.cache
    assert ask(gate, "/changed").body == b"new"


def test_vary_keeps_variants_apart(gate, story):
    story.tell("/vary", b"hello", "Cache-Control: max-age=60", "Vary: Accept-Language")
    for _ in range(2):
        ask(gate, "/vary", Accept_Language="de")
        ask(gate, "/vary", Accept_Language="en")
    assert len(story.asked("/vary")) == 2


def test_rfc9111_4_1_entity_tags_of_other_variants_are_not_asked_about(gate, story):
    """Weak comparison takes what an origin has compressed for what it has not: a 304 could be about either."""
    said = ("Cache-Control: max-age=60", "Vary: Accept-Encoding", 'ETag: W/"same"')
    story.tell("/tagged", b"compressed", *said, "Content-Encoding: gzip")
    ask(gate, "/tagged", Accept_Encoding="gzip")
    story.tell("/tagged", b"plain", *said)
    reply = ask(gate, "/tagged", Accept_Encoding="identity")
    assert (reply.status, reply.body) == (200, b"plain")
    assert [head.get("if-none-match") for head in story.asked("/tagged")] == [None, None]


def test_only_if_cached_without_anything_is_504(gate, story):
    reply = ask(gate, "/never", Cache_Control="only-if-cached")
    assert reply.status == 504
    assert story.asked("/never") == []


def test_an_error_of_the_origin_is_answered_with_what_is_stale(gate, story):
    story.tell("/if-error", b"good", "Cache-Control: max-age=0, stale-if-error=60", 'ETag: "a"')
    ask(gate, "/if-error")
    story.tell("/if-error", b"bad", status=503)
    reply = ask(gate, "/if-error")
    assert (reply.status, reply.body) == (200, b"good")
    assert "detail=stale-if-error" in reply.cache


def test_a_stale_response_is_served_while_it_is_confirmed(gate, story):
    past = formatdate(time.time() - 10, usegmt=True)
    story.tell(
        "/swr", b"old", "Cache-Control: max-age=5, stale-while-revalidate=60", f"Date: {past}", "Age: 10"
    )
    ask(gate, "/swr")
    answer = story.tell("/swr", b"new", "Cache-Control: max-age=60")
    answer.gate.clear()
    assert ask(gate, "/swr").body == b"old"
    assert ask(gate, "/swr").body == b"old"
    wait_for("the request that confirms it", lambda: len(story.asked("/swr")) == 2)
    answer.gate.set()
    wait_for("the new response", lambda: ask(gate, "/swr").body == b"new")
    assert len(story.asked("/swr")) == 2


def crowd(gate, path, count, **headers):
    """Ask in so many threads; return the threads and the list that their replies come into."""
    replies = []
    lock = threading.Lock()

    def one():
        reply = ask(gate, path, **headers)
        with lock:
            replies.append(reply)

    threads = [threading.Thread(target=one) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, replies


def test_a_herd_of_200_asks_the_origin_once(gate, story):
    answer = story.tell("/herd", b"x" * 10_000, "Cache-Control: max-age=60")
    answer.gate.clear()
    before = gate.settled_metrics()["headgate_connections_total"]
    threads, replies = crowd(gate, "/herd", 200)
    wait_for("all clients", lambda: gate.metrics()["headgate_connections_total"] - before >= 200)
    answer.gate.set()
    for thread in threads:
        thread.join(20)
    assert [reply.body for reply in replies] == [b"x" * 10_000] * 200
    assert len(story.asked("/herd")) == 1
    assert sum("collapsed" in reply.cache for reply in replies) > 150


def test_readers_join_what_is_still_coming_in(gate, story):
    body = bytes(range(256)) * 4000
    answer = story.tell("/joined", body, "Cache-Control: max-age=60")
    answer.middle.clear()
    threads, replies = crowd(gate, "/joined", 1)
    connection = http.client.HTTPConnection("127.0.0.1", gate.http_ports[0], timeout=20)
    wait_for("the request", lambda: story.asked("/joined"))
    connection.request("GET", "/joined")
    response = connection.getresponse()  # the head is there, and half of the content
    assert response.read(100_000) == body[:100_000]
    answer.middle.set()
    assert response.read() == body[100_000:]
    connection.close()
    threads[0].join(20)
    assert replies[0].body == body
    assert len(story.asked("/joined")) == 1


@pytest.mark.parametrize("has_head", [False, True])
def test_rfc9111_4_4_who_asks_after_an_unsafe_request_waits_for_nothing_from_before_it(gate, story, has_head):
    path = f"/before-{has_head}"
    answer = story.tell(path, b"old" * 1000, "Cache-Control: max-age=60")
    held = answer.middle if has_head else answer.gate
    held.clear()
    threads, replies = crowd(gate, path, 1)
    wait_for("the request", lambda: story.asked(path))
    story.tell(path, b"new", "Cache-Control: max-age=60")
    assert ask(gate, path, "POST", b"x=1").status == 200
    assert ask(gate, path).body == b"new"
    held.set()
    threads[0].join(20)
    assert replies[0].body == b"old" * 1000
    last = ask(gate, path)
    assert (last.body, "hit" in last.cache) == (b"new", True)


def test_the_first_client_may_go(gate, story):
    body = b"y" * 200_000
    answer = story.tell("/left", body, "Cache-Control: max-age=60")
    answer.middle.clear()
    connection = http.client.HTTPConnection("127.0.0.1", gate.http_ports[0], timeout=20)
    connection.request("GET", "/left")
    response = connection.getresponse()
    response.read(1000)
    response.close()
    connection.close()
    answer.middle.set()
    wait_for("the stored response", lambda: "hit" in ask(gate, "/left").cache)
    assert ask(gate, "/left").body == body
    assert len(story.asked("/left")) == 1


def test_an_answer_that_breaks_off_is_not_stored(gate, story):
    answer = story.tell("/cut", b"z" * 100_000, "Cache-Control: max-age=60")
    answer.cut = True
    with pytest.raises(http.client.IncompleteRead):
        ask(gate, "/cut")
    answer.cut = False
    assert ask(gate, "/cut").body == b"z" * 100_000
    assert len(story.asked("/cut")) == 2


def test_what_is_not_storable_makes_nobody_wait_twice(gate, story):
    answer = story.tell("/private", b"mine", "Cache-Control: private")
    answer.gate.clear()
    before = gate.settled_metrics()["headgate_connections_total"]
    threads, replies = crowd(gate, "/private", 20)
    wait_for("all clients", lambda: gate.metrics()["headgate_connections_total"] - before >= 20)
    answer.gate.set()
    for thread in threads:
        thread.join(20)
    assert [reply.body for reply in replies] == [b"mine"] * 20
    assert len(story.asked("/private")) == 20
    assert "detail=known-uncacheable" in ask(gate, "/private").cache


def test_more_than_may_be_stored_goes_through_at_the_pace_of_its_reader(gate, story):
    body = bytes(range(256)) * 40_000  # 10 MB, and nobody says so before
    answer = story.tell("/large", body, "Cache-Control: max-age=60")
    answer.chunked = True
    assert ask(gate, "/large").body == body
    assert ask(gate, "/large").body == body
    assert len(story.asked("/large")) == 2
    held = gate.metrics()['headgate_held_bytes{limit="cache-fills"}']
    assert held <= 3 * 1024 * 1024


def test_the_counters_say_what_happened(gate, story):
    story.tell("/counted", b"hello", "Cache-Control: max-age=60")
    gate.settle()
    hits, misses = metric(gate, "hit"), metric(gate, "miss")
    ask(gate, "/counted")
    ask(gate, "/counted")
    gate.settle()
    assert (metric(gate, "hit") - hits, metric(gate, "miss") - misses) == (1, 1)


def test_the_log_is_json(gate):
    assert all(json.dumps(line) for line in gate.access_lines())


def upstream_read(gate):
    (value,) = [
        value
        for name, value in gate.metrics().items()
        if name.startswith("headgate_bytes_total")
        and 'side="upstream"' in name
        and 'direction="read"' in name
    ]
    return value


def test_what_is_read_away_of_an_error_has_a_bound(gate, story):
    story.tell("/large-error", b"good", "Cache-Control: max-age=0, stale-if-error=60", 'ETag: "a"')
    ask(gate, "/large-error")
    story.tell("/large-error", b"bad" * 1_000_000, status=503)
    gate.settle()
    before = upstream_read(gate)
    assert ask(gate, "/large-error").body == b"good"
    story.tell("/after", b"after" * 1000)
    assert ask(gate, "/after").body == b"after" * 1000
    gate.settle()
    assert 64 * 1024 < upstream_read(gate) - before < 2_000_000


def test_a_range_of_what_is_stored(gate, story):
    body = bytes(range(256)) * 8
    story.tell("/range", body, "Cache-Control: max-age=60", 'ETag: "a"', "Content-Type: text/plain")
    ask(gate, "/range")
    reply = ask(gate, "/range", Range="bytes=10-19")
    assert (reply.status, reply.body) == (206, body[10:20])
    assert reply.headers["content-range"] == "bytes 10-19/2048"
    assert ask(gate, "/range", Range="bytes=-5").body == body[-5:]
    assert ask(gate, "/range", Range="bytes=5-", If_Range='"a"').body == body[5:]
    assert ask(gate, "/range", Range="bytes=5-", If_Range='"b"').status == 200
    reply = ask(gate, "/range", Range="bytes=3000-")
    assert (reply.status, reply.body, reply.headers["content-range"]) == (416, b"", "bytes */2048")
    assert len(story.asked("/range")) == 1


def test_several_ranges_of_what_is_stored(gate, story):
    body = bytes(range(256)) * 8
    story.tell("/ranges", body, "Cache-Control: max-age=60", "Content-Type: text/plain")
    ask(gate, "/ranges")
    reply = ask(gate, "/ranges", Range="bytes=0-9,1000-1009")
    assert reply.status == 206
    kind, _, boundary = reply.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    parts = reply.body.split(b"--" + boundary.encode())
    assert len(parts) == 4
    assert parts[1].endswith(b"Content-Range: bytes 0-9/2048\r\n\r\n" + body[:10] + b"\r\n")
    assert parts[2].endswith(b"Content-Range: bytes 1000-1009/2048\r\n\r\n" + body[1000:1010] + b"\r\n")
    assert int(reply.headers["content-length"]) == len(reply.body)


def test_an_origin_that_is_gone_leaves_its_stale_responses(tmp_path):
    text = (
        "[cache]\nenabled = true\nstatus_header = false\n[[route]]\nupstream = 'origin'\n"
        "[upstream.origin]\nendpoints = ['{url}']\n"
    )
    with Story() as story:
        gate = Gate(tmp_path, text.format(url=story.url))
        with gate:
            story.tell("/gone", b"good", "Cache-Control: max-age=0", 'ETag: "a"')
            story.tell("/must", b"good", "Cache-Control: max-age=0, must-revalidate", 'ETag: "a"')
            assert ask(gate, "/gone").body == ask(gate, "/must").body == b"good"
            story.stop()
            reply = ask(gate, "/gone")
            assert (reply.status, reply.body, reply.cache) == (200, b"good", "")
            assert ask(gate, "/must").status == 504
            assert ask(gate, "/unknown").status == 502


def test_a_route_may_go_without(tmp_path, story):
    text = (
        "[cache]\nenabled = true\n[[route]]\nupstream = 'origin'\n[route.cache]\nenabled = false\n"
        "[upstream.origin]\nendpoints = ['{url}']\n"
    )
    story.tell("/without", b"hello", "Cache-Control: max-age=60")
    with Gate(tmp_path, text.format(url=story.url)) as gate:
        for _ in range(2):
            reply = ask(gate, "/without")
            assert (reply.body, reply.cache, reply.headers["age"]) == (b"hello", "", None)
    assert len(story.asked("/without")) == 2


def test_who_joins_when_the_first_client_is_gone_gets_nothing_of_its_answer(gate, story):
    answer = story.tell("/secret", b"of the first", "Cache-Control: private")
    answer.gate.clear()
    threads, replies = crowd(gate, "/secret", 1, Cookie="who=second")
    wait_for("the first request", lambda: len(story.asked("/secret")) == 1)
    first = http.client.HTTPConnection("127.0.0.1", gate.http_ports[0], timeout=20)
    first.request("GET", "/secret", headers={"Cookie": "who=third"})
    first.close()
    more, others = crowd(gate, "/secret", 5, Cookie="who=others")
    answer.gate.set()
    for thread in threads + more:
        thread.join(20)
    assert len(replies) == 1
    assert len(others) == 5
    cookies = [head.get("cookie") for head in story.asked("/secret")]
    assert cookies.count("who=others") == 5
    assert cookies.count("who=second") == 1


def aborted(gate):
    return sum(value for name, value in gate.metrics().items() if name.startswith("headgate_aborted_total"))


def test_an_abandoned_request_is_nobodys(gate, story):
    answer = story.tell("/abandoned", b"mine", "Cache-Control: private")
    answer.gate.clear()
    first = http.client.HTTPConnection("127.0.0.1", gate.http_ports[0], timeout=20)
    first.request("GET", "/abandoned", headers={"Cookie": "who=first"})
    wait_for("the request", lambda: len(story.asked("/abandoned")) == 1)
    gate.settle()
    before = aborted(gate)
    first.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    first.close()
    wait_for("the abort", lambda: aborted(gate) > before)
    threads, replies = crowd(gate, "/abandoned", 1, Cookie="who=second")
    wait_for("the second request", lambda: len(story.asked("/abandoned")) == 2)
    answer.gate.set()
    threads[0].join(20)
    assert replies[0].body == b"mine"
    assert [head.get("cookie") for head in story.asked("/abandoned")] == ["who=first", "who=second"]


@pytest.mark.parametrize("lives", [True, False], ids=["of-one", "of-all"])
def test_what_the_first_client_breaks_is_asked_for_once_more(gate, story, lives):
    """The others wait for one more request, whatever becomes of that."""
    path = f"/breaks-{lives}"
    answer = story.tell(path, b"hello", "Cache-Control: max-age=60")
    answer.gate.clear()
    answer.drops = not lives
    before = gate.metrics()["headgate_connections_total"]
    first, broken = crowd(gate, path, 1, X_Breaks="1")
    wait_for("the first request", lambda: story.asked(path))
    others, replies = crowd(gate, path, 20)
    wait_for("all clients", lambda: gate.metrics()["headgate_connections_total"] - before >= 21)
    answer.gate.set()
    for thread in first + others:
        thread.join(20)
    assert [reply.status for reply in broken] == [502]
    assert [reply.status for reply in replies] == [200 if lives else 502] * 20
    # A connection that lay idle may have been closing: such a request is sent again.
    unbroken = [head for head in story.asked(path) if not head.get("x-breaks")]
    assert 1 <= len(unbroken) <= 2


def test_those_who_want_another_variant_wait_for_one_another(gate, story):
    answer = story.tell("/variants", b"hello", "Cache-Control: max-age=60", "Vary: Accept-Language")
    answer.gate.clear()
    before = gate.settled_metrics()["headgate_connections_total"]
    german, first = crowd(gate, "/variants", 10, Accept_Language="de")
    english, second = crowd(gate, "/variants", 10, Accept_Language="en")
    wait_for("all clients", lambda: gate.metrics()["headgate_connections_total"] - before >= 20)
    answer.gate.set()
    for thread in german + english:
        thread.join(20)
    assert len(first) == len(second) == 10
    assert len(story.asked("/variants")) == 2


def test_http2_clients_get_the_same(gate, story):
    body = bytes(range(256)) * 4000
    story.tell("/two", body, "Cache-Control: max-age=60", 'ETag: "a"')
    url = f"http://127.0.0.1:{gate.http_ports[0]}/two"
    command = ["curl", "-sS", "--http2-prior-knowledge", "-D", "-", url, "-o"]
    heads = []
    for place in range(3):
        out = gate.folder / f"two-{place}"
        heads.append(subprocess.run([*command, str(out)], capture_output=True, timeout=20).stdout)
        assert out.read_bytes() == body
    assert all(head.startswith(b"HTTP/2 200") for head in heads)
    assert b"cache-status: headgate; hit" in heads[2].lower()
    assert ask(gate, "/two").body == body
    assert len(story.asked("/two")) == 1


def test_a_slow_client_hinders_nobody(gate, story):
    body = bytes(range(256)) * 7000
    story.tell("/slow", body, "Cache-Control: max-age=60")
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", gate.http_ports[0]))
    host = b"127.0.0.1:%d" % gate.http_ports[0]
    slow.sendall(b"GET /slow HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host)
    wait_for("the request", lambda: story.asked("/slow"))
    for _ in range(3):
        assert ask(gate, "/slow").body == body
    got = b""
    while data := slow.recv(65536):
        got += data
    slow.close()
    assert got.endswith(body)
    assert len(story.asked("/slow")) == 1


def test_what_a_trusted_proxy_says_of_the_client_is_part_of_the_key(tmp_path, story):
    text = (
        "[cache]\nenabled = true\n[[route]]\nupstream = 'origin'\n[upstream.origin]\nendpoints = ['{url}']\n"
    )
    story.tell("/asked", b"hello", "Cache-Control: max-age=60")
    asked = ({}, {"X_Forwarded_Proto": "https"}, {"X_Forwarded_Host": "evil.test"})
    top = 'trusted_proxies = ["127.0.0.0/8"]'
    with Gate(tmp_path, text.format(url=story.url), top=top) as gate:
        for _ in range(2):
            for fields in asked:
                assert ask(gate, "/asked", **fields).body == b"hello"
        assert len(story.asked("/asked")) == 3
        ask(gate, "/asked", "POST", b"x=1")
        for fields in asked:
            ask(gate, "/asked", **fields)
    assert len(story.asked("/asked")) == 7
    # From anybody else they are not believed, and are no way to fill the memory.
    with Gate(tmp_path, text.format(url=story.url)) as gate:
        for fields in asked:
            ask(gate, "/asked", **fields)
    assert len(story.asked("/asked")) == 8
