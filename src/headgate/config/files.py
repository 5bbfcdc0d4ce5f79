"""The files that a configuration names: which ones a `[[certificate]]` means, and whether they can be read.

A glob is expanded again whenever it is asked for, so that a certificate that appears beside the others is found.
What stands in a certificate is not looked at here: a broken one must not keep the others from being served. What
stands in a file of authorities is: without them somebody would be believed whom nobody named, or nobody at all.
"""

import errno
import glob
import os
import pwd
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from headgate.config.certificate import Certificate
from headgate.config.listener import ListenerTls
from headgate.config.model import Config
from headgate.config.problems import Finding
from headgate.config.table import Location
from headgate.config.upstream_tls import UpstreamTls
from headgate.errors import ConfigError
from headgate.proxy.htpasswd import Htpasswd, HtpasswdError
from headgate.tls.client_auth import ClientVerifier, read_certificates
from headgate.tls.identity import IdentityError, from_pem, has_certificate
from headgate.tls.policy import TlsPolicy

STAPLE_SUFFIX: Final = ".ocsp"


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """One chain on disk: `key` None when it is in the chain's file, `issuer` None when none was named, `staple` where
    a DER response may lie beside it."""

    chain: Path
    key: Path | None
    issuer: Path | None

    @property
    def staple(self) -> Path:
        """Return the name of the response beside the chain, whether it exists or not."""
        return self.chain.with_name(self.chain.name + STAPLE_SUFFIX)


def certificate_files(certificate: Certificate) -> list[CertificateFiles]:
    """Return the chains that `certificate` names now, sorted; empty when a glob matches nothing. A file that is named
    without stars is returned whether it exists or not: who opens it reports it."""
    pattern = certificate.files
    if not glob.has_magic(pattern):
        return [_with_key(certificate, pattern)]
    names = sorted(name for name in glob.glob(pattern, recursive=True) if _is_chain(certificate, name))
    return [_with_key(certificate, name) for name in names]


def _is_chain(certificate: Certificate, name: str) -> bool:
    return not name.endswith(STAPLE_SUFFIX) and not os.path.isdir(name) and name != certificate.key


def _with_key(certificate: Certificate, chain: str) -> CertificateFiles:
    key = certificate.key
    if key is not None and "*" in key:
        match = _starred(certificate.files).fullmatch(chain)
        for text in match.groups() if match is not None else ():
            key = key.replace("*", text, 1)
    return CertificateFiles(Path(chain), Path(key) if key is not None else None, certificate.issuer)


def _starred(pattern: str) -> re.Pattern[str]:
    return re.compile("([^/]*)".join(re.escape(piece) for piece in pattern.split("*")))


def check_files(config: Config) -> Iterator[Finding]:
    """Yield a finding for every file that cannot be read, and for a user or folder that does not exist."""
    for index, certificate in enumerate(config.certificate):
        yield from _check_certificate(("certificate", index), certificate)
    for index, listener in enumerate(config.listener):
        yield from _check_clients(("listener", index, "tls"), listener.tls)
        if listener.mode == "forward" and listener.forward.users is not None:
            location = ("listener", index, "forward", "users")
            yield from _check_users(location, listener.forward.users)
    for name, upstream in config.upstream.items():
        yield from _check_upstream_tls(("upstream", name, "tls"), upstream.tls)
        place = upstream.asgi.app_dir
        if place is not None and not place.is_dir():
            yield Finding(("upstream", name, "asgi", "app_dir"), f"there is no folder {place}")
    yield from _check_user(config.user)
    if config.log.access not in ("stdout", "off"):
        folder = Path(config.log.access).parent
        if not folder.is_dir():
            yield Finding(("log", "access"), f"there is no folder {folder}")


def _check_clients(location: Location, tls: ListenerTls) -> Iterator[Finding]:
    """Judge the authorities of clients, and their revocation lists beside authorities that can be used."""
    if tls.client_ca is None:
        return
    authorities = _content(tls.client_ca)
    wrong = _wrong_authorities(authorities)
    if wrong:
        yield Finding((*location, "client_ca"), f"{tls.client_ca} {wrong}")
    if tls.client_crl is None:
        return
    lists = _content(tls.client_crl)
    what = "" if isinstance(lists, bytes) else lists
    if isinstance(lists, bytes) and isinstance(authorities, bytes) and not wrong:
        try:
            ClientVerifier(TlsPolicy("", client_auth="required", client_ca=authorities, client_crl=lists))
        except ConfigError as error:
            what = f"cannot be used: {error}"
    if what:
        yield Finding((*location, "client_crl"), f"{tls.client_crl} {what}")


def _check_upstream_tls(location: Location, tls: UpstreamTls) -> Iterator[Finding]:
    """Judge the authorities that an upstream trusts, and our own certificate with its key."""
    if tls.ca is not None and (wrong := _wrong_authorities(_content(tls.ca))):
        yield Finding((*location, "ca"), f"{tls.ca} {wrong}")
    if tls.certificate is None:
        return
    chain = _content(tls.certificate)
    if isinstance(chain, str):
        yield Finding((*location, "certificate"), f"{tls.certificate} {chain}")
    elif not has_certificate(chain):
        yield Finding((*location, "certificate"), f"{tls.certificate} has no certificate in it")
    key = chain if tls.key is None else _content(tls.key)
    if isinstance(key, str):
        if tls.key is not None:
            yield Finding((*location, "key"), f"{tls.key} {key}")
    elif isinstance(chain, bytes) and has_certificate(chain):
        try:
            from_pem(str(tls.certificate), chain, key)
        except IdentityError as error:
            place, file = ("key", tls.key) if tls.key is not None else ("certificate", tls.certificate)
            yield Finding((*location, place), f"{file} cannot be used: {error}")


def _check_users(location: Location, path: Path) -> Iterator[Finding]:
    content = _content(path)
    if isinstance(content, str):
        yield Finding(location, f"{path} {content}")
        return
    try:
        Htpasswd(content)
    except HtpasswdError as error:
        yield Finding(location, f"{path} cannot be used: {error}")


def _wrong_authorities(data: bytes | str) -> str:
    if isinstance(data, str):
        return data
    try:
        return "" if read_certificates(data) else "cannot be used: there is no certificate in it"
    except ConfigError as error:
        return f"cannot be used: {error}"


def _content(path: Path) -> bytes | str:
    """Return what stands in a file, or what is wrong with it."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            return "cannot be used: it is no regular file"  # a pipe would hold the start up for ever
        return path.read_bytes() or "cannot be used: it is empty"
    except OSError as error:
        return f"cannot be read: {error.strerror} (errno {error.errno})"


def _check_certificate(location: Location, certificate: Certificate) -> Iterator[Finding]:
    key = certificate.key
    if key is not None and "*" in key:
        if glob.has_magic(certificate.files.replace("*", "")) or "**" in certificate.files:
            yield Finding((*location, "key"), "only single stars in `files` can be repeated in `key`")
            return
        if key.count("*") != certificate.files.count("*"):
            yield Finding(
                (*location, "key"), "", f"as many stars as in `files` ({certificate.files.count('*')})"
            )
            return
    found = certificate_files(certificate)
    if not found:
        folder, pattern = _split_pattern(certificate.files)
        what = (
            f"nothing in {folder} matches {pattern}"
            if os.path.isdir(folder)
            else f"there is no folder {folder}"
        )
        yield Finding((*location, "files"), what)
    for key_file in sorted({files.key for files in found if files.key is not None}):
        yield from _check_file((*location, "key"), key_file)
    for files in found:
        yield from _check_file((*location, "files"), files.chain)
    yield from _check_file((*location, "issuer"), certificate.issuer)


def _split_pattern(pattern: str) -> tuple[str, str]:
    """Split a glob behind the last folder that has no star."""
    pieces = pattern.split("/")
    first = next(i for i, piece in enumerate(pieces) if glob.has_magic(piece))
    return "/".join(pieces[:first]) or "/", "/".join(pieces[first:])


def _check_file(location: Location, path: Path | None) -> Iterator[Finding]:
    if path is None:
        return
    try:
        # Non-blocking, or a named pipe would hold the start up for ever.
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        yield Finding(location, f"{path} cannot be read: {error.strerror} (errno {error.errno})")


def _check_user(user: str) -> Iterator[Finding]:
    if not user:
        return
    try:
        pwd.getpwnam(user)
    except KeyError:
        yield Finding(("user",), f'there is no user "{user}" on this machine')
        return
    if os.geteuid() != 0 and pwd.getpwuid(os.geteuid()).pw_name != user:
        yield Finding(("user",), "only root can become another user", hint="leave `user` out")
