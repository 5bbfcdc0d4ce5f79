"""Scopes: what an application is told of a request."""

import pytest

from headgate.asgi.scope import MAX_REMEMBERED, ScopeMaker, believed_client
from headgate.connection.context import ConnectionContext
from headgate.connection.downstream import DownstreamConnection
from headgate.connection.exchange import Exchange, Handler
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.counters import SIZE
from headgate.engine.events import Request
from headgate.http.fields import Fields
from headgate.http.forwarded import ForwardedInfo, Forwarder
from headgate.http.networks import Networks
from headgate.net.poller import Poller
from headgate.testing.memory import MemoryTransport

TRANSPORT = MemoryTransport()
POLLER = Poller()


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value, name.title())
    return made


def exchange(target=b"/", *pairs, method=b"GET", version=11, asked=None):
    forwarded = Forwarder(Networks(())).connection(b"192.0.2.1", b"https", 443)
    context = ConnectionContext("192.0.2.9:443", "192.0.2.1", 50000, b"https", forwarded)
    connection = DownstreamConnection(
        TRANSPORT, POLLER, Handler(), DownstreamObserver(), ConnectionSettings(), [0] * SIZE, context
    )
    made = Exchange(connection, context, Request(method, target, version, fields(*pairs)), 0.0)
    made.asked = asked
    return made


def on_worker(**rest):
    return ScopeMaker(rest.get("root_path", ""), rest.get("state", {}), None, None)


def behind_gate():
    return ScopeMaker("", {}, ("/run/app.sock", None), Networks(("10.0.0.0/8",)))


def test_all_of_a_scope():
    asked = ForwardedInfo(b"192.0.2.1", b"https", b"shop.example", 443)
    one = exchange(
        b"/a%20b/%C3%BC?x=%20&y", (b"host", b"shop.example"), (b"x-a", b"1"), (b"x-a", b"2"), asked=asked
    )
    assert on_worker(root_path="/mount", state={"db": 1}).http(one) == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "https",
        "path": "/a b/ü",
        "raw_path": b"/a%20b/%C3%BC",
        "query_string": b"x=%20&y",
        "root_path": "/mount",
        "headers": [(b"host", b"shop.example"), (b"x-a", b"1"), (b"x-a", b"2")],
        "client": ("192.0.2.1", 50000),
        "server": ("192.0.2.9", 443),
        "state": {"db": 1},
        "extensions": {"http.response.trailers": {}},
    }


def test_the_state_is_a_copy_for_each_request():
    state = {"n": []}
    maker = on_worker(state=state)
    one, other = maker.http(exchange()), maker.http(exchange())
    one["state"]["mine"] = 1
    assert "mine" not in other["state"]
    assert one["state"]["n"] is other["state"]["n"] is state["n"]


@pytest.mark.parametrize(("version", "text"), [(10, "1.0"), (11, "1.1"), (30, "3")])
def test_versions(version, text):
    assert on_worker().http(exchange(version=version))["http_version"] == text


def test_a_method_is_upper_case():
    assert on_worker().http(exchange(method=b"patch"))["method"] == "PATCH"


def test_the_client_that_a_trusted_proxy_names_has_no_port():
    asked = ForwardedInfo(b"203.0.113.5", b"http", b"", 80)
    scope = on_worker().http(exchange(asked=asked))
    assert (scope["client"], scope["scheme"]) == (("203.0.113.5", 0), "http")


def test_behind_a_gate_the_lines_say_who_and_how():
    one = exchange(b"/", (b"x-forwarded-for", b"2001:db8::1"), (b"x-forwarded-proto", b"https"))
    scope = behind_gate().http(one)
    assert (scope["client"], scope["scheme"], scope["server"]) == (
        ("2001:db8::1", 0),
        "https",
        ("/run/app.sock", None),
    )


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        (b"198.51.100.1", b"198.51.100.1"),
        (b"1.1.1.1, 198.51.100.1", b"198.51.100.1"),  # hearsay in front of a stranger
        (b"198.51.100.1, 10.0.0.1", b"198.51.100.1"),  # the peer is a trusted proxy
        (b"1.1.1.1, 198.51.100.1, 10.0.0.2,10.0.0.1", b"198.51.100.1"),
        (b"10.0.0.2, 10.0.0.1", b"10.0.0.2"),
        (b"unknown, 10.0.0.1", b"10.0.0.1"),
        (b"unknown", b""),
    ],
)
def test_the_client_is_found_from_the_right(chain, client):
    assert believed_client(fields((b"x-forwarded-for", chain)), Networks(("10.0.0.0/8",))) == client


def test_nobody_is_nobody():
    assert behind_gate().http(exchange())["client"] is None
    asked = ForwardedInfo(b"", b"http", b"", 80)
    assert on_worker().http(exchange(asked=asked))["client"] is None


def test_what_is_remembered_is_bounded():
    maker = on_worker()
    for number in range(MAX_REMEMBERED + 1):
        assert maker.http(exchange(b"/%d" % number))["path"] == f"/{number}"
    assert len(maker._paths) == 1
    maker.http(exchange(b"/" + b"x" * 300))
    assert len(maker._paths) == 1
