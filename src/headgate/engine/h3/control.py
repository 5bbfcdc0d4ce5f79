"""The peer's control stream (RFC 9114 section 6.2.1): SETTINGS first, then GOAWAY, MAX_PUSH_ID and priorities.

`ControlReader` holds what the peer said last; its owner looks after each `receive`. Server push is never used: as a
client we allow none, as a server we push nothing, so its frames are only checked.
"""

from typing import Final, final

from headgate.engine.h3.budget import GLITCH_SECONDS, MAX_GLITCHES, Budget
from headgate.engine.h3.errors import (
    H3_EXCESSIVE_LOAD,
    H3_FRAME_ERROR,
    H3_GENERAL_PROTOCOL_ERROR,
    H3_ID_ERROR,
    H3_MISSING_SETTINGS,
    H3ConnectionError,
    unexpected,
)
from headgate.engine.h3.frames import (
    CANCEL_PUSH,
    DATA,
    FRAME_MAX_PUSH_ID,
    GOAWAY,
    HEAD,
    HEADERS,
    PAYLOAD,
    PRIORITY_UPDATE_PUSH,
    PRIORITY_UPDATE_REQUEST,
    PUSH_PROMISE,
    RESERVED,
    SETTINGS,
    WHOLE,
    FrameReader,
    decode_single,
)
from headgate.engine.h3.settings import MAX_SETTINGS_OCTETS, PeerSettings
from headgate.engine.message.priority import MAX_PRIORITY_OCTETS, parse_priority
from headgate.engine.varint import decode_varint, length_of_varint

NOT_SENT: Final = -1
_MAX_ID_OCTETS: Final = 8


@final
class Glitches:
    """The budget for what serves nobody, shared by all streams of a connection."""

    __slots__ = ("_budget",)

    def __init__(self) -> None:
        self._budget = Budget(MAX_GLITCHES, GLITCH_SECONDS)

    def spend(self, now: float) -> None:
        """Count one. Raises `H3ConnectionError` when there were too many."""
        if not self._budget.spend(now):
            raise H3ConnectionError(
                H3_EXCESSIVE_LOAD,
                "glitches",
                f"more than {MAX_GLITCHES} frames for nothing in {GLITCH_SECONDS:g} s",
            )

    def earn(self) -> None:
        """Count a frame that means something."""
        self._budget.earn()


@final
class ControlReader:
    """Reads the peer's control stream. `priorities` are (stream, priority) to be taken by its owner."""

    def __init__(self, is_client: bool, glitches: Glitches) -> None:
        self.is_client = is_client
        self.settings = PeerSettings()
        self.goaway = NOT_SENT
        self.max_push_id = NOT_SENT
        self.priorities: list[tuple[int, int]] = []
        self.max_streams = 1 << 60  # request streams that the peer may open, all in all
        self._glitches = glitches
        self._reader = FrameReader()

    def __repr__(self) -> str:
        return f"<ControlReader settings={self.settings.received} goaway={self.goaway}>"

    def receive(self, data: bytes, now: float) -> None:
        """Take octets. Raises `H3ConnectionError`."""
        reader = self._reader
        reader.feed(data)
        while True:
            met = reader.next()
            if met == HEAD:
                self._head(reader, now)
            elif met == PAYLOAD:
                self._payload(reader.type, reader.payload)
            else:
                return

    def _head(self, reader: FrameReader, now: float) -> None:
        """Decide on a frame by its type and length, before any of its payload is kept."""
        kind = reader.type
        length = reader.length
        if not self.settings.received:
            if kind != SETTINGS:
                raise H3ConnectionError(
                    H3_MISSING_SETTINGS, "missing-settings", f"a frame {kind:#x} came first"
                )
            if length > MAX_SETTINGS_OCTETS:
                raise H3ConnectionError(H3_EXCESSIVE_LOAD, "settings", f"SETTINGS of {length} octets")
        elif kind in (DATA, HEADERS, PUSH_PROMISE, SETTINGS) or kind in RESERVED:
            raise unexpected(f"a frame {kind:#x} on the control stream")
        elif kind in (GOAWAY, CANCEL_PUSH, FRAME_MAX_PUSH_ID):
            if length > _MAX_ID_OCTETS:
                raise _wrong_length(kind)
            self._glitches.spend(now)
        elif kind in (PRIORITY_UPDATE_REQUEST, PRIORITY_UPDATE_PUSH):
            if self.is_client:
                raise unexpected("PRIORITY_UPDATE from a server (RFC 9218 section 7.2)")
            self._glitches.spend(now)
            if length > MAX_PRIORITY_OCTETS + _MAX_ID_OCTETS:
                raise H3ConnectionError(H3_EXCESSIVE_LOAD, "priority", f"PRIORITY_UPDATE of {length} octets")
        else:
            self._glitches.spend(now)
            return  # section 9: unknown frames are skipped
        reader.take(WHOLE)

    def _payload(self, kind: int, payload: bytes) -> None:
        if kind == SETTINGS:
            self.settings.receive(payload)
        elif kind in (PRIORITY_UPDATE_REQUEST, PRIORITY_UPDATE_PUSH):
            self._priority_update(kind, payload)
        else:
            number = decode_single(payload)
            if number < 0:
                raise _wrong_length(kind)
            if kind == GOAWAY:
                self._goaway(number)
            elif kind == FRAME_MAX_PUSH_ID:
                self._max_push_id(number)
            else:
                # Section 7.2.3: nothing was ever promised, in either direction.
                raise H3ConnectionError(H3_ID_ERROR, "push", "CANCEL_PUSH of a push that was never promised")

    def _goaway(self, number: int) -> None:
        """Section 5.2: the identifier never grows; a server's is a request stream (section 7.2.6)."""
        if self.is_client and number & 3:
            raise H3ConnectionError(
                H3_ID_ERROR, "goaway", f"GOAWAY with {number}, which is no request stream"
            )
        if self.goaway != NOT_SENT and number > self.goaway:
            raise H3ConnectionError(H3_ID_ERROR, "goaway", f"GOAWAY with {number} after {self.goaway}")
        self.goaway = number

    def _max_push_id(self, number: int) -> None:
        if self.is_client:
            raise unexpected("MAX_PUSH_ID from a server (section 7.2.7)")
        if number < self.max_push_id:
            raise H3ConnectionError(H3_ID_ERROR, "push", f"MAX_PUSH_ID {number} after {self.max_push_id}")
        self.max_push_id = number

    def _priority_update(self, kind: int, payload: bytes) -> None:
        """RFC 9218 section 7.2: an element, and the value of a Priority field for it."""
        if not payload or len(payload) < length_of_varint(payload[0]):
            raise _wrong_length(kind)
        element = decode_varint(payload, 0)
        priority = parse_priority(payload[length_of_varint(payload[0]) :])
        if kind == PRIORITY_UPDATE_PUSH:
            raise H3ConnectionError(H3_ID_ERROR, "priority", f"a priority for push {element}, never promised")
        if element & 3 or element >> 2 >= self.max_streams:
            raise H3ConnectionError(
                H3_ID_ERROR, "priority", f"a priority for {element}, no stream that may be"
            )
        if priority < 0:
            raise H3ConnectionError(H3_GENERAL_PROTOCOL_ERROR, "priority", "a priority that is no dictionary")
        self.priorities.append((element, priority))


def _wrong_length(kind: int) -> H3ConnectionError:
    return H3ConnectionError(
        H3_FRAME_ERROR, "frame-error", f"a frame {kind:#x} that is longer or shorter than it says"
    )
