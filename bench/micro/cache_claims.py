"""What it costs that workers make one request together, where nobody else wants the same:
`python -m bench.micro.cache_claims [UNDER_WAY ...]`.

A miss that is not stored claims its key and gives it back; one that is stored says as well that it has it. UNDER_WAY
other keys are claimed at the same time, by another process. CPU of this process, of which the kernel's is a third.
"""

import argparse
import os
import time
from collections.abc import Callable

from headgate.cache.claims import Claims

UNDER_WAY = (0, 64, 4096)
KEYS = [b"https://www.example.com/some/path/%d" % number for number in range(50_000)]


def claimed(claims: Claims, count: int) -> int:
    """Fork a process that claims so many keys until it is killed; return its id."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        claims.belong(1)
        for number in range(count):
            claims.take(b"%d" % number)
        os.write(told, b".")
        time.sleep(600)
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(told)
    return pid


def microseconds(work: Callable[[bytes], None]) -> float:
    """Return the CPU that one key takes, the least of some rounds."""
    found = []
    for _ in range(5):
        begun = time.process_time()
        for key in KEYS:
            work(key)
        found.append((time.process_time() - begun) * 1e6 / len(KEYS))
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("under_way", nargs="*", type=int, default=UNDER_WAY)
    for count in parser.parse_args().under_way:
        claims = Claims()
        pid = claimed(claims, count)
        claims.belong(0)

        def miss(key: bytes, claims: Claims = claims) -> None:
            claims.take(key)
            claims.give_back(key)

        def stored(key: bytes, claims: Claims = claims) -> None:
            claims.take(key)
            claims.hold(key)
            claims.give_back(key)

        print(
            f"{count:5} others under way: {microseconds(miss):5.2f} µs a miss, {microseconds(stored):5.2f} if stored"
        )
        os.kill(pid, 9)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
