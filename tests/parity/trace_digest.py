"""Print how the HTTP/1.1 engine is loaded and a digest of what it does: the same for compiled and pure modules.

    python tests/parity/trace_digest.py COUNT

Runs the corpus of the fuzz target and mutations of it through both roles, whole and in pieces, and what both roles
write. The first line says "compiled" or "pure", the second is a digest of all traces, the third counts their lines,
the fourth is the folder of the engine.
"""

import hashlib
import importlib.machinery
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from fuzz import h1

from headgate.engine.h1 import chunked, client, connection, grammar, machine, server

MODULES = (chunked, client, connection, grammar, machine, server)


def mode():
    """Tell how the engine's modules are loaded; "mixed" is a broken installation."""
    suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
    compiled = {str(module.__file__).endswith(suffixes) for module in MODULES}
    return "mixed" if len(compiled) > 1 else "compiled" if compiled.pop() else "pure"


def traces(count):
    """Return every line of every trace of the first `count` inputs."""
    source = h1.Inputs(9112)
    lines = []
    for _ in range(count):
        role, data, pieces, max_head = source.draw()
        for parts in ([data], pieces):
            if role == "server":
                lines += h1.server_trace(parts, max_head=max_head)
            else:
                methods = {"client-head": (b"HEAD", b"GET"), "client-connect": (b"CONNECT",)}.get(
                    role, (b"GET",)
                )
                lines += h1.client_trace(parts, methods=methods, max_head=max_head)
    return lines


def main():
    lines = traces(int(sys.argv[1]))
    print(mode())
    print(hashlib.sha256("\n".join(lines).encode()).hexdigest())
    print(len(lines))
    print(Path(str(grammar.__file__)).parent)


if __name__ == "__main__":
    main()
