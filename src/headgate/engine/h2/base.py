"""What both halves of an HTTP/2 connection share: its state, its events, how streams end, and what is to be written.

`H2Sender` adds how messages are written and how windows open, `H2Connection` how frames are read.
"""

from typing import Final

from headgate.engine.events import Event
from headgate.engine.h2.errors import STREAM_CLOSED
from headgate.engine.h2.flow import ReceiveWindow
from headgate.engine.h2.machine import CLOSED, DONE, FAILED, SEND_END, SEND_RESET, we_do
from headgate.engine.h2.settings import DEFAULT_WINDOW, H2Settings, RemoteSettings
from headgate.engine.h2.stream import H2Stream
from headgate.engine.message.events import StreamFailed

# Then GOAWAY: a client that stays for ever pins its worker, and old ones could never end (nginx 1000 requests, 1 h).
MAX_REQUESTS: Final = 10_000
MAX_AGE_SECONDS: Final = 3600.0
# Streams that we have reset, and of which frames may be on their way still (section 5.1): more than one round trip
# of a client that may have 100 open.
_RESETS_KEPT: Final = 256

FRAME_RST_STREAM: Final = b"\x00\x00\x04\x03\x00"


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
        self.max_requests = max_requests
        self.expires = now + max_age
        self.now = now  # of the last `receive` or `on_deadline`
        self.failed = False
        self.requests = 0
        self.lingering = 0  # set by the driver: work for streams that are gone already
        self.streams: dict[int, H2Stream] = {}
        self.window = ReceiveWindow(DEFAULT_WINDOW, self.local.connection_window_limit)
        self.send_window = DEFAULT_WINDOW  # of the connection; those of the streams are theirs
        self.queued_total = 0  # octets of content that wait
        self.control_queued = 0  # octets in `_control`
        self.resets_sent: dict[int, int] = {}  # RST_STREAM frames that we sent, by code
        self.resets_received = 0
        self._control: list[bytes] = []  # whole frames, in order, in front of all content
        self._events: list[Event] = []
        self._owners: list[int] = []  # the streams of `_events`
        self._event_at = 0
        self._drained: list[int] = []
        self._kept: dict[int, int] = {}  # unread octets of streams that ended well, and are gone
        self._last = 0  # the highest stream that the peer has begun (server) or that we have (client)
        self._reset: dict[int, None] = {}  # of those that we have reset, the last ones

    def __repr__(self) -> str:
        role = "client" if self.is_client else "server"
        return f"<H2Connection {role} requests={self.requests} open={len(self.streams)}>"

    # -- events

    def next_event(self) -> Event | None:
        """Return the next event, or None."""
        at = self._event_at
        if at >= len(self._events):
            if at > 0:
                self._events = []
                self._owners = []
                self._event_at = 0
            return None
        self._event_at = at + 1
        return self._events[at]

    def has_event_of(self, stream_id: int) -> bool:
        """Tell whether the next event is of this stream."""
        at = self._event_at
        return at < len(self._owners) and self._owners[at] == stream_id

    def _tell(self, stream_id: int, event: Event) -> None:
        self._events.append(event)
        self._owners.append(stream_id)

    # -- what goes out

    def _write(self, frame: bytes) -> None:
        """Let whole frames go out, behind all others, in front of content."""
        self._control.append(frame)
        self.control_queued += len(frame)

    def _write_reset(self, stream_id: int, code: int) -> None:
        """Write RST_STREAM; frames that the peer has sent already will be ignored."""
        reset = self._reset
        if stream_id in reset:
            return  # section 5.4.2: once for each stream
        if len(reset) >= _RESETS_KEPT:
            del reset[next(iter(reset))]
        reset[stream_id] = None
        self.resets_sent[code] = self.resets_sent.get(code, 0) + 1
        self._write(FRAME_RST_STREAM + stream_id.to_bytes(4, "big") + code.to_bytes(4, "big"))

    # -- ends

    def abort(self, stream_id: int, code: int = STREAM_CLOSED) -> None:
        """Give a stream up in both directions; nothing more is told of it."""
        raise NotImplementedError

    def _discard(self, stream: H2Stream) -> None:
        """Let go of what a stream that is reset holds: its content both ways. `H2Sender` does it."""
        raise NotImplementedError

    def _sent_end(self, stream: H2Stream) -> None:
        """END_STREAM has gone out."""
        stream.state = we_do(stream.state, SEND_END)
        stream.sending = DONE
        if stream.state == CLOSED:
            self._forget(stream)

    def _forget(self, stream: H2Stream) -> None:
        """Let go of a stream that is closed; what was handed out of it is consumed later."""
        self.streams.pop(stream.id, None)
        window = stream.window
        if window is not None and window.unread > 0:
            self._kept[stream.id] = window.unread

    def _end_with(self, stream: H2Stream, code: int) -> None:
        """Reset a stream that is open."""
        stream.state = we_do(stream.state, SEND_RESET)
        stream.receiving = FAILED
        stream.sending = FAILED
        self._write_reset(stream.id, code)
        self._discard(stream)
        self._forget(stream)

    def _fail(self, stream: H2Stream, code: int, reason: str, detail: str, by_peer: bool) -> None:
        """Tell that a stream is over before its time."""
        self._tell(stream.id, StreamFailed(stream.id, code, reason, detail, by_peer))
