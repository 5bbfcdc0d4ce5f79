"""Attacks over HTTP/2 on a real gate: short here, at full length under `make soak` (see bench/attack)."""

import os

import pytest
from bench.attack.h2_attacks import H2_ATTACKS
from bench.attack.run import run
from tests.integration.limits.test_quic_attacks import wrongs

IS_LONG = os.environ.get("HEADGATE_SOAK") == "1"
SECONDS = 20.0 if IS_LONG else 1.0


@pytest.mark.slow
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_attack():
    rows = run("headgate", list(H2_ATTACKS), SECONDS, "h2")
    assert [row.name for row in rows] == ["quiet", *H2_ATTACKS]
    assert wrongs(rows, with_timing=IS_LONG) == []
