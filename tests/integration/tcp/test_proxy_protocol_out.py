"""The PROXY protocol towards origins: HAProxy and nginx that demand it, and connections that are nobody else's."""

import json

import pytest
from tests.integration.gate import Gate, free_port, wait_for
from tests.integration.tcp.peers import haproxy, nginx
from tests.integration.tcp.test_proxy_protocol_in import fetch

from headgate.net.proxy_protocol import MAX_V2, decode
from headgate.testing.origin import Origin, connect

TEXT = """
[[listener]]
addresses = ["127.0.0.1:{tcp}"]
mode = "tcp"
upstream = "plain"
[[route]]
upstream = "{first}"
[upstream.plain]
endpoints = ["tcp://127.0.0.1:{plain}"]
proxy_protocol = "{version}"
[upstream.http]
endpoints = ["http://127.0.0.1:{plain}"]
proxy_protocol = "{version}"
[upstream.https]
endpoints = ["https://127.0.0.1:{secure}"]
proxy_protocol = "{version}"
tls = {{ ca = "{pki}/root.pem" }}
"""
CLIENT = "127.0.0.5"


def ask_through(tmp_path, pki, version, plain, secure):
    """Return what an origin says of its clients over http, https and tcp."""
    said = []
    for first in ("http", "https"):
        port = free_port()
        text = TEXT.format(tcp=port, first=first, plain=plain, secure=secure, version=version, pki=pki)
        folder = tmp_path / f"{first}-{version}"
        folder.mkdir()
        with Gate(folder, text) as gate:
            said += [fetch("http", one, pki) for one in {gate.http_ports[0], port}]
    return said


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_behind(tmp_path, pki, version):
    plain, secure = free_port(), free_port()
    text = f"""http {{ ssl_certificate {pki}/a.pem; ssl_certificate_key {pki}/a.pem; server {{
      listen 127.0.0.1:{plain} proxy_protocol; listen 127.0.0.1:{secure} ssl proxy_protocol;
      location / {{ return 200 "$proxy_protocol_addr"; }} }} }}"""
    with nginx(tmp_path, text, plain, secure):
        assert ask_through(tmp_path, pki, version, plain, secure) == [CLIENT.encode()] * 4


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_behind(tmp_path, pki, version):
    plain, secure = free_port(), free_port()
    text = f"""frontend f
  mode http
  bind 127.0.0.1:{plain} accept-proxy
  bind 127.0.0.1:{secure} accept-proxy ssl crt {pki}/a.pem
  http-request return status 200 content-type text/plain lf-string "%[src]"
"""
    with haproxy(tmp_path, text, plain, secure):
        assert ask_through(tmp_path, pki, version, plain, secure) == [CLIENT.encode()] * 4


def introduced(wire):
    """Answer each request with whom the connection was said to be for."""
    header = None
    while header is None:
        wire.buffer += wire.sock.recv(MAX_V2)
        header = decode(wire.buffer)
        if not wire.buffer:
            return
    wire.buffer = wire.buffer[header.size :]
    body = json.dumps(
        [header.source, header.source_port, header.destination, header.destination_port]
    ).encode()
    while wire.read_head():
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


ALONE = """
[[route]]
upstream = "o"
[upstream.o]
endpoints = ["{url}"]
proxy_protocol = "v2"
[upstream.o.health]
interval = "1s"
timeout = "1s"
"""


def test_a_connection_serves_the_client_that_it_was_opened_for_alone(tmp_path):
    with Origin(introduced) as origin, Gate(tmp_path, ALONE.format(url=origin.url)) as gate:
        port = gate.http_ports[0]

        def ask(wire):
            wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return json.loads(wire.read_response()[1])

        with connect(port) as one, connect(port, source=CLIENT) as other, connect(port) as third:
            for wire in (one, other, third, one, other, third, one):
                host, own = wire.sock.getsockname()
                assert ask(wire) == [host, own, "127.0.0.1", port]
            assert gate_dialled(gate) == 3, "reused by its own, never by another"
        # Their connections are good for nobody now, and are not kept.
        wait_for("all to be closed", lambda: gate.metrics()["headgate_upstream_connections_open"] == 0)
        assert gate.run("status").returncode == 0
        down = [event for event in gate.all_events() if "probe" in event["event"] or "down" in event["event"]]
        assert down == [], "probes were understood"


def gate_dialled(gate):
    wait_for("the counters", lambda: gate.metrics()["headgate_upstream_connections_total"] >= 3)
    return gate.metrics()["headgate_upstream_connections_total"]
