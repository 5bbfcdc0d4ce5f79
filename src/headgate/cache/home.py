"""What workers say to each other about a key that one of them sees to (`cache/claims`).

Another worker that misses asks it by an HTTP/1.1 request over a local socket, with one field of ours beside what the
origin would get:

    a question   purges, slice, is-secure, route, key, host, path    (`Question`; the route is a number
                 that says how it is configured)
    an answer    "sign": it is being seen to, of an interim 102; "answer OUTCOME REASON FAILURE": what became of it
                 there; "alone WHY": ask the origin yourself

The field is one connection's own (`http/hop_by_hop`): a client's goes nowhere, and no client gets one.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, final

from headgate.cache.outcome import OUTCOMES, REASONS
from headgate.counters import CACHE_ALONE

FIELD: Final = b"headgate-peer"
WIRE_NAME: Final = b"Headgate-Peer"
SIGN: Final = b"sign"

# Why a worker asks the origin itself, by place in CACHE_ALONE.
UNREACHABLE: Final = 0  # nobody listens there
LATE: Final = 1  # no sign in time
BROKEN: Final = 2  # it ended before the head
SILENT: Final = 3  # no sign any more
FULL: Final = 4  # too many at once
RESTING: Final = 5  # it failed just now
PURGED: Final = 6  # it has not heard of a purge yet
NOT_STORED: Final = 7  # the answer is not one that is stored
# What is there, or was waited for, suits another request (Vary); its configuration is another.
UNSUITED: Final = 8
MALFORMED: Final = 9
GONE: Final = 10  # it has nothing of it, and fetches nothing

# Digits of a number: microseconds of any clock have fewer.
_DIGITS: Final = 18


@final
class Question:
    """What a worker asks another one.

    `purges` is the number of the last purge that it has obeyed. What unsafe requests have made old both read in one
    table (`proxy/caching`). `key` is the very key: it is not made anew.
    """

    __slots__ = ("host", "is_secure", "key", "path", "purges", "route", "slice")

    def __init__(
        self,
        purges: int,
        slice: int,
        is_secure: bool,
        route: int,
        key: bytes,
        host: bytes,
        path: bytes,
    ) -> None:
        self.purges = purges
        self.slice = slice
        self.is_secure = is_secure
        self.route = route
        self.key = key
        self.host = host
        self.path = path

    def encode(self) -> bytes:
        """Return the value of the field."""
        numbers = b"%d %d %d %d" % (self.purges, self.slice + 1, self.is_secure, self.route)
        texts = (self.key, self.host, self.path)
        return b" ".join([numbers, *[b"." + base64.urlsafe_b64encode(text) for text in texts]])


def decode_question(value: bytes) -> Question | None:
    """Read a question; None: it is none."""
    parts = value.split(b" ")
    if len(parts) != 7:
        return None
    for part in parts[:4]:
        if not part.isdigit() or len(part) > _DIGITS:
            return None
    texts: list[bytes] = []
    for part in parts[4:]:
        if not part.startswith(b"."):
            return None
        try:
            texts.append(base64.b64decode(part[1:], altchars=b"-_", validate=True))
        except binascii.Error:
            return None
    key, host, path = texts
    purges, place, secure, route = [int(part) for part in parts[:4]]
    if not key:
        return None
    return Question(purges, place - 1, secure == 1, route, key, host, path)


@final
class Answer:
    """What the home says of its answer: what became of the request there (`outcome`, `reason` of cache/outcome, and
    `failure`: the gate's own word where the origin gave no answer), or why there is none (`alone`, -1: there is)."""

    __slots__ = ("alone", "failure", "outcome", "reason")

    def __init__(self, outcome: int, reason: int, failure: str, alone: int = -1) -> None:
        self.outcome = outcome
        self.reason = reason
        self.failure = failure
        self.alone = alone

    def encode(self) -> bytes:
        """Return the value of the field."""
        if self.alone >= 0:
            return b"alone %d" % self.alone
        return b"answer %d %d %s" % (self.outcome, self.reason, self.failure.encode() or b"-")


def decode_answer(value: bytes) -> Answer | None:
    """Read what is said of an answer; None: nothing that can be read."""
    parts = value.split(b" ")
    if len(parts) == 2 and parts[0] == b"alone":
        why = _index(parts[1], len(CACHE_ALONE))
        return Answer(0, 0, "", why) if why >= 0 else None
    if len(parts) != 4 or parts[0] != b"answer" or not parts[3].isascii():
        return None
    outcome = _index(parts[1], len(OUTCOMES))
    reason = _index(parts[2], len(REASONS))
    if outcome < 0 or reason < 0:
        return None
    failure = "" if parts[3] == b"-" else parts[3].decode()
    return Answer(outcome, reason, failure)


def _index(text: bytes, size: int) -> int:
    """Read a place in a table of this size, -1: it is none."""
    if not text.isdigit() or len(text) > 3:
        return -1
    value = int(text)
    return value if value < size else -1
