"""What a peer may make us do for nothing (RFC 9113 section 10.5; CVE-2019-9511 to 9518, 2023-44487, 2025-8671).

HTTP/2 lets a few octets ask for work: a PING for an answer, a RST_STREAM for a request begun in vain, an empty DATA
frame for a turn of everybody's loop. None of it is wrong, only too much of it is. So each kind has a leaky count: a
burst that no client reaches which means well, and a rate at which it empties. One frame beyond it ends the connection
with ENHANCE_YOUR_CALM.

Who moves content needs such frames, credit above all. So content that goes either way earns some, and so does a
stream that is over; what was earned pays for frames of the kinds from `FIRST_PAID` on when their count is full. Four
requests that were answered in full make good for one that was given up: a gateway in front of us, with a thousand
users on one connection, cancels many requests, but few of those that it makes.

The count is the time at which it will be empty, in nanoseconds (GCRA): one integer for each kind, and nothing at all
to be done while time passes.
"""

from typing import Final, final

from headgate.engine.h2.errors import ENHANCE_YOUR_CALM, H2ConnectionError

RAPID_RESET: Final = 0
MADE_RESET: Final = 1
REFUSED_STREAMS: Final = 2
SETTINGS_FRAMES: Final = 3
PADDING: Final = 4
EMPTY_HEADERS: Final = 5
EMPTY_DATA: Final = 6
TINY_DATA: Final = 7
PINGS: Final = 8
PRIORITIES: Final = 9
WINDOW_UPDATES: Final = 10
UNKNOWN_FRAMES: Final = 11
CLOSED_STREAMS: Final = 12
FIRST_PAID: Final = EMPTY_DATA

# Bursts. Why so many, and who else does it: docs/limits.md.
MAX_RAPID_RESETS: Final = 500
MAX_MADE_RESETS: Final = 500
MAX_REFUSED_STREAMS: Final = 1000
MAX_SETTINGS_FRAMES: Final = 100
MAX_EMPTY_DATA: Final = 10_000
MAX_EMPTY_HEADERS: Final = 100
MAX_TINY_DATA: Final = 100_000
MAX_PADDING: Final = 1024 * 1024  # octets, of those that are more than the content they come with
MAX_PINGS: Final = 1000
MAX_PRIORITIES: Final = 1000
MAX_WINDOW_UPDATES: Final = 1000
MAX_UNKNOWN_FRAMES: Final = 1000
MAX_CLOSED_STREAM_FRAMES: Final = 1000
# So many requests that were answered make good for one that was given up: a cheap answer must not buy dear work.
ANSWERS_FOR_A_RESET: Final = 4
# A stream that has lived for longer was not given up in haste, but by its client's deadline (Envoy has the same).
RAPID_SECONDS: Final = 1.0
# What may be saved up for later.
MAX_EARNED: Final = 10_000
# What a frame of content, and a stream that is over, are worth: two windows are opened for it, and a PING may ask how
# fast it was. Envoy gives 10 for each DATA frame.
EARNED: Final = 4
# A DATA frame with less is tiny.
TINY: Final = 64

# (word for logs and metrics, burst, how many a second leak out), by kind.
KINDS: Final = (
    ("rapid-reset", MAX_RAPID_RESETS, 33),
    ("made-you-reset", MAX_MADE_RESETS, 33),
    ("refused-streams", MAX_REFUSED_STREAMS, 100),
    ("settings-flood", MAX_SETTINGS_FRAMES, 10),
    ("padding", MAX_PADDING, 64 * 1024),
    ("empty-headers", MAX_EMPTY_HEADERS, 10),
    ("empty-data", MAX_EMPTY_DATA, 1000),
    ("tiny-data", MAX_TINY_DATA, 100_000),
    ("ping-flood", MAX_PINGS, 33),
    ("priority-flood", MAX_PRIORITIES, 100),
    ("window-update-flood", MAX_WINDOW_UPDATES, 100),
    ("unknown-frames", MAX_UNKNOWN_FRAMES, 100),
    ("closed-streams", MAX_CLOSED_STREAM_FRAMES, 100),
)
_SECOND: Final = 1_000_000_000
_INTERVALS: Final[list[int]] = [_SECOND // kind[2] for kind in KINDS]
_FULL: Final[list[int]] = [kind[1] * (_SECOND // kind[2]) for kind in KINDS]


@final
class Budgets:
    """Those of one connection."""

    __slots__ = ("_empty_at", "earned")

    def __init__(self) -> None:
        self.earned = 0
        self._empty_at: list[int] = [0] * len(_FULL)

    def __repr__(self) -> str:
        return f"<Budgets earned={self.earned}>"

    def spend(self, kind: int, now: float, amount: int = 1) -> None:
        """Count something of a kind. Raises `H2ConnectionError` when there was too much."""
        at = int(now * 1e9)
        empty_at = self._empty_at[kind]
        if empty_at < at:
            empty_at = at
        empty_at += amount * _INTERVALS[kind]
        if empty_at - at <= _FULL[kind]:
            self._empty_at[kind] = empty_at
        elif kind >= FIRST_PAID and self.earned >= amount:
            self.earned -= amount
        else:
            raise _too_many(kind)

    def earn(self, amount: int) -> None:
        """Content went either way, or a stream is over."""
        self.earned += amount
        if self.earned > MAX_EARNED:
            self.earned = MAX_EARNED

    def answered(self) -> None:
        """A request was answered in full."""
        if self._empty_at[RAPID_RESET] > 0:
            self._empty_at[RAPID_RESET] -= _INTERVALS[RAPID_RESET] // ANSWERS_FOR_A_RESET

    def pad(self, padding: int, content: int, now: float) -> None:
        """Count the padding of a frame, as far as it is more than what comes with it."""
        if padding > content:
            self.spend(PADDING, now, padding - content)


def _too_many(kind: int) -> H2ConnectionError:
    word, burst, rate = KINDS[kind]
    return H2ConnectionError(ENHANCE_YOUR_CALM, word, f"more than {burst}, and then {rate} a second")
