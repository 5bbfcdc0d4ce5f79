"""TLS towards the endpoints of an upstream, as its table and the Snapshot say: for requests, and for probes."""

import functools
from collections.abc import Sequence

from cryptography.x509 import Certificate

from headgate.clock import Clock
from headgate.config.upstream import Upstream
from headgate.ocsp.peer import check_staple
from headgate.process.channel import Json
from headgate.process.upstream_files import authorities_of, identity_of
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.tls.sessions import CheckStaple


def client_tls(
    name: str, table: Upstream, files: dict[str, Json], clock: Clock, *, probing: bool = False
) -> ClientTls | None:
    """Return the context of one upstream, None where nothing is encrypted. A probe makes full handshakes, in which
    the certificate is verified. Raises `ConfigError` when authorities or certificate cannot be used."""
    if not any(endpoint.url.startswith("https:") for endpoint in table.endpoints):
        return None
    settings = ClientTlsSettings(
        verify=table.tls.verify,
        authorities=authorities_of(files, name),
        name=table.tls.name or "",
        identity=identity_of(files, name),
        min_version=table.tls.min_version,
        resumption=table.tls.resumption and not probing,
    )
    check: CheckStaple | None = None
    if table.tls.verify and table.tls.staple != "ignore":
        check = functools.partial(_check_staple, clock, table.tls.staple == "require")
    return ClientTls(settings, check, clock)


def _check_staple(clock: Clock, is_required: bool, chain: Sequence[Certificate], staple: bytes) -> None:
    check_staple(chain, staple, clock.wall(), is_required=is_required)
