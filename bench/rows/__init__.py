"""The rows of the table, in the order in which they run (rows with one profile stand together)."""

from typing import Final

from bench.load import FIFTEEN_FIELDS
from bench.rows.asgi import Asgi
from bench.rows.base import Row
from bench.rows.cache import Hit, HitH2, ManyStored, Miss, MissTwo
from bench.rows.cache_disk import IndexMemory, StartStored
from bench.rows.h2 import H2Requests, IdleH2, OpenStreams
from bench.rows.h3 import Garbage, H3Handshake, H3Requests, IdleH3
from bench.rows.handshakes import Connections, Handshake, HandshakeManyCertificates, Resumed
from bench.rows.idle import IdleTls
from bench.rows.many import ManyRoutes, Start
from bench.rows.relays import Relay
from bench.rows.requests import Direct, Requests

MIB: Final = "/1m"
STORED: Final = "/stored/1m"

ROWS: Final[tuple[Row, ...]] = (
    Direct(),
    Requests("h1", "h1 keep-alive, proxied", goal=1.25),
    Requests("h1-tls", "h1 over TLS, proxied", goal=1.25, tls=True),
    Connections(),
    Handshake(),
    Resumed(),
    Requests("1m", "1 MiB bodies, plain", goal=1.3, path=MIB, connections=16),
    Requests("1m-tls", "1 MiB bodies, TLS", goal=1.3, path=MIB, connections=16, tls=True),
    Requests("h1-fields", "h1, 15 fields, access log", goal=1.5, busy=True),
    Requests("h1-tls-fields", "h1 TLS, 15 fields, access log", goal=1.5, busy=True, tls=True),
    Requests("https-origin", "h1, TLS to the origin", goal=1.3, origin_tls=True),
    Relay("tcp-1g", "1 GiB through a tcp listener", "tcp"),
    Relay("connect-1g", "1 GiB through CONNECT (rivals: TCP)", "connect"),
    Asgi("asgi", "ASGI hello-world, in the worker"),
    Asgi("asgi-fields", "the same with 15 request fields", FIFTEEN_FIELDS),
    IdleTls(),
    ManyRoutes(1000),
    HandshakeManyCertificates(1000),
    Start(1000, goal=1.5),
    Start(10_000, goal=12.0),
    H2Requests("h2", "h2 over TLS, 100-byte replies, proxied", goal=1.5),
    H2Requests("h2-fields", "h2, 15 fields, access log", goal=1.5, busy=True),
    H2Requests("h2-1m", "h2, 1 MiB bodies", goal=1.5, path=MIB),
    H2Requests("h2c-origin", "h2, and h2 to the origin", goal=1.5, h2c_origin=True),
    OpenStreams(),
    IdleH2(),
    H3Requests("h3", "h3, 100-byte replies, proxied", goal=2.5),
    H3Requests("h3-fields", "h3, 15 fields, access log", goal=2.5, busy=True),
    H3Requests("h3-1m", "h3, 1 MiB bodies", goal=2.0, path=MIB),
    H3Handshake(),
    IdleH3(),
    Garbage(),
    Hit("hit", "hit, 100 octets in memory", goal=0.9, path="/stored/100"),
    Hit("hit-10k", "hit, 10 KiB in memory", goal=1.0, path="/stored/10k"),
    HitH2("hit-h2", "hit, 100 octets, h2 over TLS", goal=1.0, path="/stored/100"),
    Miss("miss", "miss that is not stored", goal=1.1, path="/no-store/"),
    Miss("miss-stored", "miss that is stored", goal=1.4, path="/stored/"),
    MissTwo("miss-2w", "miss that is not stored, 2 workers", goal=1.1, path="/no-store/"),
    MissTwo("miss-stored-2w", "miss that is stored, 2 workers", goal=1.4, path="/stored/"),
    ManyStored(1_000_000),
    Hit("hit-1m", "hit, 1 MiB from disk", goal=1.3, path=STORED, connections=16, cache="disk"),
    Hit("hit-1m-memory", "hit, 1 MiB from memory", goal=1.3, path=STORED, connections=16),
    Hit(
        "hit-1m-tls",
        "hit, 1 MiB from disk, TLS",
        goal=1.3,
        path=STORED,
        connections=16,
        cache="disk",
        tls=True,
    ),
    Hit("hit-1m-memory-tls", "hit, 1 MiB from memory, TLS", goal=1.3, path=STORED, connections=16, tls=True),
    HitH2("hit-1m-h2", "hit, 1 MiB from disk, h2 over TLS", goal=1.3, path=STORED, cache="disk"),
    HitH2("hit-1m-memory-h2", "hit, 1 MiB from memory, h2 over TLS", goal=1.3, path=STORED),
    StartStored(1_000_000),
    IndexMemory(1_000_000),
)
