"""Alt-Svc as origins send it, and as nobody should (RFC 7838)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.http.alt_svc import (
    DEFAULT_AGE,
    MAX_AGE,
    MAX_ALTERNATIVES,
    MAX_OCTETS,
    Alternative,
    parse_alt_svc,
)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b'h3=":443"', [Alternative(b"h3", b"", 443, DEFAULT_AGE)]),
        (b'h3=":8443"; ma=60', [Alternative(b"h3", b"", 8443, 60)]),
        (b'h3=":443";ma=60; persist=1; x="a;b,c"', [Alternative(b"h3", b"", 443, 60)]),
        (
            b'h3="Alt.Example.com:443"; ma=1, h2=":443"',
            [Alternative(b"h3", b"alt.example.com", 443, 1), Alternative(b"h2", b"", 443, DEFAULT_AGE)],
        ),
        (b'h3="[::1]:443"', [Alternative(b"h3", b"[::1]", 443, DEFAULT_AGE)]),
        (b'w%3Dx%3Ay="\\:44\\3"', [Alternative(b"w=x:y", b"", 443, DEFAULT_AGE)]),
        (
            b'h3=":443", , h2=":1"',
            [Alternative(b"h3", b"", 443, DEFAULT_AGE), Alternative(b"h2", b"", 1, DEFAULT_AGE)],
        ),
        (b'h3=":443"; ma="5"', [Alternative(b"h3", b"", 443, 5)]),
        (b'h3=":443"; ma=99999999999', [Alternative(b"h3", b"", 443, MAX_AGE)]),
        (b'h3=":443"; ma=0', [Alternative(b"h3", b"", 443, 0)]),
        (b"clear", []),
    ],
)
def test_what_is_offered(value, found):
    assert parse_alt_svc([value]) == found


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"h3",
        b"h3=:443",
        b'h3=":443" ma=1',
        b'h3=":443"; ma=soon',
        b'h3=":443"; ma=-1',
        b'h3=":0"',
        b'h3=":65536"',
        b'h3="host"',
        b'h3=":443',
        b'clear, h3=":443"',
        b"Clear",
        b'h3=":443"; =',
        b'h3=":443"' + b" " * MAX_OCTETS + b', h2=":1"',
    ],
)
def test_what_says_nothing(value):
    assert parse_alt_svc([value]) is None


def test_several_lines_are_one_list():
    assert parse_alt_svc([b'h3=":1"', b'h3=":2"']) == [
        Alternative(b"h3", b"", 1, DEFAULT_AGE),
        Alternative(b"h3", b"", 2, DEFAULT_AGE),
    ]


def test_one_alternative_too_many_is_not_kept():
    many = b", ".join(b'h3=":%d"' % port for port in range(1, MAX_ALTERNATIVES + 2))
    assert [one.port for one in parse_alt_svc([many])] == list(range(1, MAX_ALTERNATIVES + 1))


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(value):
    found = parse_alt_svc([value])
    assert found is None or all(0 < one.port < 65536 and 0 <= one.max_age <= MAX_AGE for one in found)
