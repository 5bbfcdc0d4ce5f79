"""The stapler's settings: the table `[ocsp]` of the configuration, and the limits that are not configurable."""

from dataclasses import dataclass
from typing import Final

MAX_BODY: Final = 64 * 1024
"""Largest answer read. A response with a delegate's RSA-4096 chain is about 6 KiB; HAProxy reads 16 kB."""

MAX_REDIRECTS: Final = 3
"""Redirects followed in one conversation."""

MAX_RESPONDERS: Final = 4
"""Responder URLs of one certificate that are used, in the certificate's order. Public CAs name one."""

MAX_URL: Final = 2048
"""Longest URL taken from a certificate or a Location field."""

MAX_AVOID: Final = 16
"""Addresses of one responder remembered as having failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OcspSettings:
    """Durations are seconds.

    `timeout` bounds one conversation with one responder: name resolution, all addresses, request and answer.
    `min_interval` and `max_interval` bound the time between two refreshes of one staple. `concurrent` fetches run
    at once, `per_host` of them towards one host, `per_failing_host` towards a host whose last fetch failed. When
    all are taken, a certificate that was never tried may displace a fetch that has waited `patience` for its
    responder (the displaced one begins again behind all first tries).
    """

    timeout: float = 10.0
    min_interval: float = 300.0
    max_interval: float = 43_200.0
    concurrent: int = 64
    per_host: int = 2
    per_failing_host: int = 1
    patience: float = 1.0
