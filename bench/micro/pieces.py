"""What a MiB costs on its way out: `python -m bench.micro.pieces`.

CPU of the sending process for each MiB of a stored response, by the size of the pieces that it is written in, over
TLS and in the clear, from memory and from a file, and by sendfile. The client is a process of its own that throws
away what it reads. The median of rounds that alternate between the sizes.
"""

import contextlib
import os
import socket
import ssl
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from OpenSSL import SSL

from bench import network
from headgate.cache import entry as module
from headgate.cache.entry import Body, MemoryBody
from headgate.cache.store.bodies import CheckedBody, OpenFiles
from headgate.cache.store.format import BLOCK, FileContent
from headgate.testing.pki import Authority

MIB = 1 << 20
KIB = (16, 64, 128, 256, 1024)
READ = 64 * 1024  # what is read of an origin at once, and so the pieces in memory
ROUNDS = 6
TIMES = 150

Send = Callable[[bytes], object]


def drain(address: tuple[str, int], secure: bool) -> None:
    """Be the client, until the other end is gone."""
    stream = socket.create_connection(address)
    if secure:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        stream = context.wrap_socket(stream)
    buffer = bytearray(MIB)
    with contextlib.suppress(OSError):
        while stream.recv_into(buffer):
            pass


def connected(secure: bool) -> socket.socket:
    """Return the server's side of a connection to a client in another process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        if os.fork() == 0:
            try:
                drain(server.getsockname(), secure)
            finally:
                os._exit(0)
        return server.accept()[0]


def over_tls(sock: socket.socket, pem: Path) -> Send:
    """Return what writes to a connection with TLS."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_chain_file(str(pem))
    context.use_privatekey_file(str(pem))
    connection = SSL.Connection(context, sock)
    connection.set_accept_state()
    connection.do_handshake()
    return connection.sendall


def push(body: Body, size: int, send: Send) -> None:
    """Write a MiB in pieces of `size` octets, each joined of what is at hand, as the drivers do."""
    at = 0
    while at < MIB:
        pieces: list[bytes] = []
        left = size
        while left > 0 and at < MIB:
            piece = body.read(at, left)
            pieces.append(piece)
            at += len(piece)
            left -= len(piece)
        send(pieces[0] if len(pieces) == 1 else b"".join(pieces))


def push_file(body: CheckedBody, sock: socket.socket) -> None:
    """Send a MiB from the file to the socket."""
    at = 0
    while at < MIB:
        size = body.ready(at, MIB - at)
        at += os.sendfile(sock.fileno(), body.descriptor, at, size)


def cpu(work: Callable[[], None]) -> float:
    """Return microseconds of this process for one turn of `work`."""
    begin = time.process_time()
    for _ in range(TIMES):
        work()
    return (time.process_time() - begin) / TIMES * 1e6


def main() -> None:
    where = network.enter(print)
    print(f"{module.__file__}; network: {where.name}, congestion control: {where.congestion}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        leaf = Authority.root("Root").leaf("localhost")
        pem = folder / "leaf.pem"
        pem.write_bytes(leaf.chain_pem + leaf.key_pem)
        data = os.urandom(MIB)
        (folder / "data").write_bytes(data)
        blocks = [zlib.crc32(data[at : at + BLOCK]) for at in range(0, MIB, BLOCK)]
        file = CheckedBody(str(folder / "data"), FileContent(b"data", MIB, blocks), OpenFiles())
        memory = MemoryBody([data[at : at + READ] for at in range(0, MIB, READ)])
        clear = connected(secure=False)
        sends = {"clear": clear.sendall, "TLS": over_tls(connected(secure=True), pem)}
        took: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            took.setdefault("clear, sendfile", []).append(cpu(partial(push_file, file, clear)))
            for way, send in sends.items():
                for source, body in (("file", file), ("memory", memory)):
                    for size in KIB:
                        spent = cpu(partial(push, body, size * 1024, send))
                        took.setdefault(f"{way}, {source}, pieces of {size} KiB", []).append(spent)
    for what, rounds in took.items():
        print(f"{what:36} {statistics.median(rounds):7.0f} us for each MiB (least {min(rounds):.0f})")


if __name__ == "__main__":
    main()
