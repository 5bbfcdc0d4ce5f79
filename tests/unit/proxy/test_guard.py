import ipaddress
import socket

import pytest

from headgate.errors import RemoteProtocolError
from headgate.http.target import parse_authority
from headgate.pipeline.matchers import HostPatterns
from headgate.proxy.guard import Guard, OwnAddresses

HTTPS = [(443, 443)]
PLAIN = [(80, 80), (1024, 65535)]


def guard(**rules):
    return Guard(HTTPS, PLAIN, **rules)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:a9fe:a9fe",
        "::ffff:0:10.0.0.1",
        "64:ff9b::10.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b::ffff:255.255.255.255",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "unix:/run/x",
        "",
        "localhost",
    ],
)
def test_what_is_no_public_address_is_refused(address):
    assert not guard().allows(address, 443)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450::1",
        "::ffff:1.1.1.1",
        "64:ff9b::1.1.1.1",
    ],
)
def test_public_addresses_are_dialled(address):
    assert guard().allows(address, 443)


def test_the_rules_agree_with_the_registry_of_python_on_what_is_global():
    # Public by Python and refused here: anycast of protocol assignments, multicast, and what embeds IPv4.
    refused = guard()
    for number in range(0, 2**32, 2**32 // 4099):
        address = ipaddress.ip_address(number)
        if refused.allows(str(address), 80):
            special = address.is_loopback or address.is_link_local or address.is_multicast
            assert not special, address
            assert not address.is_private, address


def test_a_network_can_be_allowed_and_only_that_one():
    rules = guard(allow_networks=["10.1.0.0/16", "fd00::/8"])
    assert rules.allows("10.1.2.3", 80)
    assert rules.allows("::ffff:10.1.2.3", 80)
    assert rules.allows("64:ff9b::10.1.2.3", 80)
    assert rules.allows("fd00::1", 80)
    assert not rules.allows("10.2.0.1", 80)
    assert not rules.allows("fc00::1", 80)


def test_our_own_listeners_are_never_dialled():
    own = OwnAddresses()
    own.add("127.0.0.1", 3128)
    own.add("0.0.0.0", 8080)
    rules = guard(allow_networks=["127.0.0.0/8", "::1/128"], own=own)
    assert not rules.allows("127.0.0.1", 3128)
    assert not rules.allows("::ffff:127.0.0.1", 3128)
    assert rules.allows("127.0.0.2", 3128)
    assert not rules.allows("127.0.0.2", 8080)
    assert not rules.allows("::1", 8080)
    assert rules.allows("127.0.0.2", 8081)
    assert rules.allows("1.1.1.1", 8080)  # the port is ours, the machine is not


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::", "64:ff9b::7f00:1"])
@pytest.mark.parametrize("bound", ["0.0.0.0", "::", "127.0.0.1"])
def test_other_names_of_loopback_lead_to_no_listener_of_ours(address, bound):
    own = OwnAddresses()
    own.add(bound, 3128)
    rules = guard(allow_networks=["0.0.0.0/0", "::/0"], own=own)
    assert not rules.allows(address, 3128)
    assert not rules.allows_unresolved(
        b"[%b]" % address.encode() if ":" in address else address.encode(), 3128
    )


def test_unspecified_addresses_are_never_dialled():
    rules = guard(allow_networks=["0.0.0.0/0", "::/0"])
    for address in ("0.0.0.0", "::", "::ffff:0.0.0.0", "64:ff9b::"):
        assert not rules.allows(address, 80)
    assert rules.allows("127.0.0.1", 80)


def test_ports_are_those_of_the_kind_of_request():
    rules = guard()
    assert rules.refusal(b"example.com", 443, True) == ""
    assert rules.refusal(b"example.com", 22, True) == "port-not-allowed"
    assert rules.refusal(b"example.com", 444, True) == "port-not-allowed"
    assert rules.refusal(b"example.com", 80, False) == ""
    assert rules.refusal(b"example.com", 1024, False) == ""
    assert rules.refusal(b"example.com", 65535, False) == ""
    assert rules.refusal(b"example.com", 1023, False) == "port-not-allowed"
    assert rules.refusal(b"example.com", 25, False) == "port-not-allowed"


def test_hosts_can_be_allowed_and_denied():
    rules = guard(allow_hosts=["*.example.com", "example.org"], deny_hosts=["bad.example.com"])
    assert rules.refusal(b"a.example.com", 443, True) == ""
    assert rules.refusal(b"a.b.example.com", 443, True) == ""
    assert rules.refusal(b"example.org", 443, True) == ""
    assert rules.refusal(b"example.com", 443, True) == "host-not-allowed"
    assert rules.refusal(b"bad.example.com", 443, True) == "host-not-allowed"
    assert rules.refusal(b"notexample.com", 443, True) == "host-not-allowed"
    assert rules.refusal(b"192.0.2.1", 443, True) == "host-not-allowed"


def test_patterns_name_hosts_and_addresses():
    patterns = HostPatterns(["[2001:db8::1]", "192.0.2.1", "*.internal"])
    assert patterns.match(b"[2001:db8::1]")
    assert patterns.match(b"192.0.2.1")
    assert patterns.match(b"x.internal")
    assert not patterns.match(b"internal")
    assert "*.internal" in repr(patterns)


@pytest.mark.parametrize(
    "authority",
    [
        b"0x7f000001:443",
        b"0x7f.1:443",
        b"2130706433:443",
        b"0177.0.0.1:443",
        b"127.1:443",
        b"127.0.1:443",
        b"127.0.0.1.:443.",
        b"0300.0250.1.1:443",
        b"[::ffff:0x7f.0.0.1]:443",
        b"[fe80::1%eth0]:443",
        b"1.2.3.4%00:443",
        "１２７.0.0.1:443".encode(),
        "ⓛocalhost:443".encode(),
        b"user@127.0.0.1:443",
        b"127.0.0.1#.example.com:443",
        b"127.0.0.1\\.example.com:443",
    ],
)
def test_other_spellings_of_an_address_are_no_host(authority):
    with pytest.raises(RemoteProtocolError):
        parse_authority(authority)


def test_the_usual_spelling_with_a_dot_behind_it_is_that_address():
    assert parse_authority(b"127.0.0.1.:443") == (b"127.0.0.1", 443)
    assert socket.inet_aton("127.1")  # a resolver would have taken it
