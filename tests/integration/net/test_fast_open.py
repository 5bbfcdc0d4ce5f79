"""TCP Fast Open towards origins on kernels and roads of every kind, each in a network namespace of its own: switched
off, without cookies, with a firewall that eats SYNs with data, or the option, or whatever follows."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import headgate

PROLOGUE = """
import asyncio, json, socket, ssl, subprocess, sys, tempfile, threading, time
from types import SimpleNamespace
from headgate.counters import FAST_OPEN_FIRST, UPSTREAM_TLS_FAILED, Counters
from headgate.errors import HeadgateError
from headgate.net.dialer import Dialer
from headgate.net.fast_open import OUTCOMES, FastOpenMemory, SynTransport
from headgate.net.resolver import Resolver, ResolverSettings
from headgate.testing.pki import Authority
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.upstream.connector import DialingConnector
from headgate.upstream.fast_open import FastOpen
from headgate.upstream.readiness import ready

ROOT = Authority.root("Origins")
LEAF = ROOT.leaf("app.example")
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)

def kernel(value):
    with open("/proc/sys/net/ipv4/tcp_fastopen", "w") as file:
        file.write(str(value))

def firewall(*rule):
    subprocess.run(["iptables", "-w", *rule], check=True)

class Origin(threading.Thread):
    def __init__(self, tls, queue=16, host="127.0.0.1", port=0):
        super().__init__(daemon=True)
        self.listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, queue)
        self.port = self.listener.getsockname()[1]
        self.asked = 0
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            with tempfile.NamedTemporaryFile() as file:
                file.write(LEAF.chain_pem + LEAF.key_pem)
                file.flush()
                self.context.load_cert_chain(file.name)
        self.start()

    def run(self):
        while True:
            sock, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        try:
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
            with sock:
                if sock.recv(4096):
                    self.asked += 1
                    sock.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
        except OSError:
            sock.close()

class Client:
    def __init__(self, port, tls, hosts=("127.0.0.1",), timeout=5.0):
        self.counters, self.events = Counters(), []
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.writelines(f"{ip} app.example\\n" for ip in hosts)
        self.hosts = file.name
        self.dialer = Dialer(Resolver(ResolverSettings(hosts_path=file.name)), counters=self.counters)
        self.tls = ClientTls(ClientTlsSettings(authorities=ROOT.pem)) if tls else None
        self.memory = FastOpenMemory()
        values = self.counters.values
        fast = FastOpen(self.dialer, self.memory, values, self.tell)
        self.connector = DialingConnector(self.dialer, self.tls, print, values, fast)
        self.endpoint = SimpleNamespace(url="x", scheme="https" if tls else "http", host="app.example",
                                        name="app.example", port=port,
                                        connect_timeout=timeout)

    def tell(self, name, level="info", *, limit_key="", **fields):
        self.events.append([name, fields.get("detail") or fields["reason"]])

    async def ask(self):
        began = time.monotonic()
        connector = self.connector if self.tls else self.connector.early
        transport = await connector.connect(self.endpoint)
        answer = None
        try:
            assert transport.write(b"GET / HTTP/1.1\\r\\n\\r\\n") in (0, 18)
            while answer is None:
                await ready(transport.fileno(), writing=False)
                answer = transport.read(4096)
        finally:
            transport.close()
        assert answer.endswith(b"ok"), answer
        return time.monotonic() - began

    async def try_it(self):
        try:
            return round(await self.ask(), 2)
        except HeadgateError as error:
            return str(error)

    def asks(self, times):
        async def run():
            return [await self.try_it() for _ in range(times)]
        return asyncio.run(run())

    @property
    def counts(self):
        values = self.counters.values
        return {word: values[FAST_OPEN_FIRST + i] for i, word in enumerate(OUTCOMES) if values[FAST_OPEN_FIRST + i]}

def tell(**what):
    print(json.dumps(what))
"""


def in_namespace(script):
    """Run `script` after the prologue in a fresh network namespace; return what it printed as JSON."""
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, text=True, timeout=20)
    if probe.returncode:
        pytest.skip(f"needs root for `unshare -n`: {probe.stderr.strip()}")
    # The package that is under test, compiled or not, and the root for the tests' own gate.
    paths = [
        os.environ.get("PYTHONPATH"),
        str(Path(headgate.__file__).parents[1]),
        str(Path(__file__).parents[3]),
    ]
    path = os.pathsep.join(filter(None, paths))
    done = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", PROLOGUE + script],
        capture_output=True,
        text=True,
        timeout=50,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


BOTH = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


@BOTH
def test_the_first_dial_is_plain_the_second_asks_for_a_cookie_and_then_data_goes_in_the_syn(tls):
    seen = in_namespace(f"""
kernel(3)
origin = Origin({tls})
client = Client(origin.port, {tls})
times = client.asks(5)
tell(times=times, counts=client.counts, events=client.events, asked=origin.asked)
""")
    assert seen["counts"] == {"cookie": 1, "accepted": 3}
    assert seen["events"] == []
    assert seen["asked"] == 5
    assert all(isinstance(took, float) for took in seen["times"]), seen["times"]


@BOTH
def test_switched_off_in_the_kernel_is_a_plain_dial_and_is_told_once(tls):
    seen = in_namespace(f"""
kernel(2)
origin = Origin({tls})
client = Client(origin.port, {tls})
tell(times=client.asks(4), counts=client.counts, events=client.events)
""")
    assert seen["counts"] == {"unavailable": 1}
    assert seen["events"] == [
        [
            "fast-open-unavailable",
            "the kernel has it switched off: bit 0 of net.ipv4.tcp_fastopen is not set",
        ]
    ]
    assert all(isinstance(took, float) for took in seen["times"]), seen["times"]


@BOTH
def test_a_server_that_takes_its_cookies_back_is_left_alone(tls):
    """The data in the SYN is not acknowledged; the kernel sends it again, and the request is served all the same."""
    seen = in_namespace(f"""
kernel(3)
origin = Origin({tls})
client = Client(origin.port, {tls})
times = client.asks(3)
kernel(1)
times += client.asks(3)
tell(times=times, counts=client.counts, events=client.events, asked=origin.asked)
""")
    assert seen["counts"] == {"cookie": 1, "accepted": 1, "refused": 1}
    assert seen["events"] == [["fast-open-refused", "the data of the SYN had to be sent again"]]
    assert seen["asked"] == 6
    assert all(isinstance(took, float) for took in seen["times"]), seen["times"]


def test_a_server_that_never_had_cookies_costs_nothing():
    seen = in_namespace("""
kernel(1)
origin = Origin(True)
client = Client(origin.port, True)
tell(times=client.asks(4), counts=client.counts, events=client.events)
""")
    assert seen["counts"] == {"cookie": 3}
    # What was sent again would be counted; and of four the machine may have held up one.
    assert sorted(seen["times"])[2] < 0.25, seen["times"]


EATEN = """
kernel(3)
origin = Origin({tls})
client = Client(origin.port, {tls})
times = client.asks(3)
firewall("-A", "INPUT", "-p", "tcp", "--syn", "-m", "length", "--length", "85:65535", "-j", "{how}")
times += client.asks(3)
tell(times=times, counts=client.counts, events=client.events, asked=origin.asked)
"""


def test_a_firewall_that_eats_syns_with_data_loses_to_the_plain_dial_beside():
    seen = in_namespace(EATEN.format(tls=True, how="DROP"))
    assert seen["counts"] == {"cookie": 1, "accepted": 1, "retried": 1}
    ((name, detail),) = seen["events"]
    assert name == "fast-open-retried"
    assert detail == "no byte came within 250 ms, and a plain connect was answered first"
    assert 0.25 <= seen["times"][3] < 0.9, "not the second that the kernel waits"
    assert max(seen["times"][4:]) < 0.25, "left alone"


def test_a_plain_request_whose_syn_is_eaten_is_given_back_to_be_sent_again():
    seen = in_namespace(EATEN.format(tls=False, how="DROP"))
    assert seen["counts"] == {"cookie": 1, "accepted": 1, "retried": 1}
    assert seen["events"] == [["fast-open-retried", "a SYN with data was not answered within 250 ms"]]
    assert seen["times"][3] == "closed: a SYN with data was not answered within 250 ms"
    assert max(seen["times"][4:]) < 0.25, "left alone"
    assert seen["asked"] == 5, "the one that was eaten never arrived"


def test_a_firewall_that_takes_the_option_away_costs_nothing():
    seen = in_namespace("""
kernel(3)
firewall("-t", "mangle", "-A", "OUTPUT", "-p", "tcp", "--syn", "-j", "TCPOPTSTRIP", "--strip-options", "34,254")
origin = Origin(True)
client = Client(origin.port, True)
tell(times=client.asks(4), counts=client.counts)
""")
    assert seen["counts"] == {"cookie": 3}
    assert all(isinstance(took, float) for took in seen["times"]), seen["times"]


def test_a_road_that_takes_the_syn_and_eats_what_follows():
    """The SYN is answered, so that the socket is connected, and no byte ever comes: only a byte would win."""
    seen = in_namespace("""
kernel(3)
origin = Origin(True)
client = Client(origin.port, True)
client.asks(3)
mark = ("-m", "length", "--length", "85:65535", "-j", "CONNMARK", "--set-mark", "1")
firewall("-t", "mangle", "-A", "INPUT", "-p", "tcp", "--syn", *mark)
long = ("-m", "connmark", "--mark", "1", "-m", "length", "--length", "100:65535", "-j", "DROP")
firewall("-A", "INPUT", "-p", "tcp", "--sport", str(origin.port), *long)
tell(times=client.asks(1), counts=client.counts, events=client.events)
""")
    assert seen["counts"].get("retried") == 1, seen
    assert "no byte came within" in seen["events"][0][1]


@BOTH
def test_nobody_there_any_more_is_told_like_any_failed_dial(tls):
    seen = in_namespace(f"""
kernel(3)
origin = Origin({tls})
client = Client(origin.port, {tls}, timeout=1.0)
client.asks(3)
firewall("-A", "INPUT", "-p", "tcp", "--dport", str(origin.port), "-j", "REJECT", "--reject-with", "tcp-reset")
tell(times=client.asks(2), counts=client.counts)
""")
    first, second = seen["times"]
    assert "ECONNREFUSED" in second
    assert ("ECONNREFUSED" if tls else "closed: ") in first
    assert seen["counts"].get("retried", 0) == (0 if tls else 1), "nothing took its place, where all failed"


def test_another_address_wins_when_the_remembered_one_is_a_black_hole():
    seen = in_namespace("""
kernel(3)
origin = Origin(True, host="127.0.0.1")
other = Origin(True, host="127.0.0.2", port=origin.port)
client = Client(origin.port, True, hosts=("127.0.0.1", "127.0.0.2"))
client.asks(3)
firewall("-A", "INPUT", "-d", "127.0.0.1", "-p", "tcp", "--dport", str(origin.port), "-j", "DROP")
tell(times=client.asks(2), counts=client.counts, asked=[origin.asked, other.asked])
""")
    assert seen["asked"] == [3, 2]
    assert seen["counts"]["retried"] == 1
    assert 0.25 <= seen["times"][0] < 1.2


def test_an_address_that_the_name_no_longer_has_is_not_tried():
    seen = in_namespace("""
kernel(3)
origin = Origin(True, host="127.0.0.1")
other = Origin(True, host="127.0.0.2", port=origin.port)
client = Client(origin.port, True)
client.asks(3)
with open(client.hosts, "w") as file:
    file.write("127.0.0.2 app.example\\n# it is longer now\\n")
tell(times=client.asks(2), counts=client.counts, asked=[origin.asked, other.asked])
""")
    assert seen["asked"] == [3, 2]
    assert "retried" not in seen["counts"]


def test_a_certificate_that_is_not_believed_is_no_fault_of_the_road():
    seen = in_namespace("""
kernel(3)
origin = Origin(True)
client = Client(origin.port, True)
client.asks(3)
client.connector._tls = ClientTls(ClientTlsSettings(authorities=Authority.root("Stranger").pem))
tell(times=client.asks(1), counts=client.counts, events=client.events, asked=origin.asked,
     failed=client.counters.values[UPSTREAM_TLS_FAILED])
""")
    assert "certificate-authority-unknown" in seen["times"][0]
    assert seen["events"] == []
    assert seen["counts"] == {"cookie": 1, "accepted": 2}
    assert seen["events"] == []
    assert seen["failed"] == 1, "one handshake, not two"


def test_a_dial_that_is_cancelled_leaves_no_socket_behind():
    seen = in_namespace("""
import gc, os
kernel(3)
origin = Origin(True)
client = Client(origin.port, True)
client.asks(3)
firewall("-A", "INPUT", "-p", "tcp", "--dport", str(origin.port), "-j", "DROP")
async def cancelled(seconds):
    before = len(os.listdir("/proc/self/fd"))
    task = asyncio.create_task(client.connector.connect(client.endpoint))
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    gc.collect()
    return len(os.listdir("/proc/self/fd")) - before
async def run():
    return [await cancelled(0.1), await cancelled(0.5)]
tell(left=asyncio.run(run()))
""")
    assert seen["left"] == [0, 0]


def test_data_in_the_syn_of_a_client():
    """The other side: a listener that was asked for it takes data in the SYN, and its backlog has a bound."""
    seen = in_namespace("""
from headgate.net.fast_open import ask, is_data_taken
from headgate.process.sockets import FAST_OPEN_QUEUE, bind_slot, has_fast_open
from headgate.process.start import BoundAddress

def syn(port):
    with socket.socket() as sock:
        sock.settimeout(5)
        ask(sock)
        sock.connect(("127.0.0.1", port))
        sock.sendall(b"hello")
        peer, _ = listener.accept()
        peer.setblocking(True)
        assert peer.recv(9) == b"hello"
        peer.close()
        return is_data_taken(sock)

found = []
for value, fast in ((3, False), (1, True), (3, True)):
    kernel(value)
    ((_, listener),) = bind_slot([BoundAddress(0, "127.0.0.1", 4000 + len(found), fast_open=fast)])
    listener.setblocking(True)
    listener.listen()
    queue = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN)
    found.append([has_fast_open(), queue, syn(listener.getsockname()[1]), syn(listener.getsockname()[1])])
    listener.close()
tell(found=found, queue=FAST_OPEN_QUEUE)
""")
    off, without_sysctl, on = seen["found"]
    assert off == [True, 0, False, False]
    assert without_sysctl == [False, seen["queue"], False, False]
    assert on == [True, seen["queue"], False, True]


@pytest.mark.slow
def test_a_gate_sends_a_request_again_whose_syn_was_eaten_and_no_other_in_a_syn():
    seen = in_namespace("""
from pathlib import Path
from headgate.testing.origin import ask
from tests.integration.gate import Gate, wait_for

kernel(3)
origin = Origin(False)
folder = Path(tempfile.mkdtemp())
text = f'''[[route]]
upstream = "x"
[upstream.x]
endpoints = ["http://127.0.0.1:{origin.port}"]
tcp_fast_open = true
[upstream.x.pool]
max_idle = 0
'''
with Gate(folder, text) as gate:
    def get(method="GET"):
        began = time.monotonic()
        head, _ = ask(gate.http_ports[0], "/", method=method, more="Content-Length: 0\\r\\n")
        return [head.status, time.monotonic() - began]
    before = [get() for _ in range(4)] + [get("POST") for _ in range(3)]
    firewall("-A", "INPUT", "-p", "tcp", "--dport", str(origin.port), "--syn", "-m", "length", "--length", "85:65535",
             "-j", "DROP")
    post, eaten, after = get("POST"), get(), get()
    def counted():
        found = {k.split('"')[1]: v for k, v in gate.metrics().items() if "upstream_fast_open_total" in k}
        return found if found["retried"] else None
    counts = wait_for("the counters", counted)
    lines = wait_for("the log", lambda: len(gate.access_lines()) == 10 and gate.access_lines())
    tell(before=before, post=post, eaten=eaten, after=after, counts=counts, asked=origin.asked,
         retries=[line.get("retries", 0) for line in lines], defects=gate.events("defect"),
         events=[event["detail"] for event in gate.events("fast-open-retried")])
""")
    assert [status for status, _ in (*seen["before"], seen["post"], seen["after"])] == [200] * 9
    status, took = seen["eaten"]
    assert status == 200
    assert 0.25 <= took < 0.9
    assert seen["counts"]["accepted"] == 2
    assert seen["counts"]["retried"] == 1
    assert seen["asked"] == 10, "each request once"
    assert seen["retries"] == [0] * 8 + [1, 0]
    assert seen["events"] == ["a SYN with data was not answered within 250 ms"]
    assert seen["defects"] == []
