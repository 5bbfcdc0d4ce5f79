"""The QPACK encoder (RFC 9204): lines to encoded field sections, and our encoder stream.

A section never blocks its reader: it refers to an entry of the dynamic table only when the peer has acknowledged it.
An entry is inserted when its line is seen for the second time, so what occurs once costs nothing. Never inserted:
what is secret (section 7.1.3), what changes each time, what would take more than a quarter of the table. What is
secret is also marked, so that no hop behind us indexes it either, and so is every literal of a section that came with
such a mark. An encoder for requests (`shared`) inserts nothing and marks every literal: requests of many clients meet
on a connection to an origin, and none of them shall learn by the length of its own request what others sent (section
7.1.1).

Literals mean the same on every connection; they are worked out once and remembered by their line.
"""

from typing import Final, final

from headgate.engine.h3.errors import QPACK_DECODER_STREAM_ERROR, H3ConnectionError
from headgate.engine.h3.qpack_static import STATIC_LINES, STATIC_NAMES
from headgate.engine.message.integers import CodingError, decode_integer, encode_integer, encode_string
from headgate.engine.message.lines import OVERHEAD, SENSITIVE

# Our table, whatever the peer allows: some 30 lines of responses; nginx has none, lsquic 4096.
MAX_ENCODER_TABLE: Final = 4096
# Sections with references that the peer has not acknowledged yet; further ones do without the dynamic table.
MAX_OUTSTANDING_SECTIONS: Final = 100
# Lines that were seen once, in case they come again.
MAX_CANDIDATES: Final = 128
# Literals that are remembered, and how long their line may be: at most some 2 MiB for a worker.
MAX_REMEMBERED_LITERALS: Final = 4096
MAX_REMEMBERED_OCTETS: Final = 256
_CHANGING: Final = frozenset(
    (b"age", b"content-length", b"content-range", b"date", b"etag", b"last-modified")
)

_literals: Final[dict[bytes, bytes]] = {}


@final
class Entry:
    """An entry of our dynamic table. `references` counts the outstanding sections that refer to it."""

    __slots__ = ("line", "references", "size")

    def __init__(self, line: bytes, size: int) -> None:
        self.line = line
        self.size = size
        self.references = 0


@final
class Outstanding:
    """What a section on its way needs: its Required Insert Count, and the entries it refers to."""

    __slots__ = ("entries", "required")

    def __init__(self, required: int, entries: list[Entry]) -> None:
        self.required = required
        self.entries = entries


@final
class QpackEncoder:
    """Encodes the sections of one connection."""

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared
        self.capacity = 0
        self._entries = 0  # MaxEntries of section 4.5.1.1, by what the peer allows
        self._table: list[Entry] = []
        self._dropped = 0
        self._size = 0
        self._index: dict[bytes, int] = {}  # line to absolute index, the newest
        self._candidates: dict[bytes, None] = {}
        self._known = 0  # Known Received Count of section 2.1.4
        self._outstanding: dict[int, list[Outstanding]] = {}
        self._sections = 0
        self._received = b""
        self._output = b""

    def __repr__(self) -> str:
        held = f"{self._dropped}..{self.inserted} {self._size}/{self.capacity}"
        return f"<QpackEncoder {held} known={self._known}>"

    @property
    def inserted(self) -> int:
        """How many entries were ever inserted: the Insert Count of RFC 9204."""
        return self._dropped + len(self._table)

    def apply_settings(self, capacity: int) -> None:
        """Take what the peer's decoder allows (section 3.2.3); to be called once, when its SETTINGS are there."""
        if self.shared or capacity < OVERHEAD:
            return
        self.capacity = min(capacity, MAX_ENCODER_TABLE)
        self._entries = capacity // 32
        self._output += encode_integer(self.capacity, 5, 0x20)

    # -- field sections

    def encode(self, stream: int, names: list[bytes], lines: list[bytes], *, marked: bool = False) -> bytes:
        """Return the encoded section of lines as `Fields` holds them; `names` are lower case.

        A pseudo-header field is the line `:name: value`. `marked`: every literal is marked as never to be indexed.
        """
        marked = marked or self.shared
        if self.capacity > 0 and self._sections < MAX_OUTSTANDING_SECTIONS and not marked:
            return self._encode_with_table(stream, names, lines)
        parts = [b"\0\0"]
        for i in range(len(lines)):
            line = lines[i]
            known = None if marked else _literals.get(line)
            parts.append(known if known is not None else _literal(names[i], line, marked))
        return b"".join(parts)

    def _encode_with_table(self, stream: int, names: list[bytes], lines: list[bytes]) -> bytes:
        base = self.inserted
        required = 0
        used: list[Entry] = []
        parts: list[bytes] = [b""]
        for i in range(len(lines)):
            line = lines[i]
            index = self._index.get(line, -1)
            if 0 <= index < self._known:
                entry = self._table[index - self._dropped]
                entry.references += 1
                used.append(entry)
                required = max(required, index + 1)
                parts.append(encode_integer(base - 1 - index, 6, 0x80))
                continue
            known = _literals.get(line)
            part = known if known is not None else _literal(names[i], line, False)
            parts.append(part)
            # Not worth an entry: an index into the static table is as short as one into ours.
            if index < 0 and len(part) > 2:
                self._consider(names[i], line)
        if required == 0:
            parts[0] = b"\0\0"
        else:
            parts[0] = encode_integer(required % (2 * self._entries) + 1, 8) + encode_integer(
                base - required, 7
            )
            self._sections += 1
            sections = self._outstanding.get(stream)
            if sections is None:
                sections = []
                self._outstanding[stream] = sections
            sections.append(Outstanding(required, used))
        return b"".join(parts)

    def _consider(self, name: bytes, line: bytes) -> None:
        """Insert a line when it was seen before and there is room for it."""
        if name in SENSITIVE or name in _CHANGING or len(line) * 4 > self.capacity:
            return
        if line not in self._candidates:
            if len(self._candidates) >= MAX_CANDIDATES:
                self._candidates.clear()
            self._candidates[line] = None
            return
        value = _value(name, line)
        size = len(name) + len(value) + OVERHEAD
        if size * 4 > self.capacity or not self._make_room(size):
            return
        del self._candidates[line]
        static = STATIC_NAMES.get(name, -1)
        if static >= 0:
            self._output += encode_integer(static, 6, 0xC0) + encode_string(value, 8)
        else:
            self._output += encode_string(name, 6, 0x40) + encode_string(value, 8)
        self._index[line] = self.inserted
        self._table.append(Entry(line, size))
        self._size += size

    def _make_room(self, size: int) -> bool:
        """Evict the oldest entries; False when one of them is still needed (section 2.1.1)."""
        gone = 0
        free = self.capacity - self._size
        while free < size:
            entry = self._table[gone]
            if entry.references > 0 or self._dropped + gone >= self._known:
                return False
            free += entry.size
            gone += 1
        for i in range(gone):
            entry = self._table[i]
            self._size -= entry.size
            if self._index.get(entry.line) == self._dropped + i:
                del self._index[entry.line]
        del self._table[:gone]
        self._dropped += gone
        return True

    # -- the decoder stream

    def receive(self, data: bytes) -> None:
        """Take octets of the peer's decoder stream (section 4.4). Raises `H3ConnectionError`."""
        data = self._received + data if self._received else data
        at = 0
        try:
            while at < len(data):
                at = self._instruction(data, at)
            self._received = b""
        except IndexError:
            self._received = data[at:]
        except CodingError as error:
            raise _bad_instruction(str(error)) from error

    def _instruction(self, data: bytes, at: int) -> int:
        first = data[at]
        if first & 0x80:
            stream, at = decode_integer(data, at, 7)
            sections = self._outstanding.get(stream)
            if sections is None:
                raise _bad_instruction(f"an acknowledgment of stream {stream}, where nothing is outstanding")
            section = sections.pop(0)
            if not sections:
                del self._outstanding[stream]
            self._release(section)
            self._known = max(self._known, section.required)
        elif first & 0x40:
            stream, at = decode_integer(data, at, 6)
            for section in self._outstanding.pop(stream, []):
                self._release(section)
        else:
            increment, at = decode_integer(data, at, 6)
            if increment == 0 or self._known + increment > self.inserted:
                raise _bad_instruction(f"an increment of {increment} beyond what was inserted")
            self._known += increment
        return at

    def _release(self, section: Outstanding) -> None:
        self._sections -= 1
        for entry in section.entries:
            entry.references -= 1

    def take_output(self) -> bytes:
        """Return what goes to our encoder stream, b"" for nothing."""
        output = self._output
        self._output = b""
        return output


def _value(name: bytes, line: bytes) -> bytes:
    return line[len(name) + 1 :].strip(b" \t")


def _literal(name: bytes, line: bytes, never: bool) -> bytes:
    """Return a line as an index into the static table or as a literal; `never` marks every literal."""
    value = _value(name, line)
    secret = name in SENSITIVE
    index = STATIC_NAMES.get(name, -1)
    whole = STATIC_LINES.get((name, value), -1)
    if whole >= 0:
        part = encode_integer(whole, 6, 0xC0)
    elif index >= 0:
        part = encode_integer(index, 4, 0x70 if never or secret else 0x50) + encode_string(value, 8)
    else:
        part = encode_string(name, 4, 0x30 if never or secret else 0x20) + encode_string(value, 8)
    if not never and not secret and len(line) <= MAX_REMEMBERED_OCTETS:
        if len(_literals) >= MAX_REMEMBERED_LITERALS:
            _literals.clear()
        _literals[line] = part
    return part


def _bad_instruction(detail: str) -> H3ConnectionError:
    return H3ConnectionError(QPACK_DECODER_STREAM_ERROR, "qpack-decoder-stream", detail)
