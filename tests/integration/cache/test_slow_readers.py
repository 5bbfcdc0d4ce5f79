"""Clients that ask for much and take little: what they are still sent and the cache has let go of is bounded."""

import socket
import time

from tests.integration.cache.test_poisoning import ask, is_hit
from tests.integration.gate import Gate, wait_for

from headgate.testing.origin import Origin

TEXT = """
[cache]
enabled = true
memory = "64MiB"
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""
DISK = TEXT.replace("64MiB", "4MiB").replace("[cache]", '[cache]\ndisk = "512MiB"\nbackground_fill = "1MiB"')
MIB = 1 << 20
FILM = 32  # MiB
MINUTE = "Cache-Control: max-age=60"
SIZE = 8_000_000  # under `max_object`, and more than buffers of sockets take
HELD = 16 * 1024 * 1024  # a quarter of the memory
SLOW = 4
MORE = 12


def slow(gate, path):
    """Ask, and read nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(20)
    client.connect(("127.0.0.1", gate.http_ports[0]))
    client.sendall(b"GET %s HTTP/1.1\r\nHost: a.test\r\n\r\n" % path.encode())
    client.recv(1, socket.MSG_PEEK)
    return client


def held(gate):
    return gate.metrics()['headgate_held_bytes{limit="cache-fills"}']


def stored(gate):
    return gate.metrics()["headgate_cache_objects"]


def test_what_slow_clients_hold_of_what_was_evicted_is_bounded(gate, story):
    readers = []
    for number in range(SLOW):
        path = f"/slow/{number}"
        story.tell(path, bytes(SIZE), MINUTE)
        if number % 2:
            ask(gate, path)  # so that this one reads what is stored, and the others what is coming in
        readers.append(slow(gate, path))
    wait_for("all to be stored", lambda: stored(gate) == SLOW)
    wait_for("the store alone to count them", lambda: held(gate) == 0)
    refused = 0
    for number in range(MORE):
        story.tell(f"/more/{number}", bytes(SIZE), MINUTE)
        refused += b"; stored" not in ask(gate, f"/more/{number}")[1].partition(b"\r\n\r\n")[0]
    assert refused, "all were kept, beside what slow clients hold"
    wait_for("what was evicted to count", lambda: held(gate) > 2 * SIZE)
    assert held(gate) <= HELD
    assert len([event for event in gate.events("cache-limit") if "slow clients" in event["detail"]]) == 1
    wait_for(
        "all to be counted",
        lambda: gate.metrics()['headgate_cache_limited_total{limit="room"}'] == refused,
    )
    for reader in readers:
        reader.close()
    wait_for("nothing to be held", lambda: held(gate) == 0)
    story.tell("/after", bytes(SIZE), MINUTE)
    ask(gate, "/after")
    assert is_hit(ask(gate, "/after")[1])


class Film:
    """An origin of many MiB that counts what it could send."""

    def __init__(self):
        self.sent = 0
        self.origin = Origin(self.serve)

    def serve(self, wire):
        while head := wire.read_head():
            wire.read_content(head)
            wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nCache-Control: max-age=60\r\n\r\n" % (FILM * MIB)
            )
            for number in range(FILM):
                wire.send(bytes([number]) * MIB)
                self.sent = number + 1


def taken(client):
    """Take all that is left, at speed."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
    octets = b""
    while len(octets) < FILM * MIB:
        octets += client.recv(MIB)
    return octets.partition(b"\r\n\r\n")[2]


def still(film):
    """How much the origin has sent when it sends no more."""
    before = -1
    while film.sent < 2 or film.sent != before:
        before = film.sent
        time.sleep(0.3)  # nothing tells that nothing comes
    return before


def test_what_is_on_the_disk_alone_comes_no_further_for_clients_who_take_nothing(tmp_path):
    film = Film()
    with (
        film.origin,
        Gate(tmp_path, DISK.format(url=film.origin.url)) as gate,
        slow(gate, "/film") as first,
        slow(gate, "/film") as second,
    ):
        assert still(film) <= FILM // 2  # 1 MiB, and what sockets hold on both sides
        # One who comes and takes what there is lets it go on, and so does one who takes up reading.
        wanted = b"".join(bytes([number]) * MIB for number in range(FILM))
        with slow(gate, "/film") as another:
            assert taken(another) == wanted
        assert taken(first) == taken(second) == wanted


def test_an_origin_that_waits_is_let_go_on_by_the_first_who_reads_and_left_by_the_last_who_goes(tmp_path):
    film = Film()
    with film.origin, Gate(tmp_path, DISK.format(url=film.origin.url)) as gate:
        with slow(gate, "/film") as client:
            before = still(film)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
            for _ in range(8 * 64):
                client.recv(MIB // 64, socket.MSG_WAITALL)
            assert before < still(film) < FILM
        wait_for("it to be given up", lambda: gate.metrics()["headgate_cache_fills_left_total"] == 1)
        assert film.sent < FILM
