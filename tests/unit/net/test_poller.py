"""The poller: who is woken, in which order, and that a crash is one owner's own affair."""

import os
import select

import pytest

from headgate.net.poller import MAX_DEFERRED, READ, WRITE, Pollable, Poller


class Owner(Pollable):
    """Writes down what happens to it; `act` is what it does when it becomes readable."""

    def __init__(self, poller, log, name, act=None):
        self.fd = os.eventfd(1)
        self.poller, self.log, self.name, self.act = poller, log, name, act
        poller.add(self.fd, self, READ)

    def on_readable(self):
        os.eventfd_read(self.fd)
        self.log.append(f"{self.name} reads")
        if self.act is not None:
            self.act(self)

    def on_writable(self):
        self.log.append(f"{self.name} may write")

    def write_deferred(self):
        self.log.append(f"{self.name} writes")
        if self.name == "bad":
            raise ValueError(self.name)

    def on_crash(self, error):
        self.log.append(f"{self.name} crashed: {error}")

    def close(self):
        self.poller.remove(self.fd)
        os.close(self.fd)


def defer(owner):
    assert owner.poller.in_round
    owner.poller.defer(owner)


@pytest.fixture
def make():
    poller, log, made = Poller(), [], []

    def owner(name="", act=None):
        made.append(Owner(poller, log, name, act))
        return made[-1]

    owner.poller, owner.log = poller, log
    yield owner
    for one in made:
        one.close()
    poller.close()


def test_a_round_reads_first_and_writes_last(make):
    for name in "ab":
        make(name, defer)
    make.poller.dispatch()
    assert make.log == ["a reads", "b reads", "a writes", "b writes"]
    assert not make.poller.in_round
    make.poller.dispatch()
    assert len(make.log) == 4, "once for each time it asked"


def test_a_crash_at_the_end_of_a_round_is_nobody_elses(make):
    for name in ("bad", "good"):
        make(name, defer)
    make.poller.dispatch()
    assert make.log[2:] == ["bad writes", "bad crashed: bad", "good writes"]


def test_nobody_waits_for_a_whole_big_round(make):
    for count in range(MAX_DEFERRED + 1):
        make(str(count), defer)
    make.poller.dispatch()
    assert make.log.index("0 writes") == MAX_DEFERRED, "after 64 have read, before the last one does"
    assert len(make.log) == 2 * (MAX_DEFERRED + 1)


def test_a_descriptor_that_was_closed_in_this_round_wakes_nobody(make):
    first = make("a", lambda owner: owner.poller.remove(owner.other.fd))
    first.other = make("b")
    make.poller.dispatch()
    assert make.log == ["a reads"]


def test_interest_can_change(make):
    owner = make("a")
    make.poller.change(owner.fd, WRITE)
    make.poller.dispatch()
    assert make.log == ["a may write"]


def is_awake(poller):
    return select.select([poller], [], [], 0)[0] == [poller]


def test_what_is_deferred_out_of_a_round_begins_one(make):
    owner = make("a")
    make.poller.change(owner.fd, 0)
    make.poller.dispatch()
    assert not is_awake(make.poller)
    for count in (1, 2):
        make.poller.defer(owner)
        make.poller.defer(owner)
        assert is_awake(make.poller)
        make.poller.dispatch()
        assert make.log == ["a writes"] * 2 * count
        assert not is_awake(make.poller), "once"


def test_what_is_deferred_at_the_end_of_a_round_begins_the_next(make):
    class Again(Owner):
        def write_deferred(self):
            super().write_deferred()
            if len(self.log) < 3:
                self.poller.defer(self)

    owner = Again(make.poller, make.log, "a")
    make.poller.change(owner.fd, 0)
    make.poller.defer(owner)
    while is_awake(make.poller):
        make.poller.dispatch()
    assert make.log == ["a writes"] * 3
    owner.close()


def test_a_poller_that_is_closed_leaves_no_descriptor():
    before = set(os.listdir("/proc/self/fd"))
    poller = Poller()
    poller.close()
    poller.close()
    assert set(os.listdir("/proc/self/fd")) == before
