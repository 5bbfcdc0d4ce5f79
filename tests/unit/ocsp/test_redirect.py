"""Redirects: how many, whither, and never into a network that the responder does not live in."""

import asyncio

import pytest

from headgate.http.fetch import FetchError, FetchRequest, FetchResponse
from headgate.ocsp.redirect import Network, Trail, allow_like, follow, network_of
from headgate.testing.clock import FakeClock


@pytest.mark.parametrize(
    ("ip", "network"),
    [
        ("8.8.8.8", Network.PUBLIC),
        ("2001:4860:4860::8888", Network.PUBLIC),
        ("10.1.2.3", Network.PRIVATE),
        ("172.16.0.1", Network.PRIVATE),
        ("192.168.1.1", Network.PRIVATE),
        ("100.64.0.1", Network.PRIVATE),
        ("fd00::1", Network.PRIVATE),
        ("127.0.0.1", Network.LOOPBACK),
        ("127.9.9.9", Network.LOOPBACK),
        ("::1", Network.LOOPBACK),
        ("::ffff:127.0.0.1", Network.LOOPBACK),
        ("::ffff:10.0.0.1", Network.PRIVATE),
        ("::ffff:8.8.8.8", Network.PUBLIC),
        ("64:ff9b::7f00:1", Network.LOOPBACK),
        ("64:ff9b::808:808", Network.PUBLIC),
        ("169.254.169.254", Network.LINK_LOCAL),
        ("fe80::1", Network.LINK_LOCAL),
        ("fe80::1%eth0", Network.LINK_LOCAL),
        ("0.0.0.0", Network.NOWHERE),
        ("::", Network.NOWHERE),
        ("224.0.0.1", Network.NOWHERE),
        ("ff02::1", Network.NOWHERE),
        ("ocsp.test", Network.NOWHERE),
        ("", Network.NOWHERE),
    ],
)
def test_where_an_address_lies(ip, network):
    assert network_of(ip) is network


@pytest.mark.parametrize(
    ("origin", "allowed", "refused"),
    [
        ("8.8.8.8:80", ["1.1.1.1"], ["10.0.0.1", "127.0.0.1", "::1", "169.254.169.254", "224.0.0.1"]),
        ("[2001:4860:4860::8888]:80", ["1.1.1.1"], ["fd00::1", "::1"]),
        ("10.0.0.1:80", ["1.1.1.1", "192.168.0.9", "fd00::1"], ["127.0.0.1", "169.254.169.254"]),
        ("127.0.0.1:80", ["1.1.1.1", "::1"], ["10.0.0.1", "169.254.169.254"]),
        ("", ["1.1.1.1"], ["127.0.0.1", "0.0.0.0"]),
    ],
)
def test_redirects_stay_public_or_where_the_responder_lives(origin, allowed, refused):
    allow = allow_like(origin)
    assert all(map(allow, allowed))
    assert not any(map(allow, refused))


class Chain:
    """A fetch that answers from a table of URL -> (status, location) and records what it was asked."""

    def __init__(self, table, clock=None, address="8.8.8.8:80", cost=0.0):
        self.table, self.clock, self.address, self.cost = table, clock, address, cost
        self.asked: list[FetchRequest] = []

    async def __call__(self, request):
        self.asked.append(request)
        if self.clock is not None:
            self.clock._now += self.cost
        status, location = self.table.get(request.url, (200, None))
        headers = {} if location is None else {"location": location}
        return FetchResponse(status, headers, b"body", self.address, 5.0)


def run(chain, request=None, clock=None):
    trail = Trail()
    request = request or FetchRequest("GET", "http://a/x", 10.0, avoid=frozenset({"8.8.8.8:80"}))
    return asyncio.run(follow(chain, clock or FakeClock(), request, trail)), trail


def refusal(chain, request=None, clock=None):
    with pytest.raises(FetchError) as caught:
        run(chain, request, clock)
    assert caught.value.stage == "redirect"
    return caught.value.detail


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_relative_and_absolute_locations_are_followed_with_the_same_method_and_body(status):
    chain = Chain({"http://a/x": (status, "/y"), "http://a/y": (status, "https://b/z")})
    post = FetchRequest("POST", "http://a/x", 10.0, b"body", "application/ocsp-request")
    response, trail = run(chain, post)
    assert response.status == 200
    assert [request.url for request in chain.asked] == ["http://a/x", "http://a/y", "https://b/z"]
    assert all(
        (r.method, r.body, r.content_type) == ("POST", b"body", post.content_type) for r in chain.asked
    )
    assert (trail.hops, trail.milliseconds, trail.address) == (2, 15.0, "8.8.8.8:80")


def test_three_redirects_are_followed_and_the_fourth_is_not():
    links = {f"http://a/{i}": (302, f"/{i + 1}") for i in range(1, 4)}
    chain = Chain({"http://a/x": (302, "/2")} | links)
    run(chain)
    assert len(chain.asked) == 4
    assert "more than 3" in refusal(Chain({"http://a/x": (302, "/1")} | links))


def test_the_first_request_goes_anywhere_and_those_after_a_redirect_do_not():
    chain = Chain({"http://a/x": (302, "http://b/")})
    run(chain)
    first, second = chain.asked
    assert first.allow is None
    assert second.allow is not None
    assert not second.allow("127.0.0.1")
    assert (first.avoid, second.avoid) == (frozenset({"8.8.8.8:80"}), frozenset())


@pytest.mark.parametrize(
    "location",
    ["ftp://b/", "file:///etc/passwd", "http://u:p@b/", "//[bad", "", None, "http://b/\x01"],
)
def test_other_places_are_not_gone_to(location):
    chain = Chain({"http://a/x": (302, location)})
    refusal(chain)
    assert len(chain.asked) == 1


def test_303_and_304_are_answers_not_redirects():
    for status in (303, 304, 300):
        response, _ = run(Chain({"http://a/x": (status, "/y")}))
        assert response.status == status


def test_all_hops_share_one_timeout():
    clock = FakeClock()
    chain = Chain({"http://a/x": (302, "/y"), "http://a/y": (302, "/z")}, clock, cost=6.0)
    assert "no time left" in refusal(chain, clock=clock)
    assert [request.timeout for request in chain.asked] == [10.0, 4.0]
