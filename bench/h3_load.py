"""Load over HTTP/3: ngtcp2's gtlsclient, one process for each connection (Debian's h2load has no QUIC).

It asks for as many streams at a time as the server allows, which is 100 of nearly everybody, until it has had so many
answers. It says nothing of them but that they came: rows look at one answer themselves before they believe it.
Nor does it send fields of our choice: where a row wants those, the curl of $HEADGATE_RIVALS asks.
"""

import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import certs
from bench.h3_client import H3Client
from bench.load import LoadError, Outcome

PROGRAM: Final = "gtlsclient"
PACKAGE: Final = "ngtcp2-client"
CURL: Final = "usr/bin/curl"
# Every server sends connections away after some thousand requests.
MOST: Final = 5000
PATIENCE: Final = 60.0


@dataclass(frozen=True)
class H3Load:
    """What is asked for, over how many connections at a time; with `headers` curl asks."""

    path: str = "/"
    connections: int = 16
    headers: tuple[str, ...] = ()


def absent() -> str | None:
    """Say why there is no load over HTTP/3, or None."""
    return None if shutil.which(PROGRAM) else f"no {PROGRAM} here (Debian: apt install {PACKAGE})"


def curl_absent(root: Path | None) -> str | None:
    """Say why there is no load with fields of our choice, or None."""
    if root is None:
        return "no $HEADGATE_RIVALS: a curl with HTTP/3 is taken from there"
    return None if (root / CURL).exists() else f"no {CURL} under {root}"


def _run(command: list[str], what: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise LoadError(f"{what}: not over after {PATIENCE:.0f} s") from None
    if done.returncode:
        raise LoadError(f"{what}: status {done.returncode}: {done.stderr.strip()[-500:]}")
    return done.stdout


def _gtlsclient(port: int, load: H3Load, count: int, core: int) -> None:
    command = ["taskset", "-c", str(core), PROGRAM, "-q", "--timeout=20s", "--exit-on-all-streams-close"]
    command += [f"-n{count}", "127.0.0.1", str(port), f"https://{certs.host(0)}:{port}{load.path}"]
    _run(command, f"{PROGRAM} {load.path}")


def _curl(root: Path, port: int, load: H3Load, count: int, core: int) -> None:
    command = ["taskset", "-c", str(core), "chroot", str(root), f"/{CURL}", "--http3-only", "-sSk"]
    command += [
        "--parallel",
        "--parallel-max",
        "16",
        "-o",
        "/dev/null",
        "-w",
        "%{http_version} %{http_code}\\n",
    ]
    command += ["--connect-to", f"::127.0.0.1:{port}"]
    for line in load.headers:
        command += ["-H", line]
    said = _run([*command, f"https://{certs.host(0)}:{port}{load.path}?[1-{count}]"], f"curl {load.path}")
    good = said.split("\n").count("3 200")
    if good != count:
        raise LoadError(f"curl {load.path}: {good} of {count} answers were a 200 over HTTP/3")


def requests(port: int, load: H3Load, each: int, core: int, root: Path | None = None) -> Outcome:
    """Ask `each` times on every connection of `load`, all at once; `root` is where a curl with HTTP/3 is.

    Raises:
        LoadError: a client did not get its answers.
    """
    begin = time.perf_counter()
    with ThreadPoolExecutor(load.connections) as pool:
        if load.headers and root is not None:
            running = [pool.submit(_curl, root, port, load, each, core) for _ in range(load.connections)]
        else:
            running = [pool.submit(_gtlsclient, port, load, each, core) for _ in range(load.connections)]
        for done in running:
            done.result()
    return Outcome(each * load.connections, time.perf_counter() - begin, 0.0, 0.0, 0)


def handshakes(port: int, seconds: float) -> Outcome:
    """Connect, ask once, close, for `seconds`: our own client, because to start a program for each connection makes
    the caches of a small machine cold, which is all that such a row would show.

    Raises:
        LoadError: the client did not get its answer.
    """
    begin = time.perf_counter()
    count = 0
    while time.perf_counter() - begin < seconds:
        with H3Client(port, certs.host(0)) as client:
            client.get("/")
        count += 1
    return Outcome(count, time.perf_counter() - begin, 0.0, 0.0, 0)
