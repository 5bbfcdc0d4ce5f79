"""Responses spelled out."""

from headgate.admin.ocsp_text import describe_response
from headgate.testing.pki import Authority, Single, ocsp_error, ocsp_response

ISSUER = Authority.root().intermediate()
LEAF = ISSUER.leaf("a.test", serial=0xABCDEF)
OTHER = ISSUER.leaf("b.test", serial=0x1234)
THEN = 1_767_225_600.0


def test_good():
    text = describe_response(ISSUER.ocsp(LEAF, this_update=THEN, next_update=THEN + 3600))
    assert "Response status: successful (0)" in text
    assert "Certificate: serial abcdef" in text
    assert "Status: good" in text
    assert "This update: 2026-01-01 00:00:00 UTC" in text
    assert "Next update: 2026-01-01 01:00:00 UTC" in text
    assert "(sha256)" in text
    assert "Issuer name hash (sha1)" in text


def test_revoked_by_a_delegate_without_a_next_update():
    delegate = ISSUER.delegate("The Delegate")
    text = describe_response(
        ISSUER.ocsp(LEAF, "revoked", this_update=THEN, next_update=None, signer=delegate, responder_id="name")
    )
    assert "Status: revoked" in text
    assert "Revoked at: " in text
    assert "Next update: not given" in text
    assert "Signed by the delegate: CN=The Delegate" in text
    assert "Responder: name CN=The Delegate" in text


def test_only_a_delegate_is_called_one():
    delegate = ISSUER.delegate("The Delegate")
    single = Single(LEAF, "good", THEN, THEN + 60, "sha1")
    everything = [delegate.certificate, ISSUER.certificate, LEAF.certificate]
    by_delegate = describe_response(ocsp_response([single], delegate, certificates=everything))
    assert "Signed by the delegate: CN=The Delegate" in by_delegate
    assert by_delegate.count("Signed by") == 1
    assert f"Sent along, not the signer: CN={ISSUER.name}" in by_delegate
    by_issuer = describe_response(ocsp_response([single], ISSUER, certificates=everything))
    assert f"Signed by: CN={ISSUER.name}" in by_issuer
    assert by_issuer.count("Sent along, not the signer: CN=") == 2


def test_several_answers():
    singles = [Single(leaf, "good", THEN, THEN + 60, "sha1") for leaf in (LEAF, OTHER)]
    text = describe_response(ocsp_response(singles, ISSUER))
    assert "Answer 1" in text
    assert "Answer 2" in text
    assert "serial 1234" in text


def test_refusal_and_garbage():
    assert "Response status: try_later (3)" in describe_response(ocsp_error("tryLater"))
    assert describe_response(b"garbage").startswith("OCSP response, 7 bytes, cannot be read: ")
