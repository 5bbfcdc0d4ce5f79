"""A listener's TLS over QUIC: the same certificates, staples, verdicts and counters as over TCP, side by side."""

import random

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from headgate.counters import (
    EARLY_ACCEPTED,
    EARLY_OFF,
    HANDSHAKES_FAILED,
    HANDSHAKES_FULL,
    HANDSHAKES_RESUMED,
    STAPLE_ABSENT,
    STAPLE_EXPIRED,
    STAPLE_NOT_ASKED,
    STAPLE_OFF,
    STAPLE_REFUSED,
    STAPLE_REVOKED,
    STAPLE_SENT,
)
from headgate.engine.tls13 import alerts
from headgate.engine.tls13.client import ClientHandshake
from headgate.engine.tls13.credential import load
from headgate.engine.tls13.early import EarlyData
from headgate.engine.tls13.groups import HAS_MLKEM
from headgate.engine.tls13.messages import decode_compressed_certificate
from headgate.engine.tls13.server import ServerHandshake
from headgate.engine.tls13.settings import ClientSettings, FixedAnswer
from headgate.engine.tls13.signatures import RSA_PSS_RSAE_SHA256, SCHEMES
from headgate.engine.tls13.tickets import TicketKeys
from headgate.testing.clock import FakeClock
from headgate.testing.pki import Authority
from headgate.tls.client_auth import MAX_AUTHORITY_NAMES, ClientVerifier
from headgate.tls.identity import Identity, StapleRules
from headgate.tls.policy import TlsPolicy
from headgate.tls.quic_server import QuicServerTls
from headgate.tls.staple import Staple

STAPLES = (
    STAPLE_SENT,
    STAPLE_ABSENT,
    STAPLE_EXPIRED,
    STAPLE_REVOKED,
    STAPLE_OFF,
    STAPLE_REFUSED,
    STAPLE_NOT_ASKED,
)
WORKERS = 4


class Door:
    """The listener of a `Gate`, over QUIC: handshakes in memory with a client of ours."""

    def __init__(self, gate, **options) -> None:
        self.gate = gate
        self.tls = QuicServerTls(gate.tls, gate.counters.values, **options)

    def start(self, name=b"a.test", *, session=None, early=False, **changes):
        self.seen = []
        settings = ClientSettings(
            **{"server_name": name, "verify": lambda *what: self.seen.append(what), **changes}
        )
        wall = self.gate.clock.wall()
        return (
            ClientHandshake(
                settings,
                random.Random(1).randbytes,
                wall,
                transport_parameters=b"c",
                session=session,
                early=early,
            ),
            ServerHandshake(self.tls.settings, random.Random(2).randbytes, wall, transport=FixedAnswer(b"s")),
        )

    def connect(self, name=b"a.test", **changes):
        """Return both sides after a handshake, counted as a driver would; raises what the server raises."""
        client, server = self.start(name, **changes)
        try:
            carry(client, server)
        except alerts.TlsAlertError:
            self.tls.failed(server)
            raise
        self.tls.finished(server)
        return client, server

    def refused(self, name=b"a.test", **changes) -> alerts.TlsAlertError:
        with pytest.raises(alerts.TlsAlertError) as caught:
            self.connect(name, **changes)
        return caught.value


def carry(client, server):
    moved = True
    while moved:
        moved = False
        for source, target in ((client, server), (server, client)):
            for level, data in source.take_output():
                moved = True
                target.receive(level, data)


def staple_of(root, leaf, clock, status="good", life=3600.0):
    wall = clock.wall()
    issuer = leaf.issuer or root
    der = issuer.ocsp(leaf, status, this_update=wall - 60, next_update=wall + life)
    return Staple(der, wall - 60, wall + life, status)


def counted(gate):
    return {counter: gate.count(counter) for counter in STAPLES if gate.count(counter)}


# -- which certificate, which staple


@pytest.mark.parametrize(
    "name", [b"a.test", b"x.wild.test", b"b.test", b"B.Test", b"unknown.test", b"", b"x.y.wild.test"]
)
def test_tcp_and_quic_answer_a_name_with_the_same_certificate_and_staple(kit, root, ecdsa, name):
    clock = FakeClock()
    other = root.leaf("b.test")
    identities = [kit.identity_of(ecdsa), kit.identity_of(other)]
    for identity, leaf in zip(identities, (ecdsa, other), strict=True):
        identity.staple = staple_of(root, leaf, clock)
    gate = kit.Gate(identities, clock=clock)
    door = Door(gate)
    over_tcp = kit.Client()
    outcome = gate.connect(over_tcp, name)
    client, _ = door.connect(name)
    ((chain, _, staple),) = door.seen
    certificates = outcome.client.get_peer_cert_chain(as_cryptography=True)
    assert chain == tuple(each.public_bytes(Encoding.DER) for each in certificates)
    assert [staple] == over_tcp.staples
    assert staple in {identity.staple.der for identity in identities}
    assert client.staple == staple
    assert counted(gate) == {STAPLE_SENT: 2}
    assert gate.count(HANDSHAKES_FULL) == 2


@pytest.mark.parametrize("order", [1, -1])
def test_rsa_and_ecdsa_side_by_side_each_with_its_chain_and_staple(kit, root, ecdsa, rsa, order):
    clock = FakeClock()
    identities = [kit.identity_of(ecdsa), kit.identity_of(rsa)]
    for identity, leaf in zip(identities, (ecdsa, rsa), strict=True):
        identity.staple = staple_of(root, leaf, clock)
    gate = kit.Gate(identities[::order], clock=clock)
    door = Door(gate)
    over_tcp = kit.Client()
    gate.connect(over_tcp)
    door.connect()
    assert over_tcp.staples == [door.seen[0][2]] == [identities[0].staple.der]
    assert len(door.seen[0][0]) == 2
    # Who cannot check ECDSA gets the other one.
    client, server = door.start()
    (hello,) = client.take_output()
    pss_only = RSA_PSS_RSAE_SHA256.to_bytes(2, "big") * (len(SCHEMES) + 3)
    at = hello[1].index(b"".join(scheme.to_bytes(2, "big") for scheme in SCHEMES))
    server.receive(0, hello[1][:at] + pss_only + hello[1][at + len(pss_only) :])
    flight = server.take_output()[1][1]
    packed = flight[4 + int.from_bytes(flight[1:4], "big") :]
    packed = packed[: 4 + int.from_bytes(packed[1:4], "big")]
    assert identities[1].staple.der in decode_compressed_certificate(packed)


def staple_cases():
    return {
        "good": ("good", 3600.0, {}, False),
        "none": ("", 0.0, {}, False),
        "expired": ("good", -1.0, {}, False),
        "revoked": ("revoked", 3600.0, {}, False),
        "revoked is stapled": ("revoked", 3600.0, {"revoked": "staple"}, False),
        "off": ("good", 3600.0, {"stapling": "off"}, False),
        "must-staple, warn": ("", 0.0, {}, True),
        "must-staple, expired": ("good", -1.0, {"must_staple": "refuse"}, True),
        "must-staple, there": ("good", 3600.0, {"must_staple": "refuse"}, True),
    }


@pytest.mark.parametrize("asks", [True, False])
@pytest.mark.parametrize("case", staple_cases())
def test_w1_a_staple_has_the_same_fate_and_counter_over_both(kit, root, case, asks):
    status, life, rules, must = staple_cases()[case]
    clock = FakeClock()
    leaf = root.leaf("a.test", must_staple=must)
    identity = kit.identity_of(leaf, rules=StapleRules(**rules))
    if status:
        identity.staple = staple_of(root, leaf, clock, status, life)
    gate = kit.Gate([identity], clock=clock)
    over_tcp = kit.Client(asks=asks)
    outcome = gate.connect(over_tcp)
    tcp = counted(gate)
    door = Door(gate)
    if outcome.done:
        door.connect(ask_staple=asks)
        assert [staple for staple in over_tcp.staples if staple] == [
            staple for _, _, staple in door.seen if staple
        ]
    else:
        error = door.refused(ask_staple=asks)
        assert error.alert == alerts.INTERNAL_ERROR
        assert error.reason == outcome.server_error.reason == "must-staple-refused"
        assert gate.count(HANDSHAKES_FAILED) == 1  # over TCP the driver counts it
    assert counted(gate) == {counter: 2 * count for counter, count in tcp.items()}


def test_w2_the_wall_clock_at_the_handshake_decides(kit, root, ecdsa):
    clock = FakeClock()
    identity = kit.identity_of(ecdsa)
    identity.staple = staple_of(root, ecdsa, clock, life=100.0)
    door = Door(kit.Gate([identity], clock=clock))
    assert door.connect()[0].staple == identity.staple.der
    client, server = door.start()
    clock.jump(101.0)  # between the first datagram of a ClientHello and its last
    carry(client, server)
    door.tls.finished(server)
    assert client.staple == b""
    assert counted(door.gate) == {STAPLE_SENT: 1, STAPLE_EXPIRED: 1}


def test_a_staple_swapped_within_a_handshake_is_sent_whole(kit, root, ecdsa):
    """Also between a HelloRetryRequest and the second ClientHello: the newest is sent. Where cryptography has no
    hybrid, P-384 is as good as any, and the first ClientHello decides."""
    clock = FakeClock()
    identity = kit.identity_of(ecdsa)
    door = Door(kit.Gate([identity], clock=clock))
    for index in range(20):
        identity.staple = staple_of(root, ecdsa, clock, life=100.0 + index)
        client, server = door.start(shares=(0x0018,))  # P-384: a HelloRetryRequest comes back
        for level, data in client.take_output():
            server.receive(level, data)
        first = identity.staple
        identity.staple = staple_of(root, ecdsa, clock, life=200.0 + index)
        carry(client, server)
        assert client.staple == (identity.staple if HAS_MLKEM else first).der
        door.tls.finished(server)
    assert counted(door.gate) == {STAPLE_SENT: 20}


# -- names, and certificates that change


@pytest.mark.parametrize("name", [b"", b"unknown.test"])
def test_rfc6066_3_unknown_names_are_rejected_with_their_alert(kit, ecdsa, name):
    door = Door(kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a", unknown_name="reject")))
    error = door.refused(name)
    assert (error.alert, error.reason) == (alerts.UNRECOGNIZED_NAME, "unrecognized-name")
    door.connect(b"a.test")


def test_without_certificates_nobody_is_served(kit):
    assert Door(kit.Gate([])).refused().alert == alerts.UNRECOGNIZED_NAME


def test_identities_are_replaced_for_new_handshakes(kit, root, ecdsa):
    old, new = kit.identity_of(ecdsa), kit.identity_of(root.leaf("new.test"))
    door = Door(kit.Gate([old]))
    settings = door.tls.settings
    door.connect()
    held = door.gate.tls.choice_for(b"a.test").credentials
    door.gate.tls.set_identities([old, new])
    assert door.gate.tls.choice_for(b"a.test").credentials is held  # what stays is not loaded again
    door.connect(b"new.test")
    assert door.tls.settings is settings


def test_a_certificate_that_cannot_be_used_is_told_once_and_its_like_still_serves(kit, ecdsa, rsa):
    good, other = kit.identity_of(ecdsa, "good.pem"), kit.identity_of(rsa, "bad.pem")
    bad = Identity(
        "bad.pem",
        good.chain_pem,
        other.key_pem,
        names=("a.test", "bad.test"),
        key_type="rsa",
        fingerprint="",
        not_before=0,
        not_after=9e9,
    )
    gate = kit.Gate([good, bad])
    door = Door(gate)
    door.connect()
    for _ in range(2):
        error = door.refused(b"bad.test")
        assert (error.alert, error.reason) == (alerts.HANDSHAKE_FAILURE, "certificate-unusable")
    assert [name for name, _ in gate.reports] == ["bad.pem", "bad.pem"]  # once for each choice it is part of
    assert "not its certificate's" in gate.reports[0][1]


# -- client certificates


@pytest.fixture(scope="module")
def authority():
    return Authority.root("Client Authority")


def policy(authority, auth="required", crl=b""):
    return TlsPolicy("a", client_auth=auth, client_ca=authority.pem, client_crl=crl)


def shown(kit, leaf):
    return load(kit.identity_of(leaf, root=False))


def test_a_verified_client_is_known_in_full_and_resumed_handshakes(kit, ecdsa, authority):
    alice = authority.leaf("alice", client=True)
    door = Door(kit.Gate([kit.identity_of(ecdsa)], policy(authority)), tickets=keys())
    session = None
    for resumed in (False, True):
        client, server = door.connect(credential=shown(kit, alice), session=session)
        assert server.resumed is resumed
        assert door.tls.client_certificate(server).der == alice.der
        session = client.take_sessions()[0]
    assert door.gate.count(HANDSHAKES_FULL) == door.gate.count(HANDSHAKES_RESUMED) == 1


def test_over_both_the_same_clients_are_refused_with_the_same_alert(kit, ecdsa, authority):
    gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority))
    door = Door(gate)
    for leaf, alert, words in [
        (Authority.root("Somebody").leaf("eve", client=True), alerts.UNKNOWN_CA, "unknown ca"),
        (
            authority.leaf("late", client=True, not_after=1_600_000_000),
            alerts.CERTIFICATE_EXPIRED,
            "certificate expired",
        ),
        (authority.leaf("server.test"), alerts.UNSUPPORTED_CERTIFICATE, "unsupported certificate"),
    ]:
        outcome = gate.connect(kit.Client(certificate=leaf))
        error = door.refused(credential=shown(kit, leaf))
        assert words in outcome.alert()
        assert error.alert == alert
        assert error.reason == outcome.server_error.reason == "certificate-verify-failed"
    assert door.refused().alert == alerts.CERTIFICATE_REQUIRED


def test_a_resumed_session_is_checked_against_the_files_of_today(kit, ecdsa, authority):
    alice = authority.leaf("alice", client=True)
    door = Door(kit.Gate([kit.identity_of(ecdsa)], policy(authority)), tickets=keys())
    client, _ = door.connect(credential=shown(kit, alice))
    session = client.take_sessions()[0]
    before = door.tls.settings
    renewed = policy(Authority.root("Another"))
    door.gate.tls.set_client_files(renewed, [kit.identity_of(ecdsa)])
    assert door.tls.settings is not before
    # The ticket is worth nothing any more: the handshake is full, and the certificate is not believed.
    assert door.refused(credential=shown(kit, alice), session=session).alert == alerts.UNKNOWN_CA


def test_the_client_is_told_which_authorities_count(kit, ecdsa, authority):
    door = Door(kit.Gate([kit.identity_of(ecdsa)], policy(authority)))
    assert door.tls.settings.client_authorities == (authority.certificate.subject.public_bytes(),)


def test_names_of_authorities_at_the_limit_and_one_more(kit, ecdsa):
    some = [Authority.root(f"{index:02} " + "x" * 59) for index in range(3)]
    size = 2 + len(some[0].certificate.subject.public_bytes())
    fits = MAX_AUTHORITY_NAMES // size
    pems = [some[index % 3].pem for index in range(fits + 1)]
    for count, names in ((fits, fits), (fits + 1, 0)):
        held = TlsPolicy("a", client_auth="required", client_ca=b"".join(pems[:count]))
        assert len(ClientVerifier(held).names()) == names


# -- tickets, and the rest


def keys(policy=b"p" * 32, worker=1, held=(b"k" * 32,)):
    return TicketKeys(held, policy, worker)


def test_sessions_resume_on_every_worker_and_across_one_rotation(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)])
    doors = [Door(gate, tickets=keys(worker=worker)) for worker in range(WORKERS)]
    client, _ = doors[0].connect()
    session = client.take_sessions()[0]
    for door in doors:
        assert door.connect(session=session)[1].resumed
    doors[1].tls.set_tickets(keys(held=(b"n" * 32, b"k" * 32)))
    assert doors[1].connect(session=session)[1].resumed
    doors[1].tls.set_tickets(keys(held=(b"m" * 32, b"n" * 32)))
    assert not doors[1].connect(session=session)[1].resumed
    doors[2].tls.set_tickets(None)
    assert not doors[2].connect(session=session)[1].resumed


def test_a_resumed_handshake_has_no_staple_and_is_counted_apart(kit, root, ecdsa):
    clock = FakeClock()
    identity = kit.identity_of(ecdsa)
    identity.staple = staple_of(root, ecdsa, clock)
    door = Door(kit.Gate([identity], clock=clock), tickets=keys())
    client, _ = door.connect()
    door.connect(session=client.take_sessions()[0])
    assert counted(door.gate) == {STAPLE_SENT: 1}
    assert (door.gate.count(HANDSHAKES_FULL), door.gate.count(HANDSHAKES_RESUMED)) == (1, 1)


def test_early_data_is_off_unless_there_is_a_rule_for_it(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)])
    started = gate.clock.wall() - 100
    for early, outcome in ((None, EARLY_OFF), (EarlyData(b"", 1, started), EARLY_ACCEPTED)):
        door = Door(gate, tickets=keys(), early=EarlyData(b"", 1, started))
        client, _ = door.connect()
        session = client.take_sessions()[0]
        door = Door(gate, tickets=keys(), early=early)
        client, server = door.start(session=session, early=True)
        carry(client, server)
        door.tls.finished(server)
        assert gate.count(outcome) == 1
        assert server.early_accepted is (early is not None)


def test_the_key_log_has_every_secret(kit, ecdsa):
    lines = []
    door = Door(kit.Gate([kit.identity_of(ecdsa)]), key_log=lines.append)
    door.connect()
    assert [line.split()[0] for line in lines] == [
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "EXPORTER_SECRET",
        "SERVER_TRAFFIC_SECRET_0",
        "CLIENT_TRAFFIC_SECRET_0",
    ]


def test_the_client_certificate_over_tcp_and_quic_is_the_same(kit, ecdsa, authority):
    alice = authority.leaf("alice", client=True)
    gate = kit.Gate([kit.identity_of(ecdsa)], policy(authority, "optional"))
    door = Door(gate)
    outcome = gate.connect(kit.Client(certificate=alice))
    _, server = door.connect(credential=shown(kit, alice))
    over_tcp, over_quic = (
        gate.tls.client_certificate(outcome.server.connection),
        door.tls.client_certificate(server),
    )
    assert over_tcp.fingerprint == over_quic.fingerprint
    _, nobody = door.connect()
    assert door.tls.client_certificate(nobody) is None


def test_repr(kit, ecdsa):
    door = Door(kit.Gate([kit.identity_of(ecdsa)]))
    assert repr(door.tls) == "<QuicServerTls 127.0.0.1:443: None>"


def test_both_doors_serve_tls_1_3_alone_with_quic(kit, ecdsa):
    """A policy that allows TLS 1.2 does so over TCP: QUIC has none (RFC 9001 section 4.2)."""
    gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a", min_version="1.2"))
    assert gate.connect(kit.Client(max_version=SSL.TLS1_2_VERSION)).done
    Door(gate).connect()
