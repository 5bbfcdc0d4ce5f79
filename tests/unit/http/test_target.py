"""Request targets: every form of RFC 9112 section 3.2, the normal form of paths, and the strict reading of hosts."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.http import target as module
from headgate.http.target import (
    ABSOLUTE_FORM,
    ALLOW_BACKSLASH,
    ALLOW_ENCODED_SLASH,
    ASTERISK_FORM,
    AUTHORITY_FORM,
    MAX_REMEMBERED,
    MAX_REMEMBERED_LENGTH,
    ORIGIN_FORM,
    PATIENCE,
    BadTarget,
    format_authority,
    normalise_path,
    parse_authority,
    parse_target,
)


def fields_of(target):
    return (target.form, target.scheme, target.authority, target.path, target.query)


@pytest.mark.parametrize(
    ("method", "target", "expected", "origin"),
    [
        (b"GET", b"/", (ORIGIN_FORM, b"", b"", b"/", b""), b"/"),
        (b"GET", b"/a?b=c", (ORIGIN_FORM, b"", b"", b"/a", b"?b=c"), b"/a?b=c"),
        (b"GET", b"/a?", (ORIGIN_FORM, b"", b"", b"/a", b"?"), b"/a?"),
        (b"GET", b"/%7ea?%zz", (ORIGIN_FORM, b"", b"", b"/%7ea", b"?%zz"), b"/~a?%zz"),
        (b"GET", b"//a", (ORIGIN_FORM, b"", b"", b"//a", b""), b"//a"),
        (b"OPTIONS", b"*", (ASTERISK_FORM, b"", b"", b"*", b""), b"*"),
        (
            b"GET",
            b"HTTP://Example.org/a?b",
            (ABSOLUTE_FORM, b"http", b"Example.org", b"/a", b"?b"),
            b"/a?b",
        ),
        (b"GET", b"https://h:1?b", (ABSOLUTE_FORM, b"https", b"h:1", b"", b"?b"), b"/?b"),
        (b"GET", b"http://h", (ABSOLUTE_FORM, b"http", b"h", b"", b""), b"/"),
        (b"CONNECT", b"h:443", (AUTHORITY_FORM, b"", b"h:443", b"", b""), b""),
        (b"CONNECT", b"[::1]:443", (AUTHORITY_FORM, b"", b"[::1]:443", b"", b""), b""),
    ],
)
def test_rfc9112_3_2_forms(method, target, expected, origin):
    parsed = parse_target(method, target)
    assert fields_of(parsed) == expected
    assert parsed.origin == origin
    assert fields_of(parse_target(method, target)) == expected  # remembered or not


def test_rfc9112_3_2_4_options_without_a_path_becomes_asterisk():
    parsed = parse_target(b"OPTIONS", b"http://example.org:8001")
    assert (parsed.form, parsed.normal, parsed.origin) == (ABSOLUTE_FORM, b"*", b"*")
    assert parse_target(b"OPTIONS", b"http://example.org?q").origin == b"/?q"


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", b"*"),
        (b"GET", b""),
        (b"GET", b"a"),
        (b"GET", b"a/b"),
        (b"GET", b"?a"),
        (b"GET", b"h:443"),
        (b"GET", b"/a#b"),
        (b"GET", b"/a?b#c"),
        (b"GET", b"/a b"),
        (b"GET", b"/a?b c"),
        (b"GET", b"/a?\xff"),
        (b"GET", b"/a?\n"),
        (b"GET", b"/a\n"),
        (b"GET", b"http:///a"),
        (b"GET", b"http://u@h/"),
        (b"GET", b"http://u:p@h/"),
        (b"GET", b"http://h:99999/"),
        (b"GET", b"http://h/\n"),
        (b"GET", b"http://h/a#b"),
        (b"GET", b"ftp://h/"),
        (b"GET", b"http:/h"),
        (b"GET", b"http://h\\@e/"),
        (b"CONNECT", b"h"),
        (b"CONNECT", b"h:"),
        (b"CONNECT", b"/"),
        (b"CONNECT", b"/known"),
        (b"CONNECT", b"http://h:1"),
        (b"CONNECT", b"*"),
        (b"CONNECT", b"h:443/"),
    ],
)
def test_rfc9112_3_2_refused(method, target):
    if target == b"/known":
        parse_target(b"GET", target)
    with pytest.raises(BadTarget) as refused:
        parse_target(method, target)
    assert refused.value.code == 400
    assert refused.value.reason


def test_what_is_allowed_has_its_own_memory():
    assert parse_target(b"GET", b"/a%2fb", ALLOW_ENCODED_SLASH).normal == b"/a%2Fb"
    with pytest.raises(BadTarget, match="encoded-slash"):
        parse_target(b"GET", b"/a%2fb")
    assert parse_target(b"GET", b"/a\\b", ALLOW_BACKSLASH).normal == b"/a\\b"
    with pytest.raises(BadTarget, match="backslash"):
        parse_target(b"GET", b"/a\\b", ALLOW_ENCODED_SLASH)


def test_memory_is_bounded():
    for i in range(MAX_REMEMBERED + 1):
        parse_target(b"GET", b"/%d" % i)
        parse_authority(b"h%dx" % i)
    assert 1 <= len(module._targets[0]) <= MAX_REMEMBERED
    assert 1 <= len(module._authorities) <= MAX_REMEMBERED
    for i in range(PATIENCE + 1):  # what is in there makes room for others in the end
        parse_target(b"GET", b"/other/%d" % i)
    assert b"/0" not in module._targets[0]
    assert b"/other/%d" % PATIENCE in module._targets[0]
    long = b"/" + b"a" * MAX_REMEMBERED_LENGTH
    parse_target(b"GET", long)
    assert long not in module._targets[0]
    assert long[:-1] not in module._targets[0]
    parse_target(b"GET", long[:-1])
    assert long[:-1] in module._targets[0]


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        (b"/", b"/"),
        (b"/a/b.c", b"/a/b.c"),
        (b"/.well-known/x", b"/.well-known/x"),
        (b"/..a/...", b"/..a/..."),
        (b"/%61%2d%2E%5f%7E", b"/a-._~"),
        (b"/%c3%a4", b"/%C3%A4"),
        (b"/%C3%A4", b"/%C3%A4"),
        (b"/%21%24%26", b"/%21%24%26"),
        (b"/%252e%252E/", b"/%252e%252E/"),
        (b"/a/./b", b"/a/b"),
        (b"/a/../b", b"/b"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/a/.%2e", b"/"),
        (b"/a/b/..", b"/a/"),
        (b"/.", b"/"),
        (b"/./", b"/"),
        (b"/a/.", b"/a/"),
        (b"/a//../b", b"/a/b"),
        (b"/a/..//b", b"//b"),
        (b"//", b"//"),
        (b"/mid/content=5/../6", b"/mid/6"),
        (b"/a/b/c/./../../g", b"/a/g"),
        (b'/a|b^c"d[e]{f}<g>`', b'/a|b^c"d[e]{f}<g>`'),
    ],
)
def test_rfc3986_6_2_2_normal_paths(path, normal):
    assert normalise_path(path) == normal
    assert (normalise_path(path) is path) == (path == normal)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        (b"", "bad-path"),
        (b"a", "bad-path"),
        (b"/a\0", "bad-path"),
        (b"/a\x7f", "bad-path"),
        (b"/a b", "bad-path"),
        (b"/a\n", "bad-path"),
        (b"/\xc3\xa4", "bad-path"),
        (b"/a?b", "bad-path"),
        (b"/a#b", "bad-path"),
        (b"/%00", "nul"),
        (b"/a%2fb", "encoded-slash"),
        (b"/a%2Fb", "encoded-slash"),
        (b"/a\\b", "backslash"),
        (b"/a%5cb", "backslash"),
        (b"/..", "above-root"),
        (b"/a/../../b", "above-root"),
        (b"/%2e%2e/a", "above-root"),
        (b"/%", "bad-percent"),
        (b"/%2", "bad-percent"),
        (b"/%zz", "bad-percent"),
        (b"/%%32e", "bad-percent"),
        (b"/% 1", "bad-path"),
        (b"/%+1", "bad-percent"),
    ],
)
def test_paths_refused(path, reason):
    with pytest.raises(BadTarget) as refused:
        normalise_path(path)
    assert refused.value.reason == reason


def test_nul_is_never_allowed():
    with pytest.raises(BadTarget, match="nul"):
        normalise_path(b"/%00", ALLOW_BACKSLASH | ALLOW_ENCODED_SLASH)


PIECES = [
    b"/",
    b".",
    b"..",
    b"a",
    b"%2e",
    b"%2E",
    b"%61",
    b"%2f",
    b"%5c",
    b"\\",
    b"%c3",
    b"%25",
    b"%",
    b"~",
    b";",
]


@given(
    st.lists(st.sampled_from(PIECES), max_size=16).map(lambda pieces: b"/" + b"".join(pieces)),
    st.sampled_from([0, 1, 2, 3]),
)
def test_normal_form_is_a_fixed_point_without_dot_segments(path, allow):
    try:
        normal = normalise_path(path, allow)
    except BadTarget:
        return
    assert normalise_path(normal, allow) is normal
    assert normal.startswith(b"/")
    assert not {b".", b".."} & set(normal.split(b"/"))
    assert b"%2e" not in normal.lower()
    assert allow or (b"\\" not in normal and b"%2F" not in normal)


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data):
    for method in (b"GET", b"OPTIONS", b"CONNECT"):
        for target in (data, b"/" + data, b"http://" + data):
            try:
                parsed = parse_target(method, target)
            except BadTarget:
                continue
            assert all(0x21 <= octet <= 0x7E for octet in parsed.origin + parsed.authority)


# -- authorities


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"example.com", (b"example.com", -1)),
        (b"EXAMPLE.com:8443", (b"example.com", 8443)),
        (b"example.com.", (b"example.com", -1)),
        (b"example.com.:80", (b"example.com", 80)),
        (b"example.com:", (b"example.com", -1)),
        (b"h:065", (b"h", 65)),
        (b"h:1", (b"h", 1)),
        (b"h:65535", (b"h", 65535)),
        (b"_srv.my-host", (b"_srv.my-host", -1)),
        (b"xn--bcher-kva.example", (b"xn--bcher-kva.example", -1)),
        (b"1password.com", (b"1password.com", -1)),
        (b"192.0.2.1:80", (b"192.0.2.1", 80)),
        (b"[2001:DB8:0::1]", (b"[2001:db8::1]", -1)),
        (b"[::ffff:192.0.2.1]:443", (b"[::ffff:192.0.2.1]", 443)),
    ],
)
def test_authorities(value, expected):
    assert parse_authority(value) == expected
    assert parse_authority(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b".",
        b":80",
        b"a..b",
        b".a",
        b"a..",
        b"a b",
        b" a",
        b"a\t",
        b"a\n",
        b"a,b",
        b"a/b",
        b"a\\b",
        b"a?b",
        b"u@h",
        b"h@",
        b"%61",
        b"a'b",
        b"h:0",
        b"h:65536",
        b"h:100000",
        b"h:+1",
        b"h:-1",
        b"h:1a",
        b"h:80:80",
        b"h: 80",
        b"1.2.3",
        b"1.2.3.4.5",
        b"01.2.3.4",
        b"256.1.1.1",
        b"0x7f000001",
        b"a.0x1",
        b"2130706433",
        b"[",
        b"[::1",
        b"[::1]80",
        b"[::1%25eth0]",
        b"[fe80::1%eth0]",
        b"[v1.a]",
        b"[1.2.3.4]",
        b"[]",
        b"::1",
        b"\xc3\xa4.example",
        b"a" * 256,
        b"a" * 300,
    ],
)
def test_authorities_refused(value):
    with pytest.raises(BadTarget) as refused:
        parse_authority(value)
    assert refused.value.reason in ("bad-host", "bad-port")


def test_a_host_of_255_octets_is_the_longest():
    assert parse_authority(b"a" * 255 + b":65535")[1] == 65535


LABEL = st.from_regex(r"[a-z_~]([a-z0-9_~-]{0,10}[a-z])?", fullmatch=True)
HOSTS = st.one_of(
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
)


@given(HOSTS, st.one_of(st.just(-1), st.integers(1, 65535)))
def test_authorities_round_trip(host, port):
    parsed = parse_authority(format_authority(host.encode(), port))
    assert parsed[1] == port
    assert parse_authority(format_authority(*parsed)) == parsed
    if host.startswith("["):
        assert ipaddress.ip_address(parsed[0][1:-1].decode()) == ipaddress.ip_address(host[1:-1])
    else:
        assert parsed[0] == host.encode()


@given(st.binary(max_size=30))
def test_any_bytes_as_authority_are_read_or_refused(data):
    try:
        host, port = parse_authority(data)
    except BadTarget:
        return
    assert host
    assert host == host.lower()
    assert port == -1 or 1 <= port <= 65535
    assert parse_authority(host) == (host, -1)


def test_default_ports_are_left_out():
    assert format_authority(b"h", 443, b"https") == b"h"
    assert format_authority(b"h", 80, b"http") == b"h"
    assert format_authority(b"h", 80, b"https") == b"h:80"
    assert format_authority(b"h", -1) == b"h"


def test_repr():
    assert repr(parse_target(b"GET", b"http://h:1/a?b")) == "<Target http://h:1/a?b>"
