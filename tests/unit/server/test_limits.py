"""Connections in all, for each network, and how fast: each bound at its limit and one beyond."""

import pytest

from headgate.counters import (
    REFUSED_ALL_CONNECTION_RATE,
    REFUSED_CONNECTION_RATE,
    REFUSED_CONNECTIONS,
    REFUSED_PER_CLIENT,
    SIZE,
)
from headgate.server.limits import FORGET_SECONDS, MAX_NETWORKS, ConnectionLimits, client_network


def limits(connections=0, per_client=0, rate=0.0, all_rate=0.0):
    return ConnectionLimits([0] * SIZE, connections, per_client, rate, all_rate)


def test_connections_in_all():
    bound = limits(connections=3)
    assert [bound.admit(f"10.0.0.{i}", 0.0) for i in range(4)] == ["", "", "", "connections"]
    assert bound.values[REFUSED_CONNECTIONS] == 1
    bound.leave("10.0.0.0")
    assert bound.admit("10.0.0.9", 0.0) == ""


def test_connections_of_one_network():
    bound = limits(per_client=2)
    assert [bound.admit("10.0.0.1", 0.0) for _ in range(3)] == ["", "", "per_client"]
    assert bound.admit("10.0.0.2", 0.0) == ""
    assert bound.values[REFUSED_PER_CLIENT] == 1
    bound.leave("10.0.0.1")
    assert bound.admit("10.0.0.1", 0.0) == ""
    assert bound.open == 3


def test_rate_of_one_network_holds_one_second_and_fills_again():
    bound = limits(rate=10.0)
    assert [bound.admit("a", 100.0) for _ in range(11)] == [""] * 10 + ["connection_rate"]
    assert bound.admit("b", 100.0) == ""
    assert bound.values[REFUSED_CONNECTION_RATE] == 1
    assert [bound.admit("a", 100.5) for _ in range(6)] == [""] * 5 + ["connection_rate"]
    # However long nothing came, no more than one second's worth is saved.
    assert [bound.admit("a", 1000.0) for _ in range(11)] == [""] * 10 + ["connection_rate"]


def test_a_rate_below_one_lets_one_in():
    bound = limits(rate=0.1)
    assert [bound.admit("a", 0.0), bound.admit("a", 5.0), bound.admit("a", 10.1)] == [
        "",
        "connection_rate",
        "",
    ]


def test_rate_of_all_together():
    bound = limits(all_rate=3.0)
    assert [bound.admit(f"n{i}", 50.0) for i in range(4)] == ["", "", "", "all_connection_rate"]
    assert bound.values[REFUSED_ALL_CONNECTION_RATE] == 1
    assert bound.admit("n9", 50.4) == ""


def test_what_all_refuses_costs_a_network_no_token():
    bound = limits(rate=2.0, all_rate=1.0)
    assert [bound.admit("a", 0.0), bound.admit("a", 0.0), bound.admit("a", 0.0)] == [
        "",
        "all_connection_rate",
        "all_connection_rate",
    ]
    assert bound.admit("a", 1.0) == ""


def test_networks_are_forgotten_once_they_lose_nothing_by_it():
    bound = limits(rate=2.0)
    bound.admit("open", 0.0)
    bound.admit("spent", 0.0)
    bound.leave("spent")
    bound.forget(0.4)
    assert "2 networks" in repr(bound)
    bound.forget(0.6)
    assert "1 networks" in repr(bound)


def test_networks_without_a_rate_are_forgotten_too():
    bound = limits(per_client=5)
    for _ in range(3):
        bound.admit("a", 0.0)
        bound.leave("a")
    bound.forget(0.0)
    assert "0 networks" in repr(bound)


def test_a_full_table_is_not_walked_for_each_newcomer():
    bound = limits(per_client=1)
    for i in range(MAX_NETWORKS):
        assert bound.admit(f"n{i}", 0.0) == ""
    assert bound.admit("more", 1.0) == ""  # a walk that finds nothing
    assert bound.admit("more", 1.0) == ""  # nobody remembers the first
    assert bound.admit("n0", 1.0) == "per_client"
    assert bound.open == MAX_NETWORKS + 2
    for i in range(MAX_NETWORKS):
        bound.leave(f"n{i}")
    assert bound.admit("more", 1.0 + FORGET_SECONDS / 2) == ""
    assert f"{MAX_NETWORKS} networks" in repr(bound)
    assert bound.admit("last", 1.0 + FORGET_SECONDS) == ""
    assert "1 networks" in repr(bound)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2ff:3:4:5:6", "2001:db8:1:200::/56"),
        ("2001:db8:1:200::1", "2001:db8:1:200::/56"),
        ("2001:db8::1", "2001:db8:0:0::/56"),
        ("::1", "0:0:0:0::/56"),
        ("fe80::1%eth0", "fe80:0:0:0::/56"),
        ("", ""),
    ],
)
def test_a_network_is_an_address_or_a_56(address, network):
    assert client_network(address) == network


def test_a_connection_without_a_name_counts_for_everybody_and_for_nobody_alone():
    values = [0] * SIZE
    limits = ConnectionLimits(values, 3, 1, 0.0, 2.0)
    assert limits.admit_unnamed(1.0) == ""
    assert limits.name("192.0.2.1", 1.0) == ""
    assert limits.admit_unnamed(1.0) == ""
    assert limits.name("192.0.2.1", 1.0) == "per_client"
    assert limits.admit_unnamed(1.0) == "all_connection_rate"
    limits.leave("")
    limits.leave("192.0.2.1")
    assert limits.open == 0
    assert limits.admit("192.0.2.1", 5.0) == ""
    limits.open = 3
    assert limits.admit_unnamed(5.0) == "connections"
