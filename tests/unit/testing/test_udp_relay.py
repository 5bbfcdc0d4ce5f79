"""The relay of datagrams: what its weather does to them, and that it does the same again with the same seed."""

import contextlib
import select
import socket
import time
from collections import Counter
from dataclasses import replace

import pytest

from headgate.net.udp import RECEIVE_BUFFER, UdpSocket
from headgate.testing.udp_relay import CLEAR, UdpRelay, Weather

COUNT = 400
SIZE = 1200


class End:
    """A socket that counts what comes to it."""

    def __init__(self, host="127.0.0.1"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind((host, 0))
        self.address = sock.getsockname()
        self.udp = UdpSocket(sock)
        self.found = []
        self.peers = []
        self.marks = []

    def close(self):
        self.udp.close()

    def send(self, number, to, ecn=0, size=SIZE):
        data = number.to_bytes(4, "big").ljust(size, b".")
        self.udp.send(memoryview(data), size, to, b"", ecn)

    def collect(self, seconds=5.0, enough=lambda: False):
        """Read until `enough`, or until nothing came for `seconds`."""
        buffer = bytearray(RECEIVE_BUFFER)
        poller = select.poll()
        poller.register(self.udp.fileno(), select.POLLIN)
        while not enough() and poller.poll(int(seconds * 1000)):
            while (size := self.udp.receive(buffer)) >= 0:
                step = self.udp.segment or 1
                for at in range(0, max(size, 1), step):
                    self.found.append(bytes(buffer[at : min(at + step, size)]))
                    self.peers.append(self.udp.peer)
                    self.marks.append(self.udp.ecn)
        return [int.from_bytes(data[:4], "big") for data in self.found]


@pytest.fixture
def ends():
    with contextlib.closing(End()) as client, contextlib.closing(End()) as server:
        yield client, server


def carry(client, server, relay, count=COUNT, ecn=0):
    """Send numbered datagrams and return the numbers as they come; slowly enough that no queue is full."""
    for number in range(count):
        client.send(number, relay.address, ecn)
        if number % 50 == 49:
            handled = number + 1
            end = time.monotonic() + 5
            while len([s for s in relay.seen if s.is_up]) < handled and time.monotonic() < end:
                server.collect(0.001)
    return server.collect(0.2)


def test_in_clear_weather_everything_passes_in_order_both_ways(ends):
    client, server = ends
    with UdpRelay(server.address) as relay:
        assert carry(client, server, relay) == list(range(COUNT))
        (back,) = set(server.peers)
        assert back != client.address
        for number in range(COUNT):
            server.send(number, back)
            if number % 50 == 49:
                client.collect(0.01)
        assert client.collect(5.0, lambda: len(client.found) == COUNT) == list(range(COUNT))
        assert set(client.peers) == {relay.address}
        assert {s.fate for s in relay.seen} == {"passed"}
        assert relay.octets(is_up=True) == relay.octets(is_up=False) == COUNT * SIZE


def test_the_same_seed_is_the_same_weather(ends):
    client, server = ends
    stormy = Weather(loss=0.2, corrupt=0.1, duplicate=0.1)
    fates = []
    for seed in (5, 5, 6):
        with UdpRelay(server.address, seed=seed, up=stormy) as relay:
            carry(client, server, relay)
            fates.append([s.fate for s in relay.seen if s.is_up])
    assert len(fates[0]) == COUNT
    assert fates[0] == fates[1] != fates[2]
    counted = Counter(fates[0])
    assert 40 < counted["lost"] < 120
    assert 10 < counted["corrupted"] < 60
    assert 10 < counted["twice"] < 60


def test_each_fate_is_what_the_other_end_meets(ends):
    client, server = ends
    with UdpRelay(server.address, up=Weather(loss=0.2, corrupt=0.1, duplicate=0.1)) as relay:
        carry(client, server, relay)
        fates = Counter(s.fate for s in relay.seen)
        whole = {number.to_bytes(4, "big").ljust(SIZE, b".") for number in range(COUNT)}
        assert len(server.found) == COUNT - fates["lost"] + fates["twice"]
        assert len([data for data in server.found if data not in whole]) == fates["corrupted"]
        assert relay.lost == fates["lost"]


def test_some_come_late(ends):
    client, server = ends
    with UdpRelay(server.address, up=Weather(reorder=0.1, late=0.05)) as relay:
        numbers = carry(client, server, relay)
    assert sorted(numbers) == list(range(COUNT))
    assert numbers != sorted(numbers)


def test_a_delay_is_waited(ends):
    client, server = ends
    with UdpRelay(server.address, up=Weather(delay=0.15)) as relay:
        begin = time.monotonic()
        client.send(7, relay.address)
        assert server.collect(5.0, lambda: server.found) == [7]
        assert time.monotonic() - begin >= 0.15


def test_a_narrow_road_takes_its_time_and_drops_what_its_queue_does_not_hold(ends):
    client, server = ends
    with UdpRelay(server.address, up=Weather(rate=100 * SIZE, queue=20 * SIZE)) as relay:
        begin = time.monotonic()
        for number in range(60):
            client.send(number, relay.address)
        numbers = server.collect(0.2)
    assert 20 <= len(numbers) <= 45
    assert numbers[:20] == list(range(20))
    assert time.monotonic() - begin >= 0.2


def test_those_in_a_gap_and_too_long_ones_are_lost(ends):
    client, server = ends
    with UdpRelay(server.address, up=Weather(gap=(1, 3), largest=1300)) as relay:
        for number in range(4):
            client.send(number, relay.address)
        client.send(4, relay.address, size=1301)
        client.send(5, relay.address, size=1300)
        assert server.collect(5.0, lambda: len(server.found) == 3) == [0, 3, 5]


def test_marks_pass_are_set_or_are_taken_off(ends):
    client, server = ends
    ect0, ce = 2, 3
    with UdpRelay(server.address) as relay:
        for weather, mark, arrives in (
            (CLEAR, ect0, ect0),
            (Weather(mark=1.0), ect0, ce),
            (Weather(mark=1.0), 0, 0),  # who cannot be marked is not
            (Weather(bleach=True), ect0, 0),
        ):
            relay.up = weather
            server.marks.clear()
            client.send(1, relay.address, mark)
            server.collect(5.0, lambda: server.marks)
            assert server.marks == [arrives]


def test_rebinding_changes_the_port_then_the_address_and_the_way_back_follows(ends):
    client, server = ends
    with UdpRelay(server.address) as relay:
        for number, host in enumerate(("", "", "127.0.0.2")):
            if number:
                relay.rebind(host=host)
            client.send(number, relay.address)
            server.collect(5.0, lambda number=number: len(server.found) > number)
        assert len(set(server.peers)) == 3
        assert [host for host, _ in server.peers] == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]
        assert relay.sources() == [port for _, port in server.peers]
        server.send(9, server.peers[0])  # nobody is there any more
        server.send(8, server.peers[2])
        assert client.collect(0.2) == [8]


def test_two_clients_are_two_sources(ends):
    client, server = ends
    with contextlib.closing(End()) as other, UdpRelay(server.address) as relay:
        client.send(1, relay.address)
        other.send(2, relay.address)
        server.collect(5.0, lambda: len(server.found) == 2)
        for data, peer in zip(server.found, server.peers, strict=True):
            server.send(data[3] + 10, peer)
        assert client.collect(5.0, lambda: client.found) == [11]
        assert other.collect(5.0, lambda: other.found) == [12]


def test_ipv6():
    with (
        contextlib.closing(End("::1")) as client,
        contextlib.closing(End("::1")) as server,
        UdpRelay(server.address[:2], host="::1") as relay,
    ):
        client.send(1, (*relay.address, 0, 0))
        assert server.collect(5.0, lambda: server.found) == [1]


def test_weather_changes_while_it_runs(ends):
    client, server = ends
    with UdpRelay(server.address) as relay:
        client.send(1, relay.address)
        server.collect(5.0, lambda: server.found)
        relay.up = replace(relay.up, loss=1.0)
        client.send(2, relay.address)
        assert server.collect(0.1) == [1]
        relay.up = CLEAR
        client.send(3, relay.address)
        assert server.collect(5.0, lambda: len(server.found) == 2) == [1, 3]
