"""Words of the plan that are not built yet are errors that say so, with their lines."""

import pytest
from gate_text import config_of, edited, told

from headgate.config.unbuilt import TABLE, unbuilt

ENDPOINTS = 'endpoints = ["http://10.0.0.1:8080"]'


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ((ENDPOINTS, ENDPOINTS + "\n[cluster]\nname = 'a'"), ["23: cluster: not built yet: clustering"]),
        ((ENDPOINTS, ENDPOINTS + "\n[acme]\nemail = 'a@b.c'"), ["23: acme: not built yet: ACME"]),
    ],
)
def test_what_is_not_built_yet(change, lines):
    assert told(edited(change)) == lines


def test_a_variable_cannot_smuggle_one_in():
    text = edited((ENDPOINTS, ENDPOINTS + "\n[acme]\nemail = '${WHO}'"))
    assert told(text, {"WHO": "a@b.c"}) == ["23: acme: not built yet: ACME"]


def test_what_is_switched_off_is_no_error():
    config_of(edited((ENDPOINTS, ENDPOINTS + "\n[cache]\nenabled = false")))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: ".".join(row.key))
def test_every_row_can_be_met(row):
    location = tuple("x" if step == "*" else step for step in row.key)
    assert unbuilt(location, row.values[0] if row.values else 1) in {
        other.what for other in TABLE if other.key == row.key
    }
