"""Attacks on real gates over UDP and over HTTP/2: short here, at full length under `make soak` (see bench/attack).

A short round says that each attack is refused by the right code, or let run without a connection being closed, and
that the worker neither dies nor grows. How long a good client waits is judged in the long one alone: on a machine
that does other things too, a second says nothing about it. So the short rounds of both versions run side by side,
each on a gate of its own; and an attack that came nowhere in its time gets more of it, alone.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from bench.attack.run import KNOWN, run, was_too_short

IS_LONG = os.environ.get("HEADGATE_SOAK") == "1"
SECONDS = 20.0 if IS_LONG else 0.7
AGAIN_SECONDS = (5.0, 30.0)
TIMING = "p99"


@pytest.fixture(scope="module")
def rounds():
    """The rows of all attacks, by version."""
    with ThreadPoolExecutor(1 if IS_LONG else len(KNOWN)) as pool:
        rows = pool.map(lambda version: run("headgate", list(KNOWN[version]), SECONDS, version), KNOWN)
        return dict(zip(KNOWN, rows, strict=True))


def forget_timing(rows):
    for row in rows:
        row.wrong = [wrong for wrong in row.wrong if IS_LONG or TIMING not in wrong]
    return rows


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("version", list(KNOWN))
def test_every_attack(rounds, version):
    rows = forget_timing(rounds[version])
    assert [row.name for row in rows] == ["quiet", *KNOWN[version]]
    for seconds in AGAIN_SECONDS:
        again = [row.name for row in rows if was_too_short(row)]
        if again:
            rows = [row for row in rows if row.name not in again]
            rows += forget_timing(run("headgate", again, seconds, version))
    assert [f"{row.name}: {wrong}" for row in rows for wrong in row.wrong] == []
