"""One probe of one endpoint: a connection, a TLS handshake, or a request whose answer is looked at.

It uses what requests use: the dialer (all addresses of a name, both families), and the upstream's TLS settings, with
verification and name check. It does not use the pool: a probe that went over an old connection would say that the
connection lives, and nothing of the next one. HTTP probes are HTTP/1.1, or HTTP/2 where the endpoints are spoken to
in nothing else.
"""

import asyncio
import errno
from dataclasses import dataclass
from typing import Final, final

from headgate.errors import ConfigError, TransportError
from headgate.http.fetch import FetchError, FetchRequest
from headgate.net.dialer import Dialed, Dialer, DialError
from headgate.tls.client import ClientTls
from headgate.upstream.fetch import Fetcher
from headgate.upstream.readiness import handshake

MAX_BODY: Final = 64 * 1024  # of an answer, in which the expected text must stand
_WHY: Final = 300  # characters of what failed: it travels to every worker


@dataclass(frozen=True, slots=True)
class Target:
    """What is probed: an endpoint by its URL; `at` is dialled (a host, or "unix:/path"), `host` is asked for and
    stands in the certificate. `scheme` is http, https or tcp."""

    url: str
    scheme: str
    host: str
    port: int
    at: str


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How the endpoints of one upstream are probed. `statuses` are ranges, both ends included; `authority` is the
    Host of the request, "" for the target's own; `preface` is sent first (a header of the PROXY protocol)."""

    kind: str = "http"  # http, tls or tcp
    timeout: float = 2.0
    method: str = "GET"
    path: str = "/"
    authority: str = ""
    statuses: tuple[tuple[int, int], ...] = ((200, 399),)
    body: bytes = b""
    preface: bytes = b""
    h2: bool = False


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """How it ended: `why` says it in words, `address` and `errno` are of the last address that was tried."""

    is_well: bool
    why: str
    address: str = ""
    errno: int = 0
    milliseconds: float = 0.0


@final
class Prober:
    """Sends the probes of one upstream. Raises nothing but what is a defect."""

    def __init__(self, settings: ProbeSettings, dialer: Dialer, tls: ClientTls | None) -> None:
        self._settings = settings
        self._dialer = dialer
        self._tls = tls
        self._fetcher = Fetcher(dialer, tls=tls)

    def __repr__(self) -> str:
        return f"<Prober {self._settings.kind} {self._settings.path}>"

    async def __call__(self, target: Target) -> ProbeResult:
        """Probe a target, within the timeout."""
        try:
            if self._settings.kind == "http":
                return await self._request(target)
            return await self._connect(target)
        except FetchError as error:
            return ProbeResult(
                False, f"{error.stage}: {error.detail}"[:_WHY], error.address, error.errno, error.milliseconds
            )

    async def _request(self, target: Target) -> ProbeResult:
        settings = self._settings
        name = f"[{target.host}]" if ":" in target.host else target.host
        answer = await self._fetcher(
            FetchRequest(
                settings.method,
                f"{target.scheme}://{name}:{target.port or 80}{settings.path}",
                settings.timeout,
                max_body=MAX_BODY if settings.body else 0,
                at=target.at,
                authority=settings.authority,
                cut=True,
                preface=settings.preface,
                h2=settings.h2,
            )
        )
        problem = ""
        if not any(low <= answer.status <= high for low, high in settings.statuses):
            wanted = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in settings.statuses)
            problem = f"status {answer.status}, expected {wanted}"
        elif settings.body and settings.body not in answer.body:
            problem = (
                f"status {answer.status}, and the expected text is not in the first {len(answer.body)} bytes"
            )
        return ProbeResult(
            not problem, problem or f"status {answer.status}", answer.address, 0, answer.milliseconds
        )

    async def _connect(self, target: Target) -> ProbeResult:
        loop = asyncio.get_running_loop()
        began = loop.time()
        timeout = self._settings.timeout
        try:
            dialed = await self._dialer.dial(target.at, target.port, timeout=timeout)
        except DialError as error:
            milliseconds = (loop.time() - began) * 1000
            return ProbeResult(
                False, f"{error.reason}: {error.detail}"[:_WHY], error.address, error.errno, milliseconds
            )
        try:
            if self._settings.preface:
                dialed.sock.send(self._settings.preface)  # the buffer of a fresh socket takes it
        except OSError as error:
            dialed.sock.close()
            why, number = f"send: {error.strerror}", error.errno or errno.EIO
            return ProbeResult(False, why, dialed.address, number, (loop.time() - began) * 1000)
        if self._settings.kind == "tcp" or self._tls is None:
            dialed.sock.close()
            return ProbeResult(True, "connected", dialed.address, 0, (loop.time() - began) * 1000)
        why, number = await self._handshake(dialed, target, began + timeout)
        milliseconds = (loop.time() - began) * 1000
        return ProbeResult(not why, why or "TLS handshake", dialed.address, number, milliseconds)

    async def _handshake(self, dialed: Dialed, target: Target, deadline: float) -> tuple[str, int]:
        """Return what went wrong with its errno, ("", 0) when nothing did."""
        if self._tls is None:
            raise ValueError("a handshake without TLS settings")
        transport = self._tls.connect(dialed.sock, target.host)
        try:
            async with asyncio.timeout_at(deadline):
                await handshake(transport)
        except TimeoutError:
            return f"tls: no handshake within {self._settings.timeout:g} s", errno.ETIMEDOUT
        except TransportError as error:
            return f"tls: {error}"[:_WHY], error.errno
        except ConfigError as error:
            return f"tls: {error}"[:_WHY], 0
        finally:
            transport.close()
        return "", 0
