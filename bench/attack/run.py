"""`python -m bench.attack [--version h3|h2] [--only NAME …] [--seconds 20] [--target headgate|aioquic] [--json FILE]`

A gate with one worker runs on one core; on the other run an attack at full speed and a well-behaved client that
sends a small request 50 times a second. Each row says what the worker's memory became, how long the good client
waited, how the attack's connections were closed and which counters moved. It fails where memory has grown by more
than 16 MiB since before the first attack (over HTTP/2: 8 MiB since before this one), where the good client's p99 is
above three times its quiet value and above 20 ms, where a connection was not closed by the code that is right, where
the counter of an attack did not move or its connections did not come about, and where the worker died.

All of it runs in a network namespace of its own (`bench/network`).

Where others use the machine, too: `nice -n -19 python -m bench.attack …`, which leaves the attacker at 0.

Figures of others go to bench/results/attack-rivals.json, which git ignores.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from bench import network
from bench.attack.aim import Attack
from bench.attack.attacks import ATTACKS
from bench.attack.gate import Headgate, Server, memory, running
from bench.attack.h2_attacks import H2_ATTACKS

MOST_MEMORY: Final = {"h3": 16 * 1024 * 1024, "h2": 8 * 1024 * 1024}
KNOWN: Final = {"h3": ATTACKS, "h2": H2_ATTACKS}
GOOD: Final = {"h3": "bench.attack.good", "h2": "bench.attack.h2_good"}
MOST_P99: Final = 0.020
TIMES_QUIET: Final = 3.0
QUIET_SECONDS: Final = 4.0
WARM_UP_SECONDS: Final = 2.0
# What may be wrong where an attack did not come far enough, as on a machine that others use: longer, it is not.
NOTHING_SENT: Final = "nothing was sent"
NOT_CONNECTED: Final = "no connection came about"
NOT_CLOSED: Final = "not closed"
NOT_MOVED: Final = "did not move"
TOO_SHORT: Final = (NOTHING_SENT, NOT_CONNECTED, NOT_CLOSED, NOT_MOVED)
RESULTS: Final = Path(__file__).parents[1] / "results"


@dataclass
class Row:
    """What one attack came to; times in milliseconds, memory in MiB since before the first attack.

    `memory_before`: what the attacks before have left. It counts for this one, too, over HTTP/3; over HTTP/2 not.
    """

    name: str
    seconds: float = 0.0
    packets: int = 0
    connections: int = 0
    failed: int = 0
    closes: dict[str, int] = field(default_factory=dict)
    p50: float = 0.0
    p99: float = 0.0
    lost: int = 0
    reconnected: int = 0
    memory_before: float = 0.0
    memory_peak: float = 0.0
    memory_after: float = 0.0
    counters: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


def good(server: Server, seconds: float) -> subprocess.Popen[bytes]:
    """Start the well-behaved client."""
    command = [sys.executable, "-m", GOOD[server.version], "127.0.0.1", str(server.port)]
    return subprocess.Popen(
        [*command, "--local", "127.0.0.2", "--seconds", str(seconds)], stdout=subprocess.PIPE
    )


def told(process: subprocess.Popen[bytes], seconds: float) -> dict[str, object]:
    """Return the line of JSON that a process ends with."""
    try:
        output, _ = process.communicate(timeout=seconds + 60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {}
    found: dict[str, object] = json.loads(output or b"{}")
    return found


def percentile(latencies: list[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    return latencies[min(int(len(latencies) * share), len(latencies) - 1)] * 1000 if latencies else 1e9


def take_good(row: Row, said: dict[str, object]) -> None:
    """Put what the good client saw into a row."""
    latencies = said.get("latencies")
    times = [float(one) for one in latencies] if isinstance(latencies, list) else []
    row.p50, row.p99 = percentile(times, 0.5), percentile(times, 0.99)
    row.lost = int(str(said.get("lost", 0)))
    row.reconnected = int(str(said.get("connections", 1))) - 1


def attack(server: Server, name: str, seconds: float, base: int) -> Row:
    """Run one attack, with the good client beside it."""
    row = Row(name, seconds)
    before = server.counters()
    if server.version == "h2":
        row.memory_before = (memory(server.pids) - base) / 2**20
    client = good(server, seconds)
    time.sleep(0.3)
    attacker = subprocess.Popen(
        [
            *(sys.executable, "-m", "bench.attack.attacker", server.version, name),
            *("127.0.0.1", str(server.port), str(seconds)),
        ],
        stdout=subprocess.PIPE,
    )
    peak = 0
    while attacker.poll() is None:
        peak = max(peak, memory(server.pids))
        time.sleep(0.1)
    said = told(attacker, seconds)
    take_good(row, told(client, seconds))
    row.packets, row.connections = int(str(said.get("packets", 0))), int(str(said.get("connections", 0)))
    row.failed = int(str(said.get("failed", 0)))
    closes = said.get("closes")
    row.closes = closes if isinstance(closes, dict) else {}
    server.settle()
    after = server.counters()
    row.counters = {
        key: after[key] - before.get(key, 0.0) for key in after if after[key] - before.get(key, 0.0) > 0
    }
    row.memory_peak = (peak - base) / 2**20
    row.memory_after = (memory(server.pids) - base) / 2**20
    return row


def judge(row: Row, server: Server, quiet: float) -> None:
    """Say what is wrong with a row."""
    if not server.is_alive():
        row.wrong.append("the server died")
    growth = row.memory_peak - row.memory_before
    if growth > MOST_MEMORY[server.version] / 2**20:
        row.wrong.append(f"memory grew by {growth:.1f} MiB")
    if row.p99 > max(TIMES_QUIET * quiet, MOST_P99 * 1000):
        row.wrong.append(f"the good client's p99 is {row.p99:.1f} ms")
    if row.reconnected:
        row.wrong.append(f"the good client was cut off {row.reconnected} times")
    if isinstance(server, Headgate):
        row.wrong += wrong_answers(row, KNOWN[server.version][row.name])


def wrong_answers(row: Row, expected: Attack) -> list[str]:
    """Say where a gate answered an attack otherwise than it should, or where there was no attack."""
    wrong = []
    right = expected.closes
    if not row.packets:
        wrong.append(NOTHING_SENT)
    if expected.connects and not row.connections:
        wrong.append(NOT_CONNECTED)
    if expected.gets_in and row.failed:
        wrong.append(f"{row.failed} who proved their address did not get in")
    if any(code != right for code in row.closes):
        wrong.append(f"closed by {', '.join(row.closes)}, {right or 'nothing'} is right")
    if expected.must and right and not row.closes:
        wrong.append(f"{NOT_CLOSED}, {right} is right")
    is_due = expected.counter and row.seconds >= expected.takes
    if is_due and not row.counters.get(expected.counter):
        wrong.append(f"{expected.counter} {NOT_MOVED}")
    return wrong


SHOWN: Final = (
    "quic_dropped",
    "quic_packets_dropped",
    "quic_ended",
    "quic_closed",
    "quic_answers",
    "h2_closed",
    "h2_streams",
    "refused",
    "requests_refused",
    "http_errors",
)


def show(row: Row) -> None:
    """Print a row."""
    closes = " ".join(f"{code}×{count}" for code, count in sorted(row.closes.items()))
    moved = " ".join(
        f"{key.split('{')[-1].rstrip('}')}:{value:.0f}"
        for key, value in sorted(row.counters.items(), key=lambda item: -item[1])
        if key.startswith(SHOWN)
    )
    print(
        f"{row.name:20} {row.packets:>9} {row.connections:>6} {row.p50:8.2f} {row.p99:8.2f}"
        f" {row.memory_peak:7.1f} {row.memory_after:7.1f}  {closes or '-'}  {moved[:90]}"
    )
    for wrong in row.wrong:
        print(f"{'':20} WRONG: {wrong}")
    sys.stdout.flush()


def was_too_short(row: Row) -> bool:
    """Whether what is wrong with a row may be that the attack did not come far enough."""
    return bool(row.wrong) and all(any(word in wrong for word in TOO_SHORT) for wrong in row.wrong)


def run(target: str, names: list[str], seconds: float, version: str = "h3") -> list[Row]:
    """Run the attacks against one server, one after the other: it has the first core, everybody else the last."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    try:
        return _run(target, names, seconds, (cores[0], cores[-1]), version)
    finally:
        os.sched_setaffinity(0, cores)


def _run(target: str, names: list[str], seconds: float, cores: tuple[int, int], version: str) -> list[Row]:
    rows: list[Row] = []
    with running(target, *cores, version) as server:
        warm_up, calm = min(WARM_UP_SECONDS, seconds), min(QUIET_SECONDS, 2 * seconds)
        told(good(server, warm_up), warm_up)
        quiet = Row("quiet")
        take_good(quiet, told(good(server, calm), calm))
        base = memory(server.pids)
        print(f"{target}: {base / 2**20:.1f} MiB, {seconds:g} s each")
        print(
            f"{'attack':20} {'packets':>9} {'conns':>6} {'p50 ms':>8} {'p99 ms':>8} {'MiB':>7} {'after':>7}"
        )
        show(quiet)
        rows.append(quiet)
        for name in names:
            row = attack(server, name, seconds, base)
            judge(row, server, quiet.p99)
            show(row)
            rows.append(row)
            if not server.is_alive():
                break
        if isinstance(server, Headgate):
            for line in server.crashes()[:5]:
                rows[-1].wrong.append(line)
                print(f"WRONG: {line}")
    return rows


def main(arguments: list[str]) -> int:
    """Run as the command line says; 1 where something was wrong."""
    parser = argparse.ArgumentParser(prog="bench.attack", description=__doc__)
    parser.add_argument("--version", choices=("h3", "h2"), default="h3")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of these attacks alone")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--target", choices=("headgate", "aioquic"), default="headgate")
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args(arguments)
    names = given.only or list(KNOWN[given.version])
    unknown = [name for name in names if name not in KNOWN[given.version]]
    if unknown:
        parser.error(f"no attack of {given.version} is called {', '.join(unknown)}")
    if given.version == "h2" and given.target != "headgate":
        parser.error("the attacks over HTTP/2 go to headgate alone")
    where = network.enter(print)
    print(f"network: {where.name}, congestion control: {where.congestion}")
    rows = run(given.target, names, given.seconds, given.version)
    path = given.json
    if path is None and given.target != "headgate":
        path = RESULTS / "attack-rivals.json"  # git ignores it
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return int(any(row.wrong for row in rows)) if given.target == "headgate" else 0
