"""The event log: what happened to Headgate itself, one JSON line for each event, on standard error.

`event` never raises and never waits: a line is one non-blocking write of at most `LINE_LIMIT` bytes, and what the
reader does not take is counted and told with the next line that goes through. A flood cannot fill the disk: of
one event name only `burst` are written within `WINDOW` seconds, the rest is counted and summed up in one line.
Events that each need their line although their name is the same (a failed fetch for each of 100 certificates) give
a `limit_key`, and are limited for each key apart.

A terminal gets readable lines instead of JSON.
"""

import os
import time
from typing import Final

import orjson

from headgate.clock import Clock, SystemClock
from headgate.telemetry.access_log import UNSAFE, text
from headgate.telemetry.log_writer import nonblocking_twin

LINE_LIMIT: Final = 4096
VALUE_LIMIT: Final = 512
FIELDS_LIMIT: Final = 32
BURST: Final = 20
WINDOW: Final = 60.0
# Pairs of name and key whose floods are watched; the longest untouched is forgotten first.
WATCHED_LIMIT: Final = 1024

_COLOURS: Final = {"warning": "\x1b[33m", "error": "\x1b[31m", "debug": "\x1b[2m"}
_CONTROLS: Final = {**UNSAFE, **{code: f"\\x{code:02x}" for code in range(0x20)}}


class _Window:
    """How often one event was seen in the running minute."""

    __slots__ = ("began", "level", "seen")

    def __init__(self, began: float, level: str) -> None:
        self.began = began
        self.level = level
        self.seen = 0


class EventLog:
    """Writes the events of one process."""

    def __init__(
        self, stream_fd: int = 2, process: str = "", *, clock: Clock | None = None, burst: int = BURST
    ) -> None:
        """Write to what `stream_fd` is open on; `process` names the writer in each line ("worker 0")."""
        self.process = process
        self.lost = 0
        self._clock: Clock = clock or SystemClock()
        self._burst = burst
        self._windows: dict[tuple[str, str], _Window] = {}
        self._fd = nonblocking_twin(stream_fd)
        self._readable = os.isatty(self._fd)

    def event(self, name: str, level: str = "info", *, limit_key: str = "", **fields: object) -> None:
        """Write one event.

        `name` is a stable word like "ocsp-fetch-failed", `level` one of debug, info, warning, error. Values may be
        text, bytes, numbers, lists of them or anything with a `str()`; long ones are cut.
        """
        try:
            if self._may_pass(name, limit_key, level):
                self._write(name, level, fields)
        except Exception:  # a log that raises would break what it is to describe
            self.lost += 1

    def sweep(self) -> None:
        """Sum up the floods that are over; called once in a sweep, so that the sum of the last one comes out too."""
        try:
            now = self._clock.now()
            over = [key for key, window in self._windows.items() if now >= window.began + WINDOW]
            for key in over:
                self._summarise(key, self._windows.pop(key))
        except Exception:
            self.lost += 1

    def close(self) -> None:
        """Sum up every flood, then let go of the stream."""
        for key, window in list(self._windows.items()):
            self._summarise(key, window)
        self._windows.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _may_pass(self, name: str, limit_key: str, level: str) -> bool:
        key = (name, limit_key)
        now = self._clock.now()
        window = self._windows.get(key)
        if window is not None and now >= window.began + WINDOW:
            self._summarise(key, self._windows.pop(key))
            window = None
        if window is None:
            if len(self._windows) >= WATCHED_LIMIT:
                oldest = next(iter(self._windows))
                self._summarise(oldest, self._windows.pop(oldest))
            window = self._windows[key] = _Window(now, level)
        window.seen += 1
        return window.seen <= self._burst

    def _summarise(self, key: tuple[str, str], window: _Window) -> None:
        suppressed = window.seen - self._burst
        if suppressed > 0:
            fields: dict[str, object] = {"of": key[0], "suppressed": suppressed, "seconds": WINDOW}
            if key[1]:
                fields["key"] = key[1]
            self._write("events-suppressed", window.level, fields)

    def _write(self, name: str, level: str, fields: dict[str, object]) -> None:
        if self.lost:
            fields = {**fields, "events_lost": self.lost}
        shown = {key: _value(value) for key, value in list(fields.items())[:FIELDS_LIMIT]}
        line = self._line(name, level, shown)
        if len(line) > LINE_LIMIT:
            room = LINE_LIMIT // (12 * (len(shown) + 1))
            shown = {key[:room]: str(value)[:room] for key, value in shown.items()}
            line = self._line(name, level, {**shown, "cut": True})[: LINE_LIMIT - 1].rstrip(b"\n") + b"\n"
        try:
            # A line of at most PIPE_BUF bytes is taken by a pipe whole or not at all.
            os.write(self._fd, line)
        except OSError:
            self.lost += 1
        else:
            self.lost = 0

    def _line(self, name: str, level: str, fields: dict[str, object]) -> bytes:
        wall = self._clock.wall()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall)) + f".{int(wall % 1 * 1000):03d}Z"
        if self._readable:
            return self._readable_line(stamp, name, level, fields)
        # Fields come last and cannot replace what says who and when.
        fixed = {"time": stamp, "level": level, "event": name, "process": self.process}
        return orjson.dumps({**fixed, **{k: v for k, v in fields.items() if k not in fixed}}) + b"\n"

    def _readable_line(self, stamp: str, name: str, level: str, fields: dict[str, object]) -> bytes:
        parts = [stamp[11:19], f"{level:7}", self.process, name]
        parts += [f"{key}={_quoted(value)}" for key, value in fields.items()]
        line = " ".join(part.translate(_CONTROLS) for part in parts if part)
        colour = _COLOURS.get(level, "")
        return f"{colour}{line}{chr(27) + '[0m' if colour else ''}\n".encode()


def _value(value: object) -> object:
    """Return `value` as JSON takes it, cut to the limit."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, bytes):
        return text(value[:VALUE_LIMIT])
    if isinstance(value, list | tuple | set | frozenset):
        return [_value(item) for item in list(value)[:FIELDS_LIMIT]]
    return text(str(value)[:VALUE_LIMIT].encode("utf-8", "surrogatepass"))


def _quoted(value: object) -> str:
    shown = str(value)
    return f'"{shown}"' if " " in shown or not shown else shown
