"""Disks that are full or read-only: a warning each, what was stored is still found, and nothing is an error.

The disk is a small tmpfs; root is needed, as CI has it.
"""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from tests.unit.cache.store.responses import WriterProcess, key_of, response, whole

from headgate.cache.store.disk import DiskStore

BUDGET = 64 << 20


@pytest.fixture
def small():
    """A disk of 8 MiB."""
    with tempfile.TemporaryDirectory() as name:
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", name]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("mounting a tmpfs needs root")
        yield Path(name)
        subprocess.run(["umount", "-l", name], check=True)


def fill(small):
    """Leave no room at all."""
    descriptor = os.open(small / "filler", os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(descriptor, bytes(1 << 12)):
            pass
    os.close(descriptor)


class Rig:
    def __init__(self, disk, elsewhere):
        self.warnings = []
        self.writer = WriterProcess(disk / "cache", elsewhere / "writer.sock", BUDGET)
        self.store = DiskStore(
            str(disk / "cache"), BUDGET, self.writer.address, lambda *words: self.warnings.append(words)
        )

    def put(self, number, size=100):
        assert self.store.store(response(key_of(number), b"%d" % number * size))

    def close(self):
        self.store.close()
        if self.writer.process.poll() is None:
            self.writer.kill()


@pytest.fixture
def rig(small, tmp_path):
    rig = Rig(small, tmp_path)
    yield rig
    rig.close()


def test_a_disk_that_becomes_full(rig, small):
    rig.put(1)
    assert rig.store.sync(10.0)[1] == 1
    for number in range(100, 400):
        rig.put(number, 20_000)
        if number % 20 == 0:
            rig.store.sync(10.0)
    rig.store.sync(10.0)
    warnings = rig.writer.warnings()
    assert len(warnings) == 1
    assert warnings[0].startswith("cache-disk-unusable")
    # What a worker reads it still finds, and finds right.
    assert whole(rig.store.get(key_of(1))[0].body) == b"1" * 100
    assert rig.warnings == []
    assert rig.writer.process.poll() is None


def test_a_full_disk_refuses_an_upload(rig, small):
    rig.put(1)
    rig.store.sync(10.0)
    fill(small)
    upload = rig.store.upload()
    if upload is not None:
        with pytest.raises(OSError, match="No space") as error:
            upload.write(bytes(1 << 16))
        upload.close()
        upload.abort()
        rig.store.fail(error.value)
    assert [word for word, _ in rig.warnings] == ["cache-disk-unusable"]
    assert rig.store.get(key_of(1)) == []  # memory only, for a while


def test_a_disk_full_from_the_start(small, tmp_path):
    """LMDB would touch a hole of its lock file and be killed by SIGBUS: room is reserved first, or refused."""
    fill(small)
    rig = Rig(small, tmp_path)
    assert [line.split()[0] for line in rig.writer.warnings()] == ["cache-disk-unusable"]
    rig.put(1)
    assert rig.store.sync(10.0) == (0, 0)
    assert rig.store.get(key_of(1)) == []
    rig.close()


def test_a_disk_that_is_read_only(rig, small, tmp_path):
    rig.put(1)
    rig.store.sync(10.0)
    rig.writer.stop()
    rig.store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    rig.writer.start()
    assert {line.split()[0] for line in rig.writer.warnings()} == {"cache-disk-unusable"}
    again = DiskStore(rig.store.root, BUDGET, rig.writer.address, lambda *words: rig.warnings.append(words))
    again.get(key_of(1))  # found or not: it is no error
    assert again.store(response(key_of(2)))
    assert again.sync(10.0) == (0, 0)
    assert again.upload() is None
    assert len(rig.warnings) == 1
    again.close()
    assert os.listdir(small)
