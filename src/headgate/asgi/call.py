"""One HTTP request of an ASGI application: its `receive` and `send`.

One slotted object for each request, whose bound methods the application gets; a task runs it (`handler`). Waiting
is one `asyncio.Event`, made only when somebody has to wait: content that has not come, a client that takes no more,
a client that leaves. Backpressure goes both ways: content is read from the client only while `receive` waits for
it, and `send` returns only once the client takes bytes again.

The head is written with the first piece of content, as ASGI asks; when that piece is the last one its length is
known and goes into Content-Length. The engine frames the rest.

| the application | becomes |
|---|---|
| fails before its answer began, or gives none | 500, reason `app-error` or `app-no-answer` |
| fails after that, or ends in the middle | an answer that is cut short, `app-error` or `app-unfinished` |
| sends more or less than its Content-Length | RuntimeError to the application, then as above |
| sends after its client has left | `ClientGone`, an OSError |
| sends after its answer is complete | ignored |
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from typing import Final, final

from headgate.asgi.application import Message
from headgate.connection.exchange import Exchange
from headgate.counters import ASGI_CUT_SHORT, ASGI_UNANSWERED
from headgate.engine.events import NO_BODY, UNKNOWN_LENGTH, Response
from headgate.http.fields import CONTENT_LENGTH, HOP_BY_HOP, Fields, flags_of
from headgate.http.hop_by_hop import strip_response, strip_trailers
from headgate.http.status import reason_phrase
from headgate.net.poller import Poller
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.proxy.answers import answer_error

# Where the answer stands.
EXPECT_START: Final = 0
EXPECT_CONTENT: Final = 1  # the head is known and not written
IN_CONTENT: Final = 2
IN_TRAILERS: Final = 3
COMPLETE: Final = 4

_is_token: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
_find_control: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_NO_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = ()
# Names that applications have used, with their kinds; a memo of a pure function.
_names: Final[dict[bytes, tuple[bytes, int]]] = {}
MAX_NAMES: Final = 1024


class ClientGone(OSError):
    """The client has left: what is sent reaches nobody."""


class Call:
    """What runs an application once. `gone`: the client has left."""

    # Without slots: a WebSocket's call has a second base, which is compiled and has a layout already.
    gone: bool
    task: asyncio.Task[None] | None

    async def receive(self) -> Message:
        """Return what comes next from the client."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        """Take what goes next to the client."""
        raise NotImplementedError

    def leave(self) -> None:
        """The client has left, or its request broke."""
        raise NotImplementedError

    def over(self, reason: str) -> None:
        """The application has returned, or not even that (`reason`)."""
        raise NotImplementedError


@final
class HttpCall(Call):
    """One request and its answer."""

    __slots__ = (
        "_body",
        "_continue",
        "_edits",
        "_ended",
        "_event",
        "_exchange",
        "_fields",
        "_has_trailers",
        "_left",
        "_pieces",
        "_poller",
        "_read",
        "_status",
        "_trailers",
        "_values",
        "gone",
        "stage",
        "task",
    )

    def __init__(self, exchange: Exchange, poller: Poller, edits: FieldEdits, values: list[int]) -> None:
        self.gone = False
        self.task = None
        self.stage = EXPECT_START
        self._values = values
        self._exchange = exchange
        self._poller = poller
        self._edits = edits
        self._event: asyncio.Event | None = None
        # the request
        body = exchange.request.body
        self._pieces: list[bytes] = []
        self._ended = body == NO_BODY  # all of it has come
        self._read = False  # and the application has it
        self._continue = exchange.request.expect_continue
        # the answer
        self._status = 0
        self._fields: Fields | None = None
        self._body = UNKNOWN_LENGTH
        self._left = 0  # content that Content-Length still promises
        self._has_trailers = False
        self._trailers: Fields | None = None
        if body != NO_BODY:
            exchange.accepting = False

    @property
    def is_over(self) -> bool:
        """Whether the answer is complete, or nobody waits for it any more."""
        return self.stage == COMPLETE or self.gone

    def __repr__(self) -> str:
        return f"<HttpCall {self._exchange.request!r} stage={self.stage}{' gone' if self.gone else ''}>"

    # -- what the connection reports

    def take_content(self, data: bytes) -> None:
        """Content has come; the next piece only when it is asked for."""
        self._pieces.append(data)
        exchange = self._exchange
        size = exchange.request.body
        # With a known length the end follows by itself, and the last piece can say that it is the last.
        if size > 0 and exchange.bytes_in >= size:
            self._ended = True
        else:
            exchange.accepting = False
        self._wake()

    def take_end(self) -> None:
        """The request is complete."""
        self._ended = True
        self._wake()

    def drained(self) -> None:
        """The client takes bytes again."""
        self._wake()

    def leave(self) -> None:
        self.gone = True
        self._wake()

    def over(self, reason: str) -> None:
        if self.is_over:
            return
        exchange = self._exchange
        begun = self.stage >= IN_CONTENT
        self.stage = COMPLETE
        exchange.attempt = None
        self._poller.now = time.monotonic()
        if begun:
            self._values[ASGI_CUT_SHORT] += 1
            exchange.downstream.abort(reason or "app-unfinished")
            return
        self._values[ASGI_UNANSWERED] += 1
        answer_error(exchange, 500, reason or "app-no-answer", edits=self._edits)
        if exchange.request.body != NO_BODY:
            exchange.downstream.resume()

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()

    async def _wait(self) -> None:
        event = self._event
        if event is None:
            event = self._event = asyncio.Event()
        event.clear()
        await event.wait()

    # -- receive

    async def receive(self) -> Message:
        """Return the next piece of the request; after the last one, wait for the end of the exchange."""
        while not self._read and self.stage != COMPLETE:
            if self._pieces:
                data = self._pieces.pop(0)
                self._read = self._ended and not self._pieces
                return {"type": "http.request", "body": data, "more_body": not self._read}
            if self._ended:
                self._read = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if self.gone:
                break
            self._ask_for_content()
            if not self._pieces and not self._ended and not self.gone:
                await self._wait()
        while not self.is_over:
            await self._wait()
        return {"type": "http.disconnect"}

    def _ask_for_content(self) -> None:
        exchange = self._exchange
        if exchange.accepting:
            return  # asked for already
        if self._continue and self.stage == EXPECT_START:
            # RFC 9110 section 10.1.1: the application wants the content that the client holds back.
            self._continue = False
            exchange.downstream.respond(Response(100, b"Continue", 11, Fields([], [])))
            exchange.downstream.flush()
        exchange.accepting = True
        exchange.downstream.resume()

    # -- send

    async def send(self, message: Message) -> None:
        """Take the next message of the answer. Raises `ClientGone`, and RuntimeError for what is out of turn."""
        kind = message["type"]
        if self.gone:
            raise ClientGone(f"{kind}: the client has left")
        stage = self.stage
        if stage == COMPLETE:
            return
        if kind == "http.response.body" and stage != IN_TRAILERS and stage != EXPECT_START:
            if not self._content(message.get("body", b""), more=bool(message.get("more_body", False))):
                await self._drain()
        elif kind == "http.response.start" and stage == EXPECT_START:
            self._start(message)
        elif kind == "http.response.trailers" and stage == IN_TRAILERS:
            self._take_trailers(message)
        else:
            raise RuntimeError(f"{kind!r} is out of turn here")

    async def _drain(self) -> None:
        """Wait until the client takes bytes again. Raises `ClientGone`."""
        # A wake-up may be about content that came: only a flush knows whether there is room.
        while not self.is_over:
            await self._wait()
            if self.gone or self._exchange.downstream.flush():
                break
        if self.gone:
            raise ClientGone("the client has left")

    def _start(self, message: Message) -> None:
        status = message["status"]
        if not isinstance(status, int) or not 200 <= status <= 999:
            raise RuntimeError(f"{status!r} is no status of an answer")
        fields, length = read_fields(message.get("headers", _NO_HEADERS))
        self._status = int(status)
        self._fields = fields
        self._body = length
        self._has_trailers = bool(message.get("trailers", False))
        self.stage = EXPECT_CONTENT

    def _content(self, body: bytes | bytearray | memoryview, *, more: bool) -> bool:
        """Write a piece of the answer; False: the client does not take it all."""
        data = body if isinstance(body, bytes) else bytes(body)
        exchange = self._exchange
        downstream = exchange.downstream
        self._poller.now = time.monotonic()  # nobody was woken for this
        if self.stage == EXPECT_CONTENT:
            self._write_head(data, more)
            if self._body == NO_BODY:
                # The exchange ends with its head: what follows is ignored, for the connection may serve the next.
                self._finish()
                return True
        if self._body > 0:
            self._left -= len(data)
            if self._left < 0 or (self._left > 0 and not more):
                raise RuntimeError(
                    f"{'more' if self._left < 0 else 'less'} content than its Content-Length says"
                )
        if data:
            downstream.write(data)
        if more:
            return downstream.flush()
        if self._has_trailers:
            self.stage = IN_TRAILERS
            return downstream.flush()
        self._finish()
        return True

    def _finish(self) -> None:
        """The answer is complete; what the client does not take yet waits in its connection."""
        exchange = self._exchange
        downstream = exchange.downstream
        self.stage = COMPLETE
        exchange.handler = None
        exchange.attempt = None
        exchange.accepting = True
        if self._body != NO_BODY:
            downstream.finish(self._trailers)
        downstream.flush()
        self._wake()

    def _write_head(self, data: bytes, more: bool) -> None:
        exchange = self._exchange
        fields = self._fields
        assert fields is not None
        status = self._status
        if fields.flags & HOP_BY_HOP:
            strip_response(fields, b"")
        is_head = exchange.request.method == b"HEAD"
        if not more and self._body == UNKNOWN_LENGTH and not self._has_trailers:
            self._body = len(data)
            if status not in (204, 304) and (data or not is_head):
                fields.add(b"content-length", b"%d" % len(data))
        self._left = self._body
        if is_head or status == 204 or status == 304:
            self._body = NO_BODY
            self._has_trailers = False
        if exchange.context.alt_svc:
            fields.add(b"alt-svc", exchange.context.alt_svc)
        if not self._edits.empty:
            self._edits.apply(fields, exchange.secure)
        self.stage = IN_CONTENT
        exchange.upstream_head = self._poller.now
        exchange.downstream.respond(Response(status, reason_phrase(status), 11, fields, self._body))

    def _take_trailers(self, message: Message) -> None:
        fields, _ = read_fields(message.get("headers", _NO_HEADERS))
        strip_trailers(fields)
        if self._trailers is None:
            self._trailers = fields
        else:
            self._trailers.names.extend(fields.names)
            self._trailers.lines.extend(fields.lines)
        if not message.get("more_trailers", False):
            # RFC 9112 section 7.1.2: only chunks have a place for them.
            if self._body != UNKNOWN_LENGTH:
                self._trailers = None
            self._finish()


def read_fields(headers: Iterable[Sequence[bytes]]) -> tuple[Fields, int]:
    """Return an application's headers as a field section, and what Content-Length says (-1 nothing).

    Raises RuntimeError for names and values that are none: they would end the head early, or begin another one.
    """
    names: list[bytes] = []
    lines: list[bytes] = []
    flags = 0
    length = UNKNOWN_LENGTH
    for name, value in headers:
        known = _names.get(name)
        if known is None:
            known = _read_name(name)
        value = value if isinstance(value, bytes) else bytes(value)
        if _find_control(value) is not None:
            raise RuntimeError(f"header {known[0].decode()}: {value[:80]!r} has control characters")
        names.append(known[0])
        lines.append(known[0] + b": " + value)
        flags |= known[1]
        if known[1] & CONTENT_LENGTH:
            if not value.isdigit() or length not in (UNKNOWN_LENGTH, int(value)):
                raise RuntimeError(f"content-length: {value[:80]!r} is none, or another one")
            length = int(value)
    return Fields(names, lines, flags), length


def _read_name(name: bytes) -> tuple[bytes, int]:
    lower = bytes(name).lower()
    if _is_token(lower) is None:
        raise RuntimeError(f"{lower[:80]!r} is no name of a header")
    known = (lower, flags_of(lower))
    if len(_names) < MAX_NAMES and isinstance(name, bytes):
        _names[name] = known
    return known
