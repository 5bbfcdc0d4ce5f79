import socket

import pytest

from headgate.net.addresses import Address, is_localhost, parse_endpoint, parse_ip


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", Address("ipv4", "192.0.2.1")),
        ("2001:DB8::1", Address("ipv6", "2001:db8::1")),
        ("[::1]", Address("ipv6", "::1")),
        ("fe80::1%eth0", Address("ipv6", "fe80::1%eth0")),
        ("::ffff:10.0.0.1", Address("ipv4", "10.0.0.1")),
        ("[::ffff:7f00:1]", Address("ipv4", "127.0.0.1")),
    ],
)
def test_literals(text, address):
    assert parse_ip(text) == address


@pytest.mark.parametrize(
    "text", ["", "localhost", "127.1", "0x7f.1", "1.2.3.4.5", "[::1", "::g", "1.2.3.4:80"]
)
def test_what_is_no_literal_is_a_name(text):
    assert parse_ip(text) is None


def test_text_is_what_logs_show():
    assert Address("ipv4", "192.0.2.1").text(80) == "192.0.2.1:80"
    assert Address("ipv6", "::1").text(443) == "[::1]:443"
    assert Address("unix", "/run/app.sock").text(0) == "unix:/run/app.sock"


def test_zone_becomes_an_interface_number():
    index = socket.if_nametoindex("lo")
    assert Address("ipv6", "fe80::1%lo").socket_address(80) == ("fe80::1", 80, 0, index)
    assert Address("ipv6", "fe80::1%7").socket_address(80) == ("fe80::1", 80, 0, 7)
    with pytest.raises(OSError):
        Address("ipv6", "fe80::1%nosuchinterface").socket_address(80)


def test_endpoints():
    assert parse_endpoint("10.0.0.53", 53) == (Address("ipv4", "10.0.0.53"), 53)
    assert parse_endpoint("10.0.0.53:5353", 53) == (Address("ipv4", "10.0.0.53"), 5353)
    assert parse_endpoint("[fd00::1]:5353", 53) == (Address("ipv6", "fd00::1"), 5353)
    assert parse_endpoint("fd00::1", 53) == (Address("ipv6", "fd00::1"), 53)


@pytest.mark.parametrize(
    "text", ["dns.example", "10.0.0.53:", "10.0.0.53:0", "10.0.0.53:65536", "10.0.0.53:x", ""]
)
def test_bad_endpoints_are_named(text):
    with pytest.raises(ValueError, match="is not an IP address"):
        parse_endpoint(text, 53)


def test_rfc6761_6_3_localhost():
    assert is_localhost("localhost")
    assert is_localhost("LOCALHOST.")
    assert is_localhost("app.localhost")
    assert not is_localhost("localhost.example.com")
    assert not is_localhost("notlocalhost")
