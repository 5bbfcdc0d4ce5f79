"""Clients of HTTP/1.1 over TLS, HTTP/2 and HTTP/3 that ask in the same words, each time on a connection of its own.

client = CLIENTS["h2"](port)
got = client.ask("/page", if_none_match='"a"')     # got.status, got.get("age"), got.body
flow = client.begin("/film")                       # its head is there
flow.read(1000), flow.rest(), flow.leave()
"""

import http.client
import ssl
from abc import ABC, abstractmethod
from typing import Final

from headgate.engine.events import NO_BODY
from headgate.testing.h2_client import H2Client
from headgate.testing.h3_client import H3Client, Reply

NAME: Final = "a.test"
PATIENCE: Final = 20.0


class Flow(ABC):
    """One answer whose head is there."""

    status: int
    body: bytes

    @abstractmethod
    def get(self, name: str) -> str | None:
        """Return the value of a field."""

    @abstractmethod
    def read(self, count: int) -> None:
        """Have `count` octets of content, or more, in `body`."""

    @abstractmethod
    def rest(self) -> bytes:
        """Return all of the content, once it has come to its end."""

    @abstractmethod
    def leave(self) -> None:
        """Close the connection."""

    @property
    def cache(self) -> str:
        return self.get("cache-status") or ""


class H1Flow(Flow):
    def __init__(self, port: int, method: str, path: str, fields: dict[str, str]) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.set_alpn_protocols(["http/1.1"])
        self._connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=context)
        self._connection.request(method, path, headers={"Host": NAME, **fields})
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.body = b""

    def get(self, name: str) -> str | None:
        return self._response.headers.get(name)

    def read(self, count: int) -> None:
        self.body += self._response.read(max(count - len(self.body), 0))

    def rest(self) -> bytes:
        self.body += self._response.read()
        return self.body

    def leave(self) -> None:
        self._response.close()
        self._connection.close()


class LaneFlow(Flow):
    """Of HTTP/2 and HTTP/3, whose clients have answers alike."""

    def __init__(self, client: H2Client | H3Client, reply: Reply) -> None:
        self._client = client
        self._reply = reply
        client.run_until(lambda: reply.status or reply.failed, "the head")

    @property
    def status(self) -> int:  # type: ignore[override]
        return self._reply.status

    @property
    def body(self) -> bytes:  # type: ignore[override]
        return self._reply.body

    def get(self, name: str) -> str | None:
        return self._reply.get(name)

    def read(self, count: int) -> None:
        self._client.run_until(lambda: len(self._reply.body) >= count or self._reply.is_over, "content")

    def rest(self) -> bytes:
        self._client.run_until(lambda: self._reply.is_over, "the end")
        assert self._reply.failed is None
        return self._reply.body

    def leave(self) -> None:
        self._client.close()


class Client(ABC):
    """`port` is of a listener with TLS."""

    def __init__(self, port: int) -> None:
        self.port = port

    def begin(self, path: str, method: str = "GET", **fields: str) -> Flow:
        """Ask, and wait for the head. Underscores in names of fields stand for hyphens."""
        return self._begin(path, method, {name.replace("_", "-"): value for name, value in fields.items()})

    def ask(self, path: str, method: str = "GET", **fields: str) -> Flow:
        """Ask, and wait for all of the answer."""
        flow = self.begin(path, method, **fields)
        flow.rest()
        flow.leave()
        return flow

    @abstractmethod
    def _begin(self, path: str, method: str, fields: dict[str, str]) -> Flow: ...


class H1(Client):
    def _begin(self, path: str, method: str, fields: dict[str, str]) -> Flow:
        return H1Flow(self.port, method, path, fields)


class H2(Client):
    def _begin(self, path: str, method: str, fields: dict[str, str]) -> Flow:
        client = H2Client(("127.0.0.1", self.port), NAME)
        _, reply = client.begin(method, path, body=NO_BODY, fields=fields)
        return LaneFlow(client, reply)


class H3(Client):
    def _begin(self, path: str, method: str, fields: dict[str, str]) -> Flow:
        client = H3Client(("127.0.0.1", self.port), NAME)
        return LaneFlow(client, client.ask(path, method=method, fields=fields))


CLIENTS: Final[dict[str, type[Client]]] = {"h1": H1, "h2": H2, "h3": H3}
