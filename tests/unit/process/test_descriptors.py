"""Open files: raised where that is allowed, else the promise shrinks."""

import os
import resource

import pytest

from headgate.process.descriptors import OVERHEAD, affordable, raise_file_limit, wanted_files
from headgate.process.fork import fork_child
from headgate.process.privileges import become, find_account


def in_child(action):
    return os.waitstatus_to_exitcode(os.waitpid(fork_child("test", action), 0)[1])


def limits():
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def test_never_lowered():
    before = limits()
    assert raise_file_limit(10) == before[0]
    assert limits() == before


def test_raised_up_to_the_hard_limit():
    def child():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
        if os.geteuid() == 0:
            become(find_account("nobody"))
        if raise_file_limit(250) != 250 or limits() != (250, 300):
            return 1
        return 0 if raise_file_limit(1000) == 300 and limits() == (300, 300) else 2

    assert in_child(child) == 0


def test_what_is_promised_fits_and_one_more_does_not():
    assert wanted_files(1000) == 2000 + OVERHEAD
    assert affordable(1000, wanted_files(1000)) == 1000
    assert affordable(1000, wanted_files(1000) - 1) == 999
    assert affordable(1000, 10) == 1


@pytest.mark.parametrize("connections", [1, 17, 9872])
def test_affordable_is_the_inverse_of_wanted(connections):
    assert affordable(10**9, wanted_files(connections)) == connections
