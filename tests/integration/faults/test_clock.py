"""A wall clock that jumps under a running gate, in all of its processes at once (see `sitecustomize_clock`)."""

import os
import shutil
import time
from pathlib import Path

import pytest
from tests.integration.faults.world import (
    World,
    configuration,
    events_of,
    handshake,
    metric,
    on_the_wire,
    rows,
    wait_for_rows,
)
from tests.integration.gate import Gate, wait_for


@pytest.fixture
def clock(tmp_path):
    """A function that sets by how much the gate's wall clock is off; `environ` goes to the gate."""
    (tmp_path / "site").mkdir()
    shutil.copy(Path(__file__).with_name("sitecustomize_clock.py"), tmp_path / "site" / "sitecustomize.py")
    offset = tmp_path / "offset"

    def shift(seconds: float) -> None:
        temporary = offset.with_suffix(".tmp")
        temporary.write_text(str(seconds))
        temporary.rename(offset)

    shift(0.0)
    path = os.pathsep.join([str(tmp_path / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    shift.environ = {"PYTHONPATH": path, "FAULTS_CLOCK": str(offset)}
    return shift


def test_clock_jumps_beyond_the_end_of_a_staple_and_back(tmp_path, clock):
    """The first handshake after the jump already has no staple: workers compare, they are not told."""
    with World(tmp_path) as world:
        _leaf, responder = world.good("a")
        world.good("long")
        with Gate(tmp_path, configuration(), http=0, https=1, environ=clock.environ) as gate:
            wait_for_rows(gate)
            assert on_the_wire(world, gate, "a") == "good"
            responder.close()
            clock(2 * 3600.0)
            assert handshake(gate.https_ports[0], "a").staple is None
            wait_for("the counter", lambda: metric(gate, 'stapled_total{result="expired"}') >= 1)
            # By itself it looks every 30 seconds (test_stapler_clocks.py, on a fake clock); asking wakes it.
            gate.run("ocsp", "refresh", "a.pem")
            jumped = wait_for("the keeper to notice", lambda: gate.events("clock-jumped"))[0]
            assert jumped["level"] == "warning"
            assert 7190 < jumped["seconds"] < 7210
            wait_for("the withdrawal", lambda: events_of(gate, "staple-withdrawn", "a"))
            wait_for("an attempt to renew", lambda: events_of(gate, "staple-failed", "a"))
            assert rows(gate)["a"]["state"] == "expired"
            assert rows(gate)["a"]["served"] is False
            clock(0.0)
            gate.run("ocsp", "refresh", "a.pem")
            wait_for("the staple again", lambda: events_of(gate, "staple-restored", "a"))
            wait_for("it on the wire", lambda: on_the_wire(world, gate, "a") == "good")
            assert time.time() < rows(gate)["a"]["next_update"]
