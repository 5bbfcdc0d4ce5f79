"""The levels of QUIC are those of TLS."""

from headgate.engine.quic.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL, NAMES
from headgate.engine.tls13 import levels


def test_levels_are_those_of_tls():
    assert (INITIAL, EARLY, HANDSHAKE, APPLICATION) == (0, 1, 2, 3)
    assert (levels.INITIAL, levels.EARLY, levels.HANDSHAKE, levels.APPLICATION) == (0, 1, 2, 3)
    assert NAMES[APPLICATION] == "1-rtt"
