"""Subjects: what is read from a chain, and what a certificate's own words are worth."""

import pytest

from headgate.ocsp.subject import Subject, SubjectError, is_usable_url, staple_key
from headgate.testing.pki import Authority

URL = "http://ocsp.test/"


@pytest.fixture(scope="module")
def root():
    return Authority.root()


def test_reads_responders_issuer_urls_must_staple_and_issuer(root):
    authority = root.intermediate()
    leaf = authority.leaf("a.test", ocsp=(URL,), issuer_urls=("http://ca.test/i.der",), must_staple=True)
    subject = Subject.from_pem("a", leaf.chain_pem + leaf.key_pem, file_response=b"x")
    assert subject.responders == (URL,)
    assert subject.issuer_urls == ("http://ca.test/i.der",)
    assert subject.must_staple
    assert subject.issuer == authority.certificate
    assert subject.file_response == b"x"


def test_its_hosts_are_names_in_lower_case_and_addresses(root):
    leaf = root.leaf("A.test", "*.a.test", "127.0.0.1")
    assert Subject.from_pem("a", leaf.pem).hosts == ("a.test", "*.a.test", "127.0.0.1")


def test_no_responder_is_normal(root):
    subject = Subject.from_pem("a", root.leaf("a.test").pem)
    assert (subject.responders, subject.must_staple, subject.issuer, subject.problem) == ((), False, None, "")


def test_issuer_is_found_by_key_not_by_place_or_name(root):
    authority = root.intermediate()
    leaf = authority.leaf("a.test")
    namesake = authority.rekeyed()
    chain = leaf.pem + root.pem + namesake.pem + authority.pem
    assert Subject.from_pem("a", chain).issuer == authority.certificate
    assert Subject.from_pem("a", leaf.pem + namesake.pem).issuer is None
    assert Subject.from_pem("a", leaf.pem, issuer_pem=authority.pem).issuer == authority.certificate


def test_only_http_responders_are_kept_four_at_most_each_once(root):
    many = [f"http://{i}.test/" for i in range(6)]
    leaf = root.leaf("a.test", ocsp=("ldap://x/", "ftp://x/", many[0], many[0], *many))
    assert Subject.from_pem("a", leaf.pem).responders == tuple(many[:4])


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user@host/",
        "http://user:secret@host/",
        "http://host:99999/",
        "http://host:0/",
        "http://host/a b",
        "http://host/\r\nx",
        "http://hö.test/",
        "http://[::1",
        "gopher://host/",
        "//host/",
        "",
        "http://host/" + "a" * 2048,
    ],
)
def test_urls_that_are_never_fetched(url):
    assert not is_usable_url(url)


@pytest.mark.parametrize(
    "url", ["http://host", "https://host:8443/x", "http://[::1]:80/", "http://10.0.0.1/"]
)
def test_urls_that_are_fetched(url):
    assert is_usable_url(url)


def test_text_without_a_certificate_is_an_error_that_names_the_subject(root):
    broken = root.leaf("a.test").pem.replace(b"M", b"A", 3)
    for pem in (b"", b"nonsense", root.leaf("a.test").key_pem, broken):
        with pytest.raises(SubjectError, match=r"^shop:"):
            Subject.from_pem("shop", pem)


def test_key_tells_issuer_key_and_serial_apart(root):
    leaf, other = root.leaf("a.test", serial=7), root.leaf("a.test", serial=8)
    namesake = root.rekeyed()
    keys = {
        staple_key(leaf.certificate, root.certificate),
        staple_key(other.certificate, root.certificate),
        staple_key(leaf.certificate, namesake.certificate),
    }
    assert len(keys) == 3
    again = root.leaf("another-name.test", serial=7)
    assert staple_key(again.certificate, root.certificate) in keys
