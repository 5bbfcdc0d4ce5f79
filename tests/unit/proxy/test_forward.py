import pytest
from tests.unit.proxy.forward_path import People, login, paths, status

from headgate.counters import (
    AUTHENTICATION_MISSING,
    FORWARD_PLAIN,
    FORWARD_REFUSED_ADDRESS,
    FORWARD_REFUSED_CLIENT,
    FORWARD_REFUSED_HOST,
    FORWARD_REFUSED_LOOP,
    FORWARD_REFUSED_PORT,
)
from headgate.proxy.authentication import ATTEMPTS, MAX_CHECKS
from headgate.proxy.forward import MAX_VIA

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
def make():
    yield from paths()


def request(line=b"GET http://1.1.1.1/ HTTP/1.1", *fields, body=b""):
    return b"\r\n".join((line, b"Host: x", *fields, b"", body))


def test_rfc9112_3_2_2_the_absolute_form_becomes_the_origin_form_and_its_host_the_host(make):
    path = make()
    driver = path.ask(request(b"GET http://1.1.1.1:8080/a/../b%2Fc?q=1 HTTP/1.1", b"Accept: */*"))
    sent = path.dials.transports[0].outgoing
    assert path.dials.dialled == ["1.1.1.1:8080"]
    assert sent.startswith(b"GET /a/../b%2Fc?q=1 HTTP/1.1\r\n")  # as it came: it is not ours to read
    assert b"Host: 1.1.1.1:8080\r\n" in sent
    assert b"Host: x" not in sent
    path.answer(path.dials.transports[0], OK)
    assert driver.transport.outgoing.endswith(b"\r\n\r\nok")
    assert path.values[FORWARD_PLAIN] == 1
    seen = path.seen.exchanges[0]
    assert (seen.host, seen.path, seen.status) == (b"1.1.1.1:8080", b"/a/../b%2Fc?q=1", 200)


def test_a_url_without_a_path_asks_for_the_root(make):
    path = make()
    path.ask(request(b"GET http://1.1.1.1?q HTTP/1.1"))
    assert path.dials.transports[0].outgoing.startswith(b"GET /?q HTTP/1.1\r\n")


def test_rfc9110_7_6_1_and_11_7_what_is_for_the_proxy_stays_here_and_via_is_added(make):
    path = make(users=People(alice="pw"))
    path.ask(
        request(
            b"GET http://1.1.1.1/ HTTP/1.1",
            login(),
            b"Proxy-Connection: keep-alive",
            b"Connection: X-Secret",
            b"X-Secret: 1",
            b"Authorization: Basic eDp5",
        )
    )
    sent = path.dials.transports[0].outgoing.lower()
    assert b"proxy-" not in sent
    assert b"x-secret" not in sent
    assert b"authorization: basic edp5" in sent
    assert b"via: 1.1 headgate" in sent
    assert b"forwarded" not in sent
    assert b"192.0.2.1" not in sent


def test_content_goes_along(make):
    path = make()
    driver = path.ask(request(b"POST http://1.1.1.1/ HTTP/1.1", b"Content-Length: 5", body=b"hello"))
    assert path.dials.transports[0].outgoing.endswith(b"\r\n\r\nhello")
    path.answer(path.dials.transports[0], OK)
    assert status(driver) == 200


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"GET / HTTP/1.1", b"not-absolute"),
        (b"OPTIONS * HTTP/1.1", b"not-absolute"),
        (b"GET https://1.1.1.1/ HTTP/1.1", b"https-without-connect"),
        (b"GET ftp://1.1.1.1/ HTTP/1.1", b"unsupported-scheme"),
        (b"GET http://user:pw@1.1.1.1/ HTTP/1.1", b"bad-"),
        (b"GET http://2130706433/ HTTP/1.1", b"bad-host"),
        (b"GET http://0x7f000001/ HTTP/1.1", b"bad-host"),
        (b"GET http://0177.0.0.1/ HTTP/1.1", b"bad-host"),
        (b"GET http://127.1/ HTTP/1.1", b"bad-host"),
        (b"GET http://1.1.1.1:0/ HTTP/1.1", b"bad-port"),
    ],
)
def test_what_no_proxy_takes_is_400(make, line, reason):
    path = make()
    driver = path.ask(request(line))
    assert status(driver) == 400
    assert reason in driver.transport.outgoing
    assert path.dials.dialled == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fd00::1]",
        "[64:ff9b::7f00:1]",
    ],
)
def test_addresses_that_are_not_public_are_403(make, host):
    path = make()
    driver = path.ask(request(f"GET http://{host}/ HTTP/1.1".encode()))
    assert status(driver) == 403
    assert b"address-not-allowed" in driver.transport.outgoing
    assert path.dials.transports == []
    assert path.values[FORWARD_REFUSED_ADDRESS] == 1
    assert path.seen.exchanges[0].reason == "address-not-allowed"


def test_the_answer_says_nothing_of_addresses_and_the_log_does(make):
    path = make()
    path.dials.names["inside.test"] = ["10.1.2.3"]
    driver = path.ask(request(b"GET http://inside.test/ HTTP/1.1"))
    assert status(driver) == 403
    assert b"10.1.2.3" not in driver.transport.outgoing
    assert path.seen.exchanges[0].detail


def test_ports_and_hosts_that_may_not_are_403_and_nothing_is_dialled(make):
    path = make(deny_hosts=["*.bad.test"])
    assert status(path.ask(request(b"GET http://1.1.1.1:25/ HTTP/1.1"))) == 403
    assert status(path.ask(request(b"GET http://a.bad.test/ HTTP/1.1"))) == 403
    assert path.values[FORWARD_REFUSED_PORT] == 1
    assert path.values[FORWARD_REFUSED_HOST] == 1
    assert path.dials.dialled == []
    assert [exchange.reason for exchange in path.seen.exchanges] == ["port-not-allowed", "host-not-allowed"]


@pytest.mark.parametrize(("reason", "code"), [("resolve", 502), ("connect", 502), ("timeout", 504)])
def test_an_origin_that_cannot_be_reached(make, reason, code):
    path = make()
    path.dials.failing["gone.test"] = reason
    driver = path.ask(request(b"GET http://gone.test/ HTTP/1.1"))
    assert status(driver) == code
    assert path.seen.exchanges[0].detail


def test_clients_from_elsewhere_are_403(make):
    path = make()
    driver = path.ask(request(), "198.51.100.1")
    assert status(driver) == 403
    assert b"client-not-allowed" in driver.transport.outgoing
    assert path.values[FORWARD_REFUSED_CLIENT] == 1
    assert path.dials.dialled == []


def test_rfc9110_7_6_3_so_many_proxies_are_a_circle(make):
    path = make()
    hops = b"Via: " + b", ".join([b"1.1 headgate"] * (MAX_VIA - 1))
    path.ask(request(b"GET http://1.1.1.1/ HTTP/1.1", hops))
    assert len(path.dials.transports) == 1
    driver = path.ask(request(b"GET http://1.1.1.1/ HTTP/1.1", hops, b"Via: 1.0 other"))
    assert status(driver) == 508
    assert path.values[FORWARD_REFUSED_LOOP] == 1
    assert len(path.dials.transports) == 1


def test_rfc9110_7_6_2_max_forwards_ends_here(make):
    path = make()
    driver = path.ask(request(b"OPTIONS http://1.1.1.1 HTTP/1.1", b"Max-Forwards: 0"))
    assert status(driver) == 200
    assert path.dials.dialled == []
    path.ask(request(b"OPTIONS http://1.1.1.1 HTTP/1.1", b"Max-Forwards: 3"))
    assert b"Max-Forwards: 2" in path.dials.transports[0].outgoing


def test_a_redirect_is_the_clients_to_follow(make):
    path = make()
    driver = path.ask(request())
    path.answer(
        path.dials.transports[0],
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n",
    )
    assert b"Location: http://127.0.0.1/\r\n" in driver.transport.outgoing
    assert path.dials.dialled == ["1.1.1.1:80"]
    path.send(driver, request(b"GET http://127.0.0.1/ HTTP/1.1"))
    assert b"HTTP/1.1 403 " in driver.transport.outgoing


def test_a_websocket_without_tls_is_upgraded(make):
    path = make()
    driver = path.ask(request(b"GET http://1.1.1.1/ HTTP/1.1", b"Connection: Upgrade", b"Upgrade: websocket"))
    assert b"Upgrade: websocket" in path.dials.transports[0].outgoing
    path.answer(
        path.dials.transports[0],
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )
    assert driver.tunnel is not None


# -- who


def test_rfc9110_15_5_8_without_credentials_407_names_the_scheme(make):
    path = make(users=People(alice="pw"))
    driver = path.ask(request())
    assert status(driver) == 407
    challenge = b'Proxy-Authenticate: Basic realm="headgate", charset="UTF-8"\r\n'
    assert challenge in driver.transport.outgoing
    assert path.values[AUTHENTICATION_MISSING] == 1
    assert path.dials.dialled == []
    path.send(driver, request(b"GET http://1.1.1.1/ HTTP/1.1", login()))  # on the same connection
    assert len(path.dials.transports) == 1
    path.answer(path.dials.transports[0], OK)
    assert path.seen.exchanges[-1].user == b"alice"


def test_a_wrong_password_is_407_and_nobody_is_named(make):
    path = make(users=People(alice="pw"))
    driver = path.ask(request(b"GET http://1.1.1.1/ HTTP/1.1", login(password="no")))
    assert status(driver) == 407
    assert path.seen.exchanges[0].user == b""
    assert path.dials.dialled == []


def test_while_a_password_is_checked_nothing_goes_on(make):
    path = make(users=People(alice="pw"))
    path.checks.hold = True
    driver = path.ask(request(b"POST http://1.1.1.1/ HTTP/1.1", login(), b"Content-Length: 5", body=b"hello"))
    assert path.dials.dialled == []
    assert driver.transport.outgoing == b""
    path.checks.release()
    assert path.dials.transports[0].outgoing.endswith(b"\r\n\r\nhello")
    path.answer(path.dials.transports[0], OK)
    assert status(driver) == 200


def test_a_wrong_password_with_content_is_answered_and_the_connection_goes_on(make):
    path = make(users=People(alice="pw"))
    path.checks.hold = True
    content = b"x" * 100
    driver = path.ask(
        request(b"POST http://1.1.1.1/ HTTP/1.1", login(password="no"), b"Content-Length: 100", body=content)
    )
    path.checks.release()
    assert status(driver) == 407
    path.checks.hold = False
    path.send(driver, request(b"GET http://1.1.1.1/ HTTP/1.1", login()))
    assert len(path.dials.transports) == 1


def test_a_client_that_leaves_while_it_is_checked(make):
    path = make(users=People(alice="pw"))
    path.checks.hold = True
    driver = path.ask(request(b"GET http://1.1.1.1/ HTTP/1.1", login()))
    driver.close()
    path.checks.release()
    assert path.dials.dialled == []


def test_a_malformed_request_behind_a_check_is_answered(make):
    path = make(users=People(alice="pw"))
    path.checks.hold = True
    driver = path.ask(request(b"GET / HTTP/1.1", login()))
    path.checks.release()
    assert status(driver) == 400
    assert b"not-absolute" in driver.transport.outgoing


def test_too_many_guesses_are_429_and_too_many_checks_503(make):
    path = make(users=People(alice="pw"))
    for n in range(ATTEMPTS):
        path.ask(request(b"GET http://1.1.1.1/ HTTP/1.1", login(password=f"no{n}")))
    driver = path.ask(request(b"GET http://1.1.1.1/ HTTP/1.1", login(password="once more")))
    assert status(driver) == 429
    assert b"Retry-After: 6\r\n" in driver.transport.outgoing
    path.checks.hold = True
    for n in range(MAX_CHECKS):
        path.ask(request(b"GET http://1.1.1.1/ HTTP/1.1", login(password=f"held{n}")), f"192.0.2.{n + 2}")
    driver = path.ask(request(b"GET http://1.1.1.1/ HTTP/1.1", login(password="x")), "192.0.2.200")
    assert status(driver) == 503
    path.checks.release()


# -- through parents


def test_a_parent_is_asked_for_the_whole_url_with_our_credentials(make):
    path = make(parents=1, users=People(alice="pw"))
    path.ask(request(b"GET http://example.test/a?b HTTP/1.1", login()))
    sent = path.parent_dials.transports[0].outgoing
    assert sent.startswith(b"GET http://example.test/a?b HTTP/1.1\r\n")
    assert b"Host: example.test\r\n" in sent
    assert sent.lower().count(b"proxy-authorization: ") == 1
    assert b"Basic cGFyZW50OnB3" in sent
    path.answer(path.parent_dials.transports[0], OK)
    assert path.seen.exchanges[0].upstream == "parents"
    assert path.dials.dialled == []


def test_the_next_parent_is_asked_when_one_cannot_be_reached(make):
    path = make(parents=2)
    path.parent_dials.refuse.add(path.parents.upstream.endpoints[0].url)
    path.parent_dials.refuse.add("http://parent0:3128")
    driver = path.ask(request(b"GET http://example.test/ HTTP/1.1"))
    assert len(path.parent_dials.transports) == 1
    path.answer(path.parent_dials.transports[0], OK)
    assert status(driver) == 200


def test_without_a_parent_it_goes_from_here_only_when_that_is_allowed(make):
    urls = {f"http://parent{n}:3128" for n in range(2)}
    path = make(parents=2, direct=True)
    path.parent_dials.refuse = urls
    driver = path.ask(request(b"POST http://1.1.1.1/a HTTP/1.1", b"Content-Length: 5", body=b"hello"))
    sent = path.dials.transports[0].outgoing
    assert sent.startswith(b"POST /a HTTP/1.1\r\n")
    assert b"proxy-authorization" not in sent.lower()
    assert sent.endswith(b"\r\n\r\nhello")
    path.answer(path.dials.transports[0], OK)
    assert status(driver) == 200
    path = make(parents=2)
    path.parent_dials.refuse = urls
    driver = path.ask(request())
    assert status(driver) == 502
    assert path.dials.dialled == []


def test_a_bypassed_host_is_dialled_from_here(make):
    path = make(parents=1, bypass=["*.near.test"])
    path.dials.names["a.near.test"] = ["1.1.1.1"]
    path.ask(request(b"GET http://a.near.test/ HTTP/1.1"))
    assert path.dials.dialled == ["a.near.test:80"]
    assert path.parent_dials.dialled == []


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1", "localhost", "a.localhost", "LOCALHOST."])
def test_what_is_written_as_an_address_inside_is_not_asked_of_a_parent_either(make, host):
    path = make(parents=1)
    driver = path.ask(request(f"GET http://{host}/ HTTP/1.1".encode()))
    assert status(driver) == 403
    assert path.parent_dials.dialled == []
