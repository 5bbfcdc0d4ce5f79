"""The PROXY protocol from real proxies: HAProxy and nginx in front of the gate, and curl as one."""

import json
import subprocess

import pytest
from tests.integration.gate import Gate, free_port, wait_for
from tests.integration.tcp.peers import haproxy, nginx

from headgate.net.proxy_protocol import encode_v2
from headgate.testing.origin import connect

CLIENT = "127.0.0.5"
TEXT = """
[[certificate]]
files = "{pki}/a.pem"
[certificate.ocsp]
stapling = "off"
[[route]]
upstream = "echo"
[upstream.echo]
endpoints = ["{origin}"]
"""
ACCEPT = 'proxy_protocol = "accept"\nproxy_protocol_from = ["127.0.0.1", "::1"]\n'


@pytest.fixture(scope="module")
def gate(tmp_path_factory, echo, pki):
    text = TEXT.format(pki=pki, origin=echo.url)
    with Gate(tmp_path_factory.mktemp("gate"), text, https=1, listener_extra=ACCEPT) as gate:
        yield gate


def told(body):
    """Return what the gate told the origin of its client."""
    fields = dict(json.loads(body)["fields"])
    return fields["x-forwarded-for"], fields["x-forwarded-proto"], fields["forwarded"].partition(";")[0]


def last_client(gate, count):
    return wait_for("the log", lambda: len(gate.access_lines()) > count and gate.access_lines()[-1]["client"])


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c"])
@pytest.mark.parametrize("kind", ["http", "https"])
def test_haproxy_in_front(gate, tmp_path, pki, version, kind):
    port, lines = free_port(), len(gate.access_lines())
    target = gate.http_ports[0] if kind == "http" else gate.https_ports[0]
    text = f"listen front\n  bind 127.0.0.1:{port}\n  server gate 127.0.0.1:{target} {version}\n"
    with haproxy(tmp_path, text, port):
        body = fetch(kind, port, pki)
    assert told(body) == (CLIENT, kind, f"for={CLIENT}")
    assert last_client(gate, lines).startswith(f"{CLIENT}:")


@pytest.mark.parametrize("kind", ["http", "https"])
def test_nginx_in_front(gate, tmp_path, pki, kind):
    port = free_port()
    target = gate.http_ports[0] if kind == "http" else gate.https_ports[0]
    text = f"stream {{ server {{ listen 127.0.0.1:{port}; proxy_protocol on; proxy_pass 127.0.0.1:{target}; }} }}"
    with nginx(tmp_path, text, port):
        assert told(fetch(kind, port, pki)) == (CLIENT, kind, f"for={CLIENT}")


def fetch(kind, port, pki, *more):
    """Return what curl gets from a port, coming from another address of loopback."""
    command = [
        "curl",
        "-sS",
        "--max-time",
        "20",
        "--interface",
        CLIENT,
        "--cacert",
        str(pki / "root.pem"),
        *more,
    ]
    url = f"{kind}://127.0.0.1:{port}/"
    return subprocess.run([*command, url], capture_output=True, check=True).stdout


def test_curl_as_a_proxy_of_its_own(gate, pki):
    """It comes from a trusted address; nobody else is believed."""
    port = gate.http_ports[0]
    command = ["curl", "-sS", "--max-time", "20", "--haproxy-protocol", f"http://127.0.0.1:{port}/"]
    body = subprocess.run(command, capture_output=True, check=True).stdout
    assert told(body)[0] == "127.0.0.1"
    assert told(fetch("http", port, pki))[0] == CLIENT


def test_a_header_from_nobody_we_know_is_a_bad_request(gate):
    with connect(gate.http_ports[0], source=CLIENT) as wire:
        wire.send(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = wire.read_head()
        assert head.status == 400


def test_a_known_proxy_without_a_header_is_cut_off(gate):
    before = gate.settled_metrics().get('headgate_refused_total{limit="proxy-header"}', 0)
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.ended()
    counter = 'headgate_refused_total{limit="proxy-header"}'
    wait_for("the counter", lambda: gate.metrics()[counter] == before + 1)
    assert [e["reason"] for e in gate.events("connection-failed")][-1] == "proxy-header"


def test_a_balancer_that_checks_our_health_is_itself(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(encode_v2("", 0, "", 0) + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        _, body = wire.read_response()
    assert told(body)[0] == "127.0.0.1"


def test_an_address_of_the_other_family_is_told(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(
            encode_v2("2001:db8::7", 4000, "2001:db8::1", 443)
            + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        _, body = wire.read_response()
    fields = dict(json.loads(body)["fields"])
    assert fields["x-forwarded-for"] == "2001:db8::7"
    assert fields["x-forwarded-port"] == "443", "the port that the client knows"
