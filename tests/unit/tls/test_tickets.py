"""The ring of base contexts: which tickets open where, rotation, and what happens behind its end."""

import pytest
from OpenSSL import SSL

from headgate.testing.clock import FakeClock
from headgate.tls.policy import TlsPolicy
from headgate.tls.tickets import TicketRing

VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]
PERIOD = 1000.0


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def ring(clock, policy=None, size=4) -> TicketRing:
    return TicketRing(policy or TlsPolicy("one"), clock, period=PERIOD, size=size)


def pass_time(clock: FakeClock, seconds: float) -> None:
    clock._now += seconds


@pytest.mark.parametrize(
    "policy", [TlsPolicy("a", min_version="1.3"), TlsPolicy("a", client_auth="required")]
)
def test_names_are_learnt_under_any_policy(clock, policy):
    made = ring(clock, policy)
    (name,) = made._names
    assert len(name) == 16
    assert made.base_for(name) is made.base_for(b"") is made.base_for(b"unknown")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_resumes_and_a_staple_is_not_sent_again(kit, ecdsa, version):
    gate = kit.Gate([kit.identity_of(ecdsa)])
    client = kit.Client(max_version=version)
    assert not gate.connect(client).resumed
    outcome = gate.connect(client)
    assert outcome.done
    assert outcome.resumed
    assert outcome.server.resumed


@pytest.mark.parametrize("version", VERSIONS)
def test_resumption_over_one_rotation_but_not_over_two(kit, ecdsa, clock, version):
    gate = kit.Gate([kit.identity_of(ecdsa)], clock=clock, ring=ring(clock))
    client = kit.Client(max_version=version)
    gate.connect(client)
    pass_time(clock, PERIOD)
    assert gate.connect(client).resumed
    late = kit.Client(max_version=version)
    gate.connect(late)  # its ticket is of the second slot
    pass_time(clock, 2 * PERIOD)
    outcome = gate.connect(late)
    assert outcome.done
    assert not outcome.resumed


@pytest.mark.parametrize("version", VERSIONS)
def test_another_workers_copy_resumes(kit, ecdsa, clock, version):
    # What a fork makes of the ring: the same contexts, other callbacks.
    shared = ring(clock)
    gate = kit.Gate([kit.identity_of(ecdsa)], clock=clock, ring=shared)
    client = kit.Client(max_version=version)
    gate.connect(client)
    other = kit.Gate([kit.identity_of(ecdsa)], clock=clock, ring=shared)
    assert other.connect(client).resumed


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ticket_of_one_policy_never_opens_another(kit, ecdsa, clock, version):
    identity = kit.identity_of(ecdsa)
    one, two = TlsPolicy("one"), TlsPolicy("two")
    client = kit.Client(max_version=version)
    kit.Gate([identity], one, clock, ring(clock, one)).connect(client)
    outcome = kit.Gate([identity], two, clock, ring(clock, two)).connect(client)
    assert outcome.done
    assert not outcome.resumed
    assert outcome.server.resumed is False


def test_rfc5077_5_5_the_session_id_alone_keeps_policies_apart(kit, ecdsa, clock):
    # Even on the very same keys: the policy's id is in the ticket.
    one = ring(clock, TlsPolicy("one"))
    gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("one"), clock, one)
    client = kit.Client(max_version=SSL.TLS1_2_VERSION)
    gate.connect(client)
    assert gate.connect(client).resumed
    base = one.base_for(b"")
    base._used = False  # what no code of ours does: give the same keys another policy
    base.set_session_id(TlsPolicy("two").id)
    outcome = gate.connect(client)
    assert outcome.done
    assert not outcome.resumed


def test_old_keys_are_dropped(clock):
    made = ring(clock, size=4)
    assert len(made._bases) == 4
    pass_time(clock, 2 * PERIOD)
    made.tend()
    assert sorted(made._bases) == [1, 2, 3]
    assert set(made._names.values()) == {1, 2}


@pytest.mark.parametrize("version", VERSIONS)
def test_behind_the_end_of_the_ring_keys_still_rotate_and_resume_here(kit, ecdsa, clock, version):
    made = ring(clock, size=2)
    assert made.exhausted_at == clock.now() + 2 * PERIOD
    gate = kit.Gate([kit.identity_of(ecdsa)], clock=clock, ring=made)
    client = kit.Client(max_version=version)
    pass_time(clock, 10 * PERIOD)
    assert not gate.connect(client).resumed
    assert gate.connect(client).resumed
    pass_time(clock, PERIOD)
    assert gate.connect(client).resumed
    pass_time(clock, 2 * PERIOD)
    assert not gate.connect(client).resumed
    assert len(made._bases) == 2


def test_a_rotation_that_learns_nothing_is_told_and_fails_no_handshake(kit, ecdsa, clock, monkeypatch):
    made = ring(clock)
    gate = kit.Gate([kit.identity_of(ecdsa)], clock=clock, ring=made)
    monkeypatch.setattr("headgate.tls.tickets._ticket_key_name", lambda base: b"")
    pass_time(clock, PERIOD)
    assert gate.connect(kit.Client()).done
    assert "another form" in made.problem


def test_repr(clock):
    assert repr(ring(clock)) == "<TicketRing one slot 0 of 4>"
