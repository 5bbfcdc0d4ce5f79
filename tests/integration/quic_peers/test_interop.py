"""The cases of the QUIC interop runner, by its names, over real sockets through a relay with weather.

Each runs between the gate and clients of others, and between our client and servers of others, as far as the other
can play the part. A case passes when every octet of every file is right and what gives the case its name was seen:
on the wire, in the peer's log, or in the state of a connection of ours.
"""

import asyncio
import contextlib
import os
import re
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from aioquic.tls import CipherSuite, Epoch
from tests.integration.gate import wait_for
from tests.integration.quic_peers.ours import OurClient, content, content_of, digest
from tests.integration.quic_peers.peers import (
    AioClient,
    AioServer,
    GateServer,
    GtlsClient,
    GtlsServer,
    OurFetch,
)
from tests.unit.engine.tls13.peers import trusting

from headgate.engine.quic.connection import connect
from headgate.engine.quic.levels import APPLICATION, EARLY
from headgate.engine.quic.packet import VERSION_1, VERSION_2, parse_long_header
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.groups import X25519
from headgate.engine.tls13.settings import ClientSettings
from headgate.engine.tls13.suites import TLS_CHACHA20_POLY1305_SHA256
from headgate.testing.pki import Authority
from headgate.testing.relay import bind
from headgate.testing.udp_relay import UdpRelay, Weather

pytestmark = pytest.mark.slow

CLIENTS = {"ours": OurFetch, "gtls": GtlsClient, "aioquic": AioClient}
SERVERS = {"gtls": GtlsServer, "aioquic": AioServer}
# One of the two is ours.
PAIRS = [("gtls", "gate"), ("aioquic", "gate"), ("ours", "gtls"), ("ours", "aioquic"), ("ours", "gate")]
KIB, MIB = 1024, 1 << 20
UNKNOWN = 0x1A2A3A4A  # a version that is reserved so that nobody knows it (RFC 9000 section 15)


def pairs(*chosen):
    chosen = chosen or PAIRS
    return pytest.mark.parametrize(("client", "server"), chosen, ids=[f"{a}-to-{b}" for a, b in chosen])


class Lab:
    """One gate for all cases, and servers of others for each."""

    def __init__(self, gate):
        self.gate = gate

    @contextlib.contextmanager
    def serving(self, server, names, host="127.0.0.1", **options):
        if server == "gate":
            yield self.gate.address(host)
        else:
            with SERVERS[server](names, host=host, **options) as one:
                yield one.address

    @contextlib.contextmanager
    def road(self, server, names, *, host="127.0.0.1", seed=1, keep=64, up=None, down=None, **options):
        """A relay with its weather in front of a server."""
        weather = {key: value for key, value in (("up", up), ("down", down)) if value is not None}
        with (
            self.serving(server, names, host, **options) as address,
            UdpRelay(address, host=host, seed=seed, keep=keep, **weather) as relay,
        ):
            yield relay

    def run(self, client, server, sizes, **road):
        """Fetch through the weather and check every octet; return the relay with what it saw."""
        names = [f"b{size}" for size in sizes]
        with self.road(server, names, **road) as relay:
            fetched(client, relay, names)
        return relay


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    with GateServer(tmp_path_factory.mktemp("gate")) as gate:
        yield Lab(gate)


def fetched(client, relay, names, **options):
    """Fetch with a client by its name or with one that is made already, and check every octet."""
    one = CLIENTS[client](**options) if isinstance(client, str) else client
    check(one.fetch(relay.address, names), names)
    return one


def check(bodies, names):
    got = [None if body is None else len(body) for body in bodies]
    assert got == [len(content_of(name)) for name in names]
    assert bodies == [content_of(name) for name in names]


# What is asked of every pair


@pairs()
def test_handshake(lab, client, server):
    lab.run(client, server, [KIB])


@pairs()
def test_transfer(lab, client, server):
    lab.run(client, server, [2 * MIB, MIB])


@pairs()
def test_longrtt(lab, client, server):
    relay = lab.run(client, server, [32 * KIB], up=Weather(delay=0.3), down=Weather(delay=0.3))
    # Nobody sends its first flight again and again while the answer is on the road.
    early = [seen for seen in relay.seen if seen.is_up and seen.at - relay.seen[0].at < 0.25]
    assert len(early) <= 4


@pairs()
def test_multiplexing(lab, client, server):
    """More requests than streams may be open at a time: the other side has to grant new ones, again and again."""
    lab.run(client, server, [f"32-{number}" for number in range(400)])


@pairs()
def test_http3(lab, client, server):
    lab.run(client, server, [f"{100 * KIB}-{number}" for number in range(6)])


@pairs()
def test_ipv6(lab, client, server):
    lab.run(client, server, [100 * KIB], host="::1")


def test_uploads(lab):
    """More than any window, both ways at once."""
    with lab.road("gate", []) as relay, OurClient(relay.address) as client:
        bodies = [content(size) for size in (3 * MIB, 2 * MIB)]
        streams = [client.ask(b"POST", b"/", body) for body in bodies]
        streams.append(client.ask(b"GET", b"/b%d" % (2 * MIB)))
        expected = [digest(body).encode() for body in bodies] + [content(2 * MIB)]
        assert [client.answer(stream) for stream in streams] == [(200, body) for body in expected]


# Bad weather


@pairs()
def test_transferloss(lab, client, server):
    weather = Weather(loss=0.02, delay=0.005)
    relay = lab.run(client, server, [512 * KIB], seed=11, up=weather, down=weather)
    assert relay.lost


@pairs()
def test_transfercorruption(lab, client, server):
    weather = Weather(corrupt=0.02, delay=0.005)
    relay = lab.run(client, server, [512 * KIB], seed=12, up=weather, down=weather)
    assert any(seen.fate == "corrupted" for seen in relay.seen)


@pairs()
def test_disorder(lab, client, server):
    """Not among the runner's names: some late, some twice."""
    weather = Weather(reorder=0.05, late=0.01, duplicate=0.05, delay=0.005)
    lab.run(client, server, [512 * KIB], seed=13, up=weather, down=weather)


def many(lab, client, server, weather, count=6):
    """Shake hands `count` times at once, each for a file of its own."""
    names = [f"b{KIB}-{number}" for number in range(count)]
    with (
        lab.road(server, names, seed=14, up=weather, down=weather) as relay,
        ThreadPoolExecutor(count) as pool,
    ):
        for done in [pool.submit(fetched, client, relay, [name]) for name in names]:
            done.result()
        return relay


@pairs()
def test_handshakeloss(lab, client, server):
    relay = many(lab, client, server, Weather(loss=0.15, delay=0.01))
    assert relay.lost


@pairs()
def test_handshakecorruption(lab, client, server):
    relay = many(lab, client, server, Weather(corrupt=0.15, delay=0.01))
    assert any(seen.fate == "corrupted" for seen in relay.seen)


@pairs()
def test_blackhole(lab, client, server):
    """All goes dark for a second in the midst of a transfer; the same connection ends it."""
    slow = Weather(rate=4 * MIB)
    names = [f"b{2 * MIB}"]
    with lab.road(server, names, up=slow, down=slow) as relay, ThreadPoolExecutor(1) as pool:
        done = pool.submit(fetched, client, relay, names)
        wait_for("a quarter of it", lambda: relay.octets(is_up=False) > MIB // 2)
        relay.up = relay.down = Weather(loss=1.0)
        time.sleep(1.0)  # the darkness itself
        relay.up = relay.down = slow
        done.result()
        assert len(relay.sources()) == 1


# How much comes through: 10 Mbit/s and 30 ms there and back, as the runner has it

MEGABIT = 1_000_000 / 8
NARROW = Weather(rate=10 * MEGABIT, delay=0.015)


@pairs(("gtls", "gate"), ("ours", "gtls"))
def test_goodput(lab, client, server):
    """Of what the road takes, four fifths at least are the file itself, from the first packet to the last."""
    size = 10 * MIB
    names = [f"b{size}"]
    with lab.road(server, names, up=NARROW, down=NARROW) as relay:
        fetched(client, relay, names)
    took = relay.seen[-1].at - relay.seen[0].at
    assert size / took >= 0.8 * NARROW.rate, took


def test_goodput_of_an_upload(lab):
    size = 10 * MIB
    body = content(size)
    with lab.road("gate", [], up=NARROW, down=NARROW) as relay, OurClient(relay.address) as client:
        assert client.answer(client.ask(b"POST", b"/", body)) == (200, digest(body).encode())
    took = relay.seen[-1].at - relay.seen[0].at
    assert size / took >= 0.8 * NARROW.rate, took


def test_crosstraffic(lab):
    """Two connections on one road, to clients of one kind: neither takes much more than its half.

    Which packets a full router drops is chance: one uneven transfer is weighed against two more.
    """
    evenness = [side_by_side(lab)]
    if evenness[0] < 0.7:
        evenness += [side_by_side(lab), side_by_side(lab)]
    assert statistics.median(evenness) >= 0.7, evenness


def side_by_side(lab):
    """Return the smaller share of two downloads, as a part of its half; together they fill the road."""
    names = [f"b{5 * MIB}"]
    with lab.road("gate", names, up=NARROW, down=NARROW) as relay, ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(fetched, "gtls", relay, names) for _ in range(2)]:
            done.result()
    flows = {
        port: [seen for seen in relay.seen if not seen.is_up and seen.source == port]
        for port in relay.sources()
    }
    began = max(seens[0].at for seens in flows.values())
    ended = min(seens[-1].at for seens in flows.values())
    shares = [
        sum(seen.size for seen in seens if seen.fate == "passed" and began <= seen.at <= ended)
        for seens in flows.values()
    ]
    both = sorted((seen for seens in flows.values() for seen in seens), key=lambda seen: seen.at)
    assert 2 * 5 * MIB / (both[-1].at - both[0].at) >= 0.8 * NARROW.rate
    return min(shares) / (sum(shares) / 2)


# Addresses that change


def destinations(relay, port):
    """The connection IDs of short packets that came from `port`: eight octets, as the gate's are."""
    return {
        seen.head[1:9] for seen in relay.seen if seen.is_up and seen.source == port and seen.head[0] < 0x80
    }


def rebound(lab, client, server, host):
    slow = Weather(rate=4 * MIB)
    names = [f"b{2 * MIB}"]
    with lab.road(server, names, up=slow, down=slow) as relay, ThreadPoolExecutor(1) as pool:
        done = pool.submit(fetched, client, relay, names)
        wait_for("a quarter of it", lambda: relay.octets(is_up=False) > MIB // 2)
        relay.rebind(host=host)
        done.result()
        before, after = relay.sources()
        # Most of what was left came to the new address, and nobody knew before the server did.
        moved = sum(seen.size for seen in relay.seen if not seen.is_up and seen.source == after)
        assert moved > MIB
        if server == "gate":
            assert destinations(relay, after) & destinations(relay, before)


@pairs()
def test_rebind_port(lab, client, server):
    rebound(lab, client, server, "")


@pairs()
def test_rebind_addr(lab, client, server):
    rebound(lab, client, server, "127.0.0.2")


@pairs(("gtls", "gate"), ("ours", "gtls"), ("ours", "aioquic"), ("ours", "gate"))
def test_connectionmigration(lab, client, server):
    """The client moves on purpose, with a connection ID that nobody saw on the old path (RFC 9000 section 9.5)."""
    slow = Weather(rate=4 * MIB)
    names = [f"b{2 * MIB}"]
    with lab.road(server, names, up=slow, down=slow) as relay:
        if client == "gtls":
            fetched(GtlsClient("--change-local-addr=100ms"), relay, names)
        else:
            # Its socket has all addresses of the machine, and says with each batch from which it goes.
            one = fetched(OurFetch(host="0.0.0.0", acts=move_later, at_once=1), relay, names)
            assert one.quic.path.is_validated
            assert one.quic.path.local[4:8] == socket.inet_aton(OTHER)
        before, after = relay.sources()
        moved = sum(seen.size for seen in relay.seen if not seen.is_up and seen.source == after)
        assert moved > MIB // 2
        assert destinations(relay, after)
        assert not destinations(relay, after) & destinations(relay, before)


OTHER = "127.0.0.2"


def move_later(client):
    """Move when a quarter of what will be asked for has come."""

    def came():
        return sum(len(body) for _, body, _ in client.answers.values()) > MIB // 2

    def move():
        client.wait(came)
        client.wait(
            lambda: client.quic.migrate(b"\0" * 4 + socket.inet_aton(OTHER) + b"\0" * 4, time.monotonic())
        )

    threading.Thread(target=move, daemon=True).start()


# What is agreed on

CHACHA = "NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:+CHACHA20-POLY1305"


def test_chacha20_as_server(lab):
    """They offer nothing else."""
    names = [f"b{MIB}"]
    with lab.road("gate", names) as relay:
        fetched(GtlsClient(f"--ciphers={CHACHA}"), relay, names)
        fetched(AioClient(cipher_suites=[CipherSuite.CHACHA20_POLY1305_SHA256]), relay, names)


@pytest.mark.parametrize("server", ["gtls", "aioquic"])
def test_chacha20_as_client(lab, server):
    names = [f"b{MIB}"]
    with lab.road(server, names) as relay:
        client = fetched("ours", relay, names, suites=(TLS_CHACHA20_POLY1305_SHA256,))
    assert client.quic.tls.suite == TLS_CHACHA20_POLY1305_SHA256


def versions(relay, *, is_up):
    """Versions of long headers in the order in which they first went that way."""
    heads = [seen.head for seen in relay.seen if seen.is_up is is_up and seen.head[0] & 0x80]
    return list(dict.fromkeys(int.from_bytes(head[1:5], "big") for head in heads))


def test_versionnegotiation_as_server(lab):
    """A version that nobody knows: Version Negotiation (version 0), then version 1."""
    names = [f"b{KIB}"]
    for client in (
        GtlsClient(f"--version={UNKNOWN:#x}", "--preferred-versions=v1"),
        AioClient(original_version=UNKNOWN, supported_versions=[UNKNOWN, 1]),
    ):
        with lab.road("gate", names) as relay:
            fetched(client, relay, names)
        assert versions(relay, is_up=True) == [UNKNOWN, 1]
        assert versions(relay, is_up=False) == [0, 1]


@pytest.mark.parametrize("server", ["gtls", "aioquic"])
def test_versionnegotiation_as_client(lab, server):
    """We begin in version 2, which they do not know, are turned away once, and go on in version 1."""
    names = [f"b{KIB}"]
    options = {"supported_versions": [VERSION_1]} if server == "aioquic" else {}
    with lab.road(server, names, **options) as relay:
        settings = ConnectionSettings(versions=(VERSION_2, VERSION_1))
        one = fetched(OurFetch(version=VERSION_2, settings=settings), relay, names)
    assert versions(relay, is_up=True) == [VERSION_2, VERSION_1]
    assert versions(relay, is_up=False) == [0, VERSION_1]
    assert one.quic.version == VERSION_1


def test_versionnegotiation_of_the_gate_with_our_first_flight(lab):
    """Ours speaks no version that the gate does not know: its first flight goes under another name."""
    with contextlib.closing(bind("127.0.0.1", kind=socket.SOCK_DGRAM)) as sock:
        sock.settimeout(10)
        settings = ClientSettings(server_name=b"a.test", verify=trusting, groups=(X25519,), shares=(X25519,))
        now = time.monotonic()
        gate = lab.gate.address()
        quic = connect(settings, ConnectionSettings(), os.urandom, now, time.time(), peer=gate)
        flight = quic.take_batch(now).data
        sock.sendto(flight[:1] + UNKNOWN.to_bytes(4, "big") + flight[5:], gate)
        answer = sock.recv(2048)
    asked, answered = (parse_long_header(data, 0, len(data)) for data in (flight, answer))
    assert {VERSION_1, VERSION_2} <= set(answered.versions)
    assert UNKNOWN not in answered.versions
    # RFC 9000 section 17.2.1: so that who did not see the client's packet cannot have sent it.
    assert (answered.destination, answered.source) == (asked.source, asked.destination)
    # An answer that names the version we began in is none, and is dropped (section 6.2).
    quic.receive_batch(answer, len(answer), gate, b"", 0, now)
    assert quic.dropped["negotiation"] == 1


@pairs(("gtls", "gate"), ("aioquic", "gate"), ("ours", "gtls"), ("ours", "aioquic"), ("ours", "gate"))
def test_keyupdate(lab, client, server):
    """The client takes new keys in the midst of a transfer, and the server follows."""
    slow = Weather(rate=4 * MIB)
    names = [f"b{MIB}"]
    with lab.road(server, names, up=slow, down=slow) as relay:
        if client == "gtls":
            one = fetched(GtlsClient("--key-update=50ms"), relay, names)
            received = [line for line in one.log.splitlines() if " pkt rx " in line and "type=1RTT" in line]
            phases = [line.rpartition(" k=")[2] for line in received]
            assert list(dict.fromkeys(phases)) == ["0", "1"]
        elif client == "aioquic":
            one = fetched(AioClient(acts=update_keys_of_aioquic), relay, names)
            assert one.quic._cryptos[Epoch.ONE_RTT].key_phase == 1
            assert one.quic._cryptos[Epoch.ONE_RTT].recv.key_phase == 1
        else:
            one = fetched(OurFetch(acts=update_keys_of_ours), relay, names)
            keys = one.quic._spaces[APPLICATION].keys
            assert (keys.write_generation, keys.read_generation) == (1, 1)


async def update_keys_of_aioquic(protocol):
    await asyncio.sleep(0.05)
    protocol._quic.request_key_update()
    protocol.transmit()


def update_keys_of_ours(client):
    client.wait(lambda: client.quic.update_keys(time.monotonic()))


# ECN

NOT_ECT, ECT_0 = 0, 2


def marks(relay, *, is_up):
    return [seen.ecn for seen in relay.seen if seen.is_up is is_up]


@pairs(("gtls", "gate"), ("ours", "gtls"), ("ours", "gate"))
def test_ecn(lab, client, server):
    """Both sides mark, and go on marking, for what arrives is reported; a full router's CE slows down, no more."""
    names = [f"b{MIB}"]
    with lab.road(server, names, up=Weather(mark=0.02), down=Weather(mark=0.02)) as relay:
        fetched(client, relay, names)
    for is_up in (True, False):
        sent = [seen for seen in relay.seen if seen.is_up is is_up]
        # But for the farewell, which is said again, octet by octet, to what still arrives (RFC 9000 section 10.2.1).
        before = [seen.ecn for seen in sent if seen.head != sent[-1].head]
        assert set(before[-10:]) == {ECT_0}


def test_ecn_ends_where_marks_do_not_arrive(lab):
    names = [f"b{MIB}"]
    with lab.road("gate", names, down=Weather(bleach=True)) as relay:
        fetched("gtls", relay, names)
    assert marks(relay, is_up=False)[-1] == NOT_ECT


def test_ecn_ends_where_nobody_reports_it(lab):
    """aioquic reads the counts of others and sends none."""
    names = [f"b{MIB}"]
    with lab.road("gate", names) as relay:
        fetched("aioquic", relay, names)
    assert marks(relay, is_up=False)[-1] == NOT_ECT


# Before an address is proved


@pytest.fixture(scope="module")
def long_chain(tmp_path_factory):
    """A gate whose certificates do not fit into three times a client's first datagram."""
    issuer = Authority.root()
    for number in range(9):
        issuer = issuer.intermediate(f"Intermediate number {number} with a name that takes its room")
    leaf = issuer.leaf("a.test")
    assert len(leaf.chain_pem) * 3 // 4 > 5 * KIB
    folder = tmp_path_factory.mktemp("long")
    with GateServer(folder, chain=leaf.chain_pem, key=leaf.key_pem) as gate:
        yield gate


@pytest.mark.parametrize("client", ["gtls", "aioquic", "ours"])
def test_amplificationlimit(long_chain, client):
    """What the client says after its first flight is lost for a while: it gets three times what came from it."""
    names = [f"b{KIB}"]
    # Where our flight comes to ngtcp2 at once it says all in one datagram, and the probes after that, each twice as
    # late as the one before, are to come before the gate gives up a client whose address is not proved.
    begin, end = {"gtls": (1, 4), "aioquic": (1, 6), "ours": (2, 6)}[client]
    with UdpRelay(long_chain.address(), up=Weather(gap=(begin, end))) as relay:
        fetched(client, relay, names)
    came = went = most = 0
    for seen in relay.seen:
        if seen.is_up and seen.fate == "passed":
            if seen.head[0] & 0xF0 == 0xE0:
                break  # a Handshake packet proves the address
            came += seen.size
        elif not seen.is_up:
            went += seen.size
            most = max(most, went)
            assert went <= 3 * came
    assert most > 3 * 1200 - 1200  # it was the limit that held it


@pairs(("ours", "gtls"), ("ours", "aioquic"))
def test_retry_as_client(lab, client, server):
    names = [f"b{KIB}"]
    options = {"retry": True} if server == "aioquic" else {"options": ["--validate-addr"]}
    with lab.road(server, names, **options) as relay:
        fetched(client, relay, names)
    assert next(seen.head[0] >> 4 for seen in relay.seen if not seen.is_up) == 0xF


@pytest.mark.parametrize("client", ["gtls", "aioquic", "ours"])
def test_retry_as_server(lab, client):
    """With many half-open connections about, whoever comes proves its address first."""
    names = [f"b{KIB}"]
    with lab.road("gate", names) as relay:
        for number in range(4):
            half_open(lab.gate.address(), f"127.0.1.{number + 1}", 28)
        fetched(client, relay, names)
    assert next(seen.head[0] >> 4 for seen in relay.seen if not seen.is_up) == 0xF


def half_open(address, host, count):
    """Begin connections and say nothing more."""
    with contextlib.closing(bind(host, kind=socket.SOCK_DGRAM)) as sock:
        for _ in range(count):
            now = time.monotonic()
            quic = connect(
                ClientSettings(server_name=b"a.test", verify=trusting, groups=(X25519,), shares=(X25519,)),
                ConnectionSettings(),
                os.urandom,
                now,
                time.time(),
                peer=address,
            )
            sock.sendto(quic.take_batch(now).data, address)


# Again


def test_resumption_with_gtls(lab, tmp_path):
    names = [f"b{KIB}"]
    counted = 'headgate_quic_handshakes_total{kind="resumed"}'
    before = lab.gate.gate.settled_metrics().get(counted, 0)
    client = GtlsClient(f"--session-file={tmp_path / 'session'}", "--disable-early-data")
    proved = []
    with lab.road("gate", names) as relay:
        for _ in range(2):
            fetched(client, relay, names)
            came = re.findall(r"frm rx \d+ Handshake CRYPTO\(0x06\) offset=\d+ len=(\d+)", client.log)
            proved.append(sum(map(int, came)))
    # The second time no certificate came, nor a signature.
    assert proved[0] > 700 > 250 > proved[1]
    wait_for(counted, lambda: lab.gate.gate.metrics().get(counted, 0) > before)
    assert lab.gate.gate.metrics()[counted] == before + 1


def test_resumption_with_aioquic(lab):
    names = [f"b{KIB}"]
    with lab.road("gate", names) as relay:
        first = fetched("aioquic", relay, names)
        again = fetched(AioClient(session_ticket=first.tickets[0]), relay, names)
    assert not first.quic.tls.session_resumed
    assert again.quic.tls.session_resumed


@pytest.mark.parametrize("server", ["gtls", "aioquic", "gate"])
def test_resumption_as_client(lab, server):
    names = [f"b{KIB}"]
    with lab.road(server, names) as relay:
        first = fetched("ours", relay, names)
        again = fetched(OurFetch(session=first.sessions[0]), relay, names)
    assert not first.quic.tls.resumed
    assert again.quic.tls.resumed


# Early data


def kinds(data):
    """The kinds of the long packets in a datagram."""
    found, at = [], 0
    while at < len(data) and data[at] & 0x80:
        header = parse_long_header(data, at, len(data))
        found.append(header.kind)
        at = header.end
    return found


@pytest.fixture(scope="module")
def early(tmp_path_factory):
    """A gate that takes early data."""
    with GateServer(tmp_path_factory.mktemp("early"), quic="[listener.quic]\nearly_data = true") as gate:
        yield Lab(gate)


def taken(lab):
    return lab.gate.gate.metrics()['headgate_quic_early_data_total{result="accepted"}']


@pytest.mark.parametrize("client", ["gtls", "aioquic", "ours"])
def test_zerortt_as_server(early, client, tmp_path):
    names = [f"b{KIB}"]
    before = taken(early)
    with early.road("gate", names, keep=1500) as relay:
        if client == "gtls":
            one = GtlsClient(f"--session-file={tmp_path / 'session'}", f"--tp-file={tmp_path / 'parameters'}")
            fetched(one, relay, names)
            again = one
        elif client == "aioquic":
            again = AioClient(session_ticket=fetched("aioquic", relay, names).tickets[0], early=True)
        else:
            again = OurFetch(session=fetched("ours", relay, names).sessions[0], early=True)
        fetched(again, relay, names)
    assert any(EARLY in kinds(seen.head) for seen in relay.seen if seen.is_up)
    wait_for("early data that is taken", lambda: taken(early) > before)


@pytest.mark.parametrize("server", ["gtls", "aioquic"])
def test_zerortt_as_client(lab, server):
    names = [f"b{KIB}"]
    with lab.serving(server, names) as address, UdpRelay(address, keep=1500) as relay:
        first = fetched("ours", relay, names)
        assert first.sessions[0].is_early
        again = fetched(OurFetch(session=first.sessions[0], early=True), relay, names)
    assert again.quic.tls.early_accepted
    assert any(EARLY in kinds(seen.head) for seen in relay.seen if seen.is_up)


# Version 2 (RFC 9369); gtlsclient knows drafts of it only


def test_v2_as_server(lab):
    names = [f"b{100 * KIB}"]
    with lab.road("gate", names) as relay:
        fetched(
            AioClient(original_version=VERSION_2, supported_versions=[VERSION_2, VERSION_1]), relay, names
        )
    assert versions(relay, is_up=True) == versions(relay, is_up=False) == [VERSION_2]


def test_v2_is_come_to_from_version_1(lab):
    """Compatible version negotiation (RFC 9368): the client begins in 1 and says that it likes 2 better."""
    names = [f"b{100 * KIB}"]
    with lab.road("gate", names) as relay:
        fetched(
            AioClient(original_version=VERSION_1, supported_versions=[VERSION_2, VERSION_1]), relay, names
        )
    assert versions(relay, is_up=True) == [VERSION_1, VERSION_2]
    assert VERSION_2 in versions(relay, is_up=False)


@pytest.mark.parametrize("server", ["aioquic", "gate"])
def test_v2_as_client(lab, server):
    names = [f"b{100 * KIB}"]
    with lab.road(server, names) as relay:
        settings = ConnectionSettings(versions=(VERSION_2, VERSION_1))
        fetched(OurFetch(version=VERSION_2, settings=settings), relay, names)
    assert versions(relay, is_up=True) == versions(relay, is_up=False) == [VERSION_2]
