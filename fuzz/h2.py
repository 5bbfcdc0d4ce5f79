"""Fuzz target: connections of HTTP/2, both roles: prefaces, frames, field blocks, windows, states of streams.

    python -m fuzz.h2 --seconds 10 --seed 1

Starts from well-formed frames and mutates them, mostly as frames (so that what is behind stays readable), sometimes
as octets. Each input is read twice. Once as it is and once in pieces, with nothing said in between: both must mean
the same. Once with answers, resets, consumption and small writes drawn in between. Checked each time: only
`H2ConnectionError` comes out, with a code of HTTP/2, and a GOAWAY that says it; what is written are whole frames;
streams, events and what is queued are bounded; windows, ends, resets and field blocks are right for a ledger that
has worked them out by itself (`fuzz/_h2_ledger`); it costs little.
"""

import random
import sys
from typing import Final

from fuzz._common import Broken, main, mutate, repeat, split, timed
from fuzz._h2_ledger import Ledger
from headgate.engine.events import UNKNOWN_LENGTH, Data, EndOfMessage, Event, Request, Response
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.errors import H2ConnectionError
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import GoingAway, StreamFailed
from headgate.errors import LocalProtocolError
from headgate.http.fields import Fields
from headgate.testing import h2_raw as raw
from headgate.testing.h2_raw import data, frame, headers, literal, priority_update, remembered, rst_stream
from headgate.testing.h2_raw import settings as setting

MAX_STREAMS: Final = 8
MOST_ASKED: Final = 16
CODES: Final = frozenset(range(14))
_GET: Final = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/"))
_POST: Final = ((b":method", b"POST"), *_GET[1:])
_ALL_FLAGS: Final = raw.END_HEADERS | raw.PADDED | raw.PRIORITY_FLAG
_OK: Final = ((b":status", b"200"),)

Lines = tuple[tuple[bytes, bytes], ...]


def block(*lines: tuple[bytes, bytes]) -> bytes:
    """Return a field block of literals."""
    return b"".join(literal(name, value) for name, value in lines)


def _head(stream: int, lines: Lines, *, end: bool = False) -> bytes:
    return headers(stream, block(*lines), end=end)


def _cut(stream: int, lines: Lines, *places: int) -> bytes:
    """HEADERS and CONTINUATIONs, cut at `places`."""
    whole = block(*lines)
    edges = [0, *places, len(whole)]
    made = headers(stream, whole[: edges[1]], end=True, last=len(edges) == 2)
    for at in range(1, len(edges) - 1):
        made += raw.continuation(stream, whole[edges[at] : edges[at + 1]], last=at == len(edges) - 2)
    return made


def messages(stream: int, first: Lines) -> tuple[bytes, ...]:
    """Return messages of one stream, most of them right."""
    return (
        _head(stream, first, end=True),
        _head(stream, (*first, (b"content-length", b"7"))) + data(stream, b"content", end=True),
        _head(stream, first) + data(stream, b"con") + data(stream, b"tent", padding=9) + data(stream, b"", end=True),
        _head(stream, first) + data(stream, b"x") + _head(stream, ((b"digest", b"x"),), end=True),
        _cut(stream, (*first, (b"x-long", b"y" * 40)), 3, 3, 20),
        headers(stream, block(*first) + remembered(b"x-kept", b"yes"), end=True),
        headers(stream, block(*first) + b"\xbe", end=True),
        headers(stream, b"\x3f\x45\x20" + block(*first), end=True),
        _head(stream, (*first, (b"connection", b"close")), end=True),
        _head(stream, first) + rst_stream(stream),
        _head(stream, (*first, *((b"x", b"y"),) * 130), end=True),
        frame(raw.HEADERS, _ALL_FLAGS, stream, b"\2" + bytes(5) + block(*first) + bytes(2)),
    )  # fmt: skip


REQUESTS: Final = tuple(
    made
    for stream in (1, 3, 5, 7, 9)
    for made in (
        *messages(stream, _GET),
        *messages(stream, _POST),
        _head(stream, ((b":method", b"CONNECT"), (b":authority", b"a.test:443"))) + data(stream, b"ping"),
        _head(stream, ((b":method", b"CONNECT"), (b":protocol", b"websocket"), *_GET[1:])),
        _head(stream, (*_GET, (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"te", b"trailers"), (b"priority", b"u=1"))),
    )
)  # fmt: skip
ANSWERS: Final = tuple(
    made
    for stream in (1, 3, 5)
    for made in (
        *messages(stream, _OK),
        _head(stream, ((b":status", b"103"),)) + _head(stream, ((b":status", b"204"),), end=True),
        _head(stream, ((b":status", b"101"),)),
    )
)
CONTROLS: Final[tuple[bytes, ...]] = (
    setting(),
    setting((4, 0)),
    setting((4, 1 << 20), (5, 1 << 20), (1, 0)),
    setting((3, 1), (6, 9000), (8, 1), (0xFFF, 7)),
    raw.settings_ack(),
    raw.ping(b"12345678"),
    raw.ping(b"12345678", raw.ACK),
    raw.window_update(0, 1000),
    raw.window_update(1, 1000),
    raw.window_update(0, (1 << 31) - 1),
    raw.priority(1),
    raw.priority(11),
    priority_update(1, b"u=1, i"),
    priority_update(9, b"u=7"),
    rst_stream(1, 8),
    rst_stream(3, 0),
    frame(raw.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4) + b"bye"),
    frame(raw.GOAWAY, 0, 0, ((1 << 31) - 1).to_bytes(4, "big") + bytes(4)),
    frame(0xBE, 0xFF, 0, b"whatever"),
    frame(raw.PUSH_PROMISE, raw.END_HEADERS, 1, (2).to_bytes(4, "big") + block(*_GET)),
    data(1, b"late"),
)
PIECES: Final[tuple[bytes, ...]] = (
    b"\0", b"\0\0\0\x04\0\0\0\0\0", b"\0\0\x08\x06\0\0\0\0\0", b"\xff" * 4, b"\x80", b"\x3f\xe1\x1f", b"\x20",
    b"\x40\x01a\x01b", b"\x82\x87\x84", b"\xbe", b"\0\0\0\x09\x04\0\0\0\x01", b"\0\0\0\0\x01\0\0\0\x01",
    b"\x7f\xff\xff\xff", b"\r\n", b"\0\x0econtent-length\x012",
)  # fmt: skip


def frames_of(octets: bytes) -> list[bytes]:
    """Cut octets into frames; a rest that is none stays as it is."""
    found = []
    while len(octets) >= 9:
        size = 9 + int.from_bytes(octets[:3], "big")
        found.append(octets[:size])
        octets = octets[size:]
    return [*found, octets] if octets else found


# -- one connection


class Trace:
    """One engine; `lines` is what came out of each stream."""

    def __init__(self, is_client: bool, asked: int = 3) -> None:
        self.is_client = is_client
        self.h2 = H2Connection(
            is_client,
            0.0,
            H2Settings(max_streams=MAX_STREAMS, connect_protocol=True, connection_window=1 << 20),
        )
        self.lines: dict[int, list[str]] = {}
        self.open: list[int] = []
        self.error = ""
        self.written = b""
        self.events = 0
        self.octets = 0
        self.now = 0.0
        self.ledger = Ledger(is_client)
        for _ in range(asked if is_client else 0):
            fields = Fields([b"host"], [b"Host: a.test"])
            self.h2.send(Request(b"POST", b"/", 11, fields, UNKNOWN_LENGTH))

    def feed(self, octets: bytes) -> None:
        """Give octets, and take all events."""
        if self.error:
            return
        self.octets += len(octets)
        self.ledger.gave(octets)
        try:
            self.h2.receive(octets, self.now)
        except H2ConnectionError as error:
            if error.code not in CODES:
                raise Broken(f"{error!r} has the code {error.code:#x}") from error
            self.error = f"error {error.code:#x}"
            if not self.h2.failed:
                raise Broken("a connection that failed is not marked as such") from error
        while (event := self.h2.next_event()) is not None:
            self.events += 1
            self.note(event)
        self._check()

    def note(self, event: Event) -> None:
        """Write an event down; content is consumed at once."""
        stream = getattr(event, "stream", 0)
        lines = self.lines.setdefault(stream, [])
        if isinstance(event, Data):
            self.h2.consumed(stream, len(event.data))
            if lines and lines[-1].startswith("data "):
                lines[-1] += event.data.hex()
            else:
                lines.append(f"data {event.data.hex()}")
        elif isinstance(event, Request | Response):
            lines.append(f"{event!r} {event.fields.lines}")
            self.open.append(stream)
        elif isinstance(event, EndOfMessage):
            lines.append(f"end {event.trailers.lines if event.trailers is not None else None}")
        else:
            lines.append(repr(event))
        if isinstance(event, StreamFailed | GoingAway) and stream in self.open:
            self.open.remove(stream)

    def write(self, limit: int = 1 << 20) -> None:
        """Take what is to be written."""
        octets = self.h2.take_output(limit)
        self.ledger.wrote(octets)
        self.written += octets

    def finish(self) -> list[str]:
        """Take all output, and return its frames; a GOAWAY stands at the end of a connection that failed."""
        for _ in range(10_000):
            if not self.h2.has_output():
                break
            self.write()
        octets = self.written.removeprefix(raw.PREFACE)
        found = frames_of(octets)
        if found and len(found[-1]) != 9 + int.from_bytes(found[-1][:3], "big"):
            raise Broken(f"a part of a frame was written: {octets.hex()}")
        if self.error and (found[-1][3] != raw.GOAWAY or int(self.error[6:], 16) != found[-1][16]):
            raise Broken(f"{self.error}, and the last frame is {found[-1].hex()}")
        return [one.hex() for one in found]

    def _check(self) -> None:
        streams = len(self.h2.streams)
        if streams > (MOST_ASKED if self.is_client else MAX_STREAMS):
            raise Broken(f"{streams} streams are open")
        if self.events > 16 + self.octets:
            raise Broken(f"{self.events} events of {self.octets} octets")
        if self.h2.control_queued > 4096 + 16 * self.octets:
            raise Broken(f"{self.h2.control_queued} octets queued for {self.octets}")


def trace(pieces: list[bytes], *, is_client: bool) -> tuple[Trace, list[str]]:
    """Feed the pieces; return the trace and the frames it wrote."""
    made = Trace(is_client)
    for piece in pieces:
        made.feed(piece)
    return made, made.finish()


def _told(frames: list[str]) -> list[str]:
    """Resets and GOAWAYs, and how many acknowledgements; how often windows are opened depends on the pieces."""
    return sorted(one for one in frames if one[6:8] in ("03", "04", "06"))


def compare(whole: Trace, parts: Trace, wrote: list[str], also: list[str]) -> None:
    """Pieces mean what the whole means; where it ends in a refusal, what came before may be there or not."""
    if whole.error != parts.error:
        raise Broken(f"{whole.error or 'nothing'} in one piece, {parts.error or 'nothing'} in many")
    if whole.error:
        return
    if _told(wrote) != _told(also):
        raise Broken(f"{_told(wrote)} in one piece, {_told(also)} in many")
    for stream in set(whole.lines) | set(parts.lines):
        one, many = whole.lines.get(stream, []), parts.lines.get(stream, [])
        failed = many and many[-1].startswith(("<StreamFailed", "<RequestRefused"))
        # Events that nobody had taken are taken back.
        if one != many and not (failed and (not one or one[-1] == many[-1])):
            raise Broken(f"stream {stream}: {one} in one piece, {many} in many")


def live(pieces: list[bytes], chance: random.Random, *, is_client: bool) -> Trace:
    """Feed the pieces with answers, resets and writes in between; it must hold whatever comes."""
    made = Trace(is_client)
    for piece in pieces:
        made.feed(piece)
        made.now += chance.choice((0.0, 0.0, 0.01, 5.0))
        act(made, chance)
        if chance.random() < 0.5:
            made.write(chance.choice((1, 100, 1 << 20)))
    made.finish()
    return made


def act(made: Trace, chance: random.Random) -> None:
    """Do something that a driver may do."""
    h2 = made.h2
    if made.error:
        return
    kind = chance.randrange(8)
    if kind == 0 and made.open:
        h2.abort(made.open.pop(chance.randrange(len(made.open))), chance.choice((2, 8)))
    elif kind in (1, 2, 3) and made.open and not made.is_client:
        stream = made.open.pop(0)
        try:
            h2.send(Response(200, b"", 11, Fields([], []), UNKNOWN_LENGTH, stream))
            h2.send(Data(bytes(chance.choice((0, 1, 70_000))), stream))
            tunnel = h2.streams[stream].method == b"CONNECT" if stream in h2.streams else False
            trailers = Fields([b"digest"], [b"digest: x"]) if chance.random() < 0.5 and not tunnel else None
            h2.send(EndOfMessage(trailers, stream))
        except LocalProtocolError as error:
            raise Broken(f"a right answer on stream {stream}: {error}") from error
    elif kind == 4 and made.is_client and h2.room > 0 and len(h2.streams) < MOST_ASKED:
        h2.send(Request(b"GET", b"/", 11, Fields([b"host"], [b"Host: a.test"])))
    elif kind == 5 and chance.random() < 0.1:
        h2.go_away(made.now)
    elif kind == 6 and h2.deadline() <= made.now:
        h2.on_deadline(made.now)


class Inputs:
    """Draws connections."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._drawn = 0
        self.outcomes: dict[str, int] = {}

    def octets(self, *, is_client: bool) -> bytes:
        """Return what one connection receives."""
        chance = self._chance
        self._drawn += 1
        changes = self._drawn > 100
        corpus = ANSWERS if is_client else REQUESTS
        chosen = [
            chance.choice(CONTROLS if chance.random() < 0.3 else corpus) for _ in range(chance.randint(1, 5))
        ]
        frames = [one for made in chosen for one in frames_of(made)]
        if changes:
            for _ in range(chance.choice((0, 1, 1, 2))):
                self._change(frames)
        octets = b"".join(frames)
        if changes and chance.random() < 0.15:
            octets = mutate(octets, corpus, PIECES, chance)
        start = setting((3, 100)) if chance.random() < 0.8 else chance.choice(CONTROLS)
        start += raw.settings_ack()
        if not is_client:
            start = (raw.PREFACE if chance.random() < 0.98 else b"GET / HTTP/1.1\r\n\r\n") + start
        return start + octets

    def _change(self, frames: list[bytes]) -> None:
        """Change one frame, and keep it one: its length fits."""
        chance = self._chance
        at = chance.randrange(len(frames))
        one = frames[at]
        kind = chance.randrange(8)
        if kind == 0:
            frames.insert(at, chance.choice(frames))
        elif kind == 1:
            del frames[at]
            frames.append(one)
        elif kind == 2:
            frames[at] = one[:4] + bytes((one[4] ^ 1 << chance.randrange(8),)) + one[5:]
        elif kind == 3:
            frames[at] = one[:8] + bytes((chance.choice((0, 1, 2, 3, 5, 9, 255)),)) + one[9:]
        elif kind == 4:
            frames[at] = one[:3] + bytes((chance.choice((*range(11), 16)),)) + one[4:]
        else:
            payload = mutate(one[9:], (one[9:], block(*_GET), b""), PIECES, chance)
            frames[at] = len(payload).to_bytes(3, "big") + one[3:9] + payload

    def run_one(self) -> None:
        """Draw an input and check all of it. Raises `Broken`."""
        chance = self._chance
        is_client = chance.random() < 0.4
        octets = self.octets(is_client=is_client)
        pieces = split(octets, chance)

        def work() -> None:
            whole, wrote = trace([octets], is_client=is_client)
            parts, also = trace(pieces, is_client=is_client)
            compare(whole, parts, wrote, also)
            live(pieces, chance, is_client=is_client)
            self.outcomes[whole.error] = self.outcomes.get(whole.error, 0) + 1

        timed(f"client={is_client} {octets.hex()} {[len(piece) for piece in pieces]}", len(octets), work)


def run(seconds: float, seed: int) -> int:
    """Fuzz for `seconds`; return how many inputs were read. Raises `Broken`."""
    return repeat(Inputs(seed).run_one, seconds)


if __name__ == "__main__":
    sys.exit(main("h2", __doc__, run))
