"""Messages through a real gate: framing both ways, interim responses, old and pipelining clients, upgrades."""

import json
import threading

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.origin import Origin, ask, connect, echo

GO = threading.Event()


def chunked(wire):
    """Answer in chunks with a trailer section, telling what trailers came."""
    head = wire.read_head()
    content, trailers = wire.read_chunked() if head.get("transfer-encoding") else (b"", [])
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
    wire.send(b"5;ext=1\r\nhello\r\n")
    told = content + b"|" + b",".join(trailers)
    wire.send(b"%x\r\n%b\r\n0\r\nX-Sum: 42\r\nX-Inner: 1\r\n\r\n" % (len(told), told))
    wire.read_head()


def plain(status, fields, body=b""):
    def script(wire):
        while head := wire.read_head():
            wire.read_content(head)
            wire.send(b"HTTP/1.1 %d X\r\n%b\r\n%b" % (status, fields, body))

    return script


def interim(wire):
    """Ask for the content with 100, hint with 103, then echo."""
    head = wire.read_head()
    if head.get("expect"):
        wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    content = wire.read_content(head)
    wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content))
    wire.read_head()


def unasked(wire):
    """Send a 100 that nobody asked for."""
    wire.read_head()
    wire.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    wire.read_head()


def final_instead_of_100(wire):
    wire.read_head()
    wire.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
    wire.read_to_end()


def slow_then_fast(wire):
    """The first target is slow, the others are not: only the gate keeps the order."""
    while head := wire.read_head():
        if head.target == "/slow":
            GO.wait(10)
        wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head.target), head.target.encode())
        )


def until_close(wire):
    wire.read_head()
    wire.send(b"HTTP/1.0 200 OK\r\n\r\nall of it")


def early_response(wire):
    """Answer at once, and never read the content."""
    wire.read_head()
    wire.send(b"HTTP/1.1 413 Large\r\nContent-Length: 3\r\n\r\nbig")
    GO.wait(10)


def upgrade(wire):
    """Switch, greet at once, then return everything in capitals; an end is answered with a goodbye."""
    head = wire.read_head()
    if head.get("upgrade") != "shout" or "upgrade" not in (head.get("connection") or "").lower():
        wire.send(b"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n")
        return
    wire.send(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nHELLO ")
    data = wire.buffer
    while data or (data := wire.sock.recv(65536)):
        wire.send(data.upper())
        data = b""
    wire.send(b" BYE")


SCRIPTS = {
    "echo": echo,
    "chunked": chunked,
    "empty204": plain(204, b""),
    "not304": plain(304, b"ETag: x\r\nContent-Length: 10\r\n"),
    "head": plain(200, b"Content-Length: 1000\r\n"),
    "interim": interim,
    "unasked": unasked,
    "refuse": final_instead_of_100,
    "order": slow_then_fast,
    "old": until_close,
    "early": early_response,
    "upgrade": upgrade,
}


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    origins = {name: Origin(script) for name, script in SCRIPTS.items()}
    text = "".join(
        f'[[route]]\nhosts=["{name}.test"]\nupstream="{name}"\nset_request_headers={{X-User="ours"}}\n'
        f'remove_response_headers=["X-Inner"]\n[upstream.{name}]\nendpoints=["{origin.url}"]\n'
        for name, origin in origins.items()
    )
    try:
        with Gate(tmp_path_factory.mktemp("gate"), text) as gate:
            gate.origins = origins
            yield gate
            assert gate.events("defect") == []
    finally:
        GO.set()
        for origin in origins.values():
            origin.close()


@pytest.fixture
def client(gate):
    with connect(gate.http_ports[0]) as wire:
        yield wire


def test_chunked_content_and_trailers_both_ways(client):
    client.send(
        b"POST / HTTP/1.1\r\nHost: chunked.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n"
        b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Check: 7\r\nX_User: 6\r\n\r\n"
    )
    head = client.read_head()
    assert head.get("transfer-encoding") == "chunked"
    content, trailers = client.read_chunked()
    assert content == b"helloabcde|X-Check: 7"
    assert trailers == [b"X-Sum: 42"]


def test_content_with_a_length(client):
    client.send(b"POST /p HTTP/1.1\r\nHost: echo.test\r\nContent-Length: 5\r\n\r\nfirst")
    head, body = client.read_response()
    told = json.loads(body)
    assert (told["method"], told["content"]) == ("POST", "first")
    assert ["content-length", "5"] in told["fields"]
    # The connection is good for another one.
    client.send(b"POST /p HTTP/1.1\r\nHost: echo.test\r\nContent-Length: 0\r\n\r\n")
    head, body = client.read_response()
    assert head.status == 200
    assert ["content-length", "0"] in json.loads(body)["fields"]


@pytest.mark.parametrize(
    ("host", "method", "status", "length"),
    [("empty204", "GET", 204, None), ("not304", "GET", 304, "10"), ("head", "HEAD", 200, "1000")],
)
def test_responses_without_content(client, host, method, status, length):
    """RFC 9112 section 6.3: these end with their head whatever their fields say, and the connection goes on."""
    for _ in range(2):
        client.send(f"{method} / HTTP/1.1\r\nHost: {host}.test\r\n\r\n".encode())
        head, body = client.read_response(to_head=method == "HEAD")
        assert (head.status, head.get("content-length"), body) == (status, length, b"")


def test_100_continue_and_103_are_passed_on(client):
    client.send(b"POST / HTTP/1.1\r\nHost: interim.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    assert client.read_head().status == 100
    client.send(b"body")
    hints = client.read_head()
    assert (hints.status, hints.get("link")) == (103, "</a.css>; rel=preload")
    head, body = client.read_response()
    assert (head.status, body) == (200, b"body")


def test_rfc9110_15_2_a_100_that_nobody_asked_for_is_passed_on_too(client):
    client.send(b"GET / HTTP/1.1\r\nHost: unasked.test\r\n\r\n")
    assert client.read_head().status == 100
    assert client.read_response()[1] == b"ok"


def test_a_final_response_instead_of_100(client):
    client.send(b"POST / HTTP/1.1\r\nHost: refuse.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    head, body = client.read_response()
    assert (head.status, body) == (401, b"no")
    assert client.ended()


def test_an_unknown_expectation(client):
    """RFC 9110 section 10.1.1: 417."""
    client.send(b"GET / HTTP/1.1\r\nHost: echo.test\r\nExpect: tea\r\n\r\n")
    assert client.read_response()[0].status == 417


def test_an_http10_client(client):
    """RFC 9112 section 6.1: no chunks for it; the content ends with the connection."""
    client.send(b"GET / HTTP/1.0\r\nHost: chunked.test\r\n\r\n")
    head, body = client.read_response()
    assert head.get("transfer-encoding") is None
    assert head.get("connection") == "close"
    assert body == b"hello|"


def test_an_http10_client_that_keeps_alive(client):
    for _ in range(2):
        client.send(b"GET / HTTP/1.0\r\nHost: echo.test\r\nConnection: keep-alive\r\n\r\n")
        head, body = client.read_response()
        assert head.get("connection") == "keep-alive"
        assert json.loads(body)["version"] == "HTTP/1.1"


def test_an_origin_that_ends_its_content_by_closing(client):
    for _ in range(2):
        client.send(b"GET / HTTP/1.1\r\nHost: old.test\r\n\r\n")
        head, body = client.read_response()
        assert (head.get("transfer-encoding"), body) == ("chunked", b"all of it")


def test_connection_close_is_honoured(client):
    client.send(b"GET / HTTP/1.1\r\nHost: echo.test\r\nConnection: close\r\n\r\n")
    head, _ = client.read_response()
    assert head.get("connection") == "close"
    assert client.ended()


def test_pipelined_requests_are_answered_in_order(client):
    GO.clear()
    targets = ["/slow", *(f"/{i}" for i in range(20))]
    client.send(b"".join(f"GET {target} HTTP/1.1\r\nHost: order.test\r\n\r\n".encode() for target in targets))
    GO.set()
    assert [client.read_response()[1].decode() for _ in targets] == targets


def test_a_pipelined_request_behind_content(client):
    client.send(
        b"POST /1 HTTP/1.1\r\nHost: echo.test\r\nContent-Length: 3\r\n\r\nabc"
        b"POST /2 HTTP/1.1\r\nHost: echo.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n"
        b"GET /3 HTTP/1.1\r\nHost: echo.test\r\n\r\n"
    )
    told = [json.loads(client.read_response()[1]) for _ in range(3)]
    assert [(one["target"], one["content"]) for one in told] == [("/1", "abc"), ("/2", "def"), ("/3", "")]


def test_a_half_closed_client_gets_its_answer(client):
    client.send(b"GET / HTTP/1.1\r\nHost: echo.test\r\n\r\n")
    client.sock.shutdown(1)
    assert client.read_response()[0].status == 200
    assert client.ended()


def test_a_response_before_the_content_is_complete(gate, client):
    GO.clear()
    client.send(b"POST / HTTP/1.1\r\nHost: early.test\r\nContent-Length: 100000000\r\n\r\n" + b"x" * 1000)
    head, body = client.read_response()
    assert (head.status, body) == (413, b"big")
    wait_for("the upstream connection to be gone", lambda: gate.origins["early"].open == 0 or GO.set(), 10)


def test_a_tunnel(gate, client):
    client.send(
        b"GET / HTTP/1.1\r\nHost: upgrade.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: shout\r\n\r\nearly "
    )
    head = client.read_head()
    assert (head.status, head.get("upgrade"), head.get("connection").lower()) == (101, "shout", "upgrade")
    assert client.read_exactly(12) == b"HELLO EARLY "
    assert gate.metrics()["headgate_tunnels_open"] == 1 or wait_for(
        "the tunnel's gauge", lambda: gate.metrics()["headgate_tunnels_open"] == 1
    )
    big = b"abc" * 500_000
    sender = threading.Thread(target=client.send, args=(big,))
    sender.start()
    assert client.read_exactly(len(big)) == big.upper()
    sender.join()
    client.sock.shutdown(1)  # an end in one direction only: the goodbye still comes
    assert client.read_to_end() == b" BYE"
    wait_for("the end of the tunnel", lambda: gate.metrics()["headgate_tunnels_open"] == 0)
    lines = wait_for("its line", lambda: [x for x in gate.access_lines() if x["host"] == "upgrade.test"])
    assert lines[-1]["status"] == 101


def test_an_upgrade_that_is_refused_is_a_plain_answer(client):
    client.send(b"GET / HTTP/1.1\r\nHost: upgrade.test\r\nConnection: Upgrade\r\nUpgrade: whisper\r\n\r\n")
    assert client.read_response()[0].status == 400


def test_an_upgrade_without_connection_is_ignored(client):
    """RFC 9110 section 7.8: Upgrade counts only when Connection names it."""
    client.send(b"GET / HTTP/1.1\r\nHost: echo.test\r\nUpgrade: shout\r\n\r\n")
    fields = json.loads(client.read_response()[1])["fields"]
    assert "upgrade" not in [name for name, _ in fields]


def test_connect_is_refused(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"CONNECT echo.test:443 HTTP/1.1\r\nHost: echo.test:443\r\n\r\n")
        assert wire.read_response()[0].status == 405


def test_connections_to_the_origin_are_used_again(gate):
    before = gate.origins["order"].accepted
    GO.set()
    for _ in range(20):
        assert ask(gate.http_ports[0], "/x", host="order.test")[0].status == 200
    assert gate.origins["order"].accepted <= before + 1
