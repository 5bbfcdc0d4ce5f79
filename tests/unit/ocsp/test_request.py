"""Requests: bytes, GET URLs and where the line to POST is."""

import base64
from urllib.parse import unquote

import pytest
from cryptography.x509 import ocsp

from headgate.ocsp.request import MAX_GET_URL, CertIdHash, encode_request, get_url
from headgate.testing.pki import Authority


@pytest.fixture(scope="module")
def authority():
    return Authority.root()


@pytest.mark.parametrize("cert_id", list(CertIdHash))
def test_request_names_the_certificate_in_the_asked_hash_and_has_no_nonce(authority, cert_id):
    leaf = authority.leaf("a.test")
    request = ocsp.load_der_ocsp_request(encode_request(leaf.certificate, authority.certificate, cert_id))
    assert request.serial_number == leaf.certificate.serial_number
    assert request.hash_algorithm.name == cert_id
    assert len(request.extensions) == 0


@pytest.mark.parametrize("responder", ["http://ocsp.test", "http://ocsp.test/", "http://ocsp.test/a/b"])
def test_rfc5019_5_get_url_has_one_slash_and_encoded_base64(authority, responder):
    request = b"\xfb\xff\xbf" * 12 + b"\x01"  # in base64: + and / and padding
    url = get_url(responder, request)
    path = url[len(responder.rstrip("/")) :]
    assert path.startswith("/")
    assert not set(path[1:]) & set("/+=")
    assert base64.b64decode(unquote(path[1:])) == request


def test_rfc5019_5_url_of_255_bytes_is_a_get_and_of_256_a_post():
    request = b"\x00" * 30
    fits = "http://h/" + "p" * (MAX_GET_URL - len("http://h//") - 40)
    assert len(get_url(fits, request)) == 255
    assert get_url(fits + "p", request) is None


def test_responder_with_a_query_is_asked_by_post():
    assert get_url("http://h/ocsp?ca=1", b"\x00") is None
