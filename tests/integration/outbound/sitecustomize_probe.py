"""Loaded by a gate under test in place of `sitecustomize`: on SIGUSR2 each of its processes writes what it holds, by
class, to the folder OUTBOUND_PROBE: what leaks shows there whatever holds it.
"""

import gc
import json
import os
import signal
from collections import Counter

_folder = os.environ["OUTBOUND_PROBE"]
_COUNTED = {"Endpoint": ("active", "dialling"), "Pool": ("idle", "warming")}


def _held() -> "Counter[str]":
    gc.collect()
    held: Counter[str] = Counter()
    for one in gc.get_objects():
        name = type(one).__name__
        held[name] += 1
        if name in _COUNTED and type(one).__module__.startswith("headgate."):
            for what in _COUNTED[name]:
                value = getattr(one, what, 0)
                held[f"{name}.{what}"] += len(value) if isinstance(value, list) else value
    return held


def _tell(_number: int, _frame: object) -> None:
    path = os.path.join(_folder, str(os.getpid()))
    try:
        told = json.dumps(_held())
    except Exception as error:  # a defect here must not be one of the gate's loop
        told = json.dumps({"error": repr(error)})
    with open(f"{path}.tmp", "w", encoding="ascii") as file:
        file.write(told)
    os.rename(f"{path}.tmp", f"{path}.json")


signal.signal(signal.SIGUSR2, _tell)
