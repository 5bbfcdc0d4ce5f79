"""What a stored response takes of memory, content included where it is there: in octets, never fewer than are used.

Python says of no object what malloc spends on it, so what is beside the octets themselves are constants, measured
(tests/unit/cache/test_cost.py).
"""

import gc
from typing import Final

from headgate.cache.entry import KeyEntry, MemoryBody, StoredResponse
from headgate.cache.pieces import (
    PartialBody,
)
from headgate.cache.store.bodies import CheckedBody

# Interpreted, each number of a record is an object of its own, and each record has the header of the collector.
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
NAMES_COST: Final = 72  # a list of names that no other response has
NAME_COST: Final = 48  # one of them: its slot, and a bytes object


def cost_of(variant: StoredResponse) -> int:
    """Return how many octets of memory a response takes, content included where it is in memory."""
    cost = VARIANT_COST + variant.octets_packed
    if variant.etag:
        cost += _OCTETS_COST + len(variant.etag)
    for name, value in variant.vary:
        cost += PAIR_COST + len(name) + len(value)
    for tag in variant.tags:
        cost += _OCTETS_COST + len(tag)
    names = variant.own_names
    if names:
        cost += NAMES_COST
        for name in names:
            cost += NAME_COST + len(name)
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
