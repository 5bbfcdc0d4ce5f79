"""A disk that is full or read-only under `state_dir`: staples are fetched and served from memory all the same, every
file that could not be written is told with its errno, and written when the disk is well again.

The disk is a small tmpfs in a mount namespace of the gate's own, which ends with it.
"""

import errno
import os
import subprocess

import pytest
from tests.integration.faults.world import World, configuration, metric, on_the_wire, rows, wait_for_rows
from tests.integration.gate import Gate, wait_for

MOUNT = 'mkdir -p "$0"; mount -t tmpfs -o size=64k,mode=700 tmpfs "$0"; {}; exec "$@"'
FILL = 'mkdir "$0/staples"; head -c 1M /dev/zero > "$0/filler" 2>/dev/null || true'
READ_ONLY = 'mkdir "$0/staples"; mount -t tmpfs -o ro tmpfs "$0/staples"'


def on_a_disk(state, how: str) -> list[str]:
    """A prefix that runs a command where `state` is a disk like that."""
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, timeout=20, check=False)
    if probe.returncode != 0:
        pytest.skip(f"needs root for `unshare -m`: {probe.stderr.decode().strip()}")
    return ["unshare", "-m", "sh", "-ec", MOUNT.format(how), str(state)]


@pytest.mark.parametrize(
    ("how", "number"), [(FILL, errno.ENOSPC), (READ_ONLY, errno.EROFS)], ids=["full", "read-only"]
)
def test_disk(tmp_path, how, number):
    with World(tmp_path) as world:
        world.good("a")
        prefix = on_a_disk(tmp_path / "state", how)
        with Gate(tmp_path, configuration(), http=0, https=1, prefix=prefix) as gate:
            wait_for_rows(gate)
            assert on_the_wire(world, gate, "a") == "good"
            assert rows(gate)["a"]["state"] == "fresh"
            event = wait_for("the event", lambda: gate.events("staple-store-failed"))[0]
            assert (event["level"], event["errno"], event["doing"]) == ("error", number, "write")
            assert event["path"].startswith(str(tmp_path / "state" / "staples"))
            assert event["next_seconds"] == 30
            wait_for("the metric", lambda: metric(gate, "ocsp_store_failed_total") >= 1)
            assert os.listdir(tmp_path / "state") == [], "the disk was the gate's own"
