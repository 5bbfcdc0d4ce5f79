"""Processes that die under TLS load, another user, and what systemd is told."""

import os
import signal
import socket
import ssl
import threading
import time
from pathlib import Path

import pytest
from tests.integration.gate import Gate

SOAK = os.environ.get("HEADGATE_SOAK") == "1"
NOBODY = 65534
# A quick machine makes more connections a second than one client may have by default.
UNMETERED = 'limits = { connection_rate = "100000/s", all_connection_rate = "100000/s" }'


class Load:
    """Clients that connect, ask once and come again, until told to end; they note what they met."""

    def __init__(self, site, tools, port, clients=4):
        self.done = self.refused = 0
        self.hung = []
        self.wrong = []
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(site, tools, port), daemon=True) for _ in range(clients)
        ]

    def _run(self, site, tools, port):
        context = site.client()
        while not self._stop.is_set():
            try:
                with (
                    socket.create_connection(("127.0.0.1", port), 5) as plain,
                    context.wrap_socket(plain, server_hostname="a.test") as sock,
                ):
                    answer = tools.request(sock)
                if answer.endswith(b"let in"):
                    self.done += 1
                else:
                    self.refused += 1
                    if answer:
                        self.wrong.append(answer)
            except TimeoutError as error:
                self.hung.append(repr(error))
            except OSError:
                self.refused += 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


# wrap_socket() of Python 3.11 forgets to close what was reset before it began.
@pytest.mark.soak
@pytest.mark.parametrize("_again", range(40 if SOAK else 1))
@pytest.mark.filterwarnings("ignore:Exception ignored in.*SSLSocket")
def test_a_worker_killed_under_load_hangs_nobody_and_comes_back(site, tools, _again):
    site.certificate("a", "a.test")
    gate = site.gate(tools.hello, workers=2, listener_extra=UNMETERED)
    with gate, Load(site, tools, gate.https_ports[0]) as load:
        tools.wait_for("load", lambda: load.done > 50)
        delays = []
        for round_ in range(3):
            victim = [e for e in gate.events("child-started") if e["child"] == "worker 0"][-1]
            tools.kill(victim["pid"])
            exited = tools.wait_for(
                "the news",
                lambda pid=victim["pid"]: [e for e in gate.events("child-exited") if e["pid"] == pid],
            )[0]
            assert exited["how"] == "signal SIGKILL"
            delays.append(exited["next"])
            # One worker still serves while the other is away.
            served = load.done
            tools.wait_for("answers", lambda served=served: load.done > served + 20)
            tools.wait_for(
                "the next worker",
                lambda wanted=round_ + 2: [
                    e
                    for e in gate.events("child-started")
                    if e["child"] == "worker 0" and e["generation"] == wanted
                ],
            )
        served = load.done
        tools.wait_for("answers", lambda: load.done > served + 50)
        assert delays == ["restart in 0 s", "restart in 1 s", "restart in 2 s"]
    assert load.hung == []
    assert load.wrong == []
    # What was under way on the dead one is lost, and no more.
    assert load.refused <= 3 * (4 + 2)
    assert not gate.events("defect")


@pytest.mark.filterwarnings("ignore:Exception ignored in.*SSLSocket")
def test_both_workers_killed_at_once(site, tools):
    site.certificate("a", "a.test")
    gate = site.gate(tools.hello, workers=2, listener_extra=UNMETERED)
    with gate, Load(site, tools, gate.https_ports[0]) as load:
        tools.wait_for("load", lambda: load.done > 20)
        for pid in gate.worker_pids()[:2]:
            tools.kill(pid)
        tools.wait_for("two more", lambda: len(gate.worker_pids()) >= 4)
        served = load.done
        tools.wait_for("answers", lambda: load.done > served + 50)
    assert load.hung == []


def test_a_killed_keeper_costs_no_staple_and_comes_back(site, tools):
    now = time.time()
    leaf = site.certificate("a", "a.test", ocsp=("http://127.0.0.1:1/",))
    # The issuer in the chain and an answer beside it: no responder is needed.
    site.write("certs/a.pem", leaf.chain_pem + site.root.pem + leaf.key_pem)
    der = site.root.ocsp(leaf, this_update=now - 60, next_update=now + 3600)
    site.write("certs/a.pem.ocsp", der)
    with site.gate(tools.hello) as gate:
        port = gate.https_ports[0]

        def stapled():
            return "OCSP Response Status: successful" in site.s_client(port, "-status")

        tools.wait_for("a staple", stapled)
        keeper = gate.child_pids("keeper")[0]
        tools.kill(keeper)
        assert stapled()
        tools.wait_for("another keeper", lambda: len(gate.child_pids("keeper")) == 2)
        assert stapled()
        exited = [event for event in gate.events("child-exited") if event["pid"] == keeper]
        assert exited[0]["next"] == "restart in 0 s"
        tools.wait_for("its answers", lambda: gate.run("ocsp").returncode == 0)
        # And a worker that starts after it has the staple from its first handshake on.
        tools.kill(gate.worker_pids()[0])
        tools.wait_for("another worker", lambda: len(gate.worker_pids()) == 2)
        tools.wait_for("it listening", lambda: site.fingerprint(port))
        assert stapled()


def family(gate):
    """Every process of a gate but the supervisor: they carry its command line."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                if str(gate.config).encode() in (place / "cmdline").read_bytes():
                    found.append(int(place.name))
            except OSError:
                continue
    return [pid for pid in found if pid != gate.pid]


def test_a_killed_supervisor_leaves_no_orphans(site, tools):
    site.certificate("a", "a.test")
    gate = site.gate(tools.hello, workers=2)
    with gate:
        left = family(gate)
        assert set(gate.worker_pids()) <= set(left)
        assert set(gate.child_pids("keeper")) <= set(left)
        # A request under way is finished, an idle connection is not waited for.
        with site.connect(gate.https_ports[0]) as busy, site.connect(gate.https_ports[0]) as idle:
            busy.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n")
            idle.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert b"let in" in idle.recv(65536)
            gate.process.kill()
            gate.process.wait()
            tools.wait_for("the workers to see it", lambda: gate.events("supervisor-gone"))
            busy.sendall(b"\r\n")
            assert b"let in" in b"".join(iter(lambda: busy.recv(65536), b""))
            assert b"".join(iter(lambda: idle.recv(65536), b"")) == b""
        tools.wait_for("all of them to end", lambda: not any(tools.alive(pid) for pid in left), 35)
        # Nothing they held is in the way of the next one.
        gate.start()
        assert site.fingerprint(gate.https_ports[0])


def test_sigterm_ends_every_process_and_the_exit_code_is_0(site, tools):
    site.certificate("a", "a.test")
    gate = site.gate(tools.hello, workers=2)
    with gate:
        left = family(gate)
        with site.connect(gate.https_ports[0]) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            assert b"let in" in sock.recv(65536)
            assert gate.stop() == 0
            assert sock.recv(100) == b""  # an idle connection is closed in good order
    assert not any(tools.alive(pid) for pid in left)


def privileged_port():
    """A port below 1024 that is free."""
    for port in range(1023, 900, -1):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port below 1024 is free")


def uids(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next({int(word) for word in line.split()[1:]} for line in lines if line.startswith("Uid:"))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_as_nobody_on_a_privileged_port(site, tools):
    site.certificate("a", "a.test")
    (site.folder / "certs" / "a.pem").chmod(0o600)  # the workers could not read it
    port = privileged_port()
    text = f'[[listener]]\naddresses = ["127.0.0.1:{port}"]\n[log]\naccess = "off"\n'
    with site.gate(tools.hello + text, https=0, workers=2, top='user = "nobody"') as gate:
        assert site.curl(port).stdout == "let in"
        served = [*gate.worker_pids(), *gate.child_pids("keeper")]
        assert len(served) == 3
        assert [uids(pid) for pid in served] == [{NOBODY}] * 3
        assert uids(gate.pid) == {0}
        for pid in served:
            text = Path(f"/proc/{pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in text
            assert "Groups:\t65534" in text
        # Restarted, too, on the port that only root may bind; and the certificate is taken up, which only root reads.
        tools.kill(gate.worker_pids()[0])
        tools.wait_for("another worker", lambda: len(gate.worker_pids()) == 3)
        fresh = site.certificate("a", "a.test")
        (site.folder / "certs" / "a.pem").chmod(0o600)
        tools.wait_for("the new certificate", lambda: site.fingerprint(port) == fresh.der)
        assert uids(gate.worker_pids()[2]) == {NOBODY}
        assert gate.run("status").returncode == 0
        assert not gate.events("defect")


class TlsOrigin:
    """An origin that speaks TLS with a certificate of the site's root, and answers each connection once."""

    def __init__(self, site):
        leaf = site.root.leaf("origin.test", "127.0.0.1")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(site.write("origin.pem", leaf.chain_pem + leaf.key_pem))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._secure = context.wrap_socket(self._listening, server_side=True)
        self.port = self._secure.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while True:
            try:
                sock, _ = self._secure.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return
            with sock:
                sock.recv(65536)
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nthe origin")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._secure.shutdown(socket.SHUT_RDWR)
        self._secure.close()
        self._thread.join(20)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_authorities_of_an_upstream_that_only_root_can_read(site, tools):
    ca = Path(site.write("origins.pem", site.root.pem))
    ca.chmod(0o600)
    with TlsOrigin(site) as origin:
        text = f"""
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["https://127.0.0.1:{origin.port}"]
[upstream.origin.tls]
ca = "{ca}"
name = "origin.test"
"""
        with Gate(site.folder, text, http=1, top='user = "nobody"') as gate:
            url = f"http://127.0.0.1:{gate.http_ports[0]}/"
            assert tools.run(["curl", "-sS", url]).stdout == "the origin"
            # A restarted worker trusts whom the first one trusted, though the file is gone by now.
            ca.unlink()
            tools.kill(gate.worker_pids()[0])
            tools.wait_for("another worker", lambda: len(gate.worker_pids()) == 2)
            tools.wait_for("its answer", lambda: tools.run(["curl", "-sS", url]).stdout == "the origin")
            assert not [event for event in gate.events("child-exited") if event["how"] != "signal SIGKILL"]


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_when_it_is_ready_and_when_it_stops(site, tools, abstract):
    site.certificate("a", "a.test")
    name = f"headgate-test-{os.getpid()}" if abstract else str(site.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(("\0" if abstract else "") + name)
        sock.settimeout(60)
        gate = site.gate(
            tools.hello,
            workers=2,
            environ={
                "NOTIFY_SOCKET": ("@" if abstract else "") + name,
                "WATCHDOG_USEC": "1000000",
            },
        )
        gate.start(wait=False)
        try:
            lines = sock.recv(4096).decode().splitlines()
            while lines == ["WATCHDOG=1"]:
                lines = sock.recv(4096).decode().splitlines()
            assert lines[0] == "READY=1"
            assert any(line.startswith("STATUS=") for line in lines)
            # Said, and true: the very next connection is served.
            assert site.curl(gate.https_ports[0]).stdout == "let in"
            assert sock.recv(4096) == b"WATCHDOG=1"
            assert sock.recv(4096) == b"WATCHDOG=1"
            gate.process.send_signal(signal.SIGTERM)
            lines = sock.recv(4096).decode().splitlines()
            while lines == ["WATCHDOG=1"]:
                lines = sock.recv(4096).decode().splitlines()
            assert lines[0] == "STOPPING=1"
        finally:
            assert gate.stop() == 0
