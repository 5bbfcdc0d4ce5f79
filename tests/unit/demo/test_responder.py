"""The demo's authority and responder, judged by the gate's own verification."""

import base64
import time
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from headgate.config.loader import loads
from headgate.demo.authority import MUST_STAPLE, make_authority
from headgate.demo.responder import Responder
from headgate.demo.web import Request
from headgate.process.certificates import tables_of
from headgate.tls.files import load_identities


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return make_authority(tmp_path_factory.mktemp("demo"), "http://127.0.0.1:9/")


@pytest.fixture
def responder(authority, tmp_path):
    return Responder(authority, tmp_path)


def question(authority, leaf, algorithm=None):
    builder = ocsp.OCSPRequestBuilder().add_certificate(
        leaf.certificate, authority.issuer.certificate, algorithm or hashes.SHA1()
    )
    return builder.build().public_bytes(Encoding.DER)


def asked(responder, der, method="POST"):
    if method == "GET":
        answer = responder.answer(Request("GET", "/" + quote(base64.b64encode(der), safe=""), (), b""))
    else:
        answer = responder.answer(Request("POST", "/", (), der))
    assert (answer.status, answer.content_type) == (200, "application/ocsp-response")
    return ocsp.load_der_ocsp_response(answer.body)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256()])
def test_good_by_both_methods_and_in_both_hashes(authority, responder, method, algorithm):
    for leaf in authority.leaves:
        response = asked(responder, question(authority, leaf, algorithm), method)
        assert response.certificate_status is ocsp.OCSPCertStatus.GOOD
        assert response.serial_number == leaf.certificate.serial_number
        assert response.hash_algorithm.name == algorithm.name
        assert response.next_update_utc.timestamp() - time.time() > 3500


def test_revoked_by_a_file(authority, responder, tmp_path):
    leaf, other = authority.leaves[:2]
    (tmp_path / leaf.label).touch()
    assert asked(responder, question(authority, leaf)).certificate_status is ocsp.OCSPCertStatus.REVOKED
    assert asked(responder, question(authority, other)).certificate_status is ocsp.OCSPCertStatus.GOOD


def test_refusals(authority, responder, tmp_path):
    assert asked(responder, b"no DER").response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    status = responder.answer(Request("GET", "/%%%", (), b"")).body
    assert ocsp.load_der_ocsp_response(status).response_status is ocsp.OCSPResponseStatus.MALFORMED_REQUEST
    stranger = make_authority_elsewhere(tmp_path)
    der = question(stranger, stranger.leaves[0])
    assert asked(responder, der).response_status is ocsp.OCSPResponseStatus.UNAUTHORIZED


def make_authority_elsewhere(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return make_authority(folder, "http://127.0.0.1:9/")


def test_the_gate_takes_the_files(authority):
    text = f"""
listener = [{{ addresses = ["127.0.0.1:0"] }}]
certificate = [{{ files = "{authority.certificates}/*.pem" }}]
route = [{{ respond = {{}} }}]
"""
    identities, problems = load_identities(tables_of(loads(text, "demo")), time.time())
    assert problems == []
    assert sorted(item.key_type for item in identities) == ["ecdsa", "ecdsa", "rsa"]
    assert [item.names for item in identities if item.must_staple] == [(MUST_STAPLE,)]
    for path in authority.certificates.iterdir():
        assert path.stat().st_mode & 0o077 == 0
    ca = x509.load_pem_x509_certificate(authority.ca.read_bytes())
    authority.issuer.certificate.verify_directly_issued_by(ca)
