"""The store in memory against a naive one: a dictionary of all that was put, and every purge tried in order.

The naive store forgets nothing and evicts nothing, so ours may lack what the naive one has, once it has evicted, and
must never have anything else; octets are counted from the beginning after every step.
"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from headgate.cache.cost import KEY_COST, cost_of
from headgate.cache.entry import SOFT_PURGED, MemoryBody, StoredResponse
from headgate.cache.memory import MemoryStore
from headgate.cache.purges import EVERYTHING, HOST, PREFIX, TAG, URL
from headgate.http.fields import Fields

HOSTS = (b"a.example", b"b.example:8443")
URLS = [b"https://" + host + path for host in HOSTS for path in (b"/", b"/x/y")]
KEYS = [url + part for url in URLS for part in (b"", b"\npart=1")]
TAGS = (b"red", b"green")
VARY = ((), ((b"accept", b"a"),), ((b"accept", b"b"),), ((b"accept", b"c"),))
MAX_VARIANTS = 3

keys = st.sampled_from(KEYS)
tags = st.lists(st.sampled_from(TAGS), unique=True, max_size=2)
sizes = st.sampled_from([0, 10, 500, 3_000, 20_000])
patterns = st.one_of(
    st.just((EVERYTHING, b"")),
    st.tuples(st.just(HOST), st.sampled_from([b"a.example", b"b.example", b"b.example:8443", b"c.example"])),
    st.tuples(st.just(PREFIX), st.sampled_from([b"https://a.example/x", b"https://b", URLS[3]])),
    st.tuples(st.just(URL), st.sampled_from(URLS)),
    st.tuples(st.just(TAG), st.sampled_from(TAGS)),
)


def meets(kind, pattern, variant):
    """Whether a purge meets a response, in the plainest words."""
    url = variant.key.split(b"\n")[0]
    authority = url.split(b"/")[2]
    return (
        kind == EVERYTHING
        or (kind == HOST and pattern in (authority, authority.split(b":")[0]))
        or (kind == PREFIX and variant.key.startswith(pattern))
        or (kind == URL and url == pattern)
        or (kind == TAG and pattern in variant.tags)
    )


class MemoryMachine(RuleBasedStateMachine):
    @initialize(budget=st.sampled_from([20_000, 100_000, 1_000_000]))
    def begin(self, budget):
        self.store = MemoryStore(budget, MAX_VARIANTS)
        self.alive = {}  # key -> variants, the newest last
        self.soft = set()
        self.invalid = {}
        self.under_way = []
        self.now = 0.0
        self.is_squeezed = False  # something had to go, or may not have been judged: ours may have less

    @rule(key=keys, vary=st.sampled_from(VARY), size=sizes, tags=tags)
    def ask(self, key, vary, size, tags):
        """A request leaves for the origin."""
        fields = Fields([b"x"], [b"x: y"])
        variant = StoredResponse(key, 200, b"OK", fields, MemoryBody([bytes(size)]))
        variant.vary = tuple(vary)
        variant.tags = tuple(tags)
        variant.request_time = self.now
        variant.generation = self.store.generation
        self.under_way.append((variant, []))

    @rule(data=st.data())
    def answer(self, data):
        """The response to a request that left is there."""
        if not self.under_way:
            return
        variant, since = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        is_forgotten = variant.generation < self.store.purges.floor
        is_dead = (
            any(not soft and meets(kind, pattern, variant) for kind, pattern, soft in since)
            or variant.request_time < self.invalid.get(variant.key, 0.0)
            or is_forgotten
        )
        is_soft = any(soft and meets(kind, pattern, variant) for kind, pattern, soft in since)
        if is_soft and not is_dead:
            entry = self.store.peek(variant.key)
            is_dead = entry is not None and any(
                other.vary == variant.vary
                and other not in self.soft
                and other.request_time >= variant.request_time
                for other in entry.variants
            )
        stored = self.store.put(variant)
        others = [other for other in self.alive.get(variant.key, []) if is_dead or other.vary != variant.vary]
        is_large = cost_of(variant) > self.store.budget // 8
        if not (is_dead and variant.key in self.invalid and self.is_squeezed):
            assert stored == (not is_dead and not is_large)
        if stored:
            others.append(variant)
            if is_soft:
                self.soft.add(variant)
        if len(others) > MAX_VARIANTS:
            others.pop(0)
        if sum(cost_of(other) for other in others) + KEY_COST + len(variant.key) > self.store.budget // 4:
            self.is_squeezed = True
        self.alive[variant.key] = others
        self._watch()

    @rule(key=keys)
    def get(self, key):
        self._compare(self.store.get(key), key)

    @rule(purge=patterns, is_soft=st.booleans())
    def purge(self, purge, is_soft):
        kind, pattern = purge
        self.store.purge(kind, pattern, is_soft)
        for key, variants in self.alive.items():
            met = [variant for variant in variants if meets(kind, pattern, variant)]
            if is_soft:
                self.soft.update(met)
            else:
                self.alive[key] = [variant for variant in variants if variant not in met]
        for _, since in self.under_way:
            since.append((kind, pattern, is_soft))

    @rule(limit=st.integers(1, 20), pause=st.sampled_from([0.0, 1.0, 61.0]))
    def sweep(self, limit, pause):
        self.now += pause
        self.store.sweep(limit, self.now)

    @rule(key=keys)
    def remove(self, key):
        self.store.remove(key)
        self.alive.pop(key, None)
        self.invalid.pop(key, None)

    @rule(key=keys)
    def invalidate(self, key):
        self.now += 1.0
        self.store.invalidate(key, self.now)
        self.invalid[key] = self.now
        self._watch()

    @rule(key=keys)
    def mark(self, key):
        self.store.mark_uncacheable(key, self.now)
        self._watch()

    @rule(key=keys, size=sizes)
    def change(self, key, size):
        """A 304 or a range changes a stored response in place."""
        entry = self.store.peek(key)
        if entry is None or not entry.variants:
            return
        variant = entry.variants[0]
        variant.body = MemoryBody([bytes(size)])
        self.store.resize(variant)
        if cost_of(variant) > self.store.budget // 8:
            self.alive[key].remove(variant)
        elif sum(cost_of(other) for other in entry.variants) > self.store.budget // 8:
            self.is_squeezed = True
        self._watch()

    def _watch(self):
        self.is_squeezed = self.is_squeezed or self.store.evictions > 0

    def _compare(self, entry, key):
        found = [] if entry is None else list(entry.variants)
        expected = self.alive.get(key, [])
        if self.is_squeezed:
            assert [variant for variant in expected if variant in found] == found
        else:
            assert found == expected
        for variant in found:
            assert bool(variant.flags & SOFT_PURGED) == (variant in self.soft)

    @invariant()
    def everything_agrees(self):
        if not hasattr(self, "store"):
            return
        octets = variants = nodes = 0
        for key in KEYS:
            node = self.store._nodes.get(key)
            if node is not None:
                nodes += 1
                variants += len(node.variants)
                octets += KEY_COST + len(key) + sum(cost_of(variant) for variant in node.variants)
        assert (self.store.octets, self.store.variants, len(self.store)) == (octets, variants, nodes)
        assert octets <= self.store.budget
        assert (self.store._queues.octets, len(self.store._queues)) == (octets, nodes)

    def teardown(self):
        if hasattr(self, "store"):
            for key in KEYS:
                self._compare(self.store.peek(key), key)


MemoryMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
TestMemory = MemoryMachine.TestCase
