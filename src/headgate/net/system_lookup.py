"""getaddrinfo(3) without blocking the loop.

Each call gets a daemon thread of its own rather than one of an executor: a call cannot be cancelled and may hang
for half a minute, and neither other look-ups nor the end of the process should wait for it. The caller bounds
how many run at once.
"""

import asyncio
import socket
import threading


async def system_lookup(host: str) -> list[str]:
    """Return the IP addresses of `host` in the system's order. Raises OSError (mostly `socket.gaierror`)."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[list[str]] = loop.create_future()

    def settle(found: list[str], error: BaseException | None) -> None:
        if outcome.cancelled():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(found)

    def run() -> None:
        found: list[str] = []
        failure: BaseException | None = None
        try:
            found = [str(where[0]) for *_, where in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
        except (OSError, UnicodeError) as error:
            failure = error if isinstance(error, OSError) else socket.gaierror(socket.EAI_NONAME, str(error))
        try:
            loop.call_soon_threadsafe(settle, list(dict.fromkeys(found)), failure)
        except RuntimeError:
            pass  # The loop was closed meanwhile: nobody waits any more.

    threading.Thread(target=run, name=f"getaddrinfo {host}", daemon=True).start()
    return await outcome
