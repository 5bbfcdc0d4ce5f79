"""Routes of one listener and of another, in a running gate: who answers, who leads elsewhere, who refuses."""

import pytest
from tests.integration.gate import Gate, free_port

from headgate.testing.origin import ask, connect

LISTENER = '[[listener]]\nname = "{name}"\naddresses = ["127.0.0.1:{port}"]\nmode = "{mode}"\n{more}\n'
TEXT = """
[[certificate]]
files = "{certificate}"
[certificate.ocsp]
stapling = "off"
[[route]]
respond = {{ body = "any" }}
[[route]]
hosts = ["one.test", "*.one.test"]
listeners = ["one"]
respond = {{ body = "one" }}
[[route]]
hosts = ["two.test"]
listeners = ["two"]
respond = {{ body = "two" }}
[[route]]
hosts = ["both.test"]
listeners = ["one"]
respond = {{ body = "both of one" }}
[[route]]
hosts = ["both.test"]
listeners = ["two"]
respond = {{ body = "both of two" }}
[[route]]
hosts = ["a.test"]
listeners = ["secure"]
respond = {{ body = "secure" }}
"""


@pytest.fixture(scope="module")
def ports():
    return {name: free_port() for name in ("one", "two", "led", "secure")}


@pytest.fixture(scope="module")
def gate(tmp_path_factory, certificate, ports):
    text = TEXT.format(certificate=certificate)
    for name, port in ports.items():
        more = "redirect = true" if name == "led" else ""
        mode = "https" if name == "secure" else "http"
        text += LISTENER.format(name=name, port=port, mode=mode, more=more)
    with Gate(tmp_path_factory.mktemp("gate"), text) as gate:
        yield gate


@pytest.mark.parametrize(
    ("listener", "host", "answer"),
    [
        ("one", "one.test", (200, b"one")),
        ("two", "one.test", (421, b"")),
        ("one", "x.y.one.test", (200, b"one")),
        ("two", "X.y.One.test:80", (421, b"")),
        ("one", "two.test", (421, b"")),
        ("two", "two.test", (200, b"two")),
        ("one", "both.test", (200, b"both of one")),
        ("two", "both.test", (200, b"both of two")),
        ("one", "strange.test", (200, b"any")),
        ("two", "strange.test", (200, b"any")),
        ("one", "a.test", (421, b"")),
    ],
)
def test_each_listener_answers_for_its_own(gate, ports, listener, host, answer):
    head, body = ask(ports[listener], host=host)
    status, wanted = answer
    assert (head.status, body if status == 200 else b"") == (status, wanted)


def test_an_unnamed_listener_has_the_routes_for_all(gate):
    assert ask(gate.http_ports[0], host="strange.test")[1] == b"any"
    assert ask(gate.http_ports[0], host="one.test")[0].status == 421


@pytest.mark.parametrize(
    ("host", "status", "location"),
    [
        ("a.test", 308, "https://a.test:{secure}/p?q"),
        ("strange.test", 308, "https://strange.test:{secure}/p?q"),
        ("one.test", 421, None),  # no https listener has it: it would be 421 there, too
    ],
)
def test_a_redirecting_listener_leads_to_the_https_listener_of_the_host(gate, ports, host, status, location):
    head, _ = ask(ports["led"], "/p?q", host=host)
    assert (head.status, head.get("location")) == (status, location and location.format(**ports))


def test_a_refused_request_does_not_close_the_connection(gate, ports):
    with connect(ports["two"]) as wire:
        for host, status in (("one.test", 421), ("two.test", 200), ("one.test", 421)):
            wire.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert wire.read_response()[0].status == status


def test_without_an_https_listener_tls_is_spoken_in_front_of_us(tmp_path):
    text = "[[route]]" + TEXT.partition("[[route]]")[2].format().replace('"secure"', '"two"')
    ports = {name: free_port() for name in ("one", "two", "led")}
    for name, port in ports.items():
        more = "redirect = true" if name == "led" else ""
        text += LISTENER.format(name=name, port=port, mode="http", more=more)
    with Gate(tmp_path, text, http=0):
        for host in ("one.test", "two.test", "both.test", "strange.test"):
            head, _ = ask(ports["led"], host=host)
            assert (head.status, head.get("location")) == (308, f"https://{host}/")


@pytest.mark.parametrize(
    ("allowed", "statuses"),
    [("[]", (400, 400)), ('["encoded-slash"]', (308, 400)), ('["backslash"]', (400, 308))],
)
def test_a_redirecting_listener_allows_what_it_is_told_to(tmp_path, allowed, statuses):
    port = free_port()
    more = f"redirect = true\nallow_in_path = {allowed}"
    text = LISTENER.format(name="led", port=port, mode="http", more=more) + "[[route]]\nrespond = {}\n"
    with Gate(tmp_path, text):
        for target, status in zip(("/a%2Fb", "/a%5Cb"), statuses, strict=True):
            head, _ = ask(port, target, host="a.test")
            wanted = f"https://a.test{target}" if status == 308 else None
            assert (head.status, head.get("location")) == (status, wanted)
