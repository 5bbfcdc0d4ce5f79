"""The HPACK encoder (RFC 7541): field sections to blocks.

What a line is on the wire is worked out once and remembered by the line, for all connections; what is secret or long
is not, and goes out without Huffman coding. On each connection, a line enters the dynamic table when it is sent for
the second time: what occurs once evicts nothing. Never inserted: what is secret (section 7.1.3), what changes each
time, what would take more than a quarter of the table.

What is secret is also marked, so that no hop behind us indexes it either, and so is every literal of a section that
came with such a mark. An encoder for requests (`shared`) inserts nothing and marks every literal: requests of many
clients meet on a connection to an origin, and none of them shall learn by the length of its own request what others
sent (section 7.1.1).
"""

from typing import Final, final

from headgate.engine.h2.hpack_static import FIRST_DYNAMIC, STATIC_LINES, STATIC_NAMES
from headgate.engine.h2.hpack_table import EncoderTable, Literal
from headgate.engine.message.integers import encode_integer, encode_string
from headgate.engine.message.lines import OVERHEAD, SENSITIVE
from headgate.http.fields import NEVER_INDEXED, Fields

# Our table, whatever the peer allows: some 50 lines of responses. It is also the size that needs no word (RFC 9113
# section 6.5.2), and what nginx and nghttp2 use.
MAX_ENCODER_TABLE: Final = 4096
# Lines that were sent once on a connection, in case they come again.
MAX_CANDIDATES: Final = 32
# Literals that are remembered, and how long their line may be: at most some 4 MiB for a worker.
MAX_REMEMBERED_LITERALS: Final = 4096
MAX_REMEMBERED_OCTETS: Final = 256
_CHANGING: Final = frozenset(
    (b"age", b"content-length", b"content-range", b"date", b"etag", b"last-modified")
)
# Indexed fields, up to the last index that our table can have.
_INDEXED: Final[list[bytes]] = [
    encode_integer(index, 7, 0x80) for index in range(FIRST_DYNAMIC + MAX_ENCODER_TABLE // OVERHEAD)
]

_literals: Final[dict[bytes, Literal]] = {}
_marked: Final[dict[bytes, bytes]] = {}


@final
class HpackEncoder:
    """Encodes the sections of one connection."""

    __slots__ = ("_candidates", "_least", "_limit", "_table", "_update_due", "shared")

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared
        self._table = EncoderTable(MAX_ENCODER_TABLE)
        self._limit = MAX_ENCODER_TABLE  # what the peer allows
        self._least = MAX_ENCODER_TABLE  # the smallest capacity since the last block
        self._update_due = False
        self._candidates: dict[bytes, None] = {}

    def __repr__(self) -> str:
        return f"<HpackEncoder {self._table!r}>"

    def apply_table_size(self, limit: int) -> None:
        """Take the peer's SETTINGS_HEADER_TABLE_SIZE. The next block tells it what has become of our table."""
        capacity = min(limit, MAX_ENCODER_TABLE)
        # Also when our table was smaller all along: a peer that made its limit smaller may insist on an answer.
        if limit < self._limit or capacity != self._table.capacity:
            self._least = min(self._least, capacity) if self._update_due else capacity
            self._update_due = True
            self._table.set_capacity(capacity)
        self._limit = limit

    def encode(self, fields: Fields) -> bytes:
        """Return the block of a section; names are lower case, and a pseudo-header field is `:name: value`."""
        names = fields.names
        lines = fields.lines
        parts: list[bytes] = []
        if self._update_due:
            self._append_updates(parts)
        if self.shared or fields.flags & NEVER_INDEXED:
            parts.extend([_marked_literal(names[i], lines[i]) for i in range(len(lines))])
            return b"".join(parts)
        table = self._table
        places = table.places
        for i in range(len(lines)):
            line = lines[i]
            place = places.get(line, -1)
            if place >= 0:
                parts.append(_INDEXED[FIRST_DYNAMIC - 1 + table.inserted - place])
                continue
            known = _literals.get(line)
            literal = known if known is not None else _literal(names[i], line)
            if literal.size > 0 and self._is_worth(literal):
                parts.append(literal.inserting)
                table.insert(literal)
            else:
                parts.append(literal.plain)
        return b"".join(parts)

    def _append_updates(self, parts: list[bytes]) -> None:
        """Section 4.2: the smallest size since the last block, so that the peer evicts as we did, then the last."""
        capacity = self._table.capacity
        if self._least < capacity:
            parts.append(encode_integer(self._least, 5, 0x20))
        parts.append(encode_integer(capacity, 5, 0x20))
        self._update_due = False

    def _is_worth(self, literal: Literal) -> bool:
        """Tell whether a line is to be inserted: it was sent before, and leaves room for others."""
        if literal.size * 4 > self._table.capacity:
            return False
        line = literal.line
        if line in self._candidates:
            del self._candidates[line]
            return True
        if len(self._candidates) >= MAX_CANDIDATES:
            self._candidates.clear()
        self._candidates[line] = None
        return False


def _literal(name: bytes, line: bytes) -> Literal:
    """Work out what a line is on the wire, and remember it unless it is secret or long."""
    value = _value(name, line)
    if name in SENSITIVE:
        return Literal(line, _encode(name, value, 4, 0x10, False), b"", 0)
    whole = STATIC_LINES.get((name, value), -1)
    if whole >= 0:
        return _remember(Literal(line, _INDEXED[whole], b"", 0))
    is_short = len(line) <= MAX_REMEMBERED_OCTETS
    plain = _encode(name, value, 4, 0, is_short)
    if name in _CHANGING:
        literal = Literal(line, plain, b"", 0)
    else:
        size = len(name) + len(value) + OVERHEAD
        literal = Literal(line, plain, _encode(name, value, 6, 0x40, is_short), size)
    return _remember(literal) if is_short else literal


def _remember(literal: Literal) -> Literal:
    if len(_literals) >= MAX_REMEMBERED_LITERALS:
        _literals.clear()
    _literals[literal.line] = literal
    return literal


def _marked_literal(name: bytes, line: bytes) -> bytes:
    """Return a line as an index into the static table, or as a literal that is never to be indexed."""
    known = _marked.get(line)
    if known is not None:
        return known
    value = _value(name, line)
    if name in SENSITIVE or len(line) > MAX_REMEMBERED_OCTETS:
        return _encode(name, value, 4, 0x10, False)
    whole = STATIC_LINES.get((name, value), -1)
    part = _INDEXED[whole] if whole >= 0 else _encode(name, value, 4, 0x10, True)
    if len(_marked) >= MAX_REMEMBERED_LITERALS:
        _marked.clear()
    _marked[line] = part
    return part


def _value(name: bytes, line: bytes) -> bytes:
    return line[len(name) + 1 :].strip(b" \t")


def _encode(name: bytes, value: bytes, bits: int, first: int, coded: bool) -> bytes:
    """Return a literal whose index of a name has `bits`, and `first` above them (section 6.2).

    `coded` says whether its value is Huffman-coded. That makes it a quarter shorter, and costs 20 ns an octet here
    and as much over there: for a token of a thousand octets more than all the rest of its request. So only what is
    remembered is coded.
    """
    index = STATIC_NAMES.get(name, 0)
    begin = encode_integer(index, bits, first)
    if index == 0:
        begin += encode_string(name, 8)
    return begin + (encode_string(value, 8) if coded else encode_integer(len(value), 7) + value)
