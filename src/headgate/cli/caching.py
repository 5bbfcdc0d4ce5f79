"""What the command line says of the cache, and purging it."""

import sys

from rich.console import Console
from rich.table import Table

from headgate.admin.client import AdminClient
from headgate.cli.output import FAILED, OK, print_json, size
from headgate.cli.tables import console, table


def show_cache(gate: AdminClient, as_json: bool) -> int:
    """Print what the cache of each worker holds and does."""
    rows = gate.cache()
    if as_json:
        print_json({"cache": rows})
        return OK
    out = console()
    out.print(_requests(rows))
    out.print()
    out.print(_stores(rows))
    _print_rest(out, rows[-1] if rows else {})
    return OK


def _requests(rows: list[dict[str, object]]) -> Table:
    """Return the table of what became of requests, and where the octets came from."""
    shown = table(
        "worker",
        "hits",
        "stale",
        "confirmed",
        "collapsed",
        "misses",
        "bypassed",
        "504",
        "hit ratio",
        "of octets",
        "served",
        "fetched",
    )
    for row in rows:
        outcomes = row.get("outcomes")
        counts: dict[str, int] = outcomes if isinstance(outcomes, dict) else {}
        shown.add_row(
            str(row.get("name")),
            *(str(counts.get(word, 0)) for word in ("HIT", "STALE", "REVALIDATED", "COLLAPSED")),
            str(sum(counts.get(word, 0) for word in ("MISS", "EXPIRED", "UNCACHEABLE"))),
            str(counts.get("BYPASS", 0)),
            str(counts.get("REFUSED", 0)),
            _share(row.get("hit_ratio")),
            _share(row.get("octets_hit_ratio")),
            size(_sum(row, "served_octets", "passed_octets")),
            size(_sum(row, "filled_octets", "passed_octets")),
        )
    return shown


def _stores(rows: list[dict[str, object]]) -> Table:
    """Return the table of what memory holds, and what became of answers that were to be stored."""
    counted = ("fills", "stored", "refused", "broken_off", "evicted", "refreshed", "disk_hits", "disk_misses")
    shown = table("worker", "objects", "memory", *(word.replace("_", " ") for word in counted))
    for row in rows:
        held = (str(row.get("objects")), size(row.get("octets")))
        shown.add_row(str(row.get("name")), *held, *(str(row.get(word)) for word in counted))
    return shown


def _print_rest(out: Console, row: dict[str, object]) -> None:
    """Print what there is for all workers alone: the disk, and the purges."""
    disk = row.get("disk")
    if isinstance(disk, dict):
        out.print(
            f"on disk: {disk.get('objects')} objects, {size(disk.get('octets'))}; {disk.get('evicted')} evicted, "
            f"{disk.get('unwritten')} not written"
        )
    purges = row.get("purges")
    if isinstance(purges, dict) and any(purges.values()):
        out.print(f"purges: {', '.join(f'{count} {kind}' for kind, count in purges.items() if count)}")


def _share(ratio: object) -> str:
    return f"{ratio:.1%}" if isinstance(ratio, float) else "-"


def _sum(row: dict[str, object], *keys: str) -> int:
    return sum(value for key in keys if isinstance(value := row.get(key), int))


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
