"""Hop-by-hop fields: what RFC 9110 section 7.6.1 removes, and what a client must not be able to remove."""

import pytest

from headgate.http.fields import CONNECTION, HOP_BY_HOP, Fields
from headgate.http.hop_by_hop import (
    NEVER_FORWARDED,
    PROTECTED,
    add_via,
    strip_request,
    strip_response,
    strip_trailers,
)


def section(*lines):
    return Fields([line.partition(b":")[0].lower() for line in lines], list(lines))


@pytest.mark.parametrize("strip", [strip_request, strip_response])
def test_rfc9110_7_6_1_removes_what_is_for_one_connection(strip):
    fields = section(
        b"Host: a",
        b"Connection: keep-alive",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Transfer-Encoding: chunked",
        b"TE: gzip",
        b"Upgrade: h2c",
        b"Proxy-Authorization: Basic eA==",
        b"Proxy-Authenticate: Basic",
        b"Proxy-Authentication-Info: x",
        b"Trailer: expires",
        b"X-Kept: 1",
    )
    strip(fields)
    assert fields.lines == [b"Host: a", b"Trailer: expires", b"X-Kept: 1"]
    assert fields.names == [b"host", b"trailer", b"x-kept"]


def test_what_cgi_would_take_for_its_own_proxy_stops_here():
    fields = section(b"Host: a", b"Proxy: http://evil.example/")
    strip_request(fields)
    assert fields.lines == [b"Host: a"]


def test_rfc9110_7_6_1_removes_what_connection_nominates():
    fields = section(
        b"X-One: 1", b"Connection: close, X-One ,,x-two", b"X-Two: 2", b"CONNECTION: X-Three", b"X-Three: 3"
    )
    strip_request(fields)
    assert fields.lines == []


@pytest.mark.parametrize("value", [b"keep-alive", b"Keep-Alive", b"close", b"KEEP-ALIVE", b""])
def test_a_lone_connection_line_goes(value):
    for strip in (strip_request, strip_response):
        fields = section(b"Host: a", b"Connection: " + value, b"Accept: */*")
        strip(fields)
        assert fields.lines == [b"Host: a", b"Accept: */*"]
        assert fields.names == [b"host", b"accept"]
        assert fields.flags & (HOP_BY_HOP | CONNECTION) == 0


def test_a_second_connection_line_is_not_overlooked():
    for others in ([b"Connection: X-A"], [b"Connection: close", b"Connection: X-A"]):
        fields = section(b"Connection: keep-alive", *others, b"X-A: 1", b"X-B: 1")
        strip_request(fields)
        assert fields.lines == [b"X-B: 1"]


def test_a_section_without_such_lines_is_not_touched():
    fields = section(b"Host: a", b"Accept: */*")
    lines, names = fields.lines, fields.names
    strip_request(fields)
    assert fields.lines is lines
    assert fields.names is names
    assert len(lines) == 2


@pytest.mark.parametrize(
    "name", sorted([*PROTECTED, b"forwarded", b"x-forwarded-for", b"x-forwarded-anything", b"x-real-ip"])
)
def test_a_client_cannot_nominate_what_is_for_everyone(name):
    fields = section(name + b": 1", b"Connection: " + name.upper())
    strip_request(fields)
    assert fields.names == [name]


def test_rfc9110_10_1_4_te_trailers_is_kept_and_nominated():
    fields = section(b"TE: gzip;q=0.5, Trailers", b"Connection: TE")
    strip_request(fields)
    assert fields.lines == [b"TE: trailers", b"Connection: te"]


def test_te_in_a_response_is_removed():
    fields = section(b"TE: trailers")
    strip_response(fields)
    assert fields.lines == []


def test_rfc9110_7_8_upgrade_is_kept_when_a_tunnel_may_follow():
    for strip in (strip_request, strip_response):
        fields = section(b"Upgrade: websocket", b"Connection: Upgrade, keep-alive", b"Sec-WebSocket-Key: x")
        strip(fields, b"websocket")
        assert fields.lines == [b"Sec-WebSocket-Key: x", b"Upgrade: websocket", b"Connection: upgrade"]


def test_upgrade_and_trailers_share_one_connection_line():
    fields = section(b"Upgrade: websocket", b"TE: trailers", b"Connection: Upgrade, TE")
    strip_request(fields, b"websocket")
    assert fields.lines == [b"Upgrade: websocket", b"TE: trailers", b"Connection: upgrade, te"]


def test_what_was_kept_is_stripped_by_the_next_hop():
    fields = section(b"Upgrade: websocket", b"Connection: Upgrade")
    strip_request(fields, b"websocket")
    strip_request(fields)
    assert fields.lines == []


def test_rfc9110_6_5_1_trailers_carry_nothing_that_decides():
    fields = section(
        b"Digest: x",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"Host: b",
        b"X-Forwarded-For: 1",
        b"Cookie: a",
    )
    strip_trailers(fields)
    assert fields.lines == [b"Digest: x"]
    assert fields.names == [b"digest"]


@pytest.mark.parametrize(
    ("version", "line"), [(30, b"via: 3 headgate"), (11, b"via: 1.1 headgate"), (10, b"via: 1.0 headgate")]
)
def test_rfc9110_7_6_3_via_names_the_version_received(version, line):
    fields = section(b"Via: 1.1 other")
    add_via(fields, version)
    assert fields.lines == [b"Via: 1.1 other", line]
    assert fields.get_all(b"via") == [b"1.1 other", line[5:]]


def test_nothing_protected_is_stripped_anyway():
    assert not PROTECTED & NEVER_FORWARDED


def test_a_line_removed_in_front_of_connection_does_not_mislead_the_strip():
    """A 204 loses its Content-Length in the engine; the parser had noted that Connection stands in line 1."""
    fields = section(b"Content-Length: 0", b"Connection: close")
    fields.connection_at = 1
    fields.remove(b"content-length")
    strip_response(fields)
    assert fields.lines == []
