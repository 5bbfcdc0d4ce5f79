"""`headgate explain`: what would become of a request, by a running gate's word or by its configuration alone."""

import time
from pathlib import Path
from typing import Final

from rich.console import Console

from headgate.admin.client import NoGateError
from headgate.cli.output import OK, print_json
from headgate.cli.tables import console, table
from headgate.cli.talking import find_gate
from headgate.config.defaults import CONFIG_NAME

# The words of cache/outcome, as docs/cache.md explains them.
RULES: Final[dict[str, str]] = {
    "none": "",
    "fresh": "its age is below its lifetime (RFC 9111 section 4.2)",
    "not-stored": "nothing is stored under this key (RFC 9111 section 4)",
    "vary": "something is, for other values of the fields that Vary names (RFC 9111 section 4.1)",
    "expired": "its age has reached its lifetime (RFC 9111 section 4.2)",
    "no-cache": "it says no-cache: confirmed before each use (RFC 9111 section 5.2.2.4)",
    "client-no-cache": "the client wants it confirmed (RFC 9111 section 5.2.1.4)",
    "client-max-age": "it is older than the client wants (RFC 9111 section 5.2.1.1)",
    "client-min-fresh": "it is not fresh for as long as the client wants (RFC 9111 section 5.2.1.3)",
    "client-max-stale": "it is stale, and the client takes it (RFC 9111 section 5.2.1.2)",
    "only-if-cached": "the client wants nothing from the origin, and nothing is here (RFC 9111 section 5.2.1.7)",
    "must-revalidate": "it must be confirmed and the origin is silent (RFC 9111 section 5.2.2.2)",
    "stale-while-revalidate": "served stale, and confirmed meanwhile (RFC 5861 section 3)",
    "stale-if-error": "served stale in place of a 500, 502, 503 or 504 (RFC 5861 section 4)",
    "unreachable": "served stale because the origin gave no answer, for a day at most (RFC 9111 section 4.2.4)",
    "partial": "a part is stored, and not all that is asked for (RFC 9111 section 3.3)",
    "purged": "purged softly: confirmed before its next use",
    "method": "neither GET nor HEAD (RFC 9110 section 9.2.3)",
    "bypassed": "the route lets such requests by, or the key would be too long",
    "content": "a GET with content, which is in no key (RFC 9110 section 9.3.1)",
    "upgrade": "the connection may become a tunnel (RFC 9110 section 7.8)",
    "known-uncacheable": "answers to this key were not storable lately",
    "invalidated": "an unsafe request went by since: confirmed before its next use (RFC 9111 section 4.4)",
    "client-no-store": "the client wants nothing of it stored, and nothing fits (RFC 9111 section 5.2.1.5)",
    "precondition": "If-Match and If-Unmodified-Since are the origin's to evaluate (RFC 9111 section 4.3.2)",
}


def explain_url(
    config: Path | None, runtime_dir: Path | None, url: str, method: str, fields: list[str], *, as_json: bool
) -> int:
    """Print what each worker would do with a request, and why; without a gate what the configuration says.

    Raises `NoGateError` where there is neither a gate nor a configuration.
    """
    try:
        rows = find_gate(config, runtime_dir).explain(url, method, fields)
        is_running = True
    except NoGateError as exc:
        path = config if config is not None else Path(CONFIG_NAME)
        if config is None and (runtime_dir is not None or not path.is_file()):
            raise
        rows = [_from_file(path, url, method, fields, exc)]
        is_running = False
    if as_json:
        print_json({"running": is_running, "workers": rows})
        return OK
    out = console()
    known = [row for row in rows if not row.get("error")]
    if known:
        _print_route(out, known[0], f"{method} {url}")
        if said := home_said(rows):
            out.print(said)
    if is_running or rows[0].get("reason") or not rows[0].get("cached"):
        _print_workers(out, rows)
    if not is_running:
        out.print(str(rows[0].get("note")))
    return OK


def _from_file(path: Path, url: str, method: str, fields: list[str], why: NoGateError) -> dict[str, object]:
    from headgate.config.loader import load
    from headgate.process.explaining import explain_configuration

    found = explain_configuration(load(path, files=False), url, method, fields, time.time())
    note = f"no store to look into: the gate is not running ({why})"
    return {"worker": None, **found, "note": note}


def _print_route(out: Console, row: dict[str, object], asked: str) -> None:
    """Print what all workers have in common: listener, route, key and policy."""
    out.print(asked)
    key = ", ".join(str(row.get("key") or "-").split("\n"))  # a line feed is between its parts
    out.print(f"listener {row.get('listener')}, route {row.get('route')}, key {key}")
    policy = row.get("policy")
    if not isinstance(policy, dict):
        return
    set_by = {
        key: one for key, one in policy.items() if isinstance(one, dict) and one.get("from") != "default"
    }
    shown = table("policy", "value", "set by")
    for key, one in set_by.items():
        shown.add_row(str(key), _written(one.get("value")), str(one.get("from")))
    out.print(shown)
    out.print(
        f"{len(policy) - len(set_by)} more have their defaults (docs/configuration.md; --json shows them)"
    )


def home_said(rows: list[dict[str, object]]) -> str:
    """Say which worker the others ask for this key, where they do, and whether they reach it."""
    homes = {row["worker"]: home for row in rows if isinstance(home := row.get("home"), dict)}
    if not homes:
        return ""
    number = next(iter(homes.values()))["worker"]
    text = f"at home in worker {number}"
    if any(row["worker"] == number and row.get("error") for row in rows):
        return f"{text}, which gives no answer: the others ask the origin"
    lost = [f"worker {slot} ({home['why']})" for slot, home in homes.items() if not home["reachable"]]
    if lost:
        return f"{text}, which is not reached by {', '.join(lost)}: the origin is asked"
    if not any(home["asked"] for home in homes.values()):
        return f"{text}, which is not asked for such a request"
    return f"{text}, which the others ask and reach"


def _print_workers(out: Console, rows: list[dict[str, object]]) -> None:
    decided = table("worker", "does", "outcome", "reason", "because")
    stored = table("worker", "where", "fits", "status", "octets", "age", "fresh for", "vary", "tags", "flags")
    for row in rows:
        name = "-" if row.get("worker") is None else str(row.get("worker"))
        if row.get("error"):
            decided.add_row(name, "-", "-", "-", str(row["error"]))
            continue
        if not row.get("cached"):
            decided.add_row(name, "PASS", "-", "-", _without_cache(row))
            continue
        reason = str(row.get("reason"))
        decided.add_row(name, str(row.get("action")), str(row.get("outcome")), reason, RULES.get(reason, ""))
        held = row.get("stored")
        for one in held if isinstance(held, list) else []:
            stored.add_row(
                name,
                str(one.get("where")),
                "yes" if one.get("fits") else "no",
                str(one.get("status")),
                str(one.get("octets")),
                f"{one.get('age')} s",
                f"{one.get('fresh_for')} s",
                "; ".join(one.get("vary", [])) or "-",
                " ".join(one.get("tags", [])) or "-",
                " ".join(one.get("flags", [])) or "-",
            )
    out.print(decided)
    if stored.row_count:
        out.print(stored)


def _without_cache(row: dict[str, object]) -> str:
    if row.get("redirects"):
        return "the listener redirects to https"
    return "the route has no cache" if row.get("route") else "no route"


def _written(value: object) -> str:
    """Return a value of the configuration much as one writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "[]"
    if isinstance(value, dict):
        return ", ".join(f"{key} = {one}" for key, one in value.items())
    return str(value)
