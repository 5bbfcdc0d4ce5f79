"""What the origin is told of how it was asked is in the key: nobody makes others be sent where he was sent.

Listeners on several ports, of which one has an upstream of its own, and a trusted proxy in front.
"""

import pytest
from tests.integration.cache.test_poisoning import Mirror, ask, is_hit
from tests.integration.gate import Gate, free_port

TEXT = """
trusted_proxies = ["127.0.0.1"]
[cache]
enabled = true
memory = "4MiB"
[[listener]]
name = "inside"
addresses = ["127.0.0.1:{port}"]
mode = "http"
[[listener]]
name = "outside"
addresses = ["127.0.0.1:{other}"]
mode = "http"
[[route]]
upstream = "public"
listeners = ["outside"]
[[route]]
upstream = "secret"
listeners = ["inside"]
[upstream.public]
endpoints = ["{public}"]
[upstream.secret]
endpoints = ["{secret}"]
"""


@pytest.fixture(scope="module")
def mirrors():
    public, secret = Mirror(), Mirror()
    with public.origin, secret.origin:
        yield public, secret


class Ports:
    """A listener of a gate, for `ask`."""

    def __init__(self, port):
        self.http_ports = [port]


@pytest.fixture(scope="module")
def listeners(mirrors, tmp_path_factory):
    inside, outside = free_port(), free_port()
    top, _, rest = TEXT.partition("\n[cache]")
    text = "[cache]" + rest.format(
        port=inside, other=outside, public=mirrors[0].origin.url, secret=mirrors[1].origin.url
    )
    with Gate(tmp_path_factory.mktemp("gate"), text, http=0, top=top) as gate:
        yield Ports(inside), Ports(outside), gate


def test_routes_of_two_listeners_share_no_answer(listeners, mirrors):
    """The same URL, from another upstream: what is inside stays inside."""
    inside, outside, _ = listeners
    ask(inside, "/inside")
    _, answer = ask(outside, "/inside")
    assert not is_hit(answer)
    assert mirrors[0].asked("/inside") == mirrors[1].asked("/inside") == 1
    assert is_hit(ask(inside, "/inside")[1])
    assert is_hit(ask(outside, "/inside")[1])


TOLD = (
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Port: 666",
    "X-Forwarded-Prefix: /evil",
    "X-Forwarded-Scheme: evil",
    "X-Forwarded-User: mallory",
    "Forwarded: for=192.0.2.1;host=evil.test",
    "Forwarded: for=192.0.2.1;proto=https",
    "Forwarded: for=192.0.2.1;host=evil.test, for=192.0.2.2",
)


@pytest.mark.parametrize("line", TOLD)
def test_what_a_trusted_proxy_says_is_in_the_key(listeners, line):
    """It may have passed on what its client wrote: the answer is for those of whom the same is said."""
    outside = listeners[1]
    target = f"/told-{TOLD.index(line)}"
    value = line.partition(": ")[2].encode()
    _, poisoned = ask(outside, target, line)
    assert value.partition(b"host=")[2] in poisoned
    _, clean = ask(outside, target)
    assert not is_hit(clean)
    assert b"evil" not in clean
    assert is_hit(ask(outside, target, line)[1])
    assert is_hit(ask(outside, target)[1])


def test_an_unsafe_request_reaches_all_keys_of_a_url(listeners):
    """RFC 9111 section 4.4: they are confirmed before they are used again, whatever stands behind the URL."""
    outside = listeners[1]
    for line in TOLD[:3]:
        ask(outside, "/changed", line)
    ask(outside, "/changed", method="POST")
    for line in TOLD[:3]:
        _, answer = ask(outside, "/changed", line)
        assert not is_hit(answer)
        assert b'if-none-match: "1"' in answer.lower()
