"""A whole gate in front of origins of HTTP/2: nginx, hypercorn and the h2 library, over TLS and in the clear, well
and not."""

import json
import re
import ssl
import subprocess
import sys
import threading

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RemoteSettingsChanged, ResponseReceived, StreamEnded, StreamReset
from tests.integration.gate import Gate, free_port, wait_for
from tests.integration.origins.h2_origin import H2Origin
from tests.integration.tcp.peers import answers

from headgate.testing.origin import ask, connect
from headgate.testing.pki import Authority

ROOT = Authority.root("Origins")
LEAF = ROOT.leaf("localhost", "127.0.0.1", "other.localhost")
STRANGER = ROOT.leaf("127.0.0.1")
APP = """
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = f"{scope['http_version']} {scope['method']} {scope['path']} {size}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"hypercorn")]})
    await send({"type": "http.response.body", "body": body})
"""


def server_context(folder, leaf=LEAF):
    path = folder / f"leaf{id(leaf)}.pem"
    path.write_bytes(leaf.chain_pem + leaf.key_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def start(folder, *command):
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("h2-origins")
    (made / "ca.pem").write_bytes(ROOT.pem)
    (made / "leaf.pem").write_bytes(LEAF.chain_pem)
    (made / "leaf.key").write_bytes(LEAF.key_pem)
    (made / "app.py").write_text(APP)
    return made


@pytest.fixture(scope="module")
def nginx(folder):
    clear, secure, seven = free_port(), free_port(), free_port()
    places = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("proxy", "fastcgi", "uwsgi", "scgi"))
    answer = 'location / { return 200 "nginx $server_protocol $request_uri $connection"; }'
    (folder / "big").write_bytes(bytes(range(256)) * (1 << 14))
    (folder / "nginx.conf").write_text(
        f"daemon off; user root; pid {folder}/nginx.pid; error_log stderr;\nevents {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/b; {places}\n"
        f"server {{ listen 127.0.0.1:{clear} http2; root {folder}; location = /big {{ }} {answer} }}\n"
        f"server {{ listen 127.0.0.1:{seven} http2; keepalive_requests 7; {answer} }}\n"
        f"server {{ listen 127.0.0.1:{secure} ssl http2; ssl_certificate leaf.pem; ssl_certificate_key leaf.key;"
        f" http2_max_concurrent_streams 4; {answer} }}\n}}\n"
    )
    process = start(folder, "nginx", "-p", str(folder), "-c", "nginx.conf")
    wait_for("nginx", lambda: answers(clear) and answers(secure))
    yield clear, secure, seven
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def hypercorn(folder):
    clear, secure = free_port(), free_port()
    run = (sys.executable, "-m", "hypercorn", "app:app")
    processes = [
        start(folder, *run, "--bind", f"127.0.0.1:{clear}"),
        start(
            folder, *run, "--bind", f"127.0.0.1:{secure}", "--certfile", "leaf.pem", "--keyfile", "leaf.key"
        ),
    ]
    wait_for("hypercorn", lambda: answers(clear) and answers(secure))
    yield clear, secure
    for process in processes:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def origins(folder):
    made = {
        "tls": H2Origin(server_context(folder)),
        "clear": H2Origin(),
        "few": H2Origin(most=2),
        "old": H2Origin(server_context(folder), picks=["http/1.1"]),
        "ends": H2Origin(),
        "socket": H2Origin(server_context(folder), connect=True),
        "shared": H2Origin(server_context(folder)),
        "wary": H2Origin(server_context(folder)),
        "narrow": H2Origin(server_context(folder, STRANGER)),
    }
    made["wary"].misdirects.add("wary2.test")
    yield made
    for origin in made.values():
        origin.close()
    assert [origin.errors for origin in made.values() if origin.errors] == []


@pytest.fixture(scope="module")
def gate(folder, origins, nginx, hypercorn):
    secure = {name: f"https://localhost:{origin.port}" for name, origin in origins.items()}
    plain = {name: f"http://127.0.0.1:{origin.port}" for name, origin in origins.items()}
    both, only = '["h1", "h2"]', '["h2"]'
    upstreams = {
        "tls": (secure["tls"], '["h2", "h1"]'),
        "clear": (plain["clear"], only),
        "few": (plain["few"], only),
        "old": (secure["old"], '["h2", "h1"]'),
        "strict": (secure["old"], only),
        "ends": (plain["ends"], only),
        "socket": (secure["socket"], only),
        "socket-old": (secure["tls"], '["h2", "h1"]'),
        "shared1": (secure["shared"], only),
        "shared2": (f"https://127.0.0.1:{origins['shared'].port}", only),
        "strict-shared": (secure["shared"], only),
        "blind-shared": (secure["shared"], only),
        "wary1": (secure["wary"], only),
        "wary2": (f"https://127.0.0.1:{origins['wary'].port}", only),
        "narrow1": (f"https://127.0.0.1:{origins['narrow'].port}", only),
        "narrow2": (secure["narrow"], only),
        "nginx": (f"http://127.0.0.1:{nginx[0]}", only),
        "nginx-seven": (f"http://127.0.0.1:{nginx[2]}", only),
        "nginx-tls": (f"https://127.0.0.1:{nginx[1]}", both.replace('"h1", "h2"', '"h2", "h1"')),
        "hypercorn": (f"http://127.0.0.1:{hypercorn[0]}", only),
        "hypercorn-tls": (f"https://localhost:{hypercorn[1]}", '["h2", "h1"]'),
    }
    text = ""
    for name, (url, protocols) in upstreams.items():
        text += f'[[route]]\nhosts = ["{name}.test"]\nupstream = "{name}"\n'
        text += f'[upstream.{name}]\nendpoints = ["{url}"]\nprotocols = {protocols}\nconnect_timeout = "3s"\n'
        text += 'head_timeout = "1s"\nidle_timeout = "20s"\n'
        if url.startswith("https:"):
            text += f"[upstream.{name}.tls]\n"
            text += "verify = false\n" if name == "blind-shared" else f'ca = "{folder / "ca.pem"}"\n'
            text += 'min_version = "1.3"\n' if name == "strict-shared" else ""
    where = folder / "gate"
    where.mkdir()
    with Gate(where, text) as running:
        yield running


def told(gate, name, target="/", **more):
    head, body = ask(gate.http_ports[0], target, host=f"{name}.test", **more)
    return head, json.loads(body) if body.startswith(b"{") else body


def last_line(gate, target):
    return wait_for(
        "the access line", lambda: [line for line in gate.access_lines() if line["target"] == target]
    )[-1]


def last_failure(gate, upstream):
    """Return the words of the last failure of an upstream."""
    return wait_for(
        "the event", lambda: [one for one in gate.events("upstream-failed") if one["upstream"] == upstream]
    )[-1]["detail"]


def at_once(count, work):
    """Do it in so many threads; return the answers."""
    done = []
    threads = [threading.Thread(target=lambda n=n: done.append(work(n))) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return done


def post(gate, name, target, body=b"x" * 100):
    with connect(gate.http_ports[0]) as wire:
        wire.send(
            b"POST %b HTTP/1.1\r\nHost: %b.test\r\nContent-Length: %d\r\n\r\n"
            % (target.encode(), name.encode(), len(body))
            + body
        )
        return wire.read_response()


# -- programs that others have written


@pytest.mark.parametrize("name", ["nginx", "nginx-tls", "hypercorn", "hypercorn-tls"])
def test_programs_of_others_in_the_clear_and_over_tls(gate, name):
    answers = at_once(20, lambda n: told(gate, name, f"/{name}/{n}"))
    for head, body in answers:
        assert head.status == 200
        assert re.match(rb"nginx HTTP/2.0|2 GET", body), body
    assert last_line(gate, f"/{name}/3")["upstream_protocol"] == "HTTP/2.0"


def test_nginx_takes_four_at_a_time_and_gets_more_connections(gate):
    answers = at_once(32, lambda n: told(gate, "nginx-tls", f"/four/{n}"))
    assert {head.status for head, _ in answers} == {200}


def test_nginx_says_goaway_after_every_seventh_and_nothing_is_lost(gate):
    def ask_some(thread):
        return [post(gate, "nginx-seven", f"/seven/{thread}/{n}")[0].status for n in range(20)]

    # Two at a time: who is refused is asked again once, and finds a connection that has places.
    assert at_once(2, ask_some) == [[200] * 20] * 2


def test_a_long_answer_of_nginx(gate):
    _, body = told(gate, "nginx", "/big")
    assert body == bytes(range(256)) * (1 << 14)


def test_content_to_hypercorn(gate):
    _, body = post(gate, "hypercorn", "/content", b"x" * 300_000)
    assert body == b"2 POST /content 300000"


# -- messages


def test_a_request_as_it_arrives(gate):
    head, answer = told(gate, "tls", "/only?a=b", more="X-One: 1\r\nTE: trailers, gzip\r\nConnection: TE\r\n")
    assert head.status == 200
    assert answer["head"][":method"] == "GET"
    assert answer["head"][":scheme"] == "https"
    assert answer["head"][":authority"] == "tls.test"
    assert answer["head"][":path"] == "/only?a=b"
    assert answer["head"]["x-one"] == "1"
    assert answer["head"]["te"] == "trailers"
    assert not {"connection", "host", "transfer-encoding"} & answer["head"].keys()
    assert told(gate, "clear")[1]["head"][":scheme"] == "http"


def test_content_both_ways_and_trailers(gate):
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"POST /echo HTTP/1.1\r\nHost: tls.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(64):
            wire.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        wire.send(b"0\r\nX-Sum: 1\r\n\r\n")
        _, body = wire.read_response()
        assert json.loads(body)["size"] == 1 << 20
        assert json.loads(body)["trailers"] == {"x-sum": "1"}
        wire.send(b"GET /big/4194304 HTTP/1.1\r\nHost: tls.test\r\n\r\n")
        _, body = wire.read_response()
        assert body == bytes(range(256)) * (1 << 14)
        wire.send(b"GET /trailers HTTP/1.1\r\nHost: tls.test\r\n\r\n")
        assert wire.read_head().status == 200
        assert wire.read_chunked()[1] == [b"x-sum: 7"]
        wire.send(b"GET /interim HTTP/1.1\r\nHost: tls.test\r\n\r\n")
        assert wire.read_head().status == 103
        assert wire.read_response()[0].status == 200


def test_many_exchanges_share_one_connection(gate, origins):
    told(gate, "clear")
    before = len(origins["clear"].connections)
    answers = at_once(50, lambda n: [told(gate, "clear", f"/wait/{n}")[1]["connection"] for _ in range(3)])
    assert len(answers) == 50
    assert len(origins["clear"].connections) == before


def test_an_origin_that_takes_two_at_a_time(gate, origins):
    answers = at_once(8, lambda n: told(gate, "few", f"/wait/{n}")[0].status)
    assert answers == [200] * 8
    assert 2 <= len(origins["few"].connections) <= 4


# -- who speaks what


def test_an_origin_that_picks_http1(gate, origins):
    answers = at_once(10, lambda n: told(gate, "old", f"/{n}")[1]["protocol"])
    assert answers == ["http/1.1"] * 10


def test_h2_alone_and_an_origin_that_does_not_speak_it(gate):
    head, _ = told(gate, "strict", "/strict")
    assert head.status == 502
    assert re.search("no-application-protocol|picked nothing", last_failure(gate, "strict"))


# -- what goes wrong


@pytest.mark.parametrize(
    ("target", "status", "reason"),
    [
        ("/reset", 502, "upstream-reset"),
        ("/refuse-once", 200, None),
        ("/leave", 200, None),
        ("/kill", 502, "upstream-closed"),
        ("/garbage", 502, "upstream-frame-size"),
        ("/silent", 504, "upstream-timeout"),
    ],
)
def test_each_end_has_its_status_and_its_reason(gate, origins, target, status, reason):
    origins["ends"].refused.clear()
    told(gate, "ends")
    head, _ = told(gate, "ends", target)
    assert head.status == status
    assert last_line(gate, target).get("reason") == reason
    head, answer = told(gate, "ends")
    assert (head.status, answer["protocol"]) == (200, "h2"), "the next one is served"


def test_goaway_in_the_middle_finishes_what_was_looked_at(gate, origins):
    origins["ends"].refused.clear()
    told(gate, "ends")
    waiting = []
    thread = threading.Thread(target=lambda: waiting.append(told(gate, "ends", "/wait/goaway")[0].status))
    thread.start()
    wait_for("the first", lambda: origins["ends"].paths("/wait/goaway"))
    head, _ = post(gate, "ends", "/leave")
    thread.join(10)
    assert head.status == 200
    assert waiting == [200]
    first, again = origins["ends"].paths("/leave")[-2:]
    assert first[0] < again[0], "POST too: nobody had looked at it"


@pytest.mark.parametrize("target", ["/kill", "/reset", "/silent"])
def test_what_an_origin_may_have_done_is_not_repeated(gate, origins, target):
    told(gate, "ends")
    before = len([one for one in origins["ends"].paths(target) if one[1] == "POST"])
    head, _ = post(gate, "ends", target)
    assert head.status in (502, 504)
    assert len([one for one in origins["ends"].paths(target) if one[1] == "POST"]) == before + 1


def test_an_origin_that_stalls_holds_its_sender_and_nobody_else(gate, origins):
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"POST /stall HTTP/1.1\r\nHost: clear.test\r\nContent-Length: 10000000\r\n\r\n")
        wire.sock.settimeout(1.0)
        sent = 0
        try:
            while sent < 10_000_000:
                sent += wire.sock.send(bytes(65536))
        except TimeoutError:
            pass
        assert sent < 10_000_000
        assert told(gate, "clear")[0].status == 200
        for connection in origins["clear"].connections:
            connection.kill()
        assert wire.read_head().status == 502


# -- WebSocket


def switch(gate, name):
    wire = connect(gate.http_ports[0])
    wire.send(
        b"GET /socket HTTP/1.1\r\nHost: %b.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n" % name.encode()
    )
    return wire, wire.read_head()


def test_rfc8441_websocket_to_an_origin_of_h2(gate, origins):
    wire, head = switch(gate, "socket")
    with wire:
        assert head.status == 101
        assert head.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        wire.send(b"hello")
        assert wire.read_exactly(5) == b"HELLO"
        wire.sock.shutdown(1)
        assert wire.ended()
    assert origins["socket"].asked[-1][1] == "CONNECT"


def test_websocket_goes_by_http1_where_h2_does_not_know_it(gate, origins):
    assert told(gate, "socket-old")[1]["protocol"] == "h2"
    wire, head = switch(gate, "socket-old")
    with wire:
        assert head.status == 101
        assert wire.read_exactly(2) == b"h1"


# -- RFC 9113 section 9.1.1


def test_rfc9113_9_1_1_endpoints_with_one_address_and_one_certificate_share_a_connection(gate, origins):
    assert told(gate, "shared1")[1]["connection"] == 0
    head, answer = told(gate, "shared2")
    assert (head.status, answer["connection"]) == (200, 0)
    assert answer["head"][":authority"] == "shared2.test"
    assert len(origins["shared"].connections) == 1


@pytest.mark.parametrize("name", ["strict-shared", "blind-shared"])
def test_endpoints_whose_trust_differs_share_nothing(gate, origins, name):
    told(gate, "shared1")
    before = len(origins["shared"].connections)
    head, answer = told(gate, name)
    assert (head.status, answer["connection"]) == (200, before)


def test_a_certificate_that_is_not_for_both_is_not_shared(gate, origins):
    assert told(gate, "narrow1")[0].status == 200
    assert told(gate, "narrow2", "/narrow")[0].status == 502
    assert "certificate-name-mismatch" in last_failure(gate, "narrow2")
    assert len(origins["narrow"].asked) == 1


def test_rfc9110_15_5_20_after_a_421_an_endpoint_keeps_to_itself(gate, origins):
    assert told(gate, "wary1")[1]["connection"] == 0
    head, _ = post(gate, "wary2", "/421")
    assert head.status == 200
    assert [number for number, _, _ in origins["wary"].paths("/421")] == [0, 1]
    assert told(gate, "wary2")[1]["connection"] == 1


def test_the_counts_are_shown(gate):
    told(gate, "tls")

    def shown():
        words = " ".join(gate.run("status", "--runtime-dir", str(gate.runtime)).stdout.split())
        return re.search(r"HTTP/2 to endpoints: \d+ connections open of \d+ opened, \d+ requests", words)

    wait_for("the counters", shown)


class H2Client:
    """A client of the h2 library, in the clear, for what HTTP/1.1 cannot ask."""

    def __init__(self, gate):
        self.wire = connect(gate.http_ports[0])
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events = []
        self.flush()
        self.wait_for(lambda: any(isinstance(event, RemoteSettingsChanged) for event in self.events))

    def flush(self):
        self.wire.send(self.h2.data_to_send())

    def wait_for(self, seen):
        while not seen():
            data = self.wire.sock.recv(65536)
            assert data, "the gate closed the connection"
            for event in self.h2.receive_data(data):
                self.events.append(event)
                if isinstance(event, DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self.flush()

    def ask(self, host, *fields, end=True):
        stream = self.h2.get_next_available_stream_id()
        head = [(":scheme", "http"), (":authority", host), (":path", "/socket"), *fields]
        self.h2.send_headers(stream, head, end_stream=end)
        self.flush()
        self.wait_for(lambda: self.head(stream) is not None)
        return stream, self.head(stream)

    def send(self, stream, data):
        for at in range(0, len(data), 16384):
            piece = data[at : at + 16384]
            size = len(piece)
            self.wait_for(lambda size=size: self.h2.local_flow_control_window(stream) >= size)
            self.h2.send_data(stream, piece)
            self.flush()

    def head(self, stream):
        heads = [
            dict(event.headers)
            for event in self.events
            if isinstance(event, ResponseReceived) and event.stream_id == stream
        ]
        return heads[0] if heads else None

    def content(self, stream):
        return b"".join(
            event.data
            for event in self.events
            if isinstance(event, DataReceived) and event.stream_id == stream
        )

    def ended(self, stream):
        return any(isinstance(event, StreamEnded) and event.stream_id == stream for event in self.events)

    def reset(self, stream):
        return any(isinstance(event, StreamReset) and event.stream_id == stream for event in self.events)


CONNECT = ((":method", "CONNECT"), (":protocol", "websocket"), ("sec-websocket-version", "13"))


def test_rfc8441_websocket_from_a_client_of_h2_to_an_origin_of_h2(gate, origins):
    client = H2Client(gate)
    with client.wire:
        stream, head = client.ask("socket.test", *CONNECT, end=False)
        assert head[":status"] == "200"
        assert not {"sec-websocket-accept", "connection", "upgrade"} & head.keys()
        for word in (b"hello", b"x" * 200_000):
            before = len(client.content(stream))
            client.send(stream, word)
            total = before + len(word)
            client.wait_for(lambda total=total: len(client.content(stream)) == total)
            assert client.content(stream)[before:] == word.upper()
        client.h2.end_stream(stream)
        client.flush()
        client.wait_for(lambda: client.ended(stream))
    last = origins["socket"].connections[-1]
    assert "sec-websocket-key" not in list(last.heads.values())[-1]
    assert last.resets == []


def test_websocket_from_a_client_of_h2_that_the_origin_breaks(gate, origins):
    client = H2Client(gate)
    with client.wire:
        stream, head = client.ask("socket.test", *CONNECT, end=False)
        assert head[":status"] == "200"
        for connection in origins["socket"].connections:
            connection.kill()
        client.wait_for(lambda: client.reset(stream))


def test_websocket_from_a_client_of_h2_to_an_origin_that_knows_it_by_http1_alone(gate):
    client = H2Client(gate)
    with client.wire:
        _, head = client.ask("socket-old.test", *CONNECT, end=False)
        assert head[":status"] == "502", "its 101 does not answer the key"
        _, head = client.ask("tls.test", (":method", "GET"))
        assert head[":status"] == "200"
