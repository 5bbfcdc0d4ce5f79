"""Waiting for a descriptor in a task: for those who dial and fetch, never for the data path."""

import asyncio

from headgate.net.transport import DONE, WANT_READ, Transport


async def ready(fd: int, *, writing: bool) -> None:
    """Wait until a descriptor can be read or written."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    if writing:
        loop.add_writer(fd, event.set)
    else:
        loop.add_reader(fd, event.set)
    try:
        await event.wait()
    finally:
        if writing:
            loop.remove_writer(fd)
        else:
            loop.remove_reader(fd)


async def handshake(transport: Transport) -> None:
    """Finish a handshake; raises `TransportError`. The caller bounds the time."""
    while (wanted := transport.handshake()) != DONE:
        await ready(transport.fileno(), writing=wanted != WANT_READ)
