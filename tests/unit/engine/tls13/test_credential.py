"""Credentials are made of the identities that TCP has, and read the same staple by the same rule."""

import dataclasses

import pytest
from tests.unit.engine.tls13.peers import identity

from headgate.counters import STAPLE_ABSENT, STAPLE_EXPIRED, STAPLE_OFF, STAPLE_SENT
from headgate.engine.tls13.credential import load
from headgate.engine.tls13.messages import decode_certificate, encode_certificate
from headgate.errors import LocalProtocolError
from headgate.testing.pki import Authority
from headgate.tls.context import staple_for
from headgate.tls.identity import from_pem, split_pem
from headgate.tls.staple import Staple


def test_the_staple_is_read_at_each_handshake():
    """Invariant W1: it hangs on the identity; whoever puts a new one there need not know of QUIC."""
    leaf = Authority.root().leaf("a.test")
    held = from_pem("a.pem", leaf.chain_pem, leaf.key_pem)
    credential = load(held, staple_for)
    assert credential.staple(100.0) == (STAPLE_ABSENT, b"")
    held.staple = Staple(b"first", 0.0, 200.0, "good")
    assert credential.staple(100.0) == (STAPLE_SENT, b"first")
    assert credential.staple(200.0) == (STAPLE_EXPIRED, b"")  # W2
    held.staple = Staple(b"second", 0.0, 300.0, "good")
    assert credential.staple(200.0) == (STAPLE_SENT, b"second")


def test_without_a_rule_there_is_no_staple():
    assert load(identity()).staple(0.0) == (STAPLE_OFF, b"")


def test_the_chain_goes_out_in_order_with_the_staple_at_the_leaf():
    held = identity()
    message = encode_certificate(load(held).entries(b"staple"))
    found = decode_certificate(message, staple_asked=True)
    assert len(found.certificates) == len(split_pem(held.chain_pem)) == 2
    assert found.staple == b"staple"
    assert decode_certificate(encode_certificate(load(held).entries(b"")), staple_asked=False).staple == b""


@pytest.mark.parametrize(
    ("key", "offered", "scheme"),
    [
        ("p256", (0x0403, 0x0804), 0x0403),
        ("p256", (0x0503, 0x0804), 0),
        ("rsa", (0x0806, 0x0804), 0x0804),
        ("rsa", (0x0806,), 0x0806),
        ("rsa", (0x0401,), 0),  # PKCS #1 signs chains, never a handshake (RFC 8446 section 4.2.3)
        ("ed25519", (0x0807,), 0x0807),
    ],
)
def test_the_scheme_is_one_that_both_know(key, offered, scheme):
    assert load(identity(key)).scheme_for(offered) == scheme


@dataclasses.dataclass
class Broken:
    name: str
    chain_pem: bytes
    key_pem: bytes


def test_what_cannot_be_used_is_named():
    with pytest.raises(LocalProtocolError, match=r"broken\.pem cannot be used"):
        load(Broken("broken.pem", b"no certificate", b"no key"))


def test_a_repr_shows_no_key():
    assert repr(load(identity())) == "<Credential a.test.pem>"
