"""What is stored: responses, their content, and what is known under one key (RFC 9111 sections 2 and 3).

A StoredResponse is one variant. Whatever a rule needs of its fields is read once, when it is stored, and kept as a
number: a hit is a few comparisons. Ages are counted from `born`, the moment at which the response was as good as
new: response_time less the corrected initial age of section 4.2.3. So the current age is now - born, and the
response is fresh while now < fresh_until. All times are seconds of the wall clock.

Content is a Body, shared by all who read it and never copied for one of them. A body may still be growing while it
is read: `size` is what is there, `StoredResponse.length` what there will be.

A hit among a million costs what it touches: each object lies somewhere else in memory, and none of it in the
processor's caches. So what lies in a store is in few pieces (`pack`): the lines of the fields and small content are
one bytes object, their names are shared by all responses of the same fields, the first variant of a key needs no
tuple, and what a hit reads of a response stands at its beginning.

Nothing here refers back to what holds it, so the collector of cycles knows nothing of it: see untracked.py.
"""

import os
from typing import Final, final

from mypy_extensions import mypyc_attr

from headgate.http.fields import Fields
from headgate.http.status import REASONS

# Flags of a stored response.
NO_CACHE: Final = 1  # confirmed before every use (5.2.2.4)
MUST_REVALIDATE: Final = (
    2  # never stale: must-revalidate, proxy-revalidate, s-maxage (5.2.2.2, 5.2.2.8, 5.2.2.10)
)
IMMUTABLE: Final = 4  # RFC 8246
HEURISTIC: Final = 8  # the lifetime is a guess (4.2.2)
EXPLICIT: Final = 16  # the lifetime is the origin's
SOFT_PURGED: Final = 32  # confirmed before the next use
AUTHORIZED: Final = 64  # the answer to a request with credentials, which said that it is for everybody (3.5)
INVALIDATED: Final = 128  # confirmed before the next use, and no stand-in for an error (4.4)


@mypyc_attr(allow_interpreted_subclasses=True, acyclic=True)
class Body:
    """Content at rest: `read` gives a piece of it. Base of what stores have."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size: int = 0  # octets that can be read now

    def read(self, at: int, limit: int) -> bytes:
        """Return octets from `at` on, at most `limit` of them, at least one before the end; b"" at the end.

        What is returned is whole pieces where they are at hand, so it may be fewer than `limit`. Raises OSError.
        """
        raise NotImplementedError


@mypyc_attr(acyclic=True)
@final
class MemoryBody(Body):
    """Content in memory, in the pieces that it came in; `size` is what may be read."""

    __slots__ = ("first", "more", "starts")

    def __init__(self, chunks: list[bytes] | None = None) -> None:
        super().__init__()
        self.first: bytes = b""
        # All pieces and where each begins, once there are two.
        self.more: list[bytes] | None = None
        self.starts: list[int] | None = None
        if chunks is not None:
            for chunk in chunks:
                self.append(chunk)

    def __repr__(self) -> str:
        return f"<MemoryBody {self.size} in {self.count}>"

    @property
    def chunks(self) -> list[bytes]:
        """The pieces, in a list that is not to be changed."""
        if self.more is not None:
            return self.more
        return [self.first] if self.first else []

    @property
    def count(self) -> int:
        """How many pieces there are."""
        if self.more is not None:
            return len(self.more)
        return 1 if self.size else 0

    def append(self, chunk: bytes) -> None:
        """Add a piece at the end."""
        if not chunk:
            return
        if self.more is not None and self.starts is not None:
            self.starts.append(self.size)
            self.more.append(chunk)
        elif self.size == 0:
            self.first = chunk
        else:
            self.starts = [0, self.size]
            self.more = [self.first, chunk]
        self.size += len(chunk)

    def read(self, at: int, limit: int) -> bytes:
        """Return octets of the one piece that holds `at`: the piece itself when all of it is asked for."""
        if at < 0 or at >= self.size or limit <= 0:
            return b""
        chunk = self.first
        begin = at
        if self.more is not None and self.starts is not None:
            index = self._piece(self.starts, at)
            chunk = self.more[index]
            begin = at - self.starts[index]
        if begin == 0 and len(chunk) <= limit:
            return chunk
        return chunk[begin : begin + limit]

    def _piece(self, starts: list[int], at: int) -> int:
        """Return which piece holds the octet `at`."""
        low = 0
        high = len(starts) - 1
        while low < high:
            middle = (low + high + 1) >> 1
            if starts[middle] <= at:
                low = middle
            else:
                high = middle - 1
        return low


@final
class FileBody(Body):
    """Content in a file, from `offset` on: `size` octets."""

    __slots__ = ("offset", "path")

    def __init__(self, path: str, offset: int, size: int) -> None:
        super().__init__()
        self.path = path
        self.offset = offset
        self.size = size

    def __repr__(self) -> str:
        return f"<FileBody {self.path} {self.size}>"

    def read(self, at: int, limit: int) -> bytes:
        """Read from the file; a file that is shorter than it should be is an OSError, never a short answer."""
        if at < 0 or at >= self.size or limit <= 0:
            return b""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            octets = os.pread(descriptor, min(limit, self.size - at), self.offset + at)
        finally:
            os.close(descriptor)
        if not octets:
            raise OSError(f"{self.path}: ends before octet {self.offset + at}")
        return octets


# Content of no more than this is kept behind the lines of its response, in one object with them: a hit reads both at
# once. It is copied out for each hit, which costs less than another object that no cache of the processor has.
MOST_PACKED: Final = 2048
_REASONS: Final = {phrase: phrase for phrase in REASONS.values()}
_NO_NAMES: Final[list[bytes]] = []
# Lists of names that responses share, by the names in one: the first so many, never forgotten, so that it is known of
# each response whether it has a list of its own, which it pays for.
_KNOWN_NAMES: Final[dict[bytes, list[bytes]]] = {}
MAX_KNOWN_NAMES: Final = 1024
_MAX_KNOWN_LENGTH: Final = 2048


def _shared_names(names: list[bytes]) -> list[bytes]:
    """Return a list of the same names, never to be changed."""
    joined = b"\n".join(names)
    known = _KNOWN_NAMES.get(joined)
    if known is None:
        known = names[:]
        if len(joined) <= _MAX_KNOWN_LENGTH and len(_KNOWN_NAMES) < MAX_KNOWN_NAMES:
            _KNOWN_NAMES[joined] = known
    return known


@mypyc_attr(acyclic=True)
@final
class StoredResponse:
    """One stored response: a variant of what one key names."""

    __slots__ = (
        "_block",
        "_body",
        "_content_at",
        "_fields",
        "_flags_of_fields",
        "_names",
        "age_value",
        "asked_range",
        "born",
        "date",
        "etag",
        "flags",
        "fresh_until",
        "generation",
        "is_complete",
        "key",
        "last_modified",
        "length",
        "lifetime",
        "ranges",
        "reason",
        "request_time",
        "response_time",
        "size",
        "stale_if_error",
        "stale_if_unreachable",
        "stale_while_revalidate",
        "status",
        "tags",
        "vary",
    )

    def __init__(self, key: bytes, status: int, reason: bytes, fields: Fields, body: Body) -> None:
        # What each hit reads comes first.
        # (name, normalised value) of each selecting field, in the order of Vary; none: fits every request.
        self.vary: tuple[tuple[bytes, bytes], ...] = ()
        self.flags: int = 0
        self.request_time: float = 0.0
        self.fresh_until: float = 0.0
        self.born: float = 0.0
        self.status = status
        self.reason = _REASONS.get(reason, reason)
        self._body: Body | None = body  # None: packed
        self._fields: Fields | None = fields  # None: packed
        # Once packed: each line with CRLF behind it, and at `_content_at` the content, if that is packed.
        self._block: bytes = b""
        self._names: list[bytes] = _NO_NAMES
        self._flags_of_fields: int = 0
        self._content_at: int = 0
        self.length: int = -1  # octets of the complete representation, -1: not known yet
        self.ranges: list[tuple[int, int]] | None = None  # what is here of it, [start, end); None: all
        self.is_complete = False
        self.lifetime: float = 0.0
        self.key = key
        self.response_time: float = 0.0
        self.date: int = 0  # Date, or when it was received
        self.age_value: int = 0  # Age as it came
        # How long after `fresh_until` it may be used, and for what.
        self.stale_while_revalidate: float = 0.0
        self.stale_if_error: float = 0.0
        self.stale_if_unreachable: float = 0.0
        self.etag: bytes = b""  # as it came, with its quotes and W/
        self.last_modified: int = -1  # seconds, -1: absent or malformed
        self.tags: tuple[bytes, ...] = ()
        # The Range that a 206 answered whose content was shorter than its Content-Range: see cache/partial.
        self.asked_range: bytes = b""
        self.size: int = 0  # what it costs to keep
        self.generation: int = 0

    @property
    def fields(self) -> Fields:
        """The fields as stored: without what is for one connection, what Connection nominates, Age, and what
        no-cache="…" and private="…" name. To change them, set them: once packed, this is a copy."""
        if self._fields is not None:
            return self._fields
        return self.copy_fields()

    @fields.setter
    def fields(self, fields: Fields) -> None:
        self._fields = fields

    def copy_fields(self) -> Fields:
        """Return fields of its own for one answer."""
        if self._fields is not None:
            return self._fields.copy()
        return self.take_out()[0]

    def take_out(self) -> tuple[Fields, bytes]:
        """Return fields of its own for one answer, and the content, of what is packed."""
        names = self._names
        lines = self._block.split(b"\r\n", len(names))
        content = lines.pop()
        return Fields(names[:], lines, self._flags_of_fields), content

    @property
    def is_packed(self) -> bool:
        """Whether fields and content are in one object, for `take_out`."""
        return self._body is None and self._fields is None

    @property
    def body(self) -> Body:
        """The content. To change it, set it: once packed, this is a copy."""
        if self._body is not None:
            return self._body
        body = MemoryBody()
        body.append(self._block[self._content_at :])
        return body

    @body.setter
    def body(self, body: Body) -> None:
        if self._body is None:
            self._block = self._block[: self._content_at]
        self._body = body

    def pack(self) -> None:
        """Keep fields and content in as few objects as can be."""
        fields = self._fields
        body = self._body
        is_small = isinstance(body, MemoryBody) and body.size <= MOST_PACKED
        if fields is None and not is_small:
            return
        content = self._block[self._content_at :]
        if isinstance(body, MemoryBody) and is_small:
            content = body.first if body.more is None else b"".join(body.more)
            self._body = None
        if fields is not None:
            self._block = b"\r\n".join([*fields.lines, content])  # copied once
            self._content_at = len(self._block) - len(content)
            self._names = _shared_names(fields.names)
            self._flags_of_fields = fields.flags
            self._fields = None
        else:
            self._block = self._block[: self._content_at] + content

    @property
    def octets_packed(self) -> int:
        """What is packed takes beside the record, or would take: lines with what is between them, small content."""
        if self._fields is None:
            return len(self._block)
        return len(b"\r\n".join(self._fields.lines)) + 2

    @property
    def own_names(self) -> list[bytes]:
        """The names of what is packed, where no other response shares the list; else none."""
        if len(_KNOWN_NAMES) < MAX_KNOWN_NAMES and self._content_at <= _MAX_KNOWN_LENGTH:
            return _NO_NAMES
        names = self._names
        return _NO_NAMES if _KNOWN_NAMES.get(b"\n".join(names)) is names else names

    def __repr__(self) -> str:
        return f"<StoredResponse {self.status} {self.key.decode('latin-1')} length={self.length}>"


# Neighbours in a queue refer to each other, but who leaves it is let go of by both.
@mypyc_attr(acyclic=True)
@final
class KeyEntry:
    """What is known under one key. From `uses` on it is the memory store's, which has it in one of its queues."""

    __slots__ = (
        "first",
        "invalid_before",
        "is_main",
        "judged",
        "key",
        "newer",
        "octets",
        "older",
        "others",
        "uncacheable_until",
        "uses",
    )

    def __init__(self, key: bytes) -> None:
        # What each hit reads comes first.
        self.judged: int = 0  # the generation of purges that it was tried against
        self.uses: int = 0
        self.first: StoredResponse | None = None  # the oldest variant, and those behind it: the newest last
        self.others: tuple[StoredResponse, ...] = ()
        self.invalid_before: float = 0.0  # variants received before this are not used without a confirmation
        self.key = key
        self.uncacheable_until: float = 0.0  # answers were not storable lately: nobody waits for anybody
        self.octets: int = 0
        self.is_main = False
        self.newer: KeyEntry | None = None
        self.older: KeyEntry | None = None

    def __repr__(self) -> str:
        return f"<KeyEntry {self.key.decode('latin-1')} variants={len(self.variants)}>"

    @property
    def variants(self) -> tuple[StoredResponse, ...]:
        """All variants, the newest last."""
        return (self.first, *self.others) if self.first is not None else ()

    @variants.setter
    def variants(self, variants: tuple[StoredResponse, ...]) -> None:
        self.first = variants[0] if variants else None
        self.others = variants[1:]

    def add(self, variant: StoredResponse) -> None:
        """Add a variant as the newest."""
        if self.first is None:
            self.first = variant
        else:
            self.others = (*self.others, variant)

    def remove(self, variant: StoredResponse) -> None:
        """Let go of a variant."""
        self.variants = tuple([other for other in self.variants if other is not variant])
