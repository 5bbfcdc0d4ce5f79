"""A very small HTTP/1.1 server (RFC 9112) for the demo's origin and OCSP responder.

It answers what a well-behaved proxy sends: one request after the other on a connection, bodies with a length or
chunked, responses with a length or streamed in chunks. It is bounded, since it listens, but it is no example of how
to write a server: the gate is.
"""

import asyncio
import http
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

# Precedent: the gate's own limit for a request's head.
HEAD_LIMIT: Final = 64 * 1024
# Bodies are only shown by their size: what is larger ends the connection.
BODY_LIMIT: Final = 16 * 1024 * 1024
IDLE_SECONDS: Final = 300.0
PARENT_INTERVAL: Final = 0.5
_CHUNKED: Final = ("Transfer-Encoding", "chunked")


@dataclass(frozen=True, slots=True)
class Request:
    """One request: `fields` as they came, in order, names in their own spelling."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes

    def field(self, name: str) -> str:
        """Return the first value of a field, "" when it is absent; `name` in lower case."""
        return next((value for key, value in self.fields if key.lower() == name), "")


@dataclass(frozen=True, slots=True)
class Answer:
    """One response; a `body` that is no bytes is streamed in chunks."""

    body: bytes | AsyncIterator[bytes]
    content_type: str = "text/plain; charset=utf-8"
    status: int = 200
    fields: tuple[tuple[str, str], ...] = ()


Answerer = Callable[[Request], Answer]


def serve_forever(sock: socket.socket, answer: Answerer) -> int:
    """Serve on a listening socket until SIGTERM, or until the process that started us is gone: the whole life of a
    helper process."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    asyncio.run(_serve(sock, answer, os.getppid()))
    return 0


async def _serve(sock: socket.socket, answer: Answerer, parent: int) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await converse(reader, writer, answer)

    server = await asyncio.start_server(talk, sock=sock, limit=HEAD_LIMIT)
    async with server:
        while os.getppid() == parent:  # noqa: ASYNC110 -- nothing tells of a parent's end
            await asyncio.sleep(PARENT_INTERVAL)


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answerer) -> None:
    """Answer the requests of one connection until either side ends it."""
    try:
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                request = await _read_request(reader)
            await _write_answer(writer, request, answer(request))
            if "close" in request.field("connection").lower():
                return
    except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError):
        return  # the gate ended the connection, or sent what this little server does not take
    finally:
        writer.close()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head[:-4].split("\r\n")
    method, target, _version = first.split(" ")
    fields = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
    request = Request(method, target, fields, b"")
    if "chunked" in request.field("transfer-encoding").lower():
        body = await _read_chunks(reader)
    else:
        size = int(request.field("content-length") or 0)
        if size > BODY_LIMIT:
            raise ValueError("body is too large")
        body = await reader.readexactly(size)
    return Request(method, target, fields, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        if not 0 <= size <= BODY_LIMIT - len(body):
            raise ValueError("body is too large")
        if size == 0:
            break
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return body


async def _write_answer(writer: asyncio.StreamWriter, request: Request, answer: Answer) -> None:
    phrase = http.HTTPStatus(answer.status).phrase
    fields = [("Content-Type", answer.content_type), *answer.fields]
    fields.append(("Content-Length", str(len(answer.body))) if isinstance(answer.body, bytes) else _CHUNKED)
    head = f"HTTP/1.1 {answer.status} {phrase}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n"
    writer.write(head.encode("latin-1"))
    if request.method != "HEAD":
        if isinstance(answer.body, bytes):
            writer.write(answer.body)
        else:
            async for piece in answer.body:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
    await writer.drain()
