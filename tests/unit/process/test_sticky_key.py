"""The key of sticky cookies: the same after a restart, private, and never a reason not to start."""

import os

import pytest

from headgate.errors import HeadgateError
from headgate.process.sticky_key import FILE_NAME, load_sticky_key, sticky_key_of


class Told:
    def __init__(self):
        self.reasons = []

    def event(self, name, level="info", *, limit_key="", **fields):
        assert (name, level) == ("sticky-key-not-kept", "warning")
        self.reasons.append(fields["reason"])


def test_it_stays_the_same(tmp_path):
    told = Told()
    first = load_sticky_key(tmp_path, told)
    assert load_sticky_key(tmp_path, told) == first
    assert len(sticky_key_of(first)) == 32
    assert os.stat(tmp_path / FILE_NAME).st_mode & 0o77 == 0
    assert told.reasons == []


@pytest.mark.parametrize(
    "content", [b"", b"headgate sticky 1\nshort", b"x" * 50, b"headgate sticky 1\n" + b"k" * 33]
)
def test_what_is_no_key_is_replaced_and_told(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    told = Told()
    made = load_sticky_key(tmp_path, told)
    assert told.reasons == ["it is not what was written there"]
    assert load_sticky_key(tmp_path, told) == made


def test_without_a_file_it_lasts_as_long_as_the_gate(tmp_path):
    told = Told()
    folder = tmp_path / "absent"
    assert load_sticky_key(folder, told) != load_sticky_key(folder, told)
    assert "it cannot be written: No such file or directory (errno 2)" in told.reasons


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "other").write_bytes(b"headgate sticky 1\n" + b"k" * 32)
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "other")
    told = Told()
    assert sticky_key_of(load_sticky_key(tmp_path, told)) != b"k" * 32
    assert told.reasons[0].startswith("it cannot be read: Too many levels of symbolic links")


def test_a_snapshot_without_one():
    with pytest.raises(HeadgateError, match="no key for sticky cookies"):
        sticky_key_of({})
