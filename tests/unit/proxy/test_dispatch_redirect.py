"""A listener that redirects: to which https listener a host is led."""

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.counters import REFUSED_MISDIRECTED
from headgate.http.target import ALLOW_BACKSLASH, ALLOW_ENCODED_SLASH, STRICT
from headgate.pipeline.route import Route, Router
from headgate.proxy.fixed import HttpsRedirectHandler

ANY = Route("any", [], "/")
INSIDE = Route("inside", ["inside.test", "*.inside.test"])
PLAIN = Route("plain", ["plain.test"])


def asked(path, host, version=b"1.1", target=b"/p?q"):
    """Return (status, Location) for a host."""
    client = path.client()
    line = b"Host: " + host + b"\r\n" if host is not None else b""
    path.send(client, b"GET " + target + b" HTTP/" + version + b"\r\n" + line + b"\r\n")
    head = client.transport.outgoing.partition(b"\r\n\r\n")[0].split(b"\r\n")
    location = [line[10:] for line in head if line.startswith(b"Location: ")]
    return int(head[0].split()[1]), location[0] if location else b""


@pytest.fixture
def path():
    path = DataPath()
    public = Router([ANY], [INSIDE, PLAIN])
    inside = Router([INSIDE], [ANY, PLAIN])
    path.proxy = HttpsRedirectHandler([(public, 443), (inside, 8443)], path.values)
    yield path
    path.close()
    assert path.seen.crashes == []


@pytest.mark.parametrize(
    ("host", "location"),
    [
        (b"www.test", b"https://www.test/p?q"),
        (b"www.test:80", b"https://www.test/p?q"),
        (b"inside.test", b"https://inside.test:8443/p?q"),
        (b"x.inside.test", b"https://x.inside.test:8443/p?q"),
    ],
)
def test_to_the_listener_that_names_the_host_or_else_takes_any(path, host, location):
    assert asked(path, host) == (308, location)


def test_a_host_of_a_plain_listener_alone_is_421(path):
    assert asked(path, b"plain.test") == (421, b"")
    assert path.values[REFUSED_MISDIRECTED] == 1
    assert path.seen.exchanges[0].reason == "misdirected"


def test_without_a_host_there_is_nowhere_to_redirect_to(path):
    assert asked(path, None, b"1.0") == (400, b"")


def test_a_host_that_nobody_has_is_404(path):
    path.proxy = HttpsRedirectHandler([(Router([INSIDE]), 443)], path.values)
    assert asked(path, b"strange.test") == (404, b"")
    assert path.values[REFUSED_MISDIRECTED] == 0


@pytest.mark.parametrize(
    ("target", "needs", "location"),
    [
        (b"/a%2Fb", ALLOW_ENCODED_SLASH, b"/a%2Fb"),
        (b"/a%5cb", ALLOW_BACKSLASH, b"/a%5Cb"),
        (b"/a\\b", ALLOW_BACKSLASH, b"/a%5Cb"),  # browsers take a backslash in a Location for a slash
    ],
)
def test_what_the_listener_allows_in_paths_is_redirected(path, target, needs, location):
    for allow in (STRICT, ALLOW_ENCODED_SLASH, ALLOW_BACKSLASH, ALLOW_ENCODED_SLASH | ALLOW_BACKSLASH):
        path.proxy = HttpsRedirectHandler([(Router([ANY]), 443)], path.values, allow)
        wanted = (308, b"https://a.test" + location) if allow & needs else (400, b"")
        assert asked(path, b"a.test", target=target) == wanted
