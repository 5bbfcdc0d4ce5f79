"""TLS towards origins over QUIC: whom we believe, side by side with TLS over TCP, and the sessions that are kept."""

import random
import time

import pytest
from cryptography import x509

from headgate.clock import SystemClock
from headgate.engine.tls13 import alerts
from headgate.engine.tls13.client import MAX_SESSIONS, ClientHandshake
from headgate.engine.tls13.server import ServerHandshake
from headgate.engine.tls13.settings import FixedAnswer, Session
from headgate.engine.tls13.suites import TLS_AES_128_GCM_SHA256
from headgate.engine.tls13.tickets import TicketKeys
from headgate.errors import ConfigError, TransportError
from headgate.ocsp.peer import check_staple
from headgate.testing.pki import Authority
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.tls.identity import Identity, StapleRules
from headgate.tls.policy import TlsPolicy
from headgate.tls.quic_client import MAX_HOSTS, QuicClientTls
from headgate.tls.quic_server import QuicServerTls
from headgate.tls.staple import Staple


def over_tcp(kit, gate, tls: ClientTls, host: str) -> TransportError | None:
    """Shake hands over TCP; return what our client refuses the server for."""
    try:
        kit.connect(gate, tls, host)
    except TransportError as error:
        return error
    return None


def over_quic(gate, tls: QuicClientTls, host: str, *, session=None, tickets=None):
    """Shake hands in memory; return both sides."""
    door = QuicServerTls(gate.tls, gate.counters.values, tickets=tickets)
    settings, wall = tls.settings_for(host), time.time()
    client = ClientHandshake(
        settings, random.Random(1).randbytes, wall, transport_parameters=b"c", session=session
    )
    server = ServerHandshake(door.settings, random.Random(2).randbytes, wall, transport=FixedAnswer(b"s"))
    moved = True
    while moved and client.failure is None:
        moved = False
        for source, target in ((client, server), (server, client)):
            for level, data in source.take_output():
                moved = True
                try:
                    target.receive(level, data)
                except alerts.TlsAlertError:
                    if target is server:
                        raise
                    break
    return client, server


@pytest.fixture
def gate(kit, root):
    return kit.Gate([kit.identity_of(root.leaf("origin.test", "*.wild.test", "127.0.0.1"))])


@pytest.mark.parametrize("host", ["origin.test", "x.wild.test", "127.0.0.1"])
def test_the_right_certificate_is_believed(gate, root, host):
    tls = QuicClientTls(ClientTls(ClientTlsSettings(authorities=root.pem)))
    client, server = over_quic(gate, tls, host)
    assert client.complete
    assert server.server_name == (b"" if host == "127.0.0.1" else host.encode())


@pytest.mark.parametrize("host", ["other.test", "x.y.wild.test", "127.0.0.2", "::1"])
@pytest.mark.parametrize("trust", ["root", "stranger", "system"])
def test_over_both_the_same_servers_are_refused_in_the_same_words(kit, gate, root, host, trust):
    authorities = {"root": root.pem, "stranger": Authority.root("Stranger").pem, "system": b""}[trust]
    settings = ClientTlsSettings(authorities=authorities)
    for name in (host, "origin.test"):
        refused = over_tcp(kit, gate, ClientTls(settings), name)
        client, _ = over_quic(gate, QuicClientTls(ClientTls(settings)), name)
        if refused is None:
            assert client.failure is None
        else:
            assert client.failure.reason == refused.reason
            assert not client.complete
            assert client.failure.detail == refused.detail
    client, _ = over_quic(gate, QuicClientTls(ClientTls(settings)), host)
    expected = "certificate-name-mismatch" if trust == "root" else "certificate-authority-unknown"
    assert client.failure.reason == expected
    assert client.failure.alert == (alerts.BAD_CERTIFICATE if trust == "root" else alerts.UNKNOWN_CA)


def test_a_certificate_of_a_client_or_of_yesterday_is_no_server(kit, root):
    tls = QuicClientTls(ClientTls(ClientTlsSettings(authorities=root.pem)))
    for leaf, alert in [
        (root.leaf("origin.test", client=True), alerts.UNSUPPORTED_CERTIFICATE),
        (root.leaf("origin.test", not_after=1_600_000_000), alerts.CERTIFICATE_EXPIRED),
    ]:
        client, _ = over_quic(kit.Gate([kit.identity_of(leaf)]), tls, "origin.test")
        assert client.failure.alert == alert


def test_verify_false_believes_anybody(gate):
    client, _ = over_quic(gate, QuicClientTls(ClientTls(ClientTlsSettings(verify=False))), "whoever.test")
    assert client.complete


def test_a_configured_name_replaces_the_endpoints(gate, root):
    tls = QuicClientTls(ClientTls(ClientTlsSettings(authorities=root.pem, name="origin.test")))
    client, server = over_quic(gate, tls, "127.0.0.9")
    assert client.complete
    assert server.server_name == b"origin.test"


def test_our_certificate_is_sent_when_asked_for(kit, root):
    authority = Authority.root("Clients")
    policy = TlsPolicy("a", client_auth="required", client_ca=authority.pem)
    gate = kit.Gate([kit.identity_of(root.leaf("origin.test"))], policy)
    leaf = authority.leaf("gate", client=True)
    settings = ClientTlsSettings(authorities=root.pem, identity=kit.identity_of(leaf))
    _, server = over_quic(gate, QuicClientTls(ClientTls(settings)), "origin.test")
    assert server.peer_certificates[0] == leaf.der


def test_a_certificate_of_ours_that_cannot_be_used(kit, root, ecdsa, rsa):
    tls = ClientTls(ClientTlsSettings(authorities=root.pem))
    good, other = kit.identity_of(ecdsa), kit.identity_of(rsa)
    bad = Identity(
        "bad.pem",
        good.chain_pem,
        other.key_pem,
        names=(),
        key_type="rsa",
        fingerprint="",
        not_before=0,
        not_after=9e9,
    )
    tls._settings = ClientTlsSettings(authorities=root.pem, identity=bad)
    with pytest.raises(ConfigError, match="client certificate cannot be used"):
        QuicClientTls(tls)
    for host in ("", "a" * 254, "a\0b", "ä" * 100):
        with pytest.raises(TransportError, match="upstream-name-invalid"):
            QuicClientTls(ClientTls(ClientTlsSettings(verify=False))).settings_for(host)


def test_the_staple_is_judged_with_the_whole_chain(kit, root):
    between = root.intermediate()
    leaf = between.leaf("origin.test")
    gate = kit.Gate([kit.identity_of(leaf, root=False)])
    asked = []

    def judge(chain, staple):
        asked.append((chain, staple))
        raise alerts.refusal(alerts.BAD_CERTIFICATE_STATUS, "not today")

    settings = ClientTlsSettings(authorities=root.pem)
    client, _ = over_quic(gate, QuicClientTls(ClientTls(settings, judge)), "origin.test")
    ((chain, staple),) = asked
    assert [each.subject for each in chain] == [each.certificate.subject for each in (leaf, between, root)]
    assert isinstance(chain[0], x509.Certificate)
    assert staple == b""
    assert client.failure.alert == alerts.BAD_CERTIFICATE_STATUS


@pytest.mark.parametrize(
    ("status", "must", "reason"),
    [
        ("good", False, ""),
        ("revoked", False, "certificate-revoked"),
        ("expired", False, "staple-not-believed"),
        ("", False, ""),
        ("", True, "staple-missing"),
        ("good", True, ""),
    ],
)
def test_rfc6066_8_over_both_the_same_staples_are_refused(kit, root, status, must, reason):
    """As the gate looks at them: the rules of our own stapler, applied to an origin's staple."""
    wall = time.time()
    between = root.intermediate()
    leaf = between.leaf("origin.test", must_staple=must)
    identity = kit.identity_of(leaf, root=False, rules=StapleRules(revoked="staple"))
    if status:
        ends = wall - 1 if status == "expired" else wall + 600
        said = "good" if status == "expired" else status
        der = between.ocsp(leaf, said, this_update=wall - 60, next_update=ends)
        identity.staple = Staple(der, wall - 60, wall + 600, said)  # sent, whatever it says
    gate = kit.Gate([identity], clock=SystemClock())
    tls = ClientTls(
        ClientTlsSettings(authorities=root.pem), lambda chain, staple: check_staple(chain, staple, wall)
    )
    refused = over_tcp(kit, gate, tls, "origin.test")
    client, _ = over_quic(gate, QuicClientTls(tls), "origin.test")
    found = [refused.reason if refused is not None else "", client.failure.reason if client.failure else ""]
    assert found == [reason, reason]


def test_without_a_check_nobody_asks_for_a_staple(gate, root):
    tls = ClientTls(ClientTlsSettings(authorities=root.pem))
    assert not QuicClientTls(tls).settings_for("origin.test").ask_staple


# -- sessions


def session(name=b"origin.test", received=0.0, lifetime=100):
    return Session(name, b"h3", TLS_AES_128_GCM_SHA256, b"k" * 32, b"t", 0, received, lifetime)


def test_rfc8446_c4_a_session_is_used_once(gate, root):
    tls = QuicClientTls(ClientTls(ClientTlsSettings(authorities=root.pem)))
    keys = TicketKeys((b"k" * 32,), b"p" * 32, 1)
    client, _ = over_quic(gate, tls, "origin.test", tickets=keys)
    tls.keep("origin.test", client.take_sessions())
    held = [tls.take_session("origin.test", time.time()) for _ in range(3)]
    assert [each is not None for each in held] == [True, True, False]
    assert held[0] is not held[1]
    again, server = over_quic(gate, tls, "origin.test", session=held[0], tickets=keys)
    assert again.complete
    assert server.resumed
    assert tls.take_session("other.test", 0.0) is None


@pytest.mark.parametrize("resumption", [True, False])
def test_without_resumption_no_session_is_kept(gate, root, resumption):
    tls = QuicClientTls(ClientTls(ClientTlsSettings(authorities=root.pem, resumption=resumption)))
    tls.keep("origin.test", [session()])
    assert (tls.take_session("origin.test", 1.0) is not None) == resumption


def test_a_session_is_resumed_while_what_it_was_believed_by_holds(kit, root):
    until = time.time() + 3600
    gate = kit.Gate([kit.identity_of(root.leaf("origin.test", not_after=until))])
    verdicts = []

    def judge(chain, staple):
        verdicts.append(len(chain))
        if len(verdicts) > 2:
            raise alerts.refusal(alerts.CERTIFICATE_REVOKED, "revoked since")

    tls = QuicClientTls(ClientTls(ClientTlsSettings(authorities=root.pem), judge))
    client, _ = over_quic(gate, tls, "origin.test", tickets=TicketKeys((b"k" * 32,), b"p" * 32, 1))
    sessions = client.take_sessions()
    assert len(sessions) == 2
    tls.keep("origin.test", sessions)
    assert tls.take_session("origin.test", until + 1) is None, "the certificate has expired"
    tls.keep("origin.test", sessions)
    assert tls.take_session("origin.test", time.time()) is not None
    assert tls.take_session("origin.test", time.time()) is None, "the staple is looked at again"
    assert verdicts == [2, 2, 2]


def test_sessions_of_a_host_at_the_limit_and_one_more(root):
    tls = QuicClientTls(ClientTls(ClientTlsSettings(authorities=root.pem)))
    held = [session() for _ in range(MAX_SESSIONS + 1)]
    for each in held:
        tls.keep("origin.test", [each])
    assert [tls.take_session("origin.test", 1.0) for _ in range(MAX_SESSIONS)] == held[:0:-1]
    assert tls.take_session("origin.test", 1.0) is None


def test_a_session_that_is_over_is_not_handed_out(root):
    tls = QuicClientTls(ClientTls(ClientTlsSettings(authorities=root.pem)))
    tls.keep("origin.test", [session(lifetime=5), session(lifetime=1)])
    assert tls.take_session("origin.test", 2.0).lifetime == 5
    assert tls.take_session("origin.test", 2.0) is None


def test_hosts_at_the_limit_and_one_more(root):
    tls = QuicClientTls(ClientTls(ClientTlsSettings(authorities=root.pem)))
    for index in range(MAX_HOSTS):
        tls.keep(f"h{index}.test", [session()])
    settings = tls.settings_for("h0.test")
    tls.settings_for("one-more.test")
    assert tls.settings_for("h0.test") is settings  # used since
    assert tls.take_session("h1.test", 1.0) is None  # the least recently used is forgotten
    assert repr(tls).endswith(f"{MAX_HOSTS} hosts>")
