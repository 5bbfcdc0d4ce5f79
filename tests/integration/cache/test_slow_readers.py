"""Clients that ask for much and take little: what they are still sent and the cache has let go of is bounded."""

import socket

from tests.integration.cache.test_poisoning import ask, is_hit
from tests.integration.gate import wait_for

TEXT = """
[cache]
enabled = true
memory = "64MiB"
[[route]]
upstream = "origin"
[upstream.origin]
endpoints = ["{url}"]
"""
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
