"""WebSockets of an ASGI application (RFC 6455, RFC 9220; ASGI's WebSocket message format).

wsproto speaks the frames, `pipe` carries them. The application decides: until it accepts, the request is a request
like any other and may be denied (403, or the answer that it gives: `websocket.http.response`). Its messages come one
at a time, whole: while one waits to be received, no further frame is looked at, and nothing more is read from the
client. The same holds while the client does not take our Pong. A message that grows beyond
`websocket_message` closes the WebSocket (1009, counted). permessage-deflate is not offered: a few octets could
become a thousand times as many before anybody counts them.

Pings are answered here. A client that is silent for 20 seconds is pinged, one that does not answer is given up.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections import deque
from dataclasses import dataclass
from typing import Final, final

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.utilities import RemoteProtocolError, generate_accept_token

from headgate.asgi.application import Message
from headgate.asgi.call import Call, ClientGone, HttpCall, read_fields
from headgate.asgi.pipe import SILENCE_SECONDS, LanePipe, Pipe, PipeOwner, SocketPipe
from headgate.connection.downstream import DownstreamConnection
from headgate.connection.downstream_lane import DownstreamLane
from headgate.connection.exchange import Exchange
from headgate.counters import (
    ASGI_BAD_FRAME,
    ASGI_MESSAGE_TOO_BIG,
    ASGI_SILENT,
    ASGI_UNANSWERED,
    ASGI_WEBSOCKETS,
)
from headgate.engine.events import Response
from headgate.http.fields import HOP_BY_HOP, Fields
from headgate.http.hop_by_hop import strip_response
from headgate.net.poller import Poller
from headgate.pipeline.middleware.headers import FieldEdits
from headgate.proxy.answers import answer_error
from headgate.proxy.stream_tunnel import agreement

# Where it stands.
NEW: Final = 0  # the application has not been told
ASKED: Final = 1  # it has, and has not decided
OPEN: Final = 2
OVER: Final = 3
DENIED: Final = 4  # with an answer of the application's

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
ABNORMAL: Final = 1006
TOO_BIG: Final = 1009
INTERNAL: Final = 1011
# How long a client has to answer a Close of ours.
CLOSE_SECONDS: Final = 2.0
# In how many frames one message may come: frames without content cost time, and no octet of `websocket_message`.
MAX_FRAMES: Final = 65_536

_is_token: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch  # RFC 9110 section 5.6.2


def handshake_problem(exchange: Exchange) -> str:
    """Return what is wrong with a request for a WebSocket, "" for nothing (RFC 6455 section 4.2.1)."""
    request = exchange.request
    if request.method != b"GET" or request.body != 0:
        return "not-a-get"
    if request.fields.get(b"sec-websocket-version") != b"13" and not exchange.is_connect:
        return "websocket-version"
    key = request.fields.get(b"sec-websocket-key") or b""
    try:
        decoded = base64.b64decode(key, validate=True)
    except binascii.Error:
        decoded = b""
    return "" if len(decoded) == 16 else "websocket-key"


def refuse_handshake(exchange: Exchange, problem: str, edits: FieldEdits) -> None:
    """Answer a handshake that is none: 426 with the version that is spoken, or 400."""
    if problem != "websocket-version":
        answer_error(exchange, 400, problem, edits=edits)
        return
    fields = Fields([], [])
    fields.add(b"sec-websocket-version", b"13")
    fields.add(b"connection", b"Upgrade")
    fields.add(b"upgrade", b"websocket")
    fields.add(b"content-length", b"0")
    exchange.handler = None
    exchange.reason = problem
    exchange.downstream.respond(Response(426, b"Upgrade Required", 11, fields, 0))
    exchange.downstream.flush()


@dataclass(slots=True)
class WebSocketLimits:
    """What one client may do: `message` in octets, `silence` in seconds."""

    message: int
    silence: float = SILENCE_SECONDS


@final
class WebSocketCall(Call, PipeOwner):
    """One WebSocket."""

    def __init__(
        self,
        exchange: Exchange,
        poller: Poller,
        edits: FieldEdits,
        values: list[int],
        limits: WebSocketLimits,
    ) -> None:
        self.gone = False
        self.task = None
        self.stage = NEW
        self._exchange = exchange
        self._poller = poller
        self._edits = edits
        self._values = values
        self._limits = limits
        self._pipe: Pipe | None = None
        self._frames = Connection(ConnectionType.SERVER)
        self._queue: deque[Message] = deque()
        self._message = bytearray()
        self._frame_count = 0
        self._choked = False  # a Pong waits for the client to read
        self._code = ABNORMAL
        self._reason = ""
        self._has_room = True
        self._pinged = False
        self._denial: HttpCall | None = None
        self._event = asyncio.Event()

    def __repr__(self) -> str:
        return f"<WebSocketCall {self._exchange.request!r} stage={self.stage}>"

    def leave(self) -> None:
        """The client has left before it was answered."""
        self._ended(ABNORMAL, "")

    async def _wait(self) -> None:
        self._event.clear()
        await self._event.wait()

    # -- receive

    async def receive(self) -> Message:
        if self.stage == NEW:
            self.stage = ASKED
            return {"type": "websocket.connect"}
        while not self._queue:
            if self.stage == OVER or self.gone or (self._denial is not None and self._denial.is_over):
                return {"type": "websocket.disconnect", "code": self._code, "reason": self._reason}
            if self._pipe is not None and not self._choked:
                self._poller.now = time.monotonic()
                self._go_on()
                if self._queue or self.stage == OVER:
                    continue
            await self._wait()
        return self._queue.popleft()

    # -- send

    async def send(self, message: Message) -> None:
        kind = message["type"]
        stage = self.stage
        if self.gone or stage == OVER:
            if kind == "websocket.close":
                return
            raise ClientGone(f"{kind}: the WebSocket is closed")
        self._poller.now = time.monotonic()
        if kind == "websocket.send" and stage == OPEN:
            if not self._send_message(message):
                await self._drain()
        elif kind == "websocket.accept" and stage <= ASKED:
            self._accept(message)
        elif kind == "websocket.close" and stage == OPEN:
            self._close(message.get("code", NORMAL), message.get("reason") or "")
        elif kind == "websocket.close" and stage <= ASKED:
            self._deny()
        elif kind.startswith("websocket.http.response.") and stage in (NEW, ASKED, DENIED):
            await self._answer(message)
        else:
            raise RuntimeError(f"{kind!r} is out of turn here")

    def _send_message(self, message: Message) -> bool:
        text = message.get("text")
        octets = message.get("bytes")
        if (text is None) == (octets is None):
            raise RuntimeError("websocket.send takes either text or bytes")
        event = TextMessage(data=text) if text is not None else BytesMessage(data=bytes(octets or b""))
        return self._write(self._frames.send(event))

    def _write(self, data: bytes) -> bool:
        self._has_room = self._pipe is None or self._pipe.write(bytes(data))
        return self._has_room

    async def _drain(self) -> None:
        while not self._has_room and self.stage == OPEN:
            await self._wait()
        if self.gone:
            raise ClientGone("the client has left")

    def _accept(self, message: Message) -> None:
        exchange = self._exchange
        fields, _ = read_fields(message.get("headers") or ())
        for name in (b"sec-websocket-accept", b"sec-websocket-extensions", b"content-length"):
            fields.remove(name)
        if fields.flags & HOP_BY_HOP:
            strip_response(fields, b"")
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            fields.set(b"sec-websocket-protocol", self._chosen(subprotocol))
        key = exchange.request.fields.get(b"sec-websocket-key") or b""
        fields.add(b"connection", b"Upgrade", b"Connection")
        fields.add(b"upgrade", b"websocket", b"Upgrade")
        fields.add(b"sec-websocket-accept", generate_accept_token(key), b"Sec-WebSocket-Accept")
        response = Response(101, b"Switching Protocols", 11, fields, 0)
        exchange.upstream_head = self._poller.now
        exchange.attempt = None
        downstream = exchange.downstream
        self.stage = OPEN
        self._values[ASGI_WEBSOCKETS] += 1
        if isinstance(downstream, DownstreamLane):
            downstream.respond(agreement(response))
            downstream.flush()
            lane = self._pipe = LanePipe(exchange, downstream, self._poller, self, self._limits.silence)
            lane.begin()
        elif isinstance(downstream, DownstreamConnection):
            downstream.respond(response)
            early = downstream.detach()
            if downstream.closed:
                self._ended(ABNORMAL, "")
                return
            self._pipe = SocketPipe(downstream, self, self._limits.silence)
            if early:
                self.pipe_data(early)

    def _chosen(self, subprotocol: object) -> bytes:
        """Return the application's choice, which must be one of the client's (RFC 6455 section 4.2.2)."""
        if not isinstance(subprotocol, str) or _is_token(subprotocol) is None:
            raise ValueError(f"subprotocol {subprotocol!r} is not a token")
        octets = subprotocol.encode("ascii")
        offered = b",".join(self._exchange.request.fields.get_all(b"sec-websocket-protocol"))
        if octets not in [name.strip() for name in offered.split(b",")]:
            raise ValueError(f"subprotocol {subprotocol!r} was not offered")
        return octets

    def _deny(self) -> None:
        self.stage = OVER
        self._exchange.attempt = None
        answer_error(self._exchange, 403, "websocket-denied", edits=self._edits)
        self._event.set()

    async def _answer(self, message: Message) -> None:
        """The application denies in its own words."""
        if self._denial is None:
            exchange = self._exchange
            self._denial = HttpCall(exchange, self._poller, self._edits, self._values)
            exchange.attempt = self._denial
            self.stage = DENIED
        await self._denial.send({**message, "type": message["type"].removeprefix("websocket.")})
        self._event.set()

    # -- ends

    def over(self, reason: str) -> None:
        self._poller.now = time.monotonic()
        if self._denial is not None:
            self._denial.over(reason)
        elif self.stage == OPEN:
            self._close(INTERNAL if reason else NORMAL, "")
        elif self.stage != OVER and not self.gone:
            self.stage = OVER
            self._values[ASGI_UNANSWERED] += 1
            self._exchange.attempt = None
            answer_error(self._exchange, 500, reason or "app-no-answer", edits=self._edits)

    def go_away(self) -> None:
        """This process ends: tell the client."""
        if self.stage == OPEN:
            self._close(GOING_AWAY, "")

    def _close(self, code: int, reason: str) -> None:
        """Say Close, and give the client a little time to say it too."""
        pipe = self._pipe
        if self._frames.state in (ConnectionState.OPEN, ConnectionState.REMOTE_CLOSING):
            self._write(self._frames.send(CloseConnection(code=int(code), reason=reason or None)))
        self._ended(int(code), reason)
        if pipe is None:
            return
        if self._frames.state is ConnectionState.CLOSED:
            pipe.end("")
        else:
            pipe.close_within(CLOSE_SECONDS)
            self._go_on()

    def _ended(self, code: int, reason: str) -> None:
        """From here on nothing goes to or comes from the application."""
        if self.stage == OPEN:
            self._values[ASGI_WEBSOCKETS] -= 1
        if self.stage != OVER:
            self.stage = OVER
            self._code = code
            self._reason = reason
            self.gone = code == ABNORMAL
            self._message.clear()
        self._event.set()

    # -- what the pipe reports

    def pipe_data(self, data: bytes) -> None:
        if self._has_room:
            self._pinged = False  # else it has yet to show that it reads
        if self._frames.state not in (ConnectionState.OPEN, ConnectionState.LOCAL_CLOSING):
            return  # both have said Close: only our last octets are on their way
        self._frames.receive_data(data)
        self._parse()

    def _go_on(self) -> None:
        """Look at the frames that were left, then at what the client sends."""
        self._parse()
        if self._pipe is not None and not (self.stage == OPEN and (self._queue or self._choked)):
            self._pipe.unpause()

    def _parse(self) -> None:
        """Take frames until a message waits for the application, or a Pong for the client."""
        try:
            for event in self._frames.events():
                if isinstance(event, TextMessage | BytesMessage):
                    if not self._take(event):
                        return
                elif isinstance(event, Ping):
                    self._pong(event)
                elif isinstance(event, CloseConnection):
                    self._client_closes(event)
                    return
                if self.stage == OPEN and (self._queue or self._choked):
                    break
        except RemoteProtocolError:
            self._fail(PROTOCOL_ERROR, "bad-frame", ASGI_BAD_FRAME)
            return
        if self.stage == OPEN and (self._queue or self._choked) and self._pipe is not None:
            self._pipe.pause()

    def _pong(self, ping: Ping) -> None:
        # After our Close nothing follows (RFC 6455 section 5.5.1).
        if self._frames.state is ConnectionState.OPEN:
            self._choked = not self._write(self._frames.send(ping.response()))

    def _take(self, event: TextMessage | BytesMessage) -> bool:
        """Add a piece of a message, and queue it when it is whole."""
        if self.stage != OPEN:
            return True  # we have said Close: what still comes is for nobody
        message = self._message
        message += event.data.encode() if isinstance(event, TextMessage) else event.data
        self._frame_count += event.frame_finished
        if len(message) > self._limits.message or self._frame_count > MAX_FRAMES:
            self._fail(TOO_BIG, "message-too-big", ASGI_MESSAGE_TOO_BIG)
            return False
        if event.message_finished:
            if isinstance(event, TextMessage):
                self._queue.append({"type": "websocket.receive", "text": message.decode(), "bytes": None})
            else:
                self._queue.append({"type": "websocket.receive", "bytes": bytes(message), "text": None})
            message.clear()
            self._frame_count = 0
            self._event.set()
        return True

    def _client_closes(self, event: CloseConnection) -> None:
        state = self._frames.state
        code = int(event.code)
        if state is ConnectionState.OPEN:
            # Not a Close of the client's: its frames were none, and wsproto says what to call that.
            self._fail(code, "bad-frame", ASGI_BAD_FRAME)
            return
        if state is ConnectionState.REMOTE_CLOSING:
            self._write(self._frames.send(event.response()))
        self._ended(code, event.reason or "")
        if self._pipe is not None:
            self._pipe.end("")

    def _fail(self, code: int, reason: str, counter: int) -> None:
        """The client broke a rule: close on it, without waiting for its answer."""
        self._values[counter] += 1
        if self._frames.state is ConnectionState.OPEN:
            self._write(self._frames.send(CloseConnection(code=code, reason=reason)))
        self._ended(code, reason)
        if self._pipe is not None:
            self._pipe.end(reason)

    def pipe_room(self) -> None:
        self._has_room = True
        self._pinged = False
        if self._choked:
            self._choked = False
            self._go_on()
        self._event.set()

    def pipe_silent(self) -> bool:
        if self.stage != OPEN:
            return False
        if self._pinged:
            self._values[ASGI_SILENT] += 1
            return False
        self._pinged = True
        self._write(self._frames.send(Ping()))
        return True

    def pipe_over(self, reason: str) -> None:
        self._ended(ABNORMAL, reason)
