"""A listener's TLS: which certificate and which staple a client gets, and what is counted. Seen from the wire."""

import pytest
from OpenSSL import SSL
from OpenSSL._util import lib

from headgate.counters import (
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
from headgate.errors import ConfigError, HeadgateError
from headgate.testing.clock import FakeClock
from headgate.testing.pki import Authority
from headgate.tls.identity import Identity, StapleRules
from headgate.tls.policy import TlsPolicy
from headgate.tls.staple import Staple

VERSIONS = [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION]
STAPLES = (
    STAPLE_SENT,
    STAPLE_ABSENT,
    STAPLE_EXPIRED,
    STAPLE_REVOKED,
    STAPLE_OFF,
    STAPLE_REFUSED,
    STAPLE_NOT_ASKED,
)


def staple_of(root: Authority, leaf, clock: FakeClock, status="good", life: float = 3600.0) -> Staple:
    wall = clock.wall()
    issuer = leaf.issuer or root
    der = issuer.ocsp(leaf, status, this_update=wall - 60, next_update=wall + life)
    return Staple(der, wall - 60, wall + life, status)


def counted(gate) -> dict[int, int]:
    return {counter: gate.count(counter) for counter in STAPLES if gate.count(counter)}


def rsa_only() -> dict:
    return {"max_version": SSL.TLS1_2_VERSION, "ciphers": b"ECDHE-RSA-AES128-GCM-SHA256"}


# -- which certificate


@pytest.mark.parametrize(
    ("name", "which"),
    [
        (b"a.test", 0),
        (b"x.wild.test", 0),
        (b"b.test", 1),
        (b"unknown.test", 0),
        (b"", 0),
        (b"x.y.wild.test", 0),
    ],
)
def test_certificate_by_name(kit, root, ecdsa, name, which):
    identities = [kit.identity_of(ecdsa), kit.identity_of(root.leaf("b.test"))]
    gate = kit.Gate(identities)
    outcome = gate.connect(kit.Client(), name)
    assert outcome.leaf() == identities[which].fingerprint
    assert outcome.server.server_name() == name
    outcome.close()


@pytest.mark.parametrize("name", [b"", b"unknown.test"])
def test_rfc6066_3_unknown_names_are_rejected_with_their_alert(kit, ecdsa, name):
    gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a", unknown_name="reject"))
    outcome = gate.connect(kit.Client(), name)
    assert outcome.server_error.reason == "unrecognized-name"
    assert "unrecognized name" in outcome.alert()
    assert gate.connect(kit.Client(), b"a.test").done


def test_unknown_name_in_a_hello_of_two_records_is_rejected_too(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a", unknown_name="reject"))
    server, client = kit.socket_pair()
    conn = kit.Client().open(None, b"unknown.test")
    with pytest.raises(SSL.WantReadError):
        conn.do_handshake()
    hello = conn.bio_read(65536)[5:]
    half = len(hello) // 2
    for part in (hello[:half], hello[half:]):
        client.send(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part)
    transport = gate.tls.accept(server)
    with pytest.raises(HeadgateError) as caught:
        transport.handshake()
    assert caught.value.reason == "unrecognized-name"
    assert client.recv(7)[:1] == b"\x15"
    transport.close()
    client.close()


@pytest.mark.parametrize("order", [1, -1])
def test_rsa_and_ecdsa_side_by_side_each_with_its_chain_and_staple(kit, root, ecdsa, rsa, order):
    clock = FakeClock()
    identities = [kit.identity_of(ecdsa), kit.identity_of(rsa)]
    for identity, leaf in zip(identities, (ecdsa, rsa), strict=True):
        identity.staple = staple_of(root, leaf, clock)
    gate = kit.Gate(identities[::order], clock=clock)
    for options, expected, chain in [
        ({}, 0, 2),
        (rsa_only(), 1, 3),
        ({"max_version": SSL.TLS1_2_VERSION}, 0, 2),
    ]:
        client = kit.Client(trust=root, **options)
        outcome = gate.connect(client)
        assert outcome.done, (outcome.server_error, outcome.client_error)
        assert outcome.leaf() == identities[expected].fingerprint
        assert len(outcome.client.get_peer_cert_chain(as_cryptography=True)) == chain
        assert client.staples == [identities[expected].staple.der]
        outcome.close()


def test_tls13_client_without_ecdsa_gets_rsa(kit, root, ecdsa, rsa):
    clock = FakeClock()
    identities = [kit.identity_of(ecdsa), kit.identity_of(rsa)]
    identities[1].staple = staple_of(root, rsa, clock)
    gate = kit.Gate(identities, clock=clock)
    client = kit.Client()
    assert lib.SSL_CTX_set1_sigalgs_list(client.context._context, b"rsa_pss_rsae_sha256:RSA+SHA256") == 1
    outcome = gate.connect(client)
    assert outcome.leaf() == identities[1].fingerprint
    assert client.staples == [identities[1].staple.der]
    outcome.close()


def test_a_certificate_that_openssl_refuses_is_told_once_and_its_like_still_serves(kit, ecdsa, rsa):
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
    assert gate.connect(kit.Client()).done
    for _ in range(2):
        outcome = gate.connect(kit.Client(), b"bad.test")
        assert outcome.server_error.reason == "certificate-unusable"
    assert [name for name, _ in gate.reports] == ["bad.pem", "bad.pem"]  # once for each choice it is part of
    assert "OpenSSL refuses it" in gate.reports[0][1]


def test_identities_are_replaced_for_new_handshakes(kit, root, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)])
    client = kit.Client()
    gate.connect(client)
    assert gate.tls.covers(b"x.wild.test")
    assert not gate.tls.covers(b"new.test")
    new = kit.identity_of(root.leaf("new.test"))
    gate.tls.set_identities([new])
    assert gate.tls.covers(b"new.test")
    assert gate.connect(client).resumed
    outcome = gate.connect(kit.Client(), b"a.test")
    assert outcome.leaf() == new.fingerprint


def test_staple_swapped_between_and_within_handshakes_is_always_a_whole_one(kit, root, ecdsa):
    clock = FakeClock()
    identity = kit.identity_of(ecdsa)
    gate = kit.Gate([identity], clock=clock)
    staples = [staple_of(root, ecdsa, clock, life=life) for life in (100.0, 200.0, 300.0)]
    seen = set()
    for number in range(150):
        identity.staple = staples[number % 3]
        client = kit.Client()
        server, sock = kit.socket_pair()
        conn = client.open(sock, b"a.test")
        with pytest.raises(SSL.WantReadError):
            conn.do_handshake()
        identity.staple = staples[(number + 1) % 3]
        assert kit.run_handshake(gate.tls.accept(server), conn).done
        (sent,) = client.staples
        assert sent == identity.staple.der
        seen.add(sent)
        server.close()
        sock.close()
    assert len(seen) == 3
    assert counted(gate) == {STAPLE_SENT: 150}


def test_ten_names_of_one_identity_share_a_context(kit, root):
    gate = kit.Gate([kit.identity_of(root.leaf(*(f"n{index}.test" for index in range(10))))])
    for index in range(10):
        assert gate.connect(kit.Client(), f"n{index}.test".encode()).done
    assert len({id(gate.tls._selection.find(f"n{index}.test".encode()).context) for index in range(10)}) == 1


# -- which staple


@pytest.mark.parametrize("version", VERSIONS)
def test_staple_is_sent_and_a_newer_one_with_the_next_handshake(kit, root, ecdsa, version):
    clock = FakeClock()
    identity = kit.identity_of(ecdsa)
    gate = kit.Gate([identity], clock=clock)
    for life in (100.0, 200.0):
        identity.staple = staple_of(root, ecdsa, clock, life=life)
        client = kit.Client(max_version=version)
        gate.connect(client).close()
        assert client.staples == [identity.staple.der]
    assert counted(gate) == {STAPLE_SENT: 2}


def missing(root, leaf, clock):
    return None


def expired(root, leaf, clock):
    return staple_of(root, leaf, clock, life=-1.0)


def just_over(root, leaf, clock):
    return staple_of(root, leaf, clock, life=0.0)


def revoked(root, leaf, clock):
    return staple_of(root, leaf, clock, "revoked")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("make", "rules", "outcome"),
    [
        (missing, {}, STAPLE_ABSENT),
        (expired, {}, STAPLE_EXPIRED),
        (just_over, {}, STAPLE_EXPIRED),
        (revoked, {}, STAPLE_REVOKED),
        (revoked, {"revoked": "staple"}, STAPLE_SENT),
        (revoked, {"stapling": "off"}, STAPLE_OFF),
    ],
)
def test_staple_by_state_and_rules(kit, root, ecdsa, version, make, rules, outcome):
    clock = FakeClock()
    identity = kit.identity_of(ecdsa, rules=StapleRules(**rules))
    identity.staple = make(root, ecdsa, clock)
    gate = kit.Gate([identity], clock=clock)
    client = kit.Client(max_version=version)
    assert gate.connect(client).done
    assert client.staples == [identity.staple.der if outcome == STAPLE_SENT else b""]
    assert counted(gate) == {outcome: 1}


def test_a_jumping_clock_serves_nothing_expired(kit, root, ecdsa):
    clock = FakeClock()
    identity = kit.identity_of(ecdsa)
    identity.staple = staple_of(root, ecdsa, clock)
    gate = kit.Gate([identity], clock=clock)
    client = kit.Client()
    clock.jump(7200.0)
    gate.connect(client)
    assert client.staples == [b""]
    assert counted(gate) == {STAPLE_EXPIRED: 1}


@pytest.mark.parametrize("version", VERSIONS)
def test_clients_that_do_not_ask_get_none(kit, root, ecdsa, version):
    clock = FakeClock()
    identity = kit.identity_of(ecdsa)
    identity.staple = staple_of(root, ecdsa, clock)
    gate = kit.Gate([identity], clock=clock)
    client = kit.Client(max_version=version, asks=False)
    assert gate.connect(client).done
    assert counted(gate) == {STAPLE_NOT_ASKED: 1}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("state", [missing, expired, revoked])
def test_must_staple_refuse_ends_the_handshake_of_those_that_ask(kit, root, version, state):
    clock = FakeClock()
    leaf = root.leaf("a.test", must_staple=True)
    identity = kit.identity_of(leaf, rules=StapleRules(must_staple="refuse"))
    identity.staple = staple_of(root, leaf, clock)
    gate = kit.Gate([identity], clock=clock)
    known = kit.Client(max_version=version)
    assert gate.connect(known).done
    identity.staple = state(root, leaf, clock)
    outcome = gate.connect(kit.Client(max_version=version))
    assert outcome.server_error.reason == "must-staple-refused"
    assert "internal error" in outcome.alert()
    assert gate.connect(kit.Client(max_version=version, asks=False)).done
    assert gate.connect(known).resumed  # no staple is sent in a resumed handshake, and none is missed
    assert counted(gate) == {STAPLE_SENT: 1, STAPLE_REFUSED: 1, STAPLE_NOT_ASKED: 1}
    # The failure belongs to that one connection: the next is served as soon as there is a staple.
    identity.staple = staple_of(root, leaf, clock)
    assert gate.connect(kit.Client(max_version=version)).done


def test_must_staple_warn_serves_without(kit, root):
    gate = kit.Gate([kit.identity_of(root.leaf("a.test", must_staple=True))])
    assert gate.connect(kit.Client()).done
    assert counted(gate) == {STAPLE_ABSENT: 1}


def test_resumed_handshakes_are_counted_apart(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)])
    client = kit.Client()
    gate.connect(client)
    gate.connect(client)
    gate.connect(client)
    assert gate.count(HANDSHAKES_FULL) == 1
    assert gate.count(HANDSHAKES_RESUMED) == 2
    assert counted(gate) == {STAPLE_ABSENT: 1}


def test_w1_the_staple_callback_needs_no_connection_of_ours(kit, root, ecdsa):
    # QUIC's shape of wound 1: a handshake without anything that a TCP connection would have.
    clock = FakeClock()
    identity = kit.identity_of(ecdsa)
    identity.staple = staple_of(root, ecdsa, clock)
    gate = kit.Gate([identity], clock=clock)
    bare = SSL.Connection(gate.ring.base_for(b""), None)
    bare.set_accept_state()
    client = kit.Client()
    conn = client.open(None, b"a.test")
    for _ in range(4):
        for end, other in ((conn, bare), (bare, conn)):
            try:
                end.do_handshake()
            except SSL.WantReadError:
                pass
            try:
                other.bio_write(end.bio_read(65536))
            except SSL.WantReadError:
                pass
    assert client.staples == [identity.staple.der]
    gate.tls.finished(bare)


# -- ALPN, client files


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [([b"http/1.1"], b"http/1.1"), ([b"h2", b"http/1.1"], b"http/1.1"), ([], b"")],
)
def test_alpn(kit, ecdsa, offered, chosen):
    gate = kit.Gate([kit.identity_of(ecdsa)])
    outcome = gate.connect(kit.Client(alpn=offered))
    assert outcome.client.get_alpn_proto_negotiated() == outcome.server.alpn() == chosen
    outcome.close()


def test_rfc7301_3_2_no_common_protocol_is_a_fatal_alert(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)])
    outcome = gate.connect(kit.Client(alpn=[b"acme-tls/1"]))
    assert outcome.server_error.reason == "no-application-protocol"
    assert "no application protocol" in outcome.alert()
    assert gate.connect(kit.Client(alpn=[b"http/1.1"])).done


def test_our_order_of_protocols_decides(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a", alpn=(b"h2", b"http/1.1")))
    outcome = gate.connect(kit.Client(alpn=[b"http/1.1", b"h2"]))
    assert outcome.server.alpn() == b"h2"
    outcome.close()


def test_client_files_can_be_renewed_but_not_the_policy(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a"))
    with pytest.raises(HeadgateError, match="changes with its workers"):
        gate.tls.set_client_files(TlsPolicy("b"), [])
    with pytest.raises(ConfigError, match="no certificate in client_ca"):
        kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a", client_auth="required"))


def test_no_identity_at_all_refuses_and_says_so(kit):
    gate = kit.Gate([])
    outcome = gate.connect(kit.Client())
    assert outcome.server_error.reason == "unrecognized-name"


def test_repr(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("[::]:443"))
    assert repr(gate.tls) == "<ServerTls [::]:443: <Selection 1 names, 1 wildcards, 1 choices>>"
    server, _ = kit.socket_pair()
    assert repr(gate.tls.accept(server)) == f"<TlsTransport fd={server.fileno()} peek>"
