"""The cache in memory: one for each worker, bounded in octets, which are counted exactly.

S3-FIFO (Yang et al., SOSP 2023; Traffic Server has it since 2026, for it beat LRU and CLFUS on each of their traces):
what is new goes into a small queue, a tenth of the budget. At its end, what was asked for twice meanwhile moves to
the main queue; the rest leaves and stays known as a ghost for a while, and who comes back as a ghost goes into the
main queue at once. At the end of the main queue, each use since buys another round. So a scan of things that are
asked for once never empties the cache, which SIEVE does not promise, and a hit moves nothing: it counts to three.

A node is a key with all its variants (KeyEntry): they come and go together. Whoever reads a response holds it, so
that eviction never takes content from under a reader; what a slow one holds then is counted in `loans`.

Purges are in purges.py: a node remembers up to which generation it was judged, and the look-up of a judged one is a
dictionary's, two comparisons and a count. `sweep` walks what nobody asks for.
"""

import gc
from array import array
from typing import Final, final

from mypy_extensions import i64

from headgate.cache.claims import Claims
from headgate.cache.entry import INVALIDATED, SOFT_PURGED, KeyEntry, MemoryBody, StoredResponse
from headgate.cache.loans import Loans
from headgate.cache.partial import PartialBody
from headgate.cache.policy import VARIANTS
from headgate.cache.purges import GONE, INVALID, KEEP, Purges
from headgate.cache.store.bodies import CheckedBody
from headgate.cache.untracked import untrack

_MAX_USES: Final = 3
_USES_TO_STAY: Final = 2  # in the small queue
# An eviction looks at this many nodes in use before it takes one: no put ever walks a million of them.
_SECOND_CHANCES: Final = 64
# Purges that everything stored was tried against stay in force this long for responses under way, in seconds.
_REMEMBERED: Final = 60.0
# One object has at most an eighth of the budget, one key a quarter: no stranger's choice of a URL empties the rest.
OBJECT_SHARE: Final = 8
_KEY_SHARE: Final = 4

# What CPython and malloc spend beside the octets themselves, measured (tests/unit/cache/test_memory.py). Interpreted,
# each number of a record is an object of its own, and each record has the header of the collector.
_INTERPRETED: Final = 1 if gc.is_tracked(KeyEntry(b"")) else 0
KEY_COST: Final = 250 + 60 * _INTERPRETED  # node, key, slot of the dictionary
VARIANT_COST: Final = 310 + 130 * _INTERPRETED  # the record with its numbers, what is packed in one
BODY_COST: Final = 50 + 40 * _INTERPRETED  # content that is not packed
FILE_COST: Final = 540 + 60 * _INTERPRETED  # content in a file: its name, twice, and what of it was checked
BLOCK_COST: Final = 42  # a checksum of it
CHUNK_COST: Final = 48  # a piece of content: its bytes object
_PLACE_COST: Final = 40  # where there are several: its place, and two slots in lists
_PLACES_COST: Final = 150  # those lists
PARTS_COST: Final = 450  # content with gaps: its record and four lists
PART_COST: Final = 250  # one part of it: its body, its slots in the lists, two numbers
PAIR_COST: Final = 190  # a selecting field: two bytes objects and two tuples
_OCTETS_COST: Final = 64  # bytes of their own: ETag, tags


def cost_of(variant: StoredResponse) -> int:
    """Return how many octets of memory a response takes, content included where it is in memory."""
    cost = VARIANT_COST + variant.octets_packed
    if variant.etag:
        cost += _OCTETS_COST + len(variant.etag)
    for name, value in variant.vary:
        cost += PAIR_COST + len(name) + len(value)
    for tag in variant.tags:
        cost += _OCTETS_COST + len(tag)
    if variant.is_packed:
        return cost
    body = variant.body
    if isinstance(body, MemoryBody):
        cost += BODY_COST + _cost_of_content(body)
    elif isinstance(body, PartialBody):
        cost += _cost_of_parts(body)
    elif isinstance(body, CheckedBody):
        cost += _cost_of_file(body)
    return cost


def _cost_of_file(body: CheckedBody) -> int:
    return FILE_COST + BLOCK_COST * len(body.content().blocks)


def _cost_of_content(body: MemoryBody) -> int:
    count = body.count
    cost = body.size + CHUNK_COST * count
    return cost + _PLACES_COST + _PLACE_COST * count if count > 1 else cost


def _cost_of_parts(body: PartialBody) -> int:
    """Count each body once, and all of it: of one that fills several gaps, or a small one, all is held."""
    cost = PARTS_COST
    counted: set[int] = set()
    for part in body.bodies:
        cost += PART_COST
        if isinstance(part, MemoryBody) and id(part) not in counted:
            counted.add(id(part))
            cost += _cost_of_content(part)
        elif isinstance(part, CheckedBody):
            cost += _cost_of_file(part)
    return cost


@final
class _Queue:
    """Nodes in the order in which they came, doubly linked: any may leave."""

    __slots__ = ("count", "newest", "octets", "oldest")

    def __init__(self) -> None:
        self.count = 0
        self.octets = 0
        self.newest: KeyEntry | None = None
        self.oldest: KeyEntry | None = None

    def push(self, node: KeyEntry) -> None:
        newest = self.newest
        node.older = newest
        node.newer = None
        if newest is None:
            self.oldest = node
        else:
            newest.newer = node
        self.newest = node
        self.count += 1
        self.octets += node.octets

    def remove(self, node: KeyEntry) -> None:
        older, newer = node.older, node.newer
        if older is None:
            self.oldest = newer
        else:
            older.newer = newer
        if newer is None:
            self.newest = older
        else:
            newer.older = older
        node.older = node.newer = None
        self.count -= 1
        self.octets -= node.octets


@final
class _Ghosts:
    """Keys that left the small queue lately: a table of fingerprints with the moment of leaving, 8 octets each.

    Two keys in one place: the later one stays. A wrong answer, one in 2**31, costs a place in the main queue.
    """

    __slots__ = ("_mask", "_moment", "_table")

    def __init__(self, places: int) -> None:
        size = 1024
        while size < places and size < 1 << 20:
            size *= 2
        self._mask: i64 = size - 1
        self._moment: i64 = 0
        self._table = array("q", bytes(8 * size))

    def add(self, key: bytes) -> None:
        self._moment = (self._moment + 1) & 0x7FFFFFFF
        mixed = i64(hash(key)) & 0x3FFFFFFFFFFFFFFF
        self._table[mixed & self._mask] = ((mixed >> 31) << 31) | self._moment

    def take(self, key: bytes, span: int) -> bool:
        """Tell whether `key` left within the last `span` departures, and forget it."""
        mixed = i64(hash(key)) & 0x3FFFFFFFFFFFFFFF
        place = mixed & self._mask
        found = i64(self._table[place])
        if found == 0 or found >> 31 != mixed >> 31:
            return False
        self._table[place] = 0
        return ((self._moment - found) & 0x7FFFFFFF) < span


@final
class _Marks:
    """Keys whose answers were not storable: a table of fingerprints with the second until which that counts, 8 octets
    each, where a node would be fifty times as much for every URL that somebody makes up.

    Two keys in one place: the later one stays. A wrong answer, one in 2**30: somebody does not wait for another.
    """

    __slots__ = ("_mask", "_table")

    def __init__(self, places: int) -> None:
        size = 1024
        while size < places and size < 1 << 20:
            size *= 2
        self._mask: i64 = size - 1
        self._table = array("q", bytes(8 * size))

    def set(self, key: bytes, until: float) -> None:
        mixed = i64(hash(key)) & 0x3FFFFFFFFFFFFFFF
        self._table[mixed & self._mask] = ((mixed >> 32) << 32) | min(int(until), 0xFFFFFFFF)

    def until(self, key: bytes) -> int:
        """Return the second, 0 for none."""
        mixed = i64(hash(key)) & 0x3FFFFFFFFFFFFFFF
        found = i64(self._table[mixed & self._mask])
        return int(found & 0xFFFFFFFF) if found >> 32 == mixed >> 32 else 0

    def clear(self, key: bytes) -> None:
        if self.until(key):
            self._table[hash(key) & self._mask] = 0


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
        "_ghosts",
        "_main",
        "_marks",
        "_max_key",
        "_nodes",
        "_round",
        "_round_at",
        "_round_generation",
        "_small",
        "_small_share",
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
        self._small_share = budget // 10
        self._nodes: dict[bytes, KeyEntry] = {}
        untrack(self._nodes)
        self._small = _Queue()
        self._main = _Queue()
        self._ghosts = _Ghosts(budget // 8192)
        self._marks = _Marks(budget // 1024)
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
        if node.uses < _MAX_USES:
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
        node.is_main = self._ghosts.take(key, max(self._main.count, 64))
        self._nodes[key] = node
        self.octets += node.octets
        (self._main if node.is_main else self._small).push(node)
        return node

    def _grow(self, node: KeyEntry, octets: int) -> None:
        node.octets += octets
        self.octets += octets
        (self._main if node.is_main else self._small).octets += octets

    def _drop(self, node: KeyEntry) -> None:
        del self._nodes[node.key]
        (self._main if node.is_main else self._small).remove(node)
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
        others = 0 if keep is None else 1
        while self.octets + octets > self.budget and self._small.count + self._main.count > others:
            if self._main.count == 0 or (self._small.count and self._small.octets > self._small_share):
                self._evict_small(keep)
            else:
                self._evict_main(keep)

    def _evict_small(self, keep: KeyEntry | None) -> None:
        """The oldest of the small queue moves on to the main queue or leaves."""
        node = self._small.oldest
        if node is None:
            return
        if node is not keep and node.uses < _USES_TO_STAY:
            self._ghosts.add(node.key)
            self._evict(node)
            return
        self._small.remove(node)
        node.is_main = True
        node.uses = 0
        self._main.push(node)

    def _evict_main(self, keep: KeyEntry | None) -> None:
        """The oldest of the main queue that nobody used leaves."""
        for _ in range(_SECOND_CHANCES):
            node = self._main.oldest
            if node is None:
                return
            if node is not keep and node.uses == 0:
                self._evict(node)
                return
            if node.uses:
                node.uses -= 1
            self._main.remove(node)
            self._main.push(node)
        node = self._main.oldest
        if node is not None and node is not keep:
            self._evict(node)

    def _evict(self, node: KeyEntry) -> None:
        claims = self.claims
        if claims is not None:
            claims.let_go(node.key)
        self.evictions += 1
        self.evicted_octets += node.octets
        self._drop(node)
