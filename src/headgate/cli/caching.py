"""What the command line says of the cache, and purging it."""

import sys

from headgate.admin.client import AdminClient
from headgate.cli.output import FAILED, OK, print_json, size
from headgate.cli.tables import console, table


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
