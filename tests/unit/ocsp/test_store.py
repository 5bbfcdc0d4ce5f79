"""The store: what is written is there whole, and no disk can raise."""

import errno
import os
import subprocess
from pathlib import Path

import pytest

from headgate.ocsp.settings import MAX_BODY
from headgate.ocsp.store import StapleStore


def test_saved_is_loaded_and_nothing_else_is_left(tmp_path: Path):
    store = StapleStore(tmp_path / "state" / "staples")
    assert store.load("k") == (None, None)
    assert store.save("k", b"first") is None
    assert store.save("k", b"second") is None
    assert store.save_issuer("f", b"issuer") is None
    assert store.load("k") == (b"second", None)
    assert store.load_issuer("f") == (b"issuer", None)
    assert sorted(os.listdir(tmp_path / "state" / "staples")) == ["f.issuer", "k.der"]
    assert (tmp_path / "state" / "staples" / "k.der").stat().st_mode & 0o777 == 0o600


def test_no_directory_is_no_problem():
    store = StapleStore(None)
    assert store.save("k", b"x") is None
    assert store.load("k") == (None, None)


def test_no_more_is_read_than_can_be_verified(tmp_path: Path):
    (tmp_path / "k.der").write_bytes(b"x" * (MAX_BODY * 4))
    data, _ = StapleStore(tmp_path).load("k")
    assert data is not None
    assert len(data) == MAX_BODY + 1


def test_what_is_no_file_is_reported(tmp_path: Path):
    (tmp_path / "k.der").mkdir()
    data, problem = StapleStore(tmp_path).load("k")
    assert data is None
    assert problem is not None
    assert (problem.doing, problem.errno, problem.path) == ("read", errno.EISDIR, str(tmp_path / "k.der"))
    problem = StapleStore(tmp_path).save("k", b"x")
    assert problem is not None
    assert problem.doing == "write"
    assert os.listdir(tmp_path) == ["k.der"]


def test_a_file_in_the_way_of_the_directory_is_reported(tmp_path: Path):
    (tmp_path / "staples").write_bytes(b"")
    problem = StapleStore(tmp_path / "staples").save("k", b"x")
    assert problem is not None
    assert problem.doing == "make"
    assert str(tmp_path / "staples") in str(problem)


@pytest.fixture
def tmpfs(tmp_path: Path):
    """A small disk of its own; root is needed, as CI has it."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_is_reported_keeps_the_old_and_leaves_no_litter(tmpfs: Path):
    store = StapleStore(tmpfs)
    assert store.save("k", b"old") is None
    (tmpfs / "ballast").write_bytes(b"x" * 40_000)
    problem = store.save("k", b"n" * 60_000)
    assert problem is not None
    assert problem.errno == errno.ENOSPC
    assert store.load("k") == (b"old", None)
    assert sorted(os.listdir(tmpfs)) == ["ballast", "k.der"]
    (tmpfs / "ballast").unlink()
    assert store.save("k", b"new") is None
    assert store.load("k") == (b"new", None)


def test_read_only_disk_is_reported_and_still_read(tmpfs: Path):
    store = StapleStore(tmpfs)
    assert store.save("k", b"old") is None
    subprocess.run(["mount", "-o", "remount,ro", str(tmpfs)], check=True)
    problem = store.save("k", b"new")
    assert problem is not None
    assert problem.errno == errno.EROFS
    assert store.load("k") == (b"old", None)
