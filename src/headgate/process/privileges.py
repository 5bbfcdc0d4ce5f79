"""Giving up root: the supervisor may keep it for ports below 1024, workers and keeper run as `user`.

The order matters: supplementary groups first (only root may set them), then the group, then the user;
afterwards it is checked that there is no way back. Nothing here runs when `user` is empty.
"""

import grp
import os
import pwd
from dataclasses import dataclass

from headgate.errors import ConfigError, HeadgateError


class PrivilegeError(HeadgateError):
    """The process could not become the configured user, or could become root again."""


@dataclass(frozen=True, slots=True)
class Account:
    """A user with its primary group and all of its groups."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    def is_current(self) -> bool:
        """Tell whether this process already runs as that user."""
        return os.geteuid() == self.uid and os.getuid() == self.uid


def find_account(name: str) -> Account | None:
    """Look up the setting `user`; "" gives None.

    Raises:
        ConfigError: there is no such user, or we are not root and run as somebody else.
    """
    if not name:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f'user = "{name}": this machine has no such user') from None
    groups = {entry.pw_gid, *(group.gr_gid for group in grp.getgrall() if name in group.gr_mem)}
    account = Account(name, entry.pw_uid, entry.pw_gid, tuple(sorted(groups)))
    if os.geteuid() != 0 and not account.is_current():
        own = pwd.getpwuid(os.geteuid()).pw_name
        raise ConfigError(f'user = "{name}": only root can change to another user, and this is {own}')
    return account


def become(account: Account | None) -> None:
    """Become `account` for good; nothing happens for None or when we are that user already.

    Raises:
        PrivilegeError: a step failed, or root could be had back.
    """
    if account is None or account.is_current():
        return
    try:
        os.setgroups(account.groups)
        os.setresgid(account.gid, account.gid, account.gid)
        os.setresuid(account.uid, account.uid, account.uid)
    except OSError as exc:
        raise PrivilegeError(
            f"cannot become user {account.name}: {exc.strerror} (errno {exc.errno})"
        ) from exc
    if account.uid == 0:
        return
    try:
        os.setuid(0)
    except PermissionError:
        return
    raise PrivilegeError(f"became user {account.name}, yet could become root again")
