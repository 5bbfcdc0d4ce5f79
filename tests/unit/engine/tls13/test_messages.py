"""The messages behind the hellos as bytes: the example of RFC 8448, round trips, limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.tls13 import rfc8448

from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13 import messages as codec
from headgate.engine.tls13.alerts import (
    BAD_CERTIFICATE,
    DECODE_ERROR,
    ILLEGAL_PARAMETER,
    MISSING_EXTENSION,
    UNSUPPORTED_EXTENSION,
    TlsAlertError,
)
from headgate.engine.tls13.compression import ZLIB
from headgate.engine.tls13.wire import vector


def refused(decode, *arguments, **options):
    with pytest.raises(TlsAlertError) as caught:
        decode(*arguments, **options)
    return caught.value.alert


def test_rfc8448_3_messages():
    assert ext.SUPPORTED_GROUPS in codec.decode_encrypted_extensions(rfc8448.ENCRYPTED_EXTENSIONS)
    chain = codec.decode_certificate(rfc8448.CERTIFICATE, staple_asked=True)
    assert len(chain.certificates) == 1
    assert codec.encode_certificate(codec.encode_entry(chain.certificates[0])) == rfc8448.CERTIFICATE
    scheme, signature = codec.decode_certificate_verify(rfc8448.CERTIFICATE_VERIFY)
    assert (scheme, len(signature)) == (0x0804, 128)
    assert codec.encode_certificate_verify(scheme, signature) == rfc8448.CERTIFICATE_VERIFY


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4), st.binary(max_size=60))
def test_a_chain_is_read_as_it_was_written(certificates, staple):
    entries = codec.encode_entry(certificates[0], staple)
    entries += b"".join(codec.encode_entry(certificate) for certificate in certificates[1:])
    found = codec.decode_certificate(codec.encode_certificate(entries), staple_asked=True)
    assert found.certificates == tuple(certificates)
    assert found.staple == staple


def test_a_chain_at_the_limit_and_one_more():
    longest = codec.encode_entry(b"c") * codec.MAX_CHAIN
    found = codec.decode_certificate(codec.encode_certificate(longest), staple_asked=False)
    assert len(found.certificates) == codec.MAX_CHAIN
    too_long = codec.encode_certificate(longest + codec.encode_entry(b"c"))
    assert refused(codec.decode_certificate, too_long, staple_asked=False) == BAD_CERTIFICATE


def test_a_staple_at_the_limit_and_one_more():
    largest = bytes(codec.MAX_STAPLE)
    found = codec.decode_certificate(
        codec.encode_certificate(codec.encode_entry(b"c", largest)), staple_asked=True
    )
    assert found.staple == largest
    too_large = codec.encode_certificate(codec.encode_entry(b"c", largest + b"x"))
    assert refused(codec.decode_certificate, too_large, staple_asked=True) == BAD_CERTIFICATE


def test_the_staple_of_an_authority_is_not_the_leafs():
    entries = codec.encode_entry(b"leaf") + codec.encode_entry(b"authority", b"its staple")
    assert codec.decode_certificate(codec.encode_certificate(entries), staple_asked=True).staple == b""


def test_rfc8446_4_4_2_extensions_of_certificates_are_answers():
    stapled = codec.encode_certificate(codec.encode_entry(b"c", b"staple"))
    assert refused(codec.decode_certificate, stapled, staple_asked=False) == UNSUPPORTED_EXTENSION
    entry = vector(3, b"c") + ext.encode_extensions({18: b"timestamps"})
    other = codec.encode_certificate(entry)
    assert refused(codec.decode_certificate, other, staple_asked=True) == UNSUPPORTED_EXTENSION


@pytest.mark.parametrize(
    ("content", "alert"),
    [(b"\x02\0\0\x01x", ILLEGAL_PARAMETER), (b"\x01\0\0\0", DECODE_ERROR), (b"\x01\0\0\x01xy", DECODE_ERROR)],
)
def test_a_status_that_is_no_staple(content, alert):
    entry = vector(3, b"c") + ext.encode_extensions({ext.STATUS_REQUEST: content})
    assert refused(codec.decode_certificate, codec.encode_certificate(entry), staple_asked=True) == alert


def test_no_context_within_a_handshake():
    certificate = codec.encode_message(codec.CERTIFICATE, b"\x01c" + vector(3, b""))
    assert refused(codec.decode_certificate, certificate, staple_asked=True) == ILLEGAL_PARAMETER
    schemes = ext.encode_extensions({ext.SIGNATURE_ALGORITHMS: b"\0\x02\x04\x03"})
    request = codec.encode_message(codec.CERTIFICATE_REQUEST, b"\x01c" + schemes)
    assert refused(codec.decode_certificate_request, request) == ILLEGAL_PARAMETER


def test_a_request_is_read_as_it_was_written():
    found = codec.decode_certificate_request(codec.encode_certificate_request((0x0403, 0x0807), ()))
    assert (found.schemes, found.compressions) == ((0x0403, 0x0807), (ZLIB,))
    named = codec.encode_certificate_request((0x0403,), (b"name in DER",))
    assert b"\0\x0bname in DER" in named
    assert codec.decode_certificate_request(named).schemes == (0x0403,)
    plain = b"\0" + ext.encode_extensions({ext.SIGNATURE_ALGORITHMS: b"\0\x02\x04\x03"})
    request = codec.encode_message(codec.CERTIFICATE_REQUEST, plain)
    assert codec.decode_certificate_request(request).compressions == ()


def test_rfc8446_4_3_2_a_request_names_its_signatures():
    request = codec.encode_message(codec.CERTIFICATE_REQUEST, b"\0" + ext.encode_extensions({}))
    assert refused(codec.decode_certificate_request, request) == MISSING_EXTENSION


@given(
    st.integers(0, 0xFFFFFFFF),
    st.integers(0, 0xFFFFFFFF),
    st.binary(max_size=255),
    st.binary(min_size=1, max_size=400),
)
def test_a_ticket_is_read_as_it_was_written(lifetime, age_add, nonce, ticket):
    written = codec.encode_new_session_ticket(codec.NewSessionTicket(lifetime, age_add, nonce, ticket))
    found = codec.decode_new_session_ticket(written)
    assert (found.lifetime, found.age_add, found.nonce, found.ticket) == (lifetime, age_add, nonce, ticket)
    assert found.max_early_data == 0
    early = codec.NewSessionTicket(lifetime, age_add, nonce, ticket, 0xFFFFFFFF)
    assert (
        codec.decode_new_session_ticket(codec.encode_new_session_ticket(early)).max_early_data == 0xFFFFFFFF
    )


def test_early_data_of_a_ticket():
    def ticket(early):
        body = bytes(8) + b"\0" + vector(2, b"t") + ext.encode_extensions({ext.EARLY_DATA: early})
        return codec.encode_message(codec.NEW_SESSION_TICKET, body)

    assert codec.decode_new_session_ticket(ticket(b"\xff" * 4)).max_early_data == 0xFFFFFFFF
    assert refused(codec.decode_new_session_ticket, ticket(b"\xff")) == DECODE_ERROR


def test_every_cut_is_a_decode_error():
    decoders = [
        (rfc8448.ENCRYPTED_EXTENSIONS, codec.decode_encrypted_extensions),
        (rfc8448.CERTIFICATE, lambda message: codec.decode_certificate(message, staple_asked=True)),
        (rfc8448.CERTIFICATE_VERIFY, codec.decode_certificate_verify),
        (codec.encode_certificate_request((0x0403,), ()), codec.decode_certificate_request),
        (
            codec.encode_new_session_ticket(codec.NewSessionTicket(1, 2, b"n", b"t")),
            codec.decode_new_session_ticket,
        ),
    ]
    for message, decode in decoders:
        for end in range(4, len(message)):
            assert refused(decode, message[:end]) == DECODE_ERROR
        assert refused(decode, message + b"x") == DECODE_ERROR


def test_limits_of_messages():
    assert codec.message_limit(codec.CLIENT_HELLO) == codec.MAX_CLIENT_HELLO
    assert codec.message_limit(codec.CERTIFICATE) == codec.MAX_CERTIFICATE
    assert codec.message_limit(codec.NEW_SESSION_TICKET) == codec.MAX_TICKET_MESSAGE
    assert codec.message_limit(codec.FINISHED) == codec.MAX_MESSAGE


def test_rfc8446_4_4_3_what_is_signed():
    content = codec.signed_content(codec.SERVER_CONTEXT, b"\x01" * 32)
    assert content == b"\x20" * 64 + b"TLS 1.3, server CertificateVerify" + b"\0" + b"\x01" * 32
