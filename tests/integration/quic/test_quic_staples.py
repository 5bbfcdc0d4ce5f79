"""The staple over QUIC is the one over TCP: for each name, in each state, on each worker (invariant W1)."""

import time
from pathlib import Path

import pytest
from OpenSSL import SSL

from headgate.testing.relay import Relay
from headgate.testing.responder import OpensslResponder

NAMES = ("a.test", "b.test", "c.test", "d.test", "e.test")
WORKERS = ("worker 0", "worker 1")


def response(leaf, status="good", *, age=60.0, life=3600.0):
    now = time.time()
    return leaf.issuer.ocsp(leaf, status, this_update=now - age, next_update=now - age + life)


def put(site, file, der):
    site.write(f"certs/{file}.pem.ocsp", der)


@pytest.fixture
def gate(site):
    """None, fresh, expired, revoked, must-staple: one certificate of each."""
    urls = {
        "ocsp": ["http://127.0.0.1:9/"]
    }  # named, and nobody there: what lies beside the files is all there is
    site.issuer = site.root.intermediate()
    urls["issuer"] = site.issuer
    leaves = {name: site.certificate(name[0], name, **urls) for name in NAMES[:4]}
    leaves["e.test"] = site.certificate("e", "e.test", must_staple=True, **urls)
    put(site, "b", response(leaves["b.test"]))
    put(site, "c", response(leaves["c.test"], age=7200.0))
    put(site, "d", response(leaves["d.test"], "revoked"))
    put(site, "e", response(leaves["e.test"]))
    site.leaves = leaves
    with site.gate(workers=2, top="", listener_extra="") as gate:
        yield gate


def both(site, gate, name):
    tcp, quic = site.over_tcp(gate, name), site.over_quic(gate, name)
    assert tcp == quic
    return quic[1]


def test_the_same_staple_over_both_for_each_name_and_state(site, gate, helpers):
    helpers.wait_for("the staple", lambda: site.over_tcp(gate, "b.test")[1])
    found = {name: bool(both(site, gate, name)) for name in NAMES}
    # None and expired have nothing that may be sent, a revoked one is withheld by default.
    assert found == {"a.test": False, "b.test": True, "c.test": False, "d.test": False, "e.test": True}


def accepted(gate, helpers, total):
    """Return how many clients each worker took, as soon as the figures have all of them."""

    def published():
        counts = helpers.by_process(gate, "quic_accepted_total")
        return counts if sum(counts.values()) == total else None

    counts = helpers.wait_for("the figures", published)
    return {worker: counts.get(worker, 0.0) for worker in WORKERS}


def test_every_worker_staples_each_name_over_quic(site, gate, helpers):
    helpers.wait_for("the staple", lambda: site.over_tcp(gate, "b.test")[1])
    done = 0
    for name in NAMES:
        expected = site.over_tcp(gate, name)
        before = accepted(gate, helpers, done)

        def all_asked(name=name, expected=expected, before=before):
            nonlocal done
            for _ in range(6):
                assert site.over_quic(gate, name) == expected
                done += 1
            counts = accepted(gate, helpers, done)
            return all(counts[worker] > before[worker] for worker in WORKERS)

        # The kernel deals clients out by their ports.
        helpers.wait_for(f"clients of {name} on every worker", all_asked, 60)


@pytest.fixture
def responder(site):
    """The real responder, through a slow road: a gate whose certificate must be stapled waits for it."""
    site.issuer = site.root.intermediate()
    with Relay(delay=1.5) as road:
        leaf = site.certificate(
            "a", "a.test", ocsp=[f"http://{road.address}/"], must_staple=True, issuer=site.issuer
        )
        with OpensslResponder(site.folder / "responder", site.issuer, [leaf]) as responder:
            road.target = ("127.0.0.1", responder.port)
            yield responder


def test_the_very_first_packets_of_each_worker_are_answered_with_a_staple(site, responder, helpers):
    """They come while no worker reads: no client of any worker is before them."""
    gate = site.gate(workers=2)
    gate.start(wait=False)
    clients = []
    try:
        place = f":{gate.https_ports[0]:04X} "
        helpers.wait_for("UDP", lambda: Path("/proc/net/udp").read_text().count(place) == len(WORKERS), 60)
        for _ in range(16):
            clients.append(site.h3(gate, patience=60.0))
            clients[-1].turn(0.0)
        assert not gate.events("listening")
        staples = {client.shake().staple for client in clients}
        expected = site.over_tcp(gate, "a.test")[1]
        assert expected
        assert staples == {expected}
        assert all(accepted(gate, helpers, len(clients)).values())
        assert not gate.events("startup-wait-over")
    finally:
        for client in clients:
            client.close()
        gate.stop()


def test_the_very_first_handshake_after_the_start_is_stapled(site, helpers):
    issuer = site.root.intermediate()
    leaf = site.certificate("a", "a.test", ocsp=["http://127.0.0.1:9/"], must_staple=True, issuer=issuer)
    put(site, "a", response(leaf))
    gate = site.gate(workers=2)
    gate.start(wait=False)
    try:
        # Sent while nobody reads yet, and sent again until somebody does.
        place = f":{gate.https_ports[0]:04X} "
        helpers.wait_for("UDP", lambda: place in Path("/proc/net/udp").read_text(), 60)
        with site.h3(gate, patience=60.0) as client:
            client.shake()
            assert client.staple == response_on_disk(site)
            assert client.get("/").status == 200
    finally:
        gate.stop()


def response_on_disk(site, file="a"):
    return (site.folder / f"certs/{file}.pem.ocsp").read_bytes()


def test_a_new_staple_and_a_new_certificate_are_taken_up_by_both(site, gate, helpers):
    helpers.wait_for("the staple", lambda: site.over_tcp(gate, "b.test")[1])
    newer = response(site.leaves["b.test"], age=1.0)
    put(site, "b", newer)
    helpers.wait_for("the newer staple over QUIC", lambda: site.over_quic(gate, "b.test")[1] == newer)
    assert both(site, gate, "b.test") == newer
    other = site.certificate("b", "b.test", fresh_key=True, issuer=site.issuer)
    helpers.wait_for("the other certificate", lambda: site.over_quic(gate, "b.test")[0] == other.der)
    # The staple of the certificate before is none of this one.
    assert both(site, gate, "b.test") == b""


def test_a_connection_that_stands_outlives_the_swap_of_its_certificate(site, gate, helpers):
    with site.h3(gate, "b.test") as client:
        client.get("/")
        other = site.certificate("b", "b.test", fresh_key=True, issuer=site.issuer)
        helpers.wait_for("the other certificate", lambda: site.over_quic(gate, "b.test")[0] == other.der)
        assert client.get("/again").status == 200


def test_a_client_that_does_not_ask_gets_no_staple_and_is_counted(site, gate, helpers):
    helpers.wait_for("the staple", lambda: site.over_tcp(gate, "b.test")[1])
    with site.h3(gate, "b.test", ask_staple=False) as client:
        client.get("/")
        assert client.staple == b""
    helpers.counted(gate, "headgate_staple_not_asked_total")


def test_a_resumed_session_needs_no_certificate_and_no_staple(site, gate, helpers):
    with site.h3(gate, "b.test") as client:
        client.get("/")
        sessions = []
        client.run_until(lambda: sessions.extend(client.take_sessions()) or sessions, "a ticket")
    with site.h3(gate, "b.test", session=sessions[0]) as again:
        assert again.get("/").status == 200
        assert again.is_resumed
        assert again.chain == ()
    helpers.counted(gate, 'headgate_handshakes_total{kind="resumed"}')


def test_a_must_staple_certificate_without_a_staple_is_refused_over_both(site, helpers):
    site.certificate("a", "a.test", ocsp=["http://127.0.0.1:9/"], must_staple=True)
    text = '[ocsp]\nmust_staple = "refuse"\nstartup_wait = "1s"\n[[route]]\nrespond = {}\n'
    with site.gate(text) as gate:
        with pytest.raises(SSL.Error):
            site.over_tcp(gate, "a.test")
        with site.h3(gate) as client:
            client.run_until(lambda: client.end is not None, "the refusal")
            assert client.end.code == 0x100 + 80  # internal_error
        helpers.counted(gate, 'headgate_stapled_total{result="refused-must-staple"}', 2)


def test_a_staple_that_is_swapped_during_handshakes_is_whole_in_each(site, gate, helpers):
    helpers.wait_for("the staple", lambda: site.over_quic(gate, "b.test")[1])
    written = [response_on_disk(site, "b")]
    seen = set()

    def swapped_twice():
        newer = response(site.leaves["b.test"], age=60.0 - len(written))
        written.append(newer)
        put(site, "b", newer)
        for _ in range(10):
            seen.add(site.over_quic(gate, "b.test")[1])
        return len(seen) >= 3

    helpers.wait_for("three staples", swapped_twice, 40)
    assert seen <= set(written)
