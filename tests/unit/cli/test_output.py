"""Times and sizes in words."""

import pytest

from headgate.cli.output import distance, moment, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "in 0 s"),
        (59, "in 59 s"),
        (61, "in 1 min 1 s"),
        (3600, "in 1 h"),
        (7500, "in 2 h 5 min"),
        (90_000, "in 1 d 1 h"),
        (86_401, "in 1 d"),
        (-61, "1 min 1 s ago"),
    ],
)
def test_distance(seconds, words):
    assert distance(seconds) == words


def test_moment():
    assert moment(1_767_225_600, 1_767_225_540) == "2026-01-01 00:00:00Z (in 1 min)"
    assert moment(None, 0) == "-"


def test_size():
    assert size(3 * 1_048_576) == "3.0 MiB"
    assert size(0) == size(None) == "-"
