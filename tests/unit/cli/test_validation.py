"""`headgate validate`: what is wrong with certificate files stands at the table that names them."""

import json

import pytest

from headgate.cli.validation import validate_file
from headgate.testing.pki import Authority

ISSUER = Authority.root().intermediate()


@pytest.fixture
def folder(tmp_path):
    for name in ("a", "b"):
        leaf = ISSUER.leaf(f"{name}.test")
        (tmp_path / f"{name}.pem").write_bytes(leaf.chain_pem)
        (tmp_path / f"{name}.key").write_bytes(leaf.key_pem)
    return tmp_path


def written(folder, *lines):
    """Write a configuration whose line 5 is the first of `lines`."""
    path = folder / "headgate.toml"
    start = [f'runtime_dir = "{folder}/run"', "route = [{ respond = {} }]", "[[listener]]"]
    path.write_text("\n".join([*start, 'addresses = ["127.0.0.1:0"]', *lines]) + "\n")
    return path


def said(capsys, path, as_json=False):
    code = validate_file(path, as_json)
    output = capsys.readouterr()
    return code, json.loads(output.out) if as_json else output.err.splitlines()


def test_a_key_of_another_certificate_has_file_line_and_key(capsys, folder):
    path = written(
        folder, "[[certificate]]", 'files = "a.pem"', "[[certificate]]", 'files = "b.pem"', 'key = "a.key"'
    )
    code, lines = said(capsys, path)
    reason = f"{folder}/b.pem: the private key does not belong to the certificate"
    assert (code, lines) == (2, [f"{path}:8: certificate[1].files: {reason}"])
    code, (row,) = said(capsys, path, as_json=True)
    assert (code, row["line"], row["key"], row["what"]) == (2, 8, "certificate[1].files", reason)
    assert row["fatal"] is True
    assert row["message"] == lines[0]


def test_a_file_that_a_glob_found(capsys, folder):
    (folder / "c.pem").write_text("nothing of the kind")
    path = written(folder, "[[certificate]]", 'files = "*.pem"')
    assert said(capsys, path) == (
        2,
        [f"{path}:6: certificate.files: {folder}/c.pem: there is no certificate in it"],
    )


def test_an_upstream_whose_authorities_hold_no_certificate(capsys, folder):
    upstream = ["[upstream.u]", 'endpoints = ["https://u.test"]', "[upstream.u.tls]", 'ca = "a.key"']
    path = written(folder, "[[certificate]]", 'files = "a.pem"', *upstream)
    what = f"{folder}/a.key cannot be used: there is no certificate in it"
    assert said(capsys, path) == (2, [f"{path}:10: upstream.u.tls.ca: {what}"])


def test_a_warning_is_no_failure(capsys, folder):
    leaf = ISSUER.leaf("old.test", not_before=1_500_000_000.0, not_after=1_600_000_000.0)
    (folder / "old.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    path = written(folder, "[[certificate]]", 'files = "old.pem"')
    code, (line,) = said(capsys, path)
    assert code == 0
    assert line.startswith(f"{path}:6: warning: certificate.files: {folder}/old.pem: ")
    code, (row,) = said(capsys, path, as_json=True)
    assert (code, row["fatal"], row["line"]) == (0, False, 6)


def test_an_expression_behind_a_prefix_is_a_warning(capsys, folder):
    path = written(folder, "[[certificate]]", 'files = "a.pem"')
    route = 'route = [{ respond = {} }, { path_regex = "/x", respond = {} }]'
    path.write_text(path.read_text().replace("route = [{ respond = {} }]", route))
    code, (line,) = said(capsys, path)
    assert code == 0
    assert line.startswith(f"{path}:2: warning: route[1].path_regex: never asked for any host: ")
    code, (row,) = said(capsys, path, as_json=True)
    assert (code, row["key"], row["fatal"]) == (0, "route[1].path_regex", False)


def test_a_targeted_field_of_an_unusual_name_is_a_warning(capsys, folder):
    odd = 'targeted_fields = ["CDN-CacheControl"]'
    path = written(folder, "[[certificate]]", 'files = "a.pem"', "[cache]", odd)
    code, (line,) = said(capsys, path)
    assert code == 0
    assert line.startswith(f"{path}:8: warning: cache.targeted_fields: CDN-CacheControl is an unusual name; ")
