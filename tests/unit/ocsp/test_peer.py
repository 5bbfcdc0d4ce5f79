"""A server's staple, judged by us as its client."""

import pytest

from headgate.engine.tls13.alerts import BAD_CERTIFICATE_STATUS, CERTIFICATE_REVOKED, TlsAlertError
from headgate.ocsp.peer import check_staple
from headgate.testing.pki import Authority

WALL = 1_790_000_000.0


@pytest.fixture(scope="module")
def root():
    return Authority.root()


def refused(chain, staple):
    with pytest.raises(TlsAlertError) as caught:
        check_staple(chain, staple, WALL)
    return caught.value.alert, caught.value.reason


def test_rfc6066_8_a_staple_must_be_satisfactory(root):
    between = root.intermediate()
    leaf, other = between.leaf("a.test"), between.leaf("b.test")
    chain = [leaf.certificate, between.certificate, root.certificate]
    window = {"this_update": WALL - 60, "next_update": WALL + 60}
    check_staple(chain, between.ocsp(leaf, **window), WALL)
    not_believed = (BAD_CERTIFICATE_STATUS, "staple-not-believed")
    for staple, verdict in [
        (between.ocsp(leaf, "revoked", **window), (CERTIFICATE_REVOKED, "certificate-revoked")),
        (between.ocsp(leaf, "unknown", **window), not_believed),
        (between.ocsp(other, **window), not_believed),
        (between.ocsp(leaf, this_update=WALL - 60, next_update=WALL - 1), not_believed),
        (Authority.root("Forger").ocsp(leaf, **window), not_believed),
        (b"no DER", not_believed),
    ]:
        assert refused(chain, staple) == verdict


def test_rfc7633_a_promised_staple_must_be_there(root):
    plain, promising = root.leaf("a.test"), root.leaf("a.test", must_staple=True)
    check_staple([plain.certificate, root.certificate], b"", WALL)
    assert refused([promising.certificate, root.certificate], b"") == (
        BAD_CERTIFICATE_STATUS,
        "staple-missing",
    )


def test_a_staple_without_its_issuer_proves_nothing(root):
    leaf = root.leaf("a.test")
    staple = root.ocsp(leaf, this_update=WALL - 60, next_update=WALL + 60)
    assert refused([leaf.certificate], staple) == (BAD_CERTIFICATE_STATUS, "staple-not-believed")
