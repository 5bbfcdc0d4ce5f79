"""A host behind client certificates on one listener is not to be had over another: 421 (RFC 9110 section 15.5.20)."""

import pytest

from headgate.testing.pki import Authority

ROUTES = """
[[route]]
hosts = ["inside.test"]
listeners = ["internal"]
respond = { status = 200, body = "the inside" }
[[route]]
respond = { status = 200, body = "the outside" }
"""
VERSIONS = [("--tls-max", "1.2"), ("--tlsv1.3",)]


class House:
    """A gate with a listener that demands client certificates, an open one, and one without TLS."""

    def __init__(self, site, tools):
        self.site, self.tools = site, tools
        site.certificate("inside", "inside.test")
        site.certificate("outside", "outside.test")
        people = Authority.root("People")
        alice = people.leaf("alice", client=True)
        self.alice = site.write("alice.pem", alice.pem + alice.key_pem)
        ca = site.write("people.pem", people.pem)
        self.internal, internal = tools.listener(tls=f'client_auth = "required"\nclient_ca = "{ca}"')
        internal = internal.replace("[[listener]]", '[[listener]]\nname = "internal"')
        self.plain, plain = tools.listener("http")
        self.gate = site.gate(ROUTES + internal + plain, workers=2)
        self.open = self.gate.https_ports[0]

    def ask(self, port, host, *options, scheme="https"):
        """Return (status, body) of what curl gets; the status is 0 when there was no answer."""
        done = self.site.curl(port, "-w", "\n%{http_code}", *options, name=host, scheme=scheme)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), body


@pytest.fixture(scope="module")
def house(shared_site, tools):
    made = House(shared_site, tools)
    with made.gate:
        yield made


@pytest.mark.parametrize("version", VERSIONS)
def test_rfc9110_15_5_20_the_open_listener_does_not_answer_for_the_guarded_host(house, version):
    assert house.ask(house.internal, "inside.test", *version, "--cert", house.alice) == (200, "the inside")
    assert house.ask(house.internal, "inside.test", *version)[0] == 0
    # The open listener has the certificate and takes any host. It still is the wrong door, card or no card.
    for card in ((), ("--cert", house.alice)):
        status, body = house.ask(house.open, "inside.test", *version, *card)
        assert status == 421
        assert "the " not in body.replace("that host", "")
    assert house.ask(house.open, "outside.test", *version) == (200, "the outside")


@pytest.mark.parametrize("host", ["inside.test", "INSIDE.test.", "inside.test:443"])
def test_nor_by_another_name_in_the_handshake_or_another_spelling(house, host):
    """The certificates of the listener cover that host: it is the routes that do not."""
    for sni in ("outside.test", "inside.test", None):
        context = house.site.client(ca=sni is not None)
        with house.site.connect(house.open, sni, context) as sock:
            assert house.tools.request(sock, host).startswith(b"HTTP/1.1 421 "), sni


def test_nor_by_an_absolute_target(house):
    with house.site.connect(house.open, "outside.test") as sock:
        answer = house.tools.request(sock, "outside.test", "https://inside.test/")
    assert answer.startswith(b"HTTP/1.1 421 ")


def test_nor_without_tls(house):
    assert house.ask(house.plain, "inside.test", scheme="http")[0] == 421
    assert house.ask(house.plain, "outside.test", scheme="http") == (200, "the outside")


def test_the_connection_may_be_asked_for_its_own_host_afterwards(house):
    with house.site.connect(house.open, "outside.test") as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: inside.test\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 421 ")
        assert house.tools.request(sock, "outside.test").endswith(b"the outside")


def test_it_is_counted_and_logged(house):
    house.ask(house.open, "inside.test")
    house.tools.counted(house.gate, 'headgate_refused_total{limit="misdirected"}')

    def logged():
        return [line for line in house.gate.access_lines() if line["status"] == 421]

    line = house.tools.wait_for("the log", logged)[-1]
    assert line["reason"] == "misdirected"
