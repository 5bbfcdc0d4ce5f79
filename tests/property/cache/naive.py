"""A cache that remembers everything and knows nothing better: what RFC 9111 says, read off a list of past exchanges.

The reference of test_cache_model.py. Messages are dictionaries with numbers in them, so nothing is parsed and
nothing is written; there are no bounds, no indexes and no precomputed moments. Each question walks the whole list.
It shares no code with src/headgate/cache.
"""

from dataclasses import dataclass, field

HEURISTIC_STATUSES = (200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501)
FOREVER = 2**31
CUT_OFF = 86400  # for how long a response is used whose origin is gone, by default


@dataclass
class Said:
    """What an origin says with one response. Numbers are seconds; None: the field is absent."""

    status: int = 200
    directives: dict = field(default_factory=dict)  # "max-age": 5, "no-cache": True
    expires: int | None = None  # after Date
    skew: int = 0  # Date, after the origin's true time
    age: int | None = None
    vary: tuple = ()
    etag: str | None = None
    modified: int | None = None  # a moment
    tag: str | None = None
    cookie: bool = False


@dataclass
class Kept:
    """One response that may be used again."""

    url: str
    request: dict
    said: Said
    body: str
    asked: int
    came: int
    date: int
    doubtful: bool = False  # an unsafe request went by since
    soft: bool = False  # purged softly

    def lifetime(self):
        """Section 4.2.1: seconds, or None when nothing is said and nothing may be guessed."""
        said = self.said
        if "s-maxage" in said.directives:
            return said.directives["s-maxage"]
        if "max-age" in said.directives:
            return said.directives["max-age"]
        if said.expires is not None:
            return max(said.expires, 0)
        guessable = said.status in HEURISTIC_STATUSES or "public" in said.directives
        if guessable and said.modified is not None:
            return min((self.date - said.modified) / 10, 86400) if self.date > said.modified else 0
        return None

    def age(self, now):
        """Section 4.2.3."""
        apparent = max(0, self.came - self.date)
        corrected = (self.said.age or 0) + (self.came - self.asked)
        return max(apparent, corrected) + (now - self.came)

    def left(self, now):
        """What is left of the lifetime, negative when stale."""
        return (self.lifetime() or 0) - self.age(now)

    def never_stale(self):
        """Section 4.2.4: must it be confirmed once it is stale?"""
        said = self.said.directives
        forbidding = ("must-revalidate", "proxy-revalidate", "s-maxage", "no-cache")
        return self.lifetime() is None or any(name in said for name in forbidding)

    def stale_use(self, name):
        """RFC 5861, and being cut off: seconds after the lifetime."""
        if self.never_stale():
            return 0
        if name == "unreachable":
            return max(CUT_OFF, self.said.directives.get("stale-if-error", 0))
        return self.said.directives.get(name, 0)


class Naive:
    """All that is kept, oldest first; at most `most` for one URL."""

    def __init__(self, most):
        self.most = most
        self.kept = []

    # -- section 4: what answers a request

    def fitting(self, url, request):
        """What section 4.1 lets answer, the preferred one first."""
        found = [one for one in self.kept if one.url == url and self.varies_alike(one, request)]
        found.sort(key=lambda one: (bool(one.said.vary), one.date, one.came), reverse=True)
        return found

    def varies_alike(self, one, request):
        return all(alike(name, one.request.get(name), request.get(name)) for name in one.said.vary)

    def decide(self, method, url, request, now, body=None):
        """Return what happens: (action, what is used or None, the age it is served with).

        With a `body` as if nothing but what has this content were kept.
        """
        if method not in ("GET", "HEAD"):
            return "pass", None, 0
        asked = request.get("cache-control", {})
        fitting = [one for one in self.fitting(url, request) if body is None or one.body == body]
        one = fitting[0] if fitting else None
        if one is not None and self.usable(one):
            left = one.left(now)
            if left > 0:
                if not self.client_wants_more(one, asked, now):
                    return "serve", one, one.age(now)
            elif not self.client_wants_more(one, asked, now) and not one.never_stale():
                if -left <= asked.get("max-stale", -1):
                    return "serve", one, one.age(now)
                if -left < one.stale_use("stale-while-revalidate"):
                    # Nothing of an answer to no-store is for what is kept (section 5.2.1.5).
                    return "serve" if "no-store" in asked else "serve and confirm", one, one.age(now)
        if "only-if-cached" in asked:
            return "refuse", None, 0
        if "no-store" in asked:
            return "pass", None, 0
        return ("confirm" if one is not None else "fetch"), one, 0

    def usable(self, one):
        return "no-cache" not in one.said.directives and not one.soft and not one.doubtful

    def client_wants_more(self, one, asked, now):
        if "no-cache" in asked:
            return True
        settled = "immutable" in one.said.directives and one.left(now) > 0
        if "max-age" in asked and one.age(now) > asked["max-age"] and not settled:
            return True
        return "min-fresh" in asked and asked["min-fresh"] > 0 and one.left(now) < asked["min-fresh"]

    def on_error(self, one, request, status, now):
        """What comes in place of an error to a request that was to confirm `one`; status 0: no answer at all."""
        asked = request.get("cache-control", {})
        directives = one.said.directives
        lasting = one.never_stale()
        if lasting:
            return "refuse" if status == 0 else "forward"
        if "no-cache" in directives or one.doubtful:
            return "forward"
        if not one.soft and (self.client_wants_more(one, asked, now) or one.left(now) > 0):
            return "forward"
        allowed = one.stale_use("unreachable" if status == 0 else "stale-if-error")
        return "serve" if allowed > 0 and -min(one.left(now), 0) <= allowed else "forward"

    # -- section 3: what is kept

    def may_keep(self, method, request, said, came):
        directives = said.directives
        asked = request.get("cache-control", {})
        if method != "GET" or said.status in (304, 401, 412, 416):
            return False
        if any(name in directives for name in ("no-store", "private")) or "no-store" in asked:
            return False
        for_everybody = any(name in directives for name in ("public", "must-revalidate", "s-maxage"))
        if "authorization" in request and not for_everybody:
            return False
        if "*" in said.vary:
            return False
        lifetime = Kept("", {}, said, "", came, came, came + said.skew).lifetime()
        explicit = any(name in directives for name in ("s-maxage", "max-age")) or said.expires is not None
        if said.cookie and not explicit:
            return False
        validator = said.etag is not None or said.modified is not None
        if lifetime is None:
            return validator and "cookie" not in request
        if validator:
            return True
        extra = directives.get("stale-while-revalidate", 0) + directives.get("stale-if-error", 0)
        return "no-cache" not in directives and lifetime + extra > 0

    def keep(self, one):
        """Keep it in place of the one with the same selecting values; the oldest goes when there are too many."""
        self.kept = [
            other
            for other in self.kept
            if not (
                other.url == one.url
                and set(other.said.vary) == set(one.said.vary)
                and self.varies_alike(other, one.request)
            )
        ]
        self.kept.append(one)
        mine = [other for other in self.kept if other.url == one.url]
        for other in mine[: -self.most]:
            self.drop(other)

    def drop(self, one):
        self.kept = [other for other in self.kept if other is not one]

    # -- section 4.3.4: a 304

    def confirmed(self, one, said, asked, came):
        old = one.said
        one.said = Said(
            old.status,
            said.directives or old.directives,
            said.expires if said.expires is not None else old.expires,
            said.skew,
            said.age,
            old.vary,
            old.etag,
            said.modified if said.modified is not None else old.modified,
            said.tag if said.tag is not None else old.tag,
            old.cookie,
        )
        one.asked, one.came, one.date = asked, came, came + said.skew
        one.doubtful = one.soft = False

    # -- section 4.4, and purges

    def invalidate(self, url):
        for one in self.kept:
            if one.url == url:
                one.doubtful = True

    def purge(self, meets, soft):
        for one in list(self.kept):
            if meets(one):
                if soft:
                    one.soft = True
                else:
                    self.drop(one)


def alike(name, one, other):
    """Do two values of a request field mean the same? Languages are a set here: no weights occur."""
    if name == "accept-language" and one is not None and other is not None:
        return {part.strip().lower() for part in one.split(",")} == {
            part.strip().lower() for part in other.split(",")
        }
    return one == other
