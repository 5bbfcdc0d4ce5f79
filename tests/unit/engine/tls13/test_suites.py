"""Which suite a client gets."""

import pytest

from headgate.engine.tls13.suites import SUITES, choose_suite

AES_128, AES_256, CHACHA = 0x1301, 0x1302, 0x1303


@pytest.mark.parametrize(
    ("theirs", "chosen"),
    [
        ((AES_256, AES_128, CHACHA), AES_128),
        ((CHACHA, AES_128), CHACHA),
        ((AES_256, CHACHA), CHACHA),
        ((0x0A0A, AES_256), AES_256),
        ((0x1304, 0x1305), 0),
        ((), 0),
    ],
)
def test_our_order_decides_but_for_a_client_without_aes(theirs, chosen):
    assert choose_suite(SUITES, theirs) == chosen


def test_chacha_first_is_no_order_when_it_is_off():
    assert choose_suite((AES_128,), (CHACHA, AES_128)) == AES_128
