"""A disk that is full or read-only under `state_dir`: staples are fetched and served from memory all the same, every
file that could not be written is told with its errno, and written when the disk is well again.

The disk is a small tmpfs in a mount namespace of the gate's own, which ends with it.
"""

import errno
import os
import subprocess
import sys

import pytest
from tests.integration.faults.world import World, configuration, metric, on_the_wire, rows, wait_for_rows
from tests.integration.gate import Gate, wait_for

MOUNT = 'mkdir -p "$0"; mount -t tmpfs -o size=64k,mode=700 tmpfs "$0"; {}; exec "$@"'
FILL = 'mkdir "$0/staples"; head -c 1M /dev/zero > "$0/filler" 2>/dev/null || true'
ALL_READ_ONLY = 'mount -o remount,ro "$0"'
READ_ONLY = 'mkdir "$0/staples"; mount -t tmpfs -o ro tmpfs "$0/staples"'


def on_a_disk(state, how: str) -> list[str]:
    """A prefix that runs a command where `state` is a disk like that."""
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, timeout=20, check=False)
    if probe.returncode != 0:
        pytest.skip(f"needs root for `unshare -m`: {probe.stderr.decode().strip()}")
    return ["unshare", "-m", "sh", "-ec", MOUNT.format(how), str(state)]


@pytest.mark.parametrize(
    ("how", "number", "doing"),
    [
        (FILL, errno.ENOSPC, "write"),
        (READ_ONLY, errno.EROFS, "write"),
        (ALL_READ_ONLY, errno.EROFS, "make"),
    ],
    ids=["full", "staples/ read-only", "all of it read-only, from the start on"],
)
def test_disk(tmp_path, how, number, doing):
    with World(tmp_path) as world:
        world.good("a")
        prefix = on_a_disk(tmp_path / "state", how)
        with Gate(tmp_path, configuration(), http=0, https=1, prefix=prefix) as gate:
            wait_for_rows(gate)
            assert on_the_wire(world, gate, "a") == "good"
            assert rows(gate)["a"]["state"] == "fresh"
            event = wait_for("the event", lambda: gate.events("staple-store-failed"))[0]
            assert (event["level"], event["errno"], event["doing"]) == ("error", number, doing)
            assert event["path"].startswith(str(tmp_path / "state" / "staples"))
            assert event["next_seconds"] == 30
            wait_for("the metric", lambda: metric(gate, "ocsp_store_failed_total") >= 1)
            assert os.listdir(tmp_path / "state") == [], "the disk was the gate's own"


SECOND = """
import pathlib, sys
from headgate.process.directories import StateError, StateLock
first = StateLock(pathlib.Path(sys.argv[1]))
try:
    StateLock(pathlib.Path(sys.argv[1]))
except StateError as error:
    print(error)
"""


@pytest.mark.parametrize("before", ["true", 'touch "$0/headgate.lock"'], ids=["no lock file", "lock file"])
def test_a_read_only_state_dir_is_still_one_gates_alone(tmp_path, before):
    prefix = on_a_disk(tmp_path / "state", f"{before}; {ALL_READ_ONLY}")
    command = [*prefix, sys.executable, "-c", SECOND, str(tmp_path / "state")]
    done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    assert b"is in use by another process" in done.stdout
