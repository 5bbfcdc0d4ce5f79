"""The CA of `headgate serve`: what it makes, keeps, renews, and what it may not sign."""

import datetime
import stat
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from headgate.cli.local_ca import LocalCaError, ensure_certificate

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
NAMES = ["localhost", "gate.example"]


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def days(count):
    return NOW + datetime.timedelta(days=count)


def test_makes_a_pair_that_belongs_together(tmp_path):
    made = ensure_certificate(tmp_path / "ca", NAMES, ["192.0.2.1", "0.0.0.0"], NOW)
    ca, leaf = read(made.ca), read(made.chain)
    leaf.verify_directly_issued_by(ca)
    key = serialization.load_pem_private_key(made.key.read_bytes(), None)
    assert key.public_key() == leaf.public_key()
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == NAMES
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "192.0.2.1"]
    assert ca.extensions.get_extension_for_class(x509.NameConstraints).critical
    for secret in (made.key, tmp_path / "ca" / "ca.key"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "ca").stat().st_mode) == 0o700
    assert not [path for path in (tmp_path / "ca").iterdir() if path.suffix == ".tmp"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_openssl_believes_it(tmp_path, host):
    made = ensure_certificate(tmp_path, NAMES, ["127.0.0.1"])
    option = "-verify_hostname" if host == "localhost" else "-verify_ip"
    command = ["openssl", "verify", "-x509_strict", "-CAfile", made.ca, option, host, made.chain]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_is_kept_then_the_leaf_is_renewed_then_the_ca(tmp_path):
    first = ensure_certificate(tmp_path, NAMES, [], NOW)
    ca, leaf = read(first.ca), read(first.chain)
    ensure_certificate(tmp_path, NAMES, [], days(59))
    assert (read(first.ca), read(first.chain)) == (ca, leaf)
    ensure_certificate(tmp_path, NAMES, [], days(61))
    assert read(first.ca) == ca
    assert read(first.chain) != leaf
    ensure_certificate(tmp_path, NAMES, [], days(3600))
    assert read(first.ca) != ca
    read(first.chain).verify_directly_issued_by(read(first.ca))


def test_a_new_name_needs_a_new_ca_for_the_old_one_may_not_sign_it(tmp_path):
    made = ensure_certificate(tmp_path, ["localhost"], [], NOW)
    ca = read(made.ca)
    ensure_certificate(tmp_path, ["localhost", "new.example"], ["192.0.2.9"], NOW)
    assert read(made.ca) != ca
    # Fewer names are no reason.
    ca = read(made.ca)
    ensure_certificate(tmp_path, ["localhost"], [], NOW)
    assert read(made.ca) == ca


@pytest.mark.parametrize("broken", ["ca.pem", "ca.key", "leaf.pem", "leaf.key"])
@pytest.mark.parametrize("content", [b"", b"junk", None])
def test_what_is_broken_is_made_anew(tmp_path, broken, content):
    made = ensure_certificate(tmp_path, NAMES, [], NOW)
    if content is None:
        (tmp_path / broken).unlink()
    else:
        (tmp_path / broken).write_bytes(content)
    ensure_certificate(tmp_path, NAMES, [], NOW)
    leaf = read(made.chain)
    leaf.verify_directly_issued_by(read(made.ca))
    key = serialization.load_pem_private_key(made.key.read_bytes(), None)
    assert key.public_key() == leaf.public_key()


def test_odd_host_names_are_left_out(tmp_path):
    made = ensure_certificate(tmp_path, ["localhost", "my_machine", "büro"], [], NOW)
    names = read(made.chain).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_a_directory_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LocalCaError, match="errno 20"):
        ensure_certificate(tmp_path / "file" / "ca", NAMES, [])
