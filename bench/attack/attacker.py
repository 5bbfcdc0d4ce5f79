"""One attack in a process of its own: `python -m bench.attack.attacker VERSION NAME HOST PORT SECONDS`.

It runs at the lowest priority: it may use all that the others on its core leave, which is how an attacker elsewhere
would look to them. Prints one line of JSON.
"""

import json
import os
import sys
import time

from bench.attack.aim import Aim
from bench.attack.attacks import ATTACKS
from bench.attack.h2_attacks import H2_ATTACKS
from bench.attack.h2_target import H2Target
from bench.attack.target import Target


def main(version: str, name: str, host: str, port: str, seconds: str) -> int:
    """Attack."""
    os.nice(19)
    end = time.monotonic() + float(seconds)
    target: Aim
    if version == "h2":
        target = H2Target(host, int(port), end)
        H2_ATTACKS[name].run(target)
    else:
        target = Target(host, int(port), end)
        ATTACKS[name].run(target)
    print(
        json.dumps(
            {
                "packets": target.packets,
                "connections": target.connections,
                "failed": target.failed,
                "closes": dict(target.closes),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
