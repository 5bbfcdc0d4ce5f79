"""Two connections of ours in memory for micro-benchmarks: shaken and driven by hand, on a clock of their own."""

import random as randomness
import time
from typing import Final

from headgate.engine.quic.connection import QuicConnection, accept, connect
from headgate.engine.quic.packet import parse_long_header
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.credential import Credential, load
from headgate.engine.tls13.groups import X25519
from headgate.engine.tls13.settings import ClientSettings, ServerSettings
from headgate.testing.pki import Authority
from headgate.tls.context import staple_for
from headgate.tls.identity import from_pem

CLIENT: Final = ("192.0.2.1", 50_000)
SERVER: Final = ("192.0.2.2", 443)
DELAY: Final = 0.0005  # one way
RANDOM: Final = randomness.Random(1)


def believe(chain: tuple[bytes, ...], name: bytes, staple: bytes) -> None:
    """Verify nothing: it is the engine that is measured."""


def new_credential() -> Credential:
    """Return a credential with an ECDSA P-256 key and a chain of two."""
    leaf = Authority.root().intermediate().leaf("a.test")
    return load(from_pem("a.pem", leaf.chain_pem, leaf.key_pem), staple_for)


class Pair:
    """A client and a server; `spent` are nanoseconds of CPU within the client's calls (True) and the server's."""

    def __init__(self, credential: Credential, settings: ConnectionSettings | None = None) -> None:
        self.settings = settings or ConnectionSettings()
        self.random = RANDOM.randbytes
        self.wall = time.time()
        self.now = 0.0
        self.spent = {True: 0, False: 0}
        self.shaken = 0  # of those of the server: its handshake
        self.tls = ServerSettings(select=lambda name: [credential])
        tls = ClientSettings(server_name=b"a.test", verify=believe, groups=(X25519,), shares=(X25519,))
        self.client = connect(tls, self.settings, self.random, self.now, self.wall, peer=SERVER)
        self.server: QuicConnection | None = None

    def accept(self, first: bytes) -> QuicConnection:
        """Make the server for a client's first datagram."""
        header = parse_long_header(first, 0, len(first))
        self.server = accept(
            self.tls,
            self.settings,
            self.random,
            self.now,
            self.wall,
            destination=header.destination,
            source=self.random(8),
            peer=CLIENT,
            local=b"",
        )
        return self.server

    def carry(self, *, to_server: bool) -> int:
        """Let everything that one side has to say arrive at the other; return how many octets it was."""
        side = self.client if to_server else self.server
        count = 0
        while side is not None:
            begun = time.thread_time_ns()
            batch = side.take_batch(self.now)
            self.spent[to_server] += time.thread_time_ns() - begun
            if batch is None:
                break
            count += len(batch.data)
            begun = time.thread_time_ns()
            other = (self.server or self.accept(batch.data)) if to_server else self.client
            peer = CLIENT if to_server else SERVER
            other.receive_batch(batch.data, batch.segment, peer, b"", 0, self.now + DELAY)
            self.spent[not to_server] += time.thread_time_ns() - begun
        self.now += DELAY
        return count

    def shake(self) -> "Pair":
        """Go on until both sides know that the handshake is over."""
        for _ in range(20):
            self.carry(to_server=True)
            self.carry(to_server=False)
            if self.server is not None and self.server.is_confirmed and self.client.is_confirmed:
                break
        for _ in range(3):  # the last acknowledgements
            self.now += 0.03
            self.carry(to_server=True)
            self.carry(to_server=False)
        self.shaken = self.spent[False]
        self.spent = {True: 0, False: 0}
        return self
