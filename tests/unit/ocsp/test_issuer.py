"""The issuer from the AIA: three encodings, and nobody else's certificate."""

import asyncio

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from headgate.ocsp.conversation import ConversationFailed
from headgate.ocsp.issuer import decode_certificates, fetch_issuer
from headgate.testing.pki import Authority

URL = "http://ca.test/issuer"


@pytest.fixture(scope="module")
def authority():
    return Authority.root().intermediate()


def fetched(bench, leaf):
    async def whole():
        work = fetch_issuer(bench.world.fetch, bench.clock, leaf.certificate, URL, 10.0)
        held = asyncio.ensure_future(work)
        await bench.clock.advance(11)
        return await held

    return asyncio.run(whole())


def test_der_pem_and_pkcs7(bench, authority, replies):
    leaf, other = authority.leaf("a.test"), authority.rekeyed()
    bag = pkcs7.serialize_certificates([other.certificate, authority.certificate], Encoding.DER)
    for body in (authority.der, other.pem + authority.pem, bag):
        bench.world.host("ca.test", replies(body, content_type="application/whatever"))
        assert fetched(bench, leaf) == authority.certificate


@pytest.mark.parametrize(
    "body", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_garbage_holds_no_certificate(body):
    assert decode_certificates(body) == []


def test_too_large_is_not_parsed(authority):
    assert decode_certificates(authority.pem + b"\n" * 65_536) == []
    assert decode_certificates(authority.pem + b"\n" * (65_536 - len(authority.pem))) == [
        authority.certificate
    ]


def test_a_certificate_that_did_not_issue_the_leaf_is_refused(bench, authority, replies):
    bench.world.host("ca.test", replies(authority.rekeyed().der))
    with pytest.raises(ConversationFailed) as caught:
        fetched(bench, authority.leaf("a.test"))
    assert (caught.value.failure.reason, caught.value.failure.responder) == ("no-issuer", URL)


def test_failures_name_status_and_stage(bench, authority, replies):
    bench.world.host("ca.test", replies(b"", status=404))
    with pytest.raises(ConversationFailed) as caught:
        fetched(bench, authority.leaf("a.test"))
    assert caught.value.failure.reason == "http-404"
    bench.world.host("ca.test", "refuse")
    with pytest.raises(ConversationFailed) as caught:
        fetched(bench, authority.leaf("a.test"))
    assert (caught.value.failure.stage, caught.value.failure.errno) == ("connect", 111)
