"""Frames about the connection itself: HANDSHAKE_DONE, connection IDs, a token (RFC 9000 section 19).

A notice is a kind and a number; its frame is made when it goes out, and when it was lost, it is made again unless it
means nothing any more (section 13.3). The numbers are sequence numbers of IDs, or count the tokens: only the newest
is said again. What waits is bounded by the IDs that are held: `MAX_OWN_IDS`, and `MAX_RETIRING` of the peer's.
"""

from typing import Final, final

from headgate.engine.quic import frames
from headgate.engine.quic.connection_ids import OwnConnectionIds, PeerConnectionIds

KINDS: Final = frozenset(
    (
        frames.FRAME_HANDSHAKE_DONE,
        frames.FRAME_NEW_CONNECTION_ID,
        frames.FRAME_RETIRE_CONNECTION_ID,
        frames.FRAME_NEW_TOKEN,
    )
)


@final
class Notices:
    """One connection's."""

    __slots__ = ("_due", "_own_ids", "_peer_ids", "_token", "_tokens")

    def __init__(self, own_ids: OwnConnectionIds, peer_ids: PeerConnectionIds) -> None:
        self._own_ids = own_ids
        self._peer_ids = peer_ids
        self._due: list[tuple[int, int]] = []
        self._token = b""
        self._tokens = 0

    def __repr__(self) -> str:
        return f"<Notices {self._due!r}, {len(self._peer_ids.due)} to retire>"

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._due) + len(self._peer_ids.due)

    def add(self, kind: int, number: int) -> None:
        """Have a notice sent."""
        self._due.append((kind, number))

    def give_token(self, token: bytes) -> None:
        """Have a token sent for later connections; it takes the place of one before (section 8.1.3)."""
        self._token = token
        self._tokens += 1
        self.add(frames.FRAME_NEW_TOKEN, self._tokens)

    def take(self, room: int) -> tuple[int, int, bytes]:
        """Return kind, number and frame of the next notice that fits; a kind below 0: there is none."""
        while self._due:
            kind, number = self._due[0]
            frame = self._frame(kind, number)
            if len(frame) > room:
                return -1, 0, b""
            del self._due[0]
            if frame:
                return kind, number, frame
        if self._peer_ids.due and room >= 9:
            number = self._peer_ids.due.pop(0)
            return frames.FRAME_RETIRE_CONNECTION_ID, number, frames.encode_retire_connection_id(number)
        return -1, 0, b""

    def _frame(self, kind: int, number: int) -> bytes:
        if kind == frames.FRAME_HANDSHAKE_DONE:
            return frames.HANDSHAKE_DONE_FRAME
        if kind == frames.FRAME_NEW_CONNECTION_ID:
            return self._own_ids.frame(number)
        return frames.encode_new_token(self._token) if number == self._tokens else b""

    def on_acked(self, kind: int, number: int) -> None:
        """A notice arrived."""
        if kind == frames.FRAME_RETIRE_CONNECTION_ID:
            self._peer_ids.acknowledged(number)

    def on_lost(self, kind: int, number: int) -> None:
        """A notice was lost, or a probe may as well carry it again."""
        if kind == frames.FRAME_RETIRE_CONNECTION_ID:
            self._peer_ids.lost(number)
        elif (kind, number) not in self._due:
            self.add(kind, number)
