"""Tickets: sealed by one worker, opened by each, and by nobody else."""

import pytest
from tests.unit.engine.tls13.peers import TICKET_KEY, keys

from headgate.engine.tls13.tickets import MAX_LIFETIME, MAX_TICKET, Ticket, TicketKeys
from headgate.errors import LocalProtocolError

NONCE = b"n" * 12
NOW = 1_000_000.0


def ticket(*, issued=int(NOW), chain=(), suite=0x1301, **parts):
    return Ticket(suite, b"s" * 32, issued, 3, chain, **parts)


def sealed(**parts):
    return keys().seal(ticket(**parts), NONCE)


def test_a_ticket_opens_in_another_worker():
    found = keys(worker=4).open(sealed(chain=(b"leaf", b"issuer")), NOW + 5)
    assert found is not None
    assert (found.suite, found.psk, found.issued, found.worker) == (0x1301, b"s" * 32, int(NOW), 3)
    assert found.chain == (b"leaf", b"issuer")


def test_what_early_data_needs_is_in_it_and_milliseconds_too():
    held = ticket(issued=NOW + 0.1234, age_add=0xDEADBEEF, early=b"e" * 16)
    found = keys().open(keys().seal(held, NONCE), NOW + 1)
    assert (found.age_add, found.early) == (0xDEADBEEF, b"e" * 16)
    assert abs(found.issued - NOW - 0.123) < 1e-6


def test_a_ticket_of_another_policy_does_not_open():
    assert keys(policy=b"q" * 32).open(sealed(), NOW) is None


def test_the_first_key_seals_and_each_opens():
    rotated = keys(held=(b"j" * 32, TICKET_KEY))
    assert rotated.open(sealed(), NOW) is not None
    assert keys().open(rotated.seal(ticket(), NONCE), NOW) is None
    assert keys(held=(b"j" * 32,)).open(sealed(), NOW) is None


@pytest.mark.parametrize(
    ("age", "opens"), [(-1, False), (0, True), (43_199, True), (43_200, False), (10**9, False)]
)
def test_a_ticket_lives_as_long_as_was_said(age, opens):
    assert (keys().open(sealed(), NOW + age) is not None) is opens


def test_any_changed_octet_closes_it():
    whole = sealed()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 1
        assert keys().open(bytes(changed), NOW) is None
    for end in range(len(whole)):
        assert keys().open(whole[:end], NOW) is None


def test_a_ticket_of_another_suite_or_version_is_a_stranger():
    assert keys().open(sealed(suite=0x1304), NOW) is None


def test_a_ticket_at_the_limit_and_one_more():
    """A client's chain that would not fit costs it the resumption, not the connection."""
    spare = MAX_TICKET - len(sealed(chain=(b"c",)))
    largest = sealed(chain=(b"c" * (spare + 1),))
    assert len(largest) == MAX_TICKET
    assert keys().open(largest, NOW) is not None
    assert sealed(chain=(b"c" * (spare + 2),)) == b""
    assert keys().open(largest + b"x", NOW) is None


@pytest.mark.parametrize(
    ("held", "policy", "lifetime"),
    [
        ((), b"p" * 32, 60),
        ((b"short",), b"p" * 32, 60),
        ((b"k" * 32,), b"short", 60),
        ((b"k" * 32,), b"p" * 32, 0),
        ((b"k" * 32,), b"p" * 32, MAX_LIFETIME + 1),
    ],
)
def test_keys_that_cannot_be_used(held, policy, lifetime):
    with pytest.raises(LocalProtocolError):
        TicketKeys(held, policy, 0, lifetime)


def test_the_longest_lifetime():
    assert TicketKeys((TICKET_KEY,), b"p" * 32, 0, MAX_LIFETIME).lifetime == MAX_LIFETIME


def test_a_repr_shows_no_key():
    assert repr(keys()) == "<TicketKeys of worker 3: 1 keys, 43200 s>"
