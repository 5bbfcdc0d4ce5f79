"""Checks of an upstream's health, and the words of its tables."""

import pytest
from gate_text import GATE, config_of, told

from headgate.config.upstream_health import parse_statuses


def with_tables(text):
    return f"{GATE}\n{text}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '[upstream.api.outliers]\nejection = "10m"',
            "upstream.api.outliers.ejection: is longer than max_ejection",
        ),
        (
            '[upstream.api.outliers]\nmax_ejected = "101%"',
            'expected a share from "0%" to "100%"',
        ),
        ("[upstream.api.outliers]\ntrials = 0", "upstream.api.outliers.trials: "),
        ("[upstream.api.outliers]\ntrial = 1", 'did you mean "trials"?'),
    ],
)
def test_what_contradicts_itself_is_told(text, line):
    lines = told(with_tables(text))
    assert len(lines) == 1
    assert line in lines[0]


def test_outliers_have_defaults():
    found = config_of(GATE).upstream["api"].outliers
    assert (found.consecutive_failures, found.consecutive_5xx, found.ejection) == (5, 10, 30.0)


@pytest.mark.parametrize(
    ("text", "statuses"),
    [("204", (204, 204)), ("200-399", (200, 399)), ("2xx", (200, 299)), ("5xx", (500, 599))],
)
def test_statuses(text, statuses):
    assert parse_statuses(text) == statuses


@pytest.mark.parametrize(
    "text", ["", "2", "1xx", "6xx", "100", "600", "399-200", "200-", "-200", "200,201", "²00"]
)
def test_what_is_no_status(text):
    with pytest.raises(ValueError, match="expected a status"):
        parse_statuses(text)
