"""Key exchange: both sides get one secret, and what is no public value is refused."""

import subprocess
import sys

import pytest

from headgate.engine.tls13 import groups
from headgate.engine.tls13.alerts import ILLEGAL_PARAMETER, TlsAlertError

SIZES = {groups.X25519: 32, groups.SECP256R1: 32, groups.SECP384R1: 48, groups.X25519MLKEM768: 64}
PUBLIC = {groups.X25519: 32, groups.SECP256R1: 65, groups.SECP384R1: 97, groups.X25519MLKEM768: 1216}


@pytest.mark.parametrize("group", groups.GROUPS)
def test_both_sides_get_one_secret(group):
    share = groups.new_share(group)
    public, secret = groups.answer_share(group, share.public)
    assert share.shared(public) == secret
    assert (len(share.public), len(secret)) == (PUBLIC[group], SIZES[group])


@pytest.mark.parametrize("group", groups.GROUPS)
@pytest.mark.parametrize(
    "change", [lambda value: value[:-1], lambda value: value + b"\0", lambda value: b"\0"]
)
def test_the_wrong_length_is_refused_on_both_sides(group, change):
    share = groups.new_share(group)
    public, _ = groups.answer_share(group, share.public)
    for refuse in (
        lambda: groups.answer_share(group, change(share.public)),
        lambda: share.shared(change(public)),
    ):
        with pytest.raises(TlsAlertError) as caught:
            refuse()
        assert caught.value.alert == ILLEGAL_PARAMETER


@pytest.mark.parametrize(
    ("group", "public"),
    [
        (groups.X25519, bytes(32)),  # a point of low order: the secret would be zero (RFC 8446 section 7.4.2)
        (groups.SECP256R1, b"\x04" + bytes(63) + b"\x01"),  # not on the curve
        (groups.SECP256R1, b"\x02" + bytes(64)),  # not uncompressed
        (groups.SECP384R1, b"\x04" + b"\xff" * 96),
        (groups.X25519MLKEM768, b"\xff" * 1184 + b"\x09" + bytes(31)),  # not reduced (FIPS 203 section 7.2)
        (groups.X25519MLKEM768, bytes(1216)),
    ],
)
def test_what_is_no_public_value_is_refused(group, public):
    with pytest.raises(TlsAlertError) as caught:
        groups.answer_share(group, public)
    assert caught.value.alert == ILLEGAL_PARAMETER


def test_without_ml_kem_the_hybrid_is_not_offered():
    """An older `cryptography` has no such module: the other groups are there, and one of them is shared."""
    code = (
        "import sys; sys.modules['cryptography.hazmat.primitives.asymmetric.mlkem'] = None\n"
        "from headgate.engine.tls13 import groups\n"
        "print(groups.HAS_MLKEM, [hex(group) for group in groups.GROUPS], groups.DEFAULT_SHARES)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "False ['0x1d', '0x17', '0x18'] (29,)"


def test_ml_kem_is_first_where_it_is():
    assert groups.HAS_MLKEM
    assert groups.GROUPS[0] == groups.X25519MLKEM768
    assert groups.DEFAULT_SHARES == (groups.X25519MLKEM768, groups.X25519)
