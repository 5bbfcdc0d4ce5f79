"""The origin behind the gate: `python -m bench.attack.origin PORT`.

It answers GET at once; `/sink…` it reads the head of and nothing more, as an application that hangs; `/big…` it
answers with a GiB, as fast as it is taken; of `/swallow…` it reads all, and says nothing. One thread: hundreds would
take the core from the good client beside it.
"""

import asyncio
import contextlib
import os
import socket
import sys

CHUNK = bytes(64 * 1024)
GIB = 1 << 30
ESTABLISHED = 1


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection from the gate."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        while True:
            request = await reader.readuntil(b"\r\n\r\n")
            path = request.split(b" ", 2)[1]
            if path.startswith(b"/sink"):
                reader._transport.pause_reading()  # type: ignore[attr-defined]
                sock = writer.get_extra_info("socket")
                while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == ESTABLISHED:  # noqa: ASYNC110
                    await asyncio.sleep(1)
                break
            elif path.startswith(b"/swallow"):
                while await reader.read(len(CHUNK)):
                    pass
                break
            elif path.startswith(b"/big"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % GIB)
                for _ in range(GIB // len(CHUNK)):
                    writer.write(CHUNK)
                    await writer.drain()
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                await writer.drain()
    writer.close()


async def main(port: int) -> None:
    """Serve until the process is ended."""
    os.nice(5)  # the good client is on the same core
    server = await asyncio.start_server(converse, "127.0.0.1", port, backlog=512)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
