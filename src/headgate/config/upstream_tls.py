"""TLS towards the endpoints of an upstream: `[upstream.NAME.tls]`."""

from typing import Literal

from headgate.config.kinds import FileName, ServerName
from headgate.config.table import Flag, Table


class UpstreamTls(Table):
    """TLS towards https endpoints."""

    verify: Flag = True
    """Whether the endpoint's certificate must be valid for its name. Switch it off only on a network you own."""
    ca: FileName | None = None
    """PEM file with the authorities that are trusted, read when the gate starts; absent: those of the system."""
    name: ServerName | None = None
    """The name that is asked for (SNI) and that the certificate must carry; absent: the host of the URL."""
    certificate: FileName | None = None
    """PEM file with our own certificate and its intermediates, leaf first, for endpoints that ask for one (mutual
    TLS); read when the gate starts. Workers alone have its key: probes of the keeper go without."""
    key: FileName | None = None
    """PEM file with the private key of `certificate`, unencrypted; absent: it is in the same file."""
    min_version: Literal["1.2", "1.3"] = "1.2"
    """The oldest version of TLS that is spoken to endpoints. HTTP/3 is always 1.3."""
    staple: Literal["ignore", "check", "require"] = "ignore"
    """`check`: the endpoint is asked for an OCSP staple. One that comes must be believable and say good, and one that
    the certificate promises must come; nobody else is asked. `require`: it must come in any case. Reason for
    `ignore`: most origins staple nothing."""
    resumption: Flag = True
    """Whether sessions are resumed: no chain is sent and verified, and the origin signs nothing. A session is used
    for the host and port that gave it, one of TLS 1.3 once, while its certificates and its staple are valid."""
