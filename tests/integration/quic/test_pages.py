"""Pages of a whole gate over HTTP/3: the routes, limits, logs and figures of TCP, and how clients find the way."""

import json
import os
import socket
import time
from pathlib import Path

import pytest
from tests.integration.gate import free_port

from headgate.net.udp import RECEIVE_QUEUE
from headgate.testing.origin import Origin

HELLO = '[[route]]\nrespond = { body = "let in" }\n'

PAGE = "page " * 20_000


def answers(wire):
    while head := wire.read_head():
        wire.read_content(head)
        body = PAGE.encode()
        lines = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nX-Saw: {head.get('forwarded')}"
        lines += '\r\nAlt-Svc: h3=":9"'
        wire.send(lines.encode() + b"\r\n\r\n" + body)


def test_an_origins_pages_over_http3_as_aioquic_asks_for_them(site, helpers):
    site.certificate("a", "a.test")
    with Origin(answers) as origin:
        text = f'[[route]]\nupstream = "u"\n[upstream.u]\nendpoints = ["{origin.url}"]\n'
        with site.gate(text, workers=2) as gate:
            found = site.aioquic(gate, *(f"/{number}" for number in range(20)))
            assert [(status, body.decode()) for status, _, body in found] == [(200, PAGE)] * 20
            headers = found[0][1]
            # An origin's alternatives are not the gate's, and who is here already needs none.
            assert "alt-svc" not in headers
            assert "proto=https" in headers["x-saw"]
            helpers.wait_for("the log", lambda: len(gate.access_lines()) >= 20)
            assert {line["protocol"] for line in gate.access_lines()} == {"HTTP/3.0"}
            assert helpers.counted(gate, "headgate_quic_accepted_total") >= 1
            assert helpers.counted(gate, 'headgate_requests_total{status="2xx"}', 20) == 20


def test_alt_svc_leads_from_tcp_to_http3_and_is_not_repeated_there(site):
    site.certificate("a", "a.test")
    with site.gate() as gate:
        port = gate.https_ports[0]
        over_tcp = site.curl(port, "-i").stdout.lower()
        assert f'alt-svc: h3=":{port}"; ma=86400' in over_tcp
        with site.h3(gate) as client:
            reply = client.get("/")
            assert (reply.status, reply.body) == (200, b"let in")
            assert reply.get("alt-svc") is None


def test_the_advertised_port_is_named_where_something_maps_ports(site):
    site.certificate("a", "a.test")
    with site.gate(listener_extra="advertise_port = 443\n") as gate:
        assert 'alt-svc: h3=":443"; ma=86400' in site.curl(gate.https_ports[0], "-i").stdout.lower()


def test_a_listener_without_h3_neither_binds_udp_nor_says_so(site):
    site.certificate("a", "a.test")
    gate = super(type(site), site).gate(HELLO, listener_extra='protocols = ["h1"]')
    with gate:
        assert "alt-svc" not in site.curl(gate.https_ports[0], "-i").stdout.lower()
        assert f":{gate.https_ports[0]:04X} " not in Path("/proc/net/udp").read_text()


@pytest.fixture
def taken():
    """A port whose UDP somebody else has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", free_port()))
        yield holder.getsockname()[1]


@pytest.mark.parametrize("line", ["", 'protocols = ["h1", "h3"]'])
def test_a_udp_port_that_is_taken_costs_h3_only_where_nobody_asked_for_it(site, taken, line):
    site.certificate("a", "a.test")
    gate = super(type(site), site).gate(HELLO, listener_extra=line)
    text = gate.config.read_text().replace(f":{gate.https_ports[0]}", f":{taken}")
    gate.config.write_text(text)
    if line:
        with pytest.raises(AssertionError, match=f"(?s)exited with 1:.*cannot bind UDP 127.0.0.1:{taken}"):
            gate.start()
        return
    with gate:
        [event] = gate.events("quic-not-bound")
        assert event["address"] == f"127.0.0.1:{taken}"
        assert "held by" in event["reason"]
        answer = site.curl(taken, "-i").stdout.lower()
        assert "let in" in answer
        assert "alt-svc" not in answer


def test_a_host_that_the_connection_is_not_for_gets_421(site):
    site.certificate("a", "a.test")
    with site.gate() as gate, site.h3(gate) as client:
        assert client.get("/", host="other.test").status == 421
        assert client.get("/").status == 200


def test_it_ends_with_0_on_sigterm_while_a_client_is_idle(site):
    site.certificate("a", "a.test")
    gate = site.gate(workers=2)
    gate.start()
    with site.h3(gate) as client:
        client.get("/")
        client.run(0.1)  # until it has acknowledged all of it
        began = time.monotonic()
        # The client sleeps meanwhile, as a laptop does: it acknowledges nothing.
        assert gate.stop() == 0
        assert time.monotonic() - began < 6
        client.run_until(lambda: client.end is not None, "the end")
        assert client.end.code == 0x100


def test_no_descriptor_of_a_worker_is_left_in_the_supervisor(site, helpers):
    site.certificate("a", "a.test")
    with site.gate(workers=2) as gate:
        port = gate.https_ports[0]
        holders = []
        for pid in (gate.pid, *gate.worker_pids(), *gate.child_pids("keeper")):
            with open(f"/proc/{pid}/net/udp") as table:
                inodes = [line.split()[9] for line in table if f":{port:04X} " in line]
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
            holders += [pid for inode in inodes if f"socket:[{inode}]" in links]
        # One socket in each worker, and no copy anywhere: a dead worker's must leave the group with it.
        assert sorted(holders) == sorted(gate.worker_pids())


def test_status_shows_the_connections_and_qlog_writes_them_down(site, helpers):
    site.certificate("a", "a.test")
    with site.gate(workers=2) as gate, site.h3(gate) as client:
        client.get("/")
        status = helpers.wait_for(
            "a look", lambda: json.loads(gate.run("status", "--json").stdout)["quic"]["worst"]
        )
        assert status[0]["peer"] == f"127.0.0.1:{client.local_port}"
        assert status[0]["paths"][0]["active"]
        shown = gate.run("status").stdout
        assert "QUIC: 1 connections open" in shown
        assert f"127.0.0.1:{client.local_port}" in shown
        assert gate.run("qlog", "on").returncode == 0
        helpers.wait_for("the switch", lambda: gate.events("qlog-switched"))
        folder = gate.state / "qlog"
        helpers.wait_for("its folder", folder.exists)
        with site.h3(gate) as other:
            other.get("/")
        # The one that was open before, too.
        client.get("/more")
        helpers.wait_for("logs", lambda: len(list(folder.glob("*.sqlog"))) >= 2)
        assert "no more is written" in gate.run("qlog", "off").stdout
        texts = [path.read_text() for path in folder.glob("*.sqlog")]
        assert all("quic:packet_" in text for text in texts)


def test_every_client_proves_its_address_where_retry_is_always(site, helpers):
    site.certificate("a", "a.test")
    with site.gate(listener_extra='quic = { retry = "always" }\n') as gate:
        [(status, _, _)] = site.aioquic(gate, "/")
        assert status == 200
        assert helpers.counted(gate, 'headgate_quic_answers_total{kind="retry"}') == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_receive_queue_that_the_system_cuts_is_told_with_the_remedy(site):
    site.certificate("a", "a.test")
    allowed = int(Path("/proc/sys/net/core/rmem_max").read_text())
    with site.gate(prefix=["setpriv", "--bounding-set", "-net_admin"]) as gate:
        told = gate.events("udp-queue-small")
        assert [event["bytes"] for event in told] == ([allowed] if allowed < RECEIVE_QUEUE else [])
        assert all("net.core.rmem_max" in event["next"] for event in told)
        with site.h3(gate) as client:
            assert client.get("/").status == 200
