"""The replacement rule, as a table and as a property; and the states that are shown."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.ocsp.entry import Entry, Source, StapleState, Verdict
from headgate.ocsp.subject import Subject
from headgate.testing.pki import Authority
from headgate.tls.staple import Staple

AUTHORITY = Authority.root()
LEAF = AUTHORITY.leaf("a.test", ocsp=("http://ocsp.test/",))
SUBJECT = Subject.from_pem("a", LEAF.pem, issuer_pem=AUTHORITY.pem)


def entry(**changes):
    made = Entry("f", SUBJECT)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def staple(status, this_update, next_update=1_000.0):
    return Staple(b"", float(this_update), float(next_update), status)


@pytest.mark.parametrize(
    ("history", "verdict"),
    [
        ([("good", 10)], Verdict.ADOPTED),
        ([("good", 10), ("good", 11)], Verdict.ADOPTED),
        ([("good", 10), ("good", 10)], Verdict.SAME),
        ([("good", 10), ("good", 9)], Verdict.OLDER),
        ([("good", 10), ("revoked", 20)], Verdict.ADOPTED),
        ([("good", 10), ("revoked", 5)], Verdict.ADOPTED),  # at once, whatever its age
        ([("revoked", 10)], Verdict.ADOPTED),
        ([("revoked", 10), ("revoked", 10)], Verdict.SAME),
        ([("revoked", 10), ("revoked", 9)], Verdict.OLDER),
        ([("revoked", 10), ("revoked", 11)], Verdict.ADOPTED),
        ([("revoked", 10), ("good", 9)], Verdict.OLDER_THAN_REVOCATION),
        ([("revoked", 10), ("good", 10)], Verdict.OLDER_THAN_REVOCATION),
        ([("revoked", 10), ("good", 11)], Verdict.ADOPTED),  # a hold that was lifted
        ([("good", 10), ("revoked", 5), ("good", 10)], Verdict.OLDER_THAN_REVOCATION),
        ([("good", 10), ("revoked", 5), ("good", 11)], Verdict.ADOPTED),
        ([("revoked", 10), ("good", 11), ("good", 9)], Verdict.OLDER_THAN_REVOCATION),
    ],
)
def test_replacement(history, verdict):
    e = entry()
    for status, this_update in history:
        last = e.consider(staple(status, this_update), Source.NETWORK, 100.0)
    assert last is verdict


@given(st.lists(st.tuples(st.sampled_from(["good", "revoked"]), st.integers(0, 20)), max_size=12))
def test_after_a_revocation_no_good_is_held_that_is_not_newer_than_it(history):
    e, revoked = entry(), []
    for status, this_update in history:
        e.consider(staple(status, this_update), Source.NETWORK, 100.0)
        if status == "revoked":
            revoked.append(this_update)
        if e.held is not None and e.held.status == "good":
            assert all(e.held.this_update > time for time in revoked)


def test_what_has_ended_is_replaced_by_whatever_is_verified():
    e = entry()
    e.consider(staple("good", 10, 50), Source.NETWORK, 20.0)
    assert e.consider(staple("good", 9, 90), Source.NETWORK, 60.0) is Verdict.ADOPTED


def test_the_same_answer_that_lasts_longer_is_taken_up():
    # The delegate that ended it was renewed and signed the same answer again.
    e = entry()
    e.consider(staple("good", 10, 50), Source.NETWORK, 20.0)
    assert e.consider(staple("good", 10, 40), Source.NETWORK, 20.0) is Verdict.SAME
    assert e.consider(staple("good", 10, 90), Source.NETWORK, 20.0) is Verdict.ADOPTED


def test_a_remembered_revocation_outlives_its_response():
    e = entry()
    e.remember_revocation(10.0)
    assert e.state(100.0) is StapleState.REVOKED
    assert e.consider(staple("good", 10), Source.FILE, 100.0) is Verdict.OLDER_THAN_REVOCATION
    assert e.consider(staple("good", 11), Source.NETWORK, 100.0) is Verdict.ADOPTED
    e.remember_revocation(5.0)
    assert e.floor == 10.0


def bare(**changes):
    return replace(SUBJECT, **changes)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, StapleState.PENDING),
        ({"tried": True}, StapleState.NONE),
        ({"held": staple("good", 0, 1_000)}, StapleState.FRESH),
        ({"held": staple("good", 0, 170)}, StapleState.FRESH),
        ({"held": staple("good", 0, 105)}, StapleState.EXPIRING),
        ({"held": staple("good", 0, 120), "failures_in_a_row": 1}, StapleState.EXPIRING),
        ({"held": staple("good", 0, 1_000), "failures_in_a_row": 1}, StapleState.FRESH),
        ({"held": staple("good", 0, 100)}, StapleState.EXPIRED),
        ({"held": staple("revoked", 0, 1_000)}, StapleState.REVOKED),
        ({"held": staple("revoked", 0, 50)}, StapleState.REVOKED),
        ({"subject": bare(stapling="off")}, StapleState.OFF),
        ({"subject": bare(responders=())}, StapleState.NO_RESPONDER),
        ({"subject": bare(responders=()), "held": staple("good", 0, 1_000)}, StapleState.FRESH),
        ({"subject": bare(issuer=None)}, StapleState.NO_ISSUER),
        ({"subject": bare(issuer=None, issuer_urls=("http://x/",))}, StapleState.PENDING),
        ({"subject": bare(issuer=None, issuer_urls=("http://x/",)), "tried": True}, StapleState.NO_ISSUER),
    ],
)
def test_states(changes, state):
    assert entry(**changes).state(100.0) is state


def test_status_row_shows_when_the_next_attempt_comes():
    e = entry(due=130.0)
    row = e.status("a", now=100.0, wall=5_000.0)
    assert (row.name, row.next_attempt, row.responders) == ("a", 5_030.0, ("http://ocsp.test/",))
    assert row.serial == f"{LEAF.certificate.serial_number:x}"
    assert entry().status("a", 0.0, 0.0).next_attempt is None
