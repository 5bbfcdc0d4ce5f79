"""What a gate between HTTP/1.1 and HTTP/2, or between two of HTTP/2, does to a message: nothing that can be seen.

RFC 9113 section 8, RFC 9110 section 7 and 10.1.1, RFC 8297, RFC 8441. Each test runs three ways: h2 to h1, h1 to h2,
h2 to h2.
"""

import base64
import hashlib
import json
import threading

import pytest
from tests.integration.gate import wait_for
from tests.integration.h2.calls import PATIENCE, content, until

KIB, MIB = 1024, 1 << 20
KEY = base64.b64encode(bytes(16)).decode()


def told(call):
    """Answer with everything that came."""
    body = b""
    while piece := call.read():
        body += piece
    said = {
        "method": call.method,
        "path": call.path,
        "authority": call.authority,
        "fields": call.fields,
        "sum": hashlib.sha256(body).hexdigest(),
        "size": len(body),
        "trailers": call.trailers,
    }
    data = json.dumps(said).encode()
    call.respond(200, [("content-length", str(len(data)))])
    if call.method != "HEAD":
        call.send(data)
    call.end()


def values(said, name):
    return [value for key, value in said["fields"] if key == name]


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE", "PROPFIND"])
def test_method_target_and_authority(world, method):
    with world.client(told) as client:
        body = b"x" if method == "POST" else None
        said = json.loads(client.ask(method, "/some/where?x=1&y=%C3%A4", [("x-a", "b")], body).body)
        assert (said["method"], said["path"]) == (method, "/some/where?x=1&y=%C3%A4")
        # The authority is the origin's to know, in whatever form its version has for it, and once.
        assert said["authority"] == "a.test"
        assert values(said, "host") == ([] if world.origin_is_h2 else ["a.test"])
        assert values(said, "x-a") == ["b"]


def test_fields_keep_their_order_and_their_values(world):
    sent = [("x-one", "1"), ("x-two", "a, b"), ("x-one", "2"), ("x-empty", ""), ("x-high", "\xe4\xff")]
    with world.client(told) as client:
        said = json.loads(client.ask(fields=sent).body)
        assert [
            tuple(pair) for pair in said["fields"] if pair[0].startswith("x-") and pair[0] in dict(sent)
        ] == sent


def test_fields_of_answers(world):
    sent = [
        ("x-one", "1"),
        ("set-cookie", "a=1; Path=/"),
        ("x-one", "2"),
        ("set-cookie", "b=2"),
        ("x-high", "\xe4"),
    ]

    def script(call):
        call.respond(200, [*sent, ("content-length", "2")])
        call.send(b"ok")
        call.end()

    with world.client(script) as client:
        answer = client.ask()
        assert [pair for pair in answer.fields if pair[0] in ("x-one", "set-cookie", "x-high")] == sent
        assert answer.body == b"ok"


def test_cookies_arrive_as_one(world):
    """RFC 9113 section 8.2.3: crumbs are one field again wherever the next hop is not HTTP/2."""
    crumbs = ["a=1", "b=2", "c=3; d=4"]
    with world.client(told) as client:
        fields = (
            [("cookie", one) for one in crumbs] if world.client_is_h2 else [("cookie", "; ".join(crumbs))]
        )
        said = json.loads(client.ask(fields=fields).body)
        found = values(said, "cookie")
        assert "; ".join(found) == "a=1; b=2; c=3; d=4"
        if not world.origin_is_h2:
            assert len(found) == 1


@pytest.mark.parametrize("value", ["trailers", None])
def test_te_is_trailers_or_nothing(world, value):
    """RFC 9113 section 8.2.2: TE may be "trailers" and nothing else; RFC 9110 section 10.1.4: it is of one hop."""
    with world.client(told) as client:
        fields = (
            [("te", "trailers")] if world.client_is_h2 else [("te", "trailers, gzip"), ("connection", "te")]
        )
        said = json.loads(client.ask(fields=fields if value else []).body)
        if world.origin_is_h2:
            assert values(said, "te") in ([], ["trailers"])
        assert values(said, "connection") in ([], ["te"], ["keep-alive"])


# HTTP/2 has none: its engines refuse them (RFC 9113 section 8.2.2).
@pytest.mark.parametrize("world", [("h1", "h2")], ids="-to-".join, indirect=True)
def test_fields_of_the_hop_end_here(world):
    with world.client(told) as client:
        fields = [("connection", "x-hop"), ("x-hop", "1"), ("keep-alive", "5"), ("proxy-connection", "close")]
        said = json.loads(client.ask(fields=fields).body)
        for name in ("x-hop", "keep-alive", "proxy-connection"):
            assert values(said, name) == []


@pytest.mark.parametrize("size", [0, 1, 16 * KIB, 16 * KIB + 1, 3 * MIB])
@pytest.mark.parametrize("is_sized", [True, False], ids=["length", "no-length"])
def test_content_of_requests(world, size, is_sized):
    with world.client(told) as client:
        fields = [("content-length", str(size))] if is_sized else []
        said = json.loads(client.ask("POST", "/", fields, content(size)).body)
        assert (said["size"], said["sum"]) == (size, hashlib.sha256(content(size)).hexdigest())
        lengths = values(said, "content-length")
        assert lengths == [str(size)] if is_sized else lengths in ([], [str(size)])


@pytest.mark.parametrize("size", [0, 1, 16 * KIB + 1, 3 * MIB])
@pytest.mark.parametrize("framing", ["length", "no-length", "to-end"])
def test_content_of_answers(world, size, framing):
    def script(call):
        fields = [("content-length", str(size))] if framing == "length" else []
        call.respond(200, fields, to_end=framing == "to-end")
        call.send(content(size))
        call.end()

    with world.client(script) as client:
        answer = client.ask()
        assert answer.ended
        assert answer.body == content(size)
        if framing == "length":
            assert answer.get("content-length") == str(size)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_trailers_both_ways(world, method):
    def script(call):
        while call.read():
            pass
        call.respond(200, [("x-trailers", json.dumps(call.trailers))])
        call.send(b"body")
        call.end([("x-sum", "1"), ("grpc-status", "0")])

    with world.client(script) as client:
        body, trailers = (b"some", [("x-sent", "2"), ("x-too", "3")]) if method == "POST" else (None, ())
        answer = client.ask(method, "/", [("te", "trailers")] if world.client_is_h2 else [], body, trailers)
        assert answer.body == b"body"
        assert answer.trailers == [("x-sum", "1"), ("grpc-status", "0")]
        assert [tuple(pair) for pair in json.loads(answer.get("x-trailers"))] == list(trailers)


def test_trailers_without_content(world):
    def script(call):
        call.respond(200)
        call.end([("x-end", "1")])

    with world.client(script) as client:
        answer = client.ask()
        assert (answer.body, answer.trailers, answer.ended) == (b"", [("x-end", "1")], True)


def test_head(world):
    def script(call):
        call.respond(200, [("content-length", "12345"), ("x-method", call.method)])
        call.end()

    with world.client(script) as client:
        for _ in range(2):
            answer = client.ask("HEAD")
            assert (answer.status, answer.body, answer.get("content-length")) == (200, b"", "12345")
            assert (answer.get("x-method"), answer.ended) == ("HEAD", True)


@pytest.mark.parametrize("status", [204, 304, 200, 206, 301, 404, 418, 500, 599])
def test_statuses(world, status):
    def script(call):
        has_content = status not in (204, 304)
        call.respond(status, [("x-a", "1"), *([("content-length", "3")] if has_content else [])])
        if has_content:
            call.send(b"yes")
        call.end()

    with world.client(script) as client:
        for _ in range(2):
            answer = client.ask()
            assert (answer.status, answer.get("x-a"), answer.ended) == (status, "1", True)
            assert answer.body == (b"" if status in (204, 304) else b"yes")


def test_early_hints(world):
    """RFC 8297: a 103 comes before the answer, not with it."""
    seen = threading.Event()

    def script(call):
        call.inform(103, [("link", "</a.css>; rel=preload")])
        assert seen.wait(PATIENCE)
        call.respond(200, [("content-length", "0")])
        call.end()

    with world.client(script) as client:
        one = client.begin()
        assert one.interim() == 103
        seen.set()
        answer = one.rest()
        assert answer.status == 200
        assert answer.interim[0][0] == 103
        assert ("link", "</a.css>; rel=preload") in answer.interim[0][1]
        one.close()


def test_expect_continue(world):
    """RFC 9110 section 10.1.1: who waits for a 100 gets one, and content goes on only then."""

    def script(call):
        if call.get("expect"):
            call.proceed()
        told(call)

    with world.client(script) as client:
        one = client.begin(
            "POST", "/", [("expect", "100-continue"), ("content-length", "5")], has_content=True
        )
        assert one.interim() == 100
        one.send(b"hello")
        one.end()
        answer = one.rest()
        assert json.loads(answer.body)["size"] == 5
        one.close()


def test_an_answer_may_come_before_the_content(world):
    """An origin that refuses an upload at once need not be told the rest."""

    def script(call):
        call.respond(413, [("content-length", "3")])
        call.send(b"no!")
        call.end()

    with world.client(script) as client:
        one = client.begin("POST", "/", [("content-length", str(10 * MIB))], has_content=True)
        one.send(b"x" * 1000)
        answer = one.head()
        assert answer.status == 413
        if world.client_is_h2:
            assert one.rest().body == b"no!"
            assert client.ask("GET").status == 413
        one.close()


def test_pieces_are_not_held_back(world):
    """What one side has said the other hears before more is said, both ways."""

    def script(call):
        call.respond(200)
        while piece := call.read():
            call.send(piece.upper())
        call.end([("x-pieces", "done")])

    with world.client(script) as client:
        one = client.begin("POST", "/", has_content=True)
        assert one.head().status == 200
        for number in range(50):
            word = b"piece %d" % number
            one.send(word)
            heard = b""
            while len(heard) < len(word):
                heard += one.read()
            assert heard == word.upper()
        one.end()
        answer = one.rest()
        assert (answer.ended, answer.trailers) == (True, [("x-pieces", "done")])
        one.close()


def test_content_octet_by_octet(world):
    """A slow writer on either side: each octet is a frame or a chunk of its own, and none is lost."""

    def script(call):
        call.respond(200)
        while piece := call.read():
            for octet in piece:
                call.send(bytes((octet,)))
        call.end()

    with world.client(script) as client:
        one = client.begin("POST", "/", has_content=True)
        for octet in content(1000):
            one.send(bytes((octet,)))
        one.end()
        answer = one.rest()
        assert (answer.body, answer.ended) == (content(1000), True)
        one.close()


def test_big_content_both_ways_at_once(world):
    size = 8 * MIB

    def script(call):
        call.respond(200)
        while piece := call.read():
            call.send(piece)
        call.end()

    with world.client(script) as client:
        one = client.begin("POST", "/", has_content=True)
        sender = threading.Thread(target=lambda: (one.send(content(size)), one.end()), daemon=True)
        sender.start()
        answer = one.rest()
        sender.join(PATIENCE)
        assert hashlib.sha256(answer.body).digest() == hashlib.sha256(content(size)).digest()
        assert answer.ended
        one.close()


def test_who_does_not_read_stops_the_origin_and_nobody_else(world):
    """A slow reader holds its own stream; the gate holds no more than its limits for it."""
    size, sent = 32 * MIB, [0]

    def script(call):
        if call.path == "/quick":
            call.respond(200, [("content-length", "2")])
            call.send(b"ok")
            call.end()
            return
        call.respond(200, [("content-length", str(size))])
        for at in range(0, size, 64 * KIB):
            call.send(content(size)[at : at + 64 * KIB])
            sent[0] = at
        call.end()

    with world.client(script) as client:
        one = client.begin("GET", "/slow")
        assert one.head().status == 200
        held = -1
        while held != sent[0]:
            held = sent[0]
            for _ in range(20):
                assert client.ask("GET", "/quick").body == b"ok"
        assert sent[0] < 24 * MIB
        answer = one.rest()
        assert hashlib.sha256(answer.body).digest() == hashlib.sha256(content(size)).digest()
        one.close()


def test_an_origin_that_does_not_read_stops_the_client(world):
    size, go, sent = 32 * MIB, threading.Event(), [0]

    def script(call):
        assert go.wait(PATIENCE)
        told(call)

    with world.client(script) as client:
        one = client.begin("POST", "/", [("content-length", str(size))], has_content=True)

        def send():
            for at in range(0, size, 64 * KIB):
                one.send(content(size)[at : at + 64 * KIB])
                sent[0] = at
            one.end()

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        until("some of it", lambda: sent[0] > 0)
        still = threading.Event()
        held = -1
        while held != sent[0]:
            held = sent[0]
            still.wait(0.3)
        assert sent[0] < 24 * MIB
        go.set()
        said = json.loads(one.rest().body)
        assert said["sum"] == hashlib.sha256(content(size)).hexdigest()
        sender.join(PATIENCE)
        one.close()


@pytest.mark.parametrize("when", ["before-the-head", "inside-content", "while-uploading"])
def test_a_client_that_gives_up_is_known_to_the_origin(world, when):
    come, gone = threading.Event(), threading.Event()

    def script(call):
        if when == "inside-content":
            call.respond(200)
            call.send(b"first")
        if when == "while-uploading":
            call.read()
        come.set()
        call.wait_gone()
        gone.set()

    with world.client(script) as client:
        one = client.begin("POST", "/", has_content=when == "while-uploading")
        if when == "while-uploading":
            one.send(b"first")
        assert come.wait(PATIENCE)
        if when == "inside-content":
            one.head()
            assert one.read() == b"first"
        one.cut()
        assert gone.wait(PATIENCE)


@pytest.mark.parametrize("has_content", [False, True])
def test_an_origin_that_gives_up_is_known_to_the_client(world, has_content):
    heard = threading.Event()

    def script(call):
        if call.path == "/ok":
            call.respond(200, [("content-length", "0")])
            call.end()
            return
        if has_content:
            call.respond(200, [("content-length", "1000")])
            call.send(b"some")
            assert heard.wait(PATIENCE)
        call.reset()

    with world.client(script) as client:
        if has_content:
            one = client.begin("GET", "/")
            assert one.head().status == 200
            assert one.read() == b"some"
            heard.set()
            answer = one.rest()
            assert not answer.ended
            assert answer.reset is not None
            one.close()
        else:
            assert client.ask("POST", "/", body=b"once").status == 502
        assert client.ask("GET", "/ok").status == 200


def test_clients_that_do_not_read_hold_nobody_else(world):
    """Connections towards origins are shared: what one client leaves lying is not to use up the windows of others."""

    def script(call):
        size = MIB if call.path == "/big" else 10
        call.respond(200, [("content-length", str(8 * size))])
        for _ in range(8):
            call.send(content(size))
        call.end()

    # Nor is it a window of this client's own connection that closes.
    options = {"window": 1 << 28} if world.client_is_h2 else {}
    with world.client(script, **options) as first, world.client(script) as second:
        standing = [first.begin("GET", "/big") for _ in range(40)]
        for one in standing:
            assert one.head().status == 200
        for _ in range(30):
            assert second.ask("GET", "/small").body == content(10) * 8
        for one in standing[:30]:
            one.cut()
        for one in standing[30:]:
            assert one.rest().body == content(MIB) * 8
            one.close()


@pytest.mark.parametrize("is_refused", [False, True])
def test_upgrade_and_extended_connect(world, is_refused):
    """RFC 8441: a WebSocket of one version is one of the other; what is said in it is nobody's business."""
    if world.origin_is_h2 and not world.client_is_h2:
        key = [("sec-websocket-key", KEY), ("sec-websocket-version", "13")]
    else:
        key = [("sec-websocket-version", "13")]
        if not world.client_is_h2:
            key.append(("sec-websocket-key", KEY))
    seen = {}

    def script(call):
        seen["method"], seen["protocol"] = call.method, call.get("upgrade") or call.pseudo.get(":protocol")
        seen["version"] = call.get("sec-websocket-version")
        if is_refused:
            call.respond(403, [("content-length", "2")])
            call.send(b"no")
            call.end()
            return
        if call.version == 11:
            accept = hashlib.sha1(
                f"{call.get('sec-websocket-key')}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()
            )
            text = base64.b64encode(accept.digest()).decode()
            call.inform(
                101, [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", text)]
            )
            while data := call.wire.buffer or call.wire.sock.recv(65536):
                call.wire.buffer = b""
                call.wire.send(data.upper())
            call.keeps = False
        else:
            call.respond(200)
            while data := call.read():
                call.send(data.upper())
            call.end()

    with world.client(script) as client:
        if world.client_is_h2:
            client.talk.wait_settings()
        one = client.begin("GET", "/ws?x=1", key, protocol="websocket")
        answer = one.head()
        assert seen == {
            "method": "CONNECT" if world.origin_is_h2 else "GET",
            "protocol": "websocket",
            "version": "13",
        }
        if is_refused:
            assert answer.status == 403
            assert one.rest().body == b"no"
            one.close()
            return
        assert answer.status == 200
        for number in range(20):
            word = b"said %d" % number
            one.send(word)
            heard = b""
            while len(heard) < len(word):
                heard += one.read()
            assert heard == word.upper()
        if not world.client_is_h2:
            one.close()
            return
        one.end()
        assert one.rest().ended


def test_many_at_once_on_one_connection(world):
    """More than are allowed at a time: the library waits for the limit of the gate, the gate for none."""

    def script(call):
        number = int(call.path[1:])
        call.respond(200, [("content-length", str(number * 100))])
        call.send(content(number * 100))
        call.end()

    with world.client(script) as client:
        for first in range(0, 300, 60):
            asked = [client.begin("GET", f"/{number}") for number in range(first, first + 60)]
            for number, one in enumerate(asked, first):
                answer = one.rest()
                assert answer.body == content(number * 100), answer
                one.close()


def test_the_log_has_both_versions(world):
    with world.client(told) as client:
        assert client.ask("GET", "/logged").status == 200
    lines = wait_for(
        "the log", lambda: [line for line in world.gate.access_lines() if line["target"] == "/logged"]
    )
    assert lines[0]["protocol"] == ("HTTP/2.0" if world.client_is_h2 else "HTTP/1.1")
    # HTTP/1.1 towards an origin goes without saying.
    assert lines[0].get("upstream_protocol", "HTTP/1.1") == ("HTTP/2.0" if world.origin_is_h2 else "HTTP/1.1")
