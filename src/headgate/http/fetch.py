"""What a small HTTP client looks like to those who only need one answer (the stapler, health probes).

The client itself lives in a higher rank (`upstream/fetch.py`) and is injected; this file declares its shape.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class DialAttempt:
    """One address that was tried: `address` is "ip:port" or "[ip]:port", `errno` 0 when it connected, else the
    system's number (ETIMEDOUT when our deadline ended it), `error` its text, `milliseconds` how long it took."""

    address: str
    errno: int
    error: str
    milliseconds: float


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """One request; no redirect is followed. `avoid` names addresses ("ip:port") to be tried last, because the
    attempt before this one failed there. `allow(ip)` False removes an address before it is dialled. `at` is a Unix
    socket ("unix:/path") to be dialled instead of the URL's host, `authority` what Host says instead. With `cut` a
    body that is longer than `max_body` ends there, and is no failure. `preface` is sent before anything else, TLS
    too: a header of the PROXY protocol. `h2`: the server is spoken to in HTTP/2, over TLS if it picks that."""

    method: str
    url: str
    timeout: float
    body: bytes = b""
    content_type: str = ""
    accept: str = ""
    max_body: int = 64 * 1024
    avoid: frozenset[str] = frozenset()
    allow: Callable[[str], bool] | None = None
    at: str = ""
    authority: str = ""
    cut: bool = False
    preface: bytes = b""
    h2: bool = False


@dataclass(frozen=True, slots=True)
class FetchResponse:
    """The answer: field names in lower case, `address` the one that answered, `attempts` all that were dialled."""

    status: int
    headers: dict[str, str]
    body: bytes
    address: str
    milliseconds: float
    attempts: tuple[DialAttempt, ...] = ()


@dataclass(slots=True)
class FetchError(Exception):
    """No answer. `stage` is where it ended: resolve, refused-address, connect, tls, send, head, body, too-large,
    protocol; `address` and `errno` are of the last attempt (`""` and 0 when none was made)."""

    stage: str
    detail: str
    address: str = ""
    errno: int = 0
    milliseconds: float = 0.0
    attempts: tuple[DialAttempt, ...] = field(default=())

    def __str__(self) -> str:
        where = f" at {self.address}" if self.address else ""
        number = f" (errno {self.errno})" if self.errno else ""
        return f"{self.stage}{where}: {self.detail}{number} after {self.milliseconds:.0f} ms"


class Fetch(Protocol):
    """Send one request within its timeout (DNS, all addresses, request and answer). Raises `FetchError`."""

    async def __call__(self, request: FetchRequest) -> FetchResponse: ...
