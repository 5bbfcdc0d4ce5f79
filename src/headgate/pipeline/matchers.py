"""The tables behind the router: which entries fit a host, and which entry of one host fits a path.

Entries are numbers; what they stand for is the router's business. The cost of a question does not depend on how many
entries there are: a host is one dictionary lookup for its full name and one for each of its parent domains; a path is
one lookup for itself and one for each of its segments, as deep as the deepest prefix goes; all regular expressions of
a host are run at once, as one automaton (RE2, linear in the length of the path).

Prefixes are compared by whole segments (RFC 3986 section 3.3). "/api" takes "/api", "/api/" and "/api/x" but not
"/apix"; "/api/" takes "/api/" and all below it but not "/api" itself, which is another resource. Written both, each
gets its own.

A wildcard "*.example.com" takes every name below example.com, however many labels deep, and not example.com. That is
what DNS wildcards and most proxies do; one label only is a rule for certificates (RFC 9525), not for names.
"""

from collections.abc import Iterable
from typing import Final, final

import re2

from headgate.http.target import (
    ALLOW_BACKSLASH,
    ALLOW_ENCODED_SLASH,
    BadTarget,
    normalise_path,
    parse_authority,
)

PREFIX: Final = 0
EXACT: Final = 1
REGEX: Final = 2
KINDS: Final = ("prefix", "exact", "regex")

NOTHING: Final = -1

# For the automaton of all regular expressions of one host; RE2's own default for a single one.
REGEX_MEMORY: Final = 8 * 1024 * 1024


class BadPattern(ValueError):
    """A host, path or regular expression that a route cannot have; the message says what was expected."""


@final
class RegexList:
    """Regular expressions that must match the whole path; the first in order wins."""

    __slots__ = ("_patterns", "_ready", "_set")

    def __init__(self) -> None:
        self._patterns: list[str] = []
        self._ready = False
        self._set: re2.Set = None

    def __len__(self) -> int:
        return len(self._patterns)

    def add(self, pattern: str) -> None:
        """Append a pattern; `find` counts from 0 in this order. Raises `BadPattern`."""
        try:
            re2.compile(pattern, _regex_options())
        except re2.error as error:
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error.args[0])
            raise BadPattern(f"{pattern!r} is no regular expression of RE2: {reason}") from None
        self._patterns.append(pattern)
        self._ready = False

    def compile(self) -> None:
        """Build the automaton. Raises `BadPattern` when the patterns together are too large."""
        together = re2.Set.FullMatchSet(_regex_options())
        for pattern in self._patterns:
            together.Add(pattern)
        try:
            together.Compile()
        except re2.error:
            limit = REGEX_MEMORY >> 20
            raise BadPattern(
                f"{len(self)} regular expressions of one host need more than {limit} MiB"
            ) from None
        self._set = together
        self._ready = True

    def find(self, path: bytes) -> int:
        """Return the position of the first pattern that matches, or NOTHING."""
        if not self._patterns:
            return NOTHING
        if not self._ready:
            self.compile()
        found: list[int] | None = self._set.Match(path)
        return min(found) if found else NOTHING


def _regex_options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = REGEX_MEMORY
    return options


@final
class PathTable:
    """The paths of one host pattern: exact before the longest prefix before regular expressions in order."""

    __slots__ = ("_below", "_exact", "_longest", "_regex_entries", "_self_and_below", "regexes")

    def __init__(self) -> None:
        self._exact: dict[bytes, int] = {}
        # Both keyed without the trailing slash: "/api" takes itself and what is below, "/api/" only what is below.
        self._self_and_below: dict[bytes, int] = {}
        self._below: dict[bytes, int] = {}
        self._longest = 0
        self.regexes = RegexList()
        self._regex_entries: list[int] = []

    def add(self, kind: int, pattern: str, entry: int) -> int:
        """Add an entry; return the one that has the same pattern already (and keeps it), or NOTHING.

        Raises `BadPattern`.
        """
        if kind == REGEX:
            self.regexes.add(pattern)
            self._regex_entries.append(entry)
            return NOTHING
        path = read_path(pattern)
        if kind == EXACT:
            return _keep(self._exact, path, entry)
        table = self._self_and_below
        if path.endswith(b"/"):
            table = self._below
            path = path[:-1]
        self._longest = max(self._longest, len(path))
        return _keep(table, path, entry)

    def last_regex(self) -> int:
        """Return the entry whose regular expression came last, or NOTHING."""
        return self._regex_entries[-1] if self._regex_entries else NOTHING

    def find(self, path: bytes) -> int:
        """Return the entry for a normal path, or NOTHING."""
        if self._exact:
            entry = self._exact.get(path, NOTHING)
            if entry >= 0:
                return entry
        entry = self._find_prefix(path)
        if entry >= 0:
            return entry
        if self._regex_entries:
            position = self.regexes.find(path)
            if position >= 0:
                return self._regex_entries[position]
        return NOTHING

    def _find_prefix(self, path: bytes) -> int:
        """Try the path itself, then what stands before each of its slashes, from the right."""
        longest = self._longest
        self_and_below = self._self_and_below
        if len(path) <= longest:
            entry = self_and_below.get(path, NOTHING)
            if entry >= 0:
                return entry
        # No prefix is longer: a path of 60,000 slashes costs no more than the deepest prefix.
        slash = path.rfind(b"/", 0, longest + 1)
        below = self._below
        while slash >= 0:
            key = path[:slash]
            if below:
                entry = below.get(key, NOTHING)
                if entry >= 0:
                    return entry
            if self_and_below:
                entry = self_and_below.get(key, NOTHING)
                if entry >= 0:
                    return entry
            slash = path.rfind(b"/", 0, slash)
        return NOTHING


def _keep(table: dict[bytes, int], key: bytes, entry: int) -> int:
    """Add an entry unless the key is taken; return who has it, or NOTHING."""
    known = table.get(key, NOTHING)
    if known < 0:
        table[key] = entry
    return known


@final
class HostTable:
    """Host patterns, each with its own paths. The empty pattern is any host."""

    __slots__ = ("_any", "_exact", "_suffixes")

    def __init__(self) -> None:
        self._exact: dict[bytes, PathTable] = {}
        self._suffixes: dict[bytes, PathTable] = {}  # ".example.com" of "*.example.com"
        self._any: PathTable | None = None

    def paths(self, pattern: str) -> PathTable:
        """Return the paths of a host pattern, new ones when it is new. Raises `BadPattern`."""
        if not pattern:
            if self._any is None:
                self._any = PathTable()
            return self._any
        wildcard, host = read_host(pattern)
        table = self._suffixes if wildcard else self._exact
        paths = table.get(host)
        if paths is None:
            paths = table[host] = PathTable()
        return paths

    def find(self, host: bytes, path: bytes) -> int:
        """Return the entry of the most specific host that has one for this path, or NOTHING."""
        if self._exact:
            paths = self._exact.get(host)
            if paths is not None:
                entry = paths.find(path)
                if entry >= 0:
                    return entry
        if self._suffixes:
            dot = host.find(b".")
            while dot >= 0:
                paths = self._suffixes.get(host[dot:])
                if paths is not None:
                    entry = paths.find(path)
                    if entry >= 0:
                        return entry
                dot = host.find(b".", dot + 1)
        if self._any is not None:
            return self._any.find(path)
        return NOTHING

    def knows(self, host: bytes) -> bool:
        """Whether any pattern takes this host."""
        return self._any is not None or self.names(host)

    def names(self, host: bytes) -> bool:
        """Whether a pattern names this host, exactly or as a wildcard: any host names none."""
        if host in self._exact:
            return True
        if not self._suffixes:
            return False
        dot = host.find(b".")
        while dot >= 0:
            if host[dot:] in self._suffixes:
                return True
            dot = host.find(b".", dot + 1)
        return False

    def compile(self) -> list[tuple[int, str]]:
        """Build the regular expressions now rather than at the first request.

        Return what is wrong with those of a host together, with the entry that was one too many.
        """
        tables = [*self._exact.values(), *self._suffixes.values()]
        if self._any is not None:
            tables.append(self._any)
        problems: list[tuple[int, str]] = []
        for paths in tables:
            if len(paths.regexes) > 0:
                try:
                    paths.regexes.compile()
                except BadPattern as error:
                    problems.append((paths.last_regex(), str(error)))
        return problems


@final
class HostPatterns:
    """Host patterns without paths, as a checked configuration has them: "example.com", "*.example.com", an address.

    Each stands for an entry; where nobody asks which, it is 0.
    """

    __slots__ = ("_exact", "_suffixes", "texts")

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.texts: list[str] = []
        self._exact: dict[bytes, int] = {}
        self._suffixes: dict[bytes, int] = {}
        for pattern in patterns:
            self.add(pattern, 0)

    def __repr__(self) -> str:
        return f"<HostPatterns {', '.join(self.texts) or 'none'}>"

    def add(self, pattern: str, entry: int) -> None:
        """Add a pattern in lower case; of two that are the same the last one stands."""
        self.texts.append(pattern)
        text = pattern.encode()
        if text.startswith(b"*."):
            self._suffixes[text[1:]] = entry
        else:
            self._exact[text] = entry

    def find(self, host: bytes) -> int:
        """Return the entry of the most specific pattern for a host (lower case; IPv6 in brackets), or NOTHING."""
        entry = self._exact.get(host, NOTHING)
        if entry < 0 and self._suffixes:
            at = host.find(b".")
            while at >= 0 and entry < 0:
                entry = self._suffixes.get(host[at:], NOTHING)
                at = host.find(b".", at + 1)
        return entry

    def match(self, host: bytes) -> bool:
        """Tell whether one of them names `host`."""
        return self.find(host) >= 0


def read_host(pattern: str) -> tuple[bool, bytes]:
    """Read a host pattern into (is a wildcard, the host, or the suffix with its leading dot). Raises `BadPattern`."""
    wildcard = pattern.startswith("*.")
    text = pattern[2:] if wildcard else pattern
    try:
        host, port = parse_authority(text.encode("ascii"))
    except (BadTarget, UnicodeEncodeError):
        raise BadPattern(f"{pattern!r} is no host such as example.com or *.example.com") from None
    if port >= 0 or text.endswith(":"):
        raise BadPattern(f"{pattern!r}: a route takes its host on every port")
    if not wildcard:
        return False, host
    if host.startswith(b"[") or host.replace(b".", b"").isdigit():
        raise BadPattern(f"{pattern!r}: an address has no names below it")
    return True, b"." + host


def read_path(pattern: str) -> bytes:
    """Read the path of a route, which must be in normal form or it would match nothing. Raises `BadPattern`."""
    try:
        path = pattern.encode("ascii")
        normal = normalise_path(path, ALLOW_ENCODED_SLASH | ALLOW_BACKSLASH)
    except (BadTarget, UnicodeEncodeError):
        raise BadPattern(f"{pattern!r} is no path such as /api/") from None
    if normal != path:
        raise BadPattern(
            f"{pattern!r} is not in normal form, so nothing would match it: write {normal.decode()!r}"
        )
    return path
