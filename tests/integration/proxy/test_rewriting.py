"""What an origin sees of a request and a client of a response: routes, edits, hop-by-hop and forwarding fields."""

import json
import socket
import ssl

import pytest
from tests.integration.gate import Gate

from headgate.testing.origin import Origin, Wire, ask, connect

TEXT = """
[[certificate]]
files = "{certificate}"
[certificate.ocsp]
stapling = "off"
[[route]]
upstream = "echo"
set_request_headers = {{ X-Set = "ours" }}
remove_request_headers = ["X-Secret"]
set_response_headers = {{ X-Route = "any" }}
remove_response_headers = ["Server"]
[route.hsts]
max_age = "1d"
[[route]]
path = "/api"
upstream = "echo"
set_response_headers = {{ X-Route = "prefix" }}
[[route]]
path = "/api/deep"
upstream = "echo"
set_response_headers = {{ X-Route = "deep" }}
[[route]]
path_exact = "/api/exact"
upstream = "echo"
set_response_headers = {{ X-Route = "exact" }}
[[route]]
hosts = ["re.test"]
path_regex = "/[0-9]+/item"
upstream = "echo"
set_response_headers = {{ X-Route = "regex" }}
[[route]]
hosts = ["a.test"]
upstream = "echo"
set_response_headers = {{ X-Route = "host" }}
[[route]]
hosts = ["*.wild.test"]
upstream = "echo"
set_response_headers = {{ X-Route = "wildcard" }}
[[route]]
path = "/old"
redirect = {{ to = "https://new.test{{path}}", status = 301 }}
[[route]]
path_exact = "/fixed"
respond = {{ status = 418, body = "short and stout", headers = {{ X-Pot = "tea" }} }}
[[route]]
path_exact = "/nobody"
upstream = "nobody"
set_response_headers = {{ X-Route = "nobody" }}
[route.hsts]
max_age = "1d"
[upstream.echo]
endpoints = ["{url}"]
[upstream.nobody]
endpoints = ["unix:/nonexistent/socket"]
"""


@pytest.fixture(scope="module")
def gate(tmp_path_factory, echo, certificate):
    folder = tmp_path_factory.mktemp("gate")
    text = TEXT.format(certificate=certificate, url=echo.url)
    with Gate(folder, text, https=1, top='trusted_proxies = ["127.0.0.2/32"]') as gate:
        yield gate


def told(answer):
    head, body = answer
    assert head.status == 200, body
    return json.loads(body)


def fields_of(answer):
    return [tuple(pair) for pair in told(answer)["fields"]]


@pytest.mark.parametrize(
    ("host", "target", "route"),
    [
        ("other.test", "/", "any"),
        ("other.test", "/apix", "any"),
        ("other.test", "/api", "prefix"),
        ("other.test", "/api/x", "prefix"),
        ("other.test", "/api/deep/x?q=1", "deep"),
        ("other.test", "/api/exact", "exact"),
        ("other.test", "/api/exact/not", "prefix"),
        ("other.test", "/x/../api/./deep", "deep"),
        ("other.test", "/%61pi/deep", "deep"),
        ("re.test", "/17/item", "regex"),
        ("re.test", "/17/items", "any"),
        ("a.test", "/", "host"),
        ("A.TEST:8080", "/", "host"),
        ("x.wild.test", "/", "wildcard"),
        ("wild.test", "/", "any"),
    ],
)
def test_the_most_specific_route_wins(gate, host, target, route):
    head, _ = ask(gate.http_ports[0], target, host=host)
    assert head.get("x-route") == route


def test_a_redirect_keeps_the_path_and_query(gate):
    head, _ = ask(gate.http_ports[0], "/old/a%20b?c=d")
    assert (head.status, head.get("location")) == (301, "https://new.test/old/a%20b?c=d")


def test_a_fixed_response(gate):
    head, body = ask(gate.http_ports[0], "/fixed")
    assert (head.status, head.get("x-pot"), body) == (418, "tea", b"short and stout")
    head, body = ask(gate.http_ports[0], "/fixed", method="HEAD")
    assert (head.status, head.get("content-length"), body) == (418, "15", b"")


@pytest.mark.parametrize("target", ["/a%2Fb", "/a%2fb", "/a\\b", "/a%5Cb", "/a%00b", "/../x", "/a/../../x"])
def test_ambiguous_paths_are_refused(gate, target):
    """RFC 3986 leaves these to taste, and origins disagree: a rule of a route could be walked around with them."""
    head, body = ask(gate.http_ports[0], target)
    assert head.status == 400, body


def test_dot_segments_never_reach_the_origin_as_another_path(gate):
    answer = told(ask(gate.http_ports[0], "/x/../api/./deep/%7euser"))
    assert answer["target"] in ("/api/deep/~user", "/api/deep/%7euser")


def test_fields_of_the_route_are_set_and_removed(gate):
    head, body = ask(gate.http_ports[0], more="X-Secret: 1\r\nx-set: theirs\r\nX-Other: kept\r\n")
    fields = [tuple(pair) for pair in json.loads(body)["fields"]]
    assert [value for name, value in fields if name == "x-set"] == ["ours"]
    assert ("x-other", "kept") in fields
    assert not [name for name, _ in fields if name == "x-secret"]
    assert head.get("x-route") == "any"


def test_no_spelling_gets_past_the_edits_of_a_route(gate):
    """An origin behind CGI or WSGI reads X_Set and X-Set as one, and X_Forwarded_For as what we vouch for."""
    forged = "X_Secret: 1\r\nx_set: theirs\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_Host: evil\r\nX_Other: kept\r\n"
    fields = fields_of(ask(gate.http_ports[0], more=forged))
    assert [name for name, _ in fields if "_" in name] == ["x_other"]
    assert [value for name, value in fields if name == "x-set"] == ["ours"]
    with connect(gate.http_ports[0], source="127.0.0.2") as wire:
        wire.send(f"GET / HTTP/1.1\r\nHost: x\r\n{forged}X-Forwarded-For: 203.0.113.7\r\n\r\n".encode())
        fields = fields_of(wire.read_response())
    assert [name for name, _ in fields if "_" in name] == ["x_other"]
    assert dict(fields)["x-forwarded-for"] == "203.0.113.7, 127.0.0.2"


def test_hop_by_hop_fields_stay_on_their_hop(gate):
    """RFC 9110 section 7.6.1: Connection and what it names, Keep-Alive, TE, Proxy-Connection are removed."""
    more = (
        "Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n"
        "TE: gzip, trailers\r\nProxy-Authorization: Basic eA==\r\nX-End: stays\r\n"
    )
    with connect(gate.http_ports[0]) as wire:
        wire.send(f"GET / HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
        fields = fields_of(wire.read_response())
    names = [name for name, _ in fields]
    for gone in ("x-mine", "keep-alive", "proxy-connection", "proxy-authorization", "transfer-encoding"):
        assert gone not in names
    assert ("x-end", "stays") in fields
    assert [value for name, value in fields if name == "te"] in ([], ["trailers"])


def test_hop_by_hop_fields_of_a_response_stay_on_their_hop(gate, tmp_path):
    def script(wire):
        while head := wire.read_head():
            wire.read_content(head)
            wire.send(
                b"HTTP/1.1 200 OK\r\nServer: x\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\n"
                b"X-End: 1\r\nContent-Length: 0\r\n\r\n"
            )

    with (
        Origin(script) as origin,
        Gate(tmp_path, f'[[route]]\nupstream="a"\n[upstream.a]\nendpoints=["{origin.url}"]') as own,
        connect(own.http_ports[0]) as wire,
    ):
        wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _ = wire.read_response()
    assert head.get("x-hop") is None
    assert head.get("keep-alive") is None
    assert head.get("x-end") == "1"


def test_forwarding_fields_of_a_stranger_are_replaced(gate):
    forged = "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Proto: https\r\n"
    forged += "X-Real-IP: 6.6.6.6\r\n"
    fields = dict(fields_of(ask(gate.http_ports[0], host="h.test", more=forged)))
    assert fields["x-forwarded-for"] == "127.0.0.1"
    assert fields["x-forwarded-proto"] == "http"
    assert fields["x-forwarded-host"] == "h.test"
    assert fields["x-forwarded-port"] == str(gate.http_ports[0])
    assert fields["forwarded"] == "for=127.0.0.1;host=h.test;proto=http"
    assert "x-real-ip" not in fields
    assert fields["via"] == "1.1 headgate"


def test_forwarding_fields_of_a_trusted_proxy_are_kept(gate):
    with connect(gate.http_ports[0], source="127.0.0.2") as wire:
        wire.send(
            b"GET / HTTP/1.1\r\nHost: in.test\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n"
            b"X-Forwarded-Host: out.test\r\n\r\n"
        )
        fields = dict(fields_of(wire.read_response()))
    assert fields["x-forwarded-for"] == "203.0.113.7, 127.0.0.2"
    assert fields["x-forwarded-proto"] == "https"
    assert fields["x-forwarded-host"] == "out.test"


def test_absolute_form_overrides_host(gate):
    """RFC 9112 section 3.2.2: Host is ignored, and what is sent on agrees with the target."""
    with connect(gate.http_ports[0]) as wire:
        wire.send(b"GET http://a.test/p?q HTTP/1.1\r\nHost: other.test\r\n\r\n")
        head, body = wire.read_response()
    answer = json.loads(body)
    assert head.get("x-route") == "host"
    assert answer["target"] == "/p?q"
    assert ["host", "a.test"] in [[name, value] for name, value in answer["fields"]]


def test_https_adds_hsts_and_says_https(gate, certificate):
    context = ssl.create_default_context(cafile=str(certificate.parent / "root.pem"))
    raw = socket.create_connection(("127.0.0.1", gate.https_ports[0]), 10)
    with context.wrap_socket(raw, server_hostname="x.wild.test") as sock:
        wire = Wire(sock)
        wire.send(b"GET / HTTP/1.1\r\nHost: x.wild.test\r\n\r\n")
        fields = dict(fields_of(wire.read_response()))
        wire.send(b"GET / HTTP/1.1\r\nHost: unknown.test\r\n\r\n")
        refused, _ = wire.read_response()
    assert fields["x-forwarded-proto"] == "https"
    assert refused.status == 421
    raw = socket.create_connection(("127.0.0.1", gate.https_ports[0]), 10)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
        wire = Wire(sock)
        wire.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head, _ = wire.read_response()
    assert head.get("strict-transport-security") == "max-age=86400"
    # RFC 6797 section 7.2: never over plain HTTP.
    plain, _ = ask(gate.http_ports[0])
    assert plain.get("strict-transport-security") is None


def test_an_answer_without_an_origin_has_the_edits_of_its_route(gate, certificate):
    """RFC 6797 section 7.2: a browser learns of HSTS from the first answer that it gets, be it ours."""
    context = ssl.create_default_context(cafile=str(certificate.parent / "root.pem"))
    raw = socket.create_connection(("127.0.0.1", gate.https_ports[0]), 10)
    with context.wrap_socket(raw, server_hostname="127.0.0.1") as sock:
        wire = Wire(sock)
        wire.send(b"GET /nobody HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        head, _ = wire.read_response()
    assert (head.status, head.get("x-route")) == (502, "nobody")
    assert head.get("strict-transport-security") == "max-age=86400"
    plain, _ = ask(gate.http_ports[0], "/nobody")
    assert (plain.status, plain.get("x-route")) == (502, "nobody")
    assert plain.get("strict-transport-security") is None


def test_a_redirect_listener(tmp_path, echo, certificate):
    text = TEXT.format(certificate=certificate, url=echo.url)
    with Gate(tmp_path, text, https=1, start=False) as gate:
        lines = gate.config.read_text().replace('mode = "http"\n', 'mode = "http"\nredirect = true\n')
        gate.config.write_text(lines)
        gate.start()
        head, _ = ask(gate.http_ports[0], "/p?q", host="a.test")
        assert head.status == 308
        assert head.get("location") == f"https://a.test:{gate.https_ports[0]}/p?q"
        with connect(gate.http_ports[0]) as wire:
            wire.send(b"GET / HTTP/1.1\r\n\r\n")
            assert wire.read_response()[0].status == 400


def test_allowed_in_paths(tmp_path, echo):
    text = f'[[route]]\nupstream="a"\n[upstream.a]\nendpoints=["{echo.url}"]'
    with Gate(tmp_path, text, listener_extra='allow_in_path = ["encoded-slash", "backslash"]') as gate:
        assert told(ask(gate.http_ports[0], "/a%2Fb"))["target"].lower() == "/a%2fb"
        assert ask(gate.http_ports[0], "/a%5Cb")[0].status == 200
        assert ask(gate.http_ports[0], "/a%00b")[0].status == 400


def test_without_a_route_the_answer_is_404(tmp_path, echo):
    text = f'[[route]]\nhosts=["only.test"]\nupstream="a"\n[upstream.a]\nendpoints=["{echo.url}"]'
    with Gate(tmp_path, text) as gate:
        assert ask(gate.http_ports[0], host="other.test")[0].status == 404
        assert ask(gate.http_ports[0], host="only.test")[0].status == 200
