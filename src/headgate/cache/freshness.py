"""How long a response is fresh, and how old it is: the arithmetic of RFC 9111 section 4.2.

The lifetime comes from the first of these that says anything: the route's own `ttl`; s-maxage; max-age; Expires less
Date; what the route says for a status or for everything; a guess from Last-Modified. A targeted field stands for
Cache-Control, and takes Expires away (RFC 9213 section 2.2). What says it wrongly says 0: the response is stale from
the beginning, never fresh by accident (section 4.2.1).

The age of a response when it came is the larger of two: by its Date, if its clock is right; and by Age, plus the
time that the request and the answer were under way (section 4.2.3). Both count on the clock of whoever wrote them
and neither is below 0: a Date that lies ahead makes no response younger than new. Expires is compared with the Date
beside it, never with our clock.

Of a list in Age the first member counts (section 5.1), if it is one line of numbers that differ. The same number
twice, several lines, and what is no number, which section 5.1 would have us ignore, are in doubt: the response is
stale, and a request to the origin finds out. Ages are whole seconds of at most 2**31.
"""

from typing import Final

from headgate.cache.directives import FOREVER, PUBLIC, TARGETED, Directives, parse_seconds
from headgate.cache.policy import Policy
from headgate.http.date import parse_http_date
from headgate.http.fields import OWS, STORING, Fields

# RFC 9110 section 15.1: statuses for whose lifetime a guess is allowed.
HEURISTICALLY_CACHEABLE: Final = frozenset((200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501))

# What a lifetime is based on.
NOTHING: Final = 0  # nothing says anything, and nothing may be guessed
EXPLICIT: Final = 1
CONFIGURED: Final = 2
HEURISTIC: Final = 3

DOUBTFUL: Final = -1  # an Age that is in doubt
# Members of a list in Age: one for each cache on the way; a longer list is in doubt.
MAX_AGES: Final = 8


def parse_age(values: list[bytes]) -> int:
    """Return Age in seconds, 0 when there is none, DOUBTFUL when nobody can tell what it means."""
    if not values:
        return 0
    if len(values) > 1:
        return DOUBTFUL
    if b"," not in values[0]:
        return parse_seconds(values[0])
    ages: list[int] = []
    for member in values[0].split(b",", MAX_AGES - 1):
        age = parse_seconds(member.strip(OWS))
        if age < 0 or age in ages:
            return DOUBTFUL
        ages.append(age)
    return ages[0]


def date_of(fields: Fields, response_time: float) -> int:
    """Return when a response was made: Date, or the time it came when Date is absent or no date.

    RFC 9110 section 6.6.1 allows the latter; several dates count if they are the same.
    """
    date = _single_date(fields.get_all(b"date"), response_time)
    return date if date >= 0 else int(response_time)


def last_modified_of(fields: Fields, response_time: float) -> int:
    """Return Last-Modified in seconds; -1: absent, or not one date."""
    return _single_date(fields.get_all(b"last-modified"), response_time)


def lifetime_of(
    status: int, fields: Fields, said: Directives, policy: Policy, response_time: float
) -> tuple[float, int]:
    """Return how many seconds a response is fresh, counted from its making, and what that is based on."""
    if policy.ttl >= 0.0 and status < 500:  # a moment's failure is not to stay for as long as a page may
        return policy.ttl, CONFIGURED
    seconds = _explicit(fields, said, response_time)
    if seconds >= 0:
        if fields.flags & STORING and parse_age(fields.get_all(b"age")) == DOUBTFUL:
            seconds = 0
        return _clamped(float(seconds), policy), EXPLICIT
    guessable = status in HEURISTICALLY_CACHEABLE or said.flags & PUBLIC != 0
    configured = policy.negative_ttl.get(status, -1.0)
    if configured < 0.0 and guessable:
        configured = policy.default_ttl
    if configured >= 0.0:
        return configured, CONFIGURED
    return _heuristic(fields, policy, response_time) if guessable else (0.0, NOTHING)


def initial_age(date: int, age: int, request_time: float, response_time: float) -> float:
    """Return corrected_initial_age (section 4.2.3): how old a response was when it came, in seconds.

    A wall clock may jump between the two times; a delay is never negative.
    """
    apparent = max(int(response_time) - date, 0)
    delay = max(response_time - request_time, 0.0)
    return max(float(apparent), max(age, 0) + delay)


def _explicit(fields: Fields, said: Directives, response_time: float) -> int:
    """Return the lifetime that the origin gives (section 4.2.1), -1 when it gives none."""
    if said.s_maxage >= 0:
        return said.s_maxage
    if said.max_age >= 0:
        return said.max_age
    if said.flags & TARGETED or b"expires" not in fields.names:
        return -1
    # Of several the earliest; section 5.3: what is no date lies in the past.
    expires = -1
    for value in fields.get_all(b"expires"):
        moment = parse_http_date(value, response_time)
        if moment < 0:
            return 0
        expires = moment if expires < 0 else min(expires, moment)
    return min(max(expires - date_of(fields, response_time), 0), FOREVER)


def _heuristic(fields: Fields, policy: Policy, response_time: float) -> tuple[float, int]:
    """Guess: a fraction of the time that it had not changed for when it was made (section 4.2.2)."""
    modified = last_modified_of(fields, response_time)
    if modified < 0 or parse_age(fields.get_all(b"age")) == DOUBTFUL or _says_pragma(fields):
        return 0.0, NOTHING
    unchanged = max(date_of(fields, response_time) - modified, 0)
    return min(unchanged * policy.heuristic_fraction, policy.heuristic_max), HEURISTIC


def _says_pragma(fields: Fields) -> bool:
    """Whether a response says Pragma: no-cache. It means nothing (section 5.4), and its author meant something."""
    if b"pragma" not in fields.names:
        return False
    return b"no-cache" in b",".join(fields.get_all(b"pragma")).lower()


def _clamped(seconds: float, policy: Policy) -> float:
    seconds = max(seconds, policy.min_ttl)
    return min(seconds, policy.max_ttl) if policy.max_ttl >= 0.0 else seconds


def _single_date(values: list[bytes], wall: float) -> int:
    """Return the one date that all values are, -1 when there is none."""
    if not values:
        return -1
    date = parse_http_date(values[0], wall)
    for value in values[1:]:
        if parse_http_date(value, wall) != date:
            return -1
    return date
