"""The books of paths: validation, allowance, limits (RFC 9000 sections 8.1, 8.2, 9.3)."""

from headgate.engine.quic.closing import AMPLIFICATION
from headgate.engine.quic.paths import (
    MAX_ANSWERS,
    MAX_ANSWERS_HELD,
    MAX_CHALLENGES,
    MAX_NEW_PATHS,
    MAX_PATHS,
    NEW_PATH_SECONDS,
    Path,
    Paths,
)
from headgate.engine.quic.rtt import NEVER


def new_path(port, *, is_limited=True):
    return Path(("192.0.2.1", port), b"here", is_limited=is_limited)


def counting():
    """Eight octets that are never the same."""
    numbers = iter(range(1, 100))
    return lambda size: next(numbers).to_bytes(size, "big")


def test_rfc9000_8_1_the_allowance_until_the_address_is_proved():
    path = new_path(1)
    assert path.allowance() == 0
    path.octets_received = 100
    path.octets_sent = 250
    assert path.allowance() == AMPLIFICATION * 100 - 250
    path.octets_sent = 400
    assert path.allowance() == 0
    path.accept()
    assert path.allowance() == -1
    assert new_path(1, is_limited=False).allowance() == -1


def test_rfc9000_8_2_4_three_challenges_each_another_then_it_is_given_up():
    path, random = new_path(1), counting()
    path.ask(1.0, 0.5)
    assert (path.state(), path.gives_up_at) == ("validating", 1.0 + MAX_CHALLENGES * 0.5)
    sent = []
    now = 1.0
    while path.asks_at != NEVER:
        assert path.asks_at == now
        sent.append(path.challenge(random, now, is_wide=True))
        now += 0.5
    assert len(sent) == len(set(sent)) == MAX_CHALLENGES
    assert not path.is_answer(b"somebody")
    assert path.is_answer(sent[0])  # any of them
    assert (path.is_validated, path.is_wide, path.gives_up_at) == (True, True, NEVER)
    assert not path.is_answer(sent[1])
    assert repr(path) == "<Path 192.0.2.1 port 1, validated, 1200 octets>"


def test_rfc9000_8_2_1_a_small_challenge_proves_the_address_alone():
    path = new_path(1)
    path.ask(0.0, 0.5)
    assert path.is_answer(path.challenge(counting(), 0.0, is_wide=False))
    assert (path.is_validated, path.is_wide) == (True, False)


def test_rfc9000_8_2_3_an_answer_may_come_by_any_way():
    paths, random = Paths(new_path(1)), counting()
    paths.add(new_path(2), 0.0)
    data = []
    for path in paths.all:
        path.ask(0.0, 0.5)
        data.append(path.challenge(random, 0.0, is_wide=True))
        paths.on_challenge_sent()
    assert paths.answered(data[1]) is paths.all[1]
    assert paths.answered(b"too late") is None
    assert not paths.is_lie()
    paths.answered(b"one more")
    assert paths.is_lie()


def test_paths_at_the_limit_and_one_more():
    paths = Paths(new_path(0))
    proved = new_path(1)
    proved.accept()
    assert paths.add(proved, 0.0) is None
    for port in range(2, MAX_PATHS):
        assert paths.add(new_path(port), 0.0) is None
    gone = paths.add(new_path(MAX_PATHS), 0.0)
    assert gone is paths.all[2]  # the first that is not proved
    only = Paths(new_path(0))
    for port in range(1, MAX_PATHS):
        path = new_path(port)
        path.accept()
        only.add(path, 0.0)
    assert only.add(new_path(9), 0.0) is only.all[1]


def test_so_many_new_paths_at_once_and_then_one_in_a_second():
    paths = Paths(new_path(0))
    for port in range(1, MAX_NEW_PATHS + 1):
        assert paths.may_add(0.0)
        paths.add(new_path(port), 0.0)
    for port in range(2):
        assert not paths.may_add(port + NEW_PATH_SECONDS - 0.001)
        assert paths.may_add(port + NEW_PATH_SECONDS)
        paths.add(new_path(9 + port), port + NEW_PATH_SECONDS)


def test_answers_at_the_limit_and_one_more():
    paths = Paths(new_path(0))
    path = paths.active
    for number in range(MAX_ANSWERS):
        assert paths.hold_answer(path, number.to_bytes(8, "big"), 1.0, 0.1)
        assert len(path.answers) == min(number + 1, MAX_ANSWERS_HELD)
    assert path.answers[-1] == (MAX_ANSWERS - 1).to_bytes(8, "big")  # the oldest went
    assert not paths.hold_answer(path, bytes(8), 1.05, 0.1)
    assert paths.hold_answer(path, bytes(8), 1.1, 0.1)


def test_rfc9000_9_3_2_the_last_one_in_use_is_gone_back_to():
    paths = Paths(new_path(0))
    assert paths.fallback() is None
    for port in (1, 2):
        path = new_path(port)
        path.accept()
        path.is_wide = True
        paths.add(path, 0.0)
        paths.use(path)
    first, second = paths.all[-1], paths.active
    assert paths.fallback() is first
    paths.use(first)
    assert paths.fallback() is second
    assert paths.find(("192.0.2.1", 1), b"here") is first
    assert paths.find(("192.0.2.1", 1), b"there") is None


def test_the_timer_is_that_of_the_path_that_is_due_first():
    paths = Paths(new_path(0))
    paths.set_timer()
    assert paths.at == NEVER
    paths.active.leaves_at = 5.0
    paths.add(new_path(1), 0.0)
    paths.all[1].ask(1.0, 0.5)
    paths.set_timer()
    assert paths.at == 1.0
