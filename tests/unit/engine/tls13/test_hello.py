"""The hellos as bytes: what real ones look like, and what is refused in them."""

import pytest
from tests.unit.engine.tls13 import rfc8448

from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13 import hello as codec
from headgate.engine.tls13.alerts import (
    DECODE_ERROR,
    ILLEGAL_PARAMETER,
    PROTOCOL_VERSION,
    TlsAlertError,
)
from headgate.engine.tls13.wire import number_list, vector

VERSIONS = b"\x02\x03\x04"


def hello(given, offered=(0x1301,), /, **changes):
    """A ClientHello with TLS 1.3 and these extensions; changes replace its fixed parts."""
    parts = {
        "version": b"\x03\x03",
        "random": bytes(32),
        "session": b"\0",
        "suites": vector(2, number_list(offered)),
        "compression": b"\x01\0",
        "extensions": ext.encode_extensions({ext.SUPPORTED_VERSIONS: VERSIONS} | given),
        "rest": b"",
    } | changes
    return b"\x01" + vector(3, b"".join(parts.values()))


def refused(message):
    with pytest.raises(TlsAlertError) as caught:
        codec.decode_client_hello(message)
    return caught.value.alert


def names(*entries):
    return vector(2, b"".join(bytes((kind,)) + vector(2, name) for kind, name in entries))


def shares(*groups):
    return vector(2, b"".join(group.to_bytes(2, "big") + vector(2, b"x") for group in groups))


def tickets(count, binders=None):
    """The content of pre_shared_key: so many identities, and so many binders."""
    identities = b"".join(vector(2, b"ticket %d" % index) + bytes(4) for index in range(count))
    values = b"".join(
        vector(1, bytes((index,)) * 32) for index in range(count if binders is None else binders)
    )
    return vector(2, identities) + vector(2, values)


def test_rfc8448_3_client_hello():
    found = codec.decode_client_hello(rfc8448.CLIENT_HELLO)
    assert found.server_name == b"server"
    assert found.suites == (0x1301, 0x1303, 0x1302)
    assert found.groups[:3] == (0x1D, 0x17, 0x18)
    assert list(found.key_shares) == [0x1D]
    assert found.versions == (codec.TLS13,)
    assert found.psk_modes == bytes((codec.PSK_DHE_KE,))
    assert (found.identity, found.wants_staple, found.alpn) == (b"", False, ())


def test_rfc8448_4_the_binder_covers_all_before_it():
    found = codec.decode_client_hello(rfc8448.PSK_HELLO)
    assert len(found.identity) == 178
    assert found.binder == rfc8448.BINDER
    assert found.message[: found.unbound] == rfc8448.PSK_HELLO[:-35]


def test_rfc8448_5_the_second_hello_repeats_the_first():
    first = codec.decode_client_hello(rfc8448.RETRY_FIRST_HELLO)
    second = codec.decode_client_hello(rfc8448.RETRY_SECOND_HELLO)
    assert second.repeats(first)
    assert not second.repeats(codec.decode_client_hello(rfc8448.CLIENT_HELLO))


def test_rfc8448_5_hello_retry_request():
    retry = codec.decode_server_hello(rfc8448.RETRY_REQUEST)
    assert retry.is_retry
    assert retry.extensions[ext.KEY_SHARE] == b"\0\x17"
    assert not codec.decode_server_hello(rfc8448.SERVER_HELLO).is_retry


def test_a_server_hello_is_read_as_it_was_written():
    written = codec.encode_server_hello(b"r" * 32, 0x1302, {ext.SUPPORTED_VERSIONS: b"\x03\x04"})
    found = codec.decode_server_hello(written)
    assert (found.random, found.suite, found.session_id) == (b"r" * 32, 0x1302, b"")


@pytest.mark.parametrize(
    ("changes", "alert"),
    [
        ({"extensions": b""}, PROTOCOL_VERSION),
        ({"extensions": ext.encode_extensions({ext.SUPPORTED_VERSIONS: b"\x02\x03\x03"})}, PROTOCOL_VERSION),
        ({"compression": b"\x02\0\x01"}, ILLEGAL_PARAMETER),
        ({"compression": b"\x01\x01"}, ILLEGAL_PARAMETER),
        ({"session": vector(1, bytes(33))}, DECODE_ERROR),
        ({"suites": b"\0\x03\x13\x01\x13"}, DECODE_ERROR),
        ({"suites": b"\0\0"}, DECODE_ERROR),
        ({"rest": b"x"}, DECODE_ERROR),
    ],
)
def test_hellos_that_are_none_of_tls_1_3(changes, alert):
    assert refused(hello({}, **changes)) == alert


def test_every_cut_is_a_decode_error():
    """At any length: an alert, never an IndexError."""
    for end in range(4, len(rfc8448.PSK_HELLO)):
        assert refused(rfc8448.PSK_HELLO[:end]) in (DECODE_ERROR, PROTOCOL_VERSION)


@pytest.mark.parametrize(
    ("extensions", "alert"),
    [
        ({ext.SERVER_NAME: names((0, b"a.test"), (0, b"b.test"))}, ILLEGAL_PARAMETER),
        ({ext.SERVER_NAME: names((0, b"a\0b"))}, ILLEGAL_PARAMETER),
        ({ext.SERVER_NAME: b"\0\0"}, DECODE_ERROR),
        ({ext.SUPPORTED_GROUPS: b"\0\x04\0\x1d\0"}, DECODE_ERROR),
        ({ext.SIGNATURE_ALGORITHMS: b"\0\0"}, DECODE_ERROR),
        ({ext.ALPN: b"\0\x01\0"}, DECODE_ERROR),
        ({ext.PSK_KEY_EXCHANGE_MODES: b"\0"}, DECODE_ERROR),
        ({ext.STATUS_REQUEST: b"\x01\0"}, DECODE_ERROR),
        ({ext.SUPPORTED_GROUPS: b"\0\x02\0\x1d", ext.KEY_SHARE: shares(0x1D, 0x1D)}, ILLEGAL_PARAMETER),
        ({ext.SUPPORTED_GROUPS: b"\0\x02\0\x1d", ext.KEY_SHARE: shares(0x17)}, ILLEGAL_PARAMETER),
        ({ext.PRE_SHARED_KEY: tickets(2, binders=1)}, ILLEGAL_PARAMETER),
        ({ext.PRE_SHARED_KEY: tickets(1, binders=2)}, ILLEGAL_PARAMETER),
    ],
)
def test_broken_extensions(extensions, alert):
    assert refused(hello(extensions)) == alert


def test_a_server_name_at_the_limit_and_one_more():
    longest = b"a" * codec.MAX_SERVER_NAME
    assert codec.decode_client_hello(hello({ext.SERVER_NAME: names((0, longest))})).server_name == longest
    assert refused(hello({ext.SERVER_NAME: names((0, longest + b"a"))})) == ILLEGAL_PARAMETER


def test_names_of_unknown_types_are_passed_over():
    found = codec.decode_client_hello(hello({ext.SERVER_NAME: names((7, b"?"), (0, b"a.test"))}))
    assert found.server_name == b"a.test"


def test_key_shares_at_the_limit_and_one_more():
    groups = tuple(range(100, 100 + codec.MAX_KEY_SHARES + 1))
    supported = {ext.SUPPORTED_GROUPS: vector(2, number_list(groups))}
    found = codec.decode_client_hello(hello(supported | {ext.KEY_SHARE: shares(*groups[:-1])}))
    assert len(found.key_shares) == codec.MAX_KEY_SHARES
    assert refused(hello(supported | {ext.KEY_SHARE: shares(*groups)})) == ILLEGAL_PARAMETER


def test_protocols_at_the_limit_and_one_more():
    most = tuple(b"p%d" % index for index in range(codec.MAX_PROTOCOLS))
    assert codec.decode_client_hello(hello({ext.ALPN: codec.encode_protocols(most)})).alpn == most
    assert refused(hello({ext.ALPN: codec.encode_protocols((*most, b"x"))})) == ILLEGAL_PARAMETER


def test_tickets_at_the_limit_and_one_more():
    """Only the first is looked at, however many there are."""
    found = codec.decode_client_hello(hello({ext.PRE_SHARED_KEY: tickets(codec.MAX_IDENTITIES)}))
    assert (found.identity, found.binder) == (b"ticket 0", bytes(32))
    assert refused(hello({ext.PRE_SHARED_KEY: tickets(codec.MAX_IDENTITIES + 1)})) == ILLEGAL_PARAMETER


@pytest.mark.parametrize(("content", "wanted"), [(b"\x01\0\0\0\0", True), (b"\x02\0\0\0\0", False)])
def test_rfc6066_8_only_ocsp_is_a_staple(content, wanted):
    assert codec.decode_client_hello(hello({ext.STATUS_REQUEST: content})).wants_staple is wanted


def test_what_is_unknown_is_passed_over():
    """GREASE (RFC 8701): values nobody knows, everywhere."""
    grease = {
        0x0A0A: b"",
        ext.SUPPORTED_VERSIONS: b"\x04\x1a\x1a\x03\x04",
        ext.SUPPORTED_GROUPS: b"\0\x04\x2a\x2a\0\x1d",
        ext.KEY_SHARE: shares(0x2A2A, 0x1D),
    }
    found = codec.decode_client_hello(hello(grease, (0x3A3A, 0x1301)))
    assert list(found.key_shares) == [0x2A2A, 0x1D]


def server_hello(**changes):
    parts = {
        "version": b"\x03\x03",
        "random": bytes(32),
        "session": b"\0",
        "suite": b"\x13\x01",
        "compression": b"\0",
        "extensions": ext.encode_extensions({ext.SUPPORTED_VERSIONS: b"\x03\x04"}),
    } | changes
    return b"\x02" + vector(3, b"".join(parts.values()))


@pytest.mark.parametrize(
    ("changes", "alert"),
    [
        ({"extensions": b""}, PROTOCOL_VERSION),
        ({"extensions": ext.encode_extensions({ext.SUPPORTED_VERSIONS: b"\x03\x03"})}, ILLEGAL_PARAMETER),
        ({"version": b"\x03\x04"}, ILLEGAL_PARAMETER),
        ({"compression": b"\x01"}, ILLEGAL_PARAMETER),
        ({"session": b"\x01a"}, ILLEGAL_PARAMETER),
        ({"extensions": b"\0"}, DECODE_ERROR),
    ],
)
def test_server_hellos_that_choose_what_was_not_offered(changes, alert):
    assert codec.decode_server_hello(server_hello()).suite == 0x1301
    with pytest.raises(TlsAlertError) as caught:
        codec.decode_server_hello(server_hello(**changes))
    assert caught.value.alert == alert


def test_reprs_say_what_it_is():
    assert repr(codec.decode_server_hello(rfc8448.RETRY_REQUEST)) == "<HelloRetryRequest suite 0x1301>"
    assert "b'server'" in repr(codec.decode_client_hello(rfc8448.CLIENT_HELLO))
