"""Certificate files: from the paths and globs of the configuration to identities.

One broken file is a `Problem` that names the file and the reason; the others still load. What is where:

- `files` is a path or a glob of chain files: PEM, leaf first, then intermediates, and maybe the key.
- The key is in the chain file, else where `key` says, whose stars stand for the same text as those of `files`
  (`live/*/fullchain.pem` with `live/*/privkey.pem`), else beside it as CHAIN.key (a.pem.key) or with the suffix
  `.key` (a.key).
- A DER response called CHAIN.ocsp beside the chain is one more source of its staple; `issuer` names its issuer's
  PEM when the chain lacks it. Neither is believed here: that is the stapler's work.
"""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from headgate.tls.identity import (
    DEFAULT_RULES,
    Identity,
    IdentityError,
    StapleRules,
    date_warnings,
    from_pem,
    has_certificate,
    has_key,
)

# A chain with its key is some 5 KB; what is beyond this is no certificate file.
MAX_FILE: Final = 1024 * 1024
# What the stapler accepts at most from a responder, design 7.
MAX_RESPONSE: Final = 64 * 1024
_MAGIC: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """One [[certificate]] table: `files` and `key` are paths or globs, `section` is the table's place."""

    files: str
    key: str = ""
    issuer: str = ""
    rules: StapleRules = DEFAULT_RULES
    section: int = 0


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with which file. `fatal`: it is not served; `kept`: what it held before is; else it is served,
    and this is a warning."""

    file: str
    reason: str
    fatal: bool = True
    kept: bool = False

    @property
    def failed(self) -> bool:
        """Whether the file as it is now cannot be used."""
        return self.fatal or self.kept

    def __str__(self) -> str:
        return f"{self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Place:
    """One chain file and what belongs to it; `key` "" means: in the chain file or beside it."""

    chain: str
    key: str
    table: CertificateFiles

    @property
    def from_glob(self) -> bool:
        return _MAGIC.search(self.table.files) is not None

    def paths(self) -> tuple[str, ...]:
        """Return every file whose change may change this identity, whether it exists or not."""
        keys = (self.key,) if self.key else (f"{self.chain}.key", _with_suffix(self.chain))
        issuer = (self.table.issuer,) if self.table.issuer else ()
        return (self.chain, *keys, f"{self.chain}.ocsp", *issuer)


def load_identities(tables: Sequence[CertificateFiles], wall: float) -> tuple[list[Identity], list[Problem]]:
    """Load every certificate file; what cannot be used is in the second list, with warnings about the rest.

    `wall` (seconds since the epoch) is what their dates are compared with. Never raises on what is in a file.
    """
    places, problems = find_places(tables)
    identities: list[Identity] = []
    for place in places:
        try:
            identity = load_place(place)
        except NotACertificateError:
            continue
        except IdentityError as error:
            problems.append(Problem(place.chain, str(error)))
            continue
        identities.append(identity)
        problems += warnings_of(identity, wall)
    return identities, problems


def warnings_of(identity: Identity, wall: float) -> Iterable[Problem]:
    """Yield what is odd about an identity that is served."""
    for reason in (*identity.warnings, *date_warnings(identity, wall)):
        yield Problem(identity.name, reason, fatal=False)


class NotACertificateError(IdentityError):
    """A file that a glob caught and that holds no certificate, such as the key beside it: no problem."""


def find_places(tables: Sequence[CertificateFiles]) -> tuple[list[Place], list[Problem]]:
    """Expand the globs, each in the order of its names; a file that two tables name belongs to the first."""
    places: dict[str, Place] = {}
    problems: list[Problem] = []
    for table in tables:
        if _MAGIC.search(table.files) is None:
            places.setdefault(table.files, Place(table.files, table.key, table))
            continue
        found = sorted(glob.glob(table.files))
        if not found:
            problems.append(Problem(table.files, "no file is called like this"))
        for chain in found:
            if not chain.endswith((".ocsp", ".key")):
                places.setdefault(chain, Place(chain, _key_for(chain, table), table))
    return list(places.values()), problems


def load_place(place: Place) -> Identity:
    """Read one chain file and what belongs to it. Raises `IdentityError` with the reason."""
    chain = _read(place.chain, MAX_FILE)
    if not has_certificate(chain):
        if place.from_glob and has_key(chain):
            raise NotACertificateError("there is no certificate in it, only a key")
        raise IdentityError("there is no certificate in it")
    key = _find_key(place, chain)
    issuer = _read(place.table.issuer, MAX_FILE) if place.table.issuer else b""
    response, trouble = _response(f"{place.chain}.ocsp")
    return from_pem(
        place.chain,
        chain,
        key,
        rules=place.table.rules,
        section=place.table.section,
        issuer_pem=issuer,
        response=response,
        warning=trouble,
    )


def _find_key(place: Place, chain: bytes) -> bytes:
    if place.key:
        return _read(place.key, MAX_FILE)
    if has_key(chain):
        return chain
    beside = [path for path in (f"{place.chain}.key", _with_suffix(place.chain)) if os.path.exists(path)]
    if not beside:
        raise IdentityError("there is no private key in it, nor beside it, and `key` names none")
    return _read(beside[0], MAX_FILE)


def _with_suffix(chain: str) -> str:
    return os.path.splitext(chain)[0] + ".key"


def _key_for(chain: str, table: CertificateFiles) -> str:
    """Return the path of `chain`'s key: the stars of `key` stand for what those of `files` matched."""
    if not table.key or "*" not in table.key:
        return table.key
    pattern = "".join(
        "([^/]*)" if part == "*" else re.escape(part) for part in re.split(r"(\*)", table.files)
    )
    match = re.fullmatch(pattern, chain)
    if match is None:
        return table.key
    texts = iter(match.groups())
    return "".join(next(texts, "*") if part == "*" else part for part in re.split(r"(\*)", table.key))


def _read(path: str, limit: int) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise IdentityError(f"cannot read {path}: {error.strerror or error} (errno {error.errno})") from error
    if len(data) > limit:
        raise IdentityError(f"{path} is larger than {limit} bytes")
    return data


def _response(path: str) -> tuple[bytes, str]:
    """Return the response beside a chain, b"" when there is none, and why it could not be read.

    Whether it is any good is the stapler's to say.
    """
    try:
        return (_read(path, MAX_RESPONSE) if os.path.exists(path) else b""), ""
    except IdentityError as error:
        return b"", f"{error}; its staple comes from elsewhere"
