"""What one handshake leaves behind: a plain record on the connection, written by callbacks that cannot fail.

Callbacks of OpenSSL never see a transport, a socket or a counter (invariant W1): they note in this record what they
did, and whoever drove the handshake to its end counts it, once, even when a callback ran twice (HelloRetryRequest).
"""

from typing import final

from headgate.counters import STAPLE_NOT_ASKED
from headgate.tls.identity import Identity


@final
class Handshake:
    """`staple` is the index of the counter that says what became of the staple; `refusal` why a callback ended the
    handshake, "" when none did; `identity` is what the client was offered (of several, the one it was sent once a
    staple was asked for)."""

    __slots__ = ("identity", "refusal", "staple")

    def __init__(self) -> None:
        self.staple = STAPLE_NOT_ASKED
        self.refusal = ""
        self.identity: Identity | None = None
