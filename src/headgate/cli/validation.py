"""`headgate validate`: the configuration, and the certificate files that it names."""

import sys
import time
from pathlib import Path

from headgate.cli.output import OK, USAGE, complain, print_json
from headgate.config.loader import load
from headgate.config.model import Config
from headgate.config.problems import ConfigProblems
from headgate.config.report import problems_to_json, render_problems
from headgate.process.certificates import tables_of
from headgate.process.policies import policy_of
from headgate.tls.files import Problem, load_identities


def validate_file(path: Path, as_json: bool) -> int:
    """Print everything that is wrong; return 0 when a gate could start with it."""
    try:
        config = load(path)
    except ConfigProblems as exc:
        if as_json:
            sys.stdout.write(problems_to_json(exc.problems) + "\n")
        else:
            sys.stderr.write(render_problems(exc.problems) + "\n")
        return USAGE
    for index, listener in enumerate(config.listener):
        if listener.mode == "https":
            policy_of(config, index)
    identities, problems = load_identities(tables_of(config), time.time())
    if as_json:
        print_json([{"file": p.file, "message": str(p), "fatal": p.fatal} for p in problems])
    else:
        _print(path, config, len(identities), problems)
    return USAGE if any(problem.fatal for problem in problems) else OK


def _print(path: Path, config: Config, certificates: int, problems: list[Problem]) -> None:
    for problem in problems:
        complain(str(problem) if problem.fatal else f"warning: {problem}")
    if any(problem.fatal for problem in problems):
        return
    counts = {
        "listener": len(config.listener),
        "certificate": certificates,
        "route": len(config.route),
        "upstream": len(config.upstream),
    }
    said = ", ".join(f"{count} {what}{'s' if count != 1 else ''}" for what, count in counts.items())
    sys.stdout.write(f"{path} is fine: {said}\n")
