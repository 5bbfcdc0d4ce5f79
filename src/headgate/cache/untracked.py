"""What is stored, out of sight of the collector of cycles.

A full collection walks every container that it knows of. With a million stored responses that is eleven million of
them, and the worker stands still for two seconds; already the middle generation takes 60 ms. None of them can be part
of a cycle: they hold octets and numbers, and reference counts free them. So the classes are compiled as acyclic,
which spares their headers too, and lists and dictionaries that stay are taken from the collector by CPython's public
PyObject_GC_UnTrack, 0.2 us each. gc.freeze() would hide whatever else lives at that moment, cycles included.

Interpreted, the instances themselves stay tracked: pauses are longer, nothing else differs.
"""

import ctypes
from collections.abc import Callable
from typing import Any


def _untrack() -> Callable[[list[Any] | dict[Any, Any]], None]:
    """Return the function of this interpreter, one that does nothing where there is none."""
    try:
        return ctypes.PYFUNCTYPE(None, ctypes.py_object)(("PyObject_GC_UnTrack", ctypes.pythonapi))
    except (AttributeError, OSError):  # not CPython
        return lambda container: None


# For lists and dictionaries alone, for these are known to the collector always: others have no such header. What
# they hold must refer to nothing that holds them.
untrack = _untrack()
