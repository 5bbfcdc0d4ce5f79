"""Sessions of origins: whom they are offered to, how often, how many are kept, and what is looked at again."""

import time

import pytest
from OpenSSL import SSL

from headgate.clock import SystemClock
from headgate.engine.tls13 import alerts
from headgate.errors import TransportError
from headgate.ocsp.peer import check_staple
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.tls.sessions import MAX_HOSTS, MAX_SESSIONS, Kept, Proof, Sessions
from headgate.tls.staple import Staple


@pytest.fixture
def gate(kit, root):
    return kit.Gate([kit.identity_of(root.leaf("origin.test", "127.0.0.1"))])


class Wall(SystemClock):
    def __init__(self, wall):
        self.seconds = wall

    def wall(self):
        return self.seconds

    def pass_by(self, seconds):
        self.seconds += seconds


def settings(root, **more):
    return ClientTlsSettings(authorities=root.pem, **more)


def use(kit, gate, tls, host="origin.test", port=443, *, clean=True):
    """One connection from handshake to close, with a few bytes of the origin's; tell whether it was resumed."""
    client, server = kit.connect(gate, tls, host, port)
    server.write(b"!")
    assert kit.receive_first(client) == b"!"
    resumed = client.resumed
    if clean:
        client.shutdown()
    client.close()
    server.close()
    return resumed


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_the_second_connection_is_resumed(kit, gate, root, version):
    tls = ClientTls(settings(root))
    tls._context.set_max_proto_version(version)
    assert [use(kit, gate, tls) for _ in range(4)] == [False, True, True, True]


def test_without_resumption_every_handshake_is_a_full_one(kit, gate, root):
    tls = ClientTls(settings(root, resumption=False))
    assert [use(kit, gate, tls) for _ in range(3)] == [False] * 3


def test_a_session_is_for_its_host_and_port_and_upstream(kit, gate, root):
    tls = ClientTls(settings(root))
    use(kit, gate, tls)
    assert not use(kit, gate, tls, "127.0.0.1")
    assert not use(kit, gate, tls, port=444)
    assert not use(kit, gate, ClientTls(settings(root)))
    assert use(kit, gate, tls)


def test_rfc8446_c_4_a_session_of_tls_1_3_is_offered_once(kit, gate, root):
    tls = ClientTls(settings(root))
    use(kit, gate, tls)
    taken = []
    while (kept := tls.sessions.take("origin.test", 443, time.time())) is not None:
        assert kept.is_single
        taken.append(kept.session._session)
    assert len(taken) == len(set(taken)) == 2, "two tickets after a full handshake"
    assert not use(kit, gate, tls)


def test_a_session_of_tls_1_2_serves_until_there_is_another(kit, gate, root):
    tls = ClientTls(settings(root))
    tls._context.set_max_proto_version(SSL.TLS1_2_VERSION)
    use(kit, gate, tls)
    first, second = (tls.sessions.take("origin.test", 443, time.time()) for _ in range(2))
    assert first is second is not None
    assert not first.is_single


def test_a_connection_that_broke_takes_no_other_session_along(kit, gate, root):
    tls = ClientTls(settings(root))
    use(kit, gate, tls, clean=False)  # OpenSSL itself resumes nothing whose connection broke
    use(kit, gate, tls)
    assert use(kit, gate, tls)


def test_key_updates_keep_nothing_twice(kit, gate, root):
    tls = ClientTls(settings(root))
    use(kit, gate, tls)
    held = tls.sessions._kept["origin.test", 443]
    server_sock, client_sock = kit.socket_pair()
    client = tls.connect(client_sock, "origin.test", 443)
    role = client._role
    conn = role.begin(client_sock, None)
    conn.get_session = lambda: held[0].session
    role._known = held[0].session
    before = list(held)
    role.message_came(conn)
    assert held == before
    server_sock.close()


def test_the_name_is_checked_after_a_resumed_handshake_too(kit, gate, root, monkeypatch):
    tls = ClientTls(settings(root))
    use(kit, gate, tls)
    monkeypatch.setattr("headgate.tls.client.wrong_name", lambda certificate, host: "not today")
    with pytest.raises(TransportError, match="certificate-name-mismatch: not today"):
        use(kit, gate, tls)


def test_a_certificate_that_expired_since_is_not_resumed(kit, root):
    soon = time.time() + 3600
    gate = kit.Gate([kit.identity_of(root.leaf("origin.test", not_after=soon))])
    clock = Wall(time.time())
    tls = ClientTls(settings(root), clock=clock)
    use(kit, gate, tls)
    assert use(kit, gate, tls)
    clock.pass_by(3700)
    assert tls.sessions.take("origin.test", 443, clock.wall()) is None


def test_a_staple_that_ended_since_is_asked_for_anew(kit, root):
    leaf = root.leaf("origin.test")
    identity = kit.identity_of(leaf)
    wall = time.time()
    clock = Wall(wall)

    def staple(begin, end):
        return Staple(root.ocsp(leaf, this_update=begin, next_update=end), begin, end, "good")

    identity.staple = staple(wall - 60, wall + 3600)
    gate = kit.Gate([identity], clock=clock)
    tls = ClientTls(
        settings(root), lambda chain, der: check_staple(chain, der, clock.wall(), is_required=True), clock
    )
    assert [use(kit, gate, tls) for _ in range(2)] == [False, True]
    clock.pass_by(4000)
    identity.staple = staple(wall + 3600, wall + 7200)
    assert [use(kit, gate, tls) for _ in range(2)] == [False, True], "a full one, with the new staple"
    identity.staple = None
    clock.pass_by(7200)
    with pytest.raises(TransportError, match="staple-missing: CN=origin"):
        use(kit, gate, tls)


def kept(single=True):
    return Kept(SSL.Session(), Proof((), b""), is_single=single)


def test_sessions_of_a_host_at_the_limit_and_one_more():
    sessions = Sessions(None)
    held = [kept() for _ in range(MAX_SESSIONS + 1)]
    for one in held:
        sessions.keep("a", 1, one)
    assert [sessions.take("a", 1, 0.0) for _ in range(MAX_SESSIONS)] == held[:0:-1]
    assert sessions.take("a", 1, 0.0) is None


def test_hosts_at_the_limit_and_one_more():
    sessions = Sessions(None)
    for index in range(MAX_HOSTS):
        sessions.keep(f"h{index}", 1, kept(single=False))
    sessions.keep("h0", 1, kept(single=False))  # heard of since
    sessions.keep("one more", 1, kept())
    assert sessions.take("h0", 1, 0.0) is not None
    assert sessions.take("h1", 1, 0.0) is None
    assert repr(sessions) == f"<Sessions {MAX_HOSTS} of {MAX_HOSTS} hosts>"


def test_a_proof_that_does_not_hold(root):
    chain = (root.leaf("a.test").certificate, root.certificate)

    def refuse(chain, staple):
        raise alerts.refusal(alerts.CERTIFICATE_REVOKED, "revoked since")

    until = chain[0].not_valid_after_utc.timestamp()
    assert Proof(chain, b"").holds(until - 1, None)
    assert not Proof(chain, b"").holds(until, None)
    assert not Proof(chain, b"").holds(0.0, refuse)
    assert Proof((), b"").holds(1e12, refuse), "nothing was verified"
