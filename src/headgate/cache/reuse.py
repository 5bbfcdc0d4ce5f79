"""Which stored response answers a request, and what must happen first (RFC 9111 section 4).

`decide` is the one question that is asked of every request. It looks at the request first (is it one for the cache
at all), then for a variant that fits (section 4.1), then whether that one may be used as it is: not forbidden by
itself, not refused by the client (section 5.2.1), and fresh (section 4.2) or allowed to be stale (section 4.2.4, RFC
5861). The answer is an action, with the outcome it leads to and the reason.

What a client may ask: no-cache, max-age and min-fresh send it to the origin, max-stale and only-if-cached keep it
here, and no-store means that the response is not stored; it does not keep the client from getting a stored one
(section 5.2.1.5). A route may have the first three ignored. A fresh response that is immutable is not confirmed for
max-age, which browsers send on reload, but is for no-cache (RFC 8246 section 2).

`on_error` is asked when the origin did not answer, or answered with an error, to a request that was to confirm or
replace a variant.
"""

from typing import Final, final

from headgate.cache import directives as d
from headgate.cache import entry as e
from headgate.cache import outcome as o
from headgate.cache.directives import Directives, request_directives
from headgate.cache.entry import KeyEntry, StoredResponse
from headgate.cache.partial import holds
from headgate.cache.policy import Policy
from headgate.cache.vary import choose, matches
from headgate.engine.events import Request
from headgate.http.fields import AUTHORIZATION, CACHING, COOKIE, Fields

# What to do.
SERVE: Final = 0  # answer with the variant
SERVE_AND_REVALIDATE: Final = 1  # the same, and have the origin confirm it meanwhile
VALIDATE: Final = 2  # have the origin confirm the variant; what has no validator is fetched anew
FETCH: Final = 3  # ask the origin, once for all who want the same
FETCH_ALONE: Final = (
    4  # ask the origin and make nobody wait: what comes back is most likely for this request alone
)
PASS: Final = 5  # ask the origin as if there were no cache, and store nothing
REFUSE: Final = 6  # 504 (sections 5.2.1.7 and 5.2.2.2)
FORWARD: Final = 7  # let the error through that the origin answered with, or that stands for its silence

ACTIONS: Final = (
    "SERVE",
    "SERVE_AND_REVALIDATE",
    "VALIDATE",
    "FETCH",
    "FETCH_ALONE",
    "PASS",
    "REFUSE",
    "FORWARD",
)

# RFC 5861 section 4.
ERRORS: Final = frozenset((500, 502, 503, 504))


@final
class Decision:
    """What to do with a request. `variant` is the one to serve or to confirm; `age` its current age in seconds."""

    __slots__ = ("action", "age", "outcome", "reason", "variant")

    def __init__(
        self, action: int, outcome: int, reason: int, variant: StoredResponse | None = None, age: int = 0
    ) -> None:
        self.action = action
        self.outcome = outcome
        self.reason = reason
        self.variant = variant
        self.age = age

    def __repr__(self) -> str:
        return f"<Decision {ACTIONS[self.action]} {o.OUTCOMES[self.outcome]} {o.REASONS[self.reason]}>"


# What is most often to be done, made once; a Decision is never changed.
_FETCH_UNKNOWN: Final = Decision(FETCH, o.MISS, o.NOT_STORED)
_FETCH_UNCACHEABLE: Final = Decision(FETCH_ALONE, o.UNCACHEABLE, o.KNOWN_UNCACHEABLE)


def decide(request: Request, entry: KeyEntry | None, policy: Policy, now: float) -> Decision:
    """Return what to do with a request whose key has `entry`, None for nothing; `now` is wall time."""
    reason = _not_for_the_cache(request, policy)
    if reason != o.NONE:
        return Decision(PASS, o.BYPASS, reason)
    fields = request.fields
    said = request_directives(fields) if fields.flags & CACHING else d.NOTHING
    variant: StoredResponse | None = None
    if entry is not None and entry.first is not None:
        variant = choose(entry.variants, fields) if entry.others else entry.first
        if variant is not None and (entry.others or matches(variant, fields)):
            return _use(request, entry, variant, said, policy, now)
    return _miss(entry, fields, said, now)


def current_age(variant: StoredResponse, now: float) -> int:
    """Return the value of Age for a response from a variant (sections 4.2.3 and 5.1), never below 0."""
    return min(max(int(now - variant.born), 0), d.FOREVER)


def ttl(variant: StoredResponse, now: float) -> int:
    """Return what is left of the lifetime in whole seconds, negative when stale (RFC 9211 section 2.5)."""
    left = variant.fresh_until - now
    return int(left) if left >= 0.0 else -int(-left)


def on_error(decision: Decision, request: Request, policy: Policy, status: int, now: float) -> Decision:
    """Return what to do when the origin failed a VALIDATE: SERVE the stale variant, REFUSE, or FORWARD the error.

    `status` is the error that the origin answered with, 0 when it gave no answer. Only a variant that was to be
    confirmed because its lifetime had ended, or because of a soft purge, may answer. One that must be confirmed is a
    504 when the origin is silent (section 5.2.2.2).
    """
    variant = decision.variant
    if variant is None or (status != 0 and status not in ERRORS):
        return Decision(FORWARD, decision.outcome, decision.reason)
    if variant.flags & (e.NO_CACHE | e.MUST_REVALIDATE):
        if status == 0:
            return Decision(REFUSE, o.REFUSED, o.MUST_REVALIDATE)
    elif decision.reason in (o.EXPIRY, o.PURGED):
        staleness = max(now - variant.fresh_until, 0.0)
        reason = o.UNREACHABLE if status == 0 else o.IF_ERROR
        allowed = variant.stale_if_unreachable if status == 0 else variant.stale_if_error
        if request.fields.flags & CACHING:
            allowed = max(allowed, float(request_directives(request.fields).stale_if_error))
        if allowed > 0.0 and staleness <= allowed:
            return Decision(SERVE, o.STALE, reason, variant, current_age(variant, now))
    return Decision(FORWARD, decision.outcome, decision.reason)


def _not_for_the_cache(request: Request, policy: Policy) -> int:
    """Return why a request goes by the cache, NONE when it does not."""
    method = request.method
    if method != b"GET" and method != b"HEAD":
        return o.METHOD
    if request.body != 0:
        return o.CONTENT
    if request.upgrade:
        return o.UPGRADE
    names = request.fields.names
    for name in policy.bypass_fields:
        if name in names:
            return o.BYPASSED
    if policy.bypass_cookies and request.fields.flags & COOKIE and _has_cookie(request.fields, policy):
        return o.BYPASSED
    return o.NONE


def _has_cookie(fields: Fields, policy: Policy) -> bool:
    for value in fields.get_all(b"cookie"):
        for pair in value.split(b";"):
            if pair.partition(b"=")[0].strip(b" \t") in policy.bypass_cookies:
                return True
    return False


def _miss(entry: KeyEntry | None, fields: Fields, said: Directives, now: float) -> Decision:
    """Nothing that is stored fits."""
    reason = o.VARY if entry is not None and entry.first is not None else o.NOT_STORED
    if said.flags & d.ONLY_IF_CACHED:
        return Decision(REFUSE, o.REFUSED, o.ONLY_IF_CACHED)
    if said.flags & d.NO_STORE:
        return Decision(PASS, o.BYPASS, o.CLIENT_NO_STORE)
    if entry is not None and now < entry.uncacheable_until:
        return _FETCH_UNCACHEABLE
    if fields.flags & AUTHORIZATION:
        return Decision(FETCH_ALONE, o.MISS, reason)
    return _FETCH_UNKNOWN if reason == o.NOT_STORED else Decision(FETCH, o.MISS, reason)


def _use(
    request: Request, entry: KeyEntry, variant: StoredResponse, said: Directives, policy: Policy, now: float
) -> Decision:
    """Decide about a variant that fits the request."""
    age = current_age(variant, now)
    if variant.ranges is not None and not holds(request, variant, now):
        if said.flags & d.ONLY_IF_CACHED:
            return Decision(REFUSE, o.REFUSED, o.ONLY_IF_CACHED, variant, age)
        if said.flags & d.NO_STORE:
            return Decision(PASS, o.BYPASS, o.CLIENT_NO_STORE, variant, age)
        return Decision(FETCH, o.MISS, o.PARTIAL, variant, age)
    reason = _must_ask(entry, variant)
    if reason == o.NONE and said is not d.NOTHING and not policy.ignore_client_no_cache:
        reason = _client_wants_more(variant, said, now)
    if reason == o.NONE:
        staleness = now - variant.fresh_until
        if staleness < 0.0:
            return Decision(SERVE, o.HIT, o.FRESH, variant, age)
        if variant.flags & e.MUST_REVALIDATE == 0:
            if said.max_stale >= staleness:
                return Decision(SERVE, o.STALE, o.CLIENT_MAX_STALE, variant, age)
            if staleness < variant.stale_while_revalidate:
                # What is answered to a request with no-store is not for the store: the next one has it confirmed.
                action = SERVE if said.flags & d.NO_STORE else SERVE_AND_REVALIDATE
                return Decision(action, o.STALE, o.WHILE_REVALIDATE, variant, age)
        reason = o.EXPIRY
    if said.flags & d.ONLY_IF_CACHED:
        return Decision(REFUSE, o.REFUSED, o.ONLY_IF_CACHED, variant, age)
    if said.flags & d.NO_STORE:
        return Decision(PASS, o.BYPASS, o.CLIENT_NO_STORE, variant, age)
    return Decision(VALIDATE, o.EXPIRED, reason, variant, age)


def _must_ask(entry: KeyEntry, variant: StoredResponse) -> int:
    """Return why a variant is confirmed before its use however fresh it is, NONE when it is not."""
    if variant.flags & e.NO_CACHE:
        return o.NO_CACHE
    if variant.request_time < entry.invalid_before or variant.flags & e.INVALIDATED:
        # Before the next: unlike what was purged softly it may not stand in for an error (section 4.4).
        return o.INVALIDATED
    if variant.flags & e.SOFT_PURGED:
        return o.PURGED
    return o.NONE


def _client_wants_more(variant: StoredResponse, said: Directives, now: float) -> int:
    """Return what a request asks for that a variant does not have (sections 5.2.1.1, 5.2.1.3, 5.2.1.4)."""
    if said.flags & d.NO_CACHE:
        return o.CLIENT_NO_CACHE
    left = variant.fresh_until - now
    is_settled = variant.flags & e.IMMUTABLE != 0 and left > 0.0
    if said.max_age >= 0 and now - variant.born > said.max_age and not is_settled:
        return o.CLIENT_MAX_AGE
    if said.min_fresh > 0 and left < said.min_fresh:
        return o.CLIENT_MIN_FRESH
    return o.NONE
