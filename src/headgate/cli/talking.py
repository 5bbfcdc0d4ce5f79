"""Finding a running gate, and what it says about its processes."""

import os
import sys
import time
from pathlib import Path
from typing import Final

from rich.console import Console

from headgate.admin.client import AdminClient
from headgate.cli.output import OK, distance, moment, print_json, size
from headgate.cli.tables import console, state_text, table
from headgate.config.defaults import CONFIG_NAME, default_runtime_dir
from headgate.errors import ConfigError

_SOCKET: Final = "admin.sock"


def find_gate(config: Path | None, runtime_dir: Path | None) -> AdminClient:
    """Return a client for the gate that the options name, or the `headgate.toml` here, or the defaults.

    Raises `ConfigError` when the file that was named cannot be used.
    """
    if runtime_dir is not None:
        return AdminClient(runtime_dir / _SOCKET)
    here = Path(CONFIG_NAME)
    if config is not None or here.is_file():
        from headgate.config.loader import load

        try:
            return AdminClient(load(config or here, files=False).admin_socket)
        except ConfigError:
            if config is not None:
                raise  # else nobody named it; it may belong to something else
    return AdminClient(default_runtime_dir(os.environ, os.geteuid()) / _SOCKET)


def show_status(gate: AdminClient, as_json: bool) -> int:
    """Print the processes, listeners and problems of a gate."""
    status = gate.status()
    if as_json:
        print_json(status)
        return OK
    out = console()
    now = time.time()
    mood = "draining" if status.get("draining") else "listening" if status.get("listening") else "starting"
    out.print(
        f"headgate {status.get('version')}, {mood}, snapshot {status.get('snapshot')}, "
        f"keeper started {moment(status.get('keeper_started'), now)}"
    )
    out.print()
    processes = table("process", "pid", "state", "memory", "files", "connections", "requests")
    for row in _rows(status.get("processes")):
        processes.add_row(
            str(row.get("name")),
            str(row.get("pid") or "-"),
            state_text(row.get("state")),
            size(row.get("memory_bytes")),
            str(row.get("open_files") or "-"),
            str(row.get("connections", "-")),
            str(row.get("requests", "-")),
        )
    out.print(processes)
    out.print()
    listeners = table("listener", "address")
    for row in _rows(status.get("addresses")):
        listeners.add_row(str(row.get("listener")), str(row.get("address")))
    out.print(listeners)
    _print_endpoints(out, status.get("endpoints"), now)
    _print_h2(out, status.get("http2"))
    _print_h2_origins(out, status.get("http2_origins"))
    _print_quic(out, status.get("quic"))
    problems = status.get("certificate_problems")
    if isinstance(problems, dict) and problems:
        out.print()
        wrong = table("certificate file", "problem")
        for file, reason in problems.items():
            wrong.add_row(str(file), str(reason))
        out.print(wrong)
    return OK


def switch_qlog(gate: AdminClient, *, is_on: bool) -> int:
    """Turn qlog on or off, and say where the files are."""
    folder = gate.switch_qlog(is_on)
    if is_on:
        sys.stdout.write(f"QUIC connections are written to {folder} until `headgate qlog off` or a restart\n")
    else:
        sys.stdout.write(f"no more is written; what was written stays in {folder}\n")
    return OK


def _print_endpoints(out: Console, endpoints: object, now: float) -> None:
    """Print how endpoints are, and what the last probe of each met."""
    rows = _rows(endpoints)
    if not rows:
        return
    out.print()
    shown = table(
        "upstream", "endpoint", "state", "since", "active", "requests", "failed", "5xx", "probe", "why"
    )
    for row in rows:
        since = row.get("since")
        state = state_text(row.get("state"))
        state.append(_how_many(row))
        shown.add_row(
            str(row.get("upstream")),
            str(row.get("endpoint")),
            state,
            distance(since - now) if isinstance(since, int | float) else "-",
            str(row.get("active")),
            str(row.get("requests")),
            str(row.get("failures")),
            str(row.get("server_errors")),
            _probe_text(row.get("probe")),
            str(row.get("why") or "-"),
        )
    out.print(shown)


def _how_many(row: dict[str, object]) -> str:
    """Say in how many workers it is so, where they differ."""
    workers = row.get("workers")
    if not isinstance(workers, dict) or len(workers) < 2:
        return ""
    return f" in {workers.get(row.get('state'))} of {sum(workers.values())}"


def _probe_text(probe: object) -> str:
    if not isinstance(probe, dict):
        return "-"
    if "detail" not in probe:
        return "under way"
    address, number = probe.get("address"), probe.get("errno")
    where = f" at {address}" if address else ""
    errno = f" (errno {number})" if number else ""
    return f"{probe.get('detail')}{where}{errno}, {probe.get('milliseconds')} ms"


def _print_h2(out: Console, h2: object) -> None:
    """Print the totals of HTTP/2 with clients, where there was any."""
    if not isinstance(h2, dict) or not h2.get("accepted"):
        return
    out.print()
    reset = h2.get("streams_reset")
    out.print(
        f"HTTP/2: {h2.get('connections')} connections open of {h2.get('accepted')} accepted, "
        f"{h2.get('requests')} requests, {h2.get('streams_given_up')} streams reset by clients, "
        f"{sum(reset.values()) if isinstance(reset, dict) else 0} by the gate"
    )
    closed = h2.get("closed")
    if isinstance(closed, dict) and closed:
        out.print(f"closed for a fault: {', '.join(f'{count} {why}' for why, count in closed.items())}")


def _print_h2_origins(out: Console, h2: object) -> None:
    """Print the totals of HTTP/2 with origins, where there was any."""
    if not isinstance(h2, dict) or not (h2.get("opened") or h2.get("declined")):
        return
    out.print()
    out.print(
        f"HTTP/2 to endpoints: {h2.get('connections')} connections open of {h2.get('opened')} opened, "
        f"{h2.get('requests')} requests; {h2.get('coalesced')} shared with another endpoint, "
        f"{h2.get('misdirected')} answers of 421 to that; {h2.get('declined')} endpoints took HTTP/1.1"
    )
    for word, kind in (("failed", "exchanges that failed"), ("closed", "closed for a fault")):
        found = h2.get(word)
        if isinstance(found, dict) and found:
            out.print(f"{kind}: {', '.join(f'{count} {why}' for why, count in found.items())}")


def _print_quic(out: Console, quic: object) -> None:
    """Print the totals of QUIC and its worst connections, where there were any."""
    if not isinstance(quic, dict) or not quic.get("accepted"):
        return
    out.print()
    out.print(
        f"QUIC: {quic.get('connections')} connections open ({quic.get('half_open')} half-open) of "
        f"{quic.get('accepted')} accepted, {quic.get('packets_lost')} packets lost, "
        f"{quic.get('handed_over')} datagrams handed over, {quic.get('retries')} retries, "
        f"{quic.get('stateless_resets')} stateless resets"
    )
    rows = _rows(quic.get("worst"))
    if not rows:
        return
    shown = table(
        "peer", "worker", "state", "rtt", "lost", "sent", "window", "in flight", "paths", "datagram"
    )
    for row in rows:
        paths = row.get("paths")
        shown.add_row(
            str(row.get("peer")),
            str(row.get("worker")),
            str(row.get("state")),
            "-" if row.get("rtt_ms") is None else f"{row.get('rtt_ms')} ms",
            str(row.get("packets_lost")),
            str(row.get("packets_sent")),
            size(row.get("window")),
            size(row.get("in_flight")),
            str(len(paths)) if isinstance(paths, list) else "-",
            str(row.get("datagram")),
        )
    out.print(shown)


def _rows(value: object) -> list[dict[str, object]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []
