"""A stored response as octets: what the index has for each, its content behind it or the name of a file that has it.

    magic 2 | version 1 | kind 1 | CRC-32 of all that follows 4
    numbers of the response, and how many pairs, tags, lines, ranges and blocks there are
    ranges, two 64-bit numbers each | CRC-32 of each block of the file | length of each string
    strings: key, reason, etag, file, then pairs of Vary, tags and lines | content, where it is here

Whatever is read back is checked first: a record that was torn, cut short or written by another version is a
CorruptError, and for the cache that is a miss. The checksum is no protection from people: whoever can write here can
write anything.
"""

import struct
import zlib
from hashlib import blake2b
from typing import Final, final

from headgate.cache.entry import Body, MemoryBody, StoredResponse
from headgate.cache.purges import url_of
from headgate.errors import HeadgateError
from headgate.http.fields import Fields

MAGIC: Final = b"HG"
VERSION: Final = 2
INLINE: Final = 0
IN_FILE: Final = 1
# Blocks of a file are checked one by one, when each is first read: a range costs no more than its blocks.
BLOCK: Final = 256 * 1024

_START: Final = struct.Struct("<2sBBI")
# status, flags, flags of fields, complete?, 8 times, date, age, last modified, length, generation, size of content,
# and five counts
_NUMBERS: Final = struct.Struct("<HIIB8dqqqqQQ5I")
_URL_DIGEST: Final = 12
_PARTS_DIGEST: Final = 4
_VARY_DIGEST: Final = 8
# Names of fields are few and are shared between responses; this many are remembered.
_NAMES_KEPT: Final = 1024
_names: Final[dict[bytes, bytes]] = {}


class CorruptError(HeadgateError):
    """What was read is not what was written."""


def url_id(key: bytes) -> bytes:
    """Return what everything of a key's URL begins with in the index, whatever further parts their keys have: what
    changes a URL changes all of it."""
    return blake2b(url_of(key), digest_size=_URL_DIGEST).digest()


def key_id(key: bytes) -> bytes:
    """Return what all variants of a key begin with in the index."""
    url = url_of(key)
    parts = blake2b(key[len(url) :], digest_size=_PARTS_DIGEST).digest()
    return blake2b(url, digest_size=_URL_DIGEST).digest() + parts


def variant_id(variant: StoredResponse) -> bytes:
    """Return a variant's own name in the index: the same key and selecting values have the same."""
    parts = b"".join(b"%d,%d:%b%b" % (len(name), len(value), name, value) for name, value in variant.vary)
    return key_id(variant.key) + blake2b(parts, digest_size=_VARY_DIGEST).digest()


@final
class FileContent:
    """Where content is that has a file of its own: its name, its size and the checksum of each block."""

    __slots__ = ("blocks", "name", "size")

    def __init__(self, name: bytes, size: int, blocks: list[int]) -> None:
        self.name = name
        self.size = size
        self.blocks = blocks


@final
class Record:
    """A record that was read: the response without its content, and where that is."""

    __slots__ = ("content", "file", "variant")

    def __init__(self, variant: StoredResponse, content: bytes, file: FileContent | None) -> None:
        self.variant = variant
        self.content = content
        self.file = file


def encode(variant: StoredResponse, content: bytes, file: FileContent | None = None) -> bytes:
    """Return the record of a response with its `content`, or with the file that has it."""
    ranges: list[int] = []
    for start, end in variant.ranges or ():
        ranges += (start, end)
    strings = [variant.key, variant.reason, variant.etag, b"" if file is None else file.name]
    for name, value in variant.vary:
        strings += (name, value)
    strings += variant.tags
    fields = variant.fields
    lines = fields.lines
    strings += lines
    blocks = [] if file is None else file.blocks
    numbers = _NUMBERS.pack(
        variant.status,
        variant.flags,
        fields.flags,
        # bit 1: ranges are given, be they none
        (1 if variant.is_complete else 0) | (0 if variant.ranges is None else 2),
        variant.request_time,
        variant.response_time,
        variant.born,
        variant.lifetime,
        variant.fresh_until,
        variant.stale_while_revalidate,
        variant.stale_if_error,
        variant.stale_if_unreachable,
        variant.date,
        variant.age_value,
        variant.last_modified,
        variant.length,
        variant.generation,
        len(content) if file is None else file.size,
        len(variant.vary),
        len(variant.tags),
        len(lines),
        len(ranges),
        len(blocks),
    )
    tables = struct.pack(
        f"<{len(ranges)}Q{len(blocks)}I{len(strings)}I",
        *ranges,
        *blocks,
        *[len(string) for string in strings],
    )
    rest = b"".join([numbers, tables, *strings, content])
    return _START.pack(MAGIC, VERSION, INLINE if file is None else IN_FILE, zlib.crc32(rest)) + rest


def check(record: bytes) -> None:
    """Raise CorruptError unless this is a whole record of this version."""
    if len(record) < _START.size + _NUMBERS.size:
        raise CorruptError(f"a record of {len(record)} octets is too short")
    magic, version, kind, checksum = _START.unpack_from(record)
    if magic != MAGIC or version != VERSION or kind not in (INLINE, IN_FILE):
        raise CorruptError(f"no record of version {VERSION}")
    if zlib.crc32(memoryview(record)[_START.size :]) != checksum:
        raise CorruptError("the checksum of a record is wrong")


def decode(record: bytes) -> Record:
    """Return what `encode` made a record of; raises CorruptError. The response has an empty body yet."""
    check(record)
    try:
        return _decoded(record)
    except (
        struct.error,
        ValueError,
        IndexError,
    ) as error:  # a checksum that fits by chance, or a fault of ours
        raise CorruptError(f"a record contradicts itself: {error}") from error


def _decoded(record: bytes) -> Record:
    at = _START.size
    numbers = _NUMBERS.unpack_from(record, at)
    at += _NUMBERS.size
    n_vary, n_tags, n_lines, n_ranges, n_blocks = numbers[18:]
    n_strings = 4 + 2 * n_vary + n_tags + n_lines
    tables = struct.Struct(f"<{n_ranges}Q{n_blocks}I{n_strings}I")
    values = tables.unpack_from(record, at)
    at += tables.size
    strings: list[bytes] = []
    for length in values[n_ranges + n_blocks :]:
        strings.append(record[at : at + length])
        at += length
    content = record[at:]
    size: int = numbers[17]
    is_inline = record[3] == INLINE
    if at > len(record) or (is_inline and len(content) != size) or (not is_inline and content):
        raise ValueError("lengths do not add up")
    tags_at = 4 + 2 * n_vary
    lines = strings[tags_at + n_tags :]
    variant = _response(numbers, strings, Fields([_name(line) for line in lines], lines))
    variant.vary = tuple([(strings[i], strings[i + 1]) for i in range(4, tags_at, 2)])
    variant.tags = tuple(strings[tags_at : tags_at + n_tags])
    if numbers[3] & 2:
        variant.ranges = [(values[i], values[i + 1]) for i in range(0, n_ranges, 2)]
    file = None if is_inline else FileContent(strings[3], size, list(values[n_ranges : n_ranges + n_blocks]))
    return Record(variant, content, file)


def _response(numbers: tuple[int | float, ...], strings: list[bytes], fields: Fields) -> StoredResponse:
    """Make the response, numbers and strings; `numbers` are those of `_NUMBERS`."""
    body: Body = MemoryBody()
    variant = StoredResponse(strings[0], int(numbers[0]), strings[1], fields, body)
    variant.flags = int(numbers[1])
    fields.flags |= int(numbers[2])  # an older version may have known fewer kinds
    variant.is_complete = bool(int(numbers[3]) & 1)
    variant.etag = strings[2]
    variant.request_time = float(numbers[4])
    variant.response_time = float(numbers[5])
    variant.born = float(numbers[6])
    variant.lifetime = float(numbers[7])
    variant.fresh_until = float(numbers[8])
    variant.stale_while_revalidate = float(numbers[9])
    variant.stale_if_error = float(numbers[10])
    variant.stale_if_unreachable = float(numbers[11])
    variant.date = int(numbers[12])
    variant.age_value = int(numbers[13])
    variant.last_modified = int(numbers[14])
    variant.length = int(numbers[15])
    variant.generation = int(numbers[16])
    return variant


def _name(line: bytes) -> bytes:
    name = line[: line.index(b":")].lower()
    known = _names.get(name)
    if known is not None:
        return known
    if len(_names) < _NAMES_KEPT:
        _names[name] = name
    return name
