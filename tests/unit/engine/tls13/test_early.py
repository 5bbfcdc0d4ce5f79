"""Early data (RFC 8446 sections 4.2.10 and 8, RFC 9001 section 4.6): when it is taken, and when not."""

import dataclasses

import pytest
from tests.unit.engine.tls13.peers import POLICY, TICKET_KEY, client, keys, server, shake

from headgate.counters import (
    EARLY_ACCEPTED,
    EARLY_CHANGED,
    EARLY_FULL,
    EARLY_NOT_RESUMED,
    EARLY_OFF,
    EARLY_OTHER_WORKER,
    EARLY_STALE,
    EARLY_USED,
)
from headgate.engine.tls13 import alerts
from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13.early import MAX_USED, WINDOW_SECONDS, EarlyData, UsedTickets
from headgate.engine.tls13.hello import decode_client_hello
from headgate.engine.tls13.levels import EARLY, HANDSHAKE, INITIAL
from headgate.engine.tls13.messages import encode_encrypted_extensions
from headgate.engine.tls13.suites import TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256
from headgate.engine.tls13.tickets import Ticket, TicketKeys

WALL = 1_800_000_000.0
WORKER = 3
# Freshness is about twice the window of what a worker remembers: this long it takes nothing after its start.
CLOSED = 2 * WINDOW_SECONDS


def rule(context=b"parameters", worker=WORKER, started=WALL - CLOSED, **options):
    return EarlyData(context, worker, started, **options)


def session(early=None, wall=WALL, **changes):
    ours = client(wall=wall, **changes)
    shake(ours, server(wall=wall, tickets=keys(worker=WORKER), early=early or rule()))
    return ours.take_sessions()[0]


def again(held, early, *, after=60.0, tickets=None, theirs=None, **changes):
    """Offer early data; return both sides after the handshake, and the secrets of both."""
    ours = client(wall=WALL + after, session=held, early=True, **changes)
    gate = server(wall=WALL + after, tickets=tickets or keys(worker=WORKER), early=early, **(theirs or {}))
    secrets = shake(ours, gate)
    return ours, gate, *secrets


def early_secrets(secrets):
    return [(each.suite, each.secret) for each in secrets if each.level == EARLY]


def test_early_data_is_taken_and_both_have_its_key():
    early = rule()
    held = session(early)
    assert held.is_early
    assert held.parameters == b"server parameters"
    ours, gate, of_ours, of_theirs = again(held, early)
    assert early_secrets(of_ours) == early_secrets(of_theirs) != []
    assert (ours.early_accepted, gate.early_accepted) == (True, True)
    assert gate.early_outcome == EARLY_ACCEPTED
    assert [each.is_write for each in of_ours if each.level == EARLY] == [True]
    assert [each.is_write for each in of_theirs if each.level == EARLY] == [False]


def test_the_key_comes_with_the_hello_on_both_sides():
    early = rule()
    ours = client(wall=WALL, session=session(early), early=True)
    assert [each.level for each in ours.take_secrets()] == [EARLY]
    gate = server(wall=WALL, tickets=keys(worker=WORKER), early=early)
    gate.receive(*ours.take_output()[0])
    assert gate.take_secrets()[0].level == EARLY


def test_a_client_that_does_not_ask_sends_none():
    early = rule()
    ours = client(wall=WALL, session=session(early))
    assert not ours.early_offered
    gate = server(wall=WALL, tickets=keys(worker=WORKER), early=early)
    shake(ours, gate)
    assert gate.early_outcome == -1
    assert gate.resumed


def test_rfc9001_4_6_1_a_ticket_allows_it_only_where_the_server_does():
    ours = client(wall=WALL)
    shake(ours, server(wall=WALL, tickets=keys(worker=WORKER)))
    held = ours.take_sessions()[0]
    assert not held.is_early
    assert not client(wall=WALL, session=held, early=True).early_offered


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"early": None}, EARLY_OFF),
        ({"early": rule(), "tickets": keys(worker=WORKER, policy=b"q" * 32)}, EARLY_NOT_RESUMED),
        ({"early": rule(worker=4)}, EARLY_OTHER_WORKER),
        ({"early": rule(context=b"other parameters")}, EARLY_CHANGED),
        ({"early": rule(), "theirs": {"suites": (TLS_CHACHA20_POLY1305_SHA256,)}}, EARLY_CHANGED),
        ({"early": rule(), "theirs": {"alpn": (b"h4", b"h3")}, "alpn": (b"h3", b"h4")}, EARLY_CHANGED),
        ({"early": rule(started=WALL + 60 - CLOSED + 1)}, EARLY_STALE),
        ({"early": rule(most=0)}, EARLY_FULL),
    ],
)
def test_what_is_refused_goes_on_without_it(changes, outcome):
    """RFC 8446 section 4.2.10: the handshake is the one that it would have been."""
    ours, gate, of_ours, of_theirs = again(session(), **changes)
    assert ours.complete
    assert gate.complete
    assert gate.early_outcome == outcome
    assert not ours.early_accepted
    assert ours.early_offered
    assert early_secrets(of_theirs) == []
    assert len(early_secrets(of_ours)) == 1
    assert gate.resumed == (outcome != EARLY_NOT_RESUMED)


def test_a_ticket_of_one_name_is_not_early_under_another():
    early = rule()
    held = dataclasses.replace(session(early), server_name=b"b.test")
    _, gate, *_ = again(held, early, server_name=b"b.test")
    assert gate.resumed
    assert gate.early_outcome == EARLY_CHANGED


def test_rfc8446_8_1_a_ticket_is_used_once():
    early = rule()
    held = session(early)
    outcomes = [again(held, early, after=after)[1].early_outcome for after in (60.0, 61.0, 79.0)]
    assert outcomes == [EARLY_ACCEPTED, EARLY_USED, EARLY_USED]


def test_rfc8446_8_1_the_same_hello_again_is_a_replay():
    """Byte for byte, at once and at the end of its window: refused by memory; later by its age."""
    early = rule()
    ours = client(wall=WALL + 60, session=session(early), early=True)
    ((_, hello),) = ours.take_output()
    outcomes = []
    for late in (0.0, 0.0, 5.0, WINDOW_SECONDS, WINDOW_SECONDS + 0.01, 25.0, 10_000.0):
        gate = server(wall=WALL + 60 + late, tickets=keys(worker=WORKER), early=early)
        gate.receive(INITIAL, hello)
        outcomes.append(gate.early_outcome)
    assert outcomes == [EARLY_ACCEPTED, EARLY_USED, EARLY_USED, EARLY_USED, *[EARLY_STALE] * 3]


@pytest.mark.parametrize(
    ("skew", "outcome"),
    [
        (0, EARLY_ACCEPTED),
        (9.9, EARLY_ACCEPTED),
        (-9.9, EARLY_ACCEPTED),
        (10.1, EARLY_STALE),
        (-10.1, EARLY_STALE),
    ],
)
def test_rfc8446_8_3_a_hello_that_is_not_fresh(skew, outcome):
    """The client's idea of the ticket's age is off by so much."""
    early = rule()
    held = dataclasses.replace(session(early), received=WALL - skew)
    _, gate, *_ = again(held, early)
    assert gate.early_outcome == outcome


def test_rfc8446_8_3_ages_count_from_when_a_ticket_was_issued_and_received():
    """A handshake that takes its time, longer than the window: both sides begin to count at its end."""
    early = rule()
    ours, gate = client(wall=WALL), server(wall=WALL, tickets=keys(worker=WORKER), early=early)
    gate.receive(*ours.take_output()[0])
    for level, data in gate.take_output():
        ours.receive(level, data)
    ours.elapsed = gate.elapsed = 2.0 * WINDOW_SECONDS
    shake(ours, gate)
    held = ours.take_sessions()[0]
    assert held.received == WALL + 2 * WINDOW_SECONDS
    _, gate, *_ = again(held, early, after=2 * WINDOW_SECONDS + 60.0)
    assert gate.early_outcome == EARLY_ACCEPTED


def test_rfc8446_8_2_a_worker_that_has_just_started_takes_no_older_tickets():
    held = session()
    for after, outcome in [(CLOSED - 0.1, EARLY_STALE), (CLOSED + 0.1, EARLY_ACCEPTED)]:
        restarted = rule(started=WALL + 60 - after)
        assert again(held, restarted)[1].early_outcome == outcome
    # Its own cannot have been used before it was there.
    fresh = rule(started=WALL)
    assert again(session(fresh), fresh, after=1.0)[1].early_outcome == EARLY_ACCEPTED


def test_a_clock_that_is_set_forward_and_back_opens_no_door():
    early = rule()
    held = session(early)
    ours = client(wall=WALL + 60, session=held, early=True)
    ((_, hello),) = ours.take_output()
    outcomes = []
    # Forward far enough to forget the first use, and back to where the same hello is fresh.
    for wall in (60.0, 3600.0, 61.0, 65.0):
        gate = server(wall=WALL + wall, tickets=keys(worker=WORKER), early=early)
        gate.receive(INITIAL, hello)
        outcomes.append(gate.early_outcome)
    assert outcomes == [EARLY_ACCEPTED, EARLY_STALE, EARLY_STALE, EARLY_STALE]
    late = session(early, wall=WALL + 3600)
    assert again(late, early, after=3600.0 + CLOSED)[1].early_outcome == EARLY_ACCEPTED


def test_only_the_worker_of_the_ticket_knows_whether_it_was_used():
    """All workers resume the session; its early data is for one of them."""
    rules = [rule(worker=worker) for worker in range(4)]
    held = session(rules[WORKER])
    outcomes = [
        again(held, each, tickets=TicketKeys((TICKET_KEY,), POLICY, worker))[1].early_outcome
        for worker, each in enumerate(rules)
    ]
    assert outcomes == [EARLY_OTHER_WORKER] * 3 + [EARLY_ACCEPTED]


# -- memory


def test_used_tickets_at_the_limit_and_one_more():
    early = rule(most=2)
    digest = early.digest(TLS_AES_128_GCM_SHA256, b"h3", b"a.test")
    ticket = Ticket(TLS_AES_128_GCM_SHA256, b"k" * 32, WALL, WORKER, (), age_add=7, early=digest)
    outcomes = [early.judge(ticket, identity, digest, 7, WALL) for identity in (b"a", b"b", b"c", b"a")]
    assert outcomes == [EARLY_ACCEPTED, EARLY_ACCEPTED, EARLY_FULL, EARLY_FULL]
    used = UsedTickets(WALL, 2)
    assert [used.is_full(WALL) or used.use(identity, WALL) for identity in (b"a", b"b")] == [True, True]
    assert used.is_full(WALL)
    assert not used.is_full(WALL + CLOSED)


def test_a_used_ticket_is_remembered_for_two_windows_at_least_and_four_at_most():
    for begun in (0.0, 7.0, CLOSED - 0.1):
        used = UsedTickets(WALL)
        assert used.use(b"ticket", WALL + begun)
        assert not used.use(b"ticket", WALL + begun + CLOSED - 0.1)
        again = UsedTickets(WALL)
        assert again.use(b"ticket", WALL + begun)
        assert again.use(b"ticket", WALL + 2 * CLOSED + 0.1)


def test_memory_is_four_mebibytes_and_mistakes_are_few():
    used = UsedTickets(WALL)
    assert len(used._filter) == 0  # nothing before the first use
    count = 20_000
    taken = sum(used.use(b"%d" % index, WALL) for index in range(count))
    assert taken >= count - 2
    assert len(used._filter) == 2 << 20
    assert MAX_USED == 1 << 20
    assert repr(used) == f"<UsedTickets {used.count} of {MAX_USED}>"
    assert "worker 3" in repr(rule())


# -- what a server may not answer


def to_extensions(**changes):
    """A client that offered early data and waits for EncryptedExtensions, and the server's right ones."""
    early = rule()
    ours = client(wall=WALL, session=session(early), early=True, **changes)
    gate = server(wall=WALL, tickets=keys(worker=WORKER), early=early)
    gate.receive(*ours.take_output()[0])
    (_, hello), _ = gate.take_output()
    ours.receive(INITIAL, hello)
    return ours


@pytest.mark.parametrize(
    ("answers", "alert"),
    [
        ({ext.EARLY_DATA: b"\0"}, alerts.DECODE_ERROR),
        ({ext.EARLY_DATA: b"", ext.ALPN: b"\0\x03\x02h4"}, alerts.ILLEGAL_PARAMETER),
    ],
)
def test_rfc8446_4_2_10_early_data_taken_wrongly(answers, alert):
    ours = to_extensions(alpn=(b"h3", b"h4"))
    right = {ext.ALPN: b"\0\x03\x02h3", ext.TRANSPORT_PARAMETERS: b"p"}
    with pytest.raises(alerts.TlsAlertError) as caught:
        ours.receive(HANDSHAKE, encode_encrypted_extensions(right | answers))
    assert caught.value.alert == alert


def test_rfc8446_4_2_10_early_data_taken_in_a_full_handshake():
    ours = client(wall=WALL, session=session(), early=True)
    gate = server(wall=WALL)
    gate.receive(*ours.take_output()[0])
    (_, hello), _ = gate.take_output()
    ours.receive(INITIAL, hello)
    answers = {ext.ALPN: b"\0\x03\x02h3", ext.TRANSPORT_PARAMETERS: b"p", ext.EARLY_DATA: b""}
    with pytest.raises(alerts.TlsAlertError) as caught:
        ours.receive(HANDSHAKE, encode_encrypted_extensions(answers))
    assert caught.value.alert == alerts.ILLEGAL_PARAMETER


def test_the_extension_of_a_hello_is_empty_and_the_last_but_one():
    ours = client(wall=WALL, session=session(), early=True)
    ((_, hello),) = ours.take_output()
    found = decode_client_hello(hello)
    assert found.wants_early
    assert list(found.extensions)[-1] == ext.PRE_SHARED_KEY
    assert found.extensions[ext.EARLY_DATA] == b""


def test_the_key_log_has_the_secret_of_early_data():
    early = rule()
    lines = {"client": [], "server": []}
    again(session(early), early, key_log=lines["client"].append, theirs={"key_log": lines["server"].append})
    assert sorted(lines["client"]) == sorted(lines["server"])
    labels = [line.split()[0] for line in lines["client"]]
    assert labels[:2] == ["CLIENT_EARLY_TRAFFIC_SECRET", "EARLY_EXPORTER_SECRET"]
    assert len({line.split()[1] for line in lines["client"]}) == 1


def test_another_suite_offered_means_no_early_data():
    held = session(suites=(TLS_AES_128_GCM_SHA256,))
    ours = client(wall=WALL, session=held, early=True, suites=(TLS_CHACHA20_POLY1305_SHA256,))
    assert not ours.early_offered
