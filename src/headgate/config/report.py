"""How problems are shown: one line each, as compilers do it, or JSON for editors and pipelines."""

from collections.abc import Iterable
from dataclasses import asdict

import orjson

from headgate.config.problems import Problem


def render_problems(problems: Iterable[Problem]) -> str:
    """Return one line for each problem: `headgate.toml:12: listener.tls.min_verison: unknown key; did you mean …`."""
    return "\n".join(str(problem) for problem in problems)


def problems_to_json(problems: Iterable[Problem]) -> str:
    """Return a JSON array with an object for each problem; keys as in `Problem`, and `message`, its one line."""
    rows = [{**asdict(problem), "message": str(problem)} for problem in problems]
    return orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode()
