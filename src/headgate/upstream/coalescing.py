"""Connections of HTTP/2 that more than one endpoint may use (RFC 9113 section 9.1.1), in one worker.

An endpoint that is about to dial uses a connection that is open already, to another endpoint, when all of this holds:

    the same address and port      one that its own name resolves to now
    the same trust                 authorities, verification, staples, versions of TLS, and our own certificate
    its name                       the certificate that was shown there is for it too (RFC 9525)

Whoever does not verify shares nothing: a certificate that nobody has looked at allows nothing. What an origin thinks
of it, it says with 421: then the endpoint keeps to connections of its own (`H2Pool.misdirected`).
"""

from __future__ import annotations

from typing import Final, Protocol, final

from headgate.connection.h2_upstream import H2Upstream
from headgate.net.addresses import Address
from headgate.net.resolver import ResolveError
from headgate.tls.transport import TlsTransport
from headgate.tls.verdict import wrong_name
from headgate.upstream.h2_pool import H2Pool, Trust

# For the look-up before a dial, which then finds its answer kept.
_TIMEOUT: Final = 2.0


class Addresses(Protocol):
    """Where names are looked up."""

    async def resolve(self, host: str, *, timeout: float) -> tuple[Address, ...]:
        """Return all addresses of a name. Raises `ResolveError`."""
        ...


@final
class Coalescer:
    """The open connections of one worker, by address."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._open: dict[str, list[tuple[Trust, H2Upstream]]] = {}

    def __repr__(self) -> str:
        return f"<Coalescer {sum(map(len, self._open.values()))} connections>"

    def add(self, pool: H2Pool, driver: H2Upstream) -> None:
        """A connection was opened."""
        place = pool.place
        if place is not None and isinstance(driver.transport, TlsTransport):
            self._open.setdefault(driver.transport.peer, []).append((place.trust, driver))

    def remove(self, driver: H2Upstream) -> None:
        """It is over."""
        peer = driver.transport.peer
        left = [entry for entry in self._open.get(peer, ()) if entry[1] is not driver]
        if left:
            self._open[peer] = left
        else:
            self._open.pop(peer, None)

    async def find(self, pool: H2Pool) -> H2Upstream | None:
        """Return a connection with room that may carry the endpoint's requests, None when there is none."""
        place = pool.place
        if place is None or not any(
            trust == place.trust for entries in self._open.values() for trust, _ in entries
        ):
            return None
        try:
            addresses = await self._addresses.resolve(pool.host, timeout=_TIMEOUT)
        except ResolveError:
            return None  # the dial says what is wrong
        for address in addresses:
            for trust, driver in self._open.get(address.text(place.port), ()):
                if trust == place.trust and driver.room_left() > 0 and _is_for(driver, place.name):
                    return driver
        return None


def _is_for(driver: H2Upstream, name: str) -> bool:
    """Tell whether the certificate that was shown on a connection is for `name`."""
    transport = driver.transport
    conn = transport.connection if isinstance(transport, TlsTransport) else None
    return conn is not None and not wrong_name(conn.get_peer_certificate(as_cryptography=True), name)
