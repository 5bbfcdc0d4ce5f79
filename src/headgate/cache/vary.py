"""Which of several stored responses a request may get: Vary (RFC 9111 section 4.1, RFC 9110 section 12.5.5).

`selecting` makes of Vary and of a request the list that is stored with a response: one (name, value) for each field
that Vary nominates, sorted by name, each value normalised. `matches` makes the same list of another request, so two
requests match if and only if the lists are equal. What is normalised is what cannot change the meaning:

- the lines of one field are put together, and white space around commas goes;
- of fields whose grammar is known more goes: Accept-Encoding, Accept-Language, Accept and Accept-Charset are sorted,
  in lower case where case means nothing, their weights read (`;q=1` is none, `q=0.50` is `q=0.5`);
- fields that are no lists (Cookie, User-Agent, ...) are only stripped: a comma in one separates nothing.

A field that is absent is ABSENT, which no value can be. A long value is kept as its digest, so that a client cannot
make the list of a variant large; how many variants a key has is bounded by `Policy.max_variants`.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import Final

from headgate.cache.entry import StoredResponse
from headgate.http.fields import OWS, Fields

# Origins nominate two or three fields, frameworks up to eight. More than this is taken for `*`.
MAX_VARY_NAMES: Final = 16
# A longer normalised value is kept as its digest.
MAX_VALUE: Final = 128
# A field of so many members is not sorted: that would be work for nothing.
MAX_MEMBERS: Final = 64
# Memo of normalised values: half a megabyte at most.
MAX_REMEMBERED: Final = 2048

ABSENT: Final = b"\0"  # no field value has a NUL

_PLAIN: Final = 0  # unknown, taken for a list: white space around commas
_SINGLE: Final = 1  # no list
_WEIGHTED: Final = 2  # a list with weights, order and case without meaning
_ACCEPT: Final = 3  # the same, but parameters keep their case

_KINDS: Final[dict[bytes, int]] = {
    b"accept": _ACCEPT,
    b"accept-charset": _WEIGHTED,
    b"accept-encoding": _WEIGHTED,
    b"accept-language": _WEIGHTED,
    b"authorization": _SINGLE,
    b"cookie": _SINGLE,
    b"date": _SINGLE,
    b"from": _SINGLE,
    b"host": _SINGLE,
    b"if-modified-since": _SINGLE,
    b"if-unmodified-since": _SINGLE,
    b"origin": _SINGLE,
    b"proxy-authorization": _SINGLE,
    b"referer": _SINGLE,
    b"sec-ch-ua-platform": _SINGLE,
    b"user-agent": _SINGLE,
}
# RFC 9110 sections 8.4.1.1 and 8.4.1.3: the same codings by older names.
_OLDER: Final[dict[bytes, bytes]] = {b"x-gzip": b"gzip", b"x-compress": b"compress"}

_is_name: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+").fullmatch
weight_text: Final = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)").fullmatch

_remembered: Final[dict[bytes, dict[bytes, bytes]]] = {}


# -- Vary


def vary_names(values: list[bytes]) -> list[bytes] | None:
    """Return the names that Vary nominates, in lower case, sorted, each once; None when no request can match.

    None is `*` as any member of any line, more than MAX_VARY_NAMES, and what is no name: an origin that says
    something that we cannot read may have meant any field.
    """
    if not values:
        return []
    if len(values) == 1:
        value = values[0].lower()
        if value == b"accept-encoding":
            return [value]
    names: list[bytes] = []
    for line in values:
        for member in line.split(b","):
            name = member.strip(OWS).lower()
            if not name or name in names:  # empty members are skipped (RFC 9110 section 5.6.1.2)
                continue
            if name == b"*" or _is_name(name) is None or len(names) == MAX_VARY_NAMES:
                return None
            names.append(name)
    names.sort()
    return names


def has_too_many(values: list[bytes]) -> bool:
    """Whether Vary nominates more fields than are looked at; what has `*` or is no name has other faults."""
    names = {member.strip(OWS).lower() for line in values for member in line.split(b",")}
    names.discard(b"")
    return b"*" not in names and len(names) > MAX_VARY_NAMES


def selecting(values: list[bytes], fields: Fields) -> list[tuple[bytes, bytes]] | None:
    """Return what is stored with a response whose Vary has these values, for the request that it answers.

    [] when it does not vary, None when it fits no request at all and is better not stored.
    """
    names = vary_names(values)
    if names is None:
        return None
    return [(name, selected(name, fields)) for name in names]


def selected(name: bytes, fields: Fields) -> bytes:
    """Return the normalised value of a request's field, ABSENT when it has none."""
    names = fields.names
    if name not in names:
        return ABSENT
    at = names.index(name)
    if name in names[at + 1 :]:
        # Cookie is no list, but HTTP/2 may send it in several lines, joined by semicolons (RFC 9113 section 8.2.3).
        return normalise(name, (b"; " if name == b"cookie" else b", ").join(fields.get_all(name)))
    return normalise(name, fields.value(at))


def matches(variant: StoredResponse, fields: Fields) -> bool:
    """Whether a stored response may be used for a request as far as its Vary goes."""
    if not variant.vary:
        return True
    return all(selected(name, fields) == value for name, value in variant.vary)


def matching(variants: Sequence[StoredResponse], fields: Fields) -> list[StoredResponse]:
    """Return the variants that a request may get, the preferred one first.

    The most recent by Date goes first (section 4), but one that varies goes before one that does not: some origins
    leave Vary out of their default response, which would hide the better one for ever (section 4.1).
    """
    known: dict[bytes, bytes] = {}  # what the request has, normalised once however many variants there are
    found: list[StoredResponse] = []
    for variant in variants:
        fits = True
        for name, value in variant.vary:
            mine = known.get(name)
            if mine is None:
                mine = selected(name, fields)
                known[name] = mine
            if mine != value:
                fits = False
                break
        if fits:
            at = 0
            while at < len(found) and not _goes_before(variant, found[at]):
                at += 1
            found.insert(at, variant)
    return found


def choose(variants: tuple[StoredResponse, ...], fields: Fields) -> StoredResponse | None:
    """Return the variant to use for a request, None when none fits."""
    if len(variants) == 1:  # as good as always
        return variants[0] if matches(variants[0], fields) else None
    found = matching(variants, fields)
    return found[0] if found else None


def _goes_before(one: StoredResponse, other: StoredResponse) -> bool:
    if bool(one.vary) != bool(other.vary):
        return bool(one.vary)
    if one.date != other.date:
        return one.date > other.date
    return one.response_time > other.response_time


# -- values


def normalise(name: bytes, value: bytes) -> bytes:
    """Return a field value in the one form that all values of the same meaning have, as far as its grammar is
    known.
    """
    memo = _remembered.get(name)
    if memo is not None:
        known = memo.get(value)
        if known is not None:
            return known
    kind = _KINDS.get(name, _PLAIN)
    if kind == _SINGLE:
        normal = value.strip(OWS)
    elif kind == _PLAIN:
        normal = b",".join(split_list(value))
    else:
        normal = _weighted(name, value, kind)
    if len(normal) > MAX_VALUE:
        normal = b"\0" + hashlib.blake2b(normal, digest_size=32).digest()
    if kind >= _WEIGHTED and len(value) <= MAX_VALUE:
        _remember(name, value, normal)
    return normal


def _remember(name: bytes, value: bytes, normal: bytes) -> None:
    """Keep what cost something; the names are the four of `_KINDS`, so only the values need a bound."""
    memo = _remembered.get(name)
    if memo is None:
        memo = {}
        _remembered[name] = memo
    elif len(memo) >= MAX_REMEMBERED:
        memo.clear()
    memo[value] = normal


def split_list(value: bytes) -> list[bytes]:
    """Split at the commas outside quoted strings (RFC 9110 section 5.6.4) and strip; empty members stay."""
    if b'"' not in value:
        return [member.strip(OWS) for member in value.split(b",")]
    members: list[bytes] = []
    start = 0
    at = 0
    quoted = False
    while at < len(value):
        octet = value[at]
        if quoted and octet == 0x5C:  # a backslash takes the next octet along
            at += 1
        elif octet == 0x22:
            quoted = not quoted
        elif octet == 0x2C and not quoted:
            members.append(value[start:at].strip(OWS))
            start = at + 1
        at += 1
    members.append(value[start:].strip(OWS))
    return members


def _weighted(name: bytes, value: bytes, kind: int) -> bytes:
    members = split_list(value)
    if len(members) > MAX_MEMBERS:
        return b",".join(members)
    kept: list[bytes] = []
    for member in members:
        if member:
            normal = _member(member, kind)
            if name == b"accept-encoding":
                base = normal.split(b";", 1)[0]
                if base in _OLDER:
                    normal = _OLDER[base] + normal[len(base) :]
            if normal not in kept:
                kept.append(normal)
    kept.sort()
    return b",".join(kept)


def _member(member: bytes, kind: int) -> bytes:
    """Return one member of a list with weights: its name in lower case, then its parameters, then a weight under
    1.
    """
    parts = [part.strip(OWS) for part in member.split(b";")]
    kept = [parts[0].lower()]
    weight = 1000
    for part in parts[1:]:
        mark = part.find(b"=")
        key = part[:mark].strip(OWS).lower() if mark >= 0 else part.lower()
        text = part[mark + 1 :].strip(OWS) if mark >= 0 else b""
        if key == b"q" and weight_text(text) is not None:
            weight = thousandths(text)
        elif kind == _ACCEPT and mark >= 0:
            kept.append(key + b"=" + text)
        else:
            kept.append(part.lower() if kind == _WEIGHTED else part)
    if weight < 1000:
        kept.append(b"q=%d" % weight)
    return b";".join(kept)


def thousandths(text: bytes) -> int:
    """Return a weight (RFC 9110 section 12.4.2), which the caller knows to be one, as 0 to 1000."""
    if text.startswith(b"1"):
        return 1000
    return int(text[2:].ljust(3, b"0"))


def reduce_accept_encoding(value: bytes, codings: tuple[bytes, ...]) -> bytes:
    """Return which of `codings` an Accept-Encoding takes, sorted; b"" for none of them.

    `*` is not one of `codings` and asks for nothing: who has it takes the representation without a coding as well.
    """
    taken: list[bytes] = []
    for member in split_list(value):
        normal = _member(member, _WEIGHTED)
        mark = normal.find(b";")
        coding = normal if mark < 0 else normal[:mark]
        coding = _OLDER.get(coding, coding)
        if coding in codings and coding not in taken and not normal.endswith(b";q=0"):
            taken.append(coding)
    taken.sort()
    return b", ".join(taken)


def keep_codings(fields: Fields, codings: tuple[bytes, ...]) -> None:
    """Let a request ask for those of `codings` alone that it takes; `identity` if it takes none of them.

    For routes that want few variants. It is done to the request itself, so the origin answers exactly what Vary
    compares. Without Accept-Encoding any coding would be acceptable (RFC 9110 section 12.5.3), and hardly any origin
    takes that at its word: such a request is one that takes none.
    """
    value = b",".join(fields.get_all(b"accept-encoding"))
    fields.set(b"accept-encoding", reduce_accept_encoding(value, codings) or b"identity", b"Accept-Encoding")
