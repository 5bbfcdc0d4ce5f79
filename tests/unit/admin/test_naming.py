"""By which words an operator finds a certificate."""

import pytest

from headgate.admin.naming import SHOWN, Known, find

RSA = Known("/etc/certs/example.rsa.pem", ("example.com", "*.example.com"), "a1b2c3")
ECDSA = Known("/etc/certs/example.ecdsa.pem", ("example.com", "*.example.com"), "1")
SHOP = Known(
    "/etc/certs/shop.pem", ("shop.example.com", "xn--bcher-kva.example", "192.0.2.7", "2001:db8::7"), "b0b"
)
OTHER = Known("/srv/other/shop.pem", ("other.test",), "dad")
ALL = (RSA, ECDSA, SHOP, OTHER)


@pytest.mark.parametrize(
    ("wanted", "one"),
    [
        ("/etc/certs/shop.pem", SHOP),
        ("certs/shop.pem", SHOP),
        ("/other/shop.pem", OTHER),
        ("example.rsa.pem", RSA),
        ("shop.example.com", SHOP),  # its own name wins over the wildcards of the others
        ("SHOP.Example.COM.", SHOP),
        ("bücher.example", SHOP),
        ("192.0.2.7", SHOP),
        ("2001:db8::7", SHOP),
        ("other.test", OTHER),
        ("a1b2c3", RSA),
        ("00:A1:B2:C3", RSA),
        ("0xB0B", SHOP),
        ("01", ECDSA),
    ],
)
def test_one_is_found(wanted, one):
    assert find(wanted, ALL) == one.file


@pytest.mark.parametrize("wanted", ["example.com", "www.example.com", "*.example.com"])
def test_several_are_listed(wanted):
    with pytest.raises(LookupError) as error:
        find(wanted, ALL)
    assert str(error.value.args[0]) == f"{wanted} may be {RSA.file}, {ECDSA.file}: name one of these files"


def test_so_are_files_and_no_more_than_a_few():
    with pytest.raises(LookupError, match=rf"shop\.pem may be {SHOP.file}, {OTHER.file}: name one"):
        find("shop.pem", ALL)
    with pytest.raises(LookupError, match="and 15 more: name one"):
        find("a.pem", [Known(f"/{number}/a.pem") for number in range(SHOWN + 15)])


def test_a_wildcard_covers_one_label():
    with pytest.raises(LookupError, match=r"there is no certificate a\.b\.example\.com"):
        find("a.b.example.com", ALL)


@pytest.mark.parametrize("wanted", ["hop.pem", "xample.com/", "", "pem", "ffff", "test"])
def test_nothing_is_no_certificate(wanted):
    with pytest.raises(LookupError, match="there is no certificate"):
        find(wanted, ALL)


@pytest.mark.parametrize("wanted", ["shop", "certs/shop", "SHOP"])
def test_half_a_name_is_told_what_begins_with_it(wanted):
    with pytest.raises(LookupError) as error:
        find(wanted, ALL)
    assert f"no certificate {wanted}; nearest: shop.pem, shop.example.com; " in str(error.value.args[0])


def test_nothing_tells_what_comes_nearest():
    with pytest.raises(LookupError) as error:
        find("certs/shop.pme", ALL)
    assert "there is no certificate certs/shop.pme; nearest: shop.pem" in str(error.value.args[0])
    with pytest.raises(LookupError, match=r"nearest: other\.test; `headgate ocsp` lists them"):
        find("othr.test", ALL)
    with pytest.raises(LookupError, match=r"certificate zzzz; `headgate ocsp` lists them"):
        find("zzzz", ALL)
