"""Certificates, and the rules for their OCSP staples."""

from typing import Literal

from headgate.config.kinds import FileName, FilePattern
from headgate.config.table import Table
from headgate.config.units import Duration, DurationOrZero

Stapling = Literal["auto", "off"]
MustStaple = Literal["warn", "refuse"]
Revoked = Literal["withhold", "staple"]


class Ocsp(Table):
    """How staples are fetched and served, for every certificate that does not say otherwise."""

    stapling: Stapling = "auto"
    """`auto`: every certificate that names a responder gets a staple. `off`: none is fetched or sent."""
    must_staple: MustStaple = "warn"
    """What happens while a certificate that promises a staple (RFC 7633) has none: `warn` serves it without, logged
    and counted; `refuse` ends the handshake of clients that asked for a staple."""
    revoked: Revoked = "withhold"
    """What happens when the responder says `revoked`: `withhold` sends no staple, `staple` sends the bad news."""
    timeout: Duration = 10.0
    """For one responder: names, all of its addresses, request and answer. Reason: the next responder must get its
    turn; OpenSSL's client waits for ever."""
    min_interval: Duration = 300.0
    """The shortest time between two fetches of a staple that is still good. Reason: responders are somebody's."""
    max_interval: Duration = 12 * 3600.0
    """The longest time between two fetches. Reason: a revocation should be seen within the day."""
    startup_wait: DurationOrZero = 10.0
    """How long a start waits, before it listens, for the staples of must-staple certificates, for endpoints with
    `start = "wait-for-first-check"`, and for applications. Reason: the first clients would be refused otherwise;
    beyond it one dead responder would keep the whole site down."""


class CertificateOcsp(Table):
    """Overrides `[ocsp]` for one certificate; what is absent is taken from there."""

    stapling: Stapling | None = None
    """As in `[ocsp]`."""
    must_staple: MustStaple | None = None
    """As in `[ocsp]`."""
    revoked: Revoked | None = None
    """As in `[ocsp]`."""
    timeout: Duration | None = None
    """As in `[ocsp]`."""
    min_interval: Duration | None = None
    """As in `[ocsp]`."""
    max_interval: Duration | None = None
    """As in `[ocsp]`."""


class Certificate(Table):
    """Certificate chains with their keys; every https listener offers all of them, picked by server name. File names
    are relative to the folder of the configuration file. A DER response beside a chain, called like it with `.ocsp`
    appended, is read as one more source of its staple."""

    files: FilePattern
    """A file, or a glob such as `"certs/*.pem"`: PEM with the leaf first, then the intermediates, and the key unless
    `key` names it."""
    key: FilePattern | None = None
    """PEM file of the key when it stands apart. With stars in `files`, the stars of `key` stand for the same text:
    `files = "live/*/fullchain.pem"` goes with `key = "live/*/privkey.pem"`."""
    issuer: FileName | None = None
    """PEM file of the issuer, for staples, when the chain does not hold it and the certificate does not say where it
    is."""
    ocsp: CertificateOcsp = CertificateOcsp()


def merged_ocsp(general: Ocsp, override: CertificateOcsp) -> Ocsp:
    """Return the rules of one certificate: its own where it has any, else the general ones."""
    own = {
        name: value for name in CertificateOcsp.model_fields if (value := getattr(override, name)) is not None
    }
    return general.model_copy(update=own)
