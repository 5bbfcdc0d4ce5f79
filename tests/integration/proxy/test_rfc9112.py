"""RFC 9112 through a real gate: what its sections ask of the whole of it and not of the engine alone.

The tables at the top of tests/conformance name these tests; those of one room stand in the room's own files.
"""

import contextlib
import json
import socket
import ssl

import pytest
from tests.integration.gate import Gate, free_port, wait_for

from headgate.testing.origin import Origin, Wire, connect

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
GET = b"GET / HTTP/1.1\r\nHost: echo.test\r\n"


class TlsOrigin(Origin):
    """An origin behind TLS: in its scripts `sock.unwrap()` says close_notify and `close()` says nothing."""

    def __init__(self, script, certificate):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)

        def secured(wire):
            with self.context.wrap_socket(wire.sock, server_side=True, suppress_ragged_eofs=False) as sock:
                script(Wire(sock))

        super().__init__(secured)
        self.url = f"https://{self.address}"


def by_target(wire):
    """Answer as the target says, then close with or without an alert."""
    head = wire.read_head()
    wire.send(
        OK if head.target.startswith("/length") else b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"
    )
    if head.target.endswith("/alert"):
        with contextlib.suppress(OSError):
            wire.sock.unwrap()


@pytest.fixture(scope="module")
def ends():
    """How connections ended for the origin that is left idle: "alert" or "none"."""
    return []


@pytest.fixture(scope="module")
def gate(tmp_path_factory, certificate, echo, ends):
    def left_idle(wire):
        wire.read_head()
        wire.send(OK)
        try:
            ends.append("alert" if wire.sock.recv(1) == b"" else "more")
        except OSError:
            ends.append("none")

    with TlsOrigin(by_target, certificate) as closing, TlsOrigin(left_idle, certificate) as idle:
        hasty = free_port()
        text = f'[[certificate]]\nfiles = "{certificate}"\n[certificate.ocsp]\nstapling = "off"\n'
        text += f'[[listener]]\naddresses = ["127.0.0.1:{hasty}"]\nmode = "https"\n'
        text += '[listener.timeouts]\nkeep_alive = "500ms"\n'
        for name, origin in (("echo", echo), ("closing", closing), ("idle", idle)):
            text += f'[[route]]\nhosts = ["{name}.test"]\nupstream = "{name}"\n'
            text += f'[upstream.{name}]\nendpoints = ["{origin.url}"]\n'
            if name != "echo":
                text += (
                    f'idle_timeout = "500ms"\n[upstream.{name}.tls]\nca = "{certificate.parent}/root.pem"\n'
                )
        text += '[[route]]\npath = "/fixed"\nrespond = { status = 200, body = "fixed" }\n'
        with Gate(tmp_path_factory.mktemp("gate"), text, https=1) as gate:
            gate.hasty = hasty
            yield gate
            assert gate.events("defect") == []


@pytest.fixture
def client(gate):
    with connect(gate.http_ports[0]) as wire:
        yield wire


@pytest.fixture
def secure(gate, certificate):
    """Open a TLS connection that tells an end with close_notify (b"") from one without (`ssl.SSLEOFError`)."""
    context = ssl.create_default_context(cafile=str(certificate.parent / "root.pem"))
    with contextlib.ExitStack() as stack:

        def shake_hands(port=gate.https_ports[0]):
            sock = socket.create_connection(("127.0.0.1", port), 20)
            sock = context.wrap_socket(sock, server_hostname="a.test", suppress_ragged_eofs=False)
            return stack.enter_context(Wire(sock))

        yield shake_hands


# -- 3 the request line


@pytest.mark.parametrize(
    ("line", "host", "sent"),
    [
        ("GET / HTTP/1.1", "echo.test", "echo.test"),
        ("GET / HTTP/1.1", "ECHO.test:8080", "ECHO.test:8080"),
        ("GET http://echo.test:81/ HTTP/1.1", "other.test", "echo.test:81"),
        ("GET http://echo.test/ HTTP/1.1", "", "echo.test"),
        ("GET http://echo.test/ HTTP/1.0", None, "echo.test"),
    ],
)
def test_rfc9112_3_2_host_is_sent_and_equals_the_authority(client, line, host, sent):
    lines = [line, "X: y", *([] if host is None else [f"Host: {host}"]), "", ""]
    client.send("\r\n".join(lines).encode())
    told = json.loads(client.read_response()[1])
    assert [value for name, value in told["fields"] if name == "host"] == [sent]
    assert told["version"] == "HTTP/1.1"


def test_rfc9112_3_2_a_request_without_an_authority_has_an_empty_host(tmp_path, echo):
    text = f'[[route]]\nupstream = "echo"\n[upstream.echo]\nendpoints = ["{echo.url}"]\n'
    with Gate(tmp_path, text) as own, connect(own.http_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.0\r\n\r\n")
        told = json.loads(wire.read_response()[1])
    assert [value for name, value in told["fields"] if name == "host"] == [""]


@pytest.mark.parametrize(
    ("method", "target", "sent"),
    [
        ("GET", "http://echo.test", "/"),
        ("GET", "http://echo.test?q", "/?q"),
        ("OPTIONS", "*", "*"),
        ("OPTIONS", "http://echo.test", "*"),
        ("OPTIONS", "http://echo.test/", "/"),
    ],
)
def test_rfc9112_3_2_the_form_that_an_origin_gets(client, method, target, sent):
    client.send(f"{method} {target} HTTP/1.1\r\nHost: echo.test\r\n\r\n".encode())
    assert json.loads(client.read_response()[1])["target"] == sent


# -- 6.3 and 9.3 our own answers


@pytest.mark.parametrize(("target", "status"), [("/fixed", 200), ("/nothing", 404), ("/a%2Fb", 400)])
def test_rfc9112_6_3_an_answer_of_our_own_to_head_has_no_content(gate, target, status):
    told = []
    for method in ("HEAD", "GET"):
        with connect(gate.http_ports[0]) as wire:
            wire.send(f"{method} {target} HTTP/1.1\r\nHost: x.test\r\nConnection: close\r\n\r\n".encode())
            head = wire.read_head()
            assert head.status == status
            told.append((int(head.get("content-length")), len(wire.read_to_end())))
    assert told[0][1] == 0
    assert told[1][0] == told[1][1] > 0


def test_rfc9112_9_3_content_that_nobody_wants_is_not_the_next_request(client):
    inner = b"GET /smuggled HTTP/1.1\r\nHost: echo.test\r\n\r\n"
    client.send(b"POST /fixed HTTP/1.1\r\nHost: x.test\r\nContent-Length: %d\r\n\r\n%b" % (len(inner), inner))
    assert client.read_response()[1] == b"fixed"
    client.send(b"GET /next HTTP/1.1\r\nHost: echo.test\r\n\r\n")
    assert json.loads(client.read_response()[1])["target"] == "/next"


def test_rfc9110_10_1_1_an_answer_of_our_own_does_not_wait_for_content(client):
    client.send(b"POST /fixed HTTP/1.1\r\nHost: x.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    head = client.read_head()
    assert (head.status, client.read_content(head)) == (200, b"fixed")
    # Whether the content still comes is not known: what follows could be either, so nothing of it is read.
    client.send(b"GET /fixed HTTP/1.1\r\nHost: x.test\r\n\r\n")
    assert client.ended()


# -- 9 connections


def test_rfc9112_9_6_a_close_of_the_client_is_not_for_the_origin(gate, echo):
    before = echo.accepted
    for _ in range(3):
        with connect(gate.http_ports[0]) as wire:
            wire.send(GET + b"Connection: close\r\n\r\n")
            head, body = wire.read_response()
            assert head.get("connection") == "close"
            assert "connection" not in dict(json.loads(body)["fields"])
            assert wire.ended()
    assert echo.accepted <= before + 1


@pytest.mark.parametrize(
    ("target", "whole"),
    [("/close/alert", True), ("/close/none", False), ("/length/alert", True), ("/length/none", True)],
)
def test_rfc9112_9_8_a_response_until_close_ends_with_close_notify(client, target, whole):
    client.send(f"GET {target} HTTP/1.1\r\nHost: closing.test\r\n\r\n".encode())
    if whole:
        assert client.read_response()[1] == (b"ok" if "length" in target else b"all of it")
    else:
        with pytest.raises((EOFError, ConnectionResetError)):
            client.read_response()


@pytest.mark.parametrize(
    "request_",
    [
        GET + b"Connection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: echo.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : echo.test\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: echo.test\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab",
    ],
)
def test_rfc9112_9_8_a_closure_alert_precedes_our_close(secure, request_):
    wire = secure()
    wire.send(request_)
    wire.read_response()
    assert wire.sock.recv(1) == b""


def test_rfc9112_9_8_a_closure_alert_precedes_the_close_when_idle(gate, secure):
    wire = secure(gate.hasty)
    wire.send(GET + b"\r\n")
    wire.read_response()
    assert wire.sock.recv(1) == b""


def test_rfc9112_9_8_a_client_says_a_closure_alert(client, ends):
    client.send(b"GET / HTTP/1.1\r\nHost: idle.test\r\n\r\n")
    assert client.read_response()[1] == b"ok"
    wait_for("the idle connection to end", lambda: ends)
    assert ends == ["alert"]


def test_rfc9112_9_8_a_client_that_leaves_without_an_alert_is_no_failure(gate, secure):
    def connections(number):
        wait_for(f"{number} connections", lambda: gate.metrics()["headgate_connections_open"] == number)

    connections(0)
    before = len(gate.events("connection-failed"))
    wire = secure()
    wire.send(GET + b"\r\n")
    wire.read_response()
    connections(1)
    wire.sock.close()
    connections(0)
    assert len(gate.events("connection-failed")) == before
