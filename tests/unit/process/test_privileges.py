"""Becoming another user, in a child that may."""

import os
import pwd

import pytest

from headgate.errors import ConfigError
from headgate.process.fork import fork_child
from headgate.process.privileges import Account, PrivilegeError, become, find_account

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def in_child(action):
    pid = fork_child("test", action)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_no_user_is_no_change():
    assert find_account("") is None
    become(None)


def test_unknown_user_is_named():
    with pytest.raises(ConfigError, match='user = "no-such-user-here"'):
        find_account("no-such-user-here")


def test_the_current_user_is_no_change():
    account = find_account(pwd.getpwuid(os.geteuid()).pw_name)
    become(account)
    assert account.is_current()


@root_only
def test_becomes_the_user_with_its_groups_only_and_for_good():
    account = find_account("nobody")

    def child():
        become(account)
        ids = (*os.getresuid(), *os.getresgid())
        if ids != (account.uid,) * 3 + (account.gid,) * 3:
            return 1
        if set(os.getgroups()) != set(account.groups):
            return 2
        try:
            os.seteuid(0)
        except PermissionError:
            return 0
        return 3

    assert in_child(child) == 0


@root_only
def test_another_user_needs_root():
    nobody, root = find_account("nobody"), Account("root2", 0, 0, (0,))

    def child():
        become(nobody)
        try:
            become(root)
        except PrivilegeError:
            pass
        else:
            return 1
        try:
            find_account("root")
        except ConfigError as exc:
            return 0 if "this is nobody" in str(exc) else 2
        return 3

    assert in_child(child) == 0
