"""`headgate ocsp`: the table, one certificate, a refresh."""

import sys
import time
from collections.abc import Iterable
from typing import Final

from headgate.admin.client import AdminClient
from headgate.cli.output import FAILED, NO_STAPLE, OK, complain, distance, moment, print_json
from headgate.cli.tables import console, state_text, table

_LABELS: Final = (
    ("state", "state"),
    ("served", "served to clients"),
    ("must_staple", "must-staple"),
    ("source", "source"),
    ("serial", "serial"),
    ("hosts", "host names"),
    ("responders", "responders"),
    ("successes", "successes"),
    ("failures", "failures"),
    ("failures_in_a_row", "failures in a row"),
    ("problem", "problem"),
)
_TIMES: Final = (
    ("this_update", "this update"),
    ("next_update", "next update"),
    ("next_attempt", "next attempt"),
    ("last_success", "last success"),
    ("last_failure_at", "last failure"),
)


def show_staples(gate: AdminClient, as_json: bool) -> int:
    """Print a row for each certificate; return 4 when a must-staple certificate has no staple."""
    rows = gate.ocsp()
    if as_json:
        print_json({"certificates": rows})
    elif not rows:
        sys.stdout.write("this gate has no certificates\n")
    else:
        _print_rows(rows)
    return _verdict(rows)


def _print_rows(rows: Iterable[dict[str, object]]) -> None:
    now = time.time()
    made = table("certificate", "state", "source", "this update", "next update", "next attempt", "last error")
    for row in rows:
        made.add_row(
            str(row.get("name")),
            state_text(str(row.get("state")) + (" (must-staple)" if row.get("must_staple") else "")),
            str(row.get("source") or "-"),
            moment(row.get("this_update"), now),
            moment(row.get("next_update"), now),
            "now" if row.get("in_progress") else _soon(row.get("next_attempt"), now),
            _error(row, now),
        )
    console().print(made)


def _soon(seconds: object, now: float) -> str:
    return distance(seconds - now) if isinstance(seconds, (int, float)) else "-"


def _error(row: dict[str, object], now: float) -> str:
    problem = row.get("problem")
    if problem:
        return str(problem)
    failure = row.get("last_failure")
    if not isinstance(failure, dict):
        return "-"
    when = row.get("last_failure_at")
    ago = f"{distance(when - now)}: " if isinstance(when, (int, float)) else ""
    return f"{ago}{failure.get('text')}"


def _verdict(rows: Iterable[dict[str, object]]) -> int:
    bare = [str(row.get("name")) for row in rows if row.get("must_staple") and not row.get("served")]
    for name in bare:
        complain(f"{name} is must-staple and has no staple")
    return NO_STAPLE if bare else OK


def show_staple(gate: AdminClient, name: str, *, text: bool, as_json: bool) -> int:
    """Print everything about one certificate; `text` only the response, spelled out."""
    row = gate.ocsp_text(name)
    if as_json:
        print_json(row)
    elif text:
        sys.stdout.write(f"{row.get('text')}\n")
    else:
        _print_one(row)
    return _verdict([row])


def _print_one(row: dict[str, object]) -> None:
    now = time.time()
    made = table("certificate", str(row.get("name")))
    for key, label in _LABELS:
        value = row.get(key)
        if isinstance(value, list):
            value = ", ".join(str(item) for item in value)
        if isinstance(value, bool):
            value = "yes" if value else "no"
        if key == "state":
            made.add_row(label, state_text(value))
        elif value not in (None, ""):
            made.add_row(label, str(value))
    for key, label in _TIMES:
        if row.get(key) is not None:
            made.add_row(label, moment(row.get(key), now))
    if isinstance(row.get("last_failure"), dict):
        made.add_row("last error", _error({**row, "problem": ""}, now))
    console().print(made)


def refresh_staples(gate: AdminClient, name: str | None, wait: float, as_json: bool) -> int:
    """Have staples fetched now; print what came of it. Returns 1 when a fetch failed, 4 as `show_staples`
    does."""
    began = time.time()
    names, ended = gate.refresh(name, wait)
    rows = [row for row in gate.ocsp() if row.get("name") in names]
    if as_json:
        print_json({"refreshing": names, "ended": ended, "certificates": rows})
    elif not names:
        sys.stdout.write("no certificate names a responder: there is nobody to ask\n")
    else:
        _print_rows(rows)
    if not ended:
        complain(f"not all answers were there after {wait:g} s; `headgate ocsp` shows the rest")
    verdict = _verdict(rows)
    if verdict != OK:
        return verdict
    return FAILED if any(_failed_since(row, began) for row in rows) else OK


def _failed_since(row: dict[str, object], began: float) -> bool:
    failed, succeeded = row.get("last_failure_at"), row.get("last_success")
    if not isinstance(failed, (int, float)) or failed < began:
        return False
    return not isinstance(succeeded, (int, float)) or succeeded < failed
