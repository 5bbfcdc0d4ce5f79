"""Content on its way from the origin, read by several clients while it comes (RFC 9111 section 4).

A fill is written once, piece by piece, and read from any place of it: whoever reads keeps the place where it
stands, and no reader waits for another. Two modes:

- Keeping: everything stays until the end, and becomes the content of a stored response. The origin is read at its
  own pace: what is kept is bounded by the largest object that may be stored.
- Passing: more has come than may be stored (a length that nobody announced). What all readers have passed is let go
  of, and the origin waits while more than WINDOW octets are held: the slowest reader sets the pace. A reader can no
  longer begin.

Content may go to a file as well, while it comes (`begin_upload`): then what is larger than may be kept in memory is
kept there alone, and read from there. A disk that fails costs what is kept in memory nothing; what was on the disk
alone is passed on from then on.

Readers are the owner's: a fill knows nothing of connections.
"""

from typing import Final, final

from headgate.cache.entry import Body, MemoryBody
from headgate.cache.store.bodies import CheckedBody, OpenFile, Upload

# Held of content that is not kept, for readers that are behind: as much as a socket's buffer takes at once. nginx
# buffers 64 KiB of an answer, Varnish's streams have 128 KiB windows.
WINDOW: Final = 128 * 1024
# Pieces below this size are joined to the one before: an origin that trickles would cost 50 octets of bookkeeping for
# each octet of content.
SMALL: Final = 4096


@final
class Fill:
    """Content that is coming in. `limit`: octets that may be kept in memory, and not one more.

    `size` is what has come so far, `held` what is in memory of it; `is_over` says that this was all, `broken` that
    the rest will never come.
    """

    __slots__ = (
        "_chunks",
        "_disk_limit",
        "_held",
        "_spool",
        "_starts",
        "broken",
        "failure",
        "held",
        "is_over",
        "keeps",
        "limit",
        "size",
        "spooled",
        "upload",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.keeps = True
        self.size: int = 0
        self.held: int = 0
        self.is_over = False
        self.broken = False
        self._chunks: list[bytes] = []
        self._starts: list[int] = []
        self.upload: Upload | None = None  # has all that came so far
        self.spooled: int = 0  # octets that are in a file alone; chunks begin behind them
        self.failure: OSError | None = None  # the disk's
        self._spool: Body | None = None  # where those are read
        self._held: OpenFile | None = None  # whose file that is, once it is complete
        self._disk_limit: int = 0

    def __repr__(self) -> str:
        mode = "over" if self.is_over else "broken" if self.broken else "keeping" if self.keeps else "passing"
        return f"<Fill {self.size} octets, {self.held} held, {mode}>"

    @property
    def is_full(self) -> bool:
        """Whether the origin has to wait for the readers."""
        return not self.keeps and self.held > WINDOW

    def append(self, data: bytes) -> None:
        """Take a piece; one that goes beyond the limit ends the keeping."""
        size = len(data)
        if size == 0:
            return
        upload = self.upload
        if upload is not None and self._upload(upload, data) and self._spool is not None:
            self.size += size
            self.spooled = self.size
            return
        chunks = self._chunks
        if chunks and len(chunks[-1]) + size <= SMALL:
            chunks[-1] += data
        else:
            chunks.append(data)
            self._starts.append(self.size)
        self.size += size
        self.held += size
        if self.size > self.limit:
            self.keeps = self.leave_memory()

    def begin_upload(self, upload: Upload, limit: int) -> None:
        """From now on content goes into a file too, up to `limit` octets of it. Raises OSError."""
        for chunk in self._chunks:
            upload.write(chunk)
        self._disk_limit = limit
        self.upload = upload

    def _upload(self, upload: Upload, data: bytes) -> bool:
        """Write a piece; False: the file is given up."""
        try:
            if upload.size + len(data) <= self._disk_limit:
                upload.write(data)
                return True
        except OSError as error:
            self.failure = error
        self.give_up_upload()
        return False

    def give_up_upload(self) -> None:
        """There will be no file; what is in it alone can be read until `close`."""
        upload = self.upload
        if upload is None:
            return
        self.upload = None
        upload.abort()
        if self._spool is None:
            upload.close()
        else:
            self.keeps = False

    def leave_memory(self) -> bool:
        """Keep content in its file alone; False: it has none."""
        if self.upload is None:
            return False
        self._read_from(self.upload)
        return True

    def _read_from(self, spool: Body) -> None:
        """All that came so far is read from `spool`, and from nowhere else."""
        self._spool = spool
        self.spooled = self.size
        self._chunks = []
        self._starts = []
        self.held = 0

    def settle(self, body: CheckedBody) -> None:
        """The file is complete, and `body` has its descriptor: who has not read all yet does so by that."""
        self.upload = None
        held = body.hold()
        if held is None and self._spool is None:
            return
        self._read_from(body)
        self._held = held

    def close(self) -> None:
        """Nobody reads any more: let go of the file."""
        upload = self.upload
        spool = self._spool
        self.upload = None
        self._spool = None
        if upload is not None:
            upload.abort()
            upload.close()
        if isinstance(spool, Upload):
            spool.close()
        held = self._held
        if held is not None:
            self._held = None
            held.release()

    def read(self, at: int, limit: int) -> bytes:
        """Return what is there from `at` on, at most `limit` octets: a whole piece where that is possible.

        b"": nothing is there yet, or this is the end. Raises OSError where that is in a file.
        """
        if at >= self.size:
            return b""
        if at < self.spooled:
            spool = self._spool
            if spool is None:
                raise OSError(f"octet {at} was in a file that is closed")
            most = min(limit, self.spooled - at)
            return spool.read(at, most)
        starts = self._starts
        low = 0
        high = len(starts) - 1
        while low < high:
            middle = (low + high + 1) >> 1
            if starts[middle] <= at:
                low = middle
            else:
                high = middle - 1
        begin = at - starts[low]
        chunk = self._chunks[low]
        if begin < 0:
            raise ValueError(f"octet {at} is gone")
        if begin == 0 and len(chunk) <= limit:
            return chunk
        return chunk[begin : begin + limit]

    def trim(self, least: int) -> None:
        """Let go of what lies before `least`, the place of the slowest reader; nothing is while it is kept."""
        if self.keeps:
            return
        starts = self._starts
        count = len(starts)
        gone = 0
        while gone < count and (starts[gone + 1] if gone + 1 < count else self.size) <= least:
            self.held -= len(self._chunks[gone])
            gone += 1
        if gone:
            del self._chunks[:gone]
            del starts[:gone]

    def end(self) -> None:
        """All of it is there."""
        self.is_over = True

    def break_off(self) -> None:
        """No more comes, and it is not complete."""
        self.broken = True

    def body(self) -> MemoryBody:
        """Return the content, which is all there and kept in memory."""
        return MemoryBody(self._chunks)
