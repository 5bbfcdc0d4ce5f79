"""What is removed from the store, and above all what is not."""

import os
import subprocess

import pytest

from headgate.ocsp.prune import ISSUER_KEPT, Pruned, prune
from headgate.testing.pki import Authority, ocsp_error

ROOT = Authority.root()
LEAF = ROOT.leaf("a.test")
NOW = 1_800_000_000.0
HOUR = 3600.0
A, B = "a" * 64, "b" * 64


def response(status="good", left=HOUR):
    return ROOT.ocsp(
        LEAF, status, this_update=NOW - 24 * HOUR, next_update=None if left is None else NOW + left
    )


def store(directory, files):
    for name, content in files.items():
        (directory / name).write_bytes(content)


def pruned(directory, keys=(), fingerprints=()):
    return prune(directory, keys, fingerprints, NOW)


@pytest.mark.parametrize(
    "content",
    [response(left=-1.0), response(left=None), ocsp_error("tryLater"), b"", b"\x30\x00", b"junk" * 40_000],
    ids=["expired", "no-next-update", "no-success", "empty", "malformed", "huge"],
)
def test_a_response_of_no_use_goes_unless_its_certificate_is_there(tmp_path, content):
    store(tmp_path, {f"{A}.der": content, f"{B}.der": content})
    assert pruned(tmp_path, keys=[B]) == Pruned(1)
    assert os.listdir(tmp_path) == [f"{B}.der"]


@pytest.mark.parametrize("content", [response(), response("revoked"), response("revoked", left=-HOUR)])
def test_what_may_be_of_use_stays_though_its_certificate_is_gone(tmp_path, content):
    store(tmp_path, {f"{A}.der": content})
    assert pruned(tmp_path) == Pruned(0)
    assert os.listdir(tmp_path) == [f"{A}.der"]


def test_an_issuer_goes_after_a_month_without_its_certificate(tmp_path):
    for number, (name, age) in enumerate(((A, ISSUER_KEPT + 1), (B, ISSUER_KEPT + 1), ("c" * 64, HOUR))):
        store(tmp_path, {f"{name}.issuer": b"%d" % number})
        os.utime(tmp_path / f"{name}.issuer", (NOW - age, NOW - age))
    assert pruned(tmp_path, fingerprints=[B]) == Pruned(1)
    assert sorted(os.listdir(tmp_path)) == [f"{B}.issuer", "c" * 64 + ".issuer"]


def test_halves_of_dead_processes_go_and_our_own_stay(tmp_path):
    ours = f".{A}.der.{os.getpid()}.tmp"
    store(tmp_path, {f".{A}.der.1.tmp": b"half", f".{B}.issuer.1.tmp": b"half", ours: b"being written"})
    assert pruned(tmp_path) == Pruned(2)
    assert os.listdir(tmp_path) == [ours]


def test_what_is_not_called_like_ours_or_is_no_file_stays(tmp_path):
    foreign = {
        "notes.txt", "a.der", f"{A[:-1]}.der", f"{A}0.der", f"{A.upper()}.der", f"{A}.der.bak", f"{A}.pem",
        f"my-{A}.der", f"{A}.der.1.tmp", f".{A}.tmp", f".{A}.der.x.tmp",
    }  # fmt: skip
    store(tmp_path, dict.fromkeys(foreign, b"junk"))
    (tmp_path / f"{A}.der").mkdir()
    (tmp_path / f"{B}.der").symlink_to(tmp_path / "notes.txt")
    assert pruned(tmp_path) == Pruned(0)
    assert set(os.listdir(tmp_path)) == foreign | {f"{A}.der", f"{B}.der"}


def test_without_a_directory_there_is_nothing_to_do(tmp_path):
    assert pruned(tmp_path / "absent") == Pruned(0)


def test_a_disk_that_refuses_is_told_and_does_not_end_it(tmp_path):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        store(tmp_path, {f"{A}.der": b"junk", f"{B}.der": b"junk"})
        subprocess.run(["mount", "-o", "remount,ro", str(tmp_path)], check=True)
        result = pruned(tmp_path)
        assert result.count == 0
        assert result.problem is not None
        assert result.problem.doing == "remove"
        assert "Read-only" in str(result.problem)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
