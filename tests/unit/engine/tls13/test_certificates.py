"""The key of a certificate is found by walking to it, whatever else stands in there."""

import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.tls13.alerts import BAD_CERTIFICATE, TlsAlertError
from headgate.engine.tls13.certificates import public_key_of
from headgate.testing.pki import Authority

LEAF = Authority.root().leaf("a.test").der


@pytest.mark.parametrize("key", ["rsa", "p256", "p384", "ed25519"])
def test_the_key_that_a_parser_finds(key):
    leaf = Authority.root().leaf("a.test", "b.test", key=key, must_staple=True).certificate
    der = leaf.public_bytes(serialization.Encoding.DER)
    assert public_key_of(der) == leaf.public_key()


def test_an_odd_serial_is_not_our_matter():
    """A negative one: a parser warns on the standard error stream, for anybody who sends it."""
    serial = x509.load_der_x509_certificate(LEAF).serial_number.to_bytes(2, "big")
    odd = LEAF.replace(b"\x02\x02" + serial, b"\x02\x02\xff\x00", 1)
    with pytest.warns(match="serial"):
        x509.load_der_x509_certificate(odd)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert public_key_of(odd) == public_key_of(LEAF)


def test_every_cut_is_a_bad_certificate():
    key_end = LEAF.index(
        public_key_of(LEAF).public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    for end in range(key_end):
        with pytest.raises(TlsAlertError) as caught:
            public_key_of(LEAF[:end])
        assert caught.value.alert == BAD_CERTIFICATE


@pytest.mark.parametrize(
    "data",
    [b"", b"\x31\x03\x30\x01\0", b"\x30\x80\0\0", b"\x30\x84\0\0\0\x05\x30\x03", b"\x30\x03\x30\x01\xa0"],
)
def test_what_is_no_certificate(data):
    with pytest.raises(TlsAlertError) as caught:
        public_key_of(data)
    assert caught.value.alert == BAD_CERTIFICATE


@given(st.binary(max_size=60), st.integers(0, len(LEAF)))
def test_whatever_it_is_the_end_is_a_key_or_an_alert(junk, at):
    try:
        public_key_of(LEAF[:at] + junk + LEAF[at + len(junk) :])
    except TlsAlertError:
        pass
