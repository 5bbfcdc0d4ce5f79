"""Counting requests by key in bounded memory."""

from headgate.cache.store.admission import Admission


def test_the_second_request_lets_in():
    admission = Admission()
    assert not admission.ask(b"key")
    assert admission.ask(b"key")
    assert admission.ask(b"key")
    assert not admission.ask(b"other")
    assert admission.refused == 2


def test_a_threshold_of_one_lets_all_in():
    admission = Admission(threshold=1)
    assert admission.ask(b"key")
    assert admission.refused == 0


def test_it_never_counts_too_little():
    admission = Admission(1024, threshold=3)
    truth = {}
    for number in range(5000):
        key = b"%d" % (number * number % 700)
        truth[key] = truth.get(key, 0) + 1
        admission.ask(key)
        assert admission.estimate(key) >= min(truth[key], 15)


def test_it_seldom_counts_too_much():
    admission = Admission(1 << 14)
    for number in range(8000):
        admission.ask(b"%d" % number)
    assert sum(admission.estimate(b"%d" % number) > 1 for number in range(8000)) < 400


def test_counts_end_at_fifteen():
    admission = Admission(1024)
    for _ in range(100):
        admission.ask(b"key")
    assert admission.estimate(b"key") == 15


def test_counts_are_halved_in_time():
    admission = Admission(1024)
    for _ in range(8):
        admission.ask(b"key")
    for number in range(10 * 1024 - 8):
        admission.ask(b"%d" % (number % 50))
    assert admission.estimate(b"key") == 4
