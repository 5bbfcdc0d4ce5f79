"""Print how the HTTP/2 engine is loaded and a digest of what it does: the same for compiled and pure modules.

    python tests/parity/h2_digest.py COUNT

Runs the inputs of the fuzz target through both roles, whole, in pieces, and with answers and resets in between. The
lines are those of `trace_digest`: mode, digest, how many lines, the folder of the engine.
"""

import hashlib
import importlib
import importlib.machinery
import random
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from fuzz import h2
from fuzz._common import split

from headgate import build_info

PACKAGES = ("headgate.engine.h2.", "headgate.engine.message.")
MODULES = [name for name in build_info.COMPILED if name.startswith(PACKAGES)]


def mode():
    """Tell how the engine's modules are loaded; "mixed" is a broken installation."""
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    compiled = {str(importlib.import_module(name).__file__).endswith(suffixes) for name in MODULES}
    return "mixed" if len(compiled) > 1 else "compiled" if compiled.pop() else "pure"


def traces(count):
    """Return every line of every trace of the first `count` inputs."""
    source = h2.Inputs(9113)
    chance = random.Random(9113)
    lines = []
    for _ in range(count):
        is_client = chance.random() < 0.4
        octets = source.octets(is_client=is_client)
        pieces = split(octets, chance)
        runs = [h2.trace([octets], is_client=is_client), h2.trace(pieces, is_client=is_client)]
        live = h2.live(pieces, chance, is_client=is_client)
        for made, wrote in (*runs, (live, [live.written.hex()])):
            lines += [made.error, *wrote]
            lines += [
                f"{stream} {line}" for stream, several in sorted(made.lines.items()) for line in several
            ]
    return lines


def main():
    lines = traces(int(sys.argv[1]))
    print(mode())
    print(hashlib.sha256("\n".join(lines).encode()).hexdigest())
    print(len(lines))
    print(Path(str(importlib.import_module("headgate.engine.h2.machine").__file__)).parent)


if __name__ == "__main__":
    main()
