"""Applications for clients of HTTP/2: requests with content, and WebSockets by extended CONNECT (RFC 8441)."""

import pytest
from tests.integration.asgi.conftest import ROUTES
from tests.integration.asgi.test_over_http3 import APP, frame
from tests.integration.gate_tls.conftest import Site, make_site

from headgate.testing.h2_client import H2Client

CHAT = {"sec-websocket-version": "13", "sec-websocket-protocol": "chat"}


@pytest.fixture
def client(tmp_path, where):
    site = make_site(tmp_path, Site)
    site.certificate("a", "a.test")
    (tmp_path / "site_under_test.py").write_text(APP)
    text = ROUTES.format(module="site_under_test")
    with (
        site.gate(f'{text}app_dir = "{tmp_path}"\n{where}\n') as gate,
        H2Client(("127.0.0.1", gate.https_ports[0])) as client,
    ):
        client.gate = gate
        yield client


def test_requests(client, where):
    version = b"2" if "true" in where else b"1.1"  # the gate speaks HTTP/1.1 to a process of its own
    assert client.get("/page").body == (version + b" https /page 0\n") * 1000
    stream, reply = client.begin("POST", "/upload")
    for _ in range(50):
        client.push(stream, b"x" * 10_000)
    client.push(stream, fin=True)
    client.run_until(lambda: reply.is_over, "the answer")
    assert reply.body == (version + b" https /upload 500000\n") * 1000
    assert reply.get("x-a") == "1"
    assert client.trailers[stream].get(b"x-sum") == b"1"


def test_many_at_once(client):
    asked = [client.begin("GET", f"/{number}", body=0) for number in range(60)]
    for number, (_, reply) in enumerate(asked):
        client.run_until(lambda reply=reply: reply.is_over, "an answer")
        assert reply.body.endswith(f"https /{number} 0\n".encode())
        assert reply.body.count(b"\n") == 1000


def test_a_websocket(client):
    stream, reply = client.begin("CONNECT", "/chat", upgrade="websocket", fields=CHAT)
    client.run_until(lambda: reply.status or reply.is_over, "the answer")
    assert (reply.status, reply.get("sec-websocket-protocol"), reply.failed) == (200, "chat", None)
    client.push(stream, frame(b"hello"))
    client.run_until(lambda: len(reply.body) >= 7, "the echo")
    assert reply.body == b"\x81\x05hello"
    client.push(stream, frame(b"close"))
    client.run_until(lambda: len(reply.body) >= 18, "the close")
    assert reply.body[7:] == b"\x81\x05close" + b"\x88\x02\x0f\xa0"
    client.push(stream, frame(b"\x0f\xa0", 8), fin=True)
    client.run_until(lambda: reply.is_over, "the end")
    assert reply.ended
    assert client.get("/after").status == 200


def test_a_client_that_resets_its_stream_has_left(client):
    stream, reply = client.begin("CONNECT", "/chat", upgrade="websocket", fields=CHAT)
    client.run_until(lambda: reply.status, "the answer")
    client.h2.abort(stream, 8)
    gate = client.gate
    client.run_until(
        lambda: [e for e in gate.events("app-output") if e["text"].startswith("left ")], "the end there"
    )
    assert client.get("/after").status == 200
