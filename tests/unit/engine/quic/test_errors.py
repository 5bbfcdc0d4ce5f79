"""What the errors of QUIC carry."""

from headgate.engine.quic import errors
from headgate.engine.quic.errors import (
    FINAL_SIZE_ERROR,
    NAMES,
    NO_VIABLE_PATH,
    QuicError,
    UnreadablePacketError,
)


def test_rfc9000_20_1_every_code_has_a_name():
    assert sorted(NAMES) == list(range(0x12))
    for code, name in NAMES.items():
        assert getattr(errors, name.upper().replace("-", "_")) == code
    assert NO_VIABLE_PATH == 0x10


def test_what_ends_a_connection_and_what_does_not():
    fatal = QuicError(FINAL_SIZE_ERROR, "7 octets behind the end", 0x0B)
    assert (fatal.code, fatal.reason, fatal.frame_type) == (6, "final-size-error", 0x0B)
    assert str(fatal) == "final-size-error: 7 octets behind the end"
    assert QuicError(0x0150, "an alert").reason == "quic-error"
    assert UnreadablePacketError("truncated").code == 0
