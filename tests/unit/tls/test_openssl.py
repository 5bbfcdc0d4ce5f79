"""The private parts of pyOpenSSL that are used, each by name: a release without one must fail here."""

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from headgate.tls.openssl import (
    MAX_OFFER_LENGTH,
    MAX_OFFERS,
    AlpnSelector,
    PostHandshake,
    ReadBuffer,
    handle,
    is_resumed,
    share_store,
    take_errors,
)


@pytest.mark.parametrize(
    "name",
    [
        "ERR_get_error",
        "ERR_reason_error_string",
        "SSL_CTX_get_cert_store",
        "SSL_CTX_set_alpn_select_cb",
        "SSL_CTX_set_cert_store",
        "SSL_clear_mode",
        "SSL_do_handshake",
        "SSL_get_error",
        "SSL_pending",
        "SSL_read",
        "SSL_session_reused",
        "SSL_set_alpn_protos",
        "SSL_set_info_callback",
        "SSL_set_options",
        "SSL_shutdown",
        "SSL_write",
        "X509_STORE_set_purpose",
        "X509_STORE_up_ref",
    ],
)
def test_part_is_there(name):
    assert callable(getattr(lib, name))


def test_connection_has_a_handle_and_is_not_resumed_from_the_start():
    conn = SSL.Connection(SSL.Context(SSL.TLS_SERVER_METHOD), None)
    assert ffi.typeof(handle(conn)) is ffi.typeof("SSL *")
    assert not is_resumed(conn)


def test_take_errors_empties_the_queue_and_names_the_reasons():
    lib.ERR_clear_error()
    lib.SSL_CTX_set_cipher_list(SSL.Context(SSL.TLS_SERVER_METHOD)._context, b"NO-SUCH-SUITE")
    assert take_errors() == ["no cipher match"]
    assert take_errors() == []


def test_shared_store_outlives_its_first_owner(root):
    owner, user = SSL.Context(SSL.TLS_SERVER_METHOD), SSL.Context(SSL.TLS_SERVER_METHOD)
    share_store(user, owner)
    assert lib.SSL_CTX_get_cert_store(owner._context) == lib.SSL_CTX_get_cert_store(user._context)
    del owner
    assert user.get_cert_store() is not None


def test_read_buffer_shows_what_is_written_to_its_start():
    buffer = ReadBuffer(8)
    ffi.memmove(buffer.start, b"abc", 3)
    assert buffer.view[:3] == b"abc"


@pytest.mark.parametrize(
    ("where", "value", "counted"),
    [
        (0x2001, 1, 0),  # a step within the state machine
        (0x2002, 1, 1),  # its end: one KeyUpdate
        (0x1002, 1, 1),  # the same as a client
        (0x4008, 0x0164, 1),  # we wrote the warning no_renegotiation
        (0x4008, 0x0100, 0),  # we wrote close_notify
        (0x4004, 0x0100, 0),  # the peer did
    ],
)
def test_post_handshake_counts_what_a_peer_makes_us_do(where, value, counted):
    events = PostHandshake()
    events._on_event(None, where, value)
    assert events.take() == counted
    assert events.take() == 0


@pytest.mark.parametrize(
    ("offer", "index"),
    [
        (b"\x02h2\x08http/1.1", 0),
        (b"\x08http/1.1", 1),
        (b"\x08http/1.1\x02h2", 0),
        (b"\x0aacme-tls/1", -1),
        (b"\x03h2x", -1),
        (b"", -1),
    ],
)
def test_our_order_decides_on_a_protocol(offer, index):
    assert AlpnSelector((b"h2", b"http/1.1")).pick(offer) == index


def test_offers_that_are_remembered_are_bounded():
    selector = AlpnSelector((b"h2",))
    out, size = ffi.new("unsigned char *[1]"), ffi.new("unsigned char[1]")
    for number in range(MAX_OFFERS + 1):
        offer = b"\x02h2\x02" + number.to_bytes(2, "big")
        data = ffi.new("unsigned char[]", offer)
        assert selector._on_offer(None, out, size, data, len(offer), None) == lib.SSL_TLSEXT_ERR_OK
    assert len(selector._known) == 1
    long = b"\x02h2" * (MAX_OFFER_LENGTH // 3 + 1)
    data = ffi.new("unsigned char[]", long)
    assert selector._on_offer(None, out, size, data, len(long), None) == lib.SSL_TLSEXT_ERR_OK
    assert len(selector._known) == 1
    assert bytes(ffi.buffer(out[0], size[0])) == b"h2"
