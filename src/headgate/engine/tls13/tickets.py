"""Tickets: a session sealed into what the client keeps (RFC 8446 section 4.6.1, RFC 5077 section 4).

    name of the key (8) · nonce (12)
    AES-256-GCM of (format, worker, version of QUIC, suite, time of issue, age_add, early, PSK, client's chain)

The server keeps nothing. The policy's id is authenticated with it, so a ticket that was issued under other rules
(another listener, another demand for client certificates) does not open. A client's chain travels along because it
is verified anew, against the authorities of the day, when the session is resumed. All workers have the same keys: the
first one seals, each of them opens. `worker` says who sealed it, `early` whether and for what early data may be sent
(engine/tls13/early).
"""

import hashlib
from collections.abc import Sequence
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from headgate.engine.tls13.alerts import TlsAlertError
from headgate.engine.tls13.suites import HASHES
from headgate.engine.tls13.wire import Reader, vector
from headgate.errors import LocalProtocolError

MAX_TICKET: Final = 8 * 1024  # ours have 150 octets; those with a client's chain 4 KiB
MAX_LIFETIME: Final = 7 * 86_400  # seconds; RFC 8446 section 4.6.1

KEY_SIZE: Final = 32
POLICY_SIZE: Final = 32
_NAME_SIZE: Final = 8
NONCE_SIZE: Final = 12
_FORMAT: Final = 2


@final
class Ticket:
    """What is in a ticket.

    `issued` is in seconds since the epoch, kept to the millisecond; `chain` is the client's, leaf first. `early` is
    what early data must meet again, b"" where it may not be sent; `age_add` hides the age that the client tells.
    `version` of QUIC: a session belongs to the one that it was made with (RFC 9369 section 5).
    """

    __slots__ = ("age_add", "chain", "early", "issued", "psk", "suite", "version", "worker")

    def __init__(
        self,
        suite: int,
        psk: bytes,
        issued: float,
        worker: int,
        chain: tuple[bytes, ...],
        *,
        age_add: int = 0,
        early: bytes = b"",
        version: int = 1,
    ) -> None:
        self.suite: Final = suite
        self.psk: Final = psk
        self.issued: Final = issued
        self.worker: Final = worker
        self.chain: Final = chain
        self.age_add: Final = age_add
        self.early: Final = early
        self.version: Final = version


@final
class TicketKeys:
    """The keys that seal and open the tickets of one policy in one worker. Replaced as a whole when keys rotate."""

    __slots__ = ("_keys", "_policy", "lifetime", "worker")

    def __init__(self, keys: Sequence[bytes], policy: bytes, worker: int, lifetime: int = 43_200) -> None:
        """Take keys of 32 octets, the one that seals first, and the policy's id of 32; `lifetime` is in seconds."""
        if not keys or any(len(key) != KEY_SIZE for key in keys) or len(policy) != POLICY_SIZE:
            raise LocalProtocolError(
                f"ticket keys are {KEY_SIZE} octets each, and a policy's id {POLICY_SIZE}"
            )
        if not 0 < lifetime <= MAX_LIFETIME:
            raise LocalProtocolError(f"tickets live for 1 to {MAX_LIFETIME} seconds")
        # A dict keeps its order: the first is the newest.
        self._keys: Final = {_name_of(key): AESGCM(key) for key in keys}
        self._policy: Final = policy
        self.worker: Final = worker
        self.lifetime: Final = lifetime

    def __repr__(self) -> str:
        return f"<TicketKeys of worker {self.worker}: {len(self._keys)} keys, {self.lifetime} s>"

    def seal(self, ticket: Ticket, nonce: bytes) -> bytes:
        """Return the sealed ticket, b"" when it would be too large; `nonce` is 12 random octets."""
        plain = (
            bytes((_FORMAT,))
            + ticket.worker.to_bytes(2, "big")
            + ticket.version.to_bytes(4, "big")
            + ticket.suite.to_bytes(2, "big")
            + int(ticket.issued * 1000).to_bytes(8, "big")
            + ticket.age_add.to_bytes(4, "big")
            + vector(1, ticket.early)
            + vector(1, ticket.psk)
            + b"".join(vector(3, certificate) for certificate in ticket.chain)
        )
        name, key = next(iter(self._keys.items()))
        sealed = name + nonce + key.encrypt(nonce, plain, name + self._policy)
        return sealed if len(sealed) <= MAX_TICKET else b""

    def open(self, sealed: bytes, now_wall: float) -> Ticket | None:
        """Return what is in a ticket of ours, None when it is not, or no longer, or not for this policy."""
        name = sealed[:_NAME_SIZE]
        key = self._keys.get(name)
        if key is None or len(sealed) > MAX_TICKET:
            return None
        body = _NAME_SIZE + NONCE_SIZE
        try:
            plain = key.decrypt(sealed[_NAME_SIZE:body], sealed[body:], name + self._policy)
            ticket = _decode(plain)
        except (InvalidTag, ValueError, TlsAlertError):
            return None
        # A wall clock that is slewed may be a little behind the one that it was issued by.
        if ticket is None or not -1 < now_wall - ticket.issued < self.lifetime:
            return None
        return ticket


def _name_of(key: bytes) -> bytes:
    return hashlib.sha256(b"headgate ticket key name\0" + key).digest()[:_NAME_SIZE]


def _decode(plain: bytes) -> Ticket | None:
    """Read what `seal` wrote; None for what another version of Headgate wrote, with the same keys."""
    reader = Reader(plain)
    if reader.number(1) != _FORMAT:
        return None
    worker = reader.number(2)
    version = reader.number(4)
    suite = reader.number(2)
    issued = reader.number(8) / 1000
    age_add = reader.number(4)
    early = reader.vector(1)
    psk = reader.vector(1, 1)
    chain: list[bytes] = []
    while reader.left:
        chain.append(reader.vector(3, 1))
    if suite not in HASHES:
        return None
    return Ticket(suite, psk, issued, worker, tuple(chain), age_add=age_add, early=early, version=version)
