"""So many for each second."""

from headgate.server.bucket import Bucket


def test_a_second_s_worth_and_no_more():
    bucket = Bucket(3, 10.0)
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]


def test_it_fills_with_time_and_never_beyond_a_second_s_worth():
    bucket = Bucket(2, 10.0)
    assert bucket.take(10.0)
    assert bucket.take(10.0)
    assert not bucket.take(10.4)
    assert bucket.take(10.6)
    assert [bucket.take(100.0) for _ in range(3)] == [True, True, False]


def test_what_is_reserved_is_left():
    bucket = Bucket(3, 0.0)
    assert bucket.take(0.0, 2)
    assert not bucket.take(0.0, 2)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(0.5, 2)
    assert bucket.take(1.0, 2)
