"""Load over HTTP/2: nghttp2's h2load, over TLS, and held to its word: every answer is a 2xx, and none is missing."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

from bench import certs
from bench.load import LoadError, Outcome

PROGRAM: Final = "h2load"
PACKAGE: Final = "nghttp2-client"
# Servers send connections away after some ten thousand requests, and h2load takes what is left for failed.
MOST: Final = 9000
PATIENCE: Final = 120.0
_FINISHED: Final = re.compile(r"finished in ([0-9.]+)(us|ms|s|m)?(?:([0-9]+)s)?,")
_REQUESTS: Final = re.compile(r"requests: (\d+) total, .* (\d+) succeeded, (\d+) failed")
_STATUS: Final = re.compile(r"status codes: (\d+) 2xx")
_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True)
class H2Load:
    """What is asked for: `streams` at a time on each of `connections`."""

    path: str = "/"
    connections: int = 16
    streams: int = 8
    headers: tuple[str, ...] = ()


def absent() -> str | None:
    """Say why there is no load over HTTP/2, or None."""
    return None if shutil.which(PROGRAM) else f"no {PROGRAM} here (Debian: apt install {PACKAGE})"


def outcome(said: str, count: int) -> Outcome:
    """Read what h2load has printed.

    Raises:
        LoadError: fewer than `count` answers were a 2xx.
    """
    finished, requests, status = (pattern.search(said) for pattern in (_FINISHED, _REQUESTS, _STATUS))
    if finished is None or requests is None or status is None:
        raise LoadError(f"{PROGRAM} said nothing of its requests: {said.strip()[-500:]}")
    if not int(requests[2]) == int(status[1]) == count:
        raise LoadError(f"{PROGRAM}: {requests[0]}; {status[0]}")
    seconds = float(finished[1]) * _UNITS[finished[2] or "s"] + float(finished[3] or 0)
    return Outcome(count, seconds, 0.0, 0.0, 0)


def requests(port: int, load: H2Load, each: int, core: int) -> Outcome:
    """Ask `each` times on every connection of `load`, all at once.

    Raises:
        LoadError: an answer did not come, or was none.
    """
    count = each * load.connections
    command = [
        "taskset",
        "-c",
        str(core),
        PROGRAM,
        f"-n{count}",
        f"-c{load.connections}",
        f"-m{load.streams}",
    ]
    command += [f"--connect-to=127.0.0.1:{port}", "--npn-list=h2"]
    for line in load.headers:
        command += ["-H", line]
    command.append(f"https://{certs.host(0)}:{port}{load.path}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise LoadError(f"{PROGRAM} {load.path}: not over after {PATIENCE:.0f} s") from None
    return outcome(done.stdout + done.stderr, count)
