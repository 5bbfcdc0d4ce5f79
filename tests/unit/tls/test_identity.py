"""From PEM to an identity: what is read, what is put right, and what is refused with which words."""

import pickle
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519

from headgate.testing.pki import Authority, resigned
from headgate.tls.identity import (
    IdentityError,
    StapleRules,
    date_warnings,
    from_pem,
    has_key,
    parser_words,
    split_pem,
)
from headgate.tls.staple import Staple

PEM = serialization.Encoding.PEM
NONE = serialization.NoEncryption()


def test_names_type_dates_and_fingerprint(root):
    leaf = root.leaf("A.test", "*.b.test", "10.0.0.1", not_before=1_600_000_000, not_after=1_700_000_000)
    identity = from_pem("a.pem", leaf.pem + root.pem, leaf.key_pem)
    assert identity.names == ("a.test", "*.b.test")
    assert identity.key_type == "ecdsa"
    assert (identity.not_before, identity.not_after) == (1_600_000_000, 1_700_000_000)
    assert len(identity.fingerprint) == 64
    assert identity.warnings == ()
    assert not identity.must_staple
    assert identity.staple is None
    assert identity.stapling


@pytest.mark.parametrize(("kind", "expected"), [("rsa", "rsa"), ("p384", "ecdsa"), ("ed25519", "ed25519")])
def test_key_types(root, kind, expected):
    leaf = root.leaf("a.test", key=kind)
    assert from_pem("x", leaf.pem + root.pem, leaf.key_pem).key_type == expected


def test_rfc7633_must_staple_is_seen(root):
    leaf = root.leaf("a.test", must_staple=True)
    assert from_pem("x", leaf.pem, leaf.key_pem).must_staple


def test_chain_in_the_wrong_order_is_put_right(root):
    middle = root.intermediate()
    leaf = middle.leaf("a.test")
    identity = from_pem("x", root.pem + middle.pem + leaf.pem, leaf.key_pem)
    assert [block for _, block in split_pem(identity.chain_pem)] == [leaf.pem, middle.pem, root.pem]
    assert any("order" in warning for warning in identity.warnings)


def test_strangers_in_the_chain_are_left_out(root):
    leaf, stranger = root.leaf("a.test"), root.leaf("b.test")
    identity = from_pem("x", leaf.pem + root.pem + stranger.pem, leaf.key_pem)
    assert len(split_pem(identity.chain_pem)) == 2
    assert any("not part of the chain" in warning for warning in identity.warnings)


def test_missing_intermediate_is_a_warning(root):
    leaf = root.leaf("a.test")
    assert any("no intermediate" in warning for warning in from_pem("x", leaf.pem, leaf.key_pem).warnings)


def test_self_signed_needs_no_intermediate(root):
    identity = from_pem("x", root.pem, root.key_pem)
    assert not any("intermediate" in warning for warning in identity.warnings)
    # No subjectAltName: the common name stands in, loudly.
    assert identity.names == ("headgate test root",)
    assert any("subjectAltName" in warning for warning in identity.warnings)


def test_dates_are_warnings(root):
    leaf = root.leaf("a.test", not_before=1_000_000, not_after=2_000_000)
    identity = from_pem("x", leaf.pem, leaf.key_pem)
    assert date_warnings(identity, 1_500_000) == []
    assert "not valid yet" in date_warnings(identity, 999_999)[0]
    assert "expired 1.0 days ago" in date_warnings(identity, 2_086_400)[0]
    assert identity.is_valid(1_999_999)
    assert not identity.is_valid(2_000_000)


def encrypted(key) -> bytes:
    return key.private_bytes(
        PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
    )


def traditional(key) -> bytes:
    return key.private_bytes(
        PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.BestAvailableEncryption(b"x")
    )


def test_refusals_say_why(root):
    leaf, other = root.leaf("a.test"), root.leaf("b.test")
    weak = rsa.generate_private_key(65537, 1024)
    weak_pem = weak.private_bytes(PEM, serialization.PrivateFormat.PKCS8, NONE)
    strange = x25519.X25519PrivateKey.generate().private_bytes(PEM, serialization.PrivateFormat.PKCS8, NONE)
    garbage = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    for chain, key, words in [
        (b"", leaf.key_pem, "no certificate"),
        (garbage, leaf.key_pem, "cannot be read"),
        (leaf.pem, b"", "no private key"),
        (leaf.pem, other.key_pem, "does not belong"),
        (leaf.pem, encrypted(leaf.key), "encrypted"),
        (leaf.pem, traditional(leaf.key), "encrypted"),
        (leaf.pem, weak_pem, "1024 bits"),
        (leaf.pem, strange, "kind that TLS servers do not use"),
        (leaf.pem, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"),
        (leaf.pem * 17, leaf.key_pem, "more than 16"),
    ]:
        with pytest.raises(IdentityError, match=words):
            from_pem("x", chain, key)


def test_weak_signatures_are_refused(root):
    leaf = root.leaf("a.test")
    weak = resigned(leaf.certificate, root.key, "sha1").public_bytes(PEM)
    with pytest.raises(IdentityError, match="sha1"):
        from_pem("x", weak + root.pem, leaf.key_pem)


def test_key_with_parameters_and_text_around(root):
    leaf = root.leaf("a.test")
    assert isinstance(leaf.key, ec.EllipticCurvePrivateKey)
    key = leaf.key.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, NONE)
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    mixed = b"Bag Attributes\n" + parameters + key + b"subject=CN = a.test\n" + leaf.pem
    identity = from_pem("x", mixed, mixed)
    assert identity.names == ("a.test",)
    assert identity.key_pem == key


def test_pickles_with_everything(root):
    leaf = root.leaf("a.test")
    identity = from_pem(
        "x", leaf.pem, leaf.key_pem, rules=StapleRules(revoked="staple"), section=3, response=b"r"
    )
    identity.staple = Staple(b"d", 1, 2, "good")
    copy = pickle.loads(pickle.dumps(identity))
    assert (copy.name, copy.names, copy.rules, copy.section) == ("x", ("a.test",), identity.rules, 3)
    assert copy.staple == identity.staple


def test_nothing_but_known_attributes_can_be_set(root):
    leaf = root.leaf("a.test")
    with pytest.raises(AttributeError):
        from_pem("x", leaf.pem, leaf.key_pem).stapel = None


def test_repr_names_no_key(root):
    leaf = root.leaf("a.test", "b.test", "c.test", "d.test")
    assert repr(from_pem("x.pem", leaf.pem, leaf.key_pem)) == (
        "<Identity x.pem: a.test, b.test, c.test, …, ecdsa, no staple>"
    )


def test_has_key_sees_keys_only(root):
    assert has_key(root.pem + root.key_pem)
    assert not has_key(root.pem)


def test_reading_a_certificate_costs_little(root):
    leaf = root.leaf(*(f"n{index}.test" for index in range(4)))
    chain, key = leaf.pem + root.pem, leaf.key_pem
    started = time.process_time()
    for _ in range(100):
        from_pem("x", chain, key)
    # A start with 1,000 certificates may take 1.5 s in all; measured 0.15 ms for this part of one.
    assert (time.process_time() - started) / 100 < 0.0015


def test_words_of_a_parser_are_made_readable():
    der = Authority.root().leaf("a.test").certificate.public_bytes(serialization.Encoding.DER)
    broken = {"cut short (ASN.1)": der[:-1], "not well-formed (ASN.1)": der + b"\0"}
    for words, data in broken.items():
        with pytest.raises(ValueError, match="ParseError") as caught:
            x509.load_der_x509_certificate(data)
        assert parser_words(caught.value) == words
    printed = 'ParseError { kind: InvalidTag, location: ["Certificate::tbs_cert", 0, "A::oid"] }'
    assert (
        parser_words(ValueError(f"error parsing asn1 value: {printed}"))
        == "not well-formed (ASN.1, in tbs_cert/oid)"
    )
    assert parser_words(ValueError("one\ntwo")) == "one"
    assert parser_words(ValueError("It may be this or that. Details: short data")) == "short data"
    assert parser_words(ValueError()) == "ValueError"
    assert len(parser_words(ValueError("x" * 999))) == 200
