"""Who of a gate's workers sees to a key: made before the workers are forked, and shared by all of them.

A worker that misses claims the key, and goes to the origin itself; who finds a claim asks the one that has it
(`proxy/peers`). So a key that nobody else wants costs two system calls, and no word between workers.

A claim is a lock of the kernel (fcntl(2), F_SETLK) on octets of a file in memory that stand for the key's hash. Two
workers never get it both, whatever they do at the same moment, and a worker that dies has none. How long its range
is says which worker's it is: that is read (F_GETLK) without its help. A file's locks are one list, which is why there
are several.

What has been fetched is remembered in a table: which worker has a key's response in memory, or which workers, where
there may be variants of it (Vary). It is a hint: several keys share a place, the last one has it, and who is asked in
vain says so. The hint is there before the claim is given
back, and is read after the claim was got: none falls in between.

Hashes are Python's own, which are the same in all processes of one start, and which nobody outside can foresee.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import struct
from typing import Any, Final, final

# What `Claims.take` returns in place of another worker's slot.
MINE: Final = -1
NOBODY: Final = -2  # nobody has it, and we could not get it

# Lists of locks: with 4096 requests under way, one is found among 256.
FILES: Final = 16
# Responses of which it is known who has them, 4 octets each.
PLACES: Final = 1 << 20
_WAYS: Final = 4
_BUCKETS: Final = PLACES // _WAYS
# Slots are one octet of a place; workers from here on are asked while they fetch, and not for what they have.
_SLOTS: Final = 255
_TRIES: Final = 3

_HASH: Final = (1 << 61) - 1
_START: Final = (1 << 54) - 1
_TAG: Final = (1 << 24) - 1
# What a lock says that is another's (fcntl(2)); anything else is a failure.
_TAKEN: Final = (errno.EAGAIN, errno.EACCES)
# struct flock
_FLOCK: Final = struct.Struct("@hhqqi4x")


@final
class Claims:
    """The claims of one worker among those of all; `slot` is set after the fork. Raises OSError when it is made.

    A lock that the kernel refuses for another reason than that it is taken (ENOLCK: no memory for it) is `failures`
    one more, and `failure` its errno.
    """

    def __init__(self) -> None:
        self.slot = -1
        self.failures = 0
        self.failure = 0
        self._files = [os.memfd_create(f"headgate-claims-{number}") for number in range(FILES)]
        self._places: Any = memoryview(mmap.mmap(-1, 4 * PLACES)).cast("I")

    def __repr__(self) -> str:
        return f"<Claims of worker {self.slot}>"

    def belong(self, slot: int) -> None:
        """In a worker: it has this slot, and nothing of what a predecessor had in memory."""
        self.slot = slot
        if slot >= _SLOTS:
            return
        mark = slot + 1
        octets = self._places.tobytes()
        if bytes((mark,)) not in octets[::4]:
            return
        for at, place in enumerate(self._places.tolist()):
            if place & 0xFF == mark:
                self._places[at] = 0

    def close(self) -> None:
        """Give back all claims, and what they are made with."""
        while self._files:
            os.close(self._files.pop())

    # -- claims

    def take(self, key: bytes, past: tuple[int, ...] = ()) -> int:
        """Claim a key: MINE, it is ours until `give_back`; else the slot of who has claimed it, or has its response
        in memory (`past`: never mind these), or NOBODY."""
        code = hash(key) & _HASH
        failures = self.failures
        for _ in range(_TRIES):
            if self._lock(code):
                holder = self.holder(key, past)
                if holder in (NOBODY, self.slot) or holder in past:
                    return MINE
                self.give_back(key)
                return holder
            owner = self._owner(code)
            if owner != NOBODY:
                return owner
            if self.failures != failures:
                break
        return NOBODY

    def give_back(self, key: bytes) -> None:
        """Claim a key no longer."""
        code = hash(key) & _HASH
        try:
            fcntl.lockf(self._files[code % FILES], fcntl.LOCK_UN, self.slot + 1, (code & _START) << 8)
        except OSError as error:
            self._failed(error)  # still claimed: who asks us in vain claims it past us

    def owner(self, key: bytes) -> int:
        """Return the slot of the other worker that has claimed a key, NOBODY for none."""
        return self._owner(hash(key) & _HASH)

    def _lock(self, code: int) -> bool:
        try:
            fcntl.lockf(
                self._files[code % FILES], fcntl.LOCK_EX | fcntl.LOCK_NB, self.slot + 1, (code & _START) << 8
            )
        except OSError as error:
            if error.errno not in _TAKEN:
                self._failed(error)
            return False  # another one's; or a failure, which `_owner` finds nobody to have
        return True

    def _owner(self, code: int) -> int:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, (code & _START) << 8, 1, 0)
        try:
            found = fcntl.fcntl(self._files[code % FILES], fcntl.F_GETLK, asked)
        except OSError as error:
            self._failed(error)
            return NOBODY
        kind, _, _, length, _ = _FLOCK.unpack(found)
        return NOBODY if kind == fcntl.F_UNLCK else int(length) - 1

    def _failed(self, error: OSError) -> None:
        self.failures += 1
        self.failure = error.errno or 0

    # -- what is in whose memory

    def holder(self, key: bytes, past: tuple[int, ...] = ()) -> int:
        """Return the slot of a worker that has a response of a key, as far as is known, rather another one's than
        ours or one of `past`; else NOBODY."""
        code = hash(key) & _HASH
        at = code % _BUCKETS * _WAYS
        tag = code >> 20 & _TAG
        places: list[int] = self._places[at : at + _WAYS].tolist()
        found = NOBODY
        for place in places:
            if place >> 8 == tag and place & 0xFF:
                found = (place & 0xFF) - 1
                if found != self.slot and found not in past:
                    break
        return found

    def hold(self, key: bytes, *, beside: bool = False) -> None:
        """This worker has the response of a key from now on; `beside` others that have another variant of it."""
        if self.slot >= _SLOTS:
            return
        code = hash(key) & _HASH
        at = code % _BUCKETS * _WAYS
        tag = code >> 20 & _TAG
        places: list[int] = self._places[at : at + _WAYS].tolist()
        mine = tag << 8 | self.slot + 1
        chosen = (code >> 44) % _WAYS
        for way, place in enumerate(places):
            if place == mine or (place >> 8 == tag and not beside):
                self._places[at + way] = place = 0
            if place == 0:
                chosen = way
        self._places[at + chosen] = mine

    def let_go(self, key: bytes) -> None:
        """It has that no more."""
        self.forget(key, self.slot)

    def forget(self, key: bytes, slot: int) -> None:
        """The worker of a slot has no response of a key: it has said so."""
        if slot >= _SLOTS:
            return
        code = hash(key) & _HASH
        at = code % _BUCKETS * _WAYS
        theirs = (code >> 20 & _TAG) << 8 | slot + 1
        places: list[int] = self._places[at : at + _WAYS].tolist()
        for way, place in enumerate(places):
            if place == theirs:
                self._places[at + way] = 0
