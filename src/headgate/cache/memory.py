"""The cache in memory: one for each worker, bounded in octets, which are counted exactly.

A node is a key with all its variants (KeyEntry): they come and go together. Whoever reads a response holds it, so
that eviction never takes content from under a reader; what a slow one holds then is counted in `loans`.

What a response costs is in cost.py, who leaves when there is no more room in queues.py, purges in purges.py: a node
remembers up to which generation it was judged, and the look-up of a judged one is a dictionary's, two comparisons and
a count. `sweep` walks what nobody asks for.
"""

from typing import Final, final

from headgate.cache.claims import Claims
from headgate.cache.cost import KEY_COST, cost_of
from headgate.cache.entry import INVALIDATED, SOFT_PURGED, KeyEntry, MemoryBody, StoredResponse
from headgate.cache.fingerprints import Marks
from headgate.cache.loans import Loans
from headgate.cache.policy import VARIANTS
from headgate.cache.purges import GONE, INVALID, KEEP, Purges
from headgate.cache.queues import USES_COUNTED, Queues
from headgate.cache.untracked import untrack

# Purges that everything stored was tried against stay in force this long for responses under way, in seconds.
_REMEMBERED: Final = 60.0
# One object has at most an eighth of the budget, one key a quarter: no stranger's choice of a URL empties the rest.
OBJECT_SHARE: Final = 8
_KEY_SHARE: Final = 4


def _settle(variant: StoredResponse) -> None:
    """Make a response take as little as can be, out of the collector's sight."""
    variant.pack()
    if variant.is_packed:
        return
    body = variant.body
    if isinstance(body, MemoryBody) and body.more is not None and body.starts is not None:
        untrack(body.more)
        untrack(body.starts)


@final
class MemoryStore:
    """Responses by key, within `budget` octets. Numbers to be read: `octets`, `hits` and those beside them."""

    __slots__ = (
        "_forget_at",
        "_forgotten",
        "_marks",
        "_max_key",
        "_nodes",
        "_queues",
        "_round",
        "_round_at",
        "_round_generation",
        "_swept",
        "budget",
        "claims",
        "displaced",
        "evicted_octets",
        "evictions",
        "generation",
        "hits",
        "loans",
        "max_object",
        "max_variants",
        "misses",
        "octets",
        "purged",
        "purges",
        "puts",
        "refused",
        "variants",
    )

    def __init__(self, budget: int, max_variants: int = VARIANTS, max_object: int = 0) -> None:
        self.budget = budget
        self.max_variants = max_variants
        # Octets of one response as `cost_of` counts them; larger ones are refused.
        self.max_object = min(max_object or budget, budget // OBJECT_SHARE)
        self.claims: Claims | None = None  # what other workers know of it, where there are any
        self.purges = Purges()
        self.loans = Loans()
        self.generation = 0  # the purges' own, at hand
        self.octets = 0
        self.variants = 0
        self.hits = 0
        self.misses = 0
        self.puts = 0
        self.refused = 0  # too large, or purged while under way
        self.displaced = 0  # variants that gave way to newer ones of their key
        self.evictions = 0  # of keys
        self.evicted_octets = 0
        self.purged = 0  # variants found dead
        self._max_key = budget // _KEY_SHARE
        self._nodes: dict[bytes, KeyEntry] = {}
        untrack(self._nodes)
        self._queues = Queues(budget)
        # Keys whose answers were not storable: a node would be fifty times as much for each URL that somebody makes
        # up. Where a mark is wrong, somebody does not wait for another.
        self._marks = Marks(budget // 1024)
        # The walk that `sweep` is on: keys that were there when it began.
        self._round: list[bytes] = []
        self._round_at = 0
        self._round_generation = 0
        self._swept = 0  # the last generation that everything was tried against
        self._forget_at = -1.0
        self._forgotten = 0  # the generation up to which that is

    def __len__(self) -> int:
        return len(self._nodes)

    def __repr__(self) -> str:
        return f"<MemoryStore {len(self._nodes)} keys, {self.octets} of {self.budget} octets>"

    # -- looking up and storing

    def get(self, key: bytes) -> KeyEntry | None:
        """Return what is stored under `key`, purges applied, and count it as used."""
        node = self._nodes.get(key)
        if node is None or (node.judged != self.generation and not self._judge(node)):
            self.misses += 1
            return self._marked(key)
        if node.uses < USES_COUNTED:
            node.uses += 1
        self.hits += 1
        return node

    def peek(self, key: bytes) -> KeyEntry | None:
        """Return what is stored under `key`, purges applied, and count nothing."""
        node = self._nodes.get(key)
        if node is None or (node.judged != self.generation and not self._judge(node)):
            return self._marked(key)
        return node

    def put(self, variant: StoredResponse) -> bool:
        """Store a response in place of the one with the same selecting values; False: it was refused.

        `variant.generation` is the store's when its request left for the origin. A response that is too large leaves
        none in its place: what it would have replaced is gone all the same.
        """
        _settle(variant)
        node = self._live(variant.key)
        if self._is_dead(node, variant):
            self.refused += 1  # what is stored is newer
            return False
        if node is not None:
            self._replace(node, variant)
        cost = cost_of(variant)
        if cost > self.max_object or len(variant.key) + KEY_COST > self.max_object:
            self.refused += 1
            if node is not None:
                self._drop_if_empty(node)
            return False
        variant.generation = self.generation
        if node is None:
            node = self._new(variant.key, cost)
            self._marks.clear(variant.key)
        else:
            self._shorten(node, cost)
            self._make_room(cost, node)
        variant.size = cost
        node.add(variant)
        if len(self.loans):
            self.loans.came(variant)
        node.uncacheable_until = 0.0
        self._grow(node, cost)
        self.variants += 1
        self.puts += 1
        return True

    def shorten(self, key: bytes, most: int) -> None:
        """Let the oldest variants of a key go that are more than `most`, which is 1 or more."""
        node = self._nodes.get(key)
        while node is not None and len(node.variants) > most:
            self.displaced += 1
            self._take_away(node, node.variants[0])

    def lend(self, variant: StoredResponse, octets: int) -> None:
        """A slow reader holds content of a response, stored or not; `octets` of it, 0: all. To be given back to
        `loans`."""
        node = self._nodes.get(variant.key)
        if octets == 0:
            octets = variant.size if variant.size else cost_of(variant)
        self.loans.lend(variant, octets, node is not None and variant in node.variants)

    def resize(self, variant: StoredResponse) -> None:
        """Count a stored response anew that was changed in place: by a 304, by ranges. Does nothing for others."""
        node = self._nodes.get(variant.key)
        if node is None or variant not in node.variants:
            return
        _settle(variant)
        cost = cost_of(variant)
        if cost > self.max_object:
            self._drop_variant(node, variant)
            self.refused += 1
            return
        more = cost - variant.size
        if more > 0:
            while node.octets + more > self._max_key and node.variants[0] is not variant:
                self._drop_variant(node, node.variants[0])
            self._make_room(more, node)
        variant.size = cost
        self._grow(node, more)

    def mark_uncacheable(self, key: bytes, until: float) -> None:
        """Remember that answers to `key` are not storable: nobody waits for another's until then (wall seconds)."""
        node = self._live(key)
        if node is not None:
            node.uncacheable_until = until
        else:
            self._marks.set(key, until)

    def invalidate(self, key: bytes, now: float) -> None:
        """An unsafe request went by (RFC 9111 section 4.4): nothing received before `now` is used unconfirmed.

        The key stays known, so that a response which is under way is refused.
        """
        node = self._known(key)
        if node is not None:
            node.invalid_before = max(now, node.invalid_before)  # another worker's word of it may be late

    def invalidate_url(self, url: bytes) -> None:
        """The same for a URL with all further parts of its key."""
        self.generation = self.purges.invalidate(url)

    def is_outdated(
        self, key: bytes, tags: tuple[bytes, ...] | None, generation: int, asked_at: float
    ) -> bool:
        """Tell whether an answer is older than a purge of any kind or an invalidation, by what its request has left
        with; `tags` None: they are not known yet."""
        if generation != self.generation:
            purges = self.purges
            if tags is None and purges.latest_tag > generation:
                return True
            if purges.judge(key, tags if tags is not None else (), generation) != KEEP:
                return True
        node = self._live(key)
        return node is not None and asked_at < node.invalid_before

    def catch_up(self, variant: StoredResponse, generation: int) -> None:
        """A stored response is as good as new by an answer whose request left at `generation`: purges and
        invalidations that came since are for it too."""
        verdict = self.purges.judge(variant.key, variant.tags, generation)
        if verdict == GONE:
            variant.generation = generation
            self.remove_variant(variant)
        elif verdict != KEEP:
            variant.flags |= INVALIDATED if verdict == INVALID else SOFT_PURGED

    def remove(self, key: bytes) -> int:
        """Drop a key; return how many variants it had."""
        node = self._nodes.get(key)
        if node is None:
            return 0
        count = len(node.variants)
        self._drop(node)
        return count

    def remove_variant(self, variant: StoredResponse) -> bool:
        """Drop one variant; False: it is not here (any more)."""
        node = self._nodes.get(variant.key)
        if node is None or variant not in node.variants:
            return False
        self._drop_variant(node, variant)
        return True

    # -- purges

    def purge(self, kind: int, pattern: bytes, is_soft: bool = False, generation: int = 0) -> int:
        """Purge by a kind of purges.py; return its generation: `generation`, where that is later than all before.

        O(1): what is met by it is found dead at its next use, or by `sweep`.
        """
        self.generation = self.purges.add(kind, pattern, is_soft, generation)
        return self.generation

    def sweep(self, limit: int, now: float) -> bool:
        """Free what purges have killed: look at `limit` keys at most. True: more is left to do.

        `now` is monotonic seconds. When a walk has been everywhere, its purges are forgotten a little later:
        responses under way that are older than a forgotten purge cannot be judged and are refused.
        """
        if self._forget_at >= 0.0 and now >= self._forget_at:
            self.purges.forget(self._forgotten)
            self._forget_at = -1.0
        if not self._round:
            if self._swept == self.generation:
                return False
            self._round = list(self._nodes)
            untrack(self._round)
            self._round_at = 0
            self._round_generation = self.generation
        end = min(self._round_at + limit, len(self._round))
        for at in range(self._round_at, end):
            node = self._nodes.get(self._round[at])
            if node is not None and node.judged != self.generation:
                self._judge(node)
        self._round_at = end
        if end < len(self._round):
            return True
        self._round = []
        self._swept = self._round_generation
        if self._forget_at < 0.0:  # later walks do not put it off: with a purge in each it would never come
            self._forget_at = now + _REMEMBERED
            self._forgotten = self._swept
        return self._swept != self.generation

    # -- nodes

    def _live(self, key: bytes) -> KeyEntry | None:
        node = self._nodes.get(key)
        if node is not None and node.judged != self.generation and not self._judge(node):
            return None
        return node

    def _marked(self, key: bytes) -> KeyEntry | None:
        """Return an entry for a key of which nothing else is known than that its answers are not storable."""
        until = self._marks.until(key)
        if until == 0:
            return None
        entry = KeyEntry(key)
        entry.uncacheable_until = float(until)
        return entry

    def _known(self, key: bytes) -> KeyEntry | None:
        node = self._live(key)
        if node is None and len(key) + KEY_COST <= self.max_object:
            node = self._new(key, 0)
        return node

    def _new(self, key: bytes, more: int) -> KeyEntry:
        """Make a node, and room for it and `more` octets."""
        node = KeyEntry(key)
        node.judged = self.generation
        node.octets = KEY_COST + len(key)
        self._make_room(node.octets + more, None)
        self._nodes[key] = node
        self.octets += node.octets
        self._queues.come(node)
        return node

    def _grow(self, node: KeyEntry, octets: int) -> None:
        self.octets += octets
        self._queues.grow(node, octets)

    def _drop(self, node: KeyEntry) -> None:
        del self._nodes[node.key]
        self._queues.leave(node)
        self.octets -= node.octets
        self.variants -= len(node.variants)
        if len(self.loans):
            for variant in node.variants:
                self.loans.left(variant)

    def _drop_variant(self, node: KeyEntry, variant: StoredResponse) -> None:
        self._take_away(node, variant)
        self._drop_if_empty(node)

    def _take_away(self, node: KeyEntry, variant: StoredResponse) -> None:
        """Let go of a variant; the node stays, empty or not."""
        node.remove(variant)
        self.variants -= 1
        self._grow(node, -variant.size)
        if len(self.loans):
            self.loans.left(variant)

    def _drop_if_empty(self, node: KeyEntry) -> bool:
        """Drop a node that nothing is known of any more; True: it is gone."""
        if node.first is not None or node.uncacheable_until != 0.0 or node.invalid_before != 0.0:
            return False
        self._drop(node)
        return True

    def _judge(self, node: KeyEntry) -> bool:
        """Try a node against the purges since it was last judged; False: nothing of it is left."""
        for variant in node.variants:
            verdict = self.purges.judge(node.key, variant.tags, variant.generation)
            if verdict == KEEP:
                variant.generation = self.generation
            elif verdict == GONE:
                self.purged += 1
                self._take_away(node, variant)
            else:
                variant.flags |= INVALIDATED if verdict == INVALID else SOFT_PURGED
                variant.generation = self.generation
        node.judged = self.generation
        return not self._drop_if_empty(node)

    # -- storing, in steps

    def _is_dead(self, node: KeyEntry | None, variant: StoredResponse) -> bool:
        """Whether a response was purged or invalidated while it was under way; one purged softly is marked."""
        if node is not None and variant.request_time < node.invalid_before:
            return True
        verdict = self.purges.judge(variant.key, variant.tags, variant.generation)
        if verdict in (GONE, INVALID):
            return True
        if verdict != KEEP:
            variant.flags |= SOFT_PURGED
            for other in node.variants if node is not None else ():
                is_good = other.flags & (SOFT_PURGED | INVALIDATED) == 0
                if is_good and other.vary == variant.vary and other.request_time >= variant.request_time:
                    return True  # that one was asked for since
        return False

    def _replace(self, node: KeyEntry, variant: StoredResponse) -> None:
        """Take away what has the same selecting values; the node stays, empty or not."""
        for other in node.variants:
            if other is variant or other.vary == variant.vary:
                self._take_away(node, other)
                return

    def _shorten(self, node: KeyEntry, cost: int) -> None:
        """Let a key have one more variant of `cost` octets: its oldest ones go."""
        while node.variants and (
            len(node.variants) >= self.max_variants or node.octets + cost > self._max_key
        ):
            other = node.variants[0]
            self.displaced += 1
            self._take_away(node, other)

    def _make_room(self, octets: int, keep: KeyEntry | None) -> None:
        """Evict until `octets` more fit; `keep` stays."""
        while self.octets + octets > self.budget:
            node = self._queues.victim(keep)
            if node is None:
                return
            self._evict(node)

    def _evict(self, node: KeyEntry) -> None:
        claims = self.claims
        if claims is not None:
            claims.let_go(node.key)
        self.evictions += 1
        self.evicted_octets += node.octets
        self._drop(node)
