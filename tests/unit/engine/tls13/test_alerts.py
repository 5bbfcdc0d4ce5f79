"""Alerts become connection errors of QUIC (RFC 9001 section 4.8)."""

from headgate.engine.tls13 import alerts, levels


def test_rfc9001_4_8_an_alert_is_a_crypto_error():
    error = alerts.refusal(alerts.NO_APPLICATION_PROTOCOL, "none of h3")
    assert (error.code, error.alert, error.reason) == (0x0178, 120, "no-application-protocol")
    assert str(error) == "no-application-protocol: none of h3"


def test_every_alert_has_its_word():
    codes = {
        value
        for name, value in vars(alerts).items()
        if isinstance(value, int) and name not in ("CRYPTO_ERROR", "PROTOCOL_VIOLATION")
    }
    assert codes == set(alerts.REASONS)
    assert len(set(alerts.REASONS.values())) == len(codes)


def test_levels_are_in_the_order_of_a_handshake():
    assert (levels.INITIAL, levels.EARLY, levels.HANDSHAKE, levels.APPLICATION) == (0, 1, 2, 3)
    assert levels.NAMES[levels.HANDSHAKE] == "handshake"
