"""What the bench of attacks calls wrong, and that its pieces are what they say."""

import os
import time

import pytest
from bench.attack import run as attack
from bench.attack.attacks import ATTACKS, SIZE, Forger, Target, filled
from bench.attack.gate import Headgate, memory

from headgate.engine.quic.initial import open_initial
from headgate.engine.quic.packet import parse_long_header


@pytest.fixture
def server(tmp_path):
    gate = Headgate("headgate", tmp_path, 0)
    (tmp_path / "output-1").write_text("")
    return gate


def judged(server, **changes):
    row = attack.Row(**{"name": "pings", "closes": {"H3 0x107": 3}, "connections": 3, "p99": 5.0, **changes})
    attack.judge(row, server, quiet=2.0)
    return row.wrong


def test_nothing_is_wrong_within_the_limits(server):
    assert judged(server) == []
    assert judged(server, p99=20.0, memory_peak=16.0) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"p99": 20.1}, "p99"),
        ({"memory_peak": 16.1}, "memory"),
        ({"reconnected": 1}, "cut off"),
        ({"closes": {"QUIC 0x1": 1}}, "closed by"),
        ({"closes": {}}, "not closed"),
        ({"name": "lone-acks"}, "nothing is right"),
    ],
)
def test_what_is_wrong(server, changes, said):
    (wrong,) = judged(server, **changes)
    assert said in wrong


def test_a_quiet_value_that_is_high_allows_more(server):
    row = attack.Row("pings", closes={"H3 0x107": 1}, connections=1, p99=29.0)
    attack.judge(row, server, quiet=10.0)
    assert row.wrong == []


def test_a_server_that_died_is_noticed(server):
    server.pids = [2**22 + 1]
    assert "the server died" in judged(server)


def test_forged_initials_are_genuine():
    forger = Forger()
    first, second = forger.initial(forger.hello), forger.initial(forger.hello)
    assert len(first) == SIZE
    for datagram in (first, second):
        assert open_initial(datagram, parse_long_header(datagram, 0, SIZE)) is not None
    assert first[6:14] != second[6:14]


def test_packets_are_filled():
    assert all(SIZE - 100 < len(content) < SIZE for content in filled(b"\x01" * 13))


def test_a_target_that_is_over_opens_nothing():
    target = Target("127.0.0.1", 9, time.monotonic() - 1)
    assert target.is_over()
    target.storm(lambda raw, turn: (b"", 1))
    assert target.packets == target.connections == 0


def test_memory_of_this_process_is_read():

    assert memory([os.getpid()]) > 1 << 20


def test_each_attack_says_what_it_does():
    assert all(one.run.__doc__ for one in ATTACKS.values())
