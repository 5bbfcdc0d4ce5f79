"""Two connections of ours and the link between them, all in memory, with a clock that only the link moves."""

import heapq
import random as randomness

from tests.unit.engine.tls13.peers import NAME, credential, seeded, trusting

from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import accept, connect
from headgate.engine.quic.core import RandomIds
from headgate.engine.quic.levels import INITIAL
from headgate.engine.quic.packet import (
    TAG,
    VERSION_1,
    encode_long_header,
    long_header_size,
    parse_long_header,
)
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.groups import X25519
from headgate.engine.tls13.settings import ClientSettings, ServerSettings

WALL = 1_790_000_000.0
DELAY = 0.02
SETTINGS = ConnectionSettings()
CLIENT, SERVER = ("192.0.2.1", 50_000), ("192.0.2.2", 443)


def receive(side, datagram, now, *, ecn=0):
    """Give a connection one datagram of its peer."""
    side.receive_batch(datagram, len(datagram), SERVER if side.is_client else CLIENT, b"", ecn, now)


def flushed(side, now):
    """Return the datagrams that a connection sends now."""
    datagrams = []
    while (batch := side.take_batch(now)) is not None:
        assert batch.peer == (SERVER if side.is_client else CLIENT)
        datagrams += batch.datagrams()
    return datagrams


def new_client(
    *,
    seed=1,
    now=0.0,
    settings=SETTINGS,
    peer=SERVER,
    wall=WALL,
    session=None,
    early=False,
    version=VERSION_1,
    **changes,
):
    tls = ClientSettings(**{"server_name": NAME, "verify": trusting, **changes})
    options = {"session": session, "early": early, "version": version}
    return connect(tls, settings, seeded(seed), now, wall, peer=peer, **options)


def new_server(
    first,
    *,
    seed=2,
    now=0.0,
    settings=SETTINGS,
    retry_original=None,
    reset_token=b"",
    make_token=None,
    is_validated=False,
    wall=WALL,
    **changes,
):
    """A server for the datagram that begins it."""
    header = parse_long_header(first, 0, len(first))
    tls = ServerSettings(**{"select": lambda name: [credential()], **changes})
    random = seeded(seed)
    return accept(
        tls,
        settings,
        random,
        now,
        wall,
        destination=header.destination,
        source=random(8),
        peer=CLIENT,
        local=b"",
        retry_original=retry_original,
        reset_token=reset_token,
        make_id=RandomIds(random).make,
        make_token=make_token,
        is_validated=is_validated,
        version=header.version,
    )


def brief_client(**changes):
    """A client whose ClientHello fits into one datagram: ML-KEM does not."""
    return new_client(groups=(X25519,), shares=(X25519,), **changes)


def initial_keys(first):
    """The keys that a client seals Initial packets with, for a test that plays one."""
    keys = KeySet(INITIAL, VERSION_1)
    header = parse_long_header(first, 0, len(first))
    keys.install_initial(header.destination, is_client=True, is_write=True)
    return keys


def initial(keys, first, content, *, number=10, size=1200, reserved=0):
    """An Initial of the same client with other frames, padded to a datagram of `size`."""
    header = parse_long_header(first, 0, len(first))
    overhead = long_header_size(header.destination, header.source, b"", INITIAL, 1) + TAG
    content = content.ljust(size - overhead, b"\0")
    names = header.destination, header.source, b""
    sealed = encode_long_header(INITIAL, VERSION_1, *names, number, 1, len(content))
    keys.seal(bytes((sealed[0] | reserved,)) + sealed[1:], 1, number, content)
    return keys.take_sealed()


def switch(ids):
    """Go on to another ID of the peer's and retire the one before, as for another path; False: there is none."""
    following, old = ids.take(), ids.sequence
    if following < 0:
        return False
    ids.use(following)
    ids.give_back(old)
    return True


class Link:
    """Carries datagrams to and fro: the loss, the weather and the addresses of a network.

    `road` is the largest datagram that passes, `marks` says what becomes of ECN bits, `delay` is one way, `is_up`
    whether anything passes. The client's sockets, named by `local`, stand behind a NAT: `addresses` says which
    address each has outside; `rebind` gives it another. What a server sends to an address that is none any more is
    gone. `servers` are the addresses that reach the server.
    """

    def __init__(
        self,
        client,
        *,
        make_server=new_server,
        loss=0.0,
        reorder=0.0,
        duplicate=0.0,
        corruption=0.0,
        delay=DELAY,
        road=65_527,
        marks=None,
        seed=7,
    ):
        self.client = client
        self.server = None
        self.now = 0.0
        self.sent = {True: [], False: []}
        self.marked = {True: 0, False: 0}
        self.work = {}
        self.delay = delay
        self.road = road
        self.is_up = True
        self.marks = marks or (lambda to_server, ecn: ecn)
        self.addresses = {b"": CLIENT}
        self.servers = {SERVER: b""}
        self._make_server = make_server
        self._odds = loss, reorder, duplicate, corruption
        self._random = randomness.Random(seed)
        self._queue = []
        self._count = 0

    def rebind(self, *, address=None, local=b""):
        """Let the NAT forget a socket: it comes from another port, or from `address`."""
        host, port = self.addresses[local]
        self.addresses[local] = address or (host, port + 1)

    def post(self, *, to_server, datagram, ecn=0, source=CLIENT, target=SERVER):
        """Let a datagram arrive once, never, late, twice or changed."""
        self.sent[to_server].append(datagram)
        self.marked[to_server] += ecn != 0
        if not self.is_up or len(datagram) > self.road:
            return
        ecn = self.marks(to_server, ecn)
        loss, reorder, duplicate, corruption = self._odds
        for _ in range(1 + (self._random.random() < duplicate)):
            if self._random.random() >= loss:
                if self._random.random() < corruption:
                    at = self._random.randrange(len(datagram))
                    datagram = datagram[:at] + bytes((datagram[at] ^ 0x10,)) + datagram[at + 1 :]
                late = self.delay * 1.5 if self._random.random() < reorder else 0.0
                self._count += 1
                arrives = self.now + self.delay + late
                heapq.heappush(self._queue, (arrives, self._count, to_server, datagram, ecn, source, target))

    def flush(self):
        """Send what everybody has to say now."""
        for side in (self.client, self.server):
            if side is not None:
                if side in self.work and side.is_complete:
                    self.work[side](side)
                while (batch := side.take_batch(self.now)) is not None:
                    for datagram in batch.datagrams():
                        self._carry(side is self.client, datagram, batch)

    def _carry(self, to_server, datagram, batch):
        if to_server:
            source, target = self.addresses[batch.local], batch.peer
        else:
            served = {local: address for address, local in self.servers.items()}
            source, target = served[batch.local], batch.peer
            if target not in self.addresses.values():
                return  # the NAT knows nobody there
        self.post(to_server=to_server, datagram=datagram, ecn=batch.ecn, source=source, target=target)

    def step(self, until=float("inf")):
        """Go on to whatever happens next; False where nothing does before `until`."""
        self.flush()
        sides = [side for side in (self.client, self.server) if side is not None]
        due = min(side.deadline() for side in sides)
        arrives = self._queue[0][0] if self._queue else float("inf")
        next_at = min(due, arrives)
        if next_at == float("inf") or next_at > until:
            return False
        self.now = max(self.now, next_at)
        if arrives <= self.now:
            _, _, to_server, datagram, ecn, source, target = heapq.heappop(self._queue)
            self.deliver(to_server=to_server, datagram=datagram, ecn=ecn, source=source, target=target)
        else:
            for side in sides:
                if side.deadline() <= self.now:
                    side.on_deadline(self.now)
        return True

    def deliver(self, *, to_server, datagram, ecn=0, source=CLIENT, target=SERVER):
        if to_server:
            if target not in self.servers:
                return
            if self.server is None:
                self.server = self._make_server(datagram, now=self.now)
            local = self.servers[target]
            self.server.receive_batch(datagram, len(datagram), source, local, ecn, self.now)
            return
        local = next((local for local, address in self.addresses.items() if address == target), b"")
        self.client.receive_batch(datagram, len(datagram), source, local, ecn, self.now)

    def run(self, done, *, limit=60.0, steps=200_000):
        """Go on until `done()`, or fail where it never comes."""
        for _ in range(steps):
            if done():
                return
            assert self.step(self.now + limit), f"nothing happens any more: {self.client!r} {self.server!r}"
        raise AssertionError(f"not done after {steps} steps")

    def shake(self):
        """Let the handshake be confirmed on both sides."""
        self.run(lambda: self.server is not None and self.server.is_confirmed and self.client.is_confirmed)
        return self

    def rest(self, seconds):
        """Let so much time pass."""
        until = self.now + seconds
        while self.step(until):
            pass
        self.now = until

    def is_open(self):
        return self.client.state is self.server.state is State.OPEN


class Talk:
    """Writes `data` to a stream and reads what comes of others; called by the link whenever its side may act."""

    def __init__(self, data=b"", *, opens=True, answers=False):
        self.data = data
        self.opens = opens
        self.answers = answers
        self.streams = {}
        self.read = {}
        self.finished = set()

    def __call__(self, side):
        streams = side.streams
        if self.opens and not self.streams:
            self.streams[streams.open(is_uni=False)] = 0
        for stream, piece, fin in streams.take_arrived():
            self.read.setdefault(stream, bytearray()).extend(piece)
            streams.consumed(stream, len(piece))
            if fin:
                self.finished.add(stream)
            if self.answers and stream not in self.streams:
                self.streams[stream] = 0
        streams.take_writable()
        for stream, at in self.streams.items():
            if at < len(self.data):
                self.streams[stream] = at + streams.write(stream, self.data[at:], fin=True)
