"""Directories and their owner, and the lock."""

import os

import pytest

from headgate.process.directories import StateError, StateLock, make_directory
from headgate.process.privileges import Account, find_account

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_directories_are_made_with_their_mode_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        make_directory(tmp_path / "a" / "b", 0o711, None, "runtime_dir")
    finally:
        os.umask(before)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o711


def test_a_mode_that_the_operator_chose_stays(tmp_path):
    (tmp_path / "a").mkdir(mode=0o750)
    make_directory(tmp_path / "a", 0o700, None, "state_dir")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o750


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(StateError, match=r"state_dir .*/a: .*errno 17"):
        make_directory(tmp_path / "a", 0o700, None, "state_dir")
    with pytest.raises(StateError, match=r"state_dir .*/a/b: .*errno 20"):
        make_directory(tmp_path / "a" / "b", 0o700, None, "state_dir")


@root_only
def test_what_root_made_is_handed_over_once_and_links_are_not_followed(tmp_path):
    owner = find_account("nobody")
    state, outside = tmp_path / "state", tmp_path / "outside"
    (state / "staples").mkdir(parents=True)
    (state / "staples" / "x").write_text("")
    outside.write_text("")
    (state / "link").symlink_to(outside)
    make_directory(state, 0o700, owner, "state_dir")
    assert (state / "staples" / "x").stat().st_uid == owner.uid
    assert state.stat().st_gid == owner.gid
    assert outside.stat().st_uid == 0
    # From now on the directory is the user's, and root does not walk through it again.
    (state / "planted").write_text("")
    make_directory(state, 0o700, owner, "state_dir")
    assert (state / "planted").stat().st_uid == 0


def test_the_owner_that_we_are_changes_nothing(tmp_path):
    me = Account("me", os.geteuid(), os.getegid(), (os.getegid(),))
    make_directory(tmp_path / "a", 0o700, me, "state_dir")
    assert (tmp_path / "a").stat().st_uid == os.geteuid()


def test_lock_names_its_holder_and_can_be_taken_again_after_it(tmp_path):
    first = StateLock(tmp_path)
    with pytest.raises(StateError, match=f"in use by process {os.getpid()} .*headgate.lock"):
        StateLock(tmp_path)
    first.close()
    first.close()
    StateLock(tmp_path).close()


def test_lock_is_no_way_to_write_through_a_link(tmp_path):
    (tmp_path / "target").write_text("precious")
    (tmp_path / "headgate.lock").symlink_to(tmp_path / "target")
    with pytest.raises(StateError, match="errno 40"):
        StateLock(tmp_path)
    assert (tmp_path / "target").read_text() == "precious"
