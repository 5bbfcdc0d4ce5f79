"""Purges: everything, a host, a prefix, a URL or a tag is gone from now on, and saying so costs O(1).

Varnish bans so: a purge is a note with a number, and what was stored before it is tried against it at its next use;
a walk through the store, a little at a time, frees what nobody asks for and lets old notes be forgotten. So neither
giving a purge nor a million objects ever holds a worker up, and memory and disk share one scheme.

Numbers are generations: each purge has a higher one than the last, and a response carries the generation of the
moment at which its *request* left for the origin. A purge that comes while a response is under way therefore kills
it too. `floor` is the highest forgotten generation: what is older cannot be judged any more and is not stored.

A soft purge keeps the response, and it is confirmed by the origin before its next use. An invalidation (RFC 9111
section 4.4) of a URL does the same, and may not even stand in for an error.

Keys are `scheme://authority/path?query`, with further parts behind a line feed each.
"""

from typing import Final, final

# What a purge makes of a response.
KEEP: Final = 0
SOFT: Final = 1
GONE: Final = 2
INVALID: Final = 3

# Kinds of purges.
EVERYTHING: Final = 0
HOST: Final = 1  # an authority, or its name alone for all ports
PREFIX: Final = 2  # of keys
URL: Final = 3  # with all further parts of the key
TAG: Final = 4  # Cache-Tag, Surrogate-Key
KINDS: Final[tuple[str, ...]] = ("everything", "host", "prefix", "url", "tag")

# One note is some 150 octets. One more turns all notes into one purge of everything: that costs requests to the
# origin, never a purge that is not obeyed. Varnish has no bound, and bans that nobody's walk reaches pile up there.
MAX_PURGES: Final = 65536
# The same of invalidations, which clients cause: one more, and everything is confirmed before its next use. Nothing
# goes: who sends many unsafe requests shall not empty the cache.
MAX_INVALID: Final = 65536


def url_of(key: bytes) -> bytes:
    """Return the URL in a key, without its further parts."""
    end = key.find(b"\n")
    return key if end < 0 else key[:end]


def authority_of(key: bytes) -> bytes:
    """Return the authority in a key."""
    begin = key.find(b"://")
    if begin < 0:
        return b""
    end = key.find(b"/", begin + 3)
    return key[begin + 3 :] if end < 0 else key[begin + 3 : end]


def name_of(authority: bytes) -> bytes:
    """Return an authority without its port; the brackets of an IPv6 address stay."""
    colon = authority.rfind(b":")
    return authority if colon < 0 or authority.endswith(b"]") else authority[:colon]


@final
class _Notes:
    """Purges of one severity: the latest generation for each pattern."""

    __slots__ = ("everything", "hosts", "latest", "lengths", "prefixes", "tags", "urls")

    def __init__(self) -> None:
        self.latest = 0
        self.everything = 0
        self.hosts: dict[bytes, int] = {}
        self.prefixes: dict[bytes, int] = {}
        self.lengths: list[int] = []  # of prefixes: one look-up for each
        self.urls: dict[bytes, int] = {}
        self.tags: dict[bytes, int] = {}

    def count(self) -> int:
        return len(self.hosts) + len(self.prefixes) + len(self.urls) + len(self.tags)

    def add(self, kind: int, pattern: bytes, generation: int) -> None:
        self.latest = generation
        if kind == EVERYTHING:
            self.everything = generation
        elif kind == HOST:
            self.hosts[pattern] = generation
        elif kind == PREFIX:
            self.prefixes[pattern] = generation
            self._measure()
        elif kind == URL:
            self.urls[pattern] = generation
        else:
            self.tags[pattern] = generation

    def number(self, kind: int, pattern: bytes) -> int:
        """Return the generation of the latest such purge, 0: there is none."""
        if kind == EVERYTHING:
            return self.everything
        if kind == HOST:
            return self.hosts.get(pattern, 0)
        if kind == PREFIX:
            return self.prefixes.get(pattern, 0)
        return self.urls.get(pattern, 0) if kind == URL else self.tags.get(pattern, 0)

    def covers(self, key: bytes, tags: tuple[bytes, ...], since: int) -> bool:
        """Tell whether a purge later than `since` meets this response."""
        if since >= self.latest:
            return False
        if self.everything > since:
            return True
        if self.urls and self.urls.get(url_of(key), 0) > since:
            return True
        if self.hosts:
            authority = authority_of(key)
            if self.hosts.get(authority, 0) > since or self.hosts.get(name_of(authority), 0) > since:
                return True
        for length in self.lengths:
            if self.prefixes.get(key[:length], 0) > since:
                return True
        if self.tags:
            for tag in tags:
                if self.tags.get(tag, 0) > since:
                    return True
        return False

    def forget(self, generation: int) -> None:
        """Drop what is not later than `generation`."""
        self.hosts = _later(self.hosts, generation)
        self.prefixes = _later(self.prefixes, generation)
        self.urls = _later(self.urls, generation)
        self.tags = _later(self.tags, generation)
        self._measure()

    def listed(self, is_soft: bool) -> list[tuple[int, int, bool, bytes]]:
        found: list[tuple[int, int, bool, bytes]] = []
        if self.everything:
            found.append((self.everything, EVERYTHING, is_soft, b""))
        for kind, notes in ((HOST, self.hosts), (PREFIX, self.prefixes), (URL, self.urls), (TAG, self.tags)):
            for pattern, generation in notes.items():
                found.append((generation, kind, is_soft, pattern))
        return found

    def _measure(self) -> None:
        self.lengths = sorted({len(prefix) for prefix in self.prefixes})


def _later(notes: dict[bytes, int], generation: int) -> dict[bytes, int]:
    return {pattern: number for pattern, number in notes.items() if number > generation}


@final
class Purges:
    """The purges that are in force. `generation` is the last one's number."""

    __slots__ = (
        "_all_invalid",
        "_gone",
        "_invalid",
        "_soft",
        "floor",
        "folded",
        "folded_invalid",
        "generation",
        "latest_tag",
    )

    def __init__(self) -> None:
        self.generation = 0
        self.floor = 0
        self.folded = 0  # how often there were too many
        self.folded_invalid = 0  # how often there were too many invalidations
        self.latest_tag = 0  # the last purge of a tag
        self._gone = _Notes()
        self._soft = _Notes()
        self._invalid: dict[bytes, int] = {}  # URLs
        self._all_invalid = 0  # all of them, up to this generation

    def __len__(self) -> int:
        return self._gone.count() + self._soft.count() + len(self._invalid)

    def __repr__(self) -> str:
        return f"<Purges {len(self)} up to {self.generation}>"

    def add(self, kind: int, pattern: bytes = b"", is_soft: bool = False, generation: int = 0) -> int:
        """Take note of a purge and return its generation: `generation`, where it is later than all, or the next."""
        self.generation = max(self.generation + 1, generation)
        notes = self._soft if is_soft else self._gone
        notes.add(kind, pattern, self.generation)
        if kind == TAG:
            self.latest_tag = self.generation
        return self._bounded()

    def invalidate(self, url: bytes) -> int:
        """Take note that nothing of a URL is to be used unconfirmed, and return the generation."""
        self.generation += 1
        self._invalid[url] = self.generation
        if len(self._invalid) > MAX_INVALID:
            self.folded_invalid += 1
            self._all_invalid = self.generation
            self._invalid = {}
        return self.generation

    def _bounded(self) -> int:
        """Make one purge of too many; return the generation."""
        if self._gone.count() + self._soft.count() > MAX_PURGES:
            self.folded += 1
            self._gone.add(EVERYTHING, b"", self.generation)
            self._drop(self.generation)
        return self.generation

    def knows(self, kind: int, pattern: bytes, is_soft: bool, generation: int) -> bool:
        """Tell whether this very purge, or a later one of the same, is in force: several may tell of one."""
        notes = self._soft if is_soft else self._gone
        return 0 < generation <= notes.number(kind, pattern)

    def judge(self, key: bytes, tags: tuple[bytes, ...], since: int) -> int:
        """Return KEEP, SOFT, INVALID or GONE for a response whose request left at the generation `since`."""
        if since >= self.generation:
            return KEEP
        if since < self.floor or self._gone.covers(key, tags, since):
            return GONE
        if self._all_invalid > since or (self._invalid and self._invalid.get(url_of(key), 0) > since):
            return INVALID
        return SOFT if self._soft.covers(key, tags, since) else KEEP

    def forget(self, generation: int) -> None:
        """Drop purges up to `generation`: everything stored has been tried against them."""
        if generation > self.floor:
            self.floor = generation
            self._drop(generation)

    def listed(self) -> list[tuple[int, int, bool, bytes]]:
        """Return (generation, kind, is soft, pattern) of each, the earliest first: what `add` takes again."""
        return sorted(self._gone.listed(False) + self._soft.listed(True))

    def _drop(self, generation: int) -> None:
        self._gone.forget(generation)
        self._soft.forget(generation)
        self._invalid = _later(self._invalid, generation)
