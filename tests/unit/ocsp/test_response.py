"""What is believed: every rule of design section 7, one by one, and that nothing else gets through."""

import datetime
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from headgate.ocsp.response import NotBelieved, Reason, ResponderError, remembered_revocation, verify
from headgate.ocsp.settings import MAX_BODY
from headgate.ocsp.subject import Subject
from headgate.testing.pki import Authority, Leaf, Single, ocsp_error, ocsp_response, resigned

NOW = 1_767_225_600.0
HOUR = 3_600.0


@pytest.fixture(scope="module")
def authority():
    return Authority.root(key="rsa").intermediate(key="rsa")


@pytest.fixture(scope="module")
def leaf(authority):
    return authority.leaf("a.test", ocsp=("http://ocsp.test/",))


@pytest.fixture(scope="module")
def subject(authority, leaf):
    return subject_of(leaf)


def subject_of(leaf: Leaf) -> Subject:
    return Subject.from_pem("a.test", leaf.chain_pem)


def refused(der: bytes, subject: Subject, wall: float = NOW) -> Reason:
    with pytest.raises(NotBelieved) as caught:
        verify(der, subject, wall)
    return caught.value.reason


def good(authority, leaf, **changes):
    return authority.ocsp(leaf, **({"this_update": NOW - HOUR, "next_update": NOW + HOUR} | changes))


def test_good_answer_is_a_staple_with_its_times(authority, leaf, subject):
    der = good(authority, leaf)
    staple = verify(der, subject, NOW)
    assert (staple.der, staple.status) == (der, "good")
    assert (staple.this_update, staple.next_update) == (NOW - HOUR, NOW + HOUR)


def test_revoked_answer_is_a_staple_that_says_so(authority, leaf, subject):
    assert verify(good(authority, leaf, status="revoked"), subject, NOW).status == "revoked"


def test_unknown_is_refused(authority, leaf, subject):
    assert refused(good(authority, leaf, status="unknown"), subject) is Reason.UNKNOWN


@pytest.mark.parametrize("hash", ["sha1", "sha256", "sha384", "sha512"])
def test_certificate_is_matched_in_the_responses_own_hash(authority, leaf, subject, hash):
    assert verify(good(authority, leaf, hash=hash), subject, NOW).status == "good"


def test_cert_id_in_md5_or_an_unheard_of_hash_speaks_of_nobody(authority, leaf, subject):
    for single in (
        Single(leaf, "good", NOW, NOW + HOUR, "md5"),
        Single(leaf, "good", NOW, NOW + HOUR, hash_oid="1.2.3.4.5"),
    ):
        assert refused(ocsp_response([single], authority), subject) is Reason.WRONG_CERTIFICATE


@pytest.mark.parametrize("key", ["rsa", "p256", "p384", "ed25519"])
@pytest.mark.parametrize("responder_id", ["key", "name"])
def test_issuer_may_sign_with_every_kind_of_key_and_name_itself_either_way(key, responder_id):
    authority = Authority.root(key=key)
    leaf = authority.leaf("a.test")
    subject = Subject.from_pem("a.test", leaf.pem, issuer_pem=authority.pem)
    assert verify(good(authority, leaf, responder_id=responder_id), subject, NOW).status == "good"


# -- signatures


@pytest.mark.parametrize("hash", ["md5", "sha1"])
def test_weak_signature_is_refused(authority, leaf, subject, hash):
    assert refused(good(authority, leaf, signature_hash=hash), subject) is Reason.WEAK_SIGNATURE


def test_weak_ecdsa_signature_is_refused():
    authority = Authority.root(key="p256")
    leaf = authority.leaf("a.test")
    subject = Subject.from_pem("a.test", leaf.pem, issuer_pem=authority.pem)
    assert refused(good(authority, leaf, signature_hash="sha1"), subject) is Reason.WEAK_SIGNATURE


def test_bad_signature_is_refused(authority, leaf, subject):
    single = Single(leaf, "good", NOW, NOW + HOUR)
    for responder_id in ("key", "name"):
        for sent in ([], [authority.certificate]):
            der = ocsp_response(
                [single], authority, certificates=sent, corrupt_signature=True, responder_id=responder_id
            )
            assert refused(der, subject) is Reason.BAD_SIGNATURE


def test_signature_of_another_kind_than_the_signers_key_is_refused(authority, leaf, subject):
    other = Authority.root(key="p256")
    single = Single(leaf, "good", NOW, NOW + HOUR)
    der = ocsp_response([single], other, identify_as=authority.certificate)
    assert refused(der, subject) is Reason.BAD_SIGNATURE


def test_signer_of_the_same_name_with_another_key_is_refused(authority, leaf, subject):
    forger = authority.rekeyed("rsa")
    single = Single(leaf, "good", NOW, NOW + HOUR)
    by_name = ocsp_response([single], forger, responder_id="name", certificates=[forger.certificate])
    assert refused(by_name, subject) is Reason.DELEGATE_NOT_ISSUED
    by_key = ocsp_response([single], forger, certificates=[forger.certificate])
    assert refused(by_key, subject) is Reason.DELEGATE_NOT_ISSUED


def test_responder_id_that_names_nobody_is_refused(authority, leaf, subject):
    stranger = Authority.root("A stranger")
    single = Single(leaf, "good", NOW, NOW + HOUR)
    assert refused(ocsp_response([single], stranger), subject) is Reason.UNKNOWN_SIGNER
    assert refused(ocsp_response([single], stranger, responder_id="name"), subject) is Reason.UNKNOWN_SIGNER


# -- delegates


@pytest.mark.parametrize("key", ["rsa", "p256", "ed25519"])
@pytest.mark.parametrize("responder_id", ["key", "name"])
def test_valid_delegate_is_believed(authority, leaf, subject, key, responder_id):
    delegate = authority.delegate(key=key)
    der = good(authority, leaf, signer=delegate, responder_id=responder_id)
    assert verify(der, subject, NOW).status == "good"


def test_delegate_of_the_issuers_own_name_is_believed(authority, leaf, subject):
    delegate = authority.delegate(authority.name)
    der = good(authority, leaf, signer=delegate, responder_id="name")
    assert verify(der, subject, NOW).status == "good"


def test_delegate_that_is_not_sent_along_is_refused(authority, leaf, subject):
    single = Single(leaf, "good", NOW, NOW + HOUR)
    assert refused(ocsp_response([single], authority.delegate()), subject) is Reason.UNKNOWN_SIGNER


def test_delegate_without_ocsp_signing_is_refused(authority, leaf, subject):
    for delegate in (authority.delegate(ocsp_signing=False), authority.delegate(any_usage=True)):
        der = good(authority, leaf, signer=delegate)
        assert refused(der, subject) is Reason.DELEGATE_NOT_FOR_OCSP


def test_a_leaf_of_the_same_authority_is_no_delegate(authority, leaf, subject):
    assert refused(good(authority, leaf, signer=leaf), subject) is Reason.DELEGATE_NOT_FOR_OCSP


def test_delegate_whose_key_usage_forbids_signatures_is_refused(authority, leaf, subject):
    delegate = authority.delegate(digital_signature=False)
    assert refused(good(authority, leaf, signer=delegate), subject) is Reason.DELEGATE_NOT_FOR_OCSP


def test_delegate_must_be_valid_now(authority, leaf, subject):
    delegate = authority.delegate(not_before=NOW - HOUR, not_after=NOW + 60)
    der = good(authority, leaf, signer=delegate)
    assert verify(der, subject, NOW + 59).status == "good"
    assert refused(der, subject, NOW + 60) is Reason.DELEGATE_EXPIRED
    assert refused(der, subject, NOW - HOUR - 1) is Reason.DELEGATE_EXPIRED


def test_staple_ends_with_the_delegate_that_signed_it(authority, leaf, subject):
    # Else a running gate would serve for an hour what it refuses after a restart.
    der = good(authority, leaf, signer=authority.delegate(not_before=NOW - HOUR, not_after=NOW + 60))
    staple = verify(der, subject, NOW)
    assert staple.next_update == NOW + 60
    assert staple.usable(NOW + 59)
    assert verify(der, subject, NOW + 59) == staple
    assert not staple.usable(NOW + 60)
    assert refused(der, subject, NOW + 60) is Reason.DELEGATE_EXPIRED
    longer = good(authority, leaf, signer=authority.delegate(not_before=NOW - HOUR, not_after=NOW + 2 * HOUR))
    assert verify(longer, subject, NOW).next_update == NOW + HOUR


@pytest.mark.parametrize("delegated", [False, True])
def test_staple_ends_with_the_issuer(authority, leaf, subject, delegated):
    end = authority.certificate.not_valid_after_utc.timestamp()
    delegate = authority.delegate(not_before=end - HOUR, not_after=end + HOUR)
    der = good(
        authority,
        leaf,
        signer=delegate if delegated else None,
        this_update=end - HOUR,
        next_update=end + HOUR,
    )
    assert verify(der, subject, end - 60).next_update == end
    assert verify(der, subject, end - 1).usable(end - 1)
    assert refused(der, subject, end) is Reason.ISSUER_EXPIRED


def test_delegate_signed_by_the_root_above_is_refused(leaf, authority, subject):
    delegate = authority.issuer.delegate()
    assert refused(good(authority, leaf, signer=delegate), subject) is Reason.DELEGATE_NOT_ISSUED


def test_delegate_signed_by_a_namesake_of_the_issuer_is_refused(authority, leaf, subject):
    delegate = authority.rekeyed("rsa").delegate()
    assert refused(good(authority, leaf, signer=delegate), subject) is Reason.DELEGATE_NOT_ISSUED


def test_delegate_below_another_delegate_is_refused(authority, leaf, subject):
    middle = authority.intermediate("OCSP authority")
    delegate = middle.delegate()
    single = Single(leaf, "good", NOW, NOW + HOUR)
    der = ocsp_response([single], delegate, certificates=[delegate.certificate, middle.certificate])
    assert refused(der, subject) is Reason.DELEGATE_NOT_ISSUED


@pytest.mark.parametrize("hash", ["md5", "sha1"])
def test_delegate_with_a_weak_signature_is_refused(authority, leaf, subject, hash):
    delegate = authority.delegate(signature_hash=hash)
    assert refused(good(authority, leaf, signer=delegate), subject) is Reason.DELEGATE_WEAK_SIGNATURE


def test_delegate_that_cannot_vouch_for_another_signature_is_refused(authority, leaf, subject):
    delegate = authority.delegate()
    single = Single(leaf, "good", NOW, NOW + HOUR)
    der = ocsp_response([single], delegate, certificates=[delegate.certificate], corrupt_signature=True)
    assert refused(der, subject) is Reason.BAD_SIGNATURE


def test_delegate_is_found_among_other_certificates_up_to_the_limit(authority, leaf, subject):
    delegate = authority.delegate()
    others = [authority.leaf(f"{i}.test").certificate for i in range(8)]
    single = Single(leaf, "good", NOW, NOW + HOUR)
    eighth = ocsp_response([single], delegate, certificates=[*others[:7], delegate.certificate])
    assert verify(eighth, subject, NOW).status == "good"
    ninth = ocsp_response([single], delegate, certificates=[*others, delegate.certificate])
    assert refused(ninth, subject) is Reason.UNKNOWN_SIGNER


# -- whose certificate


def test_answer_about_another_certificate_is_refused(authority, subject):
    other = authority.leaf("b.test")
    assert refused(good(authority, other), subject) is Reason.WRONG_CERTIFICATE


def test_answer_about_the_same_serial_of_another_issuer_is_refused(authority, leaf, subject):
    namesake = authority.rekeyed("rsa")
    same_serial = namesake.leaf("a.test", serial=leaf.certificate.serial_number)
    single = Single(same_serial, "good", NOW, NOW + HOUR)
    assert refused(ocsp_response([single], authority), subject) is Reason.WRONG_CERTIFICATE


def test_no_single_response_at_all_is_refused(authority, subject):
    assert refused(ocsp_response([], authority, produced_at=NOW), subject) is Reason.WRONG_CERTIFICATE


def test_ours_is_found_among_several_single_responses(authority, leaf, subject):
    others = [authority.leaf(f"{i}.test") for i in range(3)]
    singles = [Single(other, "revoked", NOW, NOW + HOUR) for other in others]
    singles.insert(2, Single(leaf, "good", NOW - 60, NOW + 600))
    staple = verify(ocsp_response(singles, authority), subject, NOW)
    assert (staple.status, staple.next_update) == ("good", NOW + 600)
    without = [single for single in singles if single.leaf is not leaf]
    assert refused(ocsp_response(without, authority), subject) is Reason.WRONG_CERTIFICATE


def test_of_several_answers_about_ours_the_worst_counts_and_the_first_end_ends_all(authority, leaf, subject):
    good_long = Single(leaf, "good", NOW - 60, NOW + 7200, "sha1")
    good_short = Single(leaf, "good", NOW - 120, NOW + 600, "sha256")
    staple = verify(ocsp_response([good_long, good_short], authority), subject, NOW)
    assert (staple.this_update, staple.next_update) == (NOW - 60, NOW + 600)
    revoked = Single(leaf, "revoked", NOW - 30, NOW + 3600, "sha256")
    assert verify(ocsp_response([good_long, revoked], authority), subject, NOW).status == "revoked"
    unknown = Single(leaf, "unknown", NOW - 30, NOW + 3600, "sha256")
    assert refused(ocsp_response([good_long, unknown], authority), subject) is Reason.UNKNOWN
    ended = Single(leaf, "good", NOW - 7200, NOW - 3600, "sha256")
    assert refused(ocsp_response([good_long, ended], authority), subject) is Reason.EXPIRED


# -- times


def test_next_update_must_be_present(authority, leaf, subject):
    assert refused(good(authority, leaf, next_update=None), subject) is Reason.NO_NEXT_UPDATE


def test_expired_to_the_second(authority, leaf, subject):
    der = good(authority, leaf)
    assert verify(der, subject, NOW + HOUR - 0.001).usable(NOW + HOUR - 0.001)
    assert refused(der, subject, NOW + HOUR) is Reason.EXPIRED


def test_from_the_future_but_for_five_minutes(authority, leaf, subject):
    der = good(authority, leaf, this_update=NOW + 300)
    assert verify(der, subject, NOW).status == "good"
    assert refused(der, subject, NOW - 1) is Reason.FROM_THE_FUTURE


def test_window_that_ends_before_it_begins_is_refused(authority, leaf, subject):
    der = good(authority, leaf, this_update=NOW + 200, next_update=NOW + 100)
    assert refused(der, subject) is Reason.BAD_WINDOW


def test_five_minute_validity_is_believed(authority, leaf, subject):
    der = good(authority, leaf, this_update=NOW, next_update=NOW + 300)
    assert verify(der, subject, NOW).next_update == NOW + 300


def test_pre_produced_answer_past_its_half_life_is_believed(authority, leaf, subject):
    der = good(authority, leaf, this_update=NOW - 6 * 86_400, next_update=NOW + 86_400)
    assert verify(der, subject, NOW).status == "good"


# -- form


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("malformedRequest", Reason.MALFORMED_REQUEST),
        ("internalError", Reason.INTERNAL_ERROR),
        ("tryLater", Reason.TRY_LATER),
        ("sigRequired", Reason.SIG_REQUIRED),
        ("unauthorized", Reason.UNAUTHORIZED),
    ],
)
def test_responder_errors_are_of_their_own_type(subject, status, reason):
    with pytest.raises(ResponderError) as caught:
        verify(ocsp_error(status), subject, NOW)
    assert caught.value.reason is reason


def test_status_that_does_not_exist_is_malformed(subject):
    assert refused(b"\x30\x03\x0a\x01\x04", subject) is Reason.MALFORMED


def test_garbage_empty_and_html_are_malformed(subject):
    for der in (b"", b"\x00", b"\x30", b"<html>not found</html>", b"\x30\x80\x00\x00", b"\xff" * 1000):
        assert refused(der, subject) is Reason.MALFORMED


def test_every_truncation_is_malformed(authority, leaf, subject):
    der = good(authority, leaf, signer=authority.delegate())
    for size in range(len(der)):
        assert refused(der[:size], subject) is Reason.MALFORMED


def test_bytes_behind_the_end_are_malformed(authority, leaf, subject):
    der = good(authority, leaf)
    for trailing in (b"\x00", b"garbage", der):
        assert refused(der + trailing, subject) is Reason.MALFORMED


def test_no_changed_bit_is_believed_as_something_else(authority, leaf, subject):
    """Whatever bit is flipped: it is refused, or it still says exactly the same."""
    der = bytearray(good(authority, leaf))
    original = verify(bytes(der), subject, NOW)
    for position in range(len(der)):
        der[position] ^= 1 << (position % 8)
        try:
            staple = verify(bytes(der), subject, NOW)
        except NotBelieved:
            pass
        else:
            said = (staple.status, staple.this_update, staple.next_update)
            assert said == (original.status, original.this_update, original.next_update)
        der[position] ^= 1 << (position % 8)


def test_limit_and_limit_plus_one(subject):
    assert refused(b"\x00" * MAX_BODY, subject) is Reason.MALFORMED
    assert refused(b"\x00" * (MAX_BODY + 1), subject) is Reason.TOO_LARGE


def test_a_body_full_of_single_responses_costs_little(authority, leaf, subject):
    other = Single(leaf, "good", NOW, NOW + HOUR, hash_oid="1.2.3.4.5")
    count = 60_000 // len(other.encode())
    der = ocsp_response([other] * count, authority)
    assert len(der) < MAX_BODY
    started = time.process_time()
    assert refused(der, subject) is Reason.WRONG_CERTIFICATE
    assert time.process_time() - started < 0.5


def test_a_body_full_of_signers_of_one_name_costs_little(authority, leaf, subject):
    delegate = authority.delegate(authority.name)
    single = Single(leaf, "good", NOW, NOW + HOUR)
    der = ocsp_response(
        [single],
        delegate,
        certificates=[delegate.certificate] * 80,
        responder_id="name",
        corrupt_signature=True,
    )
    assert 30_000 < len(der) < MAX_BODY
    started = time.process_time()
    assert refused(der, subject) is Reason.BAD_SIGNATURE
    assert time.process_time() - started < 0.5


def test_unknown_critical_extension_is_refused(authority, leaf, subject):
    der = ocsp_response([Single(leaf, "good", NOW, NOW + HOUR)], authority, critical_extension=True)
    assert refused(der, subject) is Reason.CRITICAL_EXTENSION


def test_rsa_pss_is_refused_by_name(authority, leaf, subject):
    der = good(authority, leaf)
    pss = der.replace(bytes.fromhex("06092a864886f70d01010b"), bytes.fromhex("06092a864886f70d01010a"))
    assert pss != der
    assert refused(pss, subject) in (Reason.UNSUPPORTED_SIGNATURE, Reason.MALFORMED)


def test_nothing_can_be_believed_without_an_issuer(authority, leaf):
    subject = Subject.from_pem("a.test", leaf.pem)
    assert subject.issuer is None
    assert refused(good(authority, leaf), subject) is Reason.NO_ISSUER


# -- what a revocation leaves behind


def test_expired_revocation_is_remembered_and_nothing_else_is(authority, leaf, subject):
    der = good(authority, leaf, status="revoked", this_update=NOW - 2 * HOUR, next_update=NOW - HOUR)
    assert refused(der, subject) is Reason.EXPIRED
    assert remembered_revocation(der, subject) == NOW - 2 * HOUR
    assert remembered_revocation(good(authority, leaf), subject) is None
    assert remembered_revocation(b"garbage", subject) is None
    assert remembered_revocation(ocsp_error("tryLater"), subject) is None
    forged = ocsp_response([Single(leaf, "revoked", NOW, NOW + HOUR)], authority, corrupt_signature=True)
    assert remembered_revocation(forged, subject) is None


def test_revocation_by_a_delegate_that_has_ended_since_is_remembered(authority, leaf, subject):
    delegate = authority.delegate(not_before=NOW - 9 * HOUR, not_after=NOW - 5 * HOUR)
    der = good(
        authority, leaf, status="revoked", signer=delegate, this_update=NOW - 6 * HOUR, next_update=NOW + HOUR
    )
    assert refused(der, subject) is Reason.DELEGATE_EXPIRED
    assert remembered_revocation(der, subject) == NOW - 6 * HOUR


# -- other encoders agree with ours


def test_response_made_by_cryptography_is_believed(authority, leaf, subject):
    der = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            leaf.certificate,
            authority.certificate,
            hashes.SHA1(),
            ocsp.OCSPCertStatus.GOOD,
            time_of(NOW),
            time_of(NOW + HOUR),
            None,
            None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, authority.certificate)
        .sign(authority.key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    assert verify(der, subject, NOW).next_update == NOW + HOUR


def time_of(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def test_openssl_reads_what_our_test_encoder_writes(authority, leaf, tmp_path: Path):
    """The responses of these tests are hand made; OpenSSL must find them as well-formed as we do."""
    now = int(time.time())
    der = authority.ocsp(leaf, this_update=now - 60, next_update=now + 3600, signer=authority.delegate())
    (tmp_path / "response.der").write_bytes(der)
    (tmp_path / "issuer.pem").write_bytes(authority.pem + authority.issuer.pem)
    (tmp_path / "leaf.pem").write_bytes(leaf.pem)
    command = "openssl ocsp -respin response.der -issuer issuer.pem -cert leaf.pem -CAfile issuer.pem"
    done = subprocess.run(
        command.split(), cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False
    )
    assert "Response verify OK" in done.stderr
    assert "leaf.pem: good" in done.stdout


def test_resigned_certificates_of_the_tests_carry_real_signatures(authority):
    """Otherwise the weak-signature tests would pass for the wrong reason."""
    delegate = authority.delegate().certificate
    again = resigned(delegate, authority.key, "sha256")
    again.verify_directly_issued_by(authority.certificate)
