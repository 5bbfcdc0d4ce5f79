"""Counters of TLS with clients: handshakes and the staples they got."""

from typing import Final

from headgate.counters.table import counter

_HANDSHAKES = "TLS handshakes finished."
HANDSHAKES_FULL: Final = counter("handshakes_total", _HANDSHAKES, kind="full")
HANDSHAKES_RESUMED: Final = counter("handshakes_total", _HANDSHAKES, kind="resumed")
HANDSHAKES_FAILED: Final = counter("handshakes_total", _HANDSHAKES, kind="failed")
_STAPLED = "Full handshakes whose client asked for a staple, by what it got."
STAPLE_SENT: Final = counter("stapled_total", _STAPLED, result="sent")
STAPLE_ABSENT: Final = counter("stapled_total", _STAPLED, result="absent")
STAPLE_EXPIRED: Final = counter("stapled_total", _STAPLED, result="expired")
STAPLE_REVOKED: Final = counter("stapled_total", _STAPLED, result="withheld-revoked")
STAPLE_OFF: Final = counter("stapled_total", _STAPLED, result="off")
STAPLE_REFUSED: Final = counter("stapled_total", _STAPLED, result="refused-must-staple")
STAPLE_NOT_ASKED: Final = counter(
    "staple_not_asked_total", "Full handshakes whose client did not ask for a staple."
)
