"""What a request is hashed by, and what stands in when that is missing."""

import functools

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange
from headgate.engine.events import Request
from headgate.http.fields import Fields
from headgate.http.forwarded import ForwardedInfo, Forwarder
from headgate.http.networks import Networks
from headgate.upstream.hash_key import CLIENT, COOKIE, HEADER, PATH, HashKey, cookie_of
from headgate.upstream.policies.ring_hash import KEY_BITS


def fields(*pairs):
    made = Fields([], [])
    for name, value in pairs:
        made.add(name, value)
    return made


@functools.cache
def downstream():
    """Return the driver of a client, for exchanges that are not answered."""
    return DataPath().client()


def exchange(*pairs, target=b"/a?b", peer="192.0.2.9"):
    forwarded = Forwarder(Networks(())).connection(peer.encode(), b"http", 80)
    context = ConnectionContext("test", peer, 4000, b"http", forwarded)
    return Exchange(downstream(), context, Request(b"GET", target, 11, fields(*pairs), 0), 1.0)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (HashKey(CLIENT), b"192.0.2.9"),
        (HashKey(PATH), b"/a?b"),
        (HashKey(HEADER, b"x-tenant"), b"t1"),
        (HashKey(HEADER, b"x-absent"), b"192.0.2.9"),
        (HashKey(COOKIE, b"sid"), b"s=1"),
        (HashKey(COOKIE, b"si"), b"192.0.2.9"),
    ],
)
def test_what_is_hashed(key, value):
    asked = exchange((b"x-tenant", b"t1"), (b"cookie", b"a=1; sid=s=1"))
    assert key.value(asked) == value


def test_the_client_is_the_one_that_is_believed():
    asked = exchange()
    asked.asked = ForwardedInfo(b"198.51.100.7", b"https", b"x", 443)
    assert HashKey(CLIENT).value(asked) == b"198.51.100.7"


def test_a_connection_of_tcp_has_no_path():
    assert HashKey(PATH).value(exchange(target=b"")) == b"192.0.2.9"


def test_keys_are_the_same_everywhere_and_fit():
    key = HashKey(PATH).of(exchange())
    assert key == HashKey(PATH).of(exchange(peer="192.0.2.10")) == 330231686270280886
    assert {HashKey(PATH).of(exchange(target=b"/%d" % n)) >> (KEY_BITS - 2) for n in range(99)} == {
        0,
        1,
        2,
        3,
    }


@pytest.mark.parametrize(
    ("lines", "value"),
    [
        ([b"a=1"], b"1"),
        ([b"b=2; a=1; a=3"], b"1"),
        ([b"b=2", b"a=1"], b"1"),  # RFC 9114 section 4.2.1: HTTP/3 may split the field
        ([b"a"], b""),
        ([b"ba=1"], b""),
        ([b"b=a=1"], b""),
        ([], b""),
    ],
)
def test_a_cookie(lines, value):
    assert cookie_of(fields(*[(b"cookie", line) for line in lines]), b"a") == value
