"""The HPACK decoder (RFC 7541): the field blocks of one connection, in their order, to lines.

Why reading is cheap: an entry of the dynamic table is a `Line`, checked and ready, so a reference to it is one look
into a list. A literal whose name is not in the dynamic table means the same on every connection: it is looked up, as
it stands, in a memory of representations that were seen, and only a new one is decoded and checked. So connections
that send the same lines share them, too. Whatever is secret is not remembered.

The size of a section is counted line by line as it is decoded: a reference of one octet may stand for a line of four
thousand. A section beyond the limit is given up, but read to its end, because it may change the table that later
blocks refer to. No string is longer than what its block has room for, and Huffman coding makes 1.6 octets of one at
most; how long a block may be is for whoever gathers it.
"""

from typing import Final, final

from headgate.engine.h2.errors import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, H2ConnectionError
from headgate.engine.h2.hpack_static import FIRST_DYNAMIC, STATIC
from headgate.engine.message.errors import SectionTooLargeError
from headgate.engine.message.integers import CodingError, decode_integer, decode_string
from headgate.engine.message.lines import COOKIE, MAX_FIELD_SECTION, MAX_SECTION_LINES, Line
from headgate.engine.message.table import DynamicTable

# RFC 9113 section 6.5.2: the table of a peer that has heard of no other size.
DEFAULT_TABLE: Final = 4096
# Lines of one block, in sections of as many lines as may be: cookies come in many, and what is too large is read on.
MAX_LINES_READ: Final = 4
# Section 4.2: the smallest size that there was since the last block, and the one that holds.
MAX_TABLE_UPDATES: Final = 2
# Representations that are remembered, and how long one may be: at most some 3 MiB for a worker.
MAX_REMEMBERED_LINES: Final = 4096
MAX_REMEMBERED_OCTETS: Final = 256

_seen: Final[dict[bytes, Line]] = {}


@final
class HpackDecoder:
    """Decodes the blocks of one connection. `max_table` is what our SETTINGS say."""

    __slots__ = ("_limit", "_table", "_update_due", "max_lines", "max_section", "max_table")

    def __init__(
        self,
        max_table: int = DEFAULT_TABLE,
        max_section: int = MAX_FIELD_SECTION,
        max_lines: int = MAX_SECTION_LINES,
    ) -> None:
        self.max_table = max_table
        self.max_section = max_section
        self.max_lines = max_lines
        self._table = DynamicTable()
        self._table.capacity = DEFAULT_TABLE
        self._limit = DEFAULT_TABLE
        self._update_due = False

    def __repr__(self) -> str:
        return f"<HpackDecoder {self._table!r}>"

    def settings_acknowledged(self) -> None:
        """Hold the peer to `max_table`; to be called when it has acknowledged our SETTINGS.

        Section 4.2: a peer that has to make its table smaller says so at the beginning of its next block.
        """
        self._limit = self.max_table
        self._update_due = self._limit < self._table.capacity

    def decode(self, block: bytes) -> list[Line]:
        """Return the lines of a whole block.

        Raises `H2ConnectionError`, or `SectionTooLargeError` for a section beyond `max_section` or `max_lines`, after
        which the next block can be decoded.
        """
        try:
            return self._read_lines(block, self._read_updates(block))
        except IndexError:
            raise _failed("a field block is cut short") from None
        except CodingError as error:
            raise _failed(str(error)) from error

    def _read_updates(self, block: bytes) -> int:
        """Carry out the table size updates that a block begins with (section 6.3); return where its lines begin."""
        at = 0
        size = len(block)
        updates = 0
        while at < size and block[at] & 0xE0 == 0x20:
            updates += 1
            if updates > MAX_TABLE_UPDATES:
                raise _failed(f"more than {MAX_TABLE_UPDATES} table size updates in a block")
            capacity, at = decode_integer(block, at, 5)
            if capacity > self._limit:
                raise _failed(f"a table of {capacity} octets, the limit is {self._limit}")
            self._table.set_capacity(capacity)
            self._update_due = False
        if self._update_due:
            raise _failed("no table size update after SETTINGS made the table smaller")
        return at

    def _read_lines(self, block: bytes, at: int) -> list[Line]:
        lines: list[Line] = []
        table = self._table
        left = self.max_section
        places = self.max_lines
        unread = MAX_LINES_READ * places
        size = len(block)
        while at < size:
            first = block[at]
            unread -= 1
            if unread < 0:
                raise H2ConnectionError(
                    ENHANCE_YOUR_CALM,
                    "field-lines",
                    f"more than {MAX_LINES_READ * self.max_lines} lines in a field block",
                )
            if first >= 0x80:
                # The most common one: an indexed field (section 6.1).
                index = first & 0x7F
                if index < 0x7F:
                    at += 1
                else:
                    index, at = decode_integer(block, at, 7)
                if index >= FIRST_DYNAMIC:
                    entry = table.newest(index - FIRST_DYNAMIC)
                    if entry is None:
                        raise _failed("an index beyond the table")
                    line = entry
                elif index > 0:
                    line = STATIC[index]
                else:
                    raise _failed("an index of 0")
            elif first < 0x20 and (left < 0 or places < 0):
                at = self._skip_literal(block, at)
                continue
            else:
                line, at = self._read_literal(block, at)
                if first >= 0x40 and not table.insert(line):
                    table.clear()  # section 4.4: an entry larger than the table empties it
            left -= line.size
            if line.kind != COOKIE:
                places -= 1
            if left >= 0 and places >= 0:
                lines.append(line)
        if left < 0:
            raise SectionTooLargeError(f"more than {self.max_section} octets of fields")
        if places < 0:
            raise SectionTooLargeError(f"more than {self.max_lines} field lines")
        return lines

    def _skip_literal(self, block: bytes, start: int) -> int:
        """Return where a literal ends that is not for the table, in a section that is given up."""
        index, at = decode_integer(block, start, 4)
        end = _end_of_string(block, at)
        if index == 0:
            return _end_of_string(block, end)
        if index >= FIRST_DYNAMIC and self._table.newest(index - FIRST_DYNAMIC) is None:
            raise _failed("an index beyond the table")
        return end

    def _read_literal(self, block: bytes, start: int) -> tuple[Line, int]:
        """Read a literal, to be indexed (section 6.2.1) or not (6.2.2, 6.2.3); return where the next line begins."""
        first = block[start]
        if first >= 0x40:
            index, at = decode_integer(block, start, 6)
        elif first < 0x20:
            index, at = decode_integer(block, start, 4)
        else:
            raise _failed("a table size update behind a field line")
        end = _end_of_string(block, at)
        if index == 0:
            end = _end_of_string(block, end)
        elif index >= FIRST_DYNAMIC:
            entry = self._table.newest(index - FIRST_DYNAMIC)
            if entry is None:
                raise _failed("an index beyond the table")
            value, end = decode_string(block, at, 8, end)
            return _line(entry.name, value, None, first), end
        is_short = end - start <= MAX_REMEMBERED_OCTETS
        if is_short:
            known = _seen.get(block[start:end])
            if known is not None:
                return known, end
        if index == 0:
            name, at = decode_string(block, at, 8, end)
            value, at = decode_string(block, at, 8, end)
            line = _line(name, value, None, first)
        else:
            like = STATIC[index]
            value, at = decode_string(block, at, 8, end)
            line = _line(like.name, value, like, first)
        if is_short and not line.sensitive and first & 0xF0 != 0x10:
            if len(_seen) >= MAX_REMEMBERED_LINES:
                _seen.clear()
            _seen[block[start:end]] = line
        return line, end


def _end_of_string(block: bytes, at: int) -> int:
    """Return where a string ends. Raises IndexError when that is beyond the block."""
    length = block[at] & 0x7F
    if length < 0x7F:
        at += 1 + length
    else:
        length, at = decode_integer(block, at, 7)
        at += length
    if at > len(block):
        raise IndexError("a string is cut short")
    return at


def _line(name: bytes, value: bytes, like: Line | None, first: int) -> Line:
    """Make a line; one that was marked as never to be indexed (section 6.2.3) stays so for the next hop."""
    line = Line(name, value, like)
    if first & 0xF0 == 0x10:
        line.mark()
    return line


def _failed(detail: str) -> H2ConnectionError:
    return H2ConnectionError(COMPRESSION_ERROR, "hpack-decompression", detail)
