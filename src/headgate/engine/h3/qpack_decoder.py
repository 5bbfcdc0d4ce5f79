"""The QPACK decoder (RFC 9204): encoded field sections to lines, and the peer's encoder stream.

By default the dynamic table has no room, so nothing can block and nothing is held: every section is decoded when it
is there (HAProxy does the same). With a capacity, a section that refers to entries which have not arrived is kept
until they have; how many may wait, and with how many octets, is bounded.

Why reading is cheap: a representation that does not refer to the dynamic table means the same on every connection.
It is looked up, as it stands, in a memory of representations that were seen, and only a new one is decoded and
checked. Whatever is secret is not remembered. The size of a section is counted line by line as it is decoded, so one
that grows (a reference of one octet may stand for a line of four thousand) is given up at the limit.
"""

from typing import Final, final

from headgate.engine.h3.errors import (
    H3_EXCESSIVE_LOAD,
    QPACK_DECOMPRESSION_FAILED,
    QPACK_ENCODER_STREAM_ERROR,
    H3ConnectionError,
)
from headgate.engine.h3.qpack_static import STATIC
from headgate.engine.message.errors import SectionTooLargeError
from headgate.engine.message.integers import CodingError, decode_integer, decode_string, encode_integer
from headgate.engine.message.lines import COOKIE, MAX_FIELD_SECTION, MAX_SECTION_LINES, Line
from headgate.engine.message.table import DynamicTable

# The largest dynamic table and number of waiting sections that can be asked for (browsers use 64 KiB and 100).
MAX_TABLE: Final = 4096
MAX_BLOCKED_STREAMS: Final = 16
# Octets of all waiting sections together.
MAX_BLOCKED_OCTETS: Final = 64 * 1024
# Representations that are remembered, and how long one may be: at most some 3 MiB for a worker.
MAX_REMEMBERED_LINES: Final = 4096
MAX_REMEMBERED_OCTETS: Final = 256

_seen: Final[dict[bytes, Line]] = {}


@final
class QpackDecoder:
    """Decodes the sections of one connection. `output` goes to our decoder stream."""

    def __init__(
        self,
        capacity: int = 0,
        blocked: int = 0,
        max_section: int = MAX_FIELD_SECTION,
        max_lines: int = MAX_SECTION_LINES,
    ) -> None:
        self.max_capacity = min(capacity, MAX_TABLE)
        self.max_blocked = min(blocked, MAX_BLOCKED_STREAMS)
        self.max_section = max_section
        self.max_lines = max_lines
        self.output = b""
        self._entries = self.max_capacity // 32  # MaxEntries of section 4.5.1.1
        self._table = DynamicTable()
        self._received = b""  # an incomplete instruction
        self._acknowledged = 0
        self._blocked: dict[int, tuple[int, bytes]] = {}  # Required Insert Count, section
        self._blocked_octets = 0
        # Where the section at hand stands: read by the functions that decode one representation.
        self._base = 0
        self._required = 0

    def __repr__(self) -> str:
        return f"<QpackDecoder {self._table!r} blocked={len(self._blocked)}>"

    # -- field sections

    def decode(self, stream: int, section: bytes) -> list[Line] | None:
        """Return the lines of a section, or None while it waits for the encoder stream (then see `unblocked`).

        Raises `H3ConnectionError`, or `SectionTooLargeError` when reading was given up.
        """
        try:
            at = self._read_prefix(section)
            if self._required > self._table.inserted:
                self._wait(stream, section)
                return None
            lines = self._read_lines(section, at)
        except IndexError:
            raise _failed("a field section is cut short") from None
        except CodingError as error:
            raise _failed(str(error)) from error
        if self._required > 0:
            self.output += encode_integer(stream, 7, 0x80)  # section 4.4.1: Section Acknowledgment
            self._acknowledged = max(self._acknowledged, self._required)
        return lines

    def _read_prefix(self, section: bytes) -> int:
        """Read Required Insert Count and Base (section 4.5.1); return where the lines begin."""
        encoded, at = decode_integer(section, 0, 8)
        sign = section[at] & 0x80
        delta, at = decode_integer(section, at, 7)
        required = 0
        if encoded > 0:
            span = 2 * self._entries
            if encoded > span:
                raise _failed("a Required Insert Count that no encoder sends")
            most = self._table.inserted + self._entries
            required = most // span * span + encoded - 1
            if required > most:
                if required <= span:
                    raise _failed("a Required Insert Count that no encoder sends")
                required -= span
            if required == 0:
                raise _failed("a Required Insert Count of zero in a long form")
        if sign and required <= delta:
            raise _failed("a negative Base")
        self._base = required - delta - 1 if sign else required + delta
        self._required = required
        return at

    def _read_lines(self, section: bytes, at: int) -> list[Line]:
        lines: list[Line] = []
        left = self.max_section
        count = 0
        size = len(section)
        while at < size:
            first = section[at]
            if first >= 0xC0:
                # The most common one: a line of the static table.
                index = first & 0x3F
                if index < 0x3F:
                    at += 1
                else:
                    index, at = decode_integer(section, at, 6)
                if index >= 99:
                    raise _failed("an index beyond the static table")
                line = STATIC[index]
            elif first >= 0x80:
                index, at = decode_integer(section, at, 6)
                line = self._entry(self._base - 1 - index)
            elif first & 0xF0 == 0x10:
                index, at = decode_integer(section, at, 4)
                line = self._entry(self._base + index)
            elif first & 0x50 == 0x50 or first & 0xE0 == 0x20:
                start = at
                at = self._end_of_literal(section, at)
                known = _seen.get(section[start:at]) if at - start <= MAX_REMEMBERED_OCTETS else None
                line = known if known is not None else self._read_literal(section, start, at)
            else:
                line, at = self._read_relative_literal(section, at)
            left -= line.size
            if left < 0:
                raise SectionTooLargeError(f"more than {self.max_section} octets of fields")
            if line.kind != COOKIE:
                count += 1
                if count > self.max_lines:
                    raise SectionTooLargeError(f"more than {self.max_lines} field lines")
            lines.append(line)
        return lines

    def _entry(self, index: int) -> Line:
        """Return an entry of the dynamic table. Section 2.2.3: it must be covered by the Required Insert Count."""
        line = self._table.get(index)
        if line is None or index >= self._required:
            raise _failed("a reference to an entry that is not there")
        return line

    def _end_of_literal(self, section: bytes, at: int) -> int:
        """Return where a literal with a static or a literal name ends."""
        first = section[at]
        if first & 0x40:
            if first & 0x0F != 0x0F:
                at += 1
            else:
                _, at = decode_integer(section, at, 4)
        elif first & 0x07 != 0x07:
            at += 1 + (first & 0x07)
        else:
            length, at = decode_integer(section, at, 3)
            at += length
        length = section[at] & 0x7F
        if length != 0x7F:
            at += 1
        else:
            length, at = decode_integer(section, at, 7)
        at += length
        if at > len(section):
            raise IndexError("a string is cut short")
        return at

    def _read_literal(self, section: bytes, start: int, end: int) -> Line:
        """Decode a literal with a static (section 4.5.4) or a literal name (section 4.5.6)."""
        first = section[start]
        like: Line | None
        if first & 0x40:
            index, at = decode_integer(section, start, 4)
            if index >= 99:
                raise _failed("an index beyond the static table")
            like = STATIC[index]
            name = like.name
            never = first & 0x20
        else:
            like = None
            name, at = decode_string(section, start, 4, self.max_section)
            never = first & 0x10
        value, at = decode_string(section, at, 8, self.max_section)
        line = Line(name, value, like)
        if never:
            line.mark()
        elif not line.sensitive and end - start <= MAX_REMEMBERED_OCTETS:
            if len(_seen) >= MAX_REMEMBERED_LINES:
                _seen.clear()
            _seen[section[start:end]] = line
        return line

    def _read_relative_literal(self, section: bytes, at: int) -> tuple[Line, int]:
        """Decode a literal whose name stands in the dynamic table (sections 4.5.4 and 4.5.5)."""
        if section[at] & 0x40:
            never = section[at] & 0x20
            index, at = decode_integer(section, at, 4)
            name = self._entry(self._base - 1 - index).name
        else:
            never = section[at] & 0x08
            index, at = decode_integer(section, at, 3)
            name = self._entry(self._base + index).name
        value, at = decode_string(section, at, 8, self.max_section)
        line = Line(name, value)
        if never:
            line.mark()
        return line, at

    # -- waiting

    def _wait(self, stream: int, section: bytes) -> None:
        if len(self._blocked) >= self.max_blocked:
            raise _failed("more blocked streams than were allowed (RFC 9204 section 2.1.2)")
        self._blocked_octets += len(section)
        if self._blocked_octets > MAX_BLOCKED_OCTETS:
            raise H3ConnectionError(
                H3_EXCESSIVE_LOAD,
                "qpack-blocked",
                f"more than {MAX_BLOCKED_OCTETS} octets wait for the encoder",
            )
        self._blocked[stream] = (self._required, section)

    def unblocked(self) -> list[tuple[int, bytes]]:
        """Return the (stream, section) that can be decoded now; each is handed out once."""
        if not self._blocked:
            return []
        ready: list[tuple[int, bytes]] = []
        for stream, (required, section) in list(self._blocked.items()):
            if required <= self._table.inserted:
                self._forget(stream)
                ready.append((stream, section))
        return ready

    def _forget(self, stream: int) -> None:
        waiting = self._blocked.pop(stream, None)
        if waiting is not None:
            self._blocked_octets -= len(waiting[1])

    def cancel(self, stream: int) -> None:
        """Note that a stream is read no further (section 2.2.2.2)."""
        self._forget(stream)
        if self.max_capacity > 0:
            self.output += encode_integer(stream, 6, 0x40)

    # -- the encoder stream

    def receive(self, data: bytes) -> None:
        """Take octets of the peer's encoder stream. Raises `H3ConnectionError`."""
        data = self._received + data if self._received else data
        at = 0
        try:
            while at < len(data):
                at = self._instruction(data, at)
            self._received = b""
        except IndexError:
            # What is kept is shorter than an instruction, and those are bounded by the capacity of the table.
            self._received = data[at:]
        except CodingError as error:
            raise _bad_instruction(str(error)) from error
        if self._table.inserted > self._acknowledged:
            self.output += encode_integer(self._table.inserted - self._acknowledged, 6)
            self._acknowledged = self._table.inserted

    def _instruction(self, data: bytes, at: int) -> int:
        """Carry out one instruction (section 4.3); return where the next begins. IndexError: it is incomplete."""
        first = data[at]
        table = self._table
        longest = self.max_capacity
        if first & 0x80:
            index, at = decode_integer(data, at, 6)
            if first & 0x40:
                if index >= 99:
                    raise _bad_instruction("an index beyond the static table")
                name = STATIC[index].name
            else:
                name = self._newest(index).name
            value, at = decode_string(data, at, 8, longest)
            self._insert(Line(name, value))
        elif first & 0x40:
            name, at = decode_string(data, at, 6, longest)
            value, at = decode_string(data, at, 8, longest)
            self._insert(Line(name, value))
        elif first & 0x20:
            capacity, at = decode_integer(data, at, 5)
            if capacity > self.max_capacity:
                raise _bad_instruction(f"a capacity of {capacity}, the limit is {self.max_capacity}")
            table.set_capacity(capacity)
        else:
            index, at = decode_integer(data, at, 5)
            self._insert(self._newest(index))
        return at

    def _newest(self, index: int) -> Line:
        line = self._table.get(self._table.inserted - 1 - index)
        if line is None:
            raise _bad_instruction("a reference to an entry that is not there")
        return line

    def _insert(self, line: Line) -> None:
        if not self._table.insert(line):
            raise _bad_instruction("an entry larger than the table")

    def take_output(self) -> bytes:
        """Return what goes to our decoder stream, b"" for nothing."""
        output = self.output
        self.output = b""
        return output


def _failed(detail: str) -> H3ConnectionError:
    return H3ConnectionError(QPACK_DECOMPRESSION_FAILED, "qpack-decompression", detail)


def _bad_instruction(detail: str) -> H3ConnectionError:
    return H3ConnectionError(QPACK_ENCODER_STREAM_ERROR, "qpack-encoder-stream", detail)
