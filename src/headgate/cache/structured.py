"""Structured fields, as much as a cache reads of them: Dictionaries (RFC 9651 section 4.2.2), strictly.

A member is a value with parameters, or an inner list; a name without a value is true. The lines of one field are
read as if they were one, joined by commas. Whatever does not parse makes the whole field invalid, as section 4.2
asks, and None comes back. A name that comes twice counts where it came last.

Parameters and the members of inner lists are checked and forgotten: no directive has a use for them.
"""

from typing import Final, final

# Kinds of values.
INTEGER: Final = 1
DECIMAL: Final = 2
STRING: Final = 3
TOKEN: Final = 4
BYTES: Final = 5
TRUE: Final = 6
FALSE: Final = 7
DATE: Final = 8
DISPLAY: Final = 9
INNER_LIST: Final = 10

_DIGITS: Final = frozenset(b"0123456789")
_LOWER: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz")
_ALPHA: Final = _LOWER | frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_KEY: Final = _LOWER | _DIGITS | frozenset(b"_-.*")
_TOKEN: Final = _ALPHA | _DIGITS | frozenset(b"!#$%&'*+-.^_`|~:/")
_BASE64: Final = _ALPHA | _DIGITS | frozenset(b"+/=")
_HEX: Final = frozenset(b"0123456789abcdef")
# Octets of a field beyond which nobody writes cache directives.
_LONGEST: Final = 8192


@final
class Member:
    """A value: `number` of an Integer or Date, `octets` of a String or Token without quotes and escapes."""

    __slots__ = ("kind", "number", "octets")

    def __init__(self, kind: int, number: int = 0, octets: bytes = b"") -> None:
        self.kind = kind
        self.number = number
        self.octets = octets

    def __repr__(self) -> str:
        return f"<Member {self.kind} {self.number} {self.octets!r}>"


_IS_TRUE: Final = Member(TRUE)


class _InvalidError(Exception):
    """It is no structured field."""


def parse_dictionary(lines: list[bytes]) -> dict[bytes, Member] | None:
    """Return the members of a Dictionary by name, {} of an empty one, None when it does not parse."""
    text = b",".join([line for line in lines if line.strip(b" ")])
    if len(text) > _LONGEST:
        return None
    try:
        return _Parser(text).dictionary()
    except _InvalidError:
        return None


@final
class _Parser:
    """RFC 9651 section 4.2, step by step: `at` is the next octet."""

    __slots__ = ("at", "end", "text")

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.at = 0
        self.end = len(text)

    def dictionary(self) -> dict[bytes, Member]:
        members: dict[bytes, Member] = {}
        self._skip(b" ")
        while self.at < self.end:
            name = self._key()
            if self._next() == 0x3D:
                self.at += 1
                member = self._member()
            else:
                member = _IS_TRUE
            self._parameters()
            members.pop(name, None)
            members[name] = member
            self._skip(b" \t")
            if self.at == self.end:
                break
            if self._next() != 0x2C:
                raise _InvalidError
            self.at += 1
            self._skip(b" \t")
            if self.at == self.end:  # a comma at the end
                raise _InvalidError
        return members

    def _next(self) -> int:
        return self.text[self.at] if self.at < self.end else -1

    def _skip(self, octets: bytes) -> None:
        while self.at < self.end and self.text[self.at] in octets:
            self.at += 1

    def _run(self, allowed: frozenset[int]) -> bytes:
        """Take octets as long as they are of one set."""
        begin = self.at
        while self.at < self.end and self.text[self.at] in allowed:
            self.at += 1
        return self.text[begin : self.at]

    def _key(self) -> bytes:
        first = self._next()
        if first not in _LOWER and first != 0x2A:
            raise _InvalidError
        return self._run(_KEY)

    def _member(self) -> Member:
        if self._next() != 0x28:
            return self._bare()
        self.at += 1
        while True:
            self._skip(b" ")
            if self._next() == 0x29:
                self.at += 1
                return Member(INNER_LIST)
            self._bare()
            self._parameters()
            if self._next() not in (0x20, 0x29):
                raise _InvalidError

    def _parameters(self) -> None:
        while self._next() == 0x3B:
            self.at += 1
            self._skip(b" ")
            self._key()
            if self._next() == 0x3D:
                self.at += 1
                self._bare()

    def _bare(self) -> Member:
        first = self._next()
        if first == 0x2D or first in _DIGITS:
            return self._number()
        if first == 0x22:
            return self._string()
        if first == 0x2A or first in _ALPHA:
            return Member(TOKEN, 0, self._run(_TOKEN))
        if first == 0x3A:
            return self._bytes()
        if first == 0x3F:
            return self._boolean()
        if first == 0x40:
            self.at += 1
            number = self._number()
            if number.kind != INTEGER:
                raise _InvalidError
            return Member(DATE, number.number)
        if first == 0x25:
            return self._display()
        raise _InvalidError

    def _number(self) -> Member:
        sign = 1
        if self._next() == 0x2D:
            sign = -1
            self.at += 1
        whole = self._run(_DIGITS)
        if not whole:
            raise _InvalidError
        if self._next() != 0x2E:
            if len(whole) > 15:
                raise _InvalidError
            return Member(INTEGER, sign * int(whole))
        self.at += 1
        fraction = self._run(_DIGITS)
        if len(whole) > 12 or not 1 <= len(fraction) <= 3:
            raise _InvalidError
        return Member(DECIMAL, sign * int(whole))

    def _string(self) -> Member:
        octets = bytearray()
        self.at += 1
        while self.at < self.end:
            octet = self.text[self.at]
            self.at += 1
            if octet == 0x22:
                return Member(STRING, 0, bytes(octets))
            if octet == 0x5C:
                octet = self._next()
                if octet not in (0x22, 0x5C):
                    raise _InvalidError
                self.at += 1
            elif not 0x20 <= octet < 0x7F:
                raise _InvalidError
            octets.append(octet)
        raise _InvalidError

    def _bytes(self) -> Member:
        self.at += 1
        octets = self._run(_BASE64)
        if self._next() != 0x3A:
            raise _InvalidError
        self.at += 1
        return Member(BYTES, 0, octets)

    def _boolean(self) -> Member:
        self.at += 1
        octet = self._next()
        if octet not in (0x30, 0x31):
            raise _InvalidError
        self.at += 1
        return _IS_TRUE if octet == 0x31 else Member(FALSE)

    def _display(self) -> Member:
        """A Display String (section 4.2.10): %"..." with %xx for octets of UTF-8."""
        self.at += 1
        if self._next() != 0x22:
            raise _InvalidError
        self.at += 1
        octets = bytearray()
        while self.at < self.end:
            octet = self.text[self.at]
            self.at += 1
            if octet == 0x22:
                try:
                    octets.decode("utf-8")
                except UnicodeDecodeError:
                    raise _InvalidError from None
                return Member(DISPLAY, 0, bytes(octets))
            if not 0x20 <= octet < 0x7F:
                raise _InvalidError
            if octet == 0x25:
                digits = self.text[self.at : self.at + 2]
                if len(digits) != 2 or not _HEX.issuperset(digits):
                    raise _InvalidError
                self.at += 2
                octet = int(digits, 16)
            octets.append(octet)
        raise _InvalidError
