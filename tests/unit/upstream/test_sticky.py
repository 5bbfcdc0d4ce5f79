"""Sticky cookies: they find their endpoint, reveal no address, and are made anew only when they must be."""

import hashlib
import re

from tests.unit.upstream.test_hash_key import exchange, fields
from tests.unit.upstream.test_policies import endpoints

from headgate.http.forwarded import ForwardedInfo
from headgate.upstream.health import DOWN
from headgate.upstream.policies.round_robin import RoundRobin
from headgate.upstream.sticky import Sticky
from headgate.upstream.upstream import Balance, Upstream


def upstream(count, key=b"k" * 32):
    return Upstream("u", endpoints(*[1] * count), RoundRobin(), balance=Balance(sticky=Sticky("srv", key)))


def stamp(group, asked, endpoint):
    made = fields()
    group.sticky.stamp(asked, endpoint, made)
    return made.get(b"set-cookie")


def cookie(group, endpoint):
    return (stamp(group, exchange(), endpoint) or b"").partition(b";")[0]


def test_a_client_comes_back_to_its_endpoint():
    group = upstream(5)
    for endpoint in group.endpoints:
        asked = exchange((b"cookie", b"a=b; " + cookie(group, endpoint)))
        assert [group.pick(asked, []) for _ in range(3)] == [endpoint] * 3
        assert stamp(group, asked, endpoint) is None


def test_the_attributes():
    group = upstream(2)
    asked = exchange()
    line = rb"srv=[A-Za-z0-9_-]{16}; Path=/; HttpOnly; SameSite=Lax"
    assert re.fullmatch(line, stamp(group, asked, group.endpoints[0]))
    asked.secure = True
    assert re.fullmatch(line + b"; Secure", stamp(group, asked, group.endpoints[0]))
    behind = exchange()  # another proxy has taken the TLS off
    behind.asked = ForwardedInfo(b"192.0.2.1", b"https", b"x", 443)
    assert re.fullmatch(line + b"; Secure", stamp(group, behind, group.endpoints[0]))


def test_the_token_reveals_no_address():
    """Neither in it, nor by hashing what may be meant: without the key the hash is another."""
    group, other = upstream(1), upstream(1, key=b"o" * 32)
    url = group.endpoints[0].url.encode()
    token = cookie(group, group.endpoints[0]).partition(b"=")[2]
    assert token != cookie(other, other.endpoints[0]).partition(b"=")[2]
    assert hashlib.blake2b(url, digest_size=12).hexdigest() not in token.hex()
    assert b"10.0" not in token


def test_who_is_down_or_unknown_is_replaced_with_a_new_cookie():
    group = upstream(3)
    first = group.endpoints[0]
    asked = exchange((b"cookie", cookie(group, first)))
    first.health.judge(1.0, DOWN, "no answer")
    group.health_changed()
    found = group.pick(asked, [])
    assert found is not first
    assert stamp(group, asked, found) is not None
    for text in (b"srv=x", b"srv=", b"srv=" + b"A" * 5000):
        assert group.pick(exchange((b"cookie", text)), []) is not None
        assert stamp(group, exchange((b"cookie", text)), found) is not None


def test_who_has_no_room_keeps_its_client_for_the_next_time():
    group = upstream(3)
    first = group.endpoints[0]
    first.max_requests = 1
    group.began(first)
    asked = exchange((b"cookie", cookie(group, first)))
    found = group.pick(asked, [])
    assert found is not first
    assert stamp(group, asked, found) is None
    group.ended(first)
    assert group.pick(asked, []) is first


def test_who_was_tried_is_not_insisted_on():
    group = upstream(3)
    first = group.endpoints[0]
    asked = exchange((b"cookie", cookie(group, first)))
    assert group.pick(asked, [first]) is not first
