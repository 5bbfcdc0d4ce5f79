"""Cache directives: Cache-Control of requests and responses (RFC 9111 section 5.2), and targeted fields (RFC 9213).

Cache-Control is a list of names with optional arguments, which may be tokens or quoted strings whatever the sender
ought to use. Where a value is not what the grammar says, we read it to the safe side: a restriction counts however
it is spelt, a permission only when it is spelt rightly.

- A lifetime that is no number of seconds makes the response stale (section 4.2.1 encourages that): it is read as 0.
  So are `max-age =60` and `max-age= 60`, which have no business with white space.
- The same directive twice: the smaller number. Section 4.2.1 lets us take the first or call the response stale;
  what we do is one or the other at every moment.
- Numbers beyond 2**31 are 2**31 (section 1.2.2).
- A quoted string without an end swallows nothing: what follows the next comma is read as directives, and lifetimes
  are 0.
- no-cache="a, b" and private="a, b" name fields. Without a name that is one, they mean everything.
- Semicolons between directives, as some origins write them, make one unknown directive of several. Restrictions in
  there count, lifetimes are 0.
- Unknown directives are ignored (section 5.2.3).

Targeted fields are Dictionaries (RFC 9213 section 2.1): what does not parse is as if it were not there, and so is an
empty one. Parameters are ignored. A number must be an Integer; anything else in its place makes the response stale.
"""

from typing import Final, final

from headgate.cache.structured import FALSE, INTEGER, STRING, TOKEN, parse_dictionary
from headgate.http.fields import Fields

# What is said, one bit each.
NO_STORE: Final = 1
NO_CACHE: Final = 2
PRIVATE: Final = 4
PUBLIC: Final = 8
MUST_REVALIDATE: Final = 16
PROXY_REVALIDATE: Final = 32
MUST_UNDERSTAND: Final = 64
NO_TRANSFORM: Final = 128
IMMUTABLE: Final = 256
ONLY_IF_CACHED: Final = 512
TARGETED: Final = 1024  # a targeted field said it: Cache-Control and Expires count for nothing

_FLAGS: Final[dict[bytes, int]] = {
    b"no-store": NO_STORE,
    b"public": PUBLIC,
    b"must-revalidate": MUST_REVALIDATE,
    b"proxy-revalidate": PROXY_REVALIDATE,
    b"must-understand": MUST_UNDERSTAND,
    b"no-transform": NO_TRANSFORM,
    b"immutable": IMMUTABLE,
    b"only-if-cached": ONLY_IF_CACHED,
}
# A permission counts only when it stands alone, as it should; a restriction always. Arguments of immutable mean
# nothing (RFC 8246 section 2).
_PERMISSIONS: Final = PUBLIC | IMMUTABLE | MUST_UNDERSTAND
_SECONDS: Final = frozenset(
    (b"max-age", b"s-maxage", b"min-fresh", b"max-stale", b"stale-while-revalidate", b"stale-if-error")
)

ABSENT: Final = -1
FOREVER: Final = 1 << 31  # RFC 9111 section 1.2.2
_OWS: Final = b" \t"
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@final
class Directives:
    """What one message says. Numbers are seconds, -1: not said."""

    __slots__ = (
        "flags",
        "max_age",
        "max_stale",
        "min_fresh",
        "no_cache_fields",
        "private_fields",
        "s_maxage",
        "stale_if_error",
        "stale_while_revalidate",
    )

    def __init__(self) -> None:
        self.flags: int = 0
        self.max_age: int = ABSENT
        self.s_maxage: int = ABSENT
        self.stale_while_revalidate: int = ABSENT
        self.stale_if_error: int = ABSENT
        self.max_stale: int = ABSENT
        self.min_fresh: int = ABSENT
        self.no_cache_fields: tuple[bytes, ...] = ()  # lower case
        self.private_fields: tuple[bytes, ...] = ()

    def __repr__(self) -> str:
        return f"<Directives {self.flags:#x} max_age={self.max_age} s_maxage={self.s_maxage}>"


NOTHING: Final = Directives()  # of a message without any; never changed
_PRAGMA: Final = Directives()  # Pragma: no-cache
_PRAGMA.flags = NO_CACHE


def request_directives(fields: Fields) -> Directives:
    """Return what a request asks of caches; Pragma speaks when Cache-Control does not (section 5.4)."""
    if b"cache-control" in fields.names:
        return parse_cache_control(fields.get_all(b"cache-control"))
    if b"pragma" in fields.names:
        for value in fields.get_all(b"pragma"):
            if parse_cache_control([value]).flags & NO_CACHE:
                return _PRAGMA
    return NOTHING


# What lines mean that were read before: an origin has few of them, and each is read several times for one response.
# Bounded in number and length, forgotten all at once; whoever makes up lines pays for the reading alone.
_KNOWN: Final[dict[bytes, Directives]] = {}
_MAX_KNOWN: Final = 256
_MAX_KNOWN_LINE: Final = 256


def parse_cache_control(values: list[bytes]) -> Directives:
    """Return what the Cache-Control lines of one message say together, never to be changed; never fails."""
    if len(values) == 1 and len(values[0]) <= _MAX_KNOWN_LINE:
        line = values[0]
        known = _KNOWN.get(line)
        if known is None:
            known = Directives()
            _read_line(known, line)
            if len(_KNOWN) >= _MAX_KNOWN:
                _KNOWN.clear()
            _KNOWN[line] = known
        return known
    said = Directives()
    for value in values:
        _read_line(said, value)
    return said


def parse_targeted(values: list[bytes]) -> Directives | None:
    """Return what the lines of one targeted field say; None: not valid, or empty (RFC 9213 section 2.2)."""
    members = parse_dictionary(values)
    if not members:
        return None
    said = Directives()
    said.flags = TARGETED
    for name, member in members.items():
        if member.kind == FALSE:
            continue  # `no-store=?0` says it is not so
        if name in _SECONDS:
            number = min(member.number, FOREVER) if member.kind == INTEGER and member.number >= 0 else 0
            _set_seconds(said, name, number)
        elif name in (b"no-cache", b"private"):
            argument = member.octets if member.kind in (STRING, TOKEN) else b""
            _set_fields(said, name, argument)
        else:
            said.flags |= _FLAGS.get(name, 0)
    return said


def parse_seconds(value: bytes) -> int:
    """Return delta-seconds (RFC 9111 section 1.2.2), 2**31 at most; -1 when it is no such number."""
    if not value.isdigit():
        return -1
    value = value.lstrip(b"0")
    if len(value) > 10:
        return FOREVER
    return min(int(value or b"0"), FOREVER)


def _read_line(said: Directives, line: bytes) -> None:
    """Read one line: directives between commas, but for those within quoted strings."""
    at = 0
    length = len(line)
    while at < length:
        comma = line.find(b",", at)
        end = length if comma < 0 else comma
        quote = line.find(b'"', at, end)
        if quote >= 0:
            close = _end_of_string(line, quote)
            if close < 0:  # no end: read on behind the next comma, and believe no number
                _read_directive(said, line[at:quote])
                said.max_age = said.s_maxage = 0
                at = end + 1
                continue
            comma = line.find(b",", close)
            end = length if comma < 0 else comma
        _read_directive(said, line[at:end])
        at = end + 1


def _end_of_string(line: bytes, quote: int) -> int:
    """Return where the octet behind the closing quote is, -1 when there is none (RFC 9110 section 5.6.4)."""
    at = quote + 1
    while at < len(line):
        octet = line[at]
        if octet == 0x5C:
            at += 1
        elif octet == 0x22:
            return at + 1
        at += 1
    return -1


def _read_directive(said: Directives, text: bytes) -> None:
    text = text.strip(_OWS)
    if not text:
        return
    if b";" in text and b'"' not in text:
        for part in text.split(b";"):
            _read_restriction(said, part.strip(_OWS).lower())
        return
    equals = text.find(b"=")
    spelt = text if equals < 0 else text[:equals]
    name = spelt.rstrip(_OWS).lower()
    argument = b"" if equals < 0 else text[equals + 1 :]
    if name in _SECONDS:
        if name == b"max-stale" and equals < 0:
            _set_seconds(said, name, FOREVER)  # any staleness (section 5.2.1.2)
            return
        number = parse_seconds(_unquoted(argument)) if spelt == spelt.rstrip(_OWS) else -1
        _set_seconds(said, name, max(number, 0))
    elif name in (b"no-cache", b"private"):
        _set_fields(said, name, _unquoted(argument.strip(_OWS)))
    else:
        flag = _FLAGS.get(name, 0)
        if flag & _PERMISSIONS == 0 or equals < 0 or flag == IMMUTABLE:
            said.flags |= flag


def _read_restriction(said: Directives, text: bytes) -> None:
    """Read what stands between semicolons, for what it forbids."""
    name = text.partition(b"=")[0].rstrip(_OWS)
    if name in _SECONDS:
        _set_seconds(said, name, 0)
    elif name in (b"no-cache", b"private"):
        _set_fields(said, name, b"")
    else:
        said.flags |= _FLAGS.get(name, 0) & ~_PERMISSIONS


def _unquoted(argument: bytes) -> bytes:
    """Return the value of an argument, which may be a quoted string; what is neither comes back as it is."""
    if len(argument) < 2 or argument[0] != 0x22 or argument[-1] != 0x22:
        return argument
    inside = argument[1:-1]
    if b"\\" not in inside:
        return inside
    plain = bytearray()
    at = 0
    while at < len(inside):
        if inside[at] == 0x5C and at + 1 < len(inside):
            at += 1
        plain.append(inside[at])
        at += 1
    return bytes(plain)


def _set_seconds(said: Directives, name: bytes, number: int) -> None:
    if name == b"max-age":
        said.max_age = _least(said.max_age, number)
    elif name == b"s-maxage":
        said.s_maxage = _least(said.s_maxage, number)
    elif name == b"stale-while-revalidate":
        said.stale_while_revalidate = _least(said.stale_while_revalidate, number)
    elif name == b"stale-if-error":
        said.stale_if_error = _least(said.stale_if_error, number)
    elif name == b"max-stale":
        said.max_stale = _least(said.max_stale, number)
    else:  # min-fresh restricts: the larger one does so more
        said.min_fresh = max(said.min_fresh, number)


def _least(before: int, number: int) -> int:
    return number if before == ABSENT else min(before, number)


def _set_fields(said: Directives, name: bytes, argument: bytes) -> None:
    """Take no-cache or private, for the fields in `argument` or, when it names none, for the whole response."""
    fields: list[bytes] = []
    for part in argument.split(b","):
        field = part.strip(_OWS).lower()
        if field:
            if not _TOKEN.issuperset(field):
                fields = []
                break
            fields.append(field)
    if name == b"no-cache":
        if fields:
            said.no_cache_fields += tuple(fields)
        else:
            said.flags |= NO_CACHE
    elif fields:
        said.private_fields += tuple(fields)
    else:
        said.flags |= PRIVATE
