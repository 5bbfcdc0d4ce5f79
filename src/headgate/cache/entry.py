"""What is stored: responses, their content, and what is known under one key (RFC 9111 sections 2 and 3).

A StoredResponse is one variant. Whatever a rule needs of its fields is read once, when it is stored, and kept as a
number: a hit is a few comparisons. Ages are counted from `born`, the moment at which the response was as good as
new: response_time less the corrected initial age of section 4.2.3. So the current age is now - born, and the
response is fresh while now < fresh_until. All times are seconds of the wall clock.

Content is a Body, shared by all who read it and never copied for one of them. A body may still be growing while it
is read: `size` is what is there, `StoredResponse.length` what there will be.

Nothing here refers back to what holds it, so the collector of cycles knows nothing of it: see untracked.py.
"""

import os
from typing import Final, final

from mypy_extensions import mypyc_attr

from headgate.http.fields import Fields

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

    __slots__ = ("chunks", "starts")

    def __init__(self, chunks: list[bytes] | None = None) -> None:
        super().__init__()
        self.chunks: list[bytes] = []
        self.starts: list[int] = []
        if chunks is not None:
            for chunk in chunks:
                self.append(chunk)

    def __repr__(self) -> str:
        return f"<MemoryBody {self.size} in {len(self.chunks)}>"

    def append(self, chunk: bytes) -> None:
        """Add a piece at the end."""
        if chunk:
            self.starts.append(self.size)
            self.chunks.append(chunk)
            self.size += len(chunk)

    def read(self, at: int, limit: int) -> bytes:
        """Return octets of the one piece that holds `at`: the piece itself when all of it is asked for."""
        if at < 0 or at >= self.size or limit <= 0:
            return b""
        index = self._piece(at)
        chunk = self.chunks[index]
        begin = at - self.starts[index]
        if begin == 0 and len(chunk) <= limit:
            return chunk
        return chunk[begin : begin + limit]

    def _piece(self, at: int) -> int:
        """Return which piece holds the octet `at`."""
        starts = self.starts
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


@mypyc_attr(acyclic=True)
@final
class StoredResponse:
    """One stored response: a variant of what one key names."""

    __slots__ = (
        "age_value",
        "asked_range",
        "body",
        "born",
        "date",
        "etag",
        "fields",
        "flags",
        "fresh_until",
        "generation",
        "head",
        "hits",
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
        self.key = key
        self.status = status
        self.reason = reason
        # As stored: without what is for one connection, what Connection nominates, Age, and what no-cache="…" and
        # private="…" name.
        self.fields = fields
        self.head: bytes = b""  # whatever the owner prepares of the fields, once
        self.body = body
        # (name, normalised value) of each selecting field, in the order of Vary; none: fits every request.
        self.vary: list[tuple[bytes, bytes]] = []
        self.request_time: float = 0.0
        self.response_time: float = 0.0
        self.date: int = 0  # Date, or when it was received
        self.age_value: int = 0  # Age as it came
        self.born: float = 0.0
        self.lifetime: float = 0.0
        self.fresh_until: float = 0.0
        self.flags: int = 0
        # How long after `fresh_until` it may be used, and for what.
        self.stale_while_revalidate: float = 0.0
        self.stale_if_error: float = 0.0
        self.stale_if_unreachable: float = 0.0
        self.etag: bytes = b""  # as it came, with its quotes and W/
        self.last_modified: int = -1  # seconds, -1: absent or malformed
        self.tags: tuple[bytes, ...] = ()
        self.length: int = -1  # octets of the complete representation, -1: not known yet
        self.ranges: list[tuple[int, int]] | None = None  # what is here of it, [start, end); None: all
        # The Range that a 206 answered whose content was shorter than its Content-Range: see cache/partial.
        self.asked_range: bytes = b""
        self.size: int = 0  # what it costs to keep
        self.is_complete = False
        self.generation: int = 0
        self.hits: int = 0

    def __repr__(self) -> str:
        return f"<StoredResponse {self.status} {self.key.decode('latin-1')} length={self.length}>"


@mypyc_attr(acyclic=True)
@final
class KeyEntry:
    """What is known under one key."""

    __slots__ = ("invalid_before", "key", "uncacheable_until", "variants")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.variants: list[StoredResponse] = []  # the newest last
        self.uncacheable_until: float = 0.0  # answers were not storable lately: nobody waits for anybody
        self.invalid_before: float = 0.0  # variants received before this are not used without a confirmation

    def __repr__(self) -> str:
        return f"<KeyEntry {self.key.decode('latin-1')} variants={len(self.variants)}>"
