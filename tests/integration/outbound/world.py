"""What is around a gate that reaches for origins: names, certificates, origins that fail in one way each, a client
that tells whole answers from cut ones, and a look into the gate's worker for what it holds.

Each request has an identifier of its own, and origins note each that reaches them: what arrived twice is seen.
"""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import ssl
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from OpenSSL import SSL
from tests.integration.gate import Gate, wait_for

from headgate.testing.dns import DnsServer
from headgate.testing.origin import Head, Origin, Script, Wire, connect
from headgate.testing.pki import Authority, Leaf

PATIENCE = "700ms"
"""Every timeout towards an origin, so that a row takes a second and no minute."""
HELD = ("Exchange", "Attempt", "DownstreamConnection", "UpstreamConnection", "TlsTransport", "Tunnel", "Task")

_identifiers = itertools.count(1)


class Heard(Wire):
    """An origin's wire that notes which requests came."""

    def __init__(self, sock, world: "World", name: str) -> None:
        super().__init__(sock)
        self.world = world
        self.name = name

    def read_head(self) -> Head | None:
        head = super().read_head()
        if head is not None:
            self.world.reached[head.get("x-request-id") or ""].append(self.name)
        return head


class World:
    """Names, certificates and origins; everything that must be closed, and the text of upstreams."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = contextlib.ExitStack()
        self.dns = self.keep(DnsServer())
        self.root = Authority.root("Origins' Root")
        self.stranger = Authority.root("Nobody's Root")
        self.reached: defaultdict[str, list[str]] = defaultdict(list)
        self.released = threading.Event()
        self.upstreams: dict[str, str] = {}
        (folder / "ca.pem").write_bytes(self.root.pem)

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_error: object) -> None:
        self.released.set()
        self.stack.close()

    def keep(self, thing):
        """Enter a context that ends with the world."""
        return self.stack.enter_context(thing)

    def wait(self, seconds: float = 20.0) -> None:
        """What a script does that keeps silent."""
        self.released.wait(seconds)

    def origin(self, script: Script, name: str = "", **options) -> Origin:
        """An origin in plain text."""
        return self.keep(Origin(lambda wire: script(Heard(wire.sock, self, name)), **options))

    def tls_origin(
        self,
        script: Script,
        leaf: Leaf,
        name: str = "",
        *,
        staple: bytes = b"",
        newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        clients: bool = False,
    ) -> Origin:
        """An origin over TLS that closes as the script does: without close_notify, unless it says so.

        `clients`: it wants a certificate of who comes. With a staple it is pyOpenSSL's, which the `ssl` module has
        no way to give it; then it answers once."""
        path = self.folder / f"origin-{next(_identifiers)}.pem"
        path.write_bytes(leaf.chain_pem + leaf.key_pem)
        if staple:
            return self.keep(Origin(lambda wire: _stapled(wire, path, staple)))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        context.maximum_version = newest
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.folder / "ca.pem")

        def shaken(wire: Wire) -> None:
            sock = context.wrap_socket(wire.sock, server_side=True, do_handshake_on_connect=False)
            with Heard(sock, self, name) as inner:
                try:
                    sock.do_handshake()
                except ssl.SSLError:
                    # Read away what is behind the mistake: closing over it would reset, and overtake the alert.
                    while socket.socket.recv(sock, 65536):
                        pass
                    return
                script(inner)

        return self.keep(Origin(shaken))

    def upstream(
        self, name: str, *urls: str, more: str = "", tls: str = "", patience: str = PATIENCE
    ) -> None:
        """Enter an upstream with these endpoints; `more` are keys of its table, `tls` of its TLS table."""
        self.upstreams[name] = f"""[[route]]
hosts = ["{name}.test"]
upstream = "{name}"
[upstream.{name}]
endpoints = [{", ".join(url if url.startswith("{") else json.dumps(url) for url in urls)}]
connect_timeout = "{patience}"
head_timeout = "{patience}"
body_idle = "{patience}"
idle_timeout = "1s"
{more}
"""
        if any(url.startswith("https:") for url in urls):
            self.upstreams[name] += f'[upstream.{name}.tls]\nca = "{self.folder}/ca.pem"\n{tls}\n'

    def configuration(self, more: str = "") -> str:
        """The text for a `Gate`."""
        return f'[resolver]\nnameservers = ["{self.dns.address}"]\n{more}\n' + "\n".join(
            self.upstreams.values()
        )


def _stapled(wire: Wire, path: Path, staple: bytes) -> None:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(path))
    context.use_privatekey_file(str(path))
    context.set_ocsp_server_callback(lambda _conn, _data: staple)
    wire.sock.settimeout(None)
    conn = SSL.Connection(context, wire.sock)
    conn.set_accept_state()
    with contextlib.suppress(SSL.Error):
        conn.do_handshake()
        conn.recv(4096)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        conn.recv(4096)


# -- the client


@dataclass(frozen=True)
class Seen:
    """What a client got. `status` 0: nothing; `whole`: the answer came to its proper end."""

    status: int
    body: bytes
    whole: bool
    identifier: str


def request(name: str, target: str = "/", *, method: str = "GET", content: bytes = b"") -> tuple[str, bytes]:
    """A request with an identifier of its own, and that identifier."""
    identifier = f"r{next(_identifiers)}"
    length = f"Content-Length: {len(content)}\r\n" if content or method == "POST" else ""
    head = f"{method} {target} HTTP/1.1\r\nHost: {name}.test\r\nX-Request-Id: {identifier}\r\n{length}\r\n"
    return identifier, head.encode() + content


def read(wire: Wire, identifier: str) -> Seen:
    """Read one answer as far as it comes."""
    head, body = None, b""
    try:
        head = wire.read_head()
        if head is not None:
            body = wire.read_content(head)
            return Seen(head.status, body, True, identifier)
    except (EOFError, ConnectionError):
        pass
    return Seen(head.status if head is not None else 0, body, False, identifier)


def get(gate: Gate, name: str, target: str = "/", **options) -> Seen:
    """Ask once, on a connection of its own."""
    with connect(gate.http_ports[0]) as wire:
        identifier, data = request(name, target, **options)
        wire.send(data)
        return read(wire, identifier)


# -- the gate's own account


def line_of(gate: Gate, seen: Seen) -> dict:
    """The line of the access log about a request."""

    def found():
        return [line for line in gate.access_lines() if line.get("request_id") == seen.identifier]

    lines = wait_for(f"the log line of {seen.identifier}", found)
    assert len(lines) == 1, lines
    return lines[0]


def failures_of(gate: Gate, name: str) -> list[dict]:
    """The events about an upstream's failures, oldest first."""
    return [event for event in gate.events("upstream-failed") if event["upstream"] == name]


def wait_metric(gate: Gate, key: str, at_least: float) -> None:
    """Wait until a metric (without the prefix of all) is published that is so high."""
    wait_for(f"{key} >= {at_least}", lambda: gate.metrics().get(f"headgate_{key}", 0.0) >= at_least)


# -- what a worker holds


class Probe:
    """Looks into the workers of a gate; `environ` goes to the gate. See `sitecustomize_probe`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "probe"
        self.folder.mkdir()
        site = folder / "site"
        site.mkdir()
        shutil.copy(Path(__file__).with_name("sitecustomize_probe.py"), site / "sitecustomize.py")
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.environ = {"PYTHONPATH": path, "OUTBOUND_PROBE": str(self.folder)}

    def look(self, pid: int) -> dict[str, int]:
        """Objects by class, sums over endpoints, and descriptors."""
        path = self.folder / f"{pid}.json"
        path.unlink(missing_ok=True)
        os.kill(pid, signal.SIGUSR2)
        wait_for(f"the account of {pid}", path.exists)
        held = json.loads(path.read_text())
        assert "error" not in held, held
        figures = {name: held.get(name, 0) for name in HELD}
        figures |= {name: value for name, value in held.items() if "." in name}
        figures["descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
        return figures


def resident(pid: int) -> int:
    """Resident bytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def at_work(gate: Gate) -> dict[str, float]:
    """What the gate publishes as open or held now, where that is not 0."""
    return {
        key: value
        for key, value in gate.metrics().items()
        if value
        and (key.partition("{")[0].endswith(("_open", "_queue_requests", "_active")) or "held_bytes" in key)
    }


def assert_nothing_left(gate: Gate, probe: Probe, *begin: dict[str, int], seconds: float = 15.0) -> None:
    """Wait until the workers hold what they held at the beginning, in their own figures and in what is published."""
    pids = gate.worker_pids()
    end = time.monotonic() + seconds
    while (now := tuple(probe.look(pid) for pid in pids)) != begin and time.monotonic() < end:
        time.sleep(0.1)
    assert now == begin, (now, begin)
    wait_for("the published figures", lambda: not at_work(gate))
    assert gate.events("defect") == []
    assert gate.worker_pids() == pids
