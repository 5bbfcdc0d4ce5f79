"""Which route a server name leads to."""

import pytest

from headgate.proxy.server_names import ServerNames, TcpRoute
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.upstream import Upstream


def table(*patterns):
    names = ServerNames()
    for hosts in patterns:
        names.add(hosts, TcpRoute(",".join(hosts) or "*", Upstream("u", [], RoundRobin())))
    return names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"a.test", "a.test"),
        (b"A.Test", "a.test"),
        (b"a.test.", "a.test"),
        (b"b.a.test", "*.a.test"),
        (b"c.b.a.test", "*.b.a.test,d.test"),
        (b"x.c.b.a.test", "*.b.a.test,d.test"),
        (b"d.test", "*.b.a.test,d.test"),
        (b"other.test", "*"),
        (b"", "*"),
        (b".a.test", "*.a.test"),
        (b"\xff", "*"),
    ],
)
def test_the_most_specific_wins(name, expected):
    names = table(("a.test",), ("*.a.test",), ("*.b.a.test", "d.test"), ())
    assert names.find(name).name == expected


@pytest.mark.parametrize("name", [b"", b"other.test", b"xa.test", b"a.test.x"])
def test_without_a_route_for_any_the_others_lead_nowhere(name):
    assert table(("a.test", "*.a.test")).find(name) is None
