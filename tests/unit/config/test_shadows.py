"""Expressions behind a prefix that takes everything."""

import pytest
from gate_text import config_of

from headgate.config.loader import read_text
from headgate.config.routing import build_route
from headgate.config.shadows import find_shadowed
from headgate.pipeline.route import Router

LISTENERS = """\
[[listener]]
name = "one"
addresses = ["127.0.0.1:81"]
mode = "http"
[[listener]]
name = "two"
addresses = ["127.0.0.1:82"]
mode = "http"
[[listener]]
addresses = ["127.0.0.1:80"]
mode = "http"
redirect = true
"""


def text_of(*routes):
    """Return a text with these routes; the keys of the first are in line 14, of each next one two below."""
    return LISTENERS + "".join(
        f"[[route]]\n{keys} \nrespond = {{}}\n".replace(" \n", "\n") for keys in routes
    )


def shadowed(*routes):
    """Return (place, what) of each warning."""
    found = list(find_shadowed(config_of(text_of(*routes))))
    assert not any(finding.fatal for finding in found)
    return [(finding.location[1], finding.what.partition(":")[0]) for finding in found]


A = 'hosts = ["a.test"]'
REGEX = "path_regex = '/[0-9]+'"


@pytest.mark.parametrize(
    ("routes", "warnings"),
    [
        ([REGEX, "path = '/'"], [(0, "never asked for any host")]),
        ([f"{A}\n{REGEX}", A], [(0, "never asked for a.test")]),
        (
            [A, f"{A}\n{REGEX}", f"{A}\npath_regex = '/x'"],
            [(1, "never asked for a.test"), (2, "never asked for a.test")],
        ),
        (
            [
                'hosts = ["a.test", "b.test", "*.c.test"]',
                f'hosts = ["b.test", "d.test", "*.c.test"]\n{REGEX}',
            ],
            [(1, "never asked for b.test, *.c.test")],
        ),
        (
            [
                'hosts = ["a.x", "b.x", "c.x", "d.x", "e.x"]',
                f'hosts = ["a.x", "b.x", "c.x", "d.x", "e.x"]\n{REGEX}',
            ],
            [(1, "never asked for a.x, b.x, c.x and 2 more")],
        ),
        ([A, f"{A}\nlisteners = ['one']\n{REGEX}"], [(1, "never asked for a.test")]),
        (
            [f"{A}\nlisteners = ['one']", f"{A}\nlisteners = ['two']", f"{A}\n{REGEX}"],
            [(2, "never asked for a.test")],
        ),
        # Reachable: the prefix is for another host, is longer, is no prefix, or is missing on a listener.
        ([f"{A}\n{REGEX}", "path = '/'"], []),
        ([A, REGEX], []),
        ([f"{A}\npath = '/x'", f"{A}\n{REGEX}"], []),
        ([f"{A}\npath_exact = '/'", f"{A}\n{REGEX}"], []),
        ([f"{A}\n{REGEX}", f"{A}\npath_regex = '/.*'"], []),
        ([f"{A}\nlisteners = ['one']", f"{A}\n{REGEX}"], []),
        ([f"{A}\nlisteners = ['one']", f"{A}\nlisteners = ['two']\n{REGEX}"], []),
    ],
)
def test_what_is_told(routes, warnings):
    assert shadowed(*routes) == warnings


def test_the_warning_has_its_line_and_says_what_to_do():
    loaded = read_text(text_of("path = '/'", REGEX), "gate.toml", {}, files=False)
    assert [str(loaded.problem_of(finding)) for finding in find_shadowed(loaded.config)] == [
        'gate.toml:17: warning: route[1].path_regex: never asked for any host: route[0] takes "/" there, and '
        "prefixes go first; write that one as path_regex = '/.*' below this one"
    ]


def test_what_it_says_to_do_helps():
    for second, name in (("path = '/'", "*/"), ("path_regex = '/.*'", "*/[0-9]+")):
        config = config_of(text_of(REGEX, second))
        assert Router([build_route(table) for table in config.route]).match(b"", b"/1").name == name
