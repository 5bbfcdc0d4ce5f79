"""A look at connections fits into its page, is bounded in work, and is read whole or not at all."""

import types

from headgate.engine.quic.stats import UNKNOWN, ConnectionStats, PathStats
from headgate.process.quic_sample import MAX_LOOKED_AT, MAX_SHOWN, SamplePage, look_at


def driver(lost=0, rtt=0.01, peer=("192.0.2.1", 4000), seen=None):
    path = PathStats(
        peer=peer,
        local=b"",
        state="validated",
        is_active=True,
        datagram=1452,
        octets_sent=10,
        octets_received=20,
        black_holes=0,
    )
    stats = ConnectionStats(
        version=1,
        state="open",
        smoothed_rtt=rtt,
        minimum_rtt=rtt,
        window=14720,
        in_flight=0,
        congestion_events=0,
        persistent_congestions=0,
        probe_timeouts=0,
        packets_sent=7,
        packets_received=8,
        packets_lost=lost,
        streams_open=1,
        migrations=0,
        key_updates=0,
        own_ids=1,
        peer_ids=1,
        ecn="capable",
        paths=(path,),
        dropped={},
    )

    def told():
        if seen is not None:
            seen.append(lost)
        return stats

    return types.SimpleNamespace(quic=types.SimpleNamespace(stats=told))


def test_the_worst_come_first_and_no_more_than_are_shown():
    rows = look_at([driver(lost=n) for n in range(MAX_SHOWN + 5)], 1)
    assert [row["packets_lost"] for row in rows] == list(range(MAX_SHOWN + 4, 4, -1))
    assert rows[0]["worker"] == 1
    assert rows[0]["peer"] == "192.0.2.1:4000"
    assert rows[0]["rtt_ms"] == 10.0
    assert rows[0]["paths"][0]["state"] == "validated"


def test_a_round_trip_that_was_not_measured_is_none_and_ipv6_has_brackets():
    [row] = look_at([driver(rtt=UNKNOWN, peer=("2001:db8::1", 5, 0, 0))], 0)
    assert row["rtt_ms"] is None
    assert row["peer"] == "[2001:db8::1]:5"


def test_so_many_are_looked_at_and_one_more_is_not():
    seen = []
    look_at([driver(seen=seen) for _ in range(MAX_LOOKED_AT + 1)], 0)
    assert len(seen) == MAX_LOOKED_AT


def test_a_page_gives_back_what_was_stored_last():
    page = SamplePage()
    assert page.load() == []
    page.store([{"a": 1}, {"b": 2}])
    page.store([{"c": 3}])
    assert page.load() == [{"c": 3}]


def test_what_does_not_fit_loses_its_last_rows():
    page = SamplePage()
    page.store([{"number": n, "text": "x" * 1000} for n in range(100)])
    rows = page.load()
    assert 1 <= len(rows) < 17
    assert rows[0]["number"] == 0


def test_half_a_page_is_read_as_none():
    page = SamplePage()
    page.store([{"a": 1}])
    page._map[10:12] = b"??"
    assert page.load() == []
