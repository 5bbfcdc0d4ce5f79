"""What concerns an HTTP/2 connection as a whole: SETTINGS, PING, GOAWAY, priorities (RFC 9113 sections 6.3 to 6.8).

Leaving takes two steps (section 6.8). The first GOAWAY names the highest stream there can be: the client opens no
more, and what it has sent already is served. When the PING behind it comes back, or after `DRAIN_SECONDS`, a second
one names the last stream that really came; from there on requests are refused, to be asked again elsewhere.
"""

from typing import Final

from headgate.engine.h2.base import NEVER
from headgate.engine.h2.budgets import PINGS, PRIORITIES, SETTINGS_FRAMES, UNKNOWN_FRAMES
from headgate.engine.h2.errors import (
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    NO_ERROR,
    REFUSED_STREAM,
    H2ConnectionError,
    H2StreamError,
    frame_size_error,
    protocol_error,
)
from headgate.engine.h2.frames import (
    FLAG_ACK,
    GOAWAY,
    PING,
    SETTINGS,
    decode_number,
    encode_frame,
)
from headgate.engine.h2.machine import DONE, FAILED
from headgate.engine.h2.sender import H2Sender
from headgate.engine.h2.settings import PAIR
from headgate.engine.message.events import GoingAway
from headgate.engine.message.priority import parse_priority

LAST_STREAM: Final = (1 << 31) - 1
# Between the two steps of leaving, when no PING comes back: more than a slow round trip (Envoy 5 s).
DRAIN_SECONDS: Final = 2.0
# For the answer to a PING of ours (Go 15 s).
PING_SECONDS: Final = 15.0
# Entries of one SETTINGS frame; browsers send some 6.
MAX_SETTINGS: Final = 64

_DRAIN_PING: Final = b"leaving\x00"
_ACK: Final = encode_frame(SETTINGS, FLAG_ACK, 0, b"")


class H2Control(H2Sender):
    """Base of `H2Connection`."""

    # -- SETTINGS

    def _receive_settings(self, flags: int, payload: bytes) -> None:
        if flags & FLAG_ACK:
            if payload:
                raise frame_size_error("an acknowledgment of SETTINGS that says something")
            self._settings_held()
            return
        if len(payload) > MAX_SETTINGS * PAIR:
            raise H2ConnectionError(
                ENHANCE_YOUR_CALM, "settings-flood", f"more than {MAX_SETTINGS} settings at once"
            )
        if self.remote.received:
            self.budgets.spend(SETTINGS_FRAMES, self.now)
        remote = self.remote
        table = remote.header_table
        window = remote.initial_window
        remote.receive(payload, self.is_client)
        if remote.least_table < min(table, remote.header_table):
            self.encoder.apply_table_size(remote.least_table)  # of several in one frame
        if remote.header_table != table or remote.least_table != table:
            self.encoder.apply_table_size(remote.header_table)
        if remote.initial_window != window:
            self._shift_windows(remote.initial_window - window)
        self._write(_ACK)

    def _settings_held(self) -> None:
        """The peer has our SETTINGS: from here on they hold (section 6.5.3)."""
        if self.settings_held:
            self.budgets.spend(UNKNOWN_FRAMES, self.now)
            return
        self.settings_held = True
        self.decoder.settings_acknowledged()
        self.max_frame = self.local.max_frame
        more = self.local.initial_window - self.receive_initial
        self.receive_initial = self.local.initial_window
        for stream in self.streams.values():
            window = stream.window
            if window is not None:
                window.left += more
                window.window += more

    # -- PING

    def ping(self, now: float) -> None:
        """Ask whether the peer is there; no answer in `PING_SECONDS` is an error of `on_deadline`."""
        if self.failed or self._ping_until != NEVER:
            return
        self._pings += 1
        self._ping_until = now + PING_SECONDS
        self._write(encode_frame(PING, 0, 0, self._pings.to_bytes(8, "big")))

    def _receive_ping(self, flags: int, payload: bytes) -> None:
        if len(payload) != 8:
            raise frame_size_error(f"PING of {len(payload)} octets")
        if flags & FLAG_ACK == 0:
            self.budgets.spend(PINGS, self.now)
            self._write(encode_frame(PING, FLAG_ACK, 0, payload))
        elif payload == _DRAIN_PING and self._goaway_sent == LAST_STREAM:
            self._finish_leaving()
        elif self._ping_until != NEVER and payload == self._pings.to_bytes(8, "big"):
            self._ping_until = NEVER
        else:
            self.budgets.spend(UNKNOWN_FRAMES, self.now)  # an answer to nothing

    # -- GOAWAY

    @property
    def is_going_away(self) -> bool:
        """Whether we have said that we take no more requests."""
        return self._goaway_sent >= 0

    @property
    def is_finished(self) -> bool:
        """Whether that is the last word, and nothing is open any more: the connection may be closed."""
        return 0 <= self._goaway_sent < LAST_STREAM and not self.streams

    def go_away(self, now: float) -> None:
        """Take no more requests; those that the peer has begun are served."""
        if self._goaway_sent >= 0 or self.failed:
            return
        if self.is_client:
            self._finish_leaving()
            return
        self._write_goaway(LAST_STREAM, NO_ERROR, b"")
        self._write(encode_frame(PING, 0, 0, _DRAIN_PING))
        self._leave_at = now + DRAIN_SECONDS

    def _finish_leaving(self) -> None:
        """Say what the last stream was: a client has none that its server has begun."""
        self._leave_at = NEVER
        self._write_goaway(0 if self.is_client else self._last, NO_ERROR, b"")

    def _write_goaway(self, last: int, code: int, detail: bytes) -> None:
        self._goaway_sent = last
        self._write(encode_frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + detail))

    def _receive_goaway(self, payload: bytes) -> None:
        if len(payload) < 8:
            raise frame_size_error(f"GOAWAY of {len(payload)} octets")
        last = decode_number(payload, 0) & LAST_STREAM
        before = self.goaway_received
        if 0 <= before < last:
            raise protocol_error(f"GOAWAY with {last} after {before}")
        self.goaway_code = decode_number(payload, 4)
        if before >= 0:
            self.budgets.spend(UNKNOWN_FRAMES, self.now)
            if last == before:
                return
        self.goaway_received = last
        self._tell(-1, GoingAway(last + 1))
        if not self.is_client:
            return
        for stream in list(self.streams.values()):
            if stream.id > last and stream.receiving != DONE:
                self._close_by_peer(stream)
                self._fail(stream, REFUSED_STREAM, "going-away", "the server has not looked at it", True)

    # -- priorities

    def _receive_priority(self, stream_id: int, length: int) -> None:
        """Section 5.3.2: what it says is not used any more, only its form is held."""
        if stream_id == 0:
            raise protocol_error("PRIORITY of the connection")
        if length != 5:
            if stream_id not in self.streams:
                raise frame_size_error(f"PRIORITY of {length} octets")
            raise H2StreamError(FRAME_SIZE_ERROR, "frame-size", f"PRIORITY of {length} octets")
        self.budgets.spend(PRIORITIES, self.now)

    def _receive_priority_update(self, payload: bytes) -> None:
        """RFC 9218 section 7.1: a stream, and the value of a Priority field for it."""
        if self.is_client:
            raise protocol_error("PRIORITY_UPDATE from a server (RFC 9218 section 7.1)")
        if len(payload) < 4:
            raise frame_size_error(f"PRIORITY_UPDATE of {len(payload)} octets")
        self.budgets.spend(PRIORITIES, self.now)
        stream_id = decode_number(payload, 0) & LAST_STREAM
        if stream_id & 1 == 0:
            raise protocol_error(f"a priority for {stream_id}, no stream that a client may have begun")
        priority = parse_priority(payload[4:])
        if priority < 0:
            return
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.updated = True
            self._prioritise(stream, priority)
        elif stream_id > self._last:
            self._keep_priority(stream_id, priority)

    def _keep_priority(self, stream_id: int, priority: int) -> None:
        """Keep the priority of a stream that is idle: of no more than could be opened beside those that are open."""
        pending = self._pending
        pending.pop(stream_id, None)
        most = self.local.max_streams - len(self.streams)
        if len(pending) >= most:
            for left_out in [number for number in pending if number <= self._last]:
                del pending[left_out]
            if len(pending) >= most:
                raise protocol_error("priorities of more streams than may be open (RFC 9218 section 7.1)")
        pending[stream_id] = priority

    # -- time

    def deadline(self) -> float:
        """Return when `on_deadline` is due, infinity for never."""
        return min(self._leave_at, self._ping_until)

    def on_deadline(self, now: float) -> None:
        """Do what is due. Raises `H2ConnectionError` when a PING was not answered."""
        self.now = now
        if self.failed:
            return
        if now >= self._leave_at:
            self._finish_leaving()
        if now >= self._ping_until:
            error = H2ConnectionError(NO_ERROR, "ping-timeout", f"no answer to PING in {PING_SECONDS:g} s")
            self._break(error)
            raise error

    def end(self, code: int, reason: str) -> None:
        """End the connection at once, for a reason of our own: a last GOAWAY says which."""
        if not self.failed:
            self._break(H2ConnectionError(code, reason))

    def _break(self, error: H2ConnectionError) -> None:
        """End the connection: a last GOAWAY says why, and nothing goes out behind it."""
        last = 0 if self.is_client else self._last
        if self._goaway_sent >= 0:
            last = min(last, self._goaway_sent)
        self._write_goaway(last, error.code, error.reason.encode())
        self.failed = True
        self._leave_at = NEVER
        self._ping_until = NEVER
        for stream in self.streams.values():
            stream.receiving = FAILED
            stream.sending = FAILED
            self._discard(stream)
