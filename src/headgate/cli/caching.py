"""What the command line says of the cache, and purging it."""

import sys
from typing import Final

from headgate.admin.client import AdminClient
from headgate.cli.output import FAILED, OK, print_json, size
from headgate.cli.tables import console, table

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
    "disabled": "the route has no cache",
    "bypassed": "the route lets such requests by, or the key would be too long",
    "content": "a GET with content, which is in no key (RFC 9110 section 9.3.1)",
    "upgrade": "the connection may become a tunnel (RFC 9110 section 7.8)",
    "known-uncacheable": "answers to this key were not storable lately",
    "invalidated": "an unsafe request went by since: confirmed before its next use (RFC 9111 section 4.4)",
}


def show_cache(gate: AdminClient, as_json: bool) -> int:
    """Print what the cache of each worker holds and does."""
    rows = gate.cache()
    if as_json:
        print_json({"cache": rows})
        return OK
    shown = table(
        "worker",
        "objects",
        "memory",
        "hits",
        "stale",
        "confirmed",
        "misses",
        "bypassed",
        "hit ratio",
        "served",
        "evicted",
    )
    for row in rows:
        outcomes = row.get("outcomes")
        counts: dict[str, int] = outcomes if isinstance(outcomes, dict) else {}
        ratio = row.get("hit_ratio")
        shown.add_row(
            str(row.get("name")),
            str(row.get("objects")),
            size(row.get("octets")),
            str(counts.get("HIT", 0)),
            str(counts.get("STALE", 0)),
            str(counts.get("REVALIDATED", 0)),
            str(sum(counts.get(word, 0) for word in ("MISS", "EXPIRED", "UNCACHEABLE"))),
            str(counts.get("BYPASS", 0)),
            f"{ratio:.1%}" if isinstance(ratio, float) else "-",
            size(row.get("served_octets")),
            str(row.get("evicted")),
        )
    console().print(shown)
    return OK


def purge_all(gate: AdminClient, named: list[tuple[str, str]], *, is_soft: bool, as_json: bool) -> int:
    """Purge each of what is named, (kind, pattern); FAILED when a worker has not obeyed."""
    answers = [gate.purge(kind, pattern, is_soft=is_soft) for kind, pattern in named]
    if as_json:
        print_json({"purged": answers})
    for answer in answers:
        behind = answer.get("behind")
        if not as_json:
            what = f"{answer.get('kind')} {answer.get('pattern')}".rstrip()
            late = (
                f"; NOT in time: {', '.join(map(str, behind))}" if isinstance(behind, list) and behind else ""
            )
            word = "marked stale" if is_soft else "purged"
            sys.stdout.write(
                f"{what}: {word} by {answer.get('workers')} workers in {answer.get('milliseconds')} ms{late}\n"
            )
    return FAILED if any(answer.get("behind") for answer in answers) else OK


def explain_url(gate: AdminClient, url: str, method: str, fields: list[str], *, as_json: bool) -> int:
    """Print what each worker would do with a request, and why."""
    rows = gate.explain(url, method, fields)
    if as_json:
        print_json({"workers": rows})
        return OK
    out = console()
    for row in rows[:1]:
        out.print(f"{method} {url}")
        out.print(f"listener {row.get('listener')}, route {row.get('route')}, key {row.get('key', '-')}")
    decided = table("worker", "does", "outcome", "reason", "because")
    stored = table("worker", "where", "fits", "status", "octets", "age", "fresh for", "vary", "tags", "flags")
    for row in rows:
        name = str(row.get("worker"))
        if row.get("error"):
            decided.add_row(name, "-", "-", "-", str(row["error"]))
            continue
        if not row.get("cached"):
            decided.add_row(
                name, "PASS", "-", "-", "the route has no cache" if row.get("route") else "no route"
            )
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
    return OK
