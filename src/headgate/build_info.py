"""What was built: the version, and how much of the hot code is compiled.

`COMPILED` repeats the list in pyproject.toml, which an installed package does not have; a test holds them together.
"""

import importlib.machinery
import importlib.util
from typing import Final

from headgate import __version__

COMPILED: Final[tuple[str, ...]] = ()


def is_compiled(module: str) -> bool:
    """Tell whether `module` would be loaded from a compiled file; it is not imported."""
    spec = importlib.util.find_spec(module)
    origin = spec.origin if spec is not None else None
    return origin is not None and origin.endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))


def compiled_words() -> str:
    """Return "compiled 31/31", or "pure" when nothing is."""
    count = sum(is_compiled(module) for module in COMPILED)
    return f"compiled {count}/{len(COMPILED)}" if count else "pure"


def version_line() -> str:
    """Return what `headgate --version` prints."""
    return f"headgate {__version__}, {compiled_words()}"
