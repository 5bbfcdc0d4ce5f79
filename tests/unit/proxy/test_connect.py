import pytest
from tests.unit.proxy.forward_path import People, login, paths, status

from headgate.counters import (
    DOWNSTREAM_READ,
    FORWARD_CONNECT,
    FORWARD_REFUSED_ADDRESS,
    FORWARD_REFUSED_PORT,
    FORWARD_REFUSED_TUNNELS,
)
from headgate.proxy.connect import MAX_PARENTS

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n"


@pytest.fixture
def make():
    yield from paths()


def connect(authority=b"1.1.1.1:443", *fields):
    return b"\r\n".join((b"CONNECT %b HTTP/1.1" % authority, b"Host: %b" % authority, *fields, b"", b""))


def send(half, data):
    half.transport.incoming.append(data)
    half.on_readable()


def test_rfc9110_9_3_6_a_tunnel_both_ways_and_its_200_has_no_length(make):
    path = make()
    driver = path.ask(connect())
    assert path.dials.dialled == ["1.1.1.1:443"]
    head = driver.transport.outgoing
    assert head.startswith(ESTABLISHED)
    assert head.endswith(b"\r\n\r\n")
    assert b"content-length" not in head.lower()
    assert b"transfer-encoding" not in head.lower()
    assert path.dials.transports[0].outgoing == b""
    relay = driver.tunnel.relay
    send(relay.client, b"hello")
    send(relay.origin, b"hello yourself")
    assert path.dials.transports[0].outgoing == b"hello"
    assert driver.transport.outgoing == head + b"hello yourself"
    relay.close("")
    seen = path.seen.exchanges[0]
    assert (seen.status, seen.bytes_in, seen.bytes_out) == (200, 5, 14)
    assert (seen.host, seen.endpoint) == (b"1.1.1.1:443", "1.1.1.1:443")
    assert path.values[FORWARD_CONNECT] == 1


def test_what_the_client_did_not_wait_with_reaches_the_origin_first(make):
    path = make()
    path.dials.hold = True
    driver = path.client()
    path.send(driver, connect() + b"early ")
    assert driver.transport.outgoing == b""
    path.dials.release()
    assert path.dials.transports[0].outgoing == b"early "
    send(driver.tunnel.relay.client, b"late")
    assert path.dials.transports[0].outgoing == b"early late"
    driver.tunnel.close("")
    assert path.seen.exchanges[0].bytes_in == 10
    assert path.values[DOWNSTREAM_READ] > 10


def test_http10_clients_have_tunnels_too(make):
    path = make()
    driver = path.ask(b"CONNECT 1.1.1.1:443 HTTP/1.0\r\n\r\n")
    assert status(driver) == 200
    assert driver.tunnel is not None


@pytest.mark.parametrize(
    ("target", "code", "reason"),
    [
        (b"1.1.1.1", 400, b"bad-target"),
        (b"1.1.1.1:", 400, b"bad-target"),
        (b"http://1.1.1.1:443", 400, b"bad-"),
        (b"/", 400, b"bad-"),
        (b"0x7f000001:443", 400, b"bad-host"),
        (b"user@1.1.1.1:443", 400, b"bad-host"),
        (b"1.1.1.1:22", 403, b"port-not-allowed"),
        (b"1.1.1.1:80", 403, b"port-not-allowed"),
        (b"127.0.0.1:443", 403, b"address-not-allowed"),
        (b"[::1]:443", 403, b"address-not-allowed"),
        (b"[::ffff:10.0.0.1]:443", 403, b"address-not-allowed"),
        (b"169.254.169.254:443", 403, b"address-not-allowed"),
    ],
)
def test_what_is_refused(make, target, code, reason):
    path = make()
    driver = path.ask(connect(target))
    assert status(driver) == code
    assert reason in driver.transport.outgoing
    assert path.dials.transports == []
    assert driver.tunnel is None


def test_refusals_are_counted_and_the_connection_goes_on(make):
    path = make()
    driver = path.ask(connect(b"1.1.1.1:22"))
    path.send(driver, connect(b"10.0.0.1:443"))
    path.send(driver, connect())
    assert driver.tunnel is not None
    assert path.values[FORWARD_REFUSED_PORT] == 1
    assert path.values[FORWARD_REFUSED_ADDRESS] == 1


def test_connect_with_content_is_400(make):
    path = make()
    driver = path.ask(connect(b"1.1.1.1:443", b"Content-Length: 3") + b"abc")
    assert status(driver) == 400
    assert path.dials.dialled == []


@pytest.mark.parametrize(
    ("reason", "code"),
    [("resolve", 502), ("connect", 502), ("descriptors", 502), ("timeout", 504)],
)
def test_an_origin_that_cannot_be_reached(make, reason, code):
    path = make()
    path.dials.failing["gone.test"] = reason
    driver = path.ask(connect(b"gone.test:443"))
    assert status(driver) == code
    assert b"gone.test" not in driver.transport.outgoing
    assert path.seen.exchanges[0].detail


def test_a_client_that_leaves_while_it_is_dialled(make):
    path = make()
    path.dials.hold = True
    driver = path.ask(connect())
    driver.close()
    path.dials.release()
    assert path.dials.transports[0].closed


def test_one_more_tunnel_than_a_client_may_is_429(make):
    path = make(per_client=2)
    first = path.ask(connect())
    path.ask(connect())
    driver = path.ask(connect())
    assert status(driver) == 429
    assert b"too-many-tunnels" in driver.transport.outgoing
    assert path.values[FORWARD_REFUSED_TUNNELS] == 1
    assert status(path.ask(connect(), "192.0.2.2")) == 200
    first.tunnel.close("")
    assert status(path.ask(connect())) == 200


def test_one_more_tunnel_than_a_user_may_is_429(make):
    path = make(per_user=2, users=People(alice="pw", bob="pw"))
    for n in range(2):
        path.ask(connect(b"1.1.1.1:443", login("alice")), f"192.0.2.{n}")
    assert status(path.ask(connect(b"1.1.1.1:443", login("alice")), "192.0.2.9")) == 429
    assert status(path.ask(connect(b"1.1.1.1:443", login("bob")), "192.0.2.9")) == 200


def test_tunnels_being_opened_count_and_failed_ones_do_not(make):
    path = make(per_client=1)
    path.dials.hold = True
    path.ask(connect())
    assert status(path.ask(connect())) == 429
    path.dials.failing["1.1.1.1"] = "connect"
    path.dials.release()
    path.dials.failing.clear()
    path.dials.hold = False
    assert status(path.ask(connect())) == 200


def test_silence_ends_a_tunnel(make):
    path = make()
    driver = path.ask(connect())
    assert driver.deadline == path.poller.now + 900.0
    driver.on_deadline(path.poller.now + 900.0)
    assert path.seen.exchanges[0].reason == "idle-timeout"


# -- through parents


def test_a_parent_is_asked_with_our_credentials_and_not_the_clients(make):
    path = make(parents=1, users=People(alice="pw"))
    driver = path.ask(connect(b"example.test:443", login("alice")) + b"early")
    parent = path.parent_dials.transports[0]
    assert parent.outgoing.startswith(b"CONNECT example.test:443 HTTP/1.1\r\n")
    assert b"Host: example.test:443\r\n" in parent.outgoing
    assert parent.outgoing.lower().count(b"proxy-authorization") == 1
    assert b"Basic cGFyZW50OnB3\r\n" in parent.outgoing
    assert b"early" not in parent.outgoing
    assert driver.transport.outgoing == b""
    path.answer(parent, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nlate")
    assert driver.transport.outgoing.startswith(ESTABLISHED)
    assert driver.transport.outgoing.endswith(b"\r\n\r\nlate")
    assert b"Content-Length" not in driver.transport.outgoing
    assert parent.outgoing.endswith(b"early")
    assert path.parents.upstream.endpoints[0].active == 0
    driver.tunnel.close("")
    assert path.seen.exchanges[0].upstream == "parents"


@pytest.mark.parametrize("code", [407, 403, 502, 302])
def test_a_parent_that_refuses_is_502_and_the_log_has_its_status(make, code):
    path = make(parents=2)
    driver = path.ask(connect())
    path.answer(path.parent_dials.transports[0], b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % code)
    assert status(driver) == 502
    assert b"parent-refused" in driver.transport.outgoing
    assert str(code) in path.seen.exchanges[0].detail
    assert path.parent_dials.transports[0].closed


def test_the_next_parent_is_asked_when_one_is_dead_or_ends_without_an_answer(make):
    path = make(parents=3)
    path.parent_dials.refuse.add("http://parent0:3128")
    path.parent_dials.refuse.add("http://parent1:3128")
    driver = path.ask(connect())
    assert path.parent_dials.dialled[-1] == "http://parent2:3128"
    path.answer(path.parent_dials.transports[0], b"HTTP/1.1 200 OK\r\n\r\n")
    assert status(driver) == 200
    path = make(parents=2)
    driver = path.ask(connect())
    path.answer(path.parent_dials.transports[0], b"")
    path.answer(path.parent_dials.transports[1], b"HTTP/1.1 200 OK\r\n\r\n")
    assert status(driver) == 200


def test_so_many_parents_are_asked_and_no_more(make):
    path = make(parents=MAX_PARENTS + 1)
    path.parent_dials.refuse = {f"http://parent{n}:3128" for n in range(MAX_PARENTS + 1)}
    driver = path.ask(connect())
    assert len(path.parent_dials.dialled) == MAX_PARENTS
    assert status(driver) == 502
    assert [endpoint.active for endpoint in path.parents.upstream.endpoints] == [0] * (MAX_PARENTS + 1)


def test_without_a_parent_it_goes_from_here_when_that_is_allowed(make):
    path = make(parents=1, direct=True)
    path.parent_dials.refuse = {"http://parent0:3128"}
    driver = path.ask(connect())
    assert status(driver) == 200
    assert path.dials.dialled == ["1.1.1.1:443"]
    assert status(path.ask(connect(b"10.0.0.1:443"))) == 403  # the guard stands before the fall-back too


def test_a_silent_parent_is_given_up(make):
    path = make(parents=1)
    driver = path.ask(connect())
    connection = path.upstream(path.parent_dials.transports[0])
    path.poller.now += path.parents.upstream.head_timeout
    assert connection.is_due(path.poller.now)
    connection.on_deadline(path.poller.now)
    assert status(driver) == 504


def test_a_client_that_leaves_while_the_parent_is_dialled_or_asked(make):
    path = make(parents=1)
    path.parent_dials.hold = True
    path.ask(connect()).close()
    path.parent_dials.release()
    assert path.parent_dials.transports[0].closed
    path.parent_dials.hold = False
    driver = path.ask(connect())
    driver.close()
    assert path.parent_dials.transports[1].closed
    assert path.parents.upstream.endpoints[0].active == 0


def test_a_bypassed_host_is_dialled_from_here(make):
    path = make(parents=1, bypass=["1.1.1.1"])
    assert status(path.ask(connect())) == 200
    assert path.parent_dials.dialled == []
