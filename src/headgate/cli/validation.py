"""`headgate validate`: the configuration, and the certificate files that it names."""

import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from headgate.cli.output import OK, USAGE
from headgate.config.cache_checks import find_odd_targets
from headgate.config.loader import Loaded, read_file
from headgate.config.model import Config
from headgate.config.problems import ConfigProblems, Finding, Problem
from headgate.config.report import problems_to_json, render_problems
from headgate.config.shadows import find_shadowed
from headgate.config.table import Location
from headgate.process.certificates import tables_of
from headgate.tls.files import find_places, load_identities


def validate_file(path: Path, as_json: bool) -> int:
    """Print everything that is wrong; return 0 when a gate could start with it."""
    try:
        loaded = read_file(path)
    except ConfigProblems as error:
        _print(error.problems, as_json)
        return USAGE
    certificates, problems = _look_into_certificates(loaded)
    warnings = (*find_shadowed(loaded.config), *find_odd_targets(loaded.config))
    problems += [loaded.problem_of(finding) for finding in warnings]
    problems.sort(key=lambda problem: (problem.line, problem.column))
    _print(problems, as_json)
    if any(problem.fatal for problem in problems):
        return USAGE
    if not as_json:
        sys.stdout.write(f"{path} is fine: {_counts(loaded.config, certificates)}\n")
    return OK


def _look_into_certificates(loaded: Loaded) -> tuple[int, list[Problem]]:
    """Return how many certificates can be served, and what is wrong with which, at the table that names it."""
    tables = tables_of(loaded.config)
    identities, problems = load_identities(tables, time.time())
    sections = {table.files: table.section for table in tables}  # a glob that nothing matches
    sections |= {place.chain: place.table.section for place in find_places(tables)[0]}
    return len(identities), [
        loaded.problem_of(Finding(_place(sections, problem.file), str(problem), fatal=problem.fatal))
        for problem in problems
    ]


def _place(sections: Mapping[str, int], file: str) -> Location:
    # A file that came or went between two looks belongs to no table that we know.
    return ("certificate", sections[file], "files") if file in sections else ("certificate",)


def _print(problems: Iterable[Problem], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(problems_to_json(problems) + "\n")
    elif text := render_problems(problems):
        sys.stderr.write(text + "\n")


def _counts(config: Config, certificates: int) -> str:
    counts = {
        "listener": len(config.listener),
        "certificate": certificates,
        "route": len(config.route),
        "upstream": len(config.upstream),
    }
    return ", ".join(f"{count} {what}{'s' if count != 1 else ''}" for what, count in counts.items())
