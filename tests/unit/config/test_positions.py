"""The position scanner agrees with `tomllib` on what there is, and says truly where it is."""

import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from toml_texts import documents

from headgate.config.positions import position_of, scan


def locations(node, at=()):
    found = {at} if at else set()
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, value in items:
        found |= locations(value, (*at, step))
    return found


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=150
)
@given(documents())
def test_the_scanner_finds_what_tomllib_finds(document):
    text, tree = document
    assert tomllib.loads(text) == tree  # else the test's own writer is wrong
    assert set(scan(text)) == locations(tree)


@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None, max_examples=100
)
@given(documents())
def test_every_position_begins_a_key_a_header_or_an_element(document):
    text, _ = document
    lines = text.split("\n")
    for location, (line, column) in scan(text).items():
        rest = lines[line - 1][column - 1 :]
        step = location[-1]
        if isinstance(step, str) and step.isascii() and step.replace("_", "a").replace("-", "a").isalnum():
            assert rest.startswith("[") or step in rest or "." in rest
        assert rest
        assert not rest[0].isspace()


TEXT = '''\
top = 1                      # 1
[a]                          # 2
b.c = """one
[not.a.header]
"""                          # 3..5
"d e" = [1,                  # 6
  [2, 3], { x = 1, y.z = 2 } # 7
]
[[t]]                        # 9
n = 1
[t.sub]                      # 11
m = 1
[[t]]                        # 13
sub = { m = 'it}' }
[[t.deep]]                   # 15
k = """"quoted"""""          # 16
[[t.deep]]                   # 17
'''


@pytest.mark.parametrize(
    ("location", "line", "column"),
    [
        (("top",), 1, 1),
        (("a",), 2, 1),
        (("a", "b"), 3, 1),
        (("a", "b", "c"), 3, 1),
        (("a", "d e"), 6, 1),
        (("a", "d e", 1), 7, 3),
        (("a", "d e", 1, 1), 7, 7),
        (("a", "d e", 2), 7, 11),
        (("a", "d e", 2, "x"), 7, 13),
        (("a", "d e", 2, "y", "z"), 7, 20),
        (("t",), 9, 1),
        (("t", 0), 9, 1),
        (("t", 0, "n"), 10, 1),
        (("t", 0, "sub", "m"), 12, 1),
        (("t", 1), 13, 1),
        (("t", 1, "sub", "m"), 14, 9),
        (("t", 1, "deep", 0, "k"), 16, 1),
        (("t", 1, "deep", 1), 17, 1),
    ],
)
def test_positions(location, line, column):
    tomllib.loads(TEXT)
    assert scan(TEXT)[location] == (line, column)


def test_what_is_not_there_is_where_its_table_is():
    found = scan("[a]\nb = 1\n[[c]]\n")
    assert position_of(found, ("a", "x", "y")) == (1, 1)
    assert position_of(found, ("c", 0, "missing")) == (3, 1)
    assert position_of(found, ("c", 7)) == (3, 1)
    assert position_of(found, ("nowhere",)) == (1, 1)


def test_an_empty_document():
    assert scan("") == {}
    assert scan("# only a comment") == {}
