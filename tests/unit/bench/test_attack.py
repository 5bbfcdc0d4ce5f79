"""What the bench of attacks calls wrong, and that its pieces are what they say."""

import os
import time

import pytest
from bench.attack import run as attack
from bench.attack.attacks import ATTACKS, LOAD, answered
from bench.attack.gate import Headgate, memory
from bench.attack.target import SIZE, Forger, Target, filled

from headgate.counters import TABLE
from headgate.engine.quic.initial import open_initial
from headgate.engine.quic.packet import parse_long_header

RETRIES = {answered("retry"): 3.0}


@pytest.fixture
def server(tmp_path):
    gate = Headgate("headgate", tmp_path, 0)
    (tmp_path / "output-1").write_text("")
    return gate


def judged(server, quiet=2.0, **changes):
    right = {
        "name": "pings",
        "packets": 99,
        "closes": {LOAD[0]: 3},
        "connections": 3,
        "counters": {LOAD[1]: 3.0},
        "p99": 5.0,
    }
    row = attack.Row(**{**right, **changes})
    attack.judge(row, server, quiet=quiet)
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
        ({"packets": 0}, "nothing was sent"),
        ({"name": "lone-acks", "closes": {}, "connections": 0}, "no connection"),
        ({"counters": {}}, "did not move"),
        ({"counters": {'quic_dropped_total{reason="other"}': 3.0}}, "did not move"),
        ({"name": "spoofed-network", "closes": {}, "counters": RETRIES, "failed": 1}, "did not get in"),
    ],
)
def test_what_is_wrong(server, changes, said):
    (wrong,) = judged(server, **changes)
    assert said in wrong


def test_only_what_did_not_come_about_may_come_about_in_more_time(server):
    def row(*wrong):
        return attack.Row("pings", wrong=list(wrong))

    short = judged(server, closes={}) + judged(server, counters={})
    assert attack.was_too_short(row(*short))
    assert not attack.was_too_short(row())
    for changes in ({"closes": {"QUIC 0x1": 1}}, {"memory_peak": 16.1}, {"reconnected": 1}):
        assert not attack.was_too_short(row(*short, *judged(server, **changes)))


def test_an_attack_that_never_came_about_is_wrong(server):
    for name, one in ATTACKS.items():
        row = attack.Row(name, one.takes)
        attack.judge(row, server, quiet=2.0)
        said = "; ".join(row.wrong)
        assert "nothing was sent" in said
        assert ("no connection" in said) == one.connects
        assert ("did not move" in said) == bool(one.counter)
        assert ("not closed" in said) == (one.must and bool(one.closes))


def test_a_counter_that_takes_long_is_not_judged_in_a_short_round(server):
    late = {"name": "gap-at-zero", "closes": {}, "counters": {}}
    assert judged(server, seconds=1.0, **late) == []
    assert "did not move" in judged(server, seconds=20.0, **late)[0]


def test_counters_are_those_that_there_are():
    known = {
        row.name + "{" + ",".join(f'{key}="{value}"' for key, value in row.labels) + "}" for row in TABLE
    }
    assert {one.counter for one in ATTACKS.values() if one.counter} <= known


def test_a_quiet_value_that_is_high_allows_more(server):
    assert judged(server, p99=29.0, quiet=10.0) == []


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
