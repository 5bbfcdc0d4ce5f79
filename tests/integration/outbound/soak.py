"""Requests under random, seeded faults: origins that fail in every way they know, endpoints that leave and come
back, clients that leave. What each of a request's two ends does is drawn from the seed and the request's identifier,
so that a round can be repeated, whatever order things happen in.

Both ends check what no log can show: that an answer belongs to the request it is given for and is whole when it ends
properly, and that no request arrives twice but where that is safe.
"""

import asyncio
import ssl
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from random import Random

SAFE_USES = 2
"""A POST that came twice came the first time as the second or a later one on its connection."""
PAUSE = 0.03

ORIGIN = {
    "length": 56.0,
    "chunked": 12.0,
    "length and close": 4.0,
    "length, then closes idle": 8.0,
    "interim": 2.0,
    "early": 3.0,
    "500": 3.0,
    "503": 3.0,
    "reset": 2.0,
    "close": 2.0,
    "half a head": 1.0,
    "half of a length": 1.0,
    "half of a length, reset": 1.0,
    "half of the chunks": 1.0,
    "silent": 0.5,
    "stalls": 0.5,
}
CLIENT = {
    "patient": 90.0,
    "slow": 1.0,
    "closes": 3.0,
    "leaves at once": 2.0,
    "leaves in its content": 1.5,
    "leaves in the answer": 2.0,
    "resets": 0.5,
}


def draw(rng: Random, weights: dict[str, float]) -> str:
    """One of the names, by weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def size_of(rng: Random) -> int:
    """How long content is: small mostly, sometimes longer than any buffer."""
    kind = rng.random()
    if kind < 0.9:
        return rng.randrange(2000)
    return rng.randrange(100_000) if kind < 0.99 else rng.randrange(1_000_000)


def content_of(identifier: str, size: int) -> bytes:
    """Content that says whose it is, all along."""
    piece = identifier.encode() + b" "
    return (piece * (size // len(piece) + 1))[:size]


@dataclass
class Arrival:
    """One request at an origin: the how-manieth of its connection, and whether anything was answered."""

    use: int
    is_idempotent: bool = False
    answered: bool = False


@dataclass
class Told:
    """What both ends have seen. `wrong` must stay empty."""

    seed: int
    arrivals: defaultdict[str, list[Arrival]] = field(default_factory=lambda: defaultdict(list))
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    ours: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


class FaultyOrigin(asyncio.Protocol):
    """One connection of an origin; does with each request what its identifier says."""

    def __init__(self, told: Told, wires: set["FaultyOrigin"]) -> None:
        self.told = told
        self.wires = wires
        self.buffer = b""
        self.uses = 0
        self.left = 0  # content that is still to come; -1: until the last chunk
        self.answer = None
        self.arrival = Arrival(0)
        self.is_over = False

    def connection_made(self, transport):
        self.transport = transport
        self.wires.add(self)

    def connection_lost(self, error):
        self.wires.discard(self)

    def data_received(self, data):
        self.buffer += data
        while not self.is_over and self._go_on():
            pass

    def _go_on(self) -> bool:
        if self.left == 0 and self.answer is None:
            head, found, rest = self.buffer.partition(b"\r\n\r\n")
            if not found:
                return False
            self.buffer = rest
            self._begin(head.decode("latin-1").lower())
            return True
        if self.left > 0:
            taken = min(self.left, len(self.buffer))
            self.left -= taken
            self.buffer = self.buffer[taken:]
        elif self.left < 0:
            _, found, rest = self.buffer.partition(b"0\r\n\r\n")
            if found:
                self.left = 0
                self.buffer = rest
            else:
                self.buffer = self.buffer[-4:]
        if self.left == 0 and self.answer is not None:
            answer, self.answer = self.answer, None
            answer()
            return True
        return False

    def _begin(self, head: str) -> None:
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
        identifier = fields["x-request-id"]
        self.uses += 1
        self.arrival = Arrival(self.uses, head.startswith("get "))
        arrivals = self.told.arrivals[identifier]
        arrivals.append(self.arrival)
        self.left = -1 if "transfer-encoding" in fields else int(fields.get("content-length", 0))
        rng = Random(f"{self.told.seed} {identifier} {len(arrivals)}")
        kind = draw(rng, ORIGIN)
        if kind == "early" and self.left:
            self._say(identifier, "length", rng)
            self.answer = lambda: None
        else:
            self.answer = lambda: self._say(identifier, kind, rng)

    def _write(self, data: bytes) -> None:
        self.arrival.answered = True
        self.transport.write(data)

    def _say(self, identifier: str, kind: str, rng: Random) -> None:
        loop = asyncio.get_running_loop()
        body = content_of(identifier, size_of(rng))
        status = kind if kind in ("500", "503") else "200"
        close = "Connection: close\r\n" if kind == "length and close" else ""
        framing = "Transfer-Encoding: chunked" if "chunk" in kind else f"Content-Length: {len(body)}"
        head = f"HTTP/1.1 {status} X\r\nX-Origin: {len(body)}\r\n{close}{framing}\r\n\r\n".encode()
        if "chunk" in kind:
            middle = len(body) // 2
            pieces = [piece for piece in (body[:middle], body[middle:]) if piece]
            body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        half = max(1, len(body) // 2)
        if kind in ("reset", "close", "silent"):
            pass
        elif kind == "half a head":
            self._write(head[:20])
        elif kind.startswith("half") or kind == "stalls":
            self._write(head + body[:half])
        else:
            interim = b"HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n" if kind == "interim" else b""
            self._write(interim + head + body)
        if kind in ("silent", "stalls"):
            self.is_over = True
        elif kind.endswith("reset"):
            self._end(self.transport.abort)
        elif kind.startswith("half") or kind in ("close", "length and close"):
            self._end(self.transport.close)
        elif kind == "length, then closes idle":
            loop.call_later(rng.random() * PAUSE, self._end, self.transport.close)

    def _end(self, how) -> None:
        self.is_over = True
        how()


class Endpoint:
    """A port where a faulty origin listens, or does not."""

    def __init__(self, told: Told, port: int, context: ssl.SSLContext | None) -> None:
        self.told = told
        self.port = port
        self.context = context
        self.wires: set[FaultyOrigin] = set()
        self.server: asyncio.Server | None = None

    async def come(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            lambda: FaultyOrigin(self.told, self.wires), "127.0.0.1", self.port, ssl=self.context, backlog=512
        )

    def leave(self) -> None:
        """Refuse from now on, and cut what stands."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for wire in list(self.wires):
            wire.transport.abort()


async def come_and_go(endpoints: list[Endpoint], rng: Random) -> None:
    """One endpoint after the other goes away for a while."""
    while True:
        await asyncio.sleep(0.2 + rng.random() * 0.3)
        one = rng.choice(endpoints)
        one.leave()
        await asyncio.sleep(0.1 + rng.random() * 0.2)
        await one.come()


class Client:
    """One client after the other on connections of the gate, until there are no requests left."""

    def __init__(self, told: Told, port: int, identifiers, hosts: list[str]) -> None:
        self.told = told
        self.port = port
        self.identifiers = identifiers
        self.hosts = hosts
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def run(self) -> None:
        """Ask and ask."""
        for identifier in self.identifiers:
            rng = Random(f"{self.told.seed} client {identifier}")
            if self.writer is None or self.writer.is_closing():
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            async with asyncio.timeout(30):
                await self._ask(identifier, rng, draw(rng, CLIENT))
        self._drop()

    def _drop(self, *, reset: bool = False) -> None:
        if self.writer is not None:
            if reset:
                self.writer.transport.abort()
            self.writer.close()
            self.writer = None

    async def _ask(self, identifier: str, rng: Random, kind: str) -> None:
        posts = rng.random() < 0.3
        content = content_of(identifier, size_of(rng)) if posts else b""
        framing = ""
        if posts and rng.random() < 0.3:
            framing = "Transfer-Encoding: chunked\r\n"
            content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
        elif posts:
            framing = f"Content-Length: {len(content)}\r\n"
        head = (
            f"{'POST' if posts else 'GET'} / HTTP/1.1\r\nHost: {rng.choice(self.hosts)}\r\n"
            f"X-Request-Id: {identifier}\r\n{framing}\r\n"
        )
        data = head.encode() + content
        if kind == "leaves in its content":
            self.writer.write(data[: len(data) * 2 // 3])
            await asyncio.sleep(rng.random() * PAUSE)
            self._drop()
            return
        self.writer.write(data)
        if kind in ("leaves at once", "resets"):
            await asyncio.sleep(rng.random() * PAUSE)
            self._drop(reset=kind == "resets")
            return
        try:
            outcome = await self._read(identifier, rng, kind)
        except (asyncio.IncompleteReadError, ConnectionError):
            outcome = "cut"
            self._drop()
        self.told.outcomes[outcome] += 1
        if kind == "closes":
            self._drop()

    async def _read(self, identifier: str, rng: Random, kind: str) -> str:
        while True:
            raw = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            first, *lines = raw.rstrip().split("\r\n")
            status = int(first.split(" ")[1])
            if status >= 200:
                break
        fields = dict(line.split(": ", 1) for line in lines)
        if kind == "leaves in the answer":
            self._drop()
            return "left"
        if kind == "slow":
            await asyncio.sleep(PAUSE)
        body = await self._content(fields)
        if "x-origin" not in fields:
            self.told.ours.add(identifier)
            if status < 500:
                self.told.wrong.append(f"{identifier}: {status} of ours: {body[:80]!r}")
            self.told.outcomes[body.split(b"\n")[1].decode()] += 1
        elif body != content_of(identifier, int(fields["x-origin"])):
            self.told.wrong.append(f"{identifier}: {len(body)} of {fields['x-origin']} bytes, {body[:30]!r}")
        if fields.get("connection") == "close":
            self._drop()
        return str(status)

    async def _content(self, fields: dict[str, str]) -> bytes:
        if "content-length" in fields:
            return await self.reader.readexactly(int(fields["content-length"]))
        body = b""
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            body += await self.reader.readexactly(size)
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return body


def judge(told: Told, attempts: int) -> None:
    """Say what came twice where it must not: only what was not answered may; of a method that is idempotent at
    another endpoint, of any method where a reused connection lost it."""
    for identifier, arrivals in told.arrivals.items():
        is_idempotent = arrivals[0].is_idempotent
        if len(arrivals) > (attempts + 1 if is_idempotent else 2):
            told.wrong.append(f"{identifier} came {len(arrivals)} times")
        for lost in arrivals[:-1]:
            if lost.answered or (lost.use < SAFE_USES and not is_idempotent):
                told.wrong.append(f"{identifier} came again after {lost}")


async def put(
    told: Told, port: int, endpoints: list[Endpoint], hosts: list[str], identifiers, *, clients: int = 40
) -> None:
    """Send a request for each identifier, from so many clients at once."""
    shared = iter(identifiers)
    for endpoint in endpoints:
        await endpoint.come()
    going = asyncio.create_task(come_and_go(endpoints, Random(told.seed)))
    try:
        await asyncio.gather(*(Client(told, port, shared, hosts).run() for _ in range(clients)))
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)
        for endpoint in endpoints:
            endpoint.leave()
        await asyncio.sleep(0)  # transports close in the loop's next round
