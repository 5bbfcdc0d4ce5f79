"""The numbers of purges, which only ever grow: over restarts, and where the clock of the machine is set back.

A worker, and the list on disk, take a number that is not later than the last for one that they have obeyed. The
clock alone would do for a new number as long as it never goes back; so the last one is in a file of state_dir, and
the next is one more at least.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from headgate.clock import Clock
from headgate.ocsp.store import replace_file

NAME: Final = "purge-number"  # in state_dir
_DIGITS: Final = 20


class PurgeNumbers:
    """Gives the next number. `tell` hears when the last one cannot be read or kept."""

    def __init__(self, path: Path, clock: Clock, tell: Callable[[str], None]) -> None:
        self._path = path
        self._clock = clock
        self._tell = tell
        self._last = -1  # not read yet

    def next(self) -> int:
        """Return microseconds of the wall clock, or one more than the last number where that is later."""
        if self._last < 0:
            self._last = self._read()
        self._last = max(self._last + 1, int(self._clock.wall() * 1e6))
        try:
            replace_file(self._path, b"%d\n" % self._last)
        except OSError as error:
            self._tell(
                f"it cannot be written: {error.strerror} (errno {error.errno}); if the clock is set back before the"
                " next start, purges that come then may not be obeyed"
            )
        return self._last

    def _read(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                text = file.read(_DIGITS + 1).strip()
        except FileNotFoundError:
            return 0
        except OSError as error:
            self._tell(
                f"it cannot be read: {error.strerror} (errno {error.errno}); counting begins at the clock"
            )
            return 0
        if not text.isdigit() or len(text) >= _DIGITS:
            self._tell("it is not what was written there; counting begins at the clock")
            return 0
        return int(text)
