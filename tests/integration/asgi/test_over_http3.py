"""Applications for clients of HTTP/3: requests with content, and WebSockets by extended CONNECT (RFC 9220)."""

import pytest
from tests.integration.asgi.conftest import ROUTES
from tests.integration.gate_tls.conftest import Site, make_site

from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Request
from headgate.http.fields import Fields
from headgate.testing.h3_client import H3Client, Reply

APP = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError
    if scope["type"] == "websocket":
        await receive()
        assert scope["scheme"] == "wss", scope
        await send({"type": "websocket.accept", "subprotocol": "chat"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})
            if message["text"] == "close":
                await send({"type": "websocket.close", "code": 4000})
        print("left", message["code"])
        return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    text = f"{scope['http_version']} {scope['scheme']} {scope['path']} {size}\\n".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")], "trailers": True})
    for _ in range(1000):
        await send({"type": "http.response.body", "body": text, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
    await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})
"""


@pytest.fixture
def client(tmp_path, where):
    site = make_site(tmp_path, Site)
    site.certificate("a", "a.test")
    (tmp_path / "site_under_test.py").write_text(APP)
    text = ROUTES.format(module="site_under_test")
    extra = 'protocols = ["h1", "h3"]\n'
    with site.gate(f'{text}app_dir = "{tmp_path}"\n{where}\n', listener_extra=extra) as gate:
        client = H3Client(("127.0.0.1", gate.https_ports[0]), "a.test")
        with client:
            client.gate = gate
            client.shake()
            yield client


def begin(client, method, path, *, upgrade=b"", **lines):
    """Send a head with content to follow; return the stream and its reply."""
    if client.h3 is None:
        client._begin_h3()
    if upgrade:
        client.run_until(lambda: client.h3.control.settings.connect_protocol, "the server's settings")
    fields = Fields([], [])
    fields.add(b"host", b"a.test")
    for name, value in lines.items():
        fields.add(name.replace("_", "-").encode(), value)
    request = Request(method, path, 30, fields, UNKNOWN_LENGTH, stream=client.quic.streams.open(is_uni=False))
    request.upgrade = upgrade
    client.h3.send(request)
    reply = client.replies[request.stream] = Reply()
    client._down()
    client.turn(0.0)
    return request.stream, reply


def push(client, stream, data, *, fin=False):
    if data:
        client.h3.send(Data(data, stream))
    if fin:
        client.h3.send(EndOfMessage(None, stream))
    client._down()
    client.turn(0.0)


def frame(data, opcode=1):
    """A masked frame of a client, with a mask of zeros."""
    assert len(data) < 126
    return bytes((0x80 | opcode, 0x80 | len(data))) + bytes(4) + data


def test_requests(client, where):
    version = b"3" if "true" in where else b"1.1"  # the gate speaks HTTP/1.1 to a process of its own
    reply = client.get("/page")
    assert reply.body == (version + b" https /page 0\n") * 1000
    stream, reply = begin(client, b"POST", b"/upload")
    for _ in range(50):
        push(client, stream, b"x" * 10_000)
    push(client, stream, b"", fin=True)
    client.run_until(lambda: reply.is_over, "the answer")
    assert reply.body == (version + b" https /upload 500000\n") * 1000
    assert reply.get("x-a") == "1"


def test_a_websocket(client):
    stream, reply = begin(
        client,
        b"CONNECT",
        b"/chat",
        upgrade=b"websocket",
        sec_websocket_version=b"13",
        sec_websocket_protocol=b"chat",
    )
    client.run_until(lambda: reply.status or reply.is_over, "the answer")
    assert (reply.status, reply.get("sec-websocket-protocol"), reply.failed) == (200, "chat", None)
    push(client, stream, frame(b"hello"))
    client.run_until(lambda: len(reply.body) >= 7, "the echo")
    assert reply.body == b"\x81\x05hello"
    push(client, stream, frame(b"close"))
    client.run_until(lambda: len(reply.body) >= 18, "the close")
    assert reply.body[7:] == b"\x81\x05close" + b"\x88\x02\x0f\xa0"
    push(client, stream, frame(b"\x0f\xa0", 8), fin=True)
    client.run_until(lambda: reply.is_over, "the end")
    assert reply.ended
    client.gate.process.poll()
    assert client.get("/after").status == 200


def test_a_client_that_resets_its_stream_has_left(client):
    lines = {"sec_websocket_version": b"13", "sec_websocket_protocol": b"chat"}
    stream, reply = begin(client, b"CONNECT", b"/chat", upgrade=b"websocket", **lines)
    client.run_until(lambda: reply.status, "the answer")
    assert reply.status == 200
    push(client, stream, frame(b"\x03\xe8", 8), fin=True)
    client.run_until(lambda: reply.is_over, "the end")
    gate = client.gate
    client.run_until(
        lambda: [e for e in gate.events("app-output") if e["text"] == "left 1000"], "the end there"
    )
