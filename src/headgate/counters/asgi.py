"""Counters of ASGI applications: where they run, in a worker or a process of their own."""

from typing import Final

from headgate.counters.table import counter, gauge

ASGI_RUNNING: Final = gauge("asgi_running", "Calls of ASGI applications that run now.")
_ASGI = "Calls of ASGI applications that went wrong."
ASGI_RAISED: Final = counter("asgi_failed_total", _ASGI, what="raised")
ASGI_UNANSWERED: Final = counter("asgi_failed_total", _ASGI, what="unanswered")
ASGI_CUT_SHORT: Final = counter("asgi_failed_total", _ASGI, what="cut-short")
ASGI_WEBSOCKETS: Final = gauge("asgi_websockets_open", "WebSockets that ASGI applications have open now.")
_ASGI_REFUSED = "WebSockets of ASGI applications that were closed on their client, by reason."
ASGI_MESSAGE_TOO_BIG: Final = counter("asgi_websockets_closed_total", _ASGI_REFUSED, reason="message-too-big")
ASGI_BAD_FRAME: Final = counter("asgi_websockets_closed_total", _ASGI_REFUSED, reason="bad-frame")
ASGI_SILENT: Final = counter("asgi_websockets_closed_total", _ASGI_REFUSED, reason="silent")
