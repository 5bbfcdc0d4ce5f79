"""Which preferred addresses a client follows (RFC 9000 sections 9.6, 18.2 and 21.5.6)."""

import pytest

from headgate.engine.quic.preferred import choose, encode

PUBLIC, PUBLIC_6 = ("93.184.216.34", 443), ("2606:2800:220:1::1", 443, 0, 0)


def preferring(*addresses):
    return encode(addresses, b"an id", b"t" * 16)


def test_the_address_of_the_family_in_use():
    both = preferring(("151.101.1.1", 8443), ("2a04:4e42::1", 9443))
    assert choose(both, PUBLIC) == ("151.101.1.1", 8443)
    assert choose(both, PUBLIC_6) == ("2a04:4e42::1", 9443, 0, 0)
    assert choose(preferring(("2a04:4e42::1", 9443)), PUBLIC) is None
    assert (both.connection_id, both.token) == (b"an id", b"t" * 16)


@pytest.mark.parametrize(
    "address",
    [
        ("127.0.0.1", 443),
        ("10.0.0.1", 443),
        ("192.168.1.1", 443),
        ("169.254.169.254", 443),
        ("224.0.0.1", 443),
        ("0.0.0.0", 443),
        ("151.101.1.1", 0),
    ],
)
def test_rfc9000_21_5_6_nobody_is_sent_into_another_kind_of_network(address):
    assert choose(preferring(address), PUBLIC) is None


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        (("127.0.0.2", 443), ("127.0.0.1", 443)),
        (("10.1.0.1", 443), ("10.0.0.1", 443)),
        (("192.168.1.1", 443), ("10.0.0.1", 443)),
    ],
)
def test_within_one_kind_it_is_followed(address, peer):
    assert choose(preferring(address), peer) == address


def test_from_a_private_network_nobody_goes_to_the_internet_and_from_a_name_nowhere():
    assert choose(preferring(("151.101.1.1", 443)), ("10.0.0.1", 443)) is None
    assert choose(preferring(("151.101.1.1", 443)), ("localhost", 443)) is None
