"""Balancing through a real gate: names that change, vanish and lie, sticky cookies, the queue."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.integration.gate import Gate, wait_for

from headgate.testing.dns import DnsServer

NAME = "api.test"
SERVICE = "_http._tcp.api.test"


class Here(BaseHTTPRequestHandler):
    """Says which address answers, at once or when `go` is set."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/held":
            self.server.held.release()
            self.server.go.wait(20)
        body = self.server.server_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        return


class Origins:
    """One port on several addresses of loopback."""

    def __init__(self, *hosts):
        self.go = threading.Event()
        self.held = threading.Semaphore(0)
        self.servers = []
        port = 0
        for host in hosts:
            server = ThreadingHTTPServer((host, port), Here)
            server.daemon_threads = True
            server.go, server.held = self.go, self.held
            port = server.server_address[1]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.servers.append(server)
        self.port = port

    def close(self):
        self.go.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()


@pytest.fixture
def origins():
    made = Origins("127.0.0.2", "127.0.0.3", "127.0.0.4")
    yield made
    made.close()


@pytest.fixture
def dns():
    with DnsServer() as server:
        yield server


def ask(gate, path="/", headers=None):
    """Return status, content and fields of one answer, on a connection of its own."""
    client = http.client.HTTPConnection("127.0.0.1", gate.http_ports[0], timeout=20)
    try:
        client.request("GET", path, headers=headers or {})
        response = client.getresponse()
        return response.status, response.read().decode(), response.headers
    finally:
        client.close()


def upstream(endpoints, more=""):
    return f'[[route]]\nupstream = "u"\n[upstream.u]\nendpoints = [{endpoints}]\n{more}'


def answering(gate, times=6):
    """Return the addresses that answer now."""
    return {ask(gate)[1] for _ in range(times)}


def test_a_name_that_changes_vanishes_and_lies(tmp_path, origins, dns):
    dns.add(NAME, "A", "127.0.0.2", ttl=1)
    # In turn: six picks by chance leave one of two out once in 32 runs.
    text = upstream(
        f'{{ url = "http://{NAME}:{origins.port}", resolve = "each" }}',
        'balance = "round-robin"\n',
    )
    with Gate(tmp_path, f'{text}[resolver]\nnameservers = ["{dns.address}"]') as gate:
        wait_for("the first answer", lambda: ask(gate)[0] == 200)
        assert answering(gate) == {"127.0.0.2"}
        dns.add(NAME, "A", "127.0.0.3", "127.0.0.4", ttl=1)
        wait_for("the new addresses", lambda: answering(gate) == {"127.0.0.3", "127.0.0.4"})
        changed = gate.events("upstream-dns-changed")[-1]
        assert changed["left"] == [f"http://127.0.0.2:{origins.port}"]
        dns.add(NAME, "A", "0.0.0.0", "224.0.0.1", ttl=1)
        wait_for("the lie to be told", lambda: gate.events("upstream-dns-kept"))
        assert answering(gate) == {"127.0.0.3", "127.0.0.4"}
        dns.remove(NAME)
        kept = wait_for(
            "that to be told too", lambda: (told := gate.events("upstream-dns-kept"))[1:] and told
        )
        assert answering(gate) == {"127.0.0.3", "127.0.0.4"}
        assert [event["endpoints"] for event in kept] == [2] * len(kept)
        assert "NXDOMAIN" in kept[-1]["reason"]
        dns.add(NAME, "A", "127.0.0.2", ttl=1)
        wait_for("the name to work again", lambda: answering(gate) == {"127.0.0.2"})
        assert gate.events("upstream-dns-recovered")


def test_srv_names_ports_and_backups(tmp_path, origins, dns):
    dns.add("a.test", "A", "127.0.0.2")
    dns.add("b.test", "A", "127.0.0.3")
    dns.add(SERVICE, "SRV", f"1 1 {origins.port} a.test.", f"2 1 {origins.port} b.test.", ttl=1)
    text = upstream(f'{{ url = "http://{SERVICE}", resolve = "srv" }}')
    with Gate(tmp_path, f'{text}[resolver]\nnameservers = ["{dns.address}"]') as gate:
        wait_for("the first answer", lambda: ask(gate)[0] == 200)
        assert answering(gate) == {"127.0.0.2"}
        dns.add(SERVICE, "SRV", f"2 1 {origins.port} a.test.", f"1 1 {origins.port} b.test.", ttl=1)
        wait_for("the backup to take over", lambda: answering(gate) == {"127.0.0.3"})


def test_before_the_first_answer_requests_wait(tmp_path, origins, dns):
    dns.add(NAME, "A", "127.0.0.2")
    dns.fault(delay=1.0)
    text = upstream(f'{{ url = "http://{NAME}:{origins.port}", resolve = "each" }}')
    with Gate(tmp_path, f'{text}[resolver]\nnameservers = ["{dns.address}"]') as gate:
        assert ask(gate)[:2] == (200, "127.0.0.2")


def test_a_name_that_never_answered_says_so(tmp_path, dns):
    text = upstream(f'{{ url = "http://{NAME}:80", resolve = "each" }}')
    with Gate(tmp_path, f'{text}[resolver]\nnameservers = ["{dns.address}"]') as gate:
        wait_for("the failure to be told", lambda: gate.events("upstream-dns-kept"))
        status, body, _ = ask(gate)
        assert (status, "no-endpoint" in body) == (503, True)


def test_a_cookie_holds_over_workers_and_a_restart(tmp_path, origins):
    urls = ", ".join(f'"http://127.0.0.{n}:{origins.port}"' for n in (2, 3, 4))
    text = upstream(urls, 'sticky_cookie = "srv"\n')
    with Gate(tmp_path, text, workers=2) as gate:
        _, first, fields = ask(gate)
        cookie = fields["Set-Cookie"].partition(";")[0]
        assert "127" not in cookie
        for _ in range(2):
            answers = [ask(gate, headers={"Cookie": cookie}) for _ in range(12)]
            assert {body for _, body, _ in answers} == {first}
            assert not any(fields["Set-Cookie"] for _, _, fields in answers)
            gate.stop()
            gate.start()


def test_the_queue_of_a_full_endpoint(tmp_path, origins):
    text = upstream(
        f'"http://127.0.0.2:{origins.port}"',
        'max_requests = 1\n[upstream.u.queue]\nsize = 1\ntimeout = "15s"\n',
    )
    with Gate(tmp_path, text) as gate:
        done = []
        threads = [threading.Thread(target=lambda: done.append(ask(gate, "/held")[0])) for _ in range(2)]
        threads[0].start()
        assert origins.held.acquire(timeout=20)
        threads[1].start()
        wait_for("it to wait", lambda: gate.metrics()["headgate_upstream_queue_requests"] == 1)
        refused = ask(gate, "/held")
        assert refused[0] == 503
        assert "queue-full" in refused[1]
        assert refused[2]["Retry-After"] == "15"
        origins.go.set()
        for thread in threads:
            thread.join(20)
        assert done == [200, 200]
        wait_for("the reason in the log", lambda: '"queue-full"' in gate.access.read_text())
