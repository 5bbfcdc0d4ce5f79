"""What a full QUIC handshake costs a server, what a connection holds afterwards, what a wrong Initial costs.

`python -m bench.micro.quic_handshake`: ECDSA P-256, X25519, AES-128-GCM, a chain of two certificates, in memory. CPU
time within the server's calls, from the first datagram to the confirmed handshake with its acknowledgements; the
client's half is not counted. The cost of the signature and of the key exchange alone stands beside it. Then what a
thousand idle confirmed connections of a server hold of memory, each (the resident set, as the system counts it, and
without it what Python allocated), and what it costs to look at an Initial whose tag is wrong.
"""

import gc
import statistics
import sys
import tracemalloc

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from bench.micro.clock import nanoseconds
from bench.micro.quic_pair import Pair, new_credential
from headgate.engine.quic import connection as module
from headgate.engine.quic.connection import QuicConnection
from headgate.engine.quic.initial import open_initial
from headgate.engine.quic.packet import parse_long_header
from headgate.engine.tls13.credential import Credential

HANDSHAKES = 100
ROUNDS = 7
IDLE = 1000


def handshake(credential: Credential) -> tuple[QuicConnection, int]:
    """Return the server of a new connection, and the nanoseconds that it took there."""
    pair = Pair(credential)
    pair.shake()
    server = pair.server
    if server is None or not server.is_confirmed:
        raise RuntimeError("the handshake was not confirmed")
    return server, pair.shaken


def rested(credential: Credential) -> QuicConnection:
    """Return the server of a new connection, a few seconds later."""
    server, _ = handshake(credential)
    for _ in range(8):
        if server.deadline() > 10.0:
            break
        server.on_deadline(server.deadline())
    return server


def handshakes(credential: Credential) -> float:
    """Return microseconds of a server's handshake: the best round's median."""
    best = float("inf")
    for _ in range(ROUNDS):
        gc.collect()
        best = min(best, statistics.median([handshake(credential)[1] for _ in range(HANDSHAKES)]))
    return best / 1000


def resident() -> int:
    """Return the octets that this process has in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


def idle(credential: Credential) -> tuple[float, float]:
    """Return octets for each idle connection: of the resident set, and what Python allocated of them."""
    kept = [rested(credential) for _ in range(100)]
    gc.collect()
    before = resident()
    kept += [rested(credential) for _ in range(IDLE)]
    gc.collect()
    of_system = (resident() - before) / IDLE
    kept.clear()
    gc.collect()
    tracemalloc.start()
    kept = [rested(credential) for _ in range(IDLE // 10)]
    gc.collect()
    of_python = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    return of_system, of_python


def wrong_initial(credential: Credential) -> float:
    """Return nanoseconds for an Initial that nobody sealed: parsed, its keys derived, its tag found wrong."""
    batch = Pair(credential).client.take_batch(0.0)
    if batch is None:
        raise RuntimeError("no Initial")
    data = batch.data[:1199] + bytes((batch.data[1199] ^ 1,))

    def once() -> None:
        if open_initial(data, parse_long_header(data, 0, len(data))) is not None:
            raise RuntimeError("it is right")

    return nanoseconds(once, 100)


def main() -> None:
    credential = new_credential()
    print(f"{module.__file__.rsplit('/', 1)[-1]}")
    key = ec.generate_private_key(ec.SECP256R1())
    signing = nanoseconds(lambda: key.sign(b"x" * 98, ec.ECDSA(hashes.SHA256())), 20) / 1000
    other = X25519PrivateKey.generate().public_key()

    def exchange() -> None:
        ours = X25519PrivateKey.generate()
        ours.public_key().public_bytes_raw()
        ours.exchange(other)

    exchanging = nanoseconds(exchange, 20) / 1000
    took = handshakes(credential)
    print(f"full handshake, server {took:38.0f} µs  (signature {signing:.0f}, key exchange {exchanging:.0f})")
    if "--handshake" in sys.argv:
        return
    of_system, of_python = idle(credential)
    print(
        f"idle connection, server {of_system / 1024:37.1f} KiB (allocated by Python {of_python / 1024:.1f})"
    )
    print(f"an Initial with a wrong tag {wrong_initial(credential) / 1000:33.1f} µs")


if __name__ == "__main__":
    main()
