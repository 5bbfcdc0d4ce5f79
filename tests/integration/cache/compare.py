"""The public suite of HTTP caches, from the command line.

python -m tests.integration.cache.compare                   all that are here, into bench/results/cache-tests.json:
                                                            with a gate that is compiled, as it is installed
python -m tests.integration.cache.compare headgate ID...    some tests of one, with what they depend on
"""

import json
import os
import re
import sys
from typing import Final

from tests.integration.cache import peers, suite

RESULTS: Final = suite.ROOT / "bench" / "results" / "cache-tests.json"


def is_compiled(version: str) -> bool:
    """Whether `headgate --version` says that all modules are compiled that should be."""
    return re.search(r", compiled (\d+)/\1$", version) is not None


def main() -> int:
    """Run one peer and show it, or all, and keep what they reached."""
    if len(sys.argv) > 1:
        print(suite.table(suite.run(peers.STARTS[sys.argv[1]], *sys.argv[2:])))
        return 0
    gate = peers.version("headgate")
    if not is_compiled(gate):
        where = f"{sys.executable}, PYTHONPATH {os.environ.get('PYTHONPATH') or 'not set'}"
        print(
            f"{gate} ({where}): results are those of the compiled package, and nothing was run",
            file=sys.stderr,
        )
        return 2
    found = {}
    for name, start in peers.STARTS.items():
        version = peers.version(name)
        if not version:
            print(f"{name}: not here")
            continue
        rows = suite.run(start)
        found[name] = suite.report(rows, version)
        print(f"== {name} {version}\n{suite.table(rows)}", flush=True)
    RESULTS.write_text(
        json.dumps({"suite": f"http-cache-tests {suite.VERSION}", "peers": found}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
