"""A small HTTP client for one answer at a time: what staples, issuers and health are fetched with.

    resolve and dial (net/dialer) -> TLS, verified (tls/client) -> request -> head -> body -> close

Everything happens inside the request's one timeout and within its limits, on a connection of its own that is closed
afterwards. It speaks HTTP/1.1, and HTTP/2 to those who are known to want nothing else. What framing may add to a body
(chunk extensions, interim responses, trailers) is the engine's to bound. No redirect is followed: whether to go
elsewhere is the caller's decision. Any end other than an answer is a `FetchError` that says at which stage it came,
at which address, with which errno, and what was dialled before.
"""

import asyncio
import errno
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from headgate import __version__
from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h1.client import ClientEngine
from headgate.engine.h2.connection import H2Connection
from headgate.engine.h2.settings import H2Settings
from headgate.engine.message.events import StreamFailed
from headgate.errors import ConfigError, RemoteProtocolError, TransportError
from headgate.http.fetch import FetchError, FetchRequest, FetchResponse
from headgate.http.fields import Fields
from headgate.net.dialer import Dialed, Dialer, DialError
from headgate.net.tcp import TcpTransport
from headgate.net.transport import Transport
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.upstream.readiness import handshake, ready

MAX_HEAD: Final = (
    16 * 1024
)  # nginx takes 4 or 8 KiB from an upstream, curl 100; an OCSP responder sends half of one
READ_SIZE: Final = 16 * 1024
OUTPUT: Final = 1 << 20  # of a request, and of answers to frames: there is never more
H2_ALPN: Final = b"h2"
USER_AGENT: Final = f"headgate/{__version__}".encode("ascii")

_is_url: Final = re.compile(r"[!-~]+").fullmatch
_PORTS: Final = {"http": 80, "https": 443}
_STAGES: Final = {"resolve": "resolve", "refused-address": "refused-address"}


@dataclass(frozen=True, slots=True)
class _Url:
    """The parts of a URL that a request is made of; `authority` is what Host says."""

    scheme: str
    host: str
    port: int
    authority: str
    target: str


@dataclass(slots=True)
class _Progress:
    """How far a fetch has come, for the error that may end it."""

    began: float
    stage: str = "resolve"
    dialed: Dialed | None = None
    received: int = 0

    def error(self, stage: str, detail: str, number: int = 0) -> FetchError:
        return FetchError(
            stage,
            detail,
            self.dialed.address if self.dialed is not None else "",
            number,
            _milliseconds_since(self.began),
            self.dialed.attempts if self.dialed is not None else (),
        )


@dataclass(slots=True)
class _Answer:
    """A response as it comes together."""

    limit: int
    cut: bool = False  # what is longer than the limit ends there
    head: Response | None = None
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False


class Fetcher:
    """Implements `headgate.http.fetch.Fetch`. For https `authorities` (PEM) replace the system's, or `tls` says
    all."""

    def __init__(self, dialer: Dialer, *, authorities: bytes = b"", tls: ClientTls | None = None) -> None:
        self._dialer = dialer
        self._authorities = authorities
        self._tls = tls

    async def __call__(self, request: FetchRequest) -> FetchResponse:
        """Send `request` and return its answer. Raises `FetchError`, within the request's timeout."""
        began = asyncio.get_running_loop().time()
        progress = _Progress(began)
        url = _parse_url(request.url, progress)
        try:
            dialed = await self._dialer.dial(
                request.at or url.host,
                url.port,
                timeout=request.timeout,
                avoid=request.avoid,
                allow=request.allow,
            )
        except DialError as error:
            stage = _STAGES.get(error.reason, "connect")
            milliseconds = _milliseconds_since(began)
            raise FetchError(
                stage, error.detail, error.address, error.errno, milliseconds, error.attempts
            ) from error
        progress.dialed = dialed
        transport: Transport = TcpTransport(dialed.sock)
        try:
            async with asyncio.timeout_at(began + request.timeout):
                if request.preface:
                    progress.stage = "send"
                    await _write(transport, request.preface)
                if url.scheme == "https":
                    progress.stage = "tls"
                    transport = self._client_tls().connect(dialed.sock, url.host.rstrip("."))
                    await handshake(transport)
                speak = _exchange_h2 if request.h2 else _exchange
                answer = await speak(transport, request, url, progress)
        except TimeoutError:
            raise progress.error(progress.stage, _silence(request, progress), errno.ETIMEDOUT) from None
        except TransportError as error:
            raise progress.error(progress.stage, str(error), error.errno) from error
        except RemoteProtocolError as error:
            raise progress.error(_stage_of(error, progress), str(error)) from error
        except ConfigError as error:
            raise progress.error("tls", str(error)) from error
        finally:
            transport.close()
        return _response(answer, dialed, began)

    def _client_tls(self) -> ClientTls:
        # Made when first needed: it reads the system's authorities, and most responders speak plain HTTP.
        if self._tls is None:
            self._tls = ClientTls(ClientTlsSettings(authorities=self._authorities))
        return self._tls


def _parse_url(text: str, progress: _Progress) -> _Url:
    """Take a URL apart; it may come from a certificate, so nothing about it is taken for granted."""
    try:
        if not _is_url(text):
            raise ValueError("it has octets that a URL cannot have")
        parts = urlsplit(text)
        port = parts.port
        if parts.scheme not in _PORTS:
            raise ValueError("its scheme is neither http nor https")
        if not parts.hostname:
            raise ValueError("it names no host")
        if "@" in parts.netloc:
            raise ValueError("it carries user information")
        if port == 0:
            raise ValueError("its port is 0")
    except ValueError as error:
        raise progress.error("resolve", f"{text[:200]!r} cannot be fetched: {error}") from None
    host = parts.hostname
    authority = f"[{host}]" if ":" in host else host
    if port is not None and port != _PORTS[parts.scheme]:
        authority += f":{port}"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return _Url(parts.scheme, host, port or _PORTS[parts.scheme], authority, target)


def _request_event(request: FetchRequest, url: _Url) -> Request:
    fields = Fields([], [])
    fields.add(b"host", (request.authority or url.authority).encode("ascii"), b"Host")
    fields.add(b"user-agent", USER_AGENT, b"User-Agent")
    fields.add(b"accept", (request.accept or "*/*").encode("latin-1"), b"Accept")
    if request.content_type:
        fields.add(b"content-type", request.content_type.encode("latin-1"), b"Content-Type")
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        # RFC 9110 section 8.6: a method that is defined to have content says so even when there is none.
        fields.add(b"content-length", str(len(request.body)).encode("ascii"), b"Content-Length")
    fields.add(b"connection", b"close", b"Connection")
    method = request.method.encode("ascii")
    return Request(method, url.target.encode("ascii"), 11, fields, len(request.body))


# -- input and output


async def _write(transport: Transport, data: bytes) -> None:
    while data:
        taken = transport.write(data)
        data = data[taken:]
        if not taken:
            await ready(transport.fileno(), writing=True)


async def _read(transport: Transport) -> bytes:
    while (data := transport.read(READ_SIZE)) is None:
        await ready(transport.fileno(), writing=False)
    return data


async def _exchange(transport: Transport, request: FetchRequest, url: _Url, progress: _Progress) -> _Answer:
    engine = ClientEngine(max_head=MAX_HEAD)
    engine.send(_request_event(request, url))
    if request.body:
        engine.send(Data(request.body))
        engine.send(EndOfMessage())
    progress.stage = "send"
    await _write(transport, engine.take_output())
    progress.stage = "head"
    answer = _Answer(request.max_body, request.cut)
    while not answer.complete:
        data = await _read(transport)
        progress.received += len(data)
        # A server that sends without pause must not have the loop, and its timeouts, to itself.
        await asyncio.sleep(0)
        if data:
            engine.receive(data)
        else:
            engine.receive_eof()
        _take_events(engine, answer, progress)
    return answer


async def _exchange_h2(
    transport: Transport, request: FetchRequest, url: _Url, progress: _Progress
) -> _Answer:
    """The same in HTTP/2, with the first stream of a connection."""
    now = asyncio.get_running_loop().time
    if url.scheme == "https" and transport.alpn() != H2_ALPN:
        picked = transport.alpn().decode("latin-1") or "nothing"
        raise RemoteProtocolError(0, "no-h2", f"of h2 alone the server picked {picked}")
    engine = H2Connection(True, now(), H2Settings(max_section=MAX_HEAD), url.scheme.encode())
    asked = _request_event(request, url)
    engine.send(asked)
    if request.body:
        engine.send(Data(request.body, asked.stream))
        engine.send(EndOfMessage(None, asked.stream))
    progress.stage = "send"
    await _write(transport, engine.take_output(OUTPUT))
    progress.stage = "head"
    answer = _Answer(request.max_body, request.cut)
    while not answer.complete:
        data = await _read(transport)
        progress.received += len(data)
        await asyncio.sleep(0)
        if data:
            engine.receive(data, now())
        else:
            engine.receive_eof(now())
        _take_events(engine, answer, progress)
        if not answer.complete:
            if not data:
                raise RemoteProtocolError(0, "closed", "the server closed the connection")
            await _write(transport, engine.take_output(OUTPUT))
    return answer


def _take_events(engine: ClientEngine | H2Connection, answer: _Answer, progress: _Progress) -> None:
    """Take what the engine made of the bytes. Raises `FetchError` when the body is too large."""
    while not answer.complete and (event := engine.next_event()) is not None:
        if isinstance(event, StreamFailed):
            raise RemoteProtocolError(0, event.reason, event.detail)
        if isinstance(event, Response):
            if event.status < 200:
                continue
            progress.stage = "body"
            answer.head = event
            answer.complete = event.body == 0 or (answer.cut and answer.limit == 0)
            if event.body > answer.limit and not answer.cut:
                raise progress.error("too-large", f"a body of {event.body} bytes, more than {answer.limit}")
        elif isinstance(event, Data):
            if len(answer.body) + len(event.data) > answer.limit:
                if not answer.cut:
                    raise progress.error("too-large", f"a body of more than {answer.limit} bytes")
                answer.complete = True
            answer.body += event.data[: answer.limit - len(answer.body)]
            if isinstance(engine, H2Connection):
                engine.consumed(event.stream, len(event.data))
        elif isinstance(event, EndOfMessage):
            answer.complete = True


# -- how it ended


def _milliseconds_since(began: float) -> float:
    return (asyncio.get_running_loop().time() - began) * 1000


def _silence(request: FetchRequest, progress: _Progress) -> str:
    came = f"{progress.received} bytes came" if progress.received else "nothing came"
    if progress.stage in ("tls", "send"):
        came = "the TLS handshake was under way" if progress.stage == "tls" else "the request was being sent"
    return f"no complete answer within {request.timeout:.1f} s: {came}"


def _stage_of(error: RemoteProtocolError, progress: _Progress) -> str:
    if error.reason == "head-too-large":
        return "too-large"
    return progress.stage if error.reason in ("closed", "truncated") else "protocol"


def _response(answer: _Answer, dialed: Dialed, began: float) -> FetchResponse:
    head = answer.head
    if head is None:
        raise ValueError("an answer without a head is none")
    headers: dict[str, str] = {}
    for name, value in head.fields.items():
        key, text = name.decode("latin-1"), value.decode("latin-1")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return FetchResponse(
        head.status,
        headers,
        bytes(answer.body),
        dialed.address,
        _milliseconds_since(began),
        dialed.attempts,
    )
