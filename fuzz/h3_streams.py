"""Fuzz target: the streams of HTTP/3, both roles: control, QPACK, requests or answers, unknown ones.

    python -m fuzz.h3_streams --seconds 10 --seed 1

Starts from well-formed streams of each kind and mutates them; resets, refusals and ends come in between. Checked each
time: only `H3ConnectionError` comes out, with a code of HTTP/3 or QPACK; what comes in pieces means what it means in
one; every octet that was fed is given back once; events, streams and held octets are bounded; and it costs little.
"""

import random
import sys
from typing import Final

from fuzz._common import Broken, main, mutate, repeat, split, timed
from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h3 import frames
from headgate.engine.h3.connection import MAX_HEADERS_FRAME, H3Connection
from headgate.engine.h3.errors import H3ConnectionError
from headgate.engine.h3.frames import encode_frame
from headgate.engine.h3.qpack_encoder import QpackEncoder
from headgate.engine.h3.settings import H3Settings
from headgate.engine.varint import encode_varint
from headgate.http.fields import Fields

CODES: Final = frozenset((*range(0x100, 0x111), *range(0x200, 0x203)))


def section(*pairs: tuple[bytes, bytes]) -> bytes:
    """Return an encoded field section."""
    names = [name for name, _ in pairs]
    return QpackEncoder().encode(0, names, [name + b": " + value for name, value in pairs])


def headers(*pairs: tuple[bytes, bytes]) -> bytes:
    """Return a HEADERS frame."""
    return encode_frame(frames.HEADERS, section(*pairs))


GET: Final = ((b":method", b"GET"), (b":scheme", b"https"), (b":authority", b"a.test"), (b":path", b"/"))
CONNECT: Final = ((b":method", b"CONNECT"), (b":authority", b"a.test:443"))
CONTENT: Final = encode_frame(frames.DATA, b"content")
REQUESTS: Final[tuple[bytes, ...]] = (
    headers(*GET),
    headers((b":method", b"POST"), *GET[1:], (b"content-length", b"7")) + CONTENT,
    headers((b":method", b"POST"), *GET[1:]) + CONTENT * 3 + headers((b"digest", b"x")),
    headers(*CONNECT) + CONTENT,
    headers(CONNECT[0], (b":protocol", b"websocket"), *GET[1:]) + CONTENT,
    headers(*GET, (b"cookie", b"a=1"), (b"cookie", b"b=2"), (b"te", b"trailers"), (b"priority", b"u=1, i")),
    headers(*GET, (b"connection", b"close")),
    encode_frame(0x21, b"grease") + headers(*GET),
    CONTENT + headers(*GET),
    encode_frame(frames.HEADERS, b"\x02\x00\x80") + CONTENT,
    headers(*GET, *((b"x", b"y"),) * 130),
)
ANSWERS: Final[tuple[bytes, ...]] = (
    headers((b":status", b"200"), (b"content-length", b"7")) + CONTENT,
    headers((b":status", b"103"), (b"link", b"</a>")) * 3 + headers((b":status", b"204")),
    headers((b":status", b"200")) + CONTENT * 2 + headers((b"digest", b"x")),
    headers((b":status", b"304")),
    headers((b":status", b"101")),
    encode_frame(frames.PUSH_PROMISE, b"\0" + section(*GET)) + headers((b":status", b"200")),
    encode_frame(frames.HEADERS, b"\x02\x00\x80"),
)
SETTINGS: Final = encode_frame(frames.SETTINGS, b"\x01\x50\x00\x06\x80\x00\x80\x00\x07\x10\x08\x01\x21\x00")
CONTROLS: Final[tuple[bytes, ...]] = (
    b"\0" + SETTINGS,
    b"\0" + SETTINGS + encode_frame(frames.GOAWAY, b"\0") + encode_frame(frames.FRAME_MAX_PUSH_ID, b"\x05"),
    b"\0" + SETTINGS + encode_frame(frames.PRIORITY_UPDATE_REQUEST, b"\0u=1, i") * 3,
    b"\0" + encode_frame(frames.SETTINGS, b"") + encode_frame(0x21, b"grease") * 4,
    b"\0" + SETTINGS + SETTINGS,
    b"\0" + encode_frame(frames.GOAWAY, b"\0"),
)
UNIS: Final[tuple[bytes, ...]] = (
    b"\x02\x3f\xbd\x01\xc0\x0fwww.example.com\xc1\x0c/sample/path",
    b"\x02\x20",
    b"\x03\x84\x01\x48",
    b"\x03\x00",
    b"\x01\x00" + headers((b":status", b"200")),
    b"\x21whatever",
    encode_varint(1 << 40) + b"x",
)
PIECES: Final[tuple[bytes, ...]] = (
    b"\0", b"\x01\x00", b"\0\0", b"\x04\x00", b"\x07\x01\x04", b"\x40\x00", b"\xff" * 8, b"\x21\x00",
    b"\x80\x01\x00\x00", b"\x01\xbf\xff\xff\xff", b"\x00\xbf\xff\xff\xff", b"\xc0" + bytes(7),
    b"\x80\x0f\x07\x00\x02\x00u",
    b"\x0d\x01\x01",
)  # fmt: skip

# What happens to a stream: octets, and how it ends (END, RESET, STOP or nothing).
OPEN, END, RESET, STOP = range(4)
Step = tuple[int, bytes, int]


class Trace:
    """One connection fed with steps; `lines` for what came out of each stream."""

    def __init__(self, is_client: bool, table: int) -> None:
        settings = H3Settings(table_capacity=table, blocked_streams=16, connect_protocol=True)
        self.h3 = H3Connection(is_client, 0.0, settings)
        self.lines: dict[int, list[str]] = {}
        self.error = ""
        self.fed: dict[int, int] = {}
        self.given: dict[int, int] = {}
        self.events = 0
        if is_client:
            for _ in range(3):
                fields = Fields([b"host"], [b"Host: a.test"])
                self.h3.send(Request(b"GET", b"/", 11, fields))

    def feed(self, stream: int, pieces: list[bytes], end: int) -> None:
        """Give a stream its octets, and its end with the last of them."""
        try:
            for at, piece in enumerate(pieces):
                self.fed[stream] = self.fed.get(stream, 0) + len(piece)
                self.h3.receive_stream(stream, piece, end == END and at == len(pieces) - 1, 0.0)
                self._take()
            if end == RESET:
                self.h3.receive_reset(stream, 0x10C, 0.0)
            elif end == STOP:
                self.h3.receive_stop(stream, 0x10C)
        except H3ConnectionError as error:
            if error.code not in CODES or not self.h3.failed:
                raise Broken(f"{error!r}") from error
            self.error = f"error {error.code:#x}"
        self._take()
        self._check()

    def _take(self) -> None:
        while (event := self.h3.next_event()) is not None:
            self.events += 1
            stream = getattr(event, "stream", -1)
            if isinstance(event, Data):
                self.given[stream] = self.given.get(stream, 0) + len(event.data)
                self._line(stream, f"data {event.data.hex()}")
            elif isinstance(event, Request | Response):
                self._line(stream, f"{event!r} {event.fields.items()} {event.body}")
            elif isinstance(event, EndOfMessage):
                self._line(stream, f"end {None if event.trailers is None else event.trailers.items()}")
            else:
                self._line(stream, repr(event))
        for stream, count in self.h3.take_consumed():
            self.given[stream] = self.given.get(stream, 0) + count
        for taken in (self.h3.take_writes(), self.h3.take_resets(), self.h3.take_stops()):
            if len(taken) > 64:
                raise Broken(f"{len(taken)} things to send at once")
        self.h3.take_priorities()

    def _line(self, stream: int, line: str) -> None:
        lines = self.lines.setdefault(stream, [])
        if lines and lines[-1].startswith("data ") and line.startswith("data "):
            lines[-1] += line[5:]
        else:
            lines.append(line)

    def _check(self) -> None:
        held = sum(stream.reader.buffered + stream.held for stream in self.h3.streams.values())
        if held > 4 * (MAX_HEADERS_FRAME + 16):
            raise Broken(f"{held} octets held")
        for stream, given in self.given.items():
            if given > self.fed.get(stream, 0):
                raise Broken(f"{given} octets of stream {stream} given back, {self.fed.get(stream)} were fed")
        if self.events > 8 + sum(self.fed.values()):
            raise Broken(f"{self.events} events")


def trace(steps: list[Step], cuts: list[list[bytes]] | None, *, is_client: bool, table: int) -> Trace:
    """Feed the steps, each whole or in its pieces."""
    made = Trace(is_client, table)
    for at, (stream, data, end) in enumerate(steps):
        made.feed(stream, [data] if cuts is None else cuts[at], end)
        if made.error:
            break
    return made


def compare(whole: Trace, parts: Trace) -> None:
    """Pieces mean what the whole means; where it ends in a refusal, what came before may be there or not."""
    if whole.error != parts.error:
        raise Broken(f"{whole.error or 'nothing'} in one piece, {parts.error or 'nothing'} in many")
    if whole.error:
        return
    for stream in set(whole.lines) | set(parts.lines):
        one, many = whole.lines.get(stream, []), parts.lines.get(stream, [])
        if one and one[-1].startswith(("<StreamFailed", "<RequestRefused")):
            if not many or one[-1] != many[-1]:
                raise Broken(f"stream {stream}: {one} in one piece, {many} in many")
        elif one != many:
            raise Broken(f"stream {stream}: {one} in one piece, {many} in many")


class Inputs:
    """Draws connections: some streams, each with octets and an end."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._drawn = 0
        self.outcomes: dict[str, int] = {}

    def steps(self, *, is_client: bool) -> list[Step]:
        """Return what one connection receives."""
        chance = self._chance
        self._drawn += 1
        changes = self._drawn > 100
        first_uni = 3 if is_client else 2
        messages = ANSWERS if is_client else REQUESTS
        # A connection that fails with its first octets says nothing about the rest.
        control = self._octets(CONTROLS, changes) if chance.random() < 0.3 else CONTROLS[0]
        steps: list[Step] = [(first_uni, control, OPEN)]
        for number in range(chance.choice((0, 0, 0, 1, 2))):
            octets = self._octets(UNIS, changes and chance.random() < 0.5)
            steps.append((first_uni + 4 + 4 * number, octets, chance.choice((OPEN, OPEN, OPEN, END, RESET))))
        for number in range(chance.randint(1, 3)):
            end = chance.choice((OPEN, END, END, END, RESET, STOP))
            steps.append((4 * number, self._octets(messages, changes and chance.random() < 0.7), end))
        if chance.random() < 0.1:
            steps.append((chance.choice((0, 1, 400)), CONTENT, END))
        return steps

    def _octets(self, seeds: tuple[bytes, ...], changed: bool) -> bytes:
        seed = self._chance.choice(seeds)
        return mutate(seed, seeds, PIECES, self._chance) if changed else seed

    def run_one(self) -> None:
        """Draw an input and check all of it. Raises `Broken`."""
        chance = self._chance
        is_client, table = chance.random() < 0.4, chance.choice((0, 4096))
        steps = self.steps(is_client=is_client)
        cuts = [split(data, chance) or [b""] for _, data, _ in steps]

        def work() -> None:
            whole = trace(steps, None, is_client=is_client, table=table)
            parts = trace(steps, cuts, is_client=is_client, table=table)
            compare(whole, parts)
            self.outcomes[whole.error] = self.outcomes.get(whole.error, 0) + 1

        shown = f"client={is_client} table={table} {[(s, d.hex(), e) for s, d, e in steps]} {cuts}"
        timed(shown, sum(len(data) for _, data, _ in steps), work)


def run(seconds: float, seed: int) -> int:
    """Fuzz for `seconds`; return how many inputs were read. Raises `Broken`."""
    return repeat(Inputs(seed).run_one, seconds)


if __name__ == "__main__":
    sys.exit(main("h3_streams", __doc__, run))
