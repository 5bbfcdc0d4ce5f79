"""Session tickets that resume on every worker, and whose keys rotate (RFC 5077, RFC 8446 section 4.6.1).

pyOpenSSL has no call that sets ticket keys, but every context makes its own when it is created, and a handshake uses
those of the context that it *began* on, whatever context the SNI callback switches to (OpenSSL's `session_ctx`).
So a listener's connections begin on a base context without a certificate. The supervisor makes a ring of them before
it forks; a fork copies their keys, and so all workers share them. Time picks the one that new tickets are made on.

A ticket opens only on the base context that made it. The ClientHello names the key in the clear, so the transport
peeks at it, and `base_for` answers with the context of that name, if that is the current or the previous one: a
ticket lives for one to two periods. Names are learnt, not configured: a handshake with ourselves in memory (about
1 ms, once for each rotation), and a look at the ticket that its client would offer.

Older contexts are dropped, and their keys wiped with them: who reads our memory today cannot open what was
recorded last week. The clock is the monotonic one: all holders of a ring are processes of one machine, and a wall
clock that jumps would throw keys away. Behind the last context of the ring each worker goes on with contexts of its
own: tickets then resume only where they were made, and keys still rotate. `exhausted_at` says when.
"""

import datetime
from collections.abc import Callable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509

from headgate.clock import Clock
from headgate.errors import HeadgateError
from headgate.tls.client_hello import decode_client_hello
from headgate.tls.policy import TlsPolicy, server_context, verify_mode

# 12 h: HAProxy's and nginx's guides rotate daily and keep the previous; a browser seldom comes back later.
PERIOD: Final = 12 * 3600.0
# A month of contexts of 15 to 22 KiB each, shared by all processes as long as nobody uses them.
RING_SIZE: Final = 60
_ROUNDS: Final = 10

ServerNameCallback = Callable[[SSL.Connection], None]
VerifyCallback = Callable[[SSL.Connection, X509, int, int, int], bool]


class TicketRing:
    """The base contexts of one policy. Made before the fork; each worker sets the callbacks in its own copy."""

    def __init__(
        self, policy: TlsPolicy, clock: Clock, *, period: float = PERIOD, size: int = RING_SIZE
    ) -> None:
        """Make the contexts, and try one. Raises `HeadgateError` when tickets cannot be recognised.

        `problem` says later why a rotation lost its tickets, "" as long as none did.
        """
        self.policy = policy
        self.on_server_name: ServerNameCallback | None = None
        self.on_verify: VerifyCallback | None = None
        self.problem = ""
        self._clock = clock
        self._period = period
        self._begun = clock.now()
        self._bases: dict[int, SSL.Context] = {}
        self._names: dict[bytes, int] = {}
        self._learnt: set[int] = set()
        self._probe: SSL.Context | None = None
        self._current = 0
        self._next_at = self._begun + period
        self._size = size
        for slot in range(size):
            self._bases[slot] = self._make()
        self._learn(0)

    def __repr__(self) -> str:
        return f"<TicketRing {self.policy.name} slot {self._current} of {self._size}>"

    @property
    def exhausted_at(self) -> float:
        """Return when (monotonic seconds) the keys end that the workers share."""
        return self._begun + self._period * self._size

    def base_for(self, ticket_key: bytes) -> SSL.Context:
        """Return the context to begin a handshake on: the one that made the client's ticket, else the current one."""
        self.tend()
        if ticket_key:
            return self._bases[self._names.get(ticket_key, self._current)]
        return self._bases[self._current]

    def tend(self) -> None:
        """Rotate when it is time; for a holder that makes no handshakes (the supervisor), to let go of old keys."""
        if self._clock.now() >= self._next_at:
            self._rotate()

    def _rotate(self) -> None:
        """Take up the slot of the day, keep the one before it, drop what is older."""
        slot = int((self._clock.now() - self._begun) / self._period)
        self._current = slot
        self._next_at = self._begun + (slot + 1) * self._period
        for old in [number for number in self._bases if number < slot - 1]:
            del self._bases[old]
        self._names = {name: number for name, number in self._names.items() if number >= slot - 1}
        for number in (slot - 1, slot):
            if number not in self._bases:
                self._bases[number] = self._make()
            try:
                self._learn(number)
            except HeadgateError as error:
                self.problem = str(
                    error
                )  # no handshake fails for it: tickets of this slot are just not resumed

    def _make(self) -> SSL.Context:
        context = server_context(self.policy)
        context.set_timeout(int(2 * self._period))
        context.set_tlsext_servername_callback(self._server_name)
        if self.policy.asks_client:
            context.set_verify(verify_mode(self.policy), self._verify)
        return context

    def _verify(self, conn: SSL.Connection, certificate: X509, error: int, depth: int, verified: int) -> bool:
        if self.on_verify is None:
            return verified == 1
        return self.on_verify(conn, certificate, error, depth, verified)

    def _server_name(self, conn: SSL.Connection) -> None:
        if self._probe is not None:
            conn.set_context(self._probe)
        elif self.on_server_name is not None:
            self.on_server_name(conn)

    # -- learning a key's name

    def _learn(self, slot: int) -> None:
        """Find out by which name the tickets of a slot go."""
        if slot in self._learnt:
            return
        self._learnt.add(slot)
        self._probe = _probe_context(self.policy)
        try:
            name = _ticket_key_name(self._bases[slot])
        except SSL.Error as error:
            raise HeadgateError(f"tickets cannot be tried: {error}") from error
        finally:
            self._probe = None
        if not name:
            raise HeadgateError(
                "tickets cannot be told apart by name: this OpenSSL makes them in another form"
            )
        self._names[name] = slot


def _probe_context(policy: TlsPolicy) -> SSL.Context:
    """Return a context with a certificate for nobody, for a handshake with ourselves."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "headgate ticket probe")])
    start = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    context = server_context(policy)
    context.use_certificate(certificate)
    context.use_privatekey(key)
    return context


def _ticket_key_name(base: SSL.Context) -> bytes:
    """Let a client of our own get a ticket and offer it; return the name of the key in its ClientHello."""
    server = SSL.Connection(base, None)
    server.set_accept_state()
    server.set_verify(SSL.VERIFY_NONE)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    client = SSL.Connection(context, None)
    client.set_connect_state()
    for _ in range(_ROUNDS):
        done = _step(client)
        _carry(client, server)
        done = _step(server) and done
        _carry(server, client)
        if done:
            break
    try:
        client.recv(1)  # takes up the tickets of TLS 1.3, which come behind the handshake
    except SSL.WantReadError:
        pass
    client.shutdown()  # a session whose connection just breaks off is not offered again
    session = client.get_session()
    again = SSL.Connection(context, None)
    again.set_connect_state()
    if session is not None:
        again.set_session(session)
    _step(again)
    hello = decode_client_hello(again.bio_read(65536))
    return hello.ticket_key if hello is not None else b""


def _step(conn: SSL.Connection) -> bool:
    try:
        conn.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def _carry(source: SSL.Connection, target: SSL.Connection) -> None:
    try:
        target.bio_write(source.bio_read(65536))
    except SSL.WantReadError:
        pass
