"""What an application prints and logs: events in the name of its process, `app-output`, a line each.

Standard error has JSON lines and standard output perhaps the access log: whoever reads either must not find words of
somebody else between them. Programs that an application starts write to standard error as it is.
"""

from __future__ import annotations

import codecs
import io
import sys
import threading
from typing import TYPE_CHECKING, Final

from headgate.telemetry.event_log import EventLog

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

# More than the 20 a minute of other events, for this is a log of its own: some 160 lines a second.
OUTPUT_BURST: Final = 10_000
# An event's value ends at 512 octets; a longer line becomes several events.
MAX_OUTPUT_LINE: Final = 500


def divert_output(process: str, fd: int = 2) -> None:
    """Let what Python code of this process prints and logs become events in its name."""
    sys.stdout = LineStream(process, "stdout", fd)
    sys.stderr = LineStream(process, "stderr", fd)


class LineStream(io.TextIOBase):
    """A text stream whose whole lines become events; any thread may write to it."""

    def __init__(self, process: str, stream: str, fd: int = 2) -> None:
        self._events = EventLog(fd, process, burst=OUTPUT_BURST)
        self._stream = stream
        self._fd = fd
        self._line = ""
        # A signal handler or a __del__ may print within `write`, in the thread that writes.
        self._lock = threading.RLock()
        self.buffer = OctetStream(self)

    encoding = "utf-8"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._line = (self._line + text).split("\n")
            while len(self._line) > MAX_OUTPUT_LINE:
                lines.append(self._line[:MAX_OUTPUT_LINE])
                self._line = self._line[MAX_OUTPUT_LINE:]
            for line in lines:
                for at in range(0, len(line), MAX_OUTPUT_LINE):
                    part = line[at : at + MAX_OUTPUT_LINE]
                    self._events.event("app-output", stream=self._stream, text=part)
        return len(text)

    def flush(self) -> None:
        """Lines go out when they are whole."""

    def reconfigure(self, **settings: object) -> None:
        """Encoding, line ends and buffering are those of events."""


class OctetStream(io.RawIOBase):
    """The `buffer` of a `LineStream`: what is written there is text in UTF-8."""

    def __init__(self, lines: LineStream) -> None:
        self._lines = lines
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._lock = threading.RLock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._lines.fileno()

    def write(self, data: ReadableBuffer) -> int:
        octets = bytes(data)
        with self._lock:
            self._lines.write(self._decoder.decode(octets))
        return len(octets)
