"""TLS towards origins: whom we believe, and what is said when we do not."""

import select

import pytest
from OpenSSL import SSL

from headgate.errors import ConfigError, TransportError
from headgate.testing.pki import Authority
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.tls.policy import TlsPolicy


@pytest.fixture
def gate(kit, root):
    leaf = root.leaf("origin.test", "*.wild.test", "127.0.0.1")
    return kit.Gate([kit.identity_of(leaf)])


@pytest.mark.parametrize("host", ["origin.test", "x.wild.test", "127.0.0.1"])
def test_the_right_certificate_is_believed(kit, gate, root, host):
    tls = ClientTls(ClientTlsSettings(authorities=root.pem))
    client, server = kit.connect(gate, tls, host)
    assert server.server_name() == (b"" if host == "127.0.0.1" else host.encode())
    assert client.alpn() == b"http/1.1"
    client.write(b"hello")
    select.select([server.fileno()], [], [], 5)
    assert server.read(100) == b"hello"
    server.write(b"world")
    assert kit.receive_first(client) == b"world"


def test_rfc7301_3_1_what_is_offered_goes_by_the_settings_or_by_the_connection(kit, root):
    policy = TlsPolicy("a", alpn=(b"h2", b"http/1.1"))
    gate = kit.Gate([kit.identity_of(root.leaf("origin.test"))], policy)
    tls = ClientTls(ClientTlsSettings(authorities=root.pem, alpn=(b"h2", b"http/1.1")))
    client, _ = kit.connect(gate, tls, "origin.test")
    assert client.alpn() == b"h2"
    client, server = kit.connect(gate, tls, "origin.test", alpn=(b"http/1.1",))
    assert client.alpn() == server.alpn() == b"http/1.1"
    client, _ = kit.connect(gate, tls, "origin.test")
    assert client.alpn() == b"h2", "of that one connection only"


@pytest.mark.parametrize("host", ["other.test", "x.y.wild.test", "127.0.0.2", "::1"])
def test_rfc9525_a_certificate_for_another_name_is_refused(kit, gate, root, host):
    tls = ClientTls(ClientTlsSettings(authorities=root.pem))
    with pytest.raises(TransportError) as caught:
        kit.connect(gate, tls, host)
    assert caught.value.reason == "certificate-name-mismatch"
    assert f"not for {host}: depth 0, CN=origin.test, which is for origin.test, *.wild" in caught.value.detail


@pytest.mark.parametrize("authorities", [b"", Authority.root("Stranger").pem])
def test_an_unknown_authority_is_refused(kit, gate, authorities):
    tls = ClientTls(ClientTlsSettings(authorities=authorities))
    with pytest.raises(TransportError) as caught:
        kit.connect(gate, tls, "origin.test")
    assert caught.value.reason == "certificate-authority-unknown"
    assert "depth 1, CN=Headgate Test Root, issued by CN=Headgate Test Root" in caught.value.detail


@pytest.mark.parametrize(
    ("dates", "reason", "words"),
    [
        ({"not_after": 1_600_000_000}, "certificate-expired", "valid until 2020-09-13T12:26:40Z"),
        ({"not_before": 4e9, "not_after": 4.1e9}, "certificate-not-yet-valid", "valid from 2096-10-02"),
        ({"client": True}, "certificate-wrong-purpose", "depth 0, CN=origin.test"),
    ],
)
def test_a_refusal_names_check_depth_subject_and_dates(kit, root, dates, reason, words):
    gate = kit.Gate([kit.identity_of(root.leaf("origin.test", **dates))])
    with pytest.raises(TransportError) as caught:
        kit.connect(gate, ClientTls(ClientTlsSettings(authorities=root.pem)), "origin.test")
    assert caught.value.reason == reason
    assert "depth 0, CN=origin.test" in caught.value.detail
    assert words in caught.value.detail


def test_verify_false_believes_anybody(kit, gate):
    kit.connect(gate, ClientTls(ClientTlsSettings(verify=False)), "whoever.test")


def test_a_configured_name_replaces_the_endpoints(kit, gate, root):
    tls = ClientTls(ClientTlsSettings(authorities=root.pem, name="origin.test"))
    _, server = kit.connect(gate, tls, "127.0.0.9")
    assert server.server_name() == b"origin.test"


def test_our_certificate_is_sent_when_asked_for(kit, root):
    authority = Authority.root("Clients")
    policy = TlsPolicy("a", client_auth="required", client_ca=authority.pem)
    gate = kit.Gate([kit.identity_of(root.leaf("origin.test"))], policy)
    identity = kit.identity_of(authority.leaf("gate", client=True))
    tls = ClientTls(ClientTlsSettings(authorities=root.pem, identity=identity))
    _, server = kit.connect(gate, tls, "origin.test")
    assert gate.tls.client_certificate(server.connection).subject == "CN=gate"


@pytest.mark.parametrize(("least", "refused"), [("1.2", False), ("1.3", True)])
def test_an_origin_below_the_least_version_is_refused(root, least, refused):
    leaf = root.leaf("origin.test")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    context.use_certificate(leaf.certificate)
    context.use_privatekey(leaf.key)
    server = SSL.Connection(context, None)
    server.set_accept_state()
    client = ClientTls(ClientTlsSettings(authorities=root.pem, min_version=least)).open(None, "origin.test")
    with pytest.raises(SSL.WantReadError):
        client.do_handshake()
    server.bio_write(client.bio_read(65536))
    with pytest.raises(SSL.Error if refused else SSL.WantReadError) as caught:
        server.do_handshake()
    assert ("unsupported protocol" in str(caught.value)) == refused


def test_an_origin_below_tls_1_2_is_refused(kit, gate):
    tls = ClientTls(ClientTlsSettings(verify=False))
    conn = tls.open(None, "origin.test")
    with pytest.raises(SSL.WantReadError):
        conn.do_handshake()
    assert b"\x03\x02" not in conn.bio_read(65536)[9:11]


def test_settings_that_cannot_be_used(kit, root):
    with pytest.raises(ConfigError, match="upstream's ca"):
        ClientTls(ClientTlsSettings(authorities=b"nothing"))
    for host in ("", "a" * 254, "a\0b", "ä" * 100):
        with pytest.raises(TransportError, match="upstream-name-invalid"):
            ClientTls(ClientTlsSettings(verify=False)).open(None, host)


def test_repr(root):
    assert (
        repr(ClientTls(ClientTlsSettings(authorities=root.pem)))
        == "<ClientTls verify=True authorities=configured>"
    )
