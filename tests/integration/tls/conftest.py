"""A gate's TLS without the gate: forked workers on loopback that answer each request with what they know of it.

The ring of each policy is made before the fork, as the supervisor does; every worker listens on a port of its own, so
that a test chooses which one it meets. Time is a number in shared memory, so that all of them can be made to rotate.
"""

import json
import mmap
import os
import select
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from headgate.counters import Counters
from headgate.errors import TransportError
from headgate.net.transport import DONE, WANT_WRITE
from headgate.testing.pki import Authority, Leaf
from headgate.tls.context import ServerTls
from headgate.tls.identity import DEFAULT_RULES, Identity, StapleRules, from_pem
from headgate.tls.policy import TlsPolicy
from headgate.tls.staple import Staple
from headgate.tls.tickets import TicketRing
from headgate.tls.transport import TlsTransport

PATIENCE = 10.0
PERIOD = 1000.0


class SharedClock:
    """Monotonic time that a test moves for all processes at once; wall time is the machine's."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, 8)
        self.advance(1000.0)

    def now(self) -> float:
        return struct.unpack("d", self._page[:8])[0]

    def advance(self, seconds: float) -> None:
        self._page[:8] = struct.pack("d", self.now() + seconds)

    def wall(self) -> float:
        return time.time()


class Site:
    """Listeners by policy name, each with a port per worker."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SharedClock()
        self.root = Authority.root("Site Root")
        self.ca = self.write("root.pem", self.root.pem)
        self._children: list[int] = []
        self._events = os.open(folder / "events", os.O_CREAT | os.O_APPEND | os.O_RDWR)
        self.ports: dict[str, list[int]] = {}

    def write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)

    def identity(
        self,
        *names: str,
        key: str = "p256",
        rules: StapleRules = DEFAULT_RULES,
        staple: str = "good",
        **options,
    ) -> Identity:
        leaf = self.root.leaf(*names, key=key, **options)
        return self.identity_of(leaf, rules, staple)

    def identity_of(self, leaf: Leaf, rules: StapleRules = DEFAULT_RULES, staple: str = "good") -> Identity:
        identity = from_pem(
            f"{leaf.certificate.serial_number}.pem", leaf.chain_pem + self.root.pem, leaf.key_pem, rules=rules
        )
        now = time.time()
        if staple:
            life = -10.0 if staple == "expired" else 3600.0
            status = "revoked" if staple == "revoked" else "good"
            der = self.root.ocsp(leaf, status, this_update=now - 60, next_update=now + life)
            identity.staple = Staple(der, now - 60, now + life, status)
        return identity

    def serve(self, policy: TlsPolicy, identities: list[Identity], workers: int = 1) -> list[int]:
        """Fork workers; return their ports."""
        ring = TicketRing(policy, self.clock, period=PERIOD, size=4)
        ports = []
        for number in range(workers):
            listener = socket.create_server(("127.0.0.1", 0), backlog=512)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            ports.append(listener.getsockname()[1])
            child = os.fork()
            if child == 0:
                self._work(listener, ring, identities, number)
            self._children.append(child)
            listener.close()
        self.ports[policy.name] = ports
        return ports

    def _work(
        self, listener: socket.socket, ring: TicketRing, identities: list[Identity], number: int
    ) -> None:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            tls = ServerTls(
                ring, identities, Counters().values, self.clock, lambda name, why: self.note(name, why)
            )
            while True:
                sock, _ = listener.accept()
                sock.setblocking(False)
                transport = tls.accept(sock)
                try:
                    answer(transport, tls, number)
                except TransportError as error:
                    self.note(error.reason, error.detail)
                    transport.shutdown()
                transport.close()
        except BaseException as error:  # nothing may get back into the test run
            self.note("crashed", repr(error))
        finally:
            os._exit(1)

    def note(self, reason: str, detail: str) -> None:
        os.write(self._events, json.dumps([reason, detail]).encode() + b"\n")

    def reasons(self) -> list[str]:
        lines = (self.folder / "events").read_text().splitlines()
        return [json.loads(line)[0] for line in lines]

    def wait_for(self, reason: str) -> None:
        until = time.monotonic() + PATIENCE
        while reason not in self.reasons():
            assert time.monotonic() < until, self.reasons()
            time.sleep(0.01)

    def close(self) -> None:
        for child in self._children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        os.close(self._events)


def await_ready(transport: TlsTransport, events: int = select.POLLIN) -> None:
    poller = select.poll()
    poller.register(transport.fileno(), events)
    if not poller.poll(PATIENCE * 1000):
        raise TransportError("timeout")


def answer(transport: TlsTransport, tls: ServerTls, number: int) -> None:
    """Serve one connection: handshake, one request, one answer that tells all."""
    while True:
        await_ready(transport)
        state = transport.handshake()
        if state == DONE:
            break
        assert state != WANT_WRITE
    request = b""
    while b"\n\r\n" not in request and b"\n\n" not in request:
        if not transport.pending():
            await_ready(transport)
        data = transport.read(65536)
        if data == b"":
            return
        request += data or b""
    assert transport.connection is not None
    known = tls.client_certificate(transport.connection)
    facts = {
        "worker": number,
        "resumed": transport.resumed,
        "version": transport.version(),
        "cipher": transport.cipher(),
        "name": transport.server_name().decode(),
        "alpn": transport.alpn().decode(),
        "client": known.subject if known is not None else None,
    }
    body = json.dumps(facts).encode()
    data = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body)
    while data:
        taken = transport.write(data)
        data = data[taken:]
        if not taken:
            await_ready(transport, select.POLLOUT)
    transport.shutdown()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """The real clients; CI fails on a test that is skipped for want of one."""
    for tool in ("openssl", "curl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    return SimpleNamespace(s_client=s_client, curl=curl)


REQUEST = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"


def run(command: list[str], stdin: bytes) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE, check=False)
    return subprocess.CompletedProcess(
        command,
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )


def s_client(port: int, *options: str, name: str = "a.test", stdin: bytes = REQUEST) -> str:
    """Return all that openssl's client says, of the connection and of the answer."""
    sni = ["-servername", name] if name else ["-noservername"]
    done = run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *sni, "-ign_eof", *options], stdin)
    return done.stdout + done.stderr


def curl(
    port: int, *options: str, name: str = "a.test", scheme: str = "https"
) -> subprocess.CompletedProcess[str]:
    url = f"{scheme}://{name}:{port}/"
    return run(
        ["curl", "-sS", "--max-time", "8", "--resolve", f"{name}:{port}:127.0.0.1", *options, url], b""
    )


@pytest.fixture(scope="session")
def facts() -> Callable[[str], dict]:
    """Find the worker's answer in what a client printed."""

    def find(text: str) -> dict:
        at = text.index('{"worker"')
        return json.loads(text[at : text.index("}", at) + 1])

    return find
