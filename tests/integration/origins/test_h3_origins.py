"""A whole gate in front of origins of HTTP/3: aioquic and ngtcp2, by prior knowledge and by Alt-Svc, well and not."""

import json
import socket
import ssl
import threading
import time

import pytest
from tests.integration.gate import Gate, wait_for
from tests.integration.origins.h3_origin import H3Origin
from tests.integration.quic_peers.ours import content_of
from tests.integration.quic_peers.peers import GtlsServer
from tests.unit.engine.tls13.peers import root as peers_root

from headgate.testing.origin import Origin, Wire, ask, connect
from headgate.testing.pki import Authority
from headgate.testing.relay import bind

ROOT = Authority.root("Origins")
LEAF = ROOT.leaf("localhost", "127.0.0.1")
SHORT_LIVED = 2.0  # seconds of idle time; five is the floor


class TlsOrigin(Origin):
    """HTTP/1.1 over TLS, whose answers carry an Alt-Svc."""

    def __init__(self, folder, alt_svc=""):
        self.alt_svc = alt_svc
        self.asked = 0
        path = folder / f"origin{id(self)}.pem"
        path.write_bytes(LEAF.chain_pem + LEAF.key_pem)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)
        super().__init__(self.serve)

    def serve(self, plain):
        with Wire(self.context.wrap_socket(plain.sock, server_side=True)) as wire:
            while head := wire.read_head():
                content = wire.read_content(head)
                self.asked += 1
                if head.get("upgrade") == "echo":
                    wire.send(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
                    wire.send(wire.read_exactly(5))
                    return
                body = json.dumps({"protocol": "h1", "size": len(content)}).encode()
                offer = f"Alt-Svc: {self.alt_svc}\r\n" if self.alt_svc else ""
                wire.send(f"HTTP/1.1 200 OK\r\n{offer}Content-Length: {len(body)}\r\n\r\n".encode() + body)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("h3 origins")
    (made / "ca.pem").write_bytes(ROOT.pem)
    (made / "peers.pem").write_bytes(peers_root().pem)
    return made


@pytest.fixture(scope="module")
def h3():
    with H3Origin(LEAF.chain_pem, LEAF.key_pem) as origin:
        yield origin


@pytest.fixture(scope="module")
def brief():
    with H3Origin(LEAF.chain_pem, LEAF.key_pem, idle_timeout=SHORT_LIVED) as origin:
        yield origin


@pytest.fixture(scope="module")
def gtls():
    with GtlsServer(["b1000", "b1000000"]) as server:
        yield server


@pytest.fixture(scope="module")
def silent():
    with bind("127.0.0.1", kind=socket.SOCK_DGRAM) as sock:
        yield sock.getsockname()[1]


@pytest.fixture(scope="module")
def tcp(folder, h3, silent):
    with bind("127.0.0.1", kind=socket.SOCK_DGRAM) as sock:
        closed = sock.getsockname()[1]
    origins = {
        "offered": TlsOrigin(folder, f'h3=":{h3.port}"; ma=60'),
        "swallowed": TlsOrigin(folder, f'h3=":{silent}"'),
        "refused": TlsOrigin(folder, f'h3=":{closed}"'),
    }
    yield origins
    for origin in origins.values():
        origin.close()


@pytest.fixture(scope="module")
def gate(folder, h3, brief, gtls, tcp):
    text = ""
    upstreams = {
        "h3": (f"https://localhost:{h3.port}", '["h3"]', "ca.pem", ""),
        "brief": (f"https://127.0.0.1:{brief.port}", '["h3"]', "ca.pem", ""),
        "gtls": (f"https://127.0.0.1:{gtls.address[1]}", '["h3"]', "peers.pem", "a.test"),
        "stranger": (f"https://127.0.0.1:{gtls.address[1]}", '["h3"]', "ca.pem", "a.test"),
    }
    for name, origin in tcp.items():
        upstreams[name] = (f"https://localhost:{origin.port}", '["h1", "h3"]', "ca.pem", "")
    for name, (url, protocols, ca, asked) in upstreams.items():
        text += f'[[route]]\nhosts = ["{name}.test"]\nupstream = "{name}"\n'
        text += f'[upstream.{name}]\nendpoints = ["{url}"]\nprotocols = {protocols}\nconnect_timeout = "3s"\n'
        text += f'[upstream.{name}.tls]\nca = "{folder / ca}"\n'
        text += f'name = "{asked}"\n' if asked else ""
    where = folder / "gate"
    where.mkdir()
    with Gate(where, text) as running:
        yield running


def told(gate, name, target="/", **more):
    head, body = ask(gate.http_ports[0], target, host=f"{name}.test", **more)
    return head, json.loads(body) if body.startswith(b"{") else body


def protocol(gate, name, target="/"):
    head, answer = told(gate, name, target)
    assert head.status == 200, (head, answer)
    return answer["protocol"]


def last_line(gate, target):
    return wait_for(
        "the access line", lambda: [line for line in gate.access_lines() if line["target"] == target]
    )[-1]


def test_a_request_over_http3_alone(gate, h3):
    head, answer = told(gate, "h3", "/only?a=b", more="X-One: 1\r\nTE: gzip\r\n")
    assert head.status == 200
    assert answer["head"][":method"] == "GET"
    assert answer["head"][":scheme"] == "https"
    assert answer["head"][":authority"] == "h3.test"
    assert answer["head"][":path"] == "/only?a=b"
    assert answer["head"]["x-one"] == "1"
    assert not {"connection", "te", "host", "transfer-encoding"} & answer["head"].keys()
    line = last_line(gate, "/only?a=b")
    assert line["upstream_protocol"] == "HTTP/3.0"
    assert line["upstream"] == "h3"


def test_content_both_ways_and_trailers(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: h3.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            wire.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        wire.send(b"0\r\nX-Sum: 1\r\n\r\n")
        _, body = wire.read_response()
        assert json.loads(body)["size"] == 1 << 20
        assert json.loads(body)["trailers"] == ["x-sum"]
        wire.send(b"GET /big/4194304 HTTP/1.1\r\nHost: h3.test\r\n\r\n")
        _, body = wire.read_response()
        assert body == bytes(range(256)) * (1 << 14)
        wire.send(b"GET /trailers HTTP/1.1\r\nHost: h3.test\r\n\r\n")
        assert wire.read_head().get("trailer") == "x-sum"
        assert wire.read_chunked() == (b"content", [b"x-sum: 7"])


def test_many_clients_share_connections(gate, h3):
    before = len(h3.connections)
    answers = []

    def work():
        answers.extend(protocol(gate, "h3") for _ in range(10))

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == ["h3"] * 200
    assert len(h3.connections) <= before + 1


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("/interim/8", 204, None),
        ("/interim/9", 502, "upstream-too-many-interim"),
        ("/reset/102", 502, "upstream-reset"),
        ("/malformed", 502, "upstream-malformed"),
        ("/refuse-once", 200, None),
        ("/close/102", 502, "upstream-closed"),
        ("/refuse-upload", 413, None),
    ],
)
def test_each_end_has_its_status_and_its_reason(gate, target, status, reason):
    head, _ = told(gate, "h3", target)
    assert head.status == status
    assert last_line(gate, target).get("reason") == reason
    assert protocol(gate, "h3") == "h3", "the next one is served"


def test_an_answer_that_is_cut_short_is_cut_short_for_the_client(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"GET /half HTTP/1.1\r\nHost: h3.test\r\n\r\n")
        with pytest.raises((EOFError, ConnectionError)):
            wire.read_response()


def test_an_answer_to_an_upload_that_is_not_complete(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(
            b"POST /refuse-upload HTTP/1.1\r\nHost: h3.test\r\nContent-Length: 10000000\r\n\r\n" + bytes(99)
        )
        head, body = wire.read_response()
        assert (head.status, body) == (413, b"no!")


def test_goaway_moves_to_another_connection(gate, h3):
    _, before = told(gate, "h3")
    h3.goaway(1 << 20)
    wait_for("another connection", lambda: told(gate, "h3")[1]["connection"] > before["connection"])


@pytest.mark.slow
def test_an_origin_that_dies_is_met_with_502_and_its_successor_with_200(gate, brief):
    assert protocol(gate, "brief") == "h3"
    port = brief.port
    began = time.monotonic()
    threading.Timer(0.2, brief.kill).start()
    head, _ = told(gate, "brief", "/hold")
    assert head.status == 502
    assert time.monotonic() - began < 10.0
    with H3Origin(LEAF.chain_pem, LEAF.key_pem, port=port):
        assert protocol(gate, "brief") == "h3"


def test_ngtcp2_serves_us(gate):
    head, body = told(gate, "gtls", "/b1000000")
    assert head.status == 200
    assert body == content_of("b1000000")
    head, _ = told(gate, "gtls", "/nothing")
    assert head.status == 404


def test_a_certificate_that_is_not_believed_is_502(gate):
    head, _ = told(gate, "stranger", "/stranger")
    assert head.status == 502
    event = wait_for(
        "the event", lambda: [e for e in gate.events("upstream-failed") if e["upstream"] == "stranger"]
    )[0]
    assert "EPROTO" in event["detail"]
    assert "127.0.0.1:" in event["detail"]
    assert "certificate" in event["detail"]


def test_an_offer_by_alt_svc_is_taken_up(gate, tcp, h3):
    assert protocol(gate, "offered") == "h1"
    wait_for("HTTP/3", lambda: protocol(gate, "offered") == "h3", 10)
    asked = tcp["offered"].asked
    assert [protocol(gate, "offered") for _ in range(5)] == ["h3"] * 5
    assert tcp["offered"].asked == asked


def test_an_upgrade_goes_by_http1_all_the_same(gate):
    wait_for("HTTP/3", lambda: protocol(gate, "offered") == "h3", 10)
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: offered.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        assert wire.read_head().status == 101
        wire.send(b"hello")
        assert wire.read_exactly(5) == b"hello"


def test_the_origins_alt_svc_is_not_for_our_clients(gate):
    head, _ = told(gate, "offered")
    assert head.get("alt-svc") is None


@pytest.mark.slow
def test_a_black_hole_costs_a_quarter_of_a_second_and_is_then_left_alone(gate):
    with connect(gate.http_ports[0]) as first, connect(gate.http_ports[0]) as second:
        request = b"GET / HTTP/1.1\r\nHost: swallowed.test\r\n\r\n"
        first.send(request)
        assert first.read_response()[0].status == 200
        # The idle connection of TCP serves at once; a second one at the same time has to be dialled: the race.
        first.send(b"POST / HTTP/1.1\r\nHost: swallowed.test\r\nContent-Length: 1\r\n\r\n")
        began = time.monotonic()
        second.send(request)
        assert second.read_response()[0].status == 200
        assert time.monotonic() - began < 2.0
        first.send(b"x")
        assert first.read_response()[0].status == 200
    events = wait_for(
        "the mark",
        lambda: [
            e
            for e in gate.events("upstream-h3-broken")
            if "localhost" in e["endpoint"] and e["reason"] == "timeout"
        ],
    )
    assert events[0]["next"] == "TCP only for 300 s"
    assert "ETIMEDOUT" in events[0]["detail"]
    assert gate.settled_metrics()['headgate_upstream_races_total{winner="tcp"}'] >= 1


def test_a_refusal_costs_nothing(gate):
    for _ in range(3):
        assert protocol(gate, "refused") == "h1"
    events = wait_for(
        "the mark", lambda: [e for e in gate.events("upstream-h3-broken") if e["reason"] == "connect"]
    )
    assert "ECONNREFUSED" in events[0]["detail"]


def test_counters(gate):
    metrics = gate.settled_metrics()
    assert metrics["headgate_upstream_h3_broken_total"] >= 1
    assert metrics["headgate_upstream_h3_connections_total"] >= 3
    assert metrics['headgate_upstream_h3_failed_total{reason="refused"}'] >= 1
    assert metrics['headgate_upstream_h3_failed_total{reason="too-many-interim"}'] >= 1
    assert metrics["headgate_upstream_h3_requests_total"] >= 200
    assert gate.events("defect") == []
