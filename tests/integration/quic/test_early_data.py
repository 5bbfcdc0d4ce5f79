"""Early data (0-RTT) of a whole gate: off unless asked for, safe methods only, once for each ticket (RFC 8470)."""

import pytest

from headgate.testing.origin import Origin
from headgate.testing.relay import Relay
from headgate.testing.responder import OpensslResponder

EARLY = "quic = { early_data = true }\n"
TAKEN = 'headgate_quic_early_data_total{result="accepted"}'
USED = 'headgate_quic_early_data_total{result="ticket-used"}'


def answers(wire):
    while head := wire.read_head():
        wire.read_content(head)
        body = (head.get("early-data") or "none").encode()
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


@pytest.fixture
def origin():
    with Origin(answers) as origin:
        yield f'[[route]]\nupstream = "u"\n[upstream.u]\nendpoints = ["{origin.url}"]\n'


def ticket(site, gate):
    with site.h3(gate) as client:
        client.get("/")
        sessions = []
        client.run_until(lambda: sessions.extend(client.take_sessions()) or sessions, "a ticket")
        return sessions[0]


def test_without_the_key_nobody_is_offered_early_data(site, origin):
    site.certificate("a", "a.test")
    with site.gate(origin) as gate:
        session = ticket(site, gate)
        assert not session.is_early
        with site.h3(gate, session=session, early=True) as client:
            assert client.get("/").body == b"none"
            assert client.is_resumed


def test_rfc8470_safe_requests_come_early_once_for_each_ticket(site, origin, helpers):
    site.certificate("a", "a.test")
    with site.gate(origin, listener_extra=EARLY) as gate:
        session = ticket(site, gate)
        assert session.is_early
        with site.h3(gate, session=session, early=True) as client:
            # RFC 8470 section 5.1: the origin hears that it may be a replay.
            assert client.get("/").body == b"1"
            # The handshake is over: what comes now is none.
            assert client.get("/").body == b"none"
        helpers.counted(gate, TAKEN)
        with site.h3(gate, session=session, early=True) as again:
            assert again.get("/").body == b"none"
            assert again.is_resumed
        helpers.counted(gate, USED)
        with site.h3(gate, session=ticket(site, gate), early=True) as client:
            # Section 5.2: what changes something waits.
            assert client.get("/", method="DELETE").status == 425
            assert client.get("/", method="DELETE").status == 200


def test_only_the_worker_of_a_ticket_takes_its_early_data(site, origin, helpers):
    """All workers resume the session; the kernel deals the clients out."""
    site.certificate("a", "a.test")
    with site.gate(origin, workers=2, listener_extra=EARLY) as gate:
        seen = set()

        def both():
            with site.h3(gate, session=ticket(site, gate), early=True) as client:
                body = client.get("/").body
                assert client.is_resumed
                assert (body == b"1") is client.quic.tls.early_accepted
                seen.add(body)
            return seen == {b"none", b"1"}

        helpers.wait_for("clients on both workers", both, 60)
        assert helpers.counted(gate, 'headgate_quic_early_data_total{result="other-worker"}') >= 1


@pytest.fixture
def stapled(site):
    """A certificate whose staple the real responder gives."""
    issuer = site.root.intermediate()
    with Relay() as road:
        leaf = site.certificate("a", "a.test", ocsp=[f"http://{road.address}/"], issuer=issuer)
        with OpensslResponder(site.folder / "responder", issuer, [leaf]) as responder:
            road.target = ("127.0.0.1", responder.port)
            yield leaf


RESUMED = 'headgate_handshakes_total{kind="resumed"}'
FULL = 'headgate_handshakes_total{kind="full"}'
SENT = 'headgate_stapled_total{result="sent"}'


def came_again(site, gate, session):
    """Ask with early data in a session; return (whether it was taken, whether it resumed, what was shown)."""
    with site.h3(gate, session=session, early=True) as client:
        assert client.get("/").status == 200
        taken = client.get("/").body == b"none" and client.quic.tls.early_accepted
        return taken, client.is_resumed, client.chain, client.staple


def test_early_data_taken_or_refused_comes_with_no_staple_and_the_next_full_handshake_has_it(
    site, origin, stapled, helpers
):
    with site.gate(origin, listener_extra=EARLY) as gate:
        helpers.wait_for("the staple", lambda: site.over_tcp(gate)[1])
        shown = site.over_tcp(gate)
        assert shown[0] == stapled.der
        assert site.over_quic(gate) == shown
        session = ticket(site, gate)
        resumed = gate.metrics().get(RESUMED, 0.0)
        assert came_again(site, gate, session) == (True, True, (), b"")
        helpers.counted(gate, TAKEN)
        # The same ticket once more: refused, and resumed all the same.
        assert came_again(site, gate, session) == (False, True, (), b"")
        helpers.counted(gate, USED)
        assert helpers.counted(gate, RESUMED, resumed + 2) == resumed + 2
        assert site.over_quic(gate) == site.over_tcp(gate) == shown
        # None of the two counts as a handshake that had, or lacked, a staple.
        helpers.counted(gate, SENT, 6)
        figures = gate.metrics()
        asked = sum(value for key, value in figures.items() if key.startswith("headgate_stapled_total"))
        assert asked == figures[FULL]


def test_early_data_in_a_session_that_nobody_knows_any_more_ends_in_a_full_handshake_with_the_staple(
    site, origin, stapled, helpers
):
    gate = site.gate(origin, listener_extra=EARLY)
    with gate:
        helpers.wait_for("the staple", lambda: site.over_tcp(gate)[1])
        session = ticket(site, gate)
    with gate:  # the keys of tickets are new ones
        shown = site.over_tcp(gate)
        assert shown[1]
        taken, is_resumed, chain, staple = came_again(site, gate, session)
        assert (taken, is_resumed) == (False, False)
        assert (chain[0], staple) == shown
