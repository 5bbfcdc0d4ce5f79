"""Certificates on their way: from the shelf of files (tls/watch) into Snapshots, and back in a child.

The supervisor reads and checks the files; children get text. A file that cannot be used is told once for each
reason, and what served before it goes on.
"""

from collections.abc import Callable, Sequence
from typing import Final

from headgate.clock import Clock
from headgate.config.model import Config
from headgate.process.channel import Json
from headgate.process.client_files import ClientFiles
from headgate.process.parts import Events
from headgate.process.snapshot import Certificate
from headgate.process.sticky_key import load_sticky_key
from headgate.process.upstream_files import read_upstreams
from headgate.process.user_files import UserFiles
from headgate.tls.files import CertificateFiles, Problem
from headgate.tls.identity import Identity, StapleRules, from_pem
from headgate.tls.watch import CertificateShelf

_NEXT: Final = {
    (True, False): "it is not served",
    (False, True): "the one of before is served until the file can be used",
    (False, False): "it is served",
}


def rules_of(config: Config, section: int) -> StapleRules:
    """Return what is done with the staples of one [[certificate]] table."""
    ocsp = config.ocsp_of(config.certificate[section])
    return StapleRules(ocsp.stapling, ocsp.must_staple, ocsp.revoked)


def tables_of(config: Config) -> list[CertificateFiles]:
    """Return the [[certificate]] tables as the shelf wants them."""
    return [
        CertificateFiles(
            str(table.files),
            str(table.key or ""),
            str(table.issuer or ""),
            rules=rules_of(config, section),
            section=section,
        )
        for section, table in enumerate(config.certificate)
    ]


class ShelfSource:
    """The supervisor's `CertificateSource`. `tend` is called at every poll (ticket rings let go of old
    keys)."""

    def __init__(
        self, config: Config, clock: Clock, events: Events, tend: Callable[[], None] = lambda: None
    ) -> None:
        self._config = config
        self._clients = ClientFiles(config, clock, events)
        self._users = UserFiles(config, events)
        self._upstreams: dict[str, Json] = {}
        self._shelf = CertificateShelf(tables_of(config), clock)
        self._events = events
        self._tend = tend
        self._told: dict[str, Problem] = {}

    def load(self) -> Sequence[Certificate]:
        """Read everything; what cannot be used is told. Raises `ConfigError` for unusable authorities and users."""
        self._clients.load()
        self._users.load()
        self._upstreams = read_upstreams(self._config)
        if any(table.sticky_cookie is not None for table in self._config.upstream.values()):
            self._upstreams.update(load_sticky_key(self._config.state_dir, self._events))
        identities = self._shelf.load()
        self._tell()
        return [encode_identity(identity) for identity in identities]

    def poll(self) -> Sequence[Certificate] | None:
        """Look for changes; None when there are none."""
        self._tend()
        identities: Sequence[Identity] | None = self._shelf.poll()
        self._tell()
        changed = self._clients.poll()
        changed |= self._users.poll()
        if changed and identities is None:
            identities = self._shelf.identities()
        return None if identities is None else [encode_identity(identity) for identity in identities]

    def clients(self) -> dict[str, Json]:
        """Return the client authorities and CRLs, for a Snapshot."""
        return self._clients.to_json()

    def users(self) -> dict[str, Json]:
        """Return the users of forward listeners, for a Snapshot."""
        return self._users.to_json()

    def upstreams(self) -> dict[str, Json]:
        """Return the authorities of upstreams, for a Snapshot."""
        return self._upstreams

    def identities(self) -> Sequence[Identity]:
        """Return what is served now."""
        return self._shelf.identities()

    def problems(self) -> dict[str, str]:
        """Return what is wrong now, by file."""
        found = self._clients.problems()
        found.update(self._users.problems())
        for problem in self._told.values():
            before = found.get(problem.file)
            found[problem.file] = f"{before}; {problem.reason}" if before else problem.reason
        return found

    def _tell(self) -> None:
        now = {str(problem): problem for problem in self._shelf.problems()}
        for text, problem in now.items():
            if text not in self._told:
                self._events.event(
                    "certificate-problem",
                    "error" if problem.failed else "warning",
                    limit_key=problem.file,
                    file=problem.file,
                    reason=problem.reason,
                    next=_NEXT[problem.fatal, problem.kept],
                )
        for text, problem in self._told.items():
            # A file that can be used again is mended though warnings about it remain.
            if text not in now and not any(
                other.file == problem.file and (other.failed or not problem.failed) for other in now.values()
            ):
                self._events.event("certificate-mended", limit_key=problem.file, file=problem.file)
        self._told = now


def encode_identity(identity: Identity) -> Certificate:
    """Return an identity as it travels."""
    return Certificate(
        name=identity.name,
        section=identity.section,
        chain=identity.chain_pem.decode("latin-1"),
        fingerprint=identity.fingerprint,
        key=identity.key_pem.decode("latin-1"),
        issuer=identity.issuer_pem.decode("latin-1"),
        response=identity.response,
        must_staple=identity.must_staple,
    )


def is_identity_of(certificate: Certificate, identity: Identity) -> bool:
    """Tell whether an identity is what `decode_identity` would return: the leaf alone does not say that, its
    intermediates or its table may be others."""
    return (
        identity.fingerprint == certificate.fingerprint
        and identity.section == certificate.section
        and identity.chain_pem == certificate.chain.encode("latin-1")
        and identity.key_pem == certificate.key.encode("latin-1")
    )


def decode_identity(certificate: Certificate, config: Config) -> Identity:
    """Return the identity that a worker serves. Raises `IdentityError`, though the supervisor made it
    before."""
    return from_pem(
        certificate.name,
        certificate.chain.encode("latin-1"),
        certificate.key.encode("latin-1"),
        rules=rules_of(config, certificate.section),
        section=certificate.section,
        issuer_pem=certificate.issuer.encode("latin-1"),
        response=certificate.response,
    )
