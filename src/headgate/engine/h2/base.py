"""What both halves of an HTTP/2 connection share: its state, its events, how streams end, and what is to be written.

`H2Windows` adds flow control, `H2Sender` how messages are written, `H2Connection` how frames are read.
"""

from typing import Final

from headgate.engine.events import Event
from headgate.engine.h2 import frames
from headgate.engine.h2.budgets import EARNED, Budgets
from headgate.engine.h2.errors import INTERNAL_ERROR, NO_ERROR
from headgate.engine.h2.flow import ReceiveWindow
from headgate.engine.h2.frames import PREFACE, encode_frame
from headgate.engine.h2.hpack_decoder import HpackDecoder
from headgate.engine.h2.hpack_encoder import HpackEncoder
from headgate.engine.h2.machine import (
    CLOSED,
    DONE,
    FAILED,
    HALF_CLOSED_LOCAL,
    OPEN,
    SEND_END,
    SEND_RESET,
    we_do,
)
from headgate.engine.h2.scheduler import Scheduler
from headgate.engine.h2.settings import DEFAULT_FRAME, DEFAULT_WINDOW, H2Settings, RemoteSettings
from headgate.engine.h2.stream import H2Stream
from headgate.engine.message.events import StreamFailed
from headgate.errors import LocalProtocolError

NEVER: Final = float("inf")
# Then GOAWAY: a client that stays for ever pins its worker, and old ones could never end (nginx 1000 requests, 1 h).
MAX_REQUESTS: Final = 10_000
MAX_AGE_SECONDS: Final = 3600.0
# Streams that we have reset, and of which frames may be on their way still (section 5.1): more than one round trip
# of a client that may have 100 open.
MAX_RESETS_KEPT: Final = 256

# Frames that may be on their way of a stream that we give up, and count against its peer though it means well: a
# window of 1 MiB.
_ON_THEIR_WAY: Final = 64

_RST_STREAM: Final = b"\x00\x00\x04\x03\x00"


class H2Base:
    """Base of `H2Sender`."""

    def __init__(
        self,
        is_client: bool,
        now: float,
        settings: H2Settings | None = None,
        scheme: bytes = b"https",
        max_requests: int = MAX_REQUESTS,
        max_age: float = MAX_AGE_SECONDS,
    ) -> None:
        self.is_client = is_client
        self.local = settings if settings is not None else H2Settings()
        self.remote = RemoteSettings()
        self.scheme = scheme
        # As a server: the client is a gateway whose word counts, and may have been asked over TLS where we were not.
        self.from_gateway = False
        self.max_requests = max_requests
        self.expires = now + max_age
        self.now = now  # of the last `receive` or `on_deadline`
        self.failed = False
        self.requests = 0
        self.streams: dict[int, H2Stream] = {}
        self.decoder = HpackDecoder(self.local.header_table, self.local.max_section, self.local.max_lines)
        self.encoder = HpackEncoder(shared=is_client)
        self.budgets = Budgets()
        self.window = ReceiveWindow(self.local.connection_window, self.local.connection_window_limit)
        self.max_stream_window = self.local.stream_window
        # What holds for the peer until it has acknowledged our SETTINGS (section 6.5.3).
        self.settings_held = False
        self.receive_initial = DEFAULT_WINDOW
        self.max_frame = DEFAULT_FRAME
        self.send_window = DEFAULT_WINDOW  # of the connection; those of the streams are theirs
        self.scheduler = Scheduler()
        self.queued_total = 0  # octets of content that are held: a piece counts until all of it is out
        self.control_queued = 0  # octets in `_control`
        self.resets_sent: dict[int, int] = {}  # RST_STREAM frames that we sent, by code
        self.resets_received = 0
        self.goaway_received = -1  # the last stream that the peer says it will serve
        self.goaway_code = 0
        self._control: list[bytes] = []  # whole frames, in order, in front of all content
        # The stream of the last HEADERS, and where they stand in `_control` while END_STREAM may be put into them.
        self._head_of = 0
        self._head_at = -1
        self._events: list[Event] = []
        self._owners: list[int] = []  # the streams of `_events`
        self._event_at = 0
        self._dead: dict[int, int] = {}  # streams whose events below this place were taken back
        self._drained: list[int] = []
        self._kept: dict[int, int] = {}  # as a server: unread octets of streams that ended well, and are gone
        self._last = 0  # the highest stream that the peer has begun (server) or that we have (client)
        self._reset: dict[int, None] = {}  # of those that we have reset, the last ones
        self._forgotten = 0  # the highest of those that are not among them any more
        self._pending: dict[int, int] = {}  # priorities of streams that are not open yet
        self._goaway_sent = -1
        self._leave_at = NEVER
        self._ping_until = NEVER
        self._pings = 0
        self._write_preface()

    def __repr__(self) -> str:
        role = "client" if self.is_client else "server"
        return f"<H2Connection {role} requests={self.requests} open={len(self.streams)}>"

    def _write_preface(self) -> None:
        """Section 3.4: what each side begins with; the connection's window is opened at once."""
        frame = encode_frame(frames.SETTINGS, 0, 0, self.local.encode(self.is_client))
        self._write(PREFACE + frame if self.is_client else frame)
        more = self.local.connection_window - DEFAULT_WINDOW
        if more > 0:
            self._write(encode_frame(frames.WINDOW_UPDATE, 0, 0, more.to_bytes(4, "big")))

    # -- events

    def next_event(self) -> Event | None:
        """Return the next event, or None."""
        if self._dead:
            self._skip_dead()
        at = self._event_at
        if at >= len(self._events):
            if at > 0:
                self._events = []
                self._owners = []
                self._event_at = 0
            return None
        self._event_at = at + 1
        return self._events[at]

    def has_event(self) -> bool:
        """Tell whether there may be an event: what is sent can bring about one as well as what comes."""
        return self._event_at < len(self._events)

    def has_event_of(self, stream_id: int) -> bool:
        """Tell whether the next event is of this stream."""
        if self._dead:
            self._skip_dead()
        at = self._event_at
        return at < len(self._owners) and self._owners[at] == stream_id

    def _skip_dead(self) -> None:
        """Go on to the next event that was not taken back."""
        at = self._event_at
        dead = self._dead
        while at < len(self._events) and at < dead.get(self._owners[at], 0):
            at += 1
        self._event_at = at
        if at >= len(self._events):
            self._dead = {}

    def _tell(self, stream_id: int, event: Event) -> None:
        self._events.append(event)
        self._owners.append(stream_id)

    # -- what goes out

    def _write(self, frame: bytes) -> None:
        """Let whole frames go out, behind all others, in front of content."""
        if self.failed:
            return  # behind the last GOAWAY
        self._control.append(frame)
        self.control_queued += len(frame)

    def _write_reset(self, stream_id: int, code: int) -> None:
        """Write RST_STREAM; frames that the peer has sent already will be ignored."""
        reset = self._reset
        if stream_id in reset:
            return  # section 5.4.2: once for each stream
        if len(reset) >= MAX_RESETS_KEPT:
            oldest = next(iter(reset))
            del reset[oldest]
            self._forgotten = max(self._forgotten, oldest)
        reset[stream_id] = None
        self.resets_sent[code] = self.resets_sent.get(code, 0) + 1
        self._write(_RST_STREAM + stream_id.to_bytes(4, "big") + code.to_bytes(4, "big"))

    def _was_reset(self, stream_id: int) -> bool:
        """Tell whether we have reset a stream, as far as we remember: one that is older than that may have been."""
        return stream_id in self._reset or stream_id <= self._forgotten

    # -- streams

    @property
    def room(self) -> int:
        """As a client: how many more streams may be opened now."""
        if self.failed or self.goaway_received >= 0 or self._goaway_sent >= 0 or self.now >= self.expires:
            return 0
        room = self.remote.max_streams - len(self.streams)
        return max(0, min(room, self.max_requests - self.requests))

    def open_stream(self) -> int:
        """As a client: begin the next stream, to be sent a request on at once; return it.

        Raises `LocalProtocolError` when there is no `room`.
        """
        if not self.is_client or self.room <= 0:
            raise LocalProtocolError("no stream can be opened on this connection")
        stream_id = 1 if self._last == 0 else self._last + 2
        self._last = stream_id
        self.requests += 1
        self.streams[stream_id] = H2Stream(stream_id, self.remote.initial_window)
        return stream_id

    def abort(self, stream_id: int, code: int = INTERNAL_ERROR) -> None:
        """Give a stream up in both directions; nothing more is told of it."""
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._take_back(stream)
            self._end_with(stream, code)
            if self.is_client:
                self.budgets.earn(_ON_THEIR_WAY)  # it is not the origin that gives up
        else:
            self.consumed(stream_id, self._kept.get(stream_id, 0))

    def end_reading(self, stream_id: int) -> None:
        """As a server that answers in full: read no more of the request (section 8.1).

        RST_STREAM with NO_ERROR goes out behind the end of the answer, unless the request has ended by then.
        """
        stream = self.streams.get(stream_id)
        if stream is None:
            self.consumed(stream_id, self._kept.get(stream_id, 0))
            return
        if stream.state == OPEN or stream.state == HALF_CLOSED_LOCAL:
            self._take_back(stream)
            stream.receiving = FAILED
        if stream.window is not None:
            self.consumed(stream_id, stream.window.unread)
        if stream.state == HALF_CLOSED_LOCAL:
            self._end_with(stream, NO_ERROR)

    def _sent_end(self, stream: H2Stream) -> None:
        """END_STREAM has gone out."""
        stream.state = we_do(stream.state, SEND_END)
        stream.sending = DONE
        self.budgets.earn(EARNED)
        if not self.is_client:
            self.budgets.answered()
        if stream.state == CLOSED:
            self._forget(stream)
        elif stream.receiving == FAILED and not self.is_client:
            self._end_with(stream, NO_ERROR)

    def _forget(self, stream: H2Stream) -> None:
        """Let go of a stream that is closed; what was handed out of it is consumed later."""
        self.streams.pop(stream.id, None)
        window = stream.window
        if window is not None and window.unread > 0 and not self.is_client:
            self._kept[stream.id] = window.unread

    def _end_with(self, stream: H2Stream, code: int) -> None:
        """Reset a stream that is open."""
        stream.state = we_do(stream.state, SEND_RESET)
        stream.receiving = FAILED
        stream.sending = FAILED
        self._write_reset(stream.id, code)
        self._discard(stream)
        self.streams.pop(stream.id, None)

    def _close_by_peer(self, stream: H2Stream) -> None:
        """Let go of a stream that the peer has given up."""
        self._take_back(stream)
        stream.state = CLOSED
        stream.receiving = FAILED
        stream.sending = FAILED
        self._discard(stream)
        self.streams.pop(stream.id, None)

    def _fail(self, stream: H2Stream, code: int, reason: str, detail: str, by_peer: bool) -> None:
        """Tell that a stream is over before its time."""
        self._tell(stream.id, StreamFailed(stream.id, code, reason, detail, by_peer))

    def _take_back(self, stream: H2Stream) -> None:
        """Nobody has seen these events, and nobody shall begin to forward a message that is broken already.

        They are left where they are, and passed over: there may be thousands, of all streams.
        """
        if self._event_at < len(self._events):
            self._dead[stream.id] = len(self._events)

    # -- what `H2Windows` does

    def consumed(self, stream_id: int, count: int) -> None:
        """Content was used up: windows may open."""
        raise NotImplementedError

    def _discard(self, stream: H2Stream) -> None:
        """Let go of what a stream that is reset holds: its content both ways."""
        raise NotImplementedError
