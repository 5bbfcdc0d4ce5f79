"""What a client must not reach through the proxy, tried from outside, with names that lie and names that change.

The gate runs in a network of its own, whose loopback interface has an address that is public to the guard, so that
what is let through can be told from what is not.
"""

import subprocess
import sys

import pytest
from tests.integration.forward.conftest import Proxy

PUBLIC = "9.9.9.9"
CURL = ("curl", "-s", "--noproxy", "", "--max-time", "10", "-w", "\n%{http_code} %{http_connect}")
# In the namespace: an origin on the public address, one on loopback, and the names; all in one process.
WORLD = """
import http.server, subprocess, sys, threading
for words in ("link set lo up", "addr add {public}/32 dev lo", "addr add 169.254.169.254/32 dev lo"):
    subprocess.run(["ip", *words.split()], check=True)
sys.path[:0] = {path!r}
from headgate.testing.dns import DnsServer
said = []
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1:8080/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.server.word
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")  # each request is dialled for
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        print("reached", self.server.word.decode(), flush=True)
for host, word in (("{public}", b"public"), ("127.0.0.1", b"inside"), ("169.254.169.254", b"metadata")):
    server = http.server.ThreadingHTTPServer((host, 8080), Handler)
    server.word = word
    threading.Thread(target=server.serve_forever, daemon=True).start()
names = DnsServer("127.0.0.1", 5353)
names.add("public.test", "A", "{public}")
names.add("inside.test", "A", "127.0.0.1")
names.add("mapped.test", "AAAA", "::ffff:127.0.0.1")
names.add("both.test", "A", "127.0.0.1", "{public}", "10.0.0.1")
names.add("rebind.test", "A", "{public}", ttl=0)
names.add("metadata.test", "A", "169.254.169.254")
names.add("zero.test", "A", "0.0.0.0")
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "rebind":
        names.remove("rebind.test")
        names.add("rebind.test", "A", "127.0.0.1", ttl=0)
    elif line.strip() == "asked":
        print("asked", names.questions("rebind.test", "A"), flush=True)
    print("done", flush=True)
"""


class Network:
    """A network namespace with the proxy and its surroundings; `curl` runs inside."""

    def __init__(self, folder):
        self.folder = folder
        source = WORLD.format(path=[p for p in sys.path if p], public=PUBLIC)
        self.world = subprocess.Popen(
            ["unshare", "-n", sys.executable, "-c", source],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        assert self.world.stdout.readline() == "ready\n"
        self.enter = ["nsenter", "-t", str(self.world.pid), "-n"]
        self.proxy = Proxy(
            folder / "gate",
            'connect_ports = [8080]\nconnect_timeout = "2s"',
            nameserver="127.0.0.1:5353",
            prefix=self.enter,
        )
        self.gate = self.proxy.gate

    def __enter__(self):
        self.proxy.__enter__()
        return self

    def __exit__(self, *error):
        try:
            self.proxy.__exit__(*error)
        finally:
            self.world.stdin.close()
            self.world.kill()
            self.world.wait()
            self.world.stdout.close()

    def tell(self, word):
        """Tell the world something; return what it printed meanwhile."""
        self.world.stdin.write(word + "\n")
        seen = []
        while (line := self.world.stdout.readline()) != "done\n":
            seen.append(line.strip())
        return seen

    def get(self, url, *arguments):
        """Return (status, body) of a request through the proxy; for a tunnel the status of CONNECT."""
        done = subprocess.run(
            [*self.enter, *CURL, "--proxy", self.proxy.url(), *arguments, url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        body, _, codes = done.stdout.rpartition("\n")
        answered, connect = codes.split()
        return int(connect if "--proxytunnel" in arguments else answered), body


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    with Network(tmp_path_factory.mktemp("guard")) as made:
        yield made


@pytest.mark.parametrize("tunnel", [(), ("--proxytunnel",)])
def test_a_public_address_is_reached_by_number_and_by_name(network, tunnel):
    for host in (PUBLIC, "public.test"):
        assert network.get(f"http://{host}:8080/", *tunnel) == (200, "public")


@pytest.mark.parametrize("tunnel", [(), ("--proxytunnel",)])
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "inside.test",
        "mapped.test",
        "metadata.test",
        "zero.test",
    ],
)
def test_what_is_inside_is_403(network, host, tunnel):
    network.tell("look")
    status, body = network.get(f"http://{host}:8080/", *tunnel)
    assert status == 403
    assert "inside" not in body
    assert network.tell("look") == []  # nobody was reached


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "017700000001"]
)
def test_other_spellings_of_loopback_are_400(network, host):
    # curl would read them itself, so they are written by hand.
    for line in (f"GET http://{host}:8080/ HTTP/1.1", f"CONNECT {host}:8080 HTTP/1.1"):
        script = (
            "import socket,sys\n"
            f"s=socket.create_connection(('127.0.0.1',{network.proxy.port}),5)\n"
            f"s.sendall(b'{line}\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n')\n"
            "print(s.makefile('rb').readline())\n"
        )
        done = subprocess.run(
            [*network.enter, sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        assert "400 Bad Request" in done.stdout
    assert network.tell("look") == []


def test_of_a_name_with_several_addresses_only_the_public_ones_are_dialled(network):
    for _ in range(5):
        assert network.get("http://both.test:8080/") == (200, "public")
    assert set(network.tell("look")) <= {"reached public"}


def test_a_name_that_becomes_another_is_judged_by_what_is_dialled(network):
    """DNS rebinding: first a public address, then loopback, with a TTL of 0."""
    assert network.get("http://rebind.test:8080/") == (200, "public")
    (before,) = [line for line in network.tell("asked") if line.startswith("asked")]
    network.tell("rebind")
    for tunnel in ((), ("--proxytunnel",)):
        assert network.get("http://rebind.test:8080/", *tunnel)[0] == 403
    seen = network.tell("asked")
    assert "reached inside" not in seen
    assert seen[-1] != before  # it was resolved again


def test_redirects_are_not_followed(network):
    network.tell("look")
    status, _ = network.get("http://public.test:8080/redirect")
    assert status == 302
    assert network.get("http://public.test:8080/redirect", "--location")[0] == 403
    assert "reached inside" not in network.tell("look")


def test_the_proxy_does_not_lead_to_itself(network):
    assert network.get(f"http://127.0.0.1:{network.proxy.port}/")[0] == 403
