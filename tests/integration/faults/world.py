"""What the fault tests share: an authority with its files, responders that misbehave by plan, a client that tells
what was on the wire, and a gate's own account of it (events, metrics, `headgate ocsp --json`).

Every responder lives on a loopback address of its own: the stapler bounds fetches by host, and one row of the table
must not slow another.
"""

import base64
import contextlib
import http.server
import itertools
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

from cryptography.x509 import ocsp
from OpenSSL import SSL
from tests.integration.gate import Gate, wait_for

from headgate.ocsp.response import verify
from headgate.ocsp.subject import Subject
from headgate.testing.pki import Authority, Leaf
from headgate.tls.openssl import is_resumed

OCSP_TYPE = "application/ocsp-response"
ROUTE = '[[route]]\nrespond = { body = "fine" }\n'
QUICK = 2.0
"""No handshake takes longer than this, whatever its responder does; in seconds, with room for a busy machine."""

_hosts = itertools.count(2)


def next_host() -> str:
    """A loopback address that no other responder of this test run has."""
    number = next(_hosts)
    return f"127.0.{1 + number // 250}.{number % 250 + 2}"


class Answering:
    """A responder over HTTP whose every word a test chooses: `answer(request)` returns (status, fields, body).

    `asked` holds the requests it was sent, in DER. It may be exchanged while it runs."""

    def __init__(self, answer: "Answer", host: str = "") -> None:
        self.answer = answer
        self.asked: list[bytes] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(base64.b64decode(unquote(self.path.rpartition("/")[2])))

            def do_POST(self) -> None:
                self._reply(self.rfile.read(int(self.headers["Content-Length"])))

            def _reply(self, request: bytes) -> None:
                outer.asked.append(request)
                status, fields, body = outer.answer(request)
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer((host or next_host(), 0), Handler)
        self._server.daemon_threads = True
        self.host, self.port = self._server.server_address[:2]
        self.address = f"{self.host}:{self.port}"
        self.url = f"http://{self.address}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> "Answering":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Refuse from now on. May be called twice."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


Answer = Callable[[bytes], tuple[int, dict[str, str], bytes]]


def saying(der: bytes, content_type: str = OCSP_TYPE) -> Answer:
    """An answer that is always these bytes."""
    return lambda _request: (200, {"Content-Type": content_type}, der)


def hash_of(request: bytes) -> str:
    """In which hash a request names the issuer: "sha1" or "sha256"."""
    return ocsp.load_der_ocsp_request(request).hash_algorithm.name


class World:
    """Certificates in `folder`/certs, each with what it names as responders, and everything that must be closed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = Authority.root("Fault Root", key="rsa")
        self.issuer = self.root.intermediate("Fault Issuer", key="rsa")
        self.stack = contextlib.ExitStack()
        self.leaves: dict[str, Leaf] = {}
        (folder / "certs").mkdir(exist_ok=True)
        (folder / "root.pem").write_bytes(self.root.pem)

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_error: object) -> None:
        self.stack.close()

    def keep(self, thing):
        """Enter a context that ends with the world."""
        return self.stack.enter_context(thing)

    def leaf(self, name: str, *urls: str, file: str = "", **options) -> Leaf:
        """Make a certificate for `name`.test and write it with its chain and key to certs/`file` or `name`.pem."""
        leaf = self.issuer.leaf(f"{name}.test", ocsp=urls, **options)
        self.leaves[file or name] = leaf
        path = self.path(file or name)
        path.write_bytes(leaf.chain_pem + leaf.key_pem)
        return leaf

    def path(self, name: str) -> Path:
        return self.folder / "certs" / f"{name}.pem"

    def response(
        self, leaf: Leaf, status: str = "good", *, age: float = 60.0, life: float = 3600.0, **options
    ):
        """What our issuer says about a leaf: since `age` seconds, for `life` seconds from now."""
        now = time.time()
        return self.issuer.ocsp(leaf, status, this_update=now - age, next_update=now + life, **options)

    def good(self, name: str, **options) -> tuple[Leaf, Answering]:
        """A certificate whose responder works."""
        responder = self.keep(Answering(saying(b"")))
        leaf = self.leaf(name, responder.url, **options)
        responder.answer = lambda _request: (200, {"Content-Type": OCSP_TYPE}, self.response(leaf))
        return leaf, responder

    def subject(self, name: str) -> Subject:
        return Subject.from_pem(name, self.leaves[name].chain_pem)


def configuration(*, ocsp: str = 'timeout = "1s"', certificates: str = "", more: str = "") -> str:
    """The text for a `Gate`: every file in certs/ unless `certificates` has tables of its own."""
    return f"{certificates or CERTIFICATES}\n[ocsp]\n{ocsp}\n{more}\n{ROUTE}"


CERTIFICATES = '[[certificate]]\nfiles = "certs/*.pem"'


# -- the wire


class Shaken:
    """What one handshake gave: `staple` in DER or None, `resumed`, the peer's certificate, and how long it took."""

    def __init__(self, context: SSL.Context, seen: list[bytes], conn: SSL.Connection, seconds: float) -> None:
        self.context = context
        self.seen = seen
        self.staple = next((der for der in seen if der), None)
        self.seconds = seconds
        self.leaf = conn.get_peer_certificate(as_cryptography=True)
        self.resumed = is_resumed(conn)
        self.session: SSL.Session | None = None


def _client(tls12: bool, ciphers: bytes) -> tuple[SSL.Context, list[bytes]]:
    """A client's context, and where the staples of its handshakes will be found."""
    seen: list[bytes] = []
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if tls12:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
    if ciphers:
        context.set_cipher_list(ciphers)
    context.set_ocsp_client_callback(lambda _conn, der, _data: seen.append(der) or True)
    return context, seen


def handshake(
    port: int,
    name: str,
    *,
    ask: bool = True,
    resume: Shaken | None = None,
    tls12: bool = False,
    ciphers: bytes = b"",
) -> Shaken:
    """Shake hands with the gate for `name`, make one request, and tell what was stapled. Raises `SSL.Error`."""
    context, seen = (resume.context, resume.seen) if resume is not None else _client(tls12, ciphers)
    seen.clear()
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.settimeout(None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 10, 0))
        conn = SSL.Connection(context, sock)
        conn.set_tlsext_host_name(f"{name}.test".encode())
        if ask:
            conn.request_ocsp()
        if resume is not None and resume.session is not None:
            conn.set_session(resume.session)
        conn.set_connect_state()
        started = time.monotonic()
        conn.do_handshake()
        shaken = Shaken(context, seen, conn, time.monotonic() - started)
        conn.sendall(f"GET / HTTP/1.1\r\nHost: {name}.test\r\n\r\n".encode())
        answer = b""
        while b"fine" not in answer:
            # OpenSSL comes back after a ticket, too.
            with contextlib.suppress(SSL.WantReadError):
                answer += conn.recv(4096)
            assert time.monotonic() < started + 10.0, answer
        shaken.session = conn.get_session()
        conn.shutdown()
    return shaken


def on_the_wire(world: World, gate: Gate, name: str, *, server_name: str = "", **options) -> str | None:
    """Shake hands, insist that it was quick and that a staple is verified, alive and about the certificate that was
    sent; return its status, None when there was none."""
    shaken = handshake(gate.https_ports[0], server_name or name, **options)
    assert shaken.seconds < QUICK, f"{name}: the handshake took {shaken.seconds:.1f} s"
    if shaken.staple is None:
        return None
    sent = next(n for n, leaf in world.leaves.items() if leaf.certificate == shaken.leaf)
    # Raises when it is expired, forged, or about another certificate.
    return verify(shaken.staple, world.subject(sent), time.time()).status


# -- the gate's own account


def rows(gate: Gate) -> dict[str, dict]:
    """`headgate ocsp --json` by file name without folder and suffix."""
    done = gate.run("ocsp", "--json")
    assert done.returncode in (0, 4), done.stderr
    return {Path(row["name"]).stem: row for row in json.loads(done.stdout)["certificates"]}


def events_of(gate: Gate, kind: str, name: str) -> list[dict]:
    """Events of one kind about one certificate, oldest first."""
    return [event for event in gate.events(kind) if Path(str(event.get("certificate"))).stem == name]


def event_of(gate: Gate, kind: str, name: str, seconds: float = 15.0) -> dict:
    """The newest event of one kind about one certificate; waits for it."""
    return wait_for(f"{kind} of {name}", lambda: events_of(gate, kind, name), seconds)[-1]


def wait_for_rows(gate: Gate, *names: str, seconds: float = 30.0) -> dict[str, dict]:
    """Wait until each of the certificates (none: all) was tried at least once; return all rows."""

    def tried() -> dict[str, dict] | None:
        found = rows(gate)
        tries = (found[name]["successes"] + found[name]["failures"] for name in names or found)
        return found if found and all(tries) else None

    return wait_for("every certificate to be tried", tried, seconds)


def state_metric(gate: Gate, world: World, name: str, state: str) -> bool:
    """Whether the metrics show the certificate in that state."""
    return (
        gate.metrics().get(f'headgate_staple_state{{certificate="{world.path(name)}",state="{state}"}}')
        == 1.0
    )


def metric(gate: Gate, name: str) -> float:
    """One metric without the prefix of all; 0 when it is absent."""
    return gate.metrics().get(f"headgate_{name}", 0.0)
