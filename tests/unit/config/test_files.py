"""Which files a configuration means, and what is said when they are not there."""

import datetime
import os

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from gate_text import GATE, edited, problems_of

from headgate.config.certificate import Certificate
from headgate.config.files import CertificateFiles, certificate_files
from headgate.config.loader import loads
from headgate.testing.pki import Authority


@pytest.fixture
def folder(tmp_path):
    for name in (
        "a.pem",
        "b.pem",
        "b.pem.ocsp",
        "live/x.org/chain.pem",
        "live/x.org/key.pem",
        "live/y.org/chain.pem",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("-")
    (tmp_path / "c.pem").mkdir()
    return tmp_path


def found(folder, **keys):
    keys = {name: str(folder / value) for name, value in keys.items()}
    return certificate_files(Certificate.model_validate(keys))


def told(folder, *changes):
    return [
        (p.line, p.key, p.what + p.expected) for p in problems_of(edited(*changes), base=folder, files=True)
    ]


def test_one_file(folder):
    (files,) = found(folder, files="a.pem", key="k.pem", issuer="i.pem")
    assert files == CertificateFiles(folder / "a.pem", folder / "k.pem", folder / "i.pem")
    assert files.staple == folder / "a.pem.ocsp"


def test_a_file_that_is_not_there_is_still_named(folder):
    assert found(folder, files="z.pem") == [CertificateFiles(folder / "z.pem", None, None)]


def test_a_glob_takes_files_in_order_and_neither_folders_nor_staples(folder):
    assert [files.chain.name for files in found(folder, files="*.pem*")] == ["a.pem", "b.pem"]
    assert [files.chain.name for files in found(folder, files="[b].pem")] == ["b.pem"]


def test_a_glob_follows_the_folder(folder):
    before = len(found(folder, files="*.pem"))
    (folder / "new.pem").write_text("-")
    assert len(found(folder, files="*.pem")) == before + 1


def test_stars_of_the_key_are_those_of_the_chain(folder):
    pairs = [(f.chain, f.key) for f in found(folder, files="live/*/chain.pem", key="live/*/key.pem")]
    assert pairs == [
        (folder / f"live/{name}/chain.pem", folder / f"live/{name}/key.pem") for name in ("x.org", "y.org")
    ]


def test_a_key_beside_its_chains_is_no_chain(folder):
    names = [files.chain.name for files in found(folder, files="live/x.org/*.pem", key="live/x.org/key.pem")]
    assert names == ["chain.pem"]


def test_all_there(folder):
    assert (
        loads(edited(("site.pem", "*.pem")), environ={}, base=folder).certificate[0].files
        == f"{folder}/*.pem"
    )


@pytest.mark.parametrize(
    ("line", "number", "key", "what"),
    [
        ('files = "z/*.pem"', 14, "certificate.files", "there is no folder {}/z"),
        ('files = "*.crt"', 14, "certificate.files", "nothing in {} matches *.crt"),
        ('files = "live/*/z.pem"', 14, "certificate.files", "nothing in {}/live matches */z.pem"),
        (
            'files = "z.pem"',
            14,
            "certificate.files",
            "{}/z.pem cannot be read: No such file or directory (errno 2)",
        ),
        ('files = "c.pem"', 14, "certificate.files", "{}/c.pem cannot be read: Is a directory (errno 21)"),
        (
            'files = "a.pem"\nkey = "z"',
            15,
            "certificate.key",
            "{}/z cannot be read: No such file or directory (errno 2)",
        ),
        (
            'files = "a.pem"\nissuer = "a.pem/z"',
            15,
            "certificate.issuer",
            "{}/a.pem/z cannot be read: Not a directory (errno 20)",
        ),
        (
            'files = "live/*/chain.pem"\nkey = "live/*/key.pem"',
            15,
            "certificate.key",
            "{}/live/y.org/key.pem cannot be read: No such file or directory (errno 2)",
        ),
        (
            'files = "live/*/chain.pem"\nkey = "*/*/key.pem"',
            15,
            "certificate.key",
            "as many stars as in `files` (1)",
        ),
        (
            'files = "[ab].pem"\nkey = "*.key"',
            15,
            "certificate.key",
            "only single stars in `files` can be repeated in `key`",
        ),
    ],
)
def test_a_certificate_that_is_not_there(folder, line, number, key, what):
    assert told(folder, ('files = "site.pem"', line)) == [(number, key, what.format(folder))]


def test_a_link_in_a_circle_is_said_to_be_one(folder):
    (folder / "loop.pem").symlink_to("loop.pem")
    ((_, _, what),) = told(folder, ("site.pem", "loop.pem"))
    assert what == f"{folder}/loop.pem cannot be read: Too many levels of symbolic links (errno 40)"


def test_a_named_pipe_holds_nothing_up(folder):
    os.mkfifo(folder / "pipe.pem")
    loads(edited(("site.pem", "pipe.pem")), environ={}, base=folder)


def test_the_other_files(folder):
    text = edited(
        ("site.pem", "a.pem"),
        ('min_version = "1.2"', 'client_auth = "required"\nclient_ca = "z1"\nclient_crl = "z2"'),
        ("http://10.0.0.1:8080", "https://10.0.0.1"),
    )
    text += 'tls = { ca = "z3" }\n[log]\naccess = "z4/access.log"\n'
    problems = problems_of(text, base=folder, files=True)
    reason = "cannot be read: No such file or directory (errno 2)"
    assert [(p.line, p.key, p.what) for p in problems] == [
        (8, "listener.tls.client_ca", f"{folder}/z1 {reason}"),
        (9, "listener.tls.client_crl", f"{folder}/z2 {reason}"),
        (25, "upstream.api.tls.ca", f"{folder}/z3 {reason}"),
        (27, "log.access", f"there is no folder {folder}/z4"),
    ]


# -- what stands in files of authorities

PEOPLE = Authority.root("People")
OTHERS = Authority.root("Others")
DAY = datetime.timedelta(days=1)
BROKEN = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def crl_of(authority):
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateRevocationListBuilder().issuer_name(authority.certificate.subject)
    builder = builder.last_update(now - DAY).next_update(now + DAY)
    return builder.sign(authority.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


UNUSABLE = [
    (None, "cannot be read: No such file or directory (errno 2)"),
    (b"", "cannot be used: it is empty"),
    (b"no PEM at all", "cannot be used: there is no certificate in it"),
    (PEOPLE.leaf("a.test").key_pem, "cannot be used: there is no certificate in it"),
    (BROKEN, "cannot be used: a certificate authority cannot be read: "),
    (PEOPLE.pem + BROKEN, "cannot be used: a certificate authority cannot be read: "),
]


def with_files(folder, **files):
    """Write files (None: leave one out); return the problems of an upstream and a listener that name them."""
    for name, content in files.items():
        if content is not None:
            (folder / name).write_bytes(content)
    text = edited(
        ("site.pem", "a.pem"),
        ('min_version = "1.2"', 'client_auth = "required"\nclient_ca = "people"\nclient_crl = "crl"'),
        ("http://10.0.0.1:8080", "https://10.0.0.1"),
    )
    return [
        (p.line, p.key, p.what) for p in problems_of(text + 'tls = { ca = "ca" }\n', base=folder, files=True)
    ]


@pytest.mark.parametrize(("content", "what"), UNUSABLE)
def test_authorities_of_an_upstream_that_cannot_be_used(folder, content, what):
    """An empty file is no wish for the system's authorities; a worker would take it for one."""
    ((line, key, said),) = with_files(folder, people=PEOPLE.pem, crl=crl_of(PEOPLE), ca=content)
    assert (line, key) == (25, "upstream.api.tls.ca")
    assert said.startswith(f"{folder}/ca {what}")


@pytest.mark.parametrize(("content", "what"), UNUSABLE)
def test_authorities_of_clients_that_cannot_be_used(folder, content, what):
    ((line, key, said),) = with_files(folder, people=content, crl=crl_of(PEOPLE), ca=PEOPLE.pem)
    assert (line, key) == (8, "listener.tls.client_ca")
    assert said.startswith(f"{folder}/people {what}")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read: No such file or directory (errno 2)"),
        (b"", "cannot be used: it is empty"),
        (PEOPLE.pem, "cannot be used: there is no CRL in client_crl"),
        (
            b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
            "cannot be used: a CRL in client_crl cannot be",
        ),
    ],
)
def test_revocation_lists_that_cannot_be_used(folder, content, what):
    ((line, key, said),) = with_files(folder, people=PEOPLE.pem, crl=content, ca=PEOPLE.pem)
    assert (line, key) == (9, "listener.tls.client_crl")
    assert said.startswith(f"{folder}/crl {what}")


def test_all_of_them_are_told_at_once(folder):
    lines = [line for line, _, _ in with_files(folder, people=b"", crl=b"", ca=b"")]
    assert lines == [8, 9, 25]


def test_a_named_pipe_of_authorities_holds_nothing_up(folder):
    os.mkfifo(folder / "ca")
    ((_, key, what),) = with_files(folder, people=PEOPLE.pem, crl=crl_of(PEOPLE))
    assert (key, what) == ("upstream.api.tls.ca", f"{folder}/ca cannot be used: it is no regular file")


def test_authorities_that_can_be_used(folder):
    (folder / "ca").write_bytes(PEOPLE.pem + OTHERS.pem)
    text = edited(("site.pem", "a.pem"), ("http://10.0.0.1:8080", "https://10.0.0.1"))
    loads(text + 'tls = { ca = "ca" }\n', environ={}, base=folder)


def test_a_user_that_does_not_exist(folder):
    assert told(folder, ("site.pem", "a.pem"), ("workers = 2", 'user = "nobody-like-this"')) == [
        (1, "user", 'there is no user "nobody-like-this" on this machine')
    ]


def test_only_root_can_become_another_user(folder, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 65_534)
    assert told(folder, ("site.pem", "a.pem"), ("workers = 2", 'user = "root"')) == [
        (1, "user", "only root can become another user")
    ]
    loads(edited(("site.pem", "a.pem"), ("workers = 2", 'user = "nobody"')), environ={}, base=folder)


def test_without_a_look_at_files_nothing_is_said(tmp_path):
    loads(GATE, environ={}, base=tmp_path, files=False)


OURS = PEOPLE.leaf("gate", client=True)
OTHER = PEOPLE.leaf("other", key="rsa")


@pytest.mark.parametrize(
    ("chain", "key", "found"),
    [
        (OURS.pem, OTHER.key_pem, ["key: {}/key cannot be used: the private key does not belong to"]),
        (OURS.pem + OTHER.key_pem, None, ["certificate: {}/our cannot be used: the private key does not"]),
        (OURS.pem, None, ["certificate: {}/our cannot be used: there is no private key in it"]),
        (OURS.pem, b"", ["key: {}/key cannot be used: it is empty"]),
        (OURS.key_pem, OURS.key_pem, ["certificate: {}/our has no certificate in it"]),
        (b"", OURS.key_pem, ["certificate: {}/our cannot be used: it is empty"]),
        (
            None,
            "missing",
            ["certificate: {}/our cannot be read: No such", "key: {}/key cannot be read: No such"],
        ),
    ],
)
def test_our_certificate_for_an_upstream_that_cannot_be_used(folder, chain, key, found):
    for name, content in (("our", chain), ("key", key)):
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
    tls = 'certificate = "our"' + (', key = "key"' if key is not None else "")
    text = (
        edited(("site.pem", "a.pem"), ("http://10.0.0.1:8080", "https://10.0.0.1")) + f"tls = {{ {tls} }}\n"
    )
    told = [f"{p.key}: {p.what}" for p in problems_of(text, base=folder, files=True)]
    assert len(told) == len(found), told
    for one, start in zip(told, found, strict=True):
        assert one.startswith("upstream.api.tls." + start.format(folder))


@pytest.mark.parametrize(
    ("chain", "tls"),
    [(OURS.pem + OURS.key_pem, 'certificate = "our"'), (OURS.pem, 'certificate = "our", key = "key"')],
)
def test_our_certificate_for_an_upstream(folder, chain, tls):
    (folder / "our").write_bytes(chain)
    (folder / "key").write_bytes(OURS.key_pem)
    text = (
        edited(("site.pem", "a.pem"), ("http://10.0.0.1:8080", "https://10.0.0.1")) + f"tls = {{ {tls} }}\n"
    )
    loads(text, base=folder, files=True)
