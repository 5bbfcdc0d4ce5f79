"""Compressed certificates (RFC 8879): both roles, and what is refused."""

import zlib

import pytest
from tests.unit.engine.tls13.peers import agreed, client, credential, server, shake

from headgate.engine.tls13 import alerts, messages
from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13.compression import (
    ALGORITHMS_OFFERED,
    ZLIB,
    compress,
    decode_algorithms,
    decompress,
)
from headgate.engine.tls13.hello import decode_client_hello, encode_client_hello
from headgate.engine.tls13.levels import HANDSHAKE
from headgate.engine.tls13.wire import vector

BROTLI = 2


def refused(act, *given):
    with pytest.raises(alerts.TlsAlertError) as caught:
        act(*given)
    return caught.value.alert


def kinds(data):
    found = []
    while data:
        found.append(data[0])
        data = data[4 + int.from_bytes(data[1:4], "big") :]
    return found


def test_what_is_compressed_comes_out_again():
    body = b"a certificate " * 100
    packed = compress(body)
    assert len(packed) < len(body)
    assert decompress(ZLIB, packed, len(body)) == body


def test_rfc8879_3_the_extension():
    assert decode_algorithms(ALGORITHMS_OFFERED) == (ZLIB,)
    assert decode_algorithms(b"\x04\0\x02\0\x01") == (2, 1)
    for content in (b"", b"\0", b"\x01\0", b"\x03\0\x01\0", b"\x02\0\x01\0"):
        assert refused(decode_algorithms, content) == alerts.DECODE_ERROR


def test_rfc8879_4_what_cannot_be_decompressed():
    body = b"x" * 100
    packed = compress(body)
    for algorithm, data, length, alert in [
        (BROTLI, packed, 100, alerts.ILLEGAL_PARAMETER),
        (ZLIB, b"no zlib", 100, alerts.BAD_CERTIFICATE),
        (ZLIB, packed, 99, alerts.BAD_CERTIFICATE),
        (ZLIB, packed, 101, alerts.BAD_CERTIFICATE),
        (ZLIB, packed[:-1], 100, alerts.BAD_CERTIFICATE),
        (ZLIB, packed + b"\0", 100, alerts.BAD_CERTIFICATE),
    ]:
        assert refused(decompress, algorithm, data, length) == alert


def compressed(length, packed):
    content = ZLIB.to_bytes(2, "big") + length.to_bytes(3, "big") + vector(3, packed)
    return messages.encode_message(messages.COMPRESSED_CERTIFICATE, content)


def test_rfc8879_5_a_certificate_at_the_limit_and_one_more():
    """A bomb: 64 KiB of zeros in a hundred octets, and one octet more; nothing longer is ever unpacked."""
    limit = messages.MAX_CERTIFICATE
    message = messages.decode_compressed_certificate(compressed(limit, zlib.compress(bytes(limit))))
    assert len(message) == 4 + limit
    bomb = zlib.compress(bytes(limit + 1))
    assert (
        refused(messages.decode_compressed_certificate, compressed(limit + 1, bomb)) == alerts.BAD_CERTIFICATE
    )
    large = zlib.compress(bytes(1 << 24))
    assert refused(messages.decode_compressed_certificate, compressed(limit, large)) == alerts.BAD_CERTIFICATE


@pytest.mark.parametrize("key", ["p256", "rsa"])
def test_a_server_compresses_for_a_client_that_offers_it(key):
    ours, theirs = client(), server(credentials=[credential(key)])
    theirs.receive(*ours.take_output()[0])
    (_, hello), (_, flight) = theirs.take_output()
    assert messages.COMPRESSED_CERTIFICATE in kinds(flight)
    ours.receive(0, hello)
    ours.receive(HANDSHAKE, flight)
    assert ours.complete
    assert len(ours.peer_certificates) == 2


def test_and_not_for_one_that_does_not():
    ours, theirs = client(), server()
    (level, message) = ours.take_output()[0]
    found = decode_client_hello(message)
    extensions = {code: held for code, held in found.extensions.items() if code != ext.COMPRESS_CERTIFICATE}
    extensions |= {27: vector(1, BROTLI.to_bytes(2, "big"))}
    theirs.receive(level, encode_client_hello(found.random, found.suites, extensions))
    assert messages.CERTIFICATE in kinds(theirs.take_output()[1][1])


@pytest.mark.parametrize("key", ["p256", "rsa"])
def test_a_client_compresses_for_a_server_that_offers_it(key):
    ours = client(credential=credential(key, "client"))
    theirs = server(client_auth="required", verify_client=lambda chain: None)
    theirs.receive(*ours.take_output()[0])
    for level, data in theirs.take_output():
        ours.receive(level, data)
    ((_, flight),) = ours.take_output()
    assert kinds(flight)[0] == messages.COMPRESSED_CERTIFICATE
    theirs.receive(HANDSHAKE, flight)
    assert theirs.complete
    assert len(theirs.peer_certificates) == 2


def test_secrets_agree_whether_compressed_or_not():
    assert agreed(*shake(client(), server(), piece=11))


def test_what_was_compressed_is_kept_with_its_staple():
    held = credential("p256", "kept.test")
    first = held.message(b"", (ZLIB,))
    assert held.message(b"", (ZLIB,)) is first
    with_staple = held.message(b"staple", (ZLIB,))
    plain = messages.decode_compressed_certificate(with_staple)
    assert messages.decode_certificate(plain, staple_asked=True).staple == b"staple"
    assert held.message(b"", (ZLIB,)) == first
    assert held.message(b"", ()) == messages.encode_certificate(held.entries(b""))
    assert held.message(b"", (BROTLI,)) == held.message(b"", ())
