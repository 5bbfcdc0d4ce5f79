"""Listeners' policies over QUIC: client certificates, unknown names, tickets, other users, both families."""

import datetime
import os
import types

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from headgate.engine.tls13.credential import load
from headgate.testing.h3_client import H3Client
from headgate.testing.pki import Authority

# RFC 9001 section 4.8: an alert of TLS as a code of QUIC.
ALERT = 0x100
UNKNOWN_CA, REVOKED, REQUIRED, UNRECOGNIZED_NAME = 48, 44, 116, 112


def crl_of(authority, *revoked):
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - datetime.timedelta(days=2))
        .next_update(now + datetime.timedelta(days=1))
    )
    for leaf in revoked:
        one = x509.RevokedCertificateBuilder().serial_number(leaf.certificate.serial_number)
        builder = builder.add_revoked_certificate(one.revocation_date(now).build())
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def credential(leaf):
    return load(types.SimpleNamespace(name="client", chain_pem=leaf.chain_pem, key_pem=leaf.key_pem))


def refused(client):
    """Return the alert that ends a connection, which may come after a client thinks that its handshake is over."""
    client.run_until(lambda: client.end is not None, "the refusal")
    return client.end.code - ALERT


@pytest.fixture
def people(site):
    site.certificate("a", "a.test")
    authority = Authority.root("People")
    made = types.SimpleNamespace(
        authority=authority,
        alice=authority.leaf("alice", client=True),
        bob=authority.leaf("bob", client=True),
        mallory=Authority.root("Strangers").leaf("mallory", client=True),
    )
    made.ca = site.write("people.pem", authority.pem)
    made.crl = site.write("people.crl", crl_of(authority, made.bob))
    made.tls = f'tls = {{ client_auth = "required", client_ca = "{made.ca}", client_crl = "{made.crl}" }}\n'
    return made


def test_a_listener_that_requires_certificates_requires_them_over_quic(site, people):
    with site.gate(listener_extra=people.tls) as gate:
        with site.h3(gate, credential=credential(people.alice)) as client:
            assert client.get("/").status == 200
        for leaf, alert in ((None, REQUIRED), (people.bob, REVOKED), (people.mallory, UNKNOWN_CA)):
            with site.h3(gate, credential=credential(leaf) if leaf is not None else None) as client:
                assert refused(client) == alert


def test_a_renewed_revocation_list_holds_for_quic_and_for_its_tickets_at_once(site, people, helpers):
    with site.gate(listener_extra=people.tls) as gate:
        with site.h3(gate, credential=credential(people.alice)) as client:
            client.get("/")
            sessions = []
            client.run_until(lambda: sessions.extend(client.take_sessions()) or sessions, "a ticket")
        site.write("people.crl", crl_of(people.authority, people.bob, people.alice))

        def is_out():
            with site.h3(gate, credential=credential(people.alice)) as client:
                try:
                    client.get("/")
                except AssertionError:
                    return client.end is not None and client.end.code == ALERT + REVOKED
                return False

        helpers.wait_for("the list to be read", is_out)
        with site.h3(gate, credential=credential(people.alice), session=sessions[0]) as client:
            assert refused(client) == REVOKED


def test_a_name_that_nobody_has_is_refused_where_the_policy_says_so(site):
    site.certificate("a", "a.test")
    with site.gate(listener_extra='tls = { unknown_name = "reject" }\n') as gate:
        with site.h3(gate, "other.test") as client:
            assert refused(client) == UNRECOGNIZED_NAME
        with site.h3(gate) as client:
            assert client.get("/").status == 200


def test_a_ticket_resumes_on_every_worker(site, helpers):
    site.certificate("a", "a.test")
    with site.gate(workers=2) as gate:
        with site.h3(gate) as client:
            client.get("/")
            sessions = []
            client.run_until(lambda: sessions.extend(client.take_sessions()) or sessions, "a ticket")

        def resumed_everywhere():
            with site.h3(gate, session=sessions[0]) as again:
                assert again.get("/").status == 200
                assert again.is_resumed
            counts = helpers.by_process(gate, 'quic_handshakes_total{kind="resumed"')
            return all(counts.get(f"worker {slot}", 0.0) >= 1 for slot in range(2))

        helpers.wait_for("resumptions on every worker", resumed_everywhere, 60)


def test_ipv6_beside_ipv4(site):
    site.certificate("a", "a.test")
    gate = site.gate()
    port = gate.https_ports[0]
    text = gate.config.read_text().replace(f'"127.0.0.1:{port}"', f'"127.0.0.1:{port}", "[::1]:{port}"')
    gate.config.write_text(text)
    with gate:
        for host in ("127.0.0.1", "::1"):
            with H3Client((host, port), "a.test") as client:
                assert client.get("/").body == b"let in"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_workers_of_another_user_serve_http3_after_a_restart_too(site, helpers):
    site.certificate("a", "a.test")
    with site.gate(top='user = "nobody"') as gate:
        with site.h3(gate) as client:
            client.get("/")
        os.kill(gate.worker_pids()[-1], 9)
        helpers.wait_for("another worker", lambda: len(gate.worker_pids()) == 2)
        with site.h3(gate) as client:
            client.get("/")
            assert gate.run("qlog", "on").returncode == 0
            helpers.wait_for("a log", lambda: client.get("/") and list((gate.state / "qlog").glob("*.sqlog")))
        assert (gate.state / "quic.key").stat().st_uid == 0
        assert not gate.events("defect")
        assert not gate.events("qlog-failed")
