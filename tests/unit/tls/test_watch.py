"""Files that change: taken up, or the certificate of before kept and the reason told."""

import os

import pytest

from headgate.testing.clock import FakeClock
from headgate.tls import watch
from headgate.tls.files import CertificateFiles
from headgate.tls.staple import Staple
from headgate.tls.watch import CertificateShelf

STAPLE = Staple(b"der", 1, 2, "good")


def bundle(root, leaf) -> bytes:
    return leaf.pem + root.pem + leaf.key_pem


@pytest.fixture
def folder(tmp_path, root):
    for name in ("a.test", "b.test"):
        (tmp_path / f"{name}.pem").write_bytes(bundle(root, root.leaf(name)))
    return tmp_path


@pytest.fixture
def shelf(folder):
    made = CertificateShelf([CertificateFiles(f"{folder}/*.pem")], FakeClock())
    assert len(made.load()) == 2
    assert made.problems() == []
    return made


def names(identities) -> list[str]:
    return [identity.names[0] for identity in identities]


def reasons(shelf) -> list[str]:
    return [f"{os.path.basename(problem.file)}: {problem.reason}" for problem in shelf.problems()]


def replace(path, content: bytes) -> None:
    """Write as deploy tools do: another file, renamed into place."""
    temporary = path.with_suffix(".new")
    temporary.write_bytes(content)
    temporary.rename(path)


def test_nothing_changed_reads_nothing(shelf, monkeypatch):
    monkeypatch.setattr(watch, "load_place", lambda place: pytest.fail("read again"))
    assert shelf.poll() is None
    assert repr(shelf) == "<CertificateShelf 2 served, 0 problems>"


def test_a_renewed_file_is_taken_up_and_the_others_stay_the_same_objects(shelf, folder, root):
    a, b = shelf.identities()
    b.staple = STAPLE
    replace(folder / "a.test.pem", bundle(root, root.leaf("a.test", "new.test")))
    after = shelf.poll()
    assert after[0] is not a
    assert after[0].names == ("a.test", "new.test")
    assert after[1] is b
    assert after[1].staple is STAPLE
    assert shelf.poll() is None


def test_a_touched_file_is_no_change(shelf, folder):
    os.utime(folder / "a.test.pem", (1, 1))
    assert shelf.poll() is None


def test_a_new_chain_for_the_same_leaf_keeps_the_staple(shelf, folder, root):
    a = shelf.identities()[0]
    a.staple = STAPLE
    replace(folder / "a.test.pem", a.chain_pem + a.key_pem + b"\n")
    (folder / "a.test.pem.ocsp").write_bytes(b"r")
    after = shelf.poll()
    assert after[0] is not a
    assert after[0].staple is STAPLE
    assert after[0].response == b"r"


def test_files_come_and_go(shelf, folder, root):
    (folder / "c.test.pem").write_bytes(bundle(root, root.leaf("c.test")))
    assert names(shelf.poll()) == ["a.test", "b.test", "c.test"]
    (folder / "b.test.pem").unlink()
    assert shelf.poll() is None  # perhaps it is just being written anew
    assert any("b.test.pem" in reason and "still served" in reason for reason in reasons(shelf))
    assert names(shelf.poll()) == ["a.test", "c.test"]
    assert shelf.problems() == []


def test_a_file_that_is_removed_and_written_anew_between_two_polls(shelf, folder, root):
    (folder / "a.test.pem").unlink()
    assert shelf.poll() is None
    assert names(shelf.identities()) == [
        "a.test",
        "b.test",
    ]  # in their order: the first one answers for the unknown
    (folder / "a.test.pem").write_bytes(bundle(root, root.leaf("a.test", "again.test")))
    assert shelf.poll()[0].names == ("a.test", "again.test")


def test_the_last_certificate_is_never_dropped(shelf, folder):
    for path in folder.glob("*.pem"):
        path.unlink()
    for _ in range(4):
        shelf.poll()
    assert names(shelf.identities()) == ["a.test", "b.test"]
    assert any("no file is called like this" in reason for reason in reasons(shelf))


@pytest.mark.parametrize("cut", [0, 1, 100, 900, -10])
def test_half_written_files_keep_the_certificate_of_before(shelf, folder, root, cut):
    before = shelf.identities()
    whole = bundle(root, root.leaf("a.test", "new.test"))
    (folder / "a.test.pem").write_bytes(whole[:cut])
    assert shelf.poll() is None
    assert shelf.identities() == before
    (reason,) = reasons(shelf)
    assert reason.startswith("a.test.pem: ")
    assert "still served" in reason
    assert not shelf.problems()[0].fatal
    (folder / "a.test.pem").write_bytes(whole)
    assert shelf.poll()[0].names == ("a.test", "new.test")
    assert shelf.problems() == []


def test_key_first_files_are_half_written_too(shelf, folder, root):
    leaf = root.leaf("a.test", "new.test")
    (folder / "a.test.pem").write_bytes(leaf.key_pem)
    assert shelf.poll() is None
    assert "only a key" in reasons(shelf)[0]
    (folder / "a.test.pem").write_bytes(leaf.key_pem + leaf.pem + root.pem)
    assert shelf.poll()[0].names == ("a.test", "new.test")


def test_chain_and_key_apart_are_taken_up_when_both_are_there(tmp_path, root):
    old, new = root.leaf("a.test"), root.leaf("a.test", "new.test")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(old.pem + root.pem)
    key.write_bytes(old.key_pem)
    shelf = CertificateShelf([CertificateFiles(str(chain), key=str(key))], FakeClock())
    shelf.load()
    replace(chain, new.pem + root.pem)
    assert shelf.poll() is None
    assert "does not belong" in reasons(shelf)[0]
    assert shelf.poll() is None
    replace(key, new.key_pem)
    assert shelf.poll()[0].names == ("a.test", "new.test")


def test_a_file_that_was_broken_from_the_start_heals(tmp_path, root):
    path = tmp_path / "a.pem"
    shelf = CertificateShelf([CertificateFiles(str(path))], FakeClock())
    assert shelf.load() == []
    assert shelf.problems()[0].fatal
    assert shelf.poll() is None
    path.write_bytes(bundle(root, root.leaf("a.test")))
    assert names(shelf.poll()) == ["a.test"]
    assert shelf.problems() == []


def test_a_key_that_moves_beside_the_chain(tmp_path, root):
    leaf = root.leaf("a.test")
    path = tmp_path / "a.pem"
    path.write_bytes(bundle(root, leaf))
    shelf = CertificateShelf([CertificateFiles(str(path))], FakeClock())
    shelf.load()
    renewed = root.leaf("a.test", "new.test")
    path.write_bytes(renewed.pem + root.pem)
    assert shelf.poll() is None
    (tmp_path / "a.key").write_bytes(renewed.key_pem)
    assert shelf.poll()[0].names == ("a.test", "new.test")


def test_expiry_is_told_without_any_change_on_disk(tmp_path, root):
    clock = FakeClock()
    path = tmp_path / "a.pem"
    path.write_bytes(bundle(root, root.leaf("a.test", not_after=clock.wall() + 100)))
    shelf = CertificateShelf([CertificateFiles(str(path))], clock)
    shelf.load()
    assert shelf.problems() == []
    clock.jump(200)
    assert "expired" in shelf.problems()[0].reason
