"""Early data (0-RTT) of a whole gate: off unless asked for, safe methods only, once for each ticket (RFC 8470)."""

import pytest

from headgate.testing.origin import Origin

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
