"""Both ends of a TLS connection in one thread: our server's transport, and a plain pyOpenSSL client."""

import select
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives import hashes
from OpenSSL import SSL
from OpenSSL.crypto import X509

from headgate.clock import Clock
from headgate.counters import Counters
from headgate.errors import TransportError
from headgate.net.transport import DONE, WANT_WRITE
from headgate.testing.clock import FakeClock
from headgate.testing.pki import Authority, Leaf
from headgate.tls.client import ClientTls
from headgate.tls.context import ServerTls
from headgate.tls.identity import Identity, StapleRules, from_pem
from headgate.tls.openssl import is_resumed
from headgate.tls.policy import TlsPolicy
from headgate.tls.tickets import TicketRing
from headgate.tls.transport import TlsTransport

DEADLINE = 10.0
_open: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _close_sockets() -> Iterator[None]:
    """Close whatever a test left open, so that none has to."""
    yield
    while _open:
        _open.pop().close()


def identity_of(leaf: Leaf, name: str = "", rules: StapleRules | None = None, root: bool = True) -> Identity:
    chain = leaf.chain_pem
    above = leaf.issuer
    while root and above is not None and above.issuer is not None:
        above = above.issuer
    if root and above is not None:
        chain += above.pem
    return from_pem(name or "leaf.pem", chain, leaf.key_pem, rules=rules or StapleRules())


def socket_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for sock in (server, client):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _open.append(sock)
    return server, client


class Client:
    """A client whose context keeps the session of its last connection."""

    def __init__(self, **options) -> None:
        self.context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        if "max_version" in options:
            self.context.set_max_proto_version(options["max_version"])
        if "ciphers" in options:
            self.context.set_cipher_list(options["ciphers"])
        if options.get("alpn"):
            self.context.set_alpn_protos(options["alpn"])
        if options.get("certificate") is not None:
            leaf = options["certificate"]
            self.context.use_certificate(leaf.certificate)
            self.context.use_privatekey(leaf.key)
            for above in options.get("along", ()):
                self.context.add_extra_chain_cert(above.certificate)
        if options.get("trust") is not None:
            self.context.get_cert_store().add_cert(X509.from_cryptography(options["trust"].certificate))
            self.context.set_verify(SSL.VERIFY_PEER)
        self.staples: list[bytes] = []
        self.context.set_ocsp_client_callback(self._on_staple)
        self.session: SSL.Session | None = None
        self.asks = options.get("asks", True)

    def _on_staple(self, conn, staple, data) -> bool:
        self.staples.append(staple)
        return True

    def open(self, sock: socket.socket | None, name: bytes) -> SSL.Connection:
        conn = SSL.Connection(self.context, sock)
        conn.set_connect_state()
        if name:
            conn.set_tlsext_host_name(name)
        if self.asks:
            conn.request_ocsp()
        if self.session is not None:
            conn.set_session(self.session)
        return conn


@dataclass
class Outcome:
    server: TlsTransport
    client: SSL.Connection
    server_error: TransportError | None = None
    client_error: Exception | None = None
    server_done: bool = False
    client_done: bool = False
    polls: int = 0

    @property
    def done(self) -> bool:
        return self.server_done and self.client_done

    @property
    def resumed(self) -> bool:
        return is_resumed(self.client)

    def leaf(self) -> str:
        certificate = self.client.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return certificate.fingerprint(hashes.SHA256()).hex()

    def alert(self) -> str:
        assert isinstance(self.client_error, SSL.Error), self.client_error
        return self.client_error.args[0][0][2] if self.client_error.args else repr(self.client_error)

    def close(self) -> None:
        self.server.close()
        self.client._socket.close()


def _step(conn: SSL.Connection) -> bool:
    try:
        conn.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def run_handshake(server: TlsTransport, client: SSL.Connection) -> Outcome:
    """Drive both ends until both are done or one fails, woken by readiness only."""
    outcome = Outcome(server, client)
    until = time.monotonic() + DEADLINE
    poller = select.epoll()
    poller.register(server.fileno(), select.EPOLLIN)
    poller.register(client.fileno(), select.EPOLLIN)
    awake = {client.fileno()}
    try:
        while time.monotonic() < until:
            if client.fileno() in awake and not outcome.client_done and outcome.client_error is None:
                try:
                    outcome.client_done = _step(client)
                except SSL.Error as error:
                    outcome.client_error = error
            if server.fileno() in awake and not outcome.server_done and outcome.server_error is None:
                outcome.polls += 1
                try:
                    state = server.handshake()
                    assert state != WANT_WRITE
                    outcome.server_done = state == DONE
                except TransportError as error:
                    outcome.server_error = error
                    server.shutdown()
                    poller.unregister(server.fileno())
                    server.close()
            server_over = outcome.server_done or outcome.server_error is not None
            client_over = outcome.client_done or outcome.client_error is not None
            if server_over and client_over:
                break
            awake = {fd for fd, _ in poller.poll(1)}
    finally:
        poller.close()
    return outcome


def connect(
    gate: "Gate", tls: ClientTls, host: str, port: int = 0, alpn: tuple[bytes, ...] = ()
) -> tuple[TlsTransport, TlsTransport]:
    """Shake hands, our client with our server; return both ends. Raises what the client raises."""
    server_sock, client_sock = socket_pair()
    server, client = gate.tls.accept(server_sock), tls.connect(client_sock, host, port, alpn)
    until = time.monotonic() + DEADLINE
    done = {client: False, server: False}
    while not all(done.values()):
        assert time.monotonic() < until, "the handshake does not end"
        for end in (client, server):
            if not done[end]:
                try:
                    done[end] = end.handshake() == DONE
                except TransportError:
                    if end is client:
                        raise
                    done[end] = True
        select.select([server_sock, client_sock], [], [], 0.01)
    return client, server


def receive_first(client: TlsTransport) -> bytes | None:
    """Return what a client reads first; the tickets of TLS 1.3 come before it."""
    until = time.monotonic() + DEADLINE
    got = None
    while got is None and time.monotonic() < until:
        select.select([client.fileno()], [], [], 5)
        got = client.read(100)
    return got


@dataclass
class Gate:
    """A listener's TLS with what hangs on it."""

    identities: list[Identity]
    policy: TlsPolicy = field(default_factory=lambda: TlsPolicy("127.0.0.1:443"))
    clock: Clock = field(default_factory=FakeClock)
    ring: TicketRing | None = None
    reports: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ring = self.ring or TicketRing(self.policy, self.clock, size=3)
        self.counters = Counters()
        self.tls = ServerTls(
            self.ring,
            self.identities,
            self.counters.values,
            self.clock,
            lambda name, reason: self.reports.append((name, reason)),
        )

    def connect(self, client: Client, name: bytes = b"a.test") -> Outcome:
        """Make one connection; the client reads what follows the handshake (tickets) and keeps its session."""
        server_sock, client_sock = socket_pair()
        outcome = run_handshake(self.tls.accept(server_sock), client.open(client_sock, name))
        if outcome.done:
            outcome.server.write(b"!")
            assert receive(outcome.client, 1) == b"!"
            try:
                # A session whose connection breaks off is not resumed by OpenSSL's client.
                outcome.client.shutdown()
            except SSL.Error:
                pass
            client.session = outcome.client.get_session()
        elif outcome.client_done:
            try:
                receive(outcome.client, 1)
            except SSL.Error as error:
                outcome.client_error = error
        return outcome

    def count(self, counter: int) -> int:
        return self.counters.values[counter]


def receive(conn: SSL.Connection, size: int) -> bytes:
    """Read until `size` bytes came, waiting for readiness."""
    got = b""
    until = time.monotonic() + DEADLINE
    while len(got) < size and time.monotonic() < until:
        try:
            got += conn.recv(65536)
        except SSL.WantReadError:
            select.select([conn.fileno()], [], [], 1)
    return got


@pytest.fixture(scope="session")
def root() -> Authority:
    return Authority.root()


@pytest.fixture(scope="session")
def ecdsa(root: Authority) -> Leaf:
    return root.leaf("a.test", "*.wild.test")


@pytest.fixture(scope="session")
def rsa(root: Authority) -> Leaf:
    return root.intermediate("Headgate RSA Intermediate").leaf("a.test", key="rsa")


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """What is above, by name: tests are imported by path and cannot import this file."""
    return SimpleNamespace(
        Gate=Gate,
        Client=Client,
        identity_of=identity_of,
        socket_pair=socket_pair,
        run_handshake=run_handshake,
        receive=receive,
        connect=connect,
        receive_first=receive_first,
    )
