"""Whether the index can be read after the machine went down and it was not closed: a child walks through it.

A page that is not what it should be may crash whoever reads it: then the child is what dies.
"""

import os
import signal
from typing import Final

import lmdb

from headgate.cache.store import layout
from headgate.cache.store.format import CorruptError

_CHECK_TIMEOUT: Final = 20.0


def check_in_child(root: str, budget: int) -> None:
    """Walk through the index in a child process; raises CorruptError where the child does not come back well."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(int(_CHECK_TIMEOUT))
            _walk(root, budget)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise CorruptError(
            f"after the machine went down, the walk through the index ended with status {status}"
        )


def _walk(root: str, budget: int) -> None:
    """Touch every page that holds keys, and see that the tables agree."""
    env = lmdb.open(
        f"{root}/index", map_size=layout.map_size(budget), max_dbs=4, readonly=True, lock=False, create=False
    )
    layout.check_length(env, root)
    objects, order = env.open_db(layout.OBJECTS, create=False), env.open_db(layout.ORDER, create=False)
    counts = []
    with env.begin() as txn:
        for table in (objects, order):
            last = b""
            count = 0
            for key in txn.cursor(table).iternext(keys=True, values=False):
                if key <= last:
                    raise CorruptError("keys are out of order")
                last = bytes(key)
                count += 1
            counts.append(count)
    if counts[0] != counts[1]:
        raise CorruptError(f"{counts[0]} objects, {counts[1]} in the order")
