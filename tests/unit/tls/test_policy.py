"""What a policy asks of OpenSSL, as a client sees it."""

import pytest
from OpenSSL import SSL

from headgate.tls.policy import TlsPolicy, server_context, verify_mode


def test_ids_differ_by_listener_and_by_client_auth_only_where_sessions_must_not_cross():
    ids = {
        TlsPolicy("a").id,
        TlsPolicy("b").id,
        TlsPolicy("a", client_auth="optional").id,
        TlsPolicy("a", client_auth="required").id,
        TlsPolicy("a", min_version="1.3").id,
    }
    assert len(ids) == 5
    assert all(len(id) == 32 for id in ids)
    assert TlsPolicy("a", client_ca=b"x").id == TlsPolicy("a", client_crl=b"y").id


@pytest.mark.parametrize(
    ("auth", "mode"),
    [
        ("off", SSL.VERIFY_NONE),
        ("optional", SSL.VERIFY_PEER),
        ("required", SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT),
    ],
)
def test_verify_mode(auth, mode):
    assert verify_mode(TlsPolicy("a", client_auth=auth)) == mode


def test_suites_have_forward_secrecy_and_aead_only():
    conn = SSL.Connection(server_context(TlsPolicy("a")), None)
    for suite in conn.get_cipher_list():
        assert suite.startswith(("TLS_", "ECDHE-")), suite
        assert "GCM" in suite or "POLY1305" in suite, suite


def test_no_cache_and_buffers_released():
    context = server_context(TlsPolicy("a"))
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF
    assert context.set_mode(0) & SSL.MODE_RELEASE_BUFFERS
    assert context.set_options(0) & SSL.OP_NO_RENEGOTIATION
    assert context.set_options(0) & SSL.OP_NO_COMPRESSION


@pytest.mark.parametrize(
    ("suites", "refused"),
    [
        (b"AES128-GCM-SHA256", True),
        (b"ECDHE-ECDSA-AES128-SHA", True),
        (b"ECDHE-ECDSA-AES256-GCM-SHA384", False),
    ],
)
def test_rfc9325_4_2_suites(kit, ecdsa, suites, refused):
    gate = kit.Gate([kit.identity_of(ecdsa)])
    outcome = gate.connect(kit.Client(max_version=SSL.TLS1_2_VERSION, ciphers=suites))
    assert outcome.done is not refused
    if refused:
        assert outcome.server_error.reason == "no-shared-cipher"
    outcome.close()


def test_server_order_with_a_turn_for_chacha_first_clients(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)])
    order = b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"
    outcome = gate.connect(kit.Client(max_version=SSL.TLS1_2_VERSION, ciphers=order))
    assert outcome.server.cipher() == "ECDHE-ECDSA-AES128-GCM-SHA256"
    outcome.close()
    order = b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256"
    outcome = gate.connect(kit.Client(max_version=SSL.TLS1_2_VERSION, ciphers=order))
    assert outcome.server.cipher() == "ECDHE-ECDSA-CHACHA20-POLY1305"
    outcome.close()


def test_min_version_1_3_refuses_1_2(kit, ecdsa):
    gate = kit.Gate([kit.identity_of(ecdsa)], TlsPolicy("a", min_version="1.3"))
    outcome = gate.connect(kit.Client(max_version=SSL.TLS1_2_VERSION))
    assert outcome.server_error.reason == "unsupported-protocol"
    assert "protocol version" in outcome.alert()
    outcome.close()
