"""Attacks on a real gate over UDP: short here, at full length under `make soak` (see bench/attack).

A short round says that each attack is refused by the right code, or let run without a connection being closed, and
that the worker neither dies nor grows. How long a good client waits is judged in the long one alone: on a machine
that does other things too, a second says nothing about it.
"""

import os

import pytest
from bench.attack.attacks import ATTACKS
from bench.attack.run import run

IS_LONG = os.environ.get("HEADGATE_SOAK") == "1"
SECONDS = 20.0 if IS_LONG else 1.0
TIMING = "p99"


def wrongs(rows, *, with_timing):
    return [
        f"{row.name}: {wrong}" for row in rows for wrong in row.wrong if with_timing or TIMING not in wrong
    ]


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_attack():
    rows = run("headgate", list(ATTACKS), SECONDS)
    assert [row.name for row in rows] == ["quiet", *ATTACKS]
    assert wrongs(rows, with_timing=IS_LONG) == []
