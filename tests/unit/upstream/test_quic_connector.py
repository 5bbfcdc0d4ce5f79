"""Dialling QUIC on real sockets: names, both families in one deadline, verification, and what each failure says."""

import asyncio
import errno
import os
import socket
import struct

import pytest
import uvloop
from tests.integration.origins.h3_origin import H3Origin

from headgate.clock import SystemClock
from headgate.counters import DIAL_ERRORS, DIAL_FAILED_FIRST, SIZE, Counters
from headgate.errors import HeadgateError
from headgate.net.addresses import Address
from headgate.net.dialer import Dialer
from headgate.net.poller import Poller
from headgate.testing.pki import Authority
from headgate.testing.relay import bind
from headgate.tls.client import ClientTls, ClientTlsSettings
from headgate.tls.quic_client import QuicClientTls
from headgate.upstream.h3_pool import H3Pool
from headgate.upstream.quic_connector import QuicConnector

ROOT = Authority.root("Origins")
LEAF = ROOT.leaf("localhost", "127.0.0.1")


@pytest.fixture(scope="module")
def origin():
    with H3Origin(LEAF.chain_pem, LEAF.key_pem) as running:
        yield running


class Names:
    def __init__(self, **families):
        self.families = families

    async def lookup(self, host, deliver, *, timeout):
        for family, ip in self.families.items():
            deliver(family, (Address(family, ip),))
        return ()


class Dial:
    """One worker's means to dial, in a loop that ends with the test."""

    def __init__(self, **tls):
        self.poller = Poller()
        self.counters = Counters()
        self.failures = []
        settings = {"authorities": ROOT.pem, **tls}
        self.tls = QuicClientTls(ClientTls(ClientTlsSettings(**settings)))

    def run(self, port, *, host="localhost", names=None, timeout=5.0, then=None):
        """Connect and return (driver, error)."""

        async def work():
            loop = asyncio.get_running_loop()
            loop.add_reader(self.poller.fileno(), self.poller.dispatch)
            dialer = Dialer(names or Names(ipv4="127.0.0.1"), counters=self.counters, attempt_delay=0.05)
            connector = QuicConnector(
                dialer, self.tls, self.poller, [0] * SIZE, SystemClock(), lambda *what: None
            )
            pool = H3Pool(
                f"https://{host}",
                host,
                port,
                is_only=True,
                connector=connector,
                poller=self.poller,
                values=[0] * SIZE,
                tell=lambda *what, **more: None,
                connect_timeout=timeout,
            )
            try:
                driver = await connector.connect(pool, port)
            except HeadgateError as error:
                return None, error
            finally:
                await asyncio.sleep(0.01)
            if then is not None:
                await then(driver)
            resumed = driver.quic.tls.resumed
            if not driver.closed:
                driver.close(0x100, "")
                await asyncio.sleep(0.01)
            return resumed, None

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            before = set(os.listdir("/proc/self/fd"))
            found = runner.run(work())
            # The socket of each attempt is closed, the one that won too.
            assert len(set(os.listdir("/proc/self/fd")) - before) <= 2
        self.poller.close()
        return found

    def failed(self, family, name):
        place = ("ipv4", "ipv6", "unix").index(family) * len(DIAL_ERRORS) + DIAL_ERRORS.index(name)
        return self.counters.values[DIAL_FAILED_FIRST + place]


def refused(port, **tls):
    _, error = Dial(**tls).run(port)
    assert error is not None
    return str(error)


def test_a_handshake_with_name_and_chain_verified(origin):
    resumed, error = Dial().run(origin.port)
    assert (resumed, error) == (False, None)


def test_an_address_is_verified_as_one(origin):
    assert Dial().run(origin.port, host="127.0.0.1")[1] is None


def test_a_certificate_for_another_name(origin):
    assert "the certificate is not for other.test" in refused(origin.port, name="other.test")


def test_a_certificate_of_a_stranger(origin):
    assert "EPROTO" in refused(origin.port, authorities=Authority.root("Other").pem)


def test_without_verification_anybody_is_believed(origin):
    assert Dial(verify=False, name="other.test").run(origin.port)[1] is None


def test_nobody_listens():
    dial = Dial()
    with bind("127.0.0.1", kind=socket.SOCK_DGRAM) as sock:
        port = sock.getsockname()[1]
    _, error = dial.run(port)
    assert f"127.0.0.1:{port} ECONNREFUSED" in str(error)
    assert error.reason == "connect"
    assert dial.failed("ipv4", "ECONNREFUSED") == 1


def test_nobody_answers():
    dial = Dial()
    with bind("127.0.0.1", kind=socket.SOCK_DGRAM) as sock:
        _, error = dial.run(sock.getsockname()[1], timeout=0.5)
    assert error.reason == "timeout"
    assert "ETIMEDOUT" in str(error)
    assert dial.failed("ipv4", "ETIMEDOUT") == 1


@pytest.mark.parametrize("has_socket", [True, False], ids=["swallowed", "refused"])
def test_the_other_family_is_tried_in_the_same_deadline(origin, has_socket):
    """W3: the leading family has no road."""
    dial = Dial()
    names = Names(ipv6="::1", ipv4="127.0.0.1")
    hole = bind("::1", origin.port, kind=socket.SOCK_DGRAM) if has_socket else None
    try:
        _, error = dial.run(origin.port, names=names)
    finally:
        if hole is not None:
            hole.close()
    assert error is None
    assert dial.failed("ipv6", "overtaken" if has_socket else "ECONNREFUSED") == 1


def test_rfc9000_6_2_a_server_of_other_versions_is_told_in_words():
    """Version Negotiation ends the attempt at once."""
    with bind("127.0.0.1", kind=socket.SOCK_DGRAM) as sock:
        sock.settimeout(5.0)

        async def negotiate():
            loop = asyncio.get_running_loop()
            data, peer = await loop.run_in_executor(None, sock.recvfrom, 65535)
            destination, rest = data[6 : 6 + data[5]], data[6 + data[5] :]
            source = rest[1 : 1 + rest[0]]
            ids = bytes([len(source)]) + source + bytes([len(destination)]) + destination
            sock.sendto(b"\xc0" + bytes(4) + ids + struct.pack(">I", 0x0A1A2A3A), peer)

        dial = Dial()
        port = sock.getsockname()[1]

        async def work():
            return await asyncio.to_thread(dial.run, port)

        async def both():
            answer, _ = await asyncio.gather(work(), negotiate())
            return answer

        _, error = asyncio.run(both())
    assert "the server speaks 0xa1a2a3a" in str(error)


def test_a_session_is_resumed(origin):
    dial = Dial()

    async def keep(driver):
        deadline = asyncio.get_running_loop().time() + 5.0
        while asyncio.get_running_loop().time() < deadline:
            if driver.quic.tls._sessions:
                return  # the pool takes them when the connection is over
            await asyncio.sleep(0.005)

    assert dial.run(origin.port, then=keep) == (False, None)
    again = Dial()
    again.tls = dial.tls
    assert again.run(origin.port) == (True, None)


def test_a_host_that_can_be_no_name():
    _, error = Dial().run(443, host="a" * 300)
    assert error is not None
    assert error.attempts[0].errno == errno.EPROTO
