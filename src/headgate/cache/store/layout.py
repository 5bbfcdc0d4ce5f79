"""Where everything of the disk store lies, and the tables of its index.

    ROOT/index/      LMDB
    ROOT/files/xx/   large content; xx are the last two characters of a file's name
    ROOT/incoming/   large content that is still being written
    ROOT/lock        held by the one process that writes

    objects   variant_id -> place in `order`, record (format.py)
    order     place, 64 bits, big-endian -> octets charged, variant_id, name of its file
    files     name of a file -> variant_id
    meta      b"state" -> next place, octets, objects; b"purges"; b"format"

A transaction of a reader never outlives the call that began it: pages that a reader may see are not used again, so
one that stands still makes the index grow. Nothing of this is opened before a fork.
"""

import os
import struct
from typing import Final

import lmdb

from headgate.cache.purges import Purges
from headgate.cache.store.bodies import INCOMING
from headgate.cache.store.format import VERSION, CorruptError

OBJECTS: Final = b"objects"
ORDER: Final = b"order"
FILES: Final = b"files"
META: Final = b"meta"
STATE: Final = b"state"
PURGES: Final = b"purges"
FORMAT: Final = b"format"

PLACE: Final = struct.Struct(">Q")
CHARGED: Final = struct.Struct("<Q24s")
STATE_NUMBERS: Final = struct.Struct("<QQQ")
_PURGE: Final = struct.Struct("<QBBI")
_PURGES_START: Final = struct.Struct("<QQ")

FORMAT_NOW: Final = b"headgate-cache-%d" % VERSION
# Workers, twice over while a reload overlaps, and tools.
MAX_READERS: Final = 1024
PAGE: Final = 4096


def make_directories(root: str) -> None:
    """Make what is missing under `root`, for our eyes only. Raises OSError."""
    for name in ("", "/index", "/files", f"/{INCOMING}"):
        os.makedirs(root + name, mode=0o700, exist_ok=True)
    for number in range(256):
        os.makedirs(f"{root}/files/{number:02x}", mode=0o700, exist_ok=True)


def file_path(root: str, name: str) -> str:
    """Return where the complete file `name` lies."""
    return f"{root}/files/{name[-2:]}/{name}"


def map_size(budget: int) -> int:
    """Return the address space of the index: the budget twice, for pages that readers still see, and some more."""
    return (2 * budget + (256 << 20)) // PAGE * PAGE


def check_length(environment: lmdb.Environment, root: str) -> None:
    """Raise CorruptError when the index ends before its last page: to touch that would be SIGBUS."""
    last: int = environment.info()["last_pgno"]
    size = os.stat(f"{root}/index/data.mdb").st_size
    page: int = environment.stat()["psize"]
    if size < (last + 1) * page:
        raise CorruptError(f"{root}/index/data.mdb has {size} octets, and {(last + 1) * page} are in use")


def reserve_lock(root: str) -> None:
    """Have room for the whole table of readers, before the index is opened. Raises OSError.

    LMDB maps that file into memory and makes it long without room behind it: on a disk that is full, to touch it
    would be SIGBUS. Not while the index is open: closing any descriptor of the file gives up LMDB's locks on it.
    """
    descriptor = os.open(f"{root}/index/lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, (MAX_READERS + 64) * 64)
    finally:
        os.close(descriptor)


def pack_purges(purges: Purges) -> bytes:
    """Return purges as octets."""
    parts = [_PURGES_START.pack(purges.generation, purges.floor)]
    for generation, kind, is_soft, pattern in purges.listed():
        parts.append(_PURGE.pack(generation, kind, is_soft, len(pattern)) + pattern)
    return b"".join(parts)


def unpack_purges(octets: bytes) -> Purges:
    """Return what `pack_purges` packed. Raises CorruptError."""
    purges = Purges()
    try:
        generation, floor = _PURGES_START.unpack_from(octets)
        at = _PURGES_START.size
        while at < len(octets):
            number, kind, is_soft, length = _PURGE.unpack_from(octets, at)
            at += _PURGE.size
            purges.add(kind, octets[at : at + length], bool(is_soft), number)
            at += length
    except struct.error as error:
        raise CorruptError("the list of purges is torn") from error
    purges.floor = floor
    purges.generation = max(generation, purges.generation)
    return purges
