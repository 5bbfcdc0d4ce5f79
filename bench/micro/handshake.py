"""What our side of a full TLS handshake costs above OpenSSL's own work: `python -m bench.micro.handshake`.

The server's half of an ECDSA P-256 handshake over loopback, twice: by `TlsTransport` with everything that a listener
does, and by a bare `SSL.Connection` on one context. CPU of this process within the calls that belong to the server;
the client's half (the interpreter's own ssl module) is not counted.
"""

import gc
import select
import socket
import ssl
import statistics
import sys
import time
from collections.abc import Callable

from OpenSSL import SSL

from bench.load import client_context
from headgate.clock import SystemClock
from headgate.counters import Counters
from headgate.net.transport import DONE
from headgate.testing.pki import Authority
from headgate.tls.context import ServerTls, load_into
from headgate.tls.identity import from_pem
from headgate.tls.policy import TlsPolicy, server_context
from headgate.tls.tickets import TicketRing
from headgate.tls.transport import TlsTransport

ROUNDS = 7
HANDSHAKES = 150


def pair() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a loopback connection, non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    for sock in (server, client):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server, client


def one(context: ssl.SSLContext, serve: Callable[[socket.socket], Callable[[], bool]]) -> int:
    """Shake hands once; return the nanoseconds that the server's half took."""
    server, sock = pair()
    client = context.wrap_socket(sock, server_hostname="a.test", do_handshake_on_connect=False)
    took = 0
    done = client_done = False
    begun = time.thread_time_ns()
    step = serve(server)
    took += time.thread_time_ns() - begun
    while not (done and client_done):
        try:
            client.do_handshake()
            client_done = True
        except ssl.SSLWantReadError:
            pass
        select.select([server], [], [], 0 if done else 5)
        if not done:
            begun = time.thread_time_ns()
            done = step()
            took += time.thread_time_ns() - begun
    begun = time.thread_time_ns()
    del step
    server.close()
    took += time.thread_time_ns() - begun
    client.close()
    return took


def main() -> None:
    authority = Authority.root()
    leaf = authority.leaf("a.test")
    identity = from_pem("a.pem", leaf.chain_pem, leaf.key_pem)
    policy = TlsPolicy("micro", alpn=(b"http/1.1",))
    tls = ServerTls(
        TicketRing(policy, SystemClock(), size=2), [identity], Counters().values, SystemClock(), print
    )
    bare = server_context(policy)
    load_into(bare, identity)

    def ours(sock: socket.socket) -> Callable[[], bool]:
        transport = tls.accept(sock)
        return lambda: transport.handshake() == DONE

    def theirs(sock: socket.socket) -> Callable[[], bool]:
        conn = SSL.Connection(bare, sock)
        conn.set_accept_state()

        def step() -> bool:
            try:
                conn.do_handshake()
            except SSL.WantReadError:
                return False
            return True

        return step

    print(sys.modules[TlsTransport.__module__].__file__)
    context = client_context()
    context.set_alpn_protocols(["http/1.1"])
    gc.collect()
    took: dict[str, list[float]] = {"bare pyOpenSSL": [], "headgate": []}
    for _ in range(ROUNDS):
        for name, serve in (("bare pyOpenSSL", theirs), ("headgate", ours)):
            took[name].append(statistics.median(one(context, serve) for _ in range(HANDSHAKES)) / 1000)
    for name, values in took.items():
        print(f"{name:16} {statistics.median(values):8.1f} us   (best {min(values):.1f})")


if __name__ == "__main__":
    main()
