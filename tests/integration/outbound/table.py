"""The fault table towards origins, printed: what is wrong, what a client gets, what the log says, what is counted.

Each row has an upstream of its own, whose origins do one thing; `test_table.py` asks for each and looks at all of it.
docs/faults.md shows the same rows to people, and a test holds the two together.
"""

import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.integration.gate import Gate, wait_for
from tests.integration.outbound.world import Seen, World, get, read, request

from headgate.testing.origin import Wire, connect
from headgate.testing.relay import BlackHole, Refusing, Relay, bind_same_port

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OK_AND_CLOSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegin"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbegin"


@dataclass(frozen=True)
class Row:
    """What one row does, and what has to come of it.

    `status` is what the client gets, `whole` whether to its end; `reason` is the log's word, `detail` what the event
    has to name, `counter` what rises, `reached` how often an origin got the request, `retries` what the log says."""

    name: str
    make: Callable[[World, str], None]
    status: int
    reason: str = ""
    detail: tuple[str, ...] = ()
    counter: str = ""
    reached: int = 1
    retries: int = 0
    whole: bool = True
    client: Callable[[Gate, str, World], Seen] = lambda gate, name, _world: get(gate, name)


TABLE: list[Row] = []


def row(status: int, **expected):
    """Enter a row under the name of the function that prepares it."""

    def enter(make):
        TABLE.append(Row(make.__name__.replace("_", "-"), make, status, **expected))
        return make

    return enter


def failed(reason: str) -> str:
    """The counter of answers that Headgate makes itself."""
    return f'gateway_errors_total{{reason="{reason}"}}'


def dials(family: str, error: str) -> str:
    """The counter of addresses that did not answer."""
    return f'dial_failed_total{{error="{error}",family="{family}"}}'


CUT = 'aborted_total{side="upstream"}'
RETRIED = 'upstream_retried_total{why="reused"}'
NO_CLOSE_NOTIFY = "upstream-eof-without-close-notify"


# -- scripts


def good(wire: Wire) -> None:
    while head := wire.read_head():
        wire.read_content(head)
        wire.send(OK)


def saying(data: bytes, end: Callable[[Wire], None]):
    """Say this after a request's head and end so."""

    def script(wire: Wire) -> None:
        wire.read_head()
        wire.send(data)
        end(wire)

    return script


def resets(wire: Wire) -> None:
    """Reset once the answer so far was read: a reset that overtakes it would be another row."""
    time.sleep(0.2)
    wire.reset()


def closes(_wire: Wire) -> None:
    pass


# -- the road


@row(502, reason="connect", counter=failed("connect"), reached=0,
     detail=("127.0.0.1:", "127.0.0.2:", "[::1]:", "ECONNREFUSED (Connection refused) after"))  # fmt: skip
def every_address_dead(world, name):
    socks = bind_same_port("127.0.0.1", "127.0.0.2", "::1")
    refusing = [world.keep(Refusing(sock=sock)) for sock in socks]
    world.dns.add("dead.internal", "A", "127.0.0.1", "127.0.0.2")
    world.dns.add("dead.internal", "AAAA", "::1")
    world.upstream(name, f"http://dead.internal:{refusing[0].port}")


@row(
    502,
    reason="connect",
    counter=dials("ipv4", "ECONNREFUSED"),
    reached=0,
    retries=2,
    detail=("ECONNREFUSED",),
)
def every_endpoint_dead(world, name):
    dead = [world.keep(Refusing()) for _ in range(3)]
    world.upstream(name, *(f"http://{one.address}" for one in dead))


@row(200, counter=dials("ipv6", "overtaken"))
def first_family_black_holed(world, name):
    six, four = bind_same_port("::1", "127.0.0.1")
    hole = world.keep(BlackHole(sock=six))
    world.keep(Relay(("127.0.0.1", world.origin(good, name).port), sock=four))
    world.dns.add("half.internal", "A", "127.0.0.1")
    world.dns.add("half.internal", "AAAA", "::1")
    world.upstream(name, f"http://half.internal:{hole.port}")


@row(
    504,
    reason="connect-timeout",
    counter=failed("connect-timeout"),
    reached=0,
    detail=("gave up after 0.7 s",),
)
def black_holed(world, name):
    world.upstream(name, f"http://{world.keep(BlackHole()).address}")


def slower(gate: Gate, name: str, _world: World) -> Seen:
    """Of two requests, each to another endpoint first, the one that had to wait."""
    took = []
    for _ in range(2):
        began = time.monotonic()
        seen = get(gate, name)
        took.append((time.monotonic() - began, seen))
    return max(took, key=lambda one: one[0])[1]


@row(200, retries=1, client=slower, detail=("gave up after 0.7 s", "another endpoint was asked"))
def one_endpoint_black_holed(world, name):
    hole, origin = world.keep(BlackHole()), world.origin(saying(OK_AND_CLOSE, closes), name)
    world.upstream(name, f"http://{hole.address}", origin.url, more='balance = "round-robin"')


# -- certificates


@row(502, reason="connect", counter=failed("connect"), reached=0,
     detail=("certificate-expired: 127.0.0.1:", "depth 0, CN=127.0.0.1, valid until 20"))  # fmt: skip
def certificate_expired(world, name):
    leaf = world.root.leaf("127.0.0.1", not_before=time.time() - 9e6, not_after=time.time() - 60)
    world.upstream(name, f"https://{world.tls_origin(good, leaf, name).address}")


@row(502, reason="connect", counter=failed("connect"), reached=0, detail=("not for 127.0.0.1",))
def certificate_of_another_name(world, name):
    leaf = world.root.leaf("other.test")
    world.upstream(name, f"https://{world.tls_origin(good, leaf, name).address}")


@row(502, reason="connect", counter=failed("connect"), reached=0, detail=("local issuer", "depth 0, CN="))
def certificate_of_an_unknown_authority(world, name):
    leaf = world.stranger.leaf("127.0.0.1")
    world.upstream(name, f"https://{world.tls_origin(good, leaf, name).address}")


@row(502, reason="connect", counter=failed("connect"), reached=0, detail=("revoked",))
def staple_says_revoked(world, name):
    leaf, now = world.root.leaf("127.0.0.1"), time.time()
    staple = world.root.ocsp(leaf, "revoked", this_update=now - 60, next_update=now + 3600)
    origin = world.tls_origin(good, leaf, name, staple=staple)
    world.upstream(name, f"https://{origin.address}", tls='staple = "check"')


@row(502, reason="connect", counter=failed("connect"), reached=0, detail=("staple",))
def staple_promised_and_missing(world, name):
    leaf = world.root.leaf("127.0.0.1", must_staple=True)
    world.upstream(name, f"https://{world.tls_origin(good, leaf, name).address}", tls='staple = "check"')


@row(502, reason="connect", counter=failed("connect"), reached=0, detail=("staple",))
def staple_required_and_missing(world, name):
    leaf = world.root.leaf("127.0.0.1")
    world.upstream(name, f"https://{world.tls_origin(good, leaf, name).address}", tls='staple = "require"')


@row(502, reason="connect", counter=failed("connect"), reached=0, detail=("alert-protocol-version: 127.",))
def tls_too_old(world, name):
    origin = world.tls_origin(good, world.root.leaf("127.0.0.1"), name, newest=ssl.TLSVersion.TLSv1_2)
    world.upstream(name, f"https://{origin.address}", tls='min_version = "1.3"')


@row(
    502,
    reason="upstream-alert-certificate-required",
    counter=failed("protocol"),
    reached=0,
    detail=("127.0.0.1:",),
)
def client_certificate_wanted(world, name):
    origin = world.tls_origin(good, world.root.leaf("127.0.0.1"), name, clients=True)
    world.upstream(name, f"https://{origin.address}")


@row(502, reason="connect", counter=failed("connect"), reached=0, detail=("not-tls", "TLS handshake"))
def plain_http_where_tls_was_meant(world, name):
    def script(wire: Wire) -> None:
        wire.sock.recv(4096)
        wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    world.upstream(name, f"https://{world.origin(script, name).address}")


@row(
    504,
    reason="connect-timeout",
    counter=failed("connect-timeout"),
    reached=0,
    detail=("TLS handshake with 127.",),
)
def silent_in_the_handshake(world, name):
    world.upstream(name, f"https://{world.keep(Relay()).address}")


# -- the answer


@row(502, reason="upstream-closed", counter=failed("closed"), detail=("127.0.0.1",))
def closes_without_an_answer(world, name):
    world.upstream(name, world.origin(saying(b"", closes), name).url)


@row(502, reason="upstream-closed", counter=failed("closed"), detail=("127.0.0.1", "ECONNRESET"))
def resets_without_an_answer(world, name):
    world.upstream(name, world.origin(saying(b"", Wire.reset), name).url)


@row(502, reason="upstream-bad-status-line", counter=failed("protocol"))
def no_http(world, name):
    world.upstream(name, world.origin(saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", closes), name).url)


def cut(function_name: str, data: bytes, end: Callable[[Wire], None], *, tls: bool, reason: str):
    """A row whose answer breaks off: the client has to see that it is not all."""

    def make(world, name):
        if tls:
            origin = world.tls_origin(saying(data, end), world.root.leaf("127.0.0.1"), name)
            world.upstream(name, f"https://{origin.address}")
        else:
            world.upstream(name, world.origin(saying(data, end), name).url)

    make.__name__ = function_name
    errno = ("ECONNRESET (Connection reset by peer)",) if end is resets else ()
    row(200, reason=reason, counter=CUT, whole=False, detail=("127.0.0.1:", *errno))(make)


cut("closes_inside_a_length", LENGTH, closes, tls=False, reason="upstream-truncated")
cut("closes_inside_chunks", CHUNKED, closes, tls=False, reason="upstream-truncated")
cut("resets_inside_a_length", LENGTH, resets, tls=False, reason="upstream-closed")
cut("resets_inside_chunks", CHUNKED, resets, tls=False, reason="upstream-closed")
cut("resets_where_the_end_is_the_close", TO_THE_END, resets, tls=False, reason="upstream-closed")
cut("tls_ends_inside_a_length", LENGTH, closes, tls=True, reason=NO_CLOSE_NOTIFY)
cut("tls_ends_inside_chunks", CHUNKED, closes, tls=True, reason=NO_CLOSE_NOTIFY)
cut("tls_ends_where_the_end_is_the_close", TO_THE_END, closes, tls=True, reason=NO_CLOSE_NOTIFY)


@row(200)
def tls_ends_after_a_whole_answer(world, name):
    origin = world.tls_origin(saying(OK, closes), world.root.leaf("127.0.0.1"), name)
    world.upstream(name, f"https://{origin.address}")


# -- slow origins


def trickles(data: bytes, world: World, *, pause: float = 0.1):
    """Say it a byte at a time."""

    def script(wire: Wire) -> None:
        wire.read_head()
        for at in range(len(data)):
            wire.send(data[at : at + 1])
            world.wait(pause)

    return script


@row(504, reason="upstream-timeout", counter=failed("head-timeout"), detail=("127.0.0.1", "silent"))
def never_answers(world, name):
    world.upstream(name, world.origin(saying(b"", lambda _wire: world.wait()), name).url)


@row(504, reason="upstream-timeout", counter=failed("head-timeout"), detail=("127.0.0.1",))
def trickles_its_head(world, name):
    world.upstream(name, world.origin(trickles(OK, world), name).url)


@row(
    200,
    reason="upstream-timeout",
    counter=failed("head-timeout"),
    whole=False,
    detail=("127.0.0.1", "silent"),
)
def stalls_in_its_content(world, name):
    world.upstream(name, world.origin(saying(LENGTH, lambda _wire: world.wait()), name).url)


def post_big(gate: Gate, name: str, _world: World) -> Seen:
    with connect(gate.http_ports[0]) as wire:
        content = bytes(20_000_000)
        identifier, data = request(name, method="POST", content=content)
        wire.sock.settimeout(5)
        try:
            wire.send(data)
        except (OSError, TimeoutError):
            pass  # the gate reads no more of it than it can pass on
        return read(wire, identifier)


@row(504, reason="upstream-timeout", counter=failed("head-timeout"), client=post_big, detail=("127.0.0.1",))
def takes_no_content(world, name):
    world.upstream(name, world.origin(saying(b"", lambda _wire: world.wait()), name).url)


# -- reused connections


def twice(gate: Gate, name: str, _world: World, **options) -> Seen:
    """Two requests, of which the second is looked at."""
    assert get(gate, name).status == 200
    return get(gate, name, **options)


def once_then(end: Callable[[Wire], None]):
    """Answer one request, wait for the next, and end so."""

    def script(wire: Wire) -> None:
        wire.read_head()
        wire.send(OK)
        if wire.sock.recv(1):  # unread: nothing of the second request has reached the origin's program
            end(wire)

    return script


@row(200, client=twice, counter=RETRIED, retries=1)
def closes_an_idle_connection_as_it_is_reused(world, name):
    world.upstream(name, world.origin(once_then(Wire.close), name).url)


@row(200, client=lambda gate, name, world: twice(gate, name, world, method="POST", content=b"x" * 50_000),
     counter=RETRIED, retries=1)  # fmt: skip
def resets_an_idle_connection_as_a_post_reuses_it(world, name):
    world.upstream(name, world.origin(once_then(Wire.reset), name).url)


@row(200, client=twice, counter=RETRIED, retries=1)
def tls_ends_an_idle_connection_as_it_is_reused(world, name):
    """Without close_notify, as servers do that have had enough of a connection."""
    origin = world.tls_origin(once_then(closes), world.root.leaf("127.0.0.1"), name)
    world.upstream(name, f"https://{origin.address}")


def twice_with_a_pause(gate: Gate, name: str, _world: World) -> Seen:
    """The second once the gate has dropped what the origin spoke on unasked."""
    assert get(gate, name).status == 200
    wait_for("the connection to go", lambda: gate.metrics()["headgate_upstream_connections_open"] == 0)
    return get(gate, name)


@row(200, client=twice_with_a_pause)
def speaks_on_an_idle_connection(world, name):
    """As servers do that close idle connections with a 408."""

    def script(wire: Wire) -> None:
        wire.read_head()
        wire.send(OK)
        world.wait(0.05)
        wire.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    world.upstream(name, world.origin(script, name).url)


# -- names


def lied(**fault):
    """Ask while something is wrong with the nameserver."""

    def client(gate: Gate, name: str, world: World) -> Seen:
        world.dns.fault(**fault)
        try:
            return get(gate, name)
        finally:
            world.dns.heal()

    return client


def named(world: World, name: str) -> None:
    """An upstream of one name, whose records are not kept (TTL 0)."""
    world.dns.add(f"{name}.internal", "A", "127.0.0.1", ttl=0)
    world.upstream(name, f"http://{name}.internal:{world.origin(good, name).port}")


@row(
    502,
    reason="connect",
    counter="resolve_failed_total",
    reached=0,
    detail=("absent.internal", "NXDOMAIN from 127."),
)
def name_does_not_exist(world, name):
    world.upstream(name, "http://absent.internal:80")


@row(502, reason="connect", counter="resolve_failed_total", reached=0, detail=(".internal", "SERVFAIL"),
     client=lied(rcode="SERVFAIL"))  # fmt: skip
def nameserver_fails(world, name):
    named(world, name)


@row(502, reason="connect", counter="resolve_failed_total", reached=0, detail=("no answer within 0.7 s",),
     client=lied(silent=True))  # fmt: skip
def nameserver_is_silent(world, name):
    named(world, name)


@row(502, reason="connect", counter="resolve_failed_total", reached=0, detail=(".internal",),
     client=lied(garbage=True))  # fmt: skip
def nameserver_sends_garbage(world, name):
    named(world, name)


@row(200, client=lied(truncate=True))
def nameserver_truncates(world, name):
    named(world, name)


def old_and_new(world: World, script: Callable[[Wire], None]) -> int:
    """Two origins on one port, the old on 127.0.0.1 and the new on 127.0.0.2; return the port."""
    socks = bind_same_port("127.0.0.1", "127.0.0.2")
    for sock, which in zip(socks, ("old", "new"), strict=True):
        world.keep(Relay(("127.0.0.1", world.origin(script, which).port), sock=sock))
    return int(socks[0].getsockname()[1])


def moved(gate: Gate, name: str, world: World) -> Seen:
    """The first origin is asked once, and says that it closes; then the name has another address."""
    assert world.reached[get(gate, name).identifier] == ["old"]
    world.dns.add("moves.internal", "A", "127.0.0.2", ttl=0)
    seen = get(gate, name)
    assert world.reached[seen.identifier] == ["new"]
    return seen


@row(200, client=moved)
def name_moves(world, name):
    port = old_and_new(world, saying(OK_AND_CLOSE, closes))
    world.dns.add("moves.internal", "A", "127.0.0.1", ttl=0)
    world.upstream(name, f"http://moves.internal:{port}")


def vanished(gate: Gate, name: str, world: World) -> Seen:
    assert get(gate, name).status == 200
    world.dns.remove(f"{name}.internal")
    return get(gate, name)


@row(502, reason="connect", counter="resolve_failed_total", reached=0, client=vanished, detail=("NXDOMAIN",))
def name_vanishes(world, name):
    world.dns.add(f"{name}.internal", "A", "127.0.0.1", ttl=0)
    origin = world.origin(saying(OK_AND_CLOSE, closes), name)
    world.upstream(name, f"http://{name}.internal:{origin.port}")


def resolved_anew(world: World, name: str) -> None:
    """Wait until the nameserver was asked about a name once more, and its answer was used."""
    before = world.dns.questions(f"{name}.internal", "A")
    wait_for("two more questions", lambda: world.dns.questions(f"{name}.internal", "A") >= before + 2)


def kept(gate: Gate, name: str, world: World) -> Seen:
    world.dns.remove(f"{name}.internal")
    resolved_anew(world, name)
    return get(gate, name)


@row(200, client=kept)
def endpoints_of_a_name_vanish(world, name):
    world.dns.add(f"{name}.internal", "A", "127.0.0.1", ttl=0)
    origin = world.origin(good, name)
    world.upstream(name, f'{{ url = "http://{name}.internal:{origin.port}", resolve = "each" }}')


def replaced(gate: Gate, name: str, world: World) -> Seen:
    assert world.reached[get(gate, name).identifier] == ["old"]
    world.dns.add(f"{name}.internal", "A", "127.0.0.2", ttl=0)
    resolved_anew(world, name)
    seen = get(gate, name)
    assert world.reached[seen.identifier] == ["new"]
    return seen


@row(200, client=replaced)
def endpoints_of_a_name_change(world, name):
    port = old_and_new(world, good)
    world.dns.add(f"{name}.internal", "A", "127.0.0.1", ttl=0)
    world.upstream(name, f'{{ url = "http://{name}.internal:{port}", resolve = "each" }}')


# -- health

PROBES = (
    'health = { path = "/healthz", interval = "200ms", timeout = "150ms", fall = 1, panic_threshold = "0%" }'
)


def sick(wire: Wire) -> None:
    """Well enough to answer, but not when it is asked how it is."""
    while head := wire.read_head():
        wire.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n" if head.target == "/healthz" else OK)


def down(gate: Gate, name: str, count: int) -> bool:
    """Whether probes have found so many of an upstream's endpoints to be down."""
    key = f'upstream="{name}"'
    seen = [value for label, value in gate.metrics().items() if "_endpoint_up{" in label and key in label]
    return seen.count(0.0) == count


def while_down(gate: Gate, name: str, _world: World) -> Seen:
    wait_for("the probes", lambda: down(gate, name, 1))
    return get(gate, name)


@row(200, client=while_down)
def all_endpoints_unhealthy(world, name):
    world.upstream(name, world.origin(sick, name).url, more=PROBES)


def past_the_sick(gate: Gate, name: str, world: World) -> Seen:
    wait_for("the probes", lambda: down(gate, name, 1))
    seen = [get(gate, name) for _ in range(6)]
    assert all(world.reached[one.identifier] == ["well"] for one in seen)
    return seen[-1]


@row(200, client=past_the_sick)
def one_endpoint_unhealthy(world, name):
    world.upstream(name, world.origin(sick, "sick").url, world.origin(good, "well").url, more=PROBES)
