"""The attacks over HTTP/2: that they are judged, and that their pieces are what they say."""

import socket
import time

import h2.config
import h2.connection
import h2.events
import pytest
from bench.attack import run as attack
from bench.attack.gate import Headgate
from bench.attack.h2_attacks import CALM, H2_ATTACKS, closed
from bench.attack.h2_target import H2Target, Windows, get, numbers, post, same

from headgate.counters import TABLE
from headgate.testing import h2_raw
from headgate.testing.h2_raw import RawH2


@pytest.fixture
def server(tmp_path):
    gate = Headgate("headgate", tmp_path, 0, "h2")
    (tmp_path / "output-1").write_text("")
    return gate


@pytest.fixture
def pair():
    """A raw client, and the server's end of its socket."""
    ours, theirs = socket.socketpair()
    raw = RawH2(ours)
    yield raw, theirs
    raw.close()
    theirs.close()


def judged(server, **changes):
    right = {"name": "pings", "packets": 9, "closes": {CALM: 1}, "connections": 1, "p99": 5.0}
    right["counters"] = {closed("ping-flood"): 1.0}
    row = attack.Row(**{**right, **changes})
    attack.judge(row, server, quiet=2.0)
    return row.wrong


def test_what_is_wrong(server):
    assert judged(server) == []
    assert judged(server, memory_peak=8.0) == []
    assert "memory" in judged(server, memory_peak=8.1)[0]
    assert "closed by" in judged(server, closes={"without a word": 1})[0]
    assert "did not move" in judged(server, counters={})[0]


def test_counters_are_those_that_there_are():
    known = set()
    for row in TABLE:
        labels = ",".join(f'{key}="{value}"' for key, value in row.labels)
        known.add(f"{row.name}{{{labels}}}" if labels else row.name)
    assert {one.counter for one in H2_ATTACKS.values() if one.counter} <= known


def test_each_attack_says_what_it_does():
    assert all(one.run.__doc__ for one in H2_ATTACKS.values())
    assert len({one.run for one in H2_ATTACKS.values()}) == len(H2_ATTACKS) >= 30


def test_each_attack_ends_when_its_time_is_over():
    for one in H2_ATTACKS.values():
        target = H2Target("127.0.0.1", 9, time.monotonic() - 1)
        one.run(target)
        assert target.packets == target.connections == 0


def test_requests_are_genuine(pair):
    raw, sock = pair
    peer = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    peer.initiate_connection()
    raw.start()
    raw.send(get(1), post(3, b"/sink", (b"content-length", b"5")), h2_raw.data(3, b"hello", end=True))
    events = peer.receive_data(sock.recv(1 << 16))
    kinds = [type(event) for event in events]
    assert kinds.count(h2.events.RequestReceived) == kinds.count(h2.events.StreamEnded) == 2


def test_windows_are_kept(pair):
    raw, sock = pair
    windows = Windows()
    windows.open(1)
    windows.spend(1, 65_535)
    assert windows.room(1) == 0
    sock.sendall(
        h2_raw.settings((h2_raw.INITIAL_WINDOW_SIZE, 65_545), (h2_raw.MAX_CONCURRENT_STREAMS, 5))
        + h2_raw.window_update(0, 1000)
        + h2_raw.window_update(1, 3)
    )
    windows.take(raw)
    assert windows.room(1) == 13
    windows.open(3)
    assert windows.room(3) == 1000
    sock.sendall(h2_raw.rst_stream(3))
    windows.take(raw)
    assert windows.room(3) == 0


def test_bursts():
    octets, count = same(h2_raw.ping(), 1700)(None, 0)
    assert (len(octets), count) == (1700, 100)
    assert [*numbers(0, 2), *numbers(1, 2)] == [3, 5, 7, 9]
