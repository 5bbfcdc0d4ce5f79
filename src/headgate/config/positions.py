"""Where each key of a TOML text stands (TOML 1.0).

`tomllib` gives values without lines, so the text is walked once more, by a scanner that only follows the structure:
headers, keys, strings, arrays, inline tables. It runs after `tomllib` has accepted the text and relies on that: what
it meets is valid. A property test holds both to the same set of keys.
"""

import re
import tomllib
from bisect import bisect_right
from typing import Final, final

from headgate.config.table import Location

_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_BASIC: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_LITERAL: Final = re.compile(r"'[^']*'")
# Up to two quotes may stand right before the closing three and belong to the string.
_LONG_BASIC: Final = re.compile(r'"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}', re.DOTALL)
_LONG_LITERAL: Final = re.compile(r"'''(?:[^']|'{1,2}(?!'))*'{3,5}", re.DOTALL)
_BLANK: Final = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_SPACE: Final = re.compile(r"[ \t]*")
_SCALAR: Final = re.compile(r"[^,\]}#\n]*")


def scan(text: str) -> dict[Location, tuple[int, int]]:
    """Return (line, column), from 1, of every table, key and array element in `text`, which is valid TOML."""
    scanner = _Scanner(text)
    scanner.run()
    return scanner.found


def position_of(found: dict[Location, tuple[int, int]], location: Location) -> tuple[int, int]:
    """Return where `location` stands, or the nearest table around it; (1, 1) for the document as a whole."""
    for length in range(len(location), 0, -1):
        if (position := found.get(location[:length])) is not None:
            return position
    return 1, 1


@final
class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.found: dict[Location, tuple[int, int]] = {}
        self._arrays: dict[Location, int] = {}  # arrays of tables, with the index of their newest element
        self._newlines = [i for i, character in enumerate(text) if character == "\n"]

    def run(self) -> None:
        table: Location = ()
        self._skip(_BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_BLANK)

    def _skip(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise ValueError(
                f"no valid TOML at offset {self.at}"
            )  # `tomllib` and this scanner disagree: a defect
        self.at = match.end()
        return match[0]

    def _note(self, location: Location, offset: int) -> None:
        line = bisect_right(self._newlines, offset - 1)
        start = self._newlines[line - 1] + 1 if line else 0
        self.found.setdefault(location, (line + 1, offset - start + 1))

    def _header(self) -> Location:
        start = self.at
        many = self.text.startswith("[[", start)
        self.at += 2 if many else 1
        keys = self._keys()
        self.at += 2 if many else 1
        location: Location = ()
        for step, key in enumerate(keys):
            location = (*location, key)
            self._note(location, start)
            if many and step == len(keys) - 1:
                self._arrays[location] = self._arrays.get(location, -1) + 1
            if location in self._arrays:
                location = (*location, self._arrays[location])
                self._note(location, start)
        return location

    def _keys(self) -> list[str]:
        keys = []
        while True:
            self._skip(_SPACE)
            keys.append(self._key())
            self._skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def _key(self) -> str:
        quote = self.text[self.at]
        if quote == '"':
            raw = self._skip(_BASIC)
            return str(tomllib.loads(f"key = {raw}")["key"])
        if quote == "'":
            return self._skip(_LITERAL)[1:-1]
        return self._skip(_BARE_KEY)

    def _pair(self, table: Location) -> None:
        start = self.at
        location = table
        for key in self._keys():
            location = (*location, key)
            self._note(location, start)
        self.at += 1  # the equals sign
        self._skip(_SPACE)
        self._value(location)

    def _value(self, location: Location) -> None:
        text, at = self.text, self.at
        if text.startswith('"""', at):
            self._skip(_LONG_BASIC)
        elif text.startswith("'''", at):
            self._skip(_LONG_LITERAL)
        elif text.startswith('"', at):
            self._skip(_BASIC)
        elif text.startswith("'", at):
            self._skip(_LITERAL)
        elif text.startswith("[", at):
            self._array(location)
        elif text.startswith("{", at):
            self._inline(location)
        else:
            self._skip(_SCALAR)

    def _array(self, location: Location) -> None:
        index = 0
        self.at += 1
        self._skip(_BLANK)
        while not self.text.startswith("]", self.at):
            element = (*location, index)
            self._note(element, self.at)
            self._value(element)
            index += 1
            self._separator()
        self.at += 1

    def _inline(self, location: Location) -> None:
        self.at += 1
        self._skip(_BLANK)
        while not self.text.startswith("}", self.at):
            self._pair(location)
            self._separator()
        self.at += 1

    def _separator(self) -> None:
        self._skip(_BLANK)
        if self.text.startswith(",", self.at):
            self.at += 1
            self._skip(_BLANK)
