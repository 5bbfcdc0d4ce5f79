"""What the cache would do with a request now, and why, without asking anybody: for `headgate explain`.

The same functions decide that decide about requests; nothing is counted, nothing is stored, no origin is asked.
"""

from headgate.cache import entry as e
from headgate.cache.conditional import FORWARD, evaluate
from headgate.cache.entry import KeyEntry, StoredResponse
from headgate.cache.key import primary_key
from headgate.cache.narrowing import narrow
from headgate.cache.outcome import BYPASS, OUTCOMES, PRECONDITION, REASONS
from headgate.cache.reuse import ACTIONS, PASS, SERVE, SERVE_AND_REVALIDATE, Decision, current_age, decide
from headgate.cache.vary import ABSENT, choose
from headgate.engine.events import Request
from headgate.http.forwarded import ForwardedInfo
from headgate.proxy.cached import CacheHandler

_FLAGS = (
    (e.NO_CACHE, "no-cache"),
    (e.MUST_REVALIDATE, "must-revalidate"),
    (e.IMMUTABLE, "immutable"),
    (e.HEURISTIC, "heuristic"),
    (e.EXPLICIT, "explicit"),
    (e.SOFT_PURGED, "purged"),
    (e.INVALIDATED, "invalidated"),
)


def explain(
    handler: CacheHandler,
    request: Request,
    secure: bool,
    now: float,
    asked: ForwardedInfo | None = None,
    piece: int = -1,
) -> dict[str, object]:
    """Tell the key of a request, what is stored under it, and what would be done; `now` is wall seconds. `piece` is
    the number of the slice that is asked for, -1 for the whole."""
    policy = handler.policy
    narrow(request.fields, policy)
    key = primary_key(policy, secure, request.host, request.target, request.fields, asked, piece)
    if not key:
        return {"key": "", "action": "PASS", "outcome": "BYPASS", "reason": "bypassed", "stored": []}
    entry = handler.cache.store.peek(key)
    place = "memory"
    disk = handler.cache.disk
    if (entry is None or not entry.variants) and disk is not None:
        found = disk.disk.get(key)
        if found:
            place = "disk"
            entry = KeyEntry(key)
            entry.variants += tuple(found)
    decision = decide(request, entry, policy, now)
    answer = decision.variant if decision.action in (SERVE, SERVE_AND_REVALIDATE) else None
    if answer is not None and evaluate(request, answer, now) == FORWARD:
        decision = Decision(PASS, BYPASS, PRECONDITION)
    variants = entry.variants if entry is not None else ()
    fitting = choose(variants, request.fields) if variants else None
    return {
        "key": key.decode("latin-1"),
        "action": ACTIONS[decision.action],
        "outcome": OUTCOMES[decision.outcome],
        "reason": REASONS[decision.reason],
        "stored": [_describe(variant, place, variant is fitting, now) for variant in variants],
    }


def _describe(variant: StoredResponse, place: str, fits: bool, now: float) -> dict[str, object]:
    vary = [
        f"{name.decode('latin-1')}: {'(absent)' if value == ABSENT else value.decode('latin-1')}"
        for name, value in variant.vary
    ]
    ranges = [f"{start}-{end - 1}" for start, end in variant.ranges or ()]
    return {
        "where": place,
        "fits": fits,
        "status": variant.status,
        "octets": variant.length,
        "age": current_age(variant, now),
        "lifetime": round(variant.lifetime, 3),
        "fresh_for": round(variant.fresh_until - now, 3),
        "etag": variant.etag.decode("latin-1"),
        "vary": vary,
        "tags": [tag.decode("latin-1") for tag in variant.tags],
        "flags": [word for bit, word in _FLAGS if variant.flags & bit],
        "ranges": ranges,
    }
