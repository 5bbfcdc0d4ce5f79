"""Services by name: SRV records (RFC 2782), each a host, a port, a priority and a weight.

Only what can be dialled is returned: a record whose target is the root says that the service is not there, and one
with port 0 says nothing. Targets are names; who dials them resolves them as any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import dns.exception
import dns.rcode
import dns.rdatatype

from headgate.net.resolver import ResolveError, Resolver

# Services publish a handful; each becomes an endpoint with a pool of its own.
MAX_SERVICES: Final = 128


@dataclass(frozen=True, slots=True)
class Service:
    """One place where the service is; the lowest priority is asked first."""

    host: str
    port: int
    priority: int
    weight: int


async def lookup_srv(resolver: Resolver, name: str, *, timeout: float) -> tuple[list[Service], float]:
    """Return the places of a service such as "_http._tcp.example.com", and for how many seconds they are good.

    Raises `ResolveError`."""
    answer = await resolver.records(name, dns.rdatatype.SRV, timeout=timeout)
    try:
        chain = answer.message.resolve_chaining()
    except dns.exception.DNSException as error:
        detail = f"{answer.server}: {error or type(error).__name__}"
        raise ResolveError(name, "failure", detail) from None
    if answer.message.rcode() == dns.rcode.NXDOMAIN:
        raise ResolveError(name, "not-found", f"NXDOMAIN from {answer.server}")
    services = [
        Service(text.removesuffix("."), record.port, record.priority, record.weight)
        for record in (chain.answer if chain.answer is not None else ())
        if (text := record.target.to_text().lower()) != "." and record.port
    ]
    services.sort(key=lambda service: (service.priority, service.host, service.port))
    return services[:MAX_SERVICES], float(chain.minimum_ttl)
