"""The rules and the store in memory against a naive reference (naive.py), as a state machine of hypothesis.

Clients ask for some URLs of three hosts, an origin changes its mind about what is said and for how long, time passes,
unsafe requests and purges go by, the origin fails. `Pump` is the least that carries decisions out; it has no sockets
and no clock. Before each exchange both sides say what will happen, and from what; a difference is an error of one of
them. The origin's content names the version and the variant, so whatever is served is known to be right.

All moments are whole seconds. What is malformed is for the tests of the rules themselves.
"""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tests.property.cache.naive import Kept, Naive, Said

from headgate.cache import reuse, storing
from headgate.cache.conditional import add_validators, drop_conditions
from headgate.cache.entry import MemoryBody
from headgate.cache.invalidation import targets
from headgate.cache.key import primary_key
from headgate.cache.memory import MemoryStore
from headgate.cache.policy import Policy
from headgate.cache.purges import KINDS
from headgate.cache.update import merge_304
from headgate.engine.events import Request, Response
from headgate.http.date import format_date as http_date
from headgate.http.fields import Fields

START = 1_800_000_000
MOST = 4  # variants of one URL
URLS = (
    "http://a.test/",
    "http://a.test/b?q=1",
    "http://b.test/",
    "http://b.test:81/c",
    *(f"http://c.test/{letter}" for letter in "defghijk"),
)
ACTIONS = {
    reuse.SERVE: "serve",
    reuse.SERVE_AND_REVALIDATE: "serve and confirm",
    reuse.VALIDATE: "confirm",
    reuse.FETCH: "fetch",
    reuse.FETCH_ALONE: "fetch",
    reuse.PASS: "pass",
    reuse.REFUSE: "refuse",
    reuse.FORWARD: "forward",
}

seconds = st.sampled_from((0, 1, 5, 30, 1000, 1000, 100_000))
directives = st.dictionaries(
    st.sampled_from(("max-age", "s-maxage", "stale-while-revalidate", "stale-if-error")), seconds, max_size=3
).flatmap(
    lambda numbers: st.lists(
        st.sampled_from(("public", "must-revalidate", "immutable", "proxy-revalidate", "no-cache")),
        max_size=1,
        unique=True,
    ).map(lambda words: {**numbers, **dict.fromkeys(words, True)})
)
lifetimes = st.builds(
    dict,
    directives=directives,
    expires=st.none() | st.sampled_from((-10, 0, 5, 1000)),
    skew=st.sampled_from((0, 0, 0, -20, 20)),
    age=st.none() | st.sampled_from((0, 3, 50)),
)
documents = st.builds(
    dict,
    status=st.sampled_from((200, 200, 200, 203, 302, 404, 503)),
    vary=st.sampled_from(
        ((), (), (), ("x-kind",), ("accept-language",), ("accept-language", "x-kind"), ("*",))
    ),
    validators=st.sampled_from(("strong", "weak", "date", "both", "")),
    tag=st.none() | st.sampled_from(("red", "blue")),
    cookie=st.sampled_from((False, False, False, True)),
    forbid=st.sampled_from((None, None, None, None, None, None, "no-store", "private")),
)
clients = st.builds(
    dict,
    method=st.sampled_from(("GET", "GET", "GET", "HEAD")),
    language=st.sampled_from((None, "en", "de, en", "EN,de")),
    kind=st.sampled_from((None, "1", "2")),
    said=st.sampled_from(({}, {}, {}, {}))
    | st.just({})
    | st.dictionaries(st.sampled_from(("max-age", "max-stale", "min-fresh")), seconds, min_size=1, max_size=2)
    | st.sampled_from(("no-cache", "no-store", "only-if-cached")).map(lambda word: {word: True}),
    authorization=st.sampled_from((False, False, False, False, False, True)),
    cookie=st.sampled_from((False, False, True)),
)


urls = st.sampled_from((*[URLS[0]] * 6, *[URLS[1]] * 2, *URLS))
purges = st.one_of(
    st.just(("everything", "")),
    st.sampled_from(URLS).map(lambda url: ("url", url)),
    st.sampled_from(("a.test", "b.test", "b.test:81", "c.test")).map(lambda host: ("host", host)),
    st.sampled_from(("red", "blue")).map(lambda tag: ("tag", tag)),
    st.sampled_from(("http://a.", "http://b.test/", "http://a.test/b?")).map(lambda start: ("prefix", start)),
)


def meets(kind, pattern, one):
    """Is what the reference keeps meant by a purge?"""
    authority = one.url.split("/")[2]
    return {
        "everything": True,
        "url": one.url == pattern,
        "host": pattern in (authority, authority.split(":")[0]),
        "tag": one.said.tag == pattern,
        "prefix": one.url.startswith(pattern),
    }[kind]


def written(said):
    """Cache-Control of a dictionary."""
    return ", ".join(name if value is True else f"{name}={value}" for name, value in said.items()).encode()


def request_of(client):
    """The reference's view of a client's request."""
    found = {
        "accept-language": client["language"],
        "x-kind": client["kind"],
        "cache-control": client["said"] or None,
        "authorization": "me" if client["authorization"] else None,
        "cookie": "a=b" if client["cookie"] else None,
    }
    return {name: value for name, value in found.items() if value is not None}


class Document:
    """What the origin has at a URL, in one version."""

    def __init__(self, version, made, facts, life):
        self.version = version
        self.facts = facts
        self.life = life
        self.modified = made

    def answer(self, url, request):
        """What is said, and the content, for one request without conditions."""
        facts = self.facts
        vary = facts["vary"]
        languages = sorted({part.strip().lower() for part in request.get("accept-language", "").split(",")})
        chosen = [",".join(languages)] if "accept-language" in vary else []
        chosen += [request.get("x-kind", "")] if "x-kind" in vary else []
        body = f"{url} version {self.version} {chosen}"
        kind = facts["validators"]
        tag = f'"{self.version}-{"-".join(chosen)}"'.replace(" ", "").replace(",", ".")
        said = dict(self.life["directives"])
        if facts["forbid"]:
            said[facts["forbid"]] = True
        return (
            Said(
                facts["status"],
                said,
                self.life["expires"],
                self.life["skew"],
                self.life["age"],
                vary,
                {"strong": tag, "both": tag, "weak": "W/" + tag}.get(kind),
                self.modified if kind in ("date", "both") else None,
                facts["tag"],
                facts["cookie"],
            ),
            body,
        )


class Pump:
    """Carries out what the rules decide, in the order in which a gate does it."""

    def __init__(self, origin, budget):
        self.origin = origin
        self.policy = Policy("model")
        self.store = MemoryStore(budget, MOST)

    def request(self, method, url, request):
        scheme, _, rest = url.partition("://")
        host, slash, path = rest.partition("/")
        fields = Fields([], [])
        for name, value in request.items():
            fields.add(name.encode(), written(value) if isinstance(value, dict) else value.encode())
        made = Request(method.encode(), (slash + path).encode(), 11, fields)
        made.host = host.encode()
        key = primary_key(self.policy, scheme == "https", made.host, made.target, fields)
        return made, key

    def decide(self, method, url, request, now):
        made, key = self.request(method, url, request)
        return reuse.decide(made, self.store.get(key), self.policy, now)

    def fetch(self, method, url, request, variant, now):
        """One request to the origin. Return (said or None for silence, content or None for a 304, when it came)."""
        made, _ = self.request(method, url, request)
        fields = made.fields.copy()
        if variant is None:
            drop_conditions(fields)
        else:
            add_validators(fields, variant)
        return self.origin(url, request, fields, now)

    def respond(self, said, body, came):
        """The head of what the origin said."""
        fields = Fields([], [])
        fields.add(b"date", http_date(came + said.skew))
        if said.directives:
            fields.add(b"cache-control", written(said.directives))
        if said.expires is not None:
            fields.add(b"expires", http_date(came + said.skew + said.expires))
        if said.age is not None:
            fields.add(b"age", b"%d" % said.age)
        if said.vary:
            fields.add(b"vary", ", ".join(said.vary).encode())
        if said.etag is not None:
            fields.add(b"etag", said.etag.encode())
        if said.modified is not None:
            fields.add(b"last-modified", http_date(said.modified))
        if said.tag is not None:
            fields.add(b"cache-tag", said.tag.encode())
        if said.cookie:
            fields.add(b"set-cookie", b"c=d")
        status = said.status if body is not None else 304
        return Response(status, b"", 11, fields, len(body) if body is not None else 0)

    def keep(self, method, url, request, variant, said, body, asked, came):
        """An answer of the origin that is no 304: stored if it may be; what it should have confirmed goes."""
        made, key = self.request(method, url, request)
        response = self.respond(said, body, came)
        storable, _ = storing.may_store(made, response, self.policy, came)
        if storable:
            stored = storing.build(key, made, response, self.policy, asked, came)
            stored.body = MemoryBody([body.encode()])
            stored.length = stored.body.size
            stored.is_complete = True
            stored.generation = self.store.generation
            self.store.put(stored)
        elif said.status < 500:
            if variant is not None:
                self.store.remove_variant(variant)
            self.store.mark_uncacheable(key, came + self.policy.uncacheable_ttl)
        return storable

    def confirm(self, method, url, request, variant, said, asked, came):
        """A 304."""
        made, _ = self.request(method, url, request)
        response = self.respond(said, None, came)
        if merge_304(variant, made, response, self.policy, asked, came) is None:
            return False
        self.store.resize(variant)
        return True


class CacheMachine(RuleBasedStateMachine):
    """Both sides are asked the same; whatever is served is what the reference would serve."""

    budget = 64 * 1024 * 1024
    exact = True  # nothing is evicted: both sides know the same

    def __init__(self):
        super().__init__()
        self.now = START
        self.versions = itertools.count(1)
        self.moments = set()
        self.documents = {}
        self.fault = None
        self.delay = 0
        self.pump = Pump(self.origin, self.budget)
        self.naive = Naive(MOST if self.exact else 1_000_000)

    # -- the world

    def origin(self, url, request, fields, now):
        came = now + self.delay
        if self.fault == "silent":
            return None, None, came
        if self.fault is not None:
            return Said(self.fault), "broken", came
        said, body = self.documents[url].answer(url, request)
        tags = fields.get(b"if-none-match")
        if tags is not None:
            alike = said.etag is not None and said.etag.removeprefix("W/") in tags.decode()
            return said, None if alike else body, came
        since = fields.get(b"if-modified-since")
        alike = since is not None and said.modified is not None and since == http_date(said.modified)
        return said, None if alike else body, came

    @initialize(all_facts=st.tuples(*[documents] * len(URLS)), life=st.tuples(*[lifetimes] * len(URLS)))
    def begin(self, all_facts, life):
        for at, url in enumerate(URLS):
            self._publish(url, all_facts[at], life[at], 100)

    def _publish(self, url, facts, life, age):
        moment = self.now - age
        while moment in self.moments:  # an origin whose Last-Modified tells versions apart
            moment -= 1
        self.moments.add(moment)
        self.documents[url] = Document(next(self.versions), moment, facts, life)

    @rule(url=st.sampled_from(URLS), facts=documents, life=lifetimes, age=st.sampled_from((0, 50, 10_000)))
    def publish(self, url, facts, life, age):
        """A new version."""
        self._publish(url, facts, life, age)

    @rule(url=st.sampled_from(URLS), life=lifetimes)
    def amend(self, url, life):
        """The same version, and something else is said about its lifetime."""
        self.documents[url].life = life

    @rule(seconds=st.sampled_from((1, 2, 4, 10, 29, 500, 99_000)))
    def wait(self, seconds):
        self.now += seconds

    @rule(
        fault=st.sampled_from((None, None, None, None, 503, 500, "silent")),
        delay=st.sampled_from((0, 0, 1, 4)),
    )
    def weather(self, fault, delay):
        self.fault = fault
        self.delay = delay

    # -- clients

    @rule(url=urls, visits=st.lists(clients, min_size=1, max_size=5))
    def ask(self, url, visits):
        """Some clients ask for the same, one after the other."""
        for client in visits:
            self._ask(url, client)

    @rule(visits=st.lists(st.tuples(urls, clients), min_size=1, max_size=5))
    def browse(self, visits):
        """Some clients ask for this and that."""
        for url, client in visits:
            self._ask(url, client)

    @rule(client=clients)
    def crawl(self, client):
        """Somebody asks for everything once."""
        for url in URLS[4:]:
            self._ask(url, client)

    def _ask(self, url, client):
        self.now += 1
        method, request, now = client["method"], request_of(client), self.now
        decision = self.pump.decide(method, url, request, now)
        mine = ACTIONS[decision.action]
        body = None
        if decision.variant is not None:
            body = decision.variant.body.read(0, 10_000).decode()
        action, one, age = self.naive.decide(method, url, request, now, None if self.exact else body)
        if self.exact or body is not None:
            assert mine == action, f"{decision!r}, and the reference says {action} {one}"
        if mine in ("serve", "serve and confirm", "confirm"):
            assert one is not None, f"{body!r} is used, and the reference knows nothing of it"
            assert body == one.body
            if mine != "confirm":
                assert decision.age == age
        if mine in ("serve and confirm", "confirm", "fetch"):
            quiet = mine == "serve and confirm"
            used = one if decision.variant is not None else None
            self._go(decision, "GET" if quiet else method, url, request, used, quiet)

    def _go(self, decision, method, url, request, one, quiet):
        """An exchange with the origin, and what both sides make of it."""
        now, pump, naive = self.now, self.pump, self.naive
        variant = decision.variant
        said, body, came = pump.fetch(method, url, request, variant, now)
        self.now = came
        if variant is not None and (said is None or (body is not None and said.status >= 500)):
            status = 0 if said is None else said.status
            if not self._stands_in(decision, method, url, request, one, status, quiet):
                return
        if said is None:
            return
        if body is None:
            assert variant is not None
            taken = pump.confirm(method, url, request, variant, said, now, came)
            assert taken, "a 304 for what was asked about is taken"
            if one is not None:
                naive.confirmed(one, said, now, came)
            return
        kept = pump.keep(method, url, request, variant, said, body, now, came)
        mine = naive.may_keep(method, request, said, came)
        assert kept == mine, f"{said} is {'kept' if kept else 'not kept'}"
        if mine:
            naive.keep(Kept(url, request, said, body, now, came, came + said.skew))
        elif one is not None and said.status < 500:
            naive.drop(one)

    def _stands_in(self, decision, method, url, request, one, status, quiet):
        """Is a stored response used in place of an error? True: the error goes on."""
        if quiet:
            return False
        made, _ = self.pump.request(method, url, request)
        mine = reuse.on_error(decision, made, self.pump.policy, status, self.now)
        theirs = self.naive.on_error(one, request, status, self.now)
        assert ACTIONS[mine.action] == theirs, f"{mine!r} after {decision!r}, and the reference says {theirs}"
        return mine.action == reuse.FORWARD

    @rule(
        url=st.sampled_from(URLS),
        method=st.sampled_from(("POST", "PUT", "M-SEARCH", "OPTIONS")),
        status=st.sampled_from((200, 303, 404, 500)),
        other=st.sampled_from((None, *URLS)),
        named=st.sampled_from((b"location", b"content-location")),
    )
    def change(self, url, method, status, other, named):
        """A request that is not for the cache, and what it invalidates (section 4.4)."""
        self.now += 1
        assert ACTIONS[self.pump.decide(method, url, {}, self.now).action] == "pass"
        made, _ = self.pump.request(method, url, {})
        fields = Fields([], [])
        if other is not None:
            fields.add(named, other.encode())
        response = Response(status, b"", 11, fields)
        for key in targets(made, response, self.pump.policy, False, made.host, made.target):
            self.pump.store.invalidate(key, self.now)
        if method != "OPTIONS" and status < 400:
            self.naive.invalidate(url)
            if other is not None and other.split("/")[2] == url.split("/")[2]:
                self.naive.invalidate(other)

    # -- operators

    @rule(purge=purges, soft=st.booleans())
    def purge(self, purge, soft):
        kind, pattern = purge
        self.pump.store.purge(KINDS.index(kind), pattern.encode(), soft)
        self.naive.purge(lambda one: meets(kind, pattern, one), soft)

    @rule()
    def sweep(self):
        """Purges are carried out behind the scenes too, and change nothing."""
        self.pump.store.sweep(3, float(self.now))


class SmallCacheMachine(CacheMachine):
    """The same in a store that evicts: what it still has is what the reference says of it."""

    budget = 12 * 1024
    exact = False


CacheMachine.TestCase.settings = settings(stateful_step_count=40)
SmallCacheMachine.TestCase.settings = settings(stateful_step_count=40)
TestCacheAgainstTheReference = CacheMachine.TestCase
TestSmallCacheAgainstTheReference = SmallCacheMachine.TestCase
