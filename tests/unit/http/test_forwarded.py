"""Forwarding lines: what an untrusted peer says never arrives, what a trusted one says is kept and checked."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.http.fields import Fields
from headgate.http.forwarded import MAX_HOPS, Forwarder, parse_forwarded, read_node, remove_forwarded
from headgate.http.networks import Networks

TRUSTED = Forwarder(Networks(["10.0.0.0/8", "2001:db8::/32"]))


def section(*lines):
    return Fields([line.partition(b":")[0].lower() for line in lines], list(lines))


def apply(*lines, peer=b"10.0.0.1", scheme=b"http", host=b"gate.example", port=8080, forwarder=TRUSTED):
    fields = section(*lines)
    info = forwarder.apply(fields, peer, scheme, host, port)
    assert len(fields.names) == len(fields.lines)
    for i, name in enumerate(fields.names):
        assert fields.lines[i].lower().startswith(name + b":")
    return info, dict(fields.items()), fields


OURS = {
    b"x-forwarded-for": b"192.0.2.7",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"example.com",
    b"x-forwarded-port": b"443",
    b"forwarded": b"for=192.0.2.7;host=example.com;proto=https",
}
SPOOFED = [
    b"X-Forwarded-For: 1.1.1.1",
    b"X_Forwarded_For: 1.1.1.1",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Host: evil.example",
    b"X-Forwarded-Port: 1",
    b"X-Forwarded-Prefix: /x",
    b"X-Forwarded-User: root",
    b"x-forwarded_user: root",
    b"X-Real-IP: 1.1.1.1",
    b"x_real_ip: 1.1.1.1",
    b"Forwarded: for=1.1.1.1",
]


def test_an_untrusted_peer_is_replaced():
    for peer in (b"192.0.2.7", b"::ffff:192.0.2.7"):
        info, fields, raw = apply(
            b"Host: example.com", *SPOOFED, peer=peer, scheme=b"https", host=b"example.com", port=443
        )
        assert fields == {b"host": b"example.com", **OURS}
        assert len(raw) == 6
        assert (info.client, info.scheme, info.host, info.port) == (
            b"192.0.2.7",
            b"https",
            b"example.com",
            443,
        )


def test_without_trusted_networks_nobody_is_trusted():
    info, fields, _ = apply(*SPOOFED, forwarder=Forwarder(Networks()))
    assert info.client == b"10.0.0.1"
    assert fields[b"x-forwarded-for"] == b"10.0.0.1"


def test_lines_of_a_connection_follow_its_host():
    peer = TRUSTED.connection(b"192.0.2.7", b"https", 443)
    first, second, third = section(), section(), section()
    assert peer.apply(first, b"a.example") is peer.apply(second, b"a.example")
    assert peer.apply(third, b"b.example:444").host == b"b.example:444"
    assert first.lines == second.lines
    assert third.get(b"x-forwarded-host") == b"b.example:444"
    assert third.get(b"forwarded") == b'for=192.0.2.7;host="b.example:444";proto=https'


def test_a_connections_lines_are_not_shared_with_its_requests():
    peer = TRUSTED.connection(b"192.0.2.7", b"https", 443)
    first, second = section(), section()
    peer.apply(first, b"a")
    first.remove(b"forwarded")
    first.lines[0] = b"x-forwarded-for: changed"
    peer.apply(second, b"a")
    assert second.get(b"x-forwarded-for") == b"192.0.2.7"
    assert second.get(b"forwarded") is not None


def test_applying_twice_leaves_one_set_of_lines():
    fields = section()
    peer = TRUSTED.connection(b"192.0.2.7", b"https", 443)
    peer.apply(fields, b"a")
    peer.apply(fields, b"a")
    assert len(fields) == 5


def test_rfc7239_6_ipv6_is_quoted_in_forwarded_only():
    _, fields, _ = apply(peer=b"2001:DB8:0::7", host=b"[::1]:80")
    assert fields[b"x-forwarded-for"] == b"2001:db8::7"
    assert fields[b"forwarded"] == b'for="[2001:db8::7]";host="[::1]:80";proto=http'


def test_a_unix_peer_is_unknown():
    info, fields, _ = apply(*SPOOFED, peer=b"", forwarder=Forwarder(Networks(["0.0.0.0/0", "::/0"])))
    assert info.client == b""
    assert fields[b"x-forwarded-for"] == b"unknown"
    assert fields[b"forwarded"].startswith(b"for=unknown;")


@pytest.mark.parametrize("lines", [[], [b"X-Forwarded-For: 203.0.113.5"]])
def test_an_http10_request_without_host_names_none(lines):
    _, fields, _ = apply(*lines, host=b"")
    assert set(fields) == set(OURS) - {b"x-forwarded-host"}
    assert fields[b"forwarded"].endswith(b"for=10.0.0.1;proto=http")


def test_a_host_that_nobody_checked_cannot_leave_its_quotes():
    _, fields, _ = apply(host=b'a";for=1.1.1.1')
    assert fields[b"forwarded"] == b'for=10.0.0.1;host="";proto=http'


def test_a_trusted_peer_is_appended():
    info, fields, _ = apply(
        b"X-Forwarded-For: 203.0.113.5",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: shop.example",
        b"X-Forwarded-User: ann",
        b"X_Forwarded_User: eve",
        b"X-Real-IP: 6.6.6.6",
    )
    assert fields == {
        b"x-forwarded-user": b"ann",
        b"x-forwarded-for": b"203.0.113.5, 10.0.0.1",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-host": b"shop.example",
        b"x-forwarded-port": b"443",
        b"forwarded": b"for=203.0.113.5, for=10.0.0.1;host=gate.example;proto=http",
    }
    assert (info.client, info.scheme, info.host, info.port) == (
        b"203.0.113.5",
        b"https",
        b"shop.example",
        443,
    )


def test_a_trusted_peer_that_says_nothing_is_the_client():
    info, fields, _ = apply(b"Host: a")
    assert info.client == b"10.0.0.1"
    assert fields[b"x-forwarded-for"] == b"10.0.0.1"


@pytest.mark.parametrize(
    ("chain", "client"),
    [
        ([b"203.0.113.5"], b"203.0.113.5"),
        ([b"1.1.1.1, 203.0.113.5"], b"203.0.113.5"),
        ([b"1.1.1.1, 203.0.113.5, 10.9.9.9"], b"203.0.113.5"),
        ([b"1.1.1.1", b"203.0.113.5,10.9.9.9"], b"203.0.113.5"),
        ([b"10.1.1.1, 10.2.2.2"], b"10.1.1.1"),
        ([b"203.0.113.5:4711"], b"203.0.113.5"),
        ([b'"[2001:db9::1]:4711"'], b"2001:db9::1"),
        ([b"2001:db9:0::1"], b"2001:db9::1"),
        ([b"::ffff:203.0.113.5"], b"203.0.113.5"),
        ([b"203.0.113.5, unknown, 10.2.2.2"], b"10.2.2.2"),
        ([b"203.0.113.5, evil"], b"10.0.0.1"),
        ([b""], b"10.0.0.1"),
        ([b" , ,"], b"10.0.0.1"),
    ],
)
def test_the_client_is_found_from_the_right(chain, client):
    info, fields, _ = apply(*[b"X-Forwarded-For: " + value for value in chain])
    assert info.client == client
    assert fields[b"x-forwarded-for"].split(b", ")[-1] == b"10.0.0.1"


def test_what_is_no_address_is_sent_on_as_unknown():
    _, fields, _ = apply(b"X-Forwarded-For: <script>, 203.0.113.5")
    assert fields[b"x-forwarded-for"] == b"unknown, 203.0.113.5, 10.0.0.1"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([b"X-Forwarded-Proto: HTTPS"], (b"https", b"gate.example", 443)),
        ([b"X-Forwarded-Proto: https, http"], (b"http", b"gate.example", 80)),
        ([b"X-Forwarded-Proto: gopher"], (b"http", b"gate.example", 8080)),
        ([b"X-Forwarded-Host: a.example:8443"], (b"http", b"a.example:8443", 8443)),
        ([b"X-Forwarded-Host: a.example, b.example"], (b"http", b"b.example", 8080)),
        ([b'X-Forwarded-Host: a"b'], (b"http", b"gate.example", 8080)),
        ([b"X-Forwarded-Host: u@h"], (b"http", b"gate.example", 8080)),
        ([b"X-Forwarded-Port: 444"], (b"http", b"gate.example", 444)),
        ([b"X-Forwarded-Port: 70000"], (b"http", b"gate.example", 8080)),
        ([b"X-Forwarded-Port: x"], (b"http", b"gate.example", 8080)),
        ([b"X-Forwarded-Proto: https", b"X-Forwarded-Host: a:8443"], (b"https", b"a:8443", 8443)),
        ([b"Forwarded: for=203.0.113.5;proto=https;host=f.example"], (b"https", b"f.example", 443)),
        (
            [b"Forwarded: for=1.1.1.1;proto=https;host=evil, for=203.0.113.5;proto=http;host=f.example"],
            (b"http", b"f.example", 80),
        ),
    ],
)
def test_what_the_client_asked_for_is_taken_from_a_trusted_peer(lines, expected):
    info, fields, _ = apply(*lines)
    assert (info.scheme, info.host, info.port) == expected
    assert fields[b"x-forwarded-proto"] == info.scheme
    assert fields[b"x-forwarded-host"] == info.host
    assert fields[b"x-forwarded-port"] == b"%d" % info.port


def test_rfc7239_forwarded_alone_is_kept_and_translated():
    info, fields, _ = apply(b'Forwarded: for=_hidden;by=x, For="[2001:db9::1]:80";proto=https')
    assert info.client == b"2001:db9::1"
    assert fields[b"x-forwarded-for"] == b"unknown, 2001:db9::1, 10.0.0.1"
    assert fields[b"forwarded"] == (
        b'for=_hidden;by=x, For="[2001:db9::1]:80";proto=https, for=10.0.0.1;host=gate.example;proto=http'
    )


def test_forwarded_that_agrees_keeps_its_parameters():
    _, fields, _ = apply(b"X-Forwarded-For: 203.0.113.5", b"Forwarded: for=203.0.113.5;by=_x")
    assert fields[b"forwarded"] == b"for=203.0.113.5;by=_x, for=10.0.0.1;host=gate.example;proto=http"


@pytest.mark.parametrize("value", [b"for=1.1.1.1;proto=https", b"for=", b"for=203.0.113.5, for=203.0.113.6"])
def test_forwarded_that_disagrees_is_rewritten(value):
    info, fields, _ = apply(b"X-Forwarded-For: 203.0.113.5", b"Forwarded: " + value)
    assert info.client == b"203.0.113.5"
    assert info.scheme == b"http"
    assert fields[b"forwarded"] == b"for=203.0.113.5, for=10.0.0.1;host=gate.example;proto=http"


def test_a_chain_is_cut_to_its_last_hops():
    chain = b", ".join(b"203.0.113.%d" % i for i in range(MAX_HOPS + 1))
    _, fields, _ = apply(b"X-Forwarded-For: " + chain)
    kept = fields[b"x-forwarded-for"].split(b", ")
    assert len(kept) == MAX_HOPS + 1
    assert kept[0] == b"203.0.113.1"
    assert len(fields[b"forwarded"].split(b", ")) == MAX_HOPS + 1
    assert len(parse_forwarded(b",".join([b"for=a"] * (MAX_HOPS + 1)))) == MAX_HOPS


@pytest.mark.parametrize(
    ("value", "nodes"),
    [
        (b"", []),
        (b"for=a", [b"a"]),
        (b"FOR=a;proto=http , by=b,for=c", [b"a", b"", b"c"]),
        (b'for="a\\"b"', [b'a"b']),
        (b'for="a, for=b"', [b"a, for=b"]),
        (b"for=a,", [b"a"]),
        (b"for=a;for=b", [b"a"]),
        (b"for=[::1]", []),
        (b"for=a;", []),
        (b"for = a", []),
        (b"for", []),
        (b"for=a for=b", []),
        (b'for="a', []),
        (b"for=a, for", []),
    ],
)
def test_rfc7239_4_forwarded_is_read(value, nodes):
    assert [element.node for element in parse_forwarded(value)] == nodes


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_from_a_trusted_peer_are_survived(forwarded, chain):
    info, fields, _ = apply(b"Forwarded: " + forwarded, b"X-Forwarded-For: " + chain)
    assert read_node(info.client) == info.client
    assert fields[b"x-forwarded-for"].endswith(b"10.0.0.1")
    assert parse_forwarded(fields[b"forwarded"])[-1].node == b"10.0.0.1"
    assert not set(b"\r\n\0") & set(fields[b"x-forwarded-for"] + fields[b"forwarded"])


def test_nodes():
    assert read_node(b"192.0.2.1:80") == b"192.0.2.1"
    assert read_node(b"[::1]:80") == b"::1"
    assert read_node(b"::1") == b"::1"
    for text in (b"", b"unknown", b"_x", b"[", b"[]", b":", b"1.2.3.4.5"):
        assert read_node(text) == b""


def test_remove_forwarded():
    fields = section(b"Host: a", *SPOOFED)
    remove_forwarded(fields)
    assert fields.lines == [b"Host: a"]


def test_repr():
    peer = TRUSTED.connection(b"10.0.0.1", b"https", 443)
    assert repr(peer) == "<ForwardedPeer 10.0.0.1 trusted>"
    info = peer.apply(section(), b"a")
    assert repr(info) == "<ForwardedInfo 10.0.0.1 asked https://a on port 443>"
