"""The encryption levels (RFC 9001 section 4.1.4), which are also the kinds of packets that keys protect.

TLS ranks below QUIC and speaks of levels too: it defines them.
"""

from headgate.engine.tls13.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL, NAMES

__all__ = ["APPLICATION", "EARLY", "HANDSHAKE", "INITIAL", "NAMES"]
