"""Networks: membership agrees with the standard library's slow way, and the memory of answers is bounded."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.http import networks as module
from headgate.http.networks import MAX_REMEMBERED, Networks, format_address, pack_address


@pytest.mark.parametrize(
    ("networks", "address", "expected"),
    [
        (["10.0.0.0/8"], b"10.255.0.1", True),
        (["10.0.0.0/8"], b"11.0.0.1", False),
        (["10.0.0.0/8"], b"::ffff:10.1.2.3", True),
        (["::ffff:10.0.0.0/104"], b"10.1.2.3", True),
        (["10.0.0.0/8"], b"::10.1.2.3", False),
        (["192.0.2.1"], b"192.0.2.1", True),
        (["192.0.2.1"], b"192.0.2.2", False),
        (["2001:db8::/32"], b"2001:DB8:1::", True),
        (["2001:db8::/32"], b"2001:db9::", False),
        (["fe80::/10"], b"fe80::1%eth0", True),
        (["0.0.0.0/0"], b"203.0.113.9", True),
        (["0.0.0.0/0"], b"::1", False),
        (["::/0"], b"::1", True),
        (["::/0"], b"1.2.3.4", False),
        (["0.0.0.0/0"], b"", False),
        (["0.0.0.0/0"], b"unknown", False),
        (["0.0.0.0/0"], b"1.2.3", False),
        (["0.0.0.0/0"], b"1.2.3.4\0", False),
        (["0.0.0.0/0"], b"\xff", False),
        ([], b"10.0.0.1", False),
    ],
)
def test_membership(networks, address, expected):
    networks = Networks(networks)
    assert networks.contains(address) is expected
    assert networks.contains(address) is expected


def plain(network):
    """A network of IPv4-mapped addresses stands for the IPv4 network that they carry."""
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    return (
        ipaddress.ip_network((mapped, network.prefixlen - 96))
        if mapped and network.prefixlen >= 96
        else network
    )


@given(st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), max_size=5), st.data())
def test_membership_agrees_with_ipaddress(addresses, data):
    networks = [
        ipaddress.ip_network((address, data.draw(st.integers(0, address.max_prefixlen))), strict=False)
        for address in addresses
    ]
    mine = Networks(str(network) for network in networks)
    probe = data.draw(st.one_of(st.ip_addresses(), *[st.just(network[0]) for network in networks]))
    mapped = getattr(probe, "ipv4_mapped", None)
    assert mine.contains(str(probe).encode()) == any(
        (mapped or probe) in plain(network) for network in networks
    )


@pytest.mark.parametrize("text", ["10.0.0.0/33", "x", "", "10.0.0/8", "1.2.3.4/-1"])
def test_what_is_no_network_is_named(text):
    with pytest.raises(ValueError, match="is not a network"):
        Networks([text])


def test_host_bits_are_an_error_that_names_the_network():
    with pytest.raises(ValueError, match=r"'10\.0\.0\.1/8' has bits set .* 10\.0\.0\.0/8 was meant"):
        Networks(["10.0.0.1/8"])


def test_memory_is_bounded():
    networks = Networks(["10.0.0.0/8"])
    for i in range(MAX_REMEMBERED + 1):
        assert networks.contains(b"10.0.%d.%d" % divmod(i, 256))
    assert 1 <= len(networks._known) <= MAX_REMEMBERED
    networks.contains(b"x" * (module._MAX_TEXT + 1))
    assert b"x" * (module._MAX_TEXT + 1) not in networks._known


@given(st.ip_addresses())
def test_packed_addresses_round_trip(address):
    packed = pack_address(str(address).encode())
    assert format_address(packed) == str(getattr(address, "ipv4_mapped", None) or address).encode()


def test_repr_and_length():
    assert repr(Networks(["10.0.0.0/8", "::1"])) == "<Networks 10.0.0.0/8, ::1>"
    assert repr(Networks()) == "<Networks none>"
    assert len(Networks(["::1"])) == 1
