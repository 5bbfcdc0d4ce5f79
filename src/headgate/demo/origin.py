"""The demo's origin: shows what the gate sent it, and streams.

/           the request as JSON
/big        64 MiB, in chunks
/ticks      a line every second, ten of them: what streams through is not held back
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Final

from headgate.demo.web import Answer, Request, serve_forever

_PIECE: Final = bytes(64 * 1024)
_PIECES: Final = 1024
_TICKS: Final = 10


def answer(request: Request) -> Answer:
    """Answer one request."""
    path = request.target.partition("?")[0]
    if path == "/big":
        return Answer(_big(), "application/octet-stream")
    if path == "/ticks":
        return Answer(_ticks())
    shown = {
        "origin": "this is the demo's origin; the gate sent it",
        "method": request.method,
        "target": request.target,
        "headers": [[name, value] for name, value in request.fields],
        "body_bytes": len(request.body),
    }
    return Answer((json.dumps(shown, indent=2) + "\n").encode(), "application/json")


async def _big() -> AsyncIterator[bytes]:
    for _ in range(_PIECES):
        yield _PIECE


async def _ticks() -> AsyncIterator[bytes]:
    for number in range(_TICKS):
        yield f"tick {number + 1} of {_TICKS}\n".encode()
        await asyncio.sleep(1)


def run_origin(sock: socket.socket) -> int:
    """Be the origin: the whole life of its process."""
    return serve_forever(sock, answer)
