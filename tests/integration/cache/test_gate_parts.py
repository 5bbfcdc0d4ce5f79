"""Parts of responses, stored and put together (RFC 9111 sections 3.3 and 3.4), and answers to POST that are those to
GET (RFC 9110 section 9.3.3), through a gate."""

import socket

import pytest
from tests.integration.cache.test_gate_cache import ask
from tests.integration.gate import wait_for

BODY = bytes(range(256)) * 40
LIVES = "Cache-Control: max-age=60"
TAG = 'ETag: "one"'


def part(gate, path, first, last):
    return ask(gate, path, Range=f"bytes={first}-{last}")


def test_a_part_is_stored_and_answers_what_it_holds(gate, story):
    story.tell("/part", BODY, LIVES, TAG).ranges = True
    first = part(gate, "/part", 100, 999)
    assert (first.status, first.body) == (206, BODY[100:1000])
    assert "stored" in first.cache
    second = part(gate, "/part", 200, 299)
    assert (second.status, second.body) == (206, BODY[200:300])
    assert second.headers["content-range"] == f"bytes 200-299/{len(BODY)}"
    assert "hit" in second.cache
    assert len(story.asked("/part")) == 1


def test_a_part_is_never_the_whole(gate, story):
    story.tell("/whole", BODY, LIVES, TAG).ranges = True
    part(gate, "/whole", 0, 99)
    reply = ask(gate, "/whole")
    assert (reply.status, reply.body) == (200, BODY)
    assert "fwd=partial" in reply.cache
    assert ask(gate, "/whole", "HEAD").headers["content-length"] == str(len(BODY))
    assert part(gate, "/whole", 5000, 5009).body == BODY[5000:5010]
    assert len(story.asked("/whole")) == 2


def test_what_reaches_beyond_a_part_goes_to_the_origin(gate, story):
    story.tell("/beyond", BODY, LIVES, TAG).ranges = True
    part(gate, "/beyond", 0, 99)
    assert part(gate, "/beyond", 50, 149).body == BODY[50:150]
    assert part(gate, "/beyond", 0, 149).body == BODY[:150]
    assert len(story.asked("/beyond")) == 2


def test_parts_that_share_a_strong_tag_become_the_whole(gate, story):
    story.tell("/joined", BODY, LIVES, TAG).ranges = True
    middle = len(BODY) // 2
    part(gate, "/joined", middle, len(BODY) - 1)
    part(gate, "/joined", 0, middle - 1)
    reply = ask(gate, "/joined")
    assert (reply.status, reply.body) == (200, BODY)
    assert "hit" in reply.cache
    assert reply.headers["content-length"] == str(len(BODY))
    assert len(story.asked("/joined")) == 2


@pytest.mark.parametrize("tags", [('ETag: "a"', 'ETag: "b"'), ('ETag: W/"a"',) * 2, ("X-No: tag",) * 2])
def test_other_parts_are_not_put_together(gate, story, tags):
    path = f"/apart-{hash(tags)}"
    old, new = BODY, BODY[::-1]
    middle = len(BODY) // 2
    story.tell(path, old, LIVES, tags[0]).ranges = True
    part(gate, path, 0, middle - 1)
    story.tell(path, new, LIVES, tags[1]).ranges = True
    part(gate, path, middle, len(BODY) - 1)
    assert ask(gate, path).body == new


def test_the_beginning_of_what_broke_off_answers_ranges_of_it(gate, story):
    answer = story.tell("/cut", BODY, LIVES, TAG)
    answer.cut = True
    with pytest.raises(Exception, match="IncompleteRead"):
        ask(gate, "/cut")
    answer.cut = False
    answer.ranges = True
    reply = part(gate, "/cut", 0, 99)
    assert (reply.status, reply.body) == (206, BODY[:100])
    assert "hit" in reply.cache
    assert ask(gate, "/cut").body == BODY


def test_a_part_larger_than_what_is_stored_goes_through(gate, story):
    body = BODY * 300
    story.tell("/large", body, LIVES, TAG).ranges = True
    reply = part(gate, "/large", 0, len(body) - 2)
    assert (reply.status, reply.body) == (206, body[:-1])
    assert part(gate, "/large", 0, 9).body == body[:10]
    assert part(gate, "/large", 0, 9).body == body[:10]
    assert len(story.asked("/large")) == 2


def test_a_post_answers_later_gets_if_it_says_so(gate, story):
    story.tell("/form", b"old", LIVES)
    ask(gate, "/form")
    story.tell("/form", b"posted", LIVES, "Content-Location: /form")
    posted = ask(gate, "/form", "POST", b"x=1")
    assert posted.body == b"posted"
    reply = ask(gate, "/form")
    assert (reply.body, len(story.asked("/form"))) == (b"posted", 2)
    assert "hit" in reply.cache
    story.tell("/form", b"other", LIVES, "Content-Location: /elsewhere")
    ask(gate, "/form", "POST", b"x=1")
    assert ask(gate, "/form").body == b"other"


def test_nothing_is_held_of_a_post_whose_client_left(gate, story):
    answer = story.tell("/left", BODY * 100, LIVES, "Content-Location: /left")
    answer.middle.clear()
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as client:
        client.sendall(b"POST /left HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nx=1")
        wait_for("content kept", lambda: held(gate) > 0)
    answer.middle.set()
    wait_for("nothing kept", lambda: held(gate) == 0)


def held(gate):
    return gate.metrics()['headgate_held_bytes{limit="cache-fills"}']
