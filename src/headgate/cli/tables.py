"""Tables for people: coloured on a terminal, plain and wide into a pipe."""

import sys
from typing import IO, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Not a terminal: wide enough that no row is folded, so that grep finds what it looks for.
_PIPE_WIDTH: Final = 400
_STATE_STYLES: Final = {
    "fresh": "green",
    "listening": "green",
    "running": "green",
    "expiring": "yellow",
    "pending": "yellow",
    "starting": "yellow",
    "draining": "yellow",
    "expired": "red",
    "none": "red",
    "revoked": "red bold",
    "unusable": "red",
    "no-issuer": "red",
    "down": "red",
    "up": "green",
    "half-open": "yellow",
    "resting": "yellow",
    "ejected": "red",
}


def console(stream: IO[str] | None = None) -> Console:
    """Return a console on `stream` (default: stdout); plain and wide when it is no terminal."""
    stream = stream if stream is not None else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    # No markup: a file may be called [red].pem, and an address is no emoji.
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def table(*columns: str) -> Table:
    """Return an empty table."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def state_text(state: object) -> Text:
    """Return a state in its colour."""
    return Text(str(state), style=_STATE_STYLES.get(str(state), ""))
