"""Headers of the PROXY protocol: what is read, what is refused and where it ends, and what we send."""

import pytest

from headgate.net.proxy_protocol import (
    MAX_V1,
    MAX_V2,
    SIGNATURE,
    ProxyHeaderError,
    crc32c,
    decode,
    encode_v1,
    encode_v2,
)

V4 = bytes((192, 0, 2, 1, 198, 51, 100, 2)) + (4000).to_bytes(2, "big") + (443).to_bytes(2, "big")
V6 = bytes.fromhex("20010db8000000000000000000000001" * 2) + b"\x00\x01\xff\xff"
MAPPED = bytes(10) + b"\xff\xff\xc0\x00\x02\x01"


def v2(body, command=0x21, family=0x11, size=None):
    return (
        SIGNATURE + bytes((command, family)) + (len(body) if size is None else size).to_bytes(2, "big") + body
    )


def with_checksum(body, family=0x11):
    whole = v2(body + b"\x03\x00\x04" + bytes(4), family=family)
    return whole[:-4] + crc32c(whole).to_bytes(4, "big")


def addresses(header):
    return (header.source, header.source_port, header.destination, header.destination_port)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 443\r\n", ("192.0.2.1", 4000, "198.51.100.2", 443)),
        (b"PROXY TCP6 2001:db8::1 2001:DB8:0::2 0 65535\r\n", ("2001:db8::1", 0, "2001:db8::2", 65535)),
        (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", ("192.0.2.1", 1, "::1", 2)),
        (b"PROXY UNKNOWN\r\n", ("", 0, "", 0)),
        (b"PROXY UNKNOWN ffff::1 what ever 1\r\n", ("", 0, "", 0)),
        (b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 16) + b"\r\n", ("", 0, "", 0)),
    ],
)
def test_version_1(line, expected):
    header = decode(line + b"GET / HTTP/1.1\r\n")
    assert header.version == 1
    assert header.size == len(line)
    assert addresses(header) == expected


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"proxy TCP4 192.0.2.1 198.51.100.2 4000 443\r\n",
        b"PROXY  TCP4 192.0.2.1 198.51.100.2 4000 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2  4000 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 443 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4000\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 65536\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 04000 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 +400 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4_0 443\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2  443\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 4000 443\r\n",
        b"PROXY TCP4 192.0.2 198.51.100.2 4000 443\r\n",
        b"PROXY TCP4 ::1 ::1 4000 443\r\n",
        b"PROXY TCP6 192.0.2.1 198.51.100.2 4000 443\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 4000 443\r\n",
        b"PROXY TCP6 \xff\xfe ::1 4000 443\r\n",
        b"PROXY UDP4 192.0.2.1 198.51.100.2 4000 443\r\n",
        b"PROXY UNKNOWNX\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 443\n",
        b"PROXY \r\n",
    ],
)
def test_a_malformed_version_1_is_refused(line):
    with pytest.raises(ProxyHeaderError):
        decode(line)


def test_a_line_of_107_octets_is_the_longest():
    line = b"PROXY UNKNOWN " + b"x" * (MAX_V1 - 16) + b"\r\n"
    assert len(line) == MAX_V1
    assert decode(line).size == MAX_V1
    with pytest.raises(ProxyHeaderError, match="107"):
        decode(line[:-2] + b"x\r\n")
    with pytest.raises(ProxyHeaderError, match="107"):
        decode(line[:-2] + b"xx")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (v2(V4), ("192.0.2.1", 4000, "198.51.100.2", 443)),
        (v2(V6, family=0x21), ("2001:db8::1", 1, "2001:db8::1", 65535)),
        (
            v2(MAPPED + V6[16:], family=0x21),
            ("192.0.2.1", 1, "2001:db8::1", 65535),
        ),
        (v2(b"", command=0x20, family=0), ("", 0, "", 0)),
        (v2(V4, command=0x20), ("", 0, "", 0)),
        (v2(b"whatever", family=0), ("", 0, "", 0)),
        (v2(bytes(216), family=0x31), ("", 0, "", 0)),
        (v2(V4, family=0x12), ("", 0, "", 0)),
        (v2(V4 + b"\x04\x00\x02\x00\x00\x02\x00\x03a.b"), ("192.0.2.1", 4000, "198.51.100.2", 443)),
        (with_checksum(V4), ("192.0.2.1", 4000, "198.51.100.2", 443)),
        (with_checksum(V4 + b"\x01\x00\x02h2"), ("192.0.2.1", 4000, "198.51.100.2", 443)),
    ],
)
def test_version_2(data, expected):
    header = decode(data + b"\x16\x03\x01")
    assert header.version == 2
    assert header.size == len(data)
    assert addresses(header) == expected


@pytest.mark.parametrize(
    "data",
    [
        v2(V4, command=0x11),
        v2(V4, command=0x22),
        v2(V4, command=0x31),
        v2(V4[:-1]),
        v2(V6[:-1], family=0x21),
        v2(V4 + b"\x04"),
        v2(V4 + b"\x04\x00"),
        v2(V4 + b"\x04\x00\x03\x00\x00"),
        v2(V4 + b"\x03\x00\x03\x00\x00\x00"),
        v2(V4 + b"\x03\x00\x04\x00\x00\x00\x00"),
        with_checksum(V4)[:-1] + b"\x00",
        with_checksum(V4).replace(bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2))),
        b"\r\n\r\n\x00\r\nQUIT\r",
        b"\r\n\r\nGET",
        b"\x16\x03\x01\x02\x00",
    ],
)
def test_a_malformed_version_2_is_refused(data):
    with pytest.raises(ProxyHeaderError):
        decode(data)


def test_the_length_of_version_2_is_bounded_before_it_is_waited_for():
    assert decode(v2(V4, size=MAX_V2 - 16)) is None
    with pytest.raises(ProxyHeaderError, match="4097"):
        decode(v2(b"", size=MAX_V2 - 15))
    filler = b"\xee" + (MAX_V2 - 16 - len(V4) - 3).to_bytes(2, "big")
    whole = v2(V4 + filler + bytes(MAX_V2 - 16 - len(V4) - 3))
    assert decode(whole).size == MAX_V2


@pytest.mark.parametrize(
    "whole", [v2(V4), with_checksum(V4), encode_v1("::1", 1, "::1", 2), b"PROXY UNKNOWN\r\n"]
)
def test_each_beginning_needs_more(whole):
    for cut in range(len(whole)):
        assert decode(whole[:cut]) is None
    assert decode(whole).size == len(whole)


@pytest.mark.parametrize(
    ("ends", "line"),
    [
        (("192.0.2.1", 4000, "198.51.100.2", 443), b"PROXY TCP4 192.0.2.1 198.51.100.2 4000 443\r\n"),
        (("fe80::1%eth0", 1, "::1", 2), b"PROXY TCP6 fe80::1 ::1 1 2\r\n"),
        (("192.0.2.1", 1, "::1", 2), b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n"),
        (("", 0, "198.51.100.2", 443), b"PROXY UNKNOWN\r\n"),
        (("unix", 0, "", 0), b"PROXY UNKNOWN\r\n"),
    ],
)
def test_what_version_1_sends(ends, line):
    assert encode_v1(*ends) == line


def test_what_version_2_sends():
    assert encode_v2("192.0.2.1", 4000, "198.51.100.2", 443) == v2(V4)
    named = encode_v2("192.0.2.1", 4000, "198.51.100.2", 443, b"a.example")
    assert named == v2(V4 + b"\x02\x00\x09a.example")
    assert encode_v2("192.0.2.1", 4000, "198.51.100.2", 443, b"x" * 256) == v2(V4)
    assert encode_v2("", 0, "", 0) == v2(b"", command=0x20, family=0)
    mixed = decode(encode_v2("192.0.2.1", 1, "2001:db8::1", 2))
    assert addresses(mixed) == ("192.0.2.1", 1, "2001:db8::1", 2)


def test_limit_of_checksums():
    first = 28 + 3
    whole = bytearray(v2(V4 + (b"\x03\x00\x04" + bytes(4)) * 2))
    # The first one is right: its own octets count as zero, those of the second as they stand.
    whole[first : first + 4] = crc32c(bytes(whole)).to_bytes(4, "big")
    with pytest.raises(ProxyHeaderError, match="a second checksum"):
        decode(bytes(whole))


def test_the_checksum_is_castagnoli():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of the CRC catalogue
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 appendix B.4
