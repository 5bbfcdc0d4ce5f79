"""Fuzz target: the HTTP/1.1 engine, both roles. Whatever bytes come, in whatever pieces, it reads or refuses them.

    python -m fuzz.h1 --seconds 10 --seed 1

Starts from real and from crooked messages and mutates them: octets, cuts, repeats, lines moved within and
between messages. Checked each time: only `RemoteProtocolError` comes out, a refusal leaves the engine FAILED, the
engine ends with its input, holds no more than a head and one read, and costs little; and bytes that come in pieces
mean what they mean in one. The drivers here, `server_trace` and `client_trace`, also serve the property and parity
tests: a trace is a list of lines, one for each event, with consecutive pieces of content as one.
"""

import random
import sys
from collections.abc import Sequence
from typing import Final

from fuzz._common import SLOWEST, Broken, cpu, main, repeat, split
from headgate.engine.events import Closed, Data, EndOfMessage, Event, Request, Response
from headgate.engine.h1.client import ClientEngine
from headgate.engine.h1.connection import H1Connection
from headgate.engine.h1.grammar import MAX_HEAD
from headgate.engine.h1.machine import DONE, FAILED, SWITCHED
from headgate.engine.h1.server import ServerEngine
from headgate.errors import RemoteProtocolError
from headgate.http.fields import Fields

REQUESTS: Final[tuple[bytes, ...]] = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /x?y=1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /z HTTP/1.0\r\n\r\n",
    b"\r\n\r\nPOST /form HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 5\r\n\r\nhello"
    b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n"
    b"5;a=b\r\nhello\r\n1A ; q\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\nX: y\r\n\r\n",
    b"PUT /big HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    b"GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, keep-alive\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost:\r\nAccept:\t*/* \r\n\r\nHEAD http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\nY : c\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
)
RESPONSES: Final[tuple[bytes, ...]] = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nDigest: x\r\n\r\n",
    b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 304 Not Modified\r\n"
    b"Content-Length: 77\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello",
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\nHTTP/1.1 500 Out  of \xe4\tit\r\nConnection: close\r\n\r\nx",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx",
)
PIECES: Final[tuple[bytes, ...]] = (
    b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b"\x0b", b":", b";", b",", b"0\r\n\r\n", b"\r\n\r\n", b"\x80",
    b"=", b'"', b"-1",
    b"Transfer-Encoding: chunked\r\n", b"Content-Length: 0\r\n", b"Content-Length: 7\r\n", b"Connection: close\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Host: b\r\n", b"HTTP/1.1", b"HTTP/1.0", b"ffffffffffffffff", b"1e3",
    b"Expect: 100-continue\r\n", b"Upgrade: h2c\r\n", b"Connection: upgrade\r\n", b"X" * 300, b"a: b\r\n" * 40,
)  # fmt: skip


class _Trace:
    """Lines of a trace; content is gathered until something else happens."""

    def __init__(self, engine: H1Connection) -> None:
        self.engine = engine
        self.lines: list[str] = []
        self.over = False
        self._content: list[bytes] = []

    def add(self, line: str) -> None:
        if self._content:
            self.lines.append(f"data {b''.join(self._content)!r}")
            self._content.clear()
        self.lines.append(line)

    def data(self, data: bytes) -> None:
        self._content.append(data)

    def finish(self) -> list[str]:
        self.add(repr(self.engine))
        return self.lines

    def fail(self, error: RemoteProtocolError) -> None:
        self.add(f"error {error.code} {error.reason}")
        self.over = True
        engine = self.engine
        if engine.receiving != FAILED or not engine.must_close:
            raise Broken(f"{engine!r} after {error!r}")

    def check_held(self, piece: int) -> None:
        """What is held after all events were taken is at most an incomplete head and what one read brought."""
        held = len(self.engine._buffer)
        if held > self.engine.max_head + 3 + max(piece, 1100):
            raise Broken(f"{held} octets held, the head limit is {self.engine.max_head}")


def _lines(fields: Fields | None) -> str:
    return "-" if fields is None else repr(list(zip(fields.names, fields.lines, strict=True)))


def server_trace(pieces: Sequence[bytes], *, max_head: int = MAX_HEAD, eof: bool = True) -> list[str]:
    """Read `pieces` as a server that answers each request with an empty 200 as soon as it is complete."""
    engine = ServerEngine(max_head)
    trace = _Trace(engine)
    try:
        for piece in pieces:
            engine.receive(piece)
            _serve(engine, trace)
            trace.check_held(len(piece))
            if trace.over:
                return trace.finish()
        if eof:
            engine.receive_eof()
            _serve(engine, trace)
    except RemoteProtocolError as error:
        trace.fail(error)
    return trace.finish()


def _serve(engine: ServerEngine, trace: _Trace) -> None:
    while not trace.over:
        event = engine.next_event()
        if event is None:
            if engine.receiving != DONE:
                return
            status = 405 if engine.request is not None and engine.request.method == b"CONNECT" else 200
            engine.send(Response(status, b"OK", 11, Fields([], [])))
            trace.add(f"answer {engine.take_output()!r}")
            if engine.must_close:
                trace.over = True
            else:
                engine.reuse()
        else:
            _server_event(event, trace)


def _server_event(event: Event, trace: _Trace) -> None:
    if isinstance(event, Data):
        trace.data(event.data)
    elif isinstance(event, Request):
        trace.add(
            f"request {event.method!r} {event.target!r} {event.version} body={event.body} close={event.close} "
            f"expect={event.expect_continue} upgrade={event.upgrade!r} host={event.host!r} {_lines(event.fields)}"
        )
    elif isinstance(event, EndOfMessage):
        trace.add(f"end {_lines(event.trailers)}")
    elif isinstance(event, Closed):
        trace.add("closed")
        trace.over = True


def client_trace(
    pieces: Sequence[bytes],
    *,
    methods: Sequence[bytes] = (b"GET",),
    max_head: int = MAX_HEAD,
    eof: bool = True,
) -> list[str]:
    """Read `pieces` as a client that asks with `methods` one after the other, the last one for ever."""
    engine = ClientEngine(max_head)
    trace = _Trace(engine)
    waiting = list(methods)
    _ask(engine, waiting)
    try:
        for i, piece in enumerate(pieces):
            engine.receive(piece)
            _read_answers(engine, trace, waiting)
            trace.check_held(len(piece))
            if trace.over:
                if engine.receiving == SWITCHED:
                    rest = engine.take_rest() + b"".join(pieces[i + 1 :])
                    trace.add(f"rest {rest!r}")
                return trace.finish()
        if eof:
            engine.receive_eof()
            _read_answers(engine, trace, waiting)
    except RemoteProtocolError as error:
        trace.fail(error)
    return trace.finish()


def _ask(engine: ClientEngine, waiting: list[bytes]) -> None:
    method = waiting.pop(0) if len(waiting) > 1 else waiting[0]
    request = Request(method, b"/", 11, Fields([], []))
    request.upgrade = b"websocket"
    engine.send(request)
    engine.take_output()


def _read_answers(engine: ClientEngine, trace: _Trace, waiting: list[bytes]) -> None:
    while not trace.over:
        event = engine.next_event()
        if event is None:
            if engine.receiving == SWITCHED or (engine.receiving == DONE and engine.must_close):
                trace.over = True
            elif engine.receiving == DONE:
                engine.reuse()
                _ask(engine, waiting)
                continue
            return
        if isinstance(event, Data):
            trace.data(event.data)
        elif isinstance(event, Response):
            trace.add(
                f"response {event.status} {event.reason!r} {event.version} body={event.body} "
                f"close={event.close} {_lines(event.fields)}"
            )
        elif isinstance(event, EndOfMessage):
            trace.add(f"end {_lines(event.trailers)}")


def mutate(seed: bytes, seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Return `seed` with one to three things done to it."""
    data = bytearray(seed)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randint(0, len(data))
        kind = chance.randrange(7)
        if kind == 0 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind == 1:
            data[at:at] = chance.choice(PIECES)
        elif kind == 2:
            del data[at : at + chance.randint(1, 8)]
        elif kind == 3:
            end = at + chance.randint(1, 64)
            data[at:at] = data[at:end] * chance.randint(1, 4)
        elif kind == 4:
            other = chance.choice(seeds)
            cut = chance.randint(0, len(other))
            data[at:] = other[cut:]
        elif kind == 5 and data:
            data[at % len(data)] ^= 1 << chance.randrange(8)
        else:
            lines = bytes(data).split(b"\r\n")
            lines[1:] = chance.sample(lines[1:], len(lines) - 1)
            lines.insert(chance.randint(0, len(lines)), chance.choice(lines))
            data = bytearray(b"\r\n".join(lines))
    return bytes(data)


def same(whole: list[str], parts: list[str]) -> bool:
    """Tell whether two traces of the same octets agree.

    Where both end in a refusal the content just before it may be there or not: the whole is refused at once.
    """
    if whole == parts:
        return True
    if len(whole) < 2 or not whole[-2].startswith("error") or not parts[-2].startswith("error"):
        return False

    def core(trace: list[str]) -> list[str]:
        return trace[:-3] if len(trace) > 2 and trace[-3].startswith("data") else trace[:-2]

    return core(whole) == core(parts)


def one(role: str, data: bytes, pieces: list[bytes], max_head: int) -> None:
    """Read one input whole and in pieces, and check everything. Raises `Broken`."""
    methods = (
        (b"HEAD", b"GET")
        if role == "client-head"
        else (b"CONNECT",)
        if role == "client-connect"
        else (b"GET",)
    )
    try:
        began = cpu()
        if role == "server":
            whole = server_trace([data], max_head=max_head)
            parts = server_trace(pieces, max_head=max_head)
        else:
            whole = client_trace([data], methods=methods, max_head=max_head)
            parts = client_trace(pieces, methods=methods, max_head=max_head)
        took = cpu() - began
    except Exception as error:
        raise Broken(f"{role} max_head={max_head} {pieces!r}: {error!r}") from error
    if took > SLOWEST:
        raise Broken(f"{role} max_head={max_head} {pieces!r}: {took:.2f} s for {len(data)} octets")
    if len(whole) > 4 * len(data) + 8:
        raise Broken(f"{role} max_head={max_head} {pieces!r}: {len(whole)} events out of {len(data)} octets")
    if not same(whole, parts):
        raise Broken(f"{role} max_head={max_head} {pieces!r}: {whole} in one piece, {parts} in many")


def inputs(seed: int) -> "Inputs":
    """Return the endless, reproducible stream of inputs that `seed` stands for."""
    return Inputs(seed)


class Inputs:
    """Draws (role, octets, pieces, head limit), the corpus itself first."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._corpus = [("server", data) for data in REQUESTS] + [
            (role, data) for data in RESPONSES for role in ("client", "client-head", "client-connect")
        ]
        self._drawn = 0

    def draw(self) -> tuple[str, bytes, list[bytes], int]:
        """Return the next input."""
        chance = self._chance
        if self._drawn < len(self._corpus):
            role, data = self._corpus[self._drawn]
            max_head = MAX_HEAD
        else:
            role = chance.choice(("server", "server", "client", "client-head", "client-connect"))
            seeds = REQUESTS if role == "server" else RESPONSES
            data = mutate(chance.choice(seeds), seeds, chance)
            max_head = chance.choice((48, 128, 512, MAX_HEAD))
        self._drawn += 1
        return role, data, split(data, chance), max_head


def run(seconds: float, seed: int) -> int:
    """Fuzz for `seconds`; return how many inputs were read. Raises `Broken`."""
    source = inputs(seed)
    return repeat(lambda: one(*source.draw()), seconds)


if __name__ == "__main__":
    sys.exit(main("h1", __doc__, run))
