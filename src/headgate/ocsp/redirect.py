"""Asking over HTTP with redirects, and where a redirect must not lead.

A redirect is advice from a stranger on the network (responders are asked over plain http). It is followed at most
three times, to http and https only, and never into a network that the responder itself does not live in: a public
responder cannot send the gate to its own loopback, to a private neighbour, or to a cloud's metadata service.
Which address a name has is known only when it is dialled, so the rule is handed to the dialler (`allow`).
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from urllib.parse import urljoin

from headgate.clock import Clock
from headgate.http.fetch import DialAttempt, Fetch, FetchError, FetchRequest, FetchResponse
from headgate.ocsp.settings import MAX_REDIRECTS
from headgate.ocsp.subject import is_usable_url

# 303 asks to turn a POST into a GET without its body, which no responder can answer.
_REDIRECTS: Final = frozenset({301, 302, 307, 308})


class Network(StrEnum):
    """Where an address lies, as far as redirects care."""

    PUBLIC = "public"
    PRIVATE = "private"
    LOOPBACK = "loopback"
    LINK_LOCAL = "link-local"
    NOWHERE = "nowhere"


# RFC 6052: IPv4 addresses as IPv6-only networks see them.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def network_of(ip: str) -> Network:
    """Return where the address `ip` (text, no port) lies; NOWHERE for what is no address or no host's."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return Network.NOWHERE
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address in _NAT64:
            address = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.is_multicast or address.is_unspecified:
        return Network.NOWHERE
    if address.is_loopback:
        return Network.LOOPBACK
    if address.is_link_local:
        return Network.LINK_LOCAL
    return Network.PUBLIC if address.is_global else Network.PRIVATE


def host_of_address(address: str) -> str:
    """Return the ip of "ip:port" or "[ip]:port"."""
    return address.rpartition(":")[0].strip("[]")


def allow_like(address: str) -> Callable[[str], bool]:
    """Return the rule for redirects that came from `address` ("ip:port"): public networks, and its own kind."""
    allowed = frozenset({Network.PUBLIC, network_of(host_of_address(address))}) - {Network.NOWHERE}

    def allow(ip: str) -> bool:
        return network_of(ip) in allowed

    return allow


@dataclass(slots=True)
class Trail:
    """What happened on the way: `address` is the one that the first URL led to, `attempts` all that were dialled."""

    address: str = ""
    hops: int = 0
    milliseconds: float = 0.0
    attempts: tuple[DialAttempt, ...] = ()


async def follow(fetch: Fetch, clock: Clock, request: FetchRequest, trail: Trail) -> FetchResponse:
    """Send `request`, follow redirects within its timeout, and return the first answer that is none; `trail` is
    filled on success and failure alike.

    Raises: FetchError; its stage is "redirect" when a redirect was not followed."""
    deadline = clock.now() + request.timeout
    while True:
        try:
            response = await fetch(request)
        except FetchError as error:
            _note(trail, error.address, error.milliseconds, error.attempts)
            raise
        _note(trail, response.address, response.milliseconds, response.attempts)
        if response.status not in _REDIRECTS:
            return response
        trail.hops += 1
        url = _target(request.url, response, trail)
        left = deadline - clock.now()
        if left <= 0:
            raise _refused(response, trail, "no time left to follow the redirect")
        # What failed at the first host says nothing about the next: `avoid` is not carried along.
        request = replace(request, url=url, timeout=left, avoid=frozenset(), allow=allow_like(trail.address))


def _note(trail: Trail, address: str, milliseconds: float, attempts: tuple[DialAttempt, ...]) -> None:
    trail.milliseconds += milliseconds
    trail.attempts += attempts
    if not trail.hops:
        trail.address = address


def _target(base: str, response: FetchResponse, trail: Trail) -> str:
    if trail.hops > MAX_REDIRECTS:
        raise _refused(response, trail, f"more than {MAX_REDIRECTS} redirects")
    location = response.headers.get("location", "")
    if not location:
        raise _refused(response, trail, f"{response.status} without Location")
    try:
        url = urljoin(base, location)
    except ValueError as error:
        raise _refused(response, trail, f"Location cannot be read: {error}") from error
    if not is_usable_url(url):
        raise _refused(response, trail, f"to {url[:200]!r}, which is no http or https URL that we follow")
    return url


def _refused(response: FetchResponse, trail: Trail, detail: str) -> FetchError:
    return FetchError("redirect", detail, response.address, 0, trail.milliseconds, trail.attempts)
