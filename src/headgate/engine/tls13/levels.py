"""The encryption levels that handshake bytes travel at (RFC 9001 section 4.1.4).

Each belongs to one kind of packet: Initial, 0-RTT, Handshake, 1-RTT. QUIC uses the same integers.
"""

from typing import Final

INITIAL: Final = 0
EARLY: Final = 1
HANDSHAKE: Final = 2
APPLICATION: Final = 3

NAMES: Final = ("initial", "0-rtt", "handshake", "1-rtt")
