"""Who uses a forward proxy: Basic authentication (RFC 7617) against the users of an htpasswd file.

A good hash costs milliseconds to a second, which no worker can spend between two requests. So a password is checked
in a thread, once, and what was right is remembered for `REMEMBER_SECONDS` under a keyed digest: the password itself
is kept nowhere, and the key is this process's own. Until the thread has an answer the exchange waits.

    Proxy-Authorization -> remembered? -> goes on, or 407
                        -> a check of the same words under way? -> waits for that one
                        -> an attempt left (`ATTEMPTS` for each client network)? else 429
                        -> a place in the queue (`MAX_CHECKS`)? else 503
                        -> a thread -> right: remembered, goes on, the attempt is given back
                                    -> wrong: 407, the attempt is spent
                                    -> not checked, or against a file of before: 407, the attempt is given back

Who is known goes on while somebody guesses from the same network. The same wrong words again are no new guess: a job
with an old password costs nothing, and locks nobody out. A new file forgets everything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Coroutine
from typing import Any, Final, Protocol, final

from headgate.connection.exchange import Exchange
from headgate.counters import (
    AUTHENTICATION_BUSY,
    AUTHENTICATION_CHECKED,
    AUTHENTICATION_THROTTLED,
    AUTHENTICATION_WRONG,
)

# How long a password that was right is believed without another look: what a user notices of a changed password is
# the file's own poll (seconds); this bounds what a worker remembers of people who left.
REMEMBER_SECONDS: Final = 300.0
# Users, or rather words, remembered in a worker, and as many wrong ones: 200 bytes each.
MAX_REMEMBERED: Final = 4096
# Checks under way or waiting for a thread. With hashes of 50 ms the last one waits for 1.6 s.
MAX_CHECKS: Final = 64
# Threads that check: more would only share the same cores with the requests of others.
CHECK_THREADS: Final = 2
# Wrong passwords of a client network in a row, and how long it takes until there is one attempt more: fail2ban's
# usual 5 in 10 minutes locks a typist out, 600 guesses an hour open no password worth the name.
ATTEMPTS: Final = 10
ATTEMPT_SECONDS: Final = 6.0
# Client networks whose wrong attempts are remembered; the ones beyond share a bucket.
MAX_GUESSERS: Final = 4096
# The value of Proxy-Authorization: user and password of 511 octets each at most, in base64, and "Basic ".
MAX_CREDENTIALS: Final = 1376

# What `judge` says.
ACCEPTED: Final = 0
ABSENT: Final = 1  # no credentials, or none that could be right
THROTTLED: Final = 2
BUSY: Final = 3
WAIT: Final = 4  # the waiter hears


class Users(Protocol):
    """Who knows the passwords; `Htpasswd` is one."""

    def verify(self, user: bytes, password: bytes) -> bool: ...


class Checker(Protocol):
    """Runs checks where they disturb nobody."""

    def begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` in the background."""
        ...

    async def check(self, users: Users, user: bytes, password: bytes) -> bool:
        """Call `users.verify` in a thread."""
        ...


class IdentityWaiter(Protocol):
    """Who waits for the end of a check."""

    def user_known(self, exchange: Exchange, is_right: bool) -> None:
        """The exchange may go on (`exchange.user` is set), or may not. It may be over meanwhile."""
        ...


@final
class _Guesser:
    """The attempts that a client network has left."""

    __slots__ = ("at", "left")

    def __init__(self, at: float) -> None:
        self.left = float(ATTEMPTS)
        self.at = at

    def take(self, now: float) -> bool:
        """Spend an attempt; False when there is none."""
        self.left = min(float(ATTEMPTS), self.left + (now - self.at) / ATTEMPT_SECONDS)
        self.at = now
        if self.left < 1.0:
            return False
        self.left -= 1.0
        return True

    def give_back(self) -> None:
        """What was taken was no wrong guess."""
        self.left += 1.0


@final
class _Check:
    """One check under way, and who waits for it."""

    __slots__ = ("exchanges", "user", "waiters")

    def __init__(self, user: bytes) -> None:
        self.user = user
        self.exchanges: list[Exchange] = []
        self.waiters: list[IdentityWaiter] = []


@final
class Authenticator:
    """The users of one listener, in one worker."""

    def __init__(self, users: Users, checker: Checker, values: list[int]) -> None:
        self._users = users
        self._checker = checker
        self._values = values
        self._key = os.urandom(32)
        self._remembered: dict[bytes, tuple[bytes, float]] = {}
        self._wrong: set[bytes] = set()
        self._checks: dict[bytes, _Check] = {}
        self._guessers: dict[str, _Guesser] = {}

    def __repr__(self) -> str:
        return f"<Authenticator {len(self._remembered)} remembered, {len(self._checks)} being checked>"

    def set_users(self, users: Users) -> None:
        """Take up another file: nobody is remembered, and what is being checked is not believed any more."""
        self._users = users
        self._remembered.clear()
        self._wrong.clear()
        self._key = os.urandom(32)

    def judge(self, exchange: Exchange, waiter: IdentityWaiter, now: float) -> int:
        """Look at the credentials of a request; with WAIT the waiter hears later."""
        values = exchange.request.fields.get_all(b"proxy-authorization")
        if len(values) != 1 or len(values[0]) > MAX_CREDENTIALS:
            return ABSENT
        digest = hashlib.blake2b(values[0], key=self._key, digest_size=32).digest()
        found = self._remembered.get(digest)
        if found is not None:
            if now < found[1]:
                exchange.user = found[0]
                return ACCEPTED
            del self._remembered[digest]
        if digest in self._wrong:
            return ABSENT
        check = self._checks.get(digest)
        if check is None:
            user, password = read_basic(values[0])
            if not user:
                return ABSENT
            guesser = self._guesser(exchange.context.network, now)
            if not guesser.take(now):
                self._values[AUTHENTICATION_THROTTLED] += 1
                return THROTTLED
            if len(self._checks) >= MAX_CHECKS:
                guesser.give_back()
                self._values[AUTHENTICATION_BUSY] += 1
                return BUSY
            check = self._checks[digest] = _Check(user)
            check.exchanges.append(exchange)
            check.waiters.append(waiter)
            work = self._verify(digest, check, password, guesser, now)
            self._checker.begin("proxy authentication", work)
            return WAIT
        check.exchanges.append(exchange)
        check.waiters.append(waiter)
        return WAIT

    async def _verify(
        self, digest: bytes, check: _Check, password: bytes, guesser: _Guesser, now: float
    ) -> None:
        users = self._users
        is_checked = False
        is_right = False
        try:
            is_right = await self._checker.check(users, check.user, password)
            self._values[AUTHENTICATION_CHECKED] += 1
            is_checked = users is self._users  # a file that came meanwhile knows better
            is_right = is_right and is_checked
        finally:
            del self._checks[digest]
            if is_right:
                if len(self._remembered) >= MAX_REMEMBERED:
                    self._remembered.clear()
                self._remembered[digest] = (check.user, now + REMEMBER_SECONDS)
            elif is_checked:
                self._values[AUTHENTICATION_WRONG] += 1
                if len(self._wrong) >= MAX_REMEMBERED:
                    self._wrong.clear()
                self._wrong.add(digest)
            if is_right or not is_checked:
                guesser.give_back()
            _tell(check, is_right)

    # -- guessing

    def _guesser(self, network: str, now: float) -> _Guesser:
        guesser = self._guessers.get(network)
        if guesser is None:
            if len(self._guessers) >= MAX_GUESSERS:
                self.forget(now)
            if len(self._guessers) >= MAX_GUESSERS:
                network = ""  # shared by whoever finds no place
            guesser = self._guessers.get(network)
            if guesser is None:
                guesser = self._guessers[network] = _Guesser(now)
        return guesser

    def forget(self, now: float) -> None:
        """Drop networks that have all their attempts again; called when the table is full."""
        full = [
            network
            for network, guesser in self._guessers.items()
            if guesser.left + (now - guesser.at) / ATTEMPT_SECONDS >= ATTEMPTS
        ]
        for network in full:
            del self._guessers[network]


def _tell(check: _Check, is_right: bool) -> None:
    """Tell everybody who waits; a defect of one must not leave the others waiting for ever."""
    defect: Exception | None = None
    for place in range(len(check.exchanges)):
        exchange = check.exchanges[place]
        if is_right:
            exchange.user = check.user
        try:
            check.waiters[place].user_known(exchange, is_right)
        except Exception as error:
            defect = error
    if defect is not None:
        raise defect


def read_basic(value: bytes) -> tuple[bytes, bytes]:
    """Return user and password of Basic credentials in UTF-8, two times b"" for what are none (RFC 7617 section 2).

    What is no UTF-8 is Latin-1: pip and others write so whatever the challenge says.
    """
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"basic":
        return b"", b""
    try:
        plain = base64.b64decode(token.strip(b" "), validate=True)
    except (binascii.Error, ValueError):
        return b"", b""
    try:
        plain.decode()
    except UnicodeDecodeError:
        plain = plain.decode("latin-1").encode()
    user, colon, password = plain.partition(b":")
    if not colon or not user or any(octet < 0x20 or octet == 0x7F for octet in plain):
        return b"", b""
    return user, password
