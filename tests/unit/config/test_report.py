"""How problems are printed."""

import json

from headgate.config.problems import ConfigProblems, Problem
from headgate.config.report import problems_to_json, render_problems

FIRST = Problem("a.toml", 3, 5, "x.y", "", "a size", '"z"', "do that")
SECOND = Problem("a.toml", 2, 1, "", "syntax error: Invalid value")
WHOLE = Problem("a.toml", 0, 0, "listener", "missing")
WARNING = Problem("a.toml", 4, 1, "route", "is never asked", fatal=False)


def test_lines():
    assert render_problems([FIRST, SECOND, WHOLE, WARNING]).splitlines() == [
        'a.toml:3: x.y: expected a size, got "z"; do that',
        "a.toml:2: syntax error: Invalid value",
        "a.toml: listener: missing",
        "a.toml:4: warning: route: is never asked",
    ]


def test_json():
    (row,) = json.loads(problems_to_json([FIRST]))
    assert row == {
        "file": "a.toml",
        "line": 3,
        "column": 5,
        "key": "x.y",
        "what": "",
        "expected": "a size",
        "got": '"z"',
        "hint": "do that",
        "fatal": True,
        "message": 'a.toml:3: x.y: expected a size, got "z"; do that',
    }
    assert json.loads(problems_to_json([])) == []


def test_an_error_holds_them_in_the_order_of_the_file():
    error = ConfigProblems([FIRST, SECOND])
    assert error.problems == [SECOND, FIRST]
    assert str(error) == f"{SECOND}\n{FIRST}"
