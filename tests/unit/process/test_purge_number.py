"""Numbers of purges grow whatever the clock does, and whoever starts again."""

import os

import pytest

from headgate.process.purge_number import NAME, PurgeNumbers


class Clock:
    """Says what it is told."""

    def __init__(self, wall):
        self.said = wall

    def now(self):
        return 0.0

    def wall(self):
        return self.said


@pytest.fixture
def told():
    return []


def test_they_are_those_of_the_clock(tmp_path, told):
    clock = Clock(1000.0)
    numbers = PurgeNumbers(tmp_path / NAME, clock, told.append)
    assert [numbers.next(), numbers.next()] == [1_000_000_000, 1_000_000_001]
    clock.said = 2000.0
    assert numbers.next() == 2_000_000_000
    assert told == []


def test_a_clock_that_is_set_back_makes_none_smaller(tmp_path, told):
    clock = Clock(2000.0)
    numbers = PurgeNumbers(tmp_path / NAME, clock, told.append)
    last = numbers.next()
    clock.said = 1000.0
    assert numbers.next() == last + 1
    assert PurgeNumbers(tmp_path / NAME, clock, told.append).next() == last + 2  # after a restart
    assert os.stat(tmp_path / NAME).st_mode & 0o077 == 0
    assert told == []


@pytest.mark.parametrize("octets", [b"", b"many", b"-5", b"1" * 20, b"\xff\n"])
def test_what_is_not_a_number_is_told_and_the_clock_counts(tmp_path, told, octets):
    (tmp_path / NAME).write_bytes(octets)
    assert PurgeNumbers(tmp_path / NAME, Clock(3.0), told.append).next() == 3_000_000
    assert told == ["it is not what was written there; counting begins at the clock"]
    assert PurgeNumbers(tmp_path / NAME, Clock(1.0), told.append).next() == 3_000_001


def test_what_cannot_be_read_or_kept_is_told(tmp_path, told):
    (tmp_path / NAME).mkdir()
    assert PurgeNumbers(tmp_path / NAME, Clock(3.0), told.append).next() == 3_000_000
    assert [word.split(":")[0] for word in told] == ["it cannot be read", "it cannot be written"]
