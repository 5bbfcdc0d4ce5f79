"""What origins answer to odd requests is not what everybody gets: errors that one client provokes, other methods and
URLs by fields, private pages under the names of public files, answers that are two."""

import pytest
from tests.integration.cache.test_poisoning import ask, is_hit

TEXT = """
[cache]
enabled = true
memory = "4MiB"
[[route]]
upstream = "origin"
[[route]]
path = "/forced"
upstream = "origin"
[route.cache]
ttl = "1h"
[[route]]
path = "/said"
upstream = "origin"
[route.cache]
default_ttl = "1h"
negative_ttl = {{ 400 = "1m", 404 = "1m" }}
[upstream.origin]
endpoints = ["{url}"]
"""
LARGE = "X-Large: " + "a" * 9000
MINUTE = "Cache-Control: max-age=60"
OVERRIDES = (
    "X-HTTP-Method-Override: DELETE",
    "X-HTTP-Method: POST",
    "X-Method-Override: PUT",
    "X-Original-URL: /evil",
    "X-Rewrite-URL: /evil",
    "X_HTTP_Method_Override: DELETE",
)


@pytest.mark.parametrize("status", [400, 413, 431])
@pytest.mark.parametrize("route", ["plain", "forced", "said"])
def test_an_error_for_a_large_head_is_its_sender_s(gate, story, status, route):
    """HHO: not by `ttl`, not by `negative_ttl`, and not if the origin gives a lifetime to whatever it says."""
    path = f"/{route}/oversize-{status}"
    story.tell(path, b"too large", MINUTE, status=status)
    assert ask(gate, path, LARGE)[0] == status
    story.tell(path, b"welcome", MINUTE)
    got, answer = ask(gate, path)
    assert (got, is_hit(answer)) == (200, False)
    assert answer.endswith(b"welcome")


def test_an_error_that_no_one_gave_a_lifetime_is_not_for_all(gate, story):
    """HMC: an origin that stumbles over a character that is allowed here. A 404 of the same route is kept."""
    for status, hit in ((400, False), (404, True)):
        path = f"/forced/meta-{status}"
        story.tell(path, b"no", status=status)
        assert ask(gate, path, "X-Meta: \xff")[0] == status
        assert is_hit(ask(gate, path)[1]) is hit


@pytest.mark.parametrize("line", OVERRIDES)
def test_who_asks_for_another_method_or_url_fills_nothing(gate, story, line):
    """HMO: the origin may obey the field. What is stored already is served all the same."""
    path = f"/override-{OVERRIDES.index(line)}"
    story.tell(path, b"no such method", MINUTE, 'ETag: "1"')
    for _ in range(2):
        _, odd = ask(gate, path, line)
        assert b"cache-status: headgate; fwd=bypass" in odd.lower()
    story.tell(path, b"welcome", MINUTE, 'ETag: "2"')
    _, plain = ask(gate, path)
    assert not is_hit(plain)
    assert plain.endswith(b"welcome")
    assert is_hit(ask(gate, path, line)[1])


def test_what_is_stale_is_not_confirmed_by_an_odd_request(gate, story):
    """Nor does it refresh what is served stale meanwhile (RFC 5861)."""
    path = "/override-stale"
    lines = ("Cache-Control: max-age=60, stale-while-revalidate=600", "Age: 100")
    story.tell(path, b"welcome", *lines)
    ask(gate, path)
    story.tell(path, b"evil", *lines)
    _, odd = ask(gate, path, OVERRIDES[0])
    assert is_hit(odd)
    assert len(story.asked(path)) == 1
    assert ask(gate, path)[1].endswith(b"welcome")


def test_an_odd_post_is_not_stored_for_get(gate, story):
    path = "/override-post"
    story.tell(path, b"evil", MINUTE, f"Content-Location: {path}")
    ask(gate, path, OVERRIDES[0], "Content-Length: 0", method="POST")
    assert not is_hit(ask(gate, path)[1])


DECEPTIONS = (
    "/account.php/x.css",
    "/account;x.css",
    "/account%3Fx.css",
    "/account%0Ax.css",
    "/account%23.css",
    "/x.js",
)


@pytest.mark.parametrize("path", DECEPTIONS)
def test_a_private_page_is_no_file_for_its_name(gate, story, path):
    """Web cache deception: names mean nothing, only what the origin or the route says of lifetimes."""
    for mine in ((), ("Cache-Control: private, max-age=60",), ("Cache-Control: no-store",)):
        story.tell(path, b"balance", *mine)
        for line in ("Cookie: session=1", "X: y"):
            status, answer = ask(gate, path, line)
            assert (status, is_hit(answer)) == (200, False)
            assert answer.endswith(b"balance")


@pytest.mark.parametrize("word", ["private", "no-store"])
def test_no_lifetime_of_a_route_makes_a_private_page_public(gate, story, word):
    for route in ("forced", "said"):
        path = f"/{route}/account.php/{word}.css"
        story.tell(path, b"balance", f"Cache-Control: {word}")
        ask(gate, path)
        assert not is_hit(ask(gate, path)[1])


@pytest.mark.parametrize(
    "line", ["Vary: *", "Vary: " + ", ".join(f"X-{n}" for n in range(17)), "Vary: X-A, @"]
)
def test_what_varies_by_anything_is_for_nobody_else(gate, story, line):
    path = f"/vary-{len(line)}"
    story.tell(path, b"mine", MINUTE, line)
    ask(gate, path)
    assert not is_hit(ask(gate, path)[1])


def test_a_cookie_without_a_lifetime_of_its_own_is_its_owner_s(gate, story):
    path = "/forced/cookie"
    story.tell(path, b"hello", "Set-Cookie: session=secret")
    ask(gate, path)
    _, answer = ask(gate, path)
    assert not is_hit(answer)


@pytest.mark.parametrize(
    "line", ["X-A: a\rSet-Cookie: b=c", "X-A: a\x00b", "X-A : a", "X-A: a\n continued", "X\rA: b"]
)
def test_an_answer_with_broken_lines_is_nobody_s(gate, story, line):
    """Response splitting: what could be read as one line more is refused, and not stored."""
    path = f"/split-{len(line)}"
    story.tell(path, b"evil", MINUTE, line)
    for _ in range(2):
        status, answer = ask(gate, path)
        assert status == 502
        assert b"set-cookie" not in answer.lower()
    assert not is_hit(answer)


def test_an_answer_that_nobody_asked_for_is_nobody_s(gate, story):
    """An origin that is made to send two answers for one request: the second is not the next client's, nor stored."""
    second = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nCache-Control: max-age=60\r\n\r\nevil"
    path = "/two-answers"
    answer = story.tell(path, b"hello", MINUTE)
    answer.extra = second.encode()
    assert ask(gate, path)[1].endswith(b"hello")
    for number in range(3):
        after = f"/after-two-{number}"
        story.tell(after, b"welcome", MINUTE)
        assert ask(gate, after)[1].endswith(b"welcome")
        assert ask(gate, after)[1].endswith(b"welcome")


def test_if_range_of_another_version_gets_all_of_this_one(gate, story):
    """RFC 9110 section 13.1.5: parts of two versions are never put together."""
    path = "/if-range"
    story.tell(path, b"0123456789", MINUTE, 'ETag: "new"')
    ask(gate, path)
    status, answer = ask(gate, path, "Range: bytes=0-3", 'If-Range: "old"')
    assert (status, is_hit(answer)) == (200, True)
    assert answer.endswith(b"0123456789")
    assert ask(gate, path, "Range: bytes=0-3", 'If-Range: "new"')[0] == 206
