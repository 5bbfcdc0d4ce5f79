"""Counters of limits: what each refused, and the bytes that are held below each."""

from typing import Final

from headgate.counters.table import counter, gauge

_REFUSED = "What a limit refused, by limit."
REFUSED_CONNECTIONS: Final = counter("refused_total", _REFUSED, limit="connections")
REFUSED_PER_CLIENT: Final = counter("refused_total", _REFUSED, limit="per_client")
REFUSED_CONNECTION_RATE: Final = counter("refused_total", _REFUSED, limit="connection_rate")
REFUSED_ALL_CONNECTION_RATE: Final = counter("refused_total", _REFUSED, limit="all_connection_rate")
REFUSED_HEAD: Final = counter("refused_total", _REFUSED, limit="head")
REFUSED_BODY: Final = counter("refused_total", _REFUSED, limit="body")
REFUSED_MALFORMED: Final = counter("refused_total", _REFUSED, limit="malformed")
REFUSED_MISDIRECTED: Final = counter("refused_total", _REFUSED, limit="misdirected")
REFUSED_PLAIN_TO_TLS: Final = counter("refused_total", _REFUSED, limit="plain-http-to-tls")
REFUSED_HELLO: Final = counter("refused_total", _REFUSED, limit="client-hello")
REFUSED_NAME: Final = counter("refused_total", _REFUSED, limit="unknown-name")
REFUSED_PROXY_HEADER: Final = counter("refused_total", _REFUSED, limit="proxy-header")
REFUSED_RENEGOTIATION: Final = counter("refused_total", _REFUSED, limit="key-update")
TIMEOUT_HANDSHAKE: Final = counter("refused_total", _REFUSED, limit="handshake-timeout")
TIMEOUT_HEAD: Final = counter("refused_total", _REFUSED, limit="head-timeout")
TIMEOUT_BODY: Final = counter("refused_total", _REFUSED, limit="body-timeout")
TIMEOUT_WRITE: Final = counter("refused_total", _REFUSED, limit="write-timeout")
TIMEOUT_KEEP_ALIVE: Final = counter("refused_total", _REFUSED, limit="keep-alive-timeout")
ACCEPT_FAILED: Final = counter("accept_failed_total", "accept() failed for want of descriptors or memory.")

# -- bytes held for peers, by owner
HELD: Final = "Bytes held for peers now, by the limit that bounds them."
HELD_HEADS: Final = gauge("held_bytes", HELD, limit="head")
HELD_DOWNSTREAM: Final = gauge("held_bytes", HELD, limit="downstream-buffer")
HELD_UPSTREAM: Final = gauge("held_bytes", HELD, limit="upstream-buffer")
HELD_REPLAY: Final = gauge("held_bytes", HELD, limit="replay")
HELD_LOG: Final = gauge("held_bytes", HELD, limit="log-buffer")
LOG_DROPPED: Final = counter("log_dropped_total", "Access log records dropped because the reader was slow.")
