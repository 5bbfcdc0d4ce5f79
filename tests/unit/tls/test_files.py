"""From paths and globs to identities: one broken file is one problem, and the others still load."""

import os

import pytest

from headgate.tls.files import CertificateFiles, find_places, load_identities
from headgate.tls.identity import StapleRules

NOW = 1_767_225_600.0


def write(path, *parts: bytes) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(parts))
    return str(path)


def test_a_file_with_its_key_inside(tmp_path, root):
    leaf = root.leaf("a.test")
    path = write(tmp_path / "a.pem", leaf.pem, root.pem, leaf.key_pem)
    rules = StapleRules(stapling="off")
    (identity,), problems = load_identities([CertificateFiles(path, rules=rules, section=4)], NOW)
    assert problems == []
    assert (identity.name, identity.names, identity.rules, identity.section) == (path, ("a.test",), rules, 4)


@pytest.mark.parametrize("beside", ["a.pem.key", "a.key"])
def test_the_key_beside(tmp_path, root, beside):
    leaf = root.leaf("a.test")
    path = write(tmp_path / "a.pem", leaf.pem, root.pem)
    write(tmp_path / beside, leaf.key_pem)
    identities, problems = load_identities([CertificateFiles(path)], NOW)
    assert len(identities) == 1
    assert problems == []


def test_stars_of_the_key_stand_for_those_of_the_files(tmp_path, root):
    for name in ("a.test", "b.test"):
        leaf = root.leaf(name)
        write(tmp_path / "live" / name / "fullchain.pem", leaf.pem, root.pem)
        write(tmp_path / "live" / name / "privkey.pem", leaf.key_pem)
    table = CertificateFiles(f"{tmp_path}/live/*/fullchain.pem", key=f"{tmp_path}/live/*/privkey.pem")
    identities, problems = load_identities([table], NOW)
    assert [identity.names for identity in identities] == [("a.test",), ("b.test",)]
    assert problems == []


def test_a_key_of_one_path_and_an_issuer(tmp_path, root):
    leaf = root.leaf("a.test")
    path = write(tmp_path / "a.crt", leaf.pem)
    table = CertificateFiles(
        path, key=write(tmp_path / "k", leaf.key_pem), issuer=write(tmp_path / "i", root.pem)
    )
    (identity,), problems = load_identities([table], NOW)
    assert identity.issuer_pem == root.pem
    assert problems == []  # nothing is missing between a leaf and the root that signed it


def test_a_leaf_alone_is_warned_about_unless_its_root_is_named(tmp_path, root):
    between = root.intermediate()
    leaf = between.leaf("a.test")
    path = write(tmp_path / "a.pem", leaf.pem, leaf.key_pem)
    warning = (
        f"{path}: there is no intermediate certificate: clients may not find the way to their root",
        False,
    )
    for issuer in (
        None,
        between.pem,
        root.pem,
        b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
    ):
        named = write(tmp_path / "i", issuer) if issuer is not None else ""
        _, problems = load_identities([CertificateFiles(path, issuer=named)], NOW)
        assert [(str(problem), problem.fatal) for problem in problems] == [warning]


def test_response_beside_is_taken_along_unread(tmp_path, root):
    leaf = root.leaf("a.test")
    path = write(tmp_path / "a.pem", leaf.pem, root.pem, leaf.key_pem)
    write(tmp_path / "a.pem.ocsp", b"whatever")
    (identity,), _ = load_identities([CertificateFiles(path)], NOW)
    assert identity.response == b"whatever"
    write(tmp_path / "a.pem.ocsp", bytes(64 * 1024 + 1))  # the limit and one more
    (identity,), problems = load_identities([CertificateFiles(path)], NOW)
    assert identity.response == b""
    assert f"{path}.ocsp is larger than 65536 bytes; its staple comes from elsewhere" in problems[0].reason
    assert not problems[0].fatal


def test_a_glob_passes_over_keys_and_responses_and_takes_each_file_once(tmp_path, root):
    leaf = root.leaf("a.test")
    first = write(tmp_path / "a.pem", leaf.pem, root.pem)
    write(tmp_path / "a.key", leaf.key_pem)
    write(tmp_path / "a.pem.ocsp", b"r")
    write(tmp_path / "zz-key.pem", leaf.key_pem)
    table = CertificateFiles(f"{tmp_path}/*")
    identities, problems = load_identities([table, CertificateFiles(first, section=1)], NOW)
    assert [(identity.name, identity.section) for identity in identities] == [(first, 0)]
    assert problems == []


def test_one_broken_file_is_named_and_the_others_load(tmp_path, root):
    good, other = root.leaf("good.test"), root.leaf("other.test")
    broken = {
        "empty.pem": (b"", "there is no certificate in it"),
        "garbage.pem": (b"\xff" * 100, "there is no certificate in it"),
        "half.pem": ((good.pem + good.key_pem)[:-60], "there is no private key in it"),
        "mixed.pem": (good.pem + other.key_pem, "the private key does not belong to the certificate"),
        "huge.pem": (good.pem + bytes(1024 * 1024), "larger than"),
    }
    for name, (content, _) in broken.items():
        write(tmp_path / name, content)
    write(tmp_path / "good.pem", good.pem, root.pem, good.key_pem)
    identities, problems = load_identities([CertificateFiles(f"{tmp_path}/*.pem")], NOW)
    assert [identity.names for identity in identities] == [("good.test",)]
    said = {os.path.basename(problem.file): problem for problem in problems}
    assert set(said) == set(broken)
    for name, (_, words) in broken.items():
        assert words in said[name].reason
        assert said[name].fatal


def test_what_is_not_there_is_a_problem_with_its_errno(tmp_path):
    tables = [CertificateFiles(f"{tmp_path}/none.pem"), CertificateFiles(f"{tmp_path}/*.none")]
    identities, problems = load_identities(tables, NOW)
    assert identities == []
    assert "(errno 2)" in next(problem.reason for problem in problems if problem.file.endswith("none.pem"))
    assert "no file is called like this" in next(
        problem.reason for problem in problems if "*" in problem.file
    )


def test_a_key_alone_is_a_problem_when_named_outright(tmp_path, root):
    _, (problem,) = load_identities([CertificateFiles(write(tmp_path / "k.pem", root.key_pem))], NOW)
    assert "there is no certificate" in problem.reason


def test_expired_certificates_are_served_with_a_warning(tmp_path, root):
    leaf = root.leaf("a.test", not_after=NOW - 86_400)
    path = write(tmp_path / "a.pem", leaf.pem, root.pem, leaf.key_pem)
    identities, (problem,) = load_identities([CertificateFiles(path)], NOW)
    assert len(identities) == 1
    assert "expired 1.0 days ago" in problem.reason
    assert not problem.fatal


def test_places_know_every_file_that_matters(tmp_path):
    places, _ = find_places([CertificateFiles("a.pem", issuer="i.pem"), CertificateFiles("b.pem", key="b.k")])
    assert places[0].paths() == ("a.pem", "a.pem.key", "a.key", "a.pem.ocsp", "i.pem")
    assert places[1].paths() == ("b.pem", "b.k", "b.pem.ocsp")
