"""TLS towards the endpoints of an upstream, as its table and the Snapshot say: for requests, and for probes."""

import functools
from collections.abc import Sequence
from typing import Final

from cryptography.x509 import Certificate

from headgate.clock import Clock
from headgate.config.upstream import Upstream
from headgate.ocsp.peer import check_staple
from headgate.process.channel import Json
from headgate.process.upstream_files import authorities_of, identity_of
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.tls.sessions import CheckStaple

# Over TCP; of an upstream that has HTTP/3 alone nobody asks.
ALPN: Final = {"h1": b"http/1.1", "h2": b"h2"}


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
        alpn=_alpn(table.protocols, probing),
        min_version=table.tls.min_version,
        resumption=table.tls.resumption and not probing,
    )
    check: CheckStaple | None = None
    if table.tls.verify and table.tls.staple != "ignore":
        check = functools.partial(_check_staple, clock, table.tls.staple == "require")
    return ClientTls(settings, check, clock)


def _alpn(protocols: tuple[str, ...], probing: bool) -> tuple[bytes, ...]:
    """Return what is offered to origins; probes are of HTTP/1.1 where that is spoken at all."""
    if probing and "h1" in protocols:
        return (ALPN["h1"],)
    return tuple(ALPN[protocol] for protocol in protocols if protocol in ALPN) or (ALPN["h1"],)


def _check_staple(clock: Clock, is_required: bool, chain: Sequence[Certificate], staple: bytes) -> None:
    check_staple(chain, staple, clock.wall(), is_required=is_required)
