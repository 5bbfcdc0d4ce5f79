"""Set and remove header fields, as a route says; Strict-Transport-Security (RFC 6797).

Everything is checked and put into its wire form once, when the configuration is read: names are tokens, values hold
no control octet (so no line can be smuggled in), and what frames a message or belongs to one connection is refused,
because the engines write that. Host can be set on requests but not removed; Expect is between client and engine.
A field that is set replaces all lines of that name. Removing comes first, so a name in both lists is set.

Underscores. An origin behind CGI, FastCGI or WSGI reads X_User as X-User (RFC 3875 section 4.1.18), and whoever
edits X-User on requests wants to have the last word on what that origin reads. So every other spelling of an edited
request field, with an underscore for any of its hyphens, is dropped with it. All spellings stand in the set that is
looked up anyway: a request costs what it did.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final, final

from headgate.http.fields import DATE, Fields, flags_of
from headgate.http.hop_by_hop import NEVER_FORWARDED
from headgate.http.target import BadTarget, parse_authority

REFUSED: Final = NEVER_FORWARDED | frozenset((b"content-length", b"expect", b"host", b"trailer"))
# Hyphens and underscores in the name of an edited request field: each doubles its spellings, so that the longest name
# costs some 100 KiB. x-amz-copy-source-server-side-encryption-customer-key-md5 has 9.
MAX_SEPARATORS: Final = 10
HSTS: Final = b"strict-transport-security"

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile("[^\x00-\x08\x0a-\x1f\x7f]*")
_MAX_AGE: Final = re.compile(r"(?:.*;)?\s*max-age\s*=\s*\"?[0-9]+\"?\s*(?:;.*)?", re.IGNORECASE)


@final
class FieldEdits:
    """The edits of one route in one direction; `empty` says that there is nothing to do.

    `request` True allows Host in `set` and takes other spellings of a name for that name. `hsts` is a
    Strict-Transport-Security value, for responses over TLS only (RFC 6797 section 7.2). Raises `ValueError` naming
    the field that cannot be edited and why.
    """

    __slots__ = ("_drop", "_flags", "_host", "_hsts", "_kept", "_lines", "_names", "_removed", "empty")

    def __init__(
        self,
        set: Mapping[str, str] | None = None,
        remove: Iterable[str] = (),
        hsts: str = "",
        *,
        request: bool = False,
    ) -> None:
        self._names: list[bytes] = []
        self._lines: list[bytes] = []
        self._host = b""
        self._hsts = b""
        self._flags = 0
        removed = [_check_name(name, False) for name in remove]
        drop = removed[:]
        if request:
            for name in removed:
                # X_User alone is removed on purpose when X-User is the one to keep.
                drop.extend([one for one in _spellings(name) if b"_" in one])
        for spelling, text in (set or {}).items():
            name = _check_name(spelling, request)
            line = spelling.encode() + b": " + _check_value(spelling, text)
            if name == b"host":
                _check_host(text)
                self._host = line
                continue
            if name in self._names:
                raise ValueError(f"{spelling} is set twice, in two spellings")
            self._names.append(name)
            self._lines.append(line)
            self._flags |= flags_of(name)
            drop.extend(_spellings(name) if request else [name])
        if hsts:
            self._hsts = b"Strict-Transport-Security: " + _check_value("Strict-Transport-Security", hsts)
            if _MAX_AGE.fullmatch(hsts) is None:
                raise ValueError(f"{hsts!r} is no Strict-Transport-Security value: it has no max-age")
        self._drop = frozenset(drop)
        self._removed = frozenset(removed)
        # An answer goes out with Date all the same (RFC 9110 section 6.6.1): it gets a new one when it has none.
        self._kept = ~DATE if b"date" in self._drop else -1
        self.empty = not (drop or self._host or self._hsts)

    def __repr__(self) -> str:
        lines = [*self._lines, self._host, self._hsts]
        removed = [b"-" + name for name in sorted(self._removed.difference(self._names))]
        return f"<FieldEdits {b', '.join([line for line in lines if line] + removed).decode()}>"

    def apply(self, fields: Fields, secure: bool = False) -> None:
        """Edit a head's section in place; `secure` says that the response goes out over TLS."""
        if self.empty:
            return
        drop = self._drop
        if drop:
            _drop_lines(fields, drop)
            fields.flags &= self._kept
        if self._names:
            fields.names.extend(self._names)
            fields.lines.extend(self._lines)
            fields.flags |= self._flags
        if self._host:
            _replace_host(fields, self._host)
        if secure and self._hsts:
            fields.remove(HSTS)
            fields.names.append(HSTS)
            fields.lines.append(self._hsts)

    def strip_trailers(self, fields: Fields) -> None:
        """Drop what is edited from a trailer section (RFC 9110 section 6.5.1): whoever merges it into the head would
        undo the edit.
        """
        if self._drop:
            _drop_lines(fields, self._drop)


def _drop_lines(fields: Fields, drop: frozenset[bytes]) -> None:
    names = fields.names
    i = len(names)
    while i > 0:
        i -= 1
        if names[i] in drop:
            del names[i]
            del fields.lines[i]


def _replace_host(fields: Fields, line: bytes) -> None:
    """Host stays where it stands, which should be in front (RFC 9110 section 7.2)."""
    names = fields.names
    for i in range(len(names)):
        if names[i] == b"host":
            fields.lines[i] = line
            return
    names.insert(0, b"host")
    fields.lines.insert(0, line)
    fields.flags |= flags_of(b"host")


def _check_name(spelling: str, host_allowed: bool) -> bytes:
    if _TOKEN.fullmatch(spelling) is None:
        raise ValueError(f"{spelling!r} is no field name (RFC 9110 section 5.1)")
    name = spelling.lower().encode()
    if name in REFUSED and not (host_allowed and name == b"host"):
        raise ValueError(f"{spelling} cannot be edited: Headgate writes it itself, as each message needs it")
    return name


def _spellings(name: bytes) -> list[bytes]:
    """Return every mixture of hyphens and underscores that CGI makes one variable of, but for what frames."""
    parts = name.replace(b"_", b"-").split(b"-")
    if len(parts) > MAX_SEPARATORS + 1:
        raise ValueError(
            f"{name.decode()} has more than {MAX_SEPARATORS} hyphens: with underscores it has too many spellings"
            " to keep all of them out; a name with fewer is needed"
        )
    found = [parts[0]]
    for part in parts[1:]:
        found = [one + mark + part for one in found for mark in (b"-", b"_")]
    return [one for one in found if one not in REFUSED]


def _check_value(spelling: str, text: str) -> bytes:
    if _VALUE.fullmatch(text) is None:
        raise ValueError(f"the value of {spelling} holds a control character")
    if text != text.strip(" \t"):
        raise ValueError(f"the value of {spelling} has white space at its ends")
    return text.encode()


def _check_host(text: str) -> None:
    try:
        parse_authority(text.encode())
    except BadTarget as error:
        raise ValueError(f"Host cannot be {text!r}: {error.detail}") from None


def format_hsts(max_age: int, include_subdomains: bool = False, preload: bool = False) -> str:
    """Return a Strict-Transport-Security value (RFC 6797 section 6.1); `max_age` in seconds, 0 to forget."""
    parts = [f"max-age={max_age}"]
    if include_subdomains:
        parts.append("includeSubDomains")
    if preload:
        parts.append("preload")
    return "; ".join(parts)
