import base64

import pytest
from tests.unit.proxy.forward_path import Checks, ForwardPath, People

from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange
from headgate.counters import (
    AUTHENTICATION_BUSY,
    AUTHENTICATION_CHECKED,
    AUTHENTICATION_THROTTLED,
    AUTHENTICATION_WRONG,
    SIZE,
)
from headgate.engine.events import Request
from headgate.http.fields import Fields
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.proxy.authentication import (
    ABSENT,
    ACCEPTED,
    ATTEMPT_SECONDS,
    ATTEMPTS,
    BUSY,
    MAX_CHECKS,
    MAX_CREDENTIALS,
    MAX_GUESSERS,
    MAX_REMEMBERED,
    REMEMBER_SECONDS,
    THROTTLED,
    WAIT,
    Authenticator,
    read_basic,
)


def basic(user, password):
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


class Waiter:
    def __init__(self):
        self.heard = []

    def user_known(self, exchange, is_right):
        self.heard.append((exchange, is_right))


@pytest.fixture(scope="module", autouse=True)
def client():
    """A client's connection, which compiled exchanges want to have; nothing is answered on it."""
    path = ForwardPath()
    Door.client = path.client()
    yield
    path.close()


class Door:
    client = None

    def __init__(self, **people):
        self.values = [0] * SIZE
        self.checks = Checks()
        self.auth = Authenticator(People(**(people or {"alice": "pw"})), self.checks, self.values)
        self.waiter = Waiter()
        self.now = 1000.0

    def exchange(self, *values, network="192.0.2.1"):
        peer = Forwarder(Networks(())).connection(b"192.0.2.1", b"http", 80)
        context = ConnectionContext("test", "192.0.2.1", 4000, b"http", peer)
        context.network = network
        fields = Fields([], [])
        for value in values:
            fields.add(b"proxy-authorization", value, b"Proxy-Authorization")
        return Exchange(self.client, context, Request(b"GET", b"/", 11, fields), self.now)

    def come(self, *values, network="192.0.2.1"):
        """Return the verdict, and in the end whether it was right (None: nobody was asked)."""
        exchange = self.exchange(*values, network=network)
        before = len(self.waiter.heard)
        verdict = self.auth.judge(exchange, self.waiter, self.now)
        heard = self.waiter.heard[before:]
        return verdict, heard[0][1] if heard else None


@pytest.fixture
def door():
    return Door()


def test_a_right_password_is_checked_once_and_remembered_for_a_while(door):
    assert door.come(basic("alice", "pw")) == (WAIT, True)
    assert door.come(basic("alice", "pw")) == (ACCEPTED, None)
    door.now += REMEMBER_SECONDS - 1
    assert door.come(basic("alice", "pw")) == (ACCEPTED, None)
    door.now += 1
    assert door.come(basic("alice", "pw")) == (WAIT, True)
    assert door.checks.count == 2
    assert door.values[AUTHENTICATION_CHECKED] == 2


def test_the_exchange_knows_who(door):
    door.come(basic("alice", "pw"))
    exchange = door.exchange(basic("alice", "pw"))
    door.auth.judge(exchange, door.waiter, door.now)
    assert exchange.user == b"alice"
    assert door.waiter.heard[0][0].user == b"alice"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Basic",
        b"Basic ",
        b"Bearer YWxpY2U6cHc=",
        b"Basic YWxpY2U6cHc",  # without its padding
        b"Basic !!!!",
        b"Basic " + base64.b64encode(b"alice"),
        b"Basic " + base64.b64encode(b":pw"),
        b"Basic " + base64.b64encode(b"alice:p\0w"),
        b"Basic " + base64.b64encode(b"ali\nce:pw"),
    ],
)
def test_what_is_no_basic_is_absent_and_costs_no_check(door, value):
    assert door.come(value) == (ABSENT, None)
    assert door.checks.count == 0


def test_none_and_two_are_absent(door):
    assert door.come() == (ABSENT, None)
    assert door.come(basic("alice", "pw"), basic("bob", "pw")) == (ABSENT, None)


def test_credentials_at_their_longest_and_one_more(door):
    user, password = "u" * 511, "p" * 511
    longest = basic(user, password)
    assert len(longest) <= MAX_CREDENTIALS
    assert door.come(longest) == (WAIT, False)
    assert door.come(basic(user, "p" * 520)) == (ABSENT, None)


def test_the_scheme_has_any_case_and_a_password_colons():
    assert read_basic(b"bASIC   " + base64.b64encode(b"alice:p:w")) == (b"alice", b"p:w")


def test_rfc7617_2_1_utf8_and_the_latin1_of_those_who_do_not_read_the_challenge():
    for charset in ("utf-8", "latin-1"):
        assert read_basic(b"Basic " + base64.b64encode("ä:ö".encode(charset))) == ("ä".encode(), "ö".encode())


def test_wrong_attempts_of_a_network_are_bounded_and_come_back(door):
    for n in range(ATTEMPTS):
        assert door.come(basic("alice", f"guess{n}")) == (WAIT, False)
    assert door.come(basic("alice", "one more")) == (THROTTLED, None)
    assert door.come(basic("alice", "pw")) == (THROTTLED, None)  # not even the right one is looked at
    assert door.come(basic("alice", "x"), network="192.0.2.2") == (WAIT, False)
    assert door.checks.count == ATTEMPTS + 1
    assert door.values[AUTHENTICATION_THROTTLED] == 2
    assert door.values[AUTHENTICATION_WRONG] == ATTEMPTS + 1
    door.now += ATTEMPT_SECONDS
    assert door.come(basic("alice", "pw")) == (WAIT, True)


def test_right_ones_cost_no_attempt_and_the_known_go_on_while_somebody_guesses():
    door = Door(**{f"u{n}": "pw" for n in range(ATTEMPTS * 2)})
    for n in range(ATTEMPTS * 2):
        assert door.come(basic(f"u{n}", "pw")) == (WAIT, True)
    for n in range(ATTEMPTS):
        door.come(basic("u0", f"guess{n}"))
    assert door.come(basic("u0", "other")) == (THROTTLED, None)
    assert door.come(basic("u0", "pw")) == (ACCEPTED, None)


def test_attempts_under_way_are_spent_already(door):
    door.checks.hold = True
    for n in range(ATTEMPTS):
        assert door.come(basic("alice", f"guess{n}")) == (WAIT, None)
    assert door.come(basic("alice", "one more")) == (THROTTLED, None)
    door.checks.release()


def test_the_same_words_are_checked_once_for_all_who_come_with_them(door):
    door.checks.hold = True
    for _ in range(100):
        assert door.come(basic("alice", "pw")) == (WAIT, None)
    door.checks.release()
    assert door.checks.count == 1
    assert [right for _, right in door.waiter.heard] == [True] * 100


def test_checks_at_once_are_bounded(door):
    door.checks.hold = True
    for n in range(MAX_CHECKS):
        assert door.come(basic("alice", f"guess{n}"), network=f"192.0.2.{n}") == (WAIT, None)
    assert door.come(basic("alice", "one more"), network="198.51.100.1") == (BUSY, None)
    assert door.values[AUTHENTICATION_BUSY] == 1
    door.checks.release()
    assert door.come(basic("alice", "pw"), network="198.51.100.1") == (WAIT, None)
    door.checks.release()


def test_the_same_wrong_words_again_are_no_new_guess_until_the_file_changes(door):
    for _ in range(ATTEMPTS * 3):
        door.come(basic("alice", "old"))
    assert door.come(basic("alice", "old")) == (ABSENT, None)
    assert door.checks.count == 1
    assert door.come(basic("alice", "pw")) == (WAIT, True)
    door.auth.set_users(People(alice="old"))
    assert door.come(basic("alice", "old")) == (WAIT, True)


def test_what_is_remembered_as_wrong_is_bounded(door):
    for n in range(MAX_REMEMBERED + 1):
        door.come(basic("alice", f"no{n}"), network=f"n{n % 1000}")
        door.now += ATTEMPT_SECONDS
    assert len(door.auth._wrong) <= MAX_REMEMBERED


def test_what_is_remembered_is_bounded():
    door = Door(**{f"u{n}": "pw" for n in range(MAX_REMEMBERED + 1)})
    for n in range(MAX_REMEMBERED + 1):
        door.come(basic(f"u{n}", "pw"))
    assert len(door.auth._remembered) <= MAX_REMEMBERED
    assert door.come(basic(f"u{MAX_REMEMBERED}", "pw")) == (ACCEPTED, None)


def test_networks_that_guess_are_bounded_and_those_without_a_place_share_one(door):
    for n in range(MAX_GUESSERS):
        door.come(basic("alice", f"no{n}"), network=f"n{n}")
    for n in range(ATTEMPTS):
        assert door.come(basic("alice", f"late{n}"), network=f"late{n}") == (WAIT, False)
    assert door.come(basic("alice", "later"), network="later") == (THROTTLED, None)
    assert len(door.auth._guessers) <= MAX_GUESSERS + 1
    door.now += ATTEMPT_SECONDS * ATTEMPTS
    assert door.come(basic("alice", "later"), network="later") == (WAIT, False)
    assert len(door.auth._guessers) < 10


def test_another_file_forgets_everybody_and_what_is_under_way(door):
    door.come(basic("alice", "pw"))
    door.checks.hold = True
    assert door.come(basic("alice", "old")) == (WAIT, None)
    door.auth.set_users(People(alice="new"))
    door.checks.release()
    assert door.waiter.heard[-1][1] is False
    door.checks.hold = False
    assert door.come(basic("alice", "pw")) == (WAIT, False)
    assert door.come(basic("alice", "new")) == (WAIT, True)


def test_right_ones_cost_no_attempt_of_those_who_share_one_allowance():
    door = Door(**{f"u{n}": "pw" for n in range(ATTEMPTS * 2)})
    for n in range(MAX_GUESSERS):
        door.come(basic("u0", f"no{n}"), network=f"n{n}")
    for n in range(ATTEMPTS * 2):
        assert door.come(basic(f"u{n}", "pw"), network=f"late{n}") == (WAIT, True)


def test_a_check_that_fails_is_no_wrong_password():
    class Fails:
        def verify(self, user, password):
            if broken:
                raise OSError("no memory")
            return True

    broken = True
    door = Door()
    door.auth.set_users(Fails())
    for n in range(ATTEMPTS * 2):
        with pytest.raises(OSError, match="no memory"):
            door.come(basic("alice", f"pw{n}"))
    assert [right for _, right in door.waiter.heard] == [False] * ATTEMPTS * 2
    assert door.values[AUTHENTICATION_CHECKED] == door.values[AUTHENTICATION_WRONG] == 0
    broken = False
    assert door.come(basic("alice", "pw0")) == (WAIT, True)


def test_a_file_that_changes_meanwhile_costs_no_attempt(door):
    class Changes:
        def verify(self, user, password):
            door.auth.set_users(Changes())
            return True

    door.auth.set_users(Changes())
    for _ in range(ATTEMPTS * 2):
        assert door.come(basic("alice", "pw")) == (WAIT, False)
    assert door.values[AUTHENTICATION_CHECKED] == ATTEMPTS * 2
    assert door.values[AUTHENTICATION_WRONG] == 0


def test_what_is_remembered_has_no_password_in_it(door):
    door.come(basic("alice", "pw"))
    assert b"pw" not in repr(door.auth._remembered).encode()
    assert "alice" not in repr(door.auth)


def test_a_defect_of_one_waiter_leaves_nobody_waiting(door):
    class Broken:
        def user_known(self, exchange, is_right):
            raise RuntimeError("broken")

    door.checks.hold = True
    door.auth.judge(door.exchange(basic("alice", "pw")), Broken(), door.now)
    door.auth.judge(door.exchange(basic("alice", "pw")), door.waiter, door.now)
    with pytest.raises(RuntimeError):
        door.checks.release()
    assert door.waiter.heard[0][1] is True
