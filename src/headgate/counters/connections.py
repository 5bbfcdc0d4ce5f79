"""Counters of connections: of clients, of origins over each version of HTTP, and those relayed as they are."""

from typing import Final

from headgate.counters.table import TABLE, counter, gauge

CONNECTIONS: Final = counter("connections_total", "Downstream connections accepted.")
CONNECTIONS_OPEN: Final = gauge("connections_open", "Downstream connections open now.")
UPSTREAM_CONNECTIONS: Final = counter("upstream_connections_total", "Connections opened to origins.")
UPSTREAM_OPEN: Final = gauge("upstream_connections_open", "Connections to origins open now.")
UPSTREAM_REUSED: Final = counter("upstream_reused_total", "Requests sent on a reused connection.")
UPSTREAM_IDLE: Final = gauge("upstream_connections_idle", "Connections to origins that wait for a request.")
_POOL_CLOSED = "Idle connections to origins that were closed, by why."
POOL_CLOSED_ORIGIN: Final = counter("upstream_idle_closed_total", _POOL_CLOSED, why="origin")
POOL_CLOSED_TIME: Final = counter("upstream_idle_closed_total", _POOL_CLOSED, why="idle-timeout")
POOL_CLOSED_AGE: Final = counter("upstream_idle_closed_total", _POOL_CLOSED, why="max-age")
POOL_CLOSED_ROOM: Final = counter("upstream_idle_closed_total", _POOL_CLOSED, why="limit")
_PREWARMED = "Spare connections dialled before anybody needed them, by outcome."
POOL_WARMED: Final = counter("upstream_prewarmed_total", _PREWARMED, outcome="ok")
POOL_WARMING_FAILED: Final = counter("upstream_prewarmed_total", _PREWARMED, outcome="failed")
_UPSTREAM_TLS = "TLS handshakes with origins over TCP."
UPSTREAM_TLS_FULL: Final = counter("upstream_handshakes_total", _UPSTREAM_TLS, kind="full")
UPSTREAM_TLS_RESUMED: Final = counter("upstream_handshakes_total", _UPSTREAM_TLS, kind="resumed")
UPSTREAM_TLS_FAILED: Final = counter("upstream_handshakes_total", _UPSTREAM_TLS, kind="failed")
# "reused": a connection that lay idle was closing; "untouched": nothing had gone out, or it was refused unread.
RETRY_REASONS: Final = ("reused", "untouched", "connect", "closed", "timeout", "invalid", "status")
RETRIED_FIRST: Final = len(TABLE)
for _why in RETRY_REASONS:
    counter("upstream_retried_total", "Requests sent to an origin once more, by why.", why=_why)
_NOT_RETRIED = "Failures that were to be followed by another try, and were not, by why not."
NOT_RETRIED_METHOD: Final = counter("upstream_not_retried_total", _NOT_RETRIED, why="method")
NOT_RETRIED_CONTENT: Final = counter("upstream_not_retried_total", _NOT_RETRIED, why="content")
NOT_RETRIED_NOBODY: Final = counter("upstream_not_retried_total", _NOT_RETRIED, why="nobody-else")
NOT_RETRIED_BUDGET: Final = counter("upstream_not_retried_total", _NOT_RETRIED, why="budget")
ENDPOINT_RESTED: Final = counter(
    "upstream_rested_total", "Endpoints that were left alone because they asked for it (Retry-After)."
)
# In the order of `net/fast_open.OUTCOMES`.
FAST_OPEN_FIRST: Final = len(TABLE)
for _outcome in ("accepted", "cookie", "refused", "retried", "unavailable"):
    counter(
        "upstream_fast_open_total", "Connects to origins with TCP Fast Open, by outcome.", outcome=_outcome
    )
# HTTP/2 towards origins.
UPSTREAM_H2_CONNECTIONS: Final = counter(
    "upstream_h2_connections_total", "HTTP/2 connections opened to origins, of those opened in all."
)
UPSTREAM_H2_OPEN: Final = gauge("upstream_h2_connections_open", "HTTP/2 connections to origins open now.")
UPSTREAM_H2_REQUESTS: Final = counter("upstream_h2_requests_total", "Requests sent to origins over HTTP/2.")
UPSTREAM_H2_PLAIN: Final = counter(
    "upstream_h2_declined_total", "Endpoints that were offered HTTP/2 and picked HTTP/1.1."
)
UPSTREAM_H2_COALESCED: Final = counter(
    "upstream_h2_coalesced_total",
    "Connections to another endpoint that an endpoint used in place of one of its own (RFC 9113 section 9.1.1).",
)
UPSTREAM_H2_MISDIRECTED: Final = counter(
    "upstream_h2_misdirected_total",
    "Requests that were answered with 421 on a connection to another endpoint, and sent again on one of their own.",
)
_H2_FAILED = "Exchanges with origins that HTTP/2 did not complete, by reason."
UPSTREAM_H2_REFUSED: Final = counter("upstream_h2_failed_total", _H2_FAILED, reason="refused")
UPSTREAM_H2_RESET: Final = counter("upstream_h2_failed_total", _H2_FAILED, reason="reset")
UPSTREAM_H2_INTERIM: Final = counter("upstream_h2_failed_total", _H2_FAILED, reason="too-many-interim")
UPSTREAM_H2_MALFORMED: Final = counter("upstream_h2_failed_total", _H2_FAILED, reason="malformed")
UPSTREAM_H2_CLOSED: Final = counter("upstream_h2_failed_total", _H2_FAILED, reason="connection")
UPSTREAM_LANES_SHED: Final = counter(
    "upstream_lanes_shed_total",
    "Answers of HTTP/2 and HTTP/3 that were given up because slow clients let too much of them wait.",
)
# HTTP/3 towards origins, beside or instead of TCP.
UPSTREAM_H3_CONNECTIONS: Final = counter(
    "upstream_h3_connections_total", "QUIC connections opened to origins, of those opened in all."
)
UPSTREAM_H3_OPEN: Final = gauge("upstream_h3_connections_open", "QUIC connections to origins open now.")
UPSTREAM_H3_REQUESTS: Final = counter("upstream_h3_requests_total", "Requests sent to origins over HTTP/3.")
_RACES = "Requests for which HTTP/3 and TCP were dialled side by side, by what answered first."
UPSTREAM_RACE_H3: Final = counter("upstream_races_total", _RACES, winner="h3")
UPSTREAM_RACE_TCP: Final = counter("upstream_races_total", _RACES, winner="tcp")
UPSTREAM_H3_BROKEN: Final = counter(
    "upstream_h3_broken_total", "Endpoints marked as broken over HTTP/3: TCP alone for a while."
)
_H3_FAILED = "Exchanges with origins that HTTP/3 did not complete, by reason."
UPSTREAM_H3_REFUSED: Final = counter("upstream_h3_failed_total", _H3_FAILED, reason="refused")
UPSTREAM_H3_RESET: Final = counter("upstream_h3_failed_total", _H3_FAILED, reason="reset")
UPSTREAM_H3_INTERIM: Final = counter("upstream_h3_failed_total", _H3_FAILED, reason="too-many-interim")
UPSTREAM_H3_MALFORMED: Final = counter("upstream_h3_failed_total", _H3_FAILED, reason="malformed")
UPSTREAM_H3_CLOSED: Final = counter("upstream_h3_failed_total", _H3_FAILED, reason="connection")
UPSTREAM_H3_LOST: Final = counter(
    "upstream_h3_lost_total", "QUIC packets to origins that were declared lost."
)
TUNNELS_OPEN: Final = gauge("tunnels_open", "Upgraded connections relayed now.")
_TCP = "Connections of tcp listeners, by what became of them."
TCP_RELAYED: Final = counter("tcp_connections_total", _TCP, result="relayed")
TCP_UNREACHABLE: Final = counter("tcp_connections_total", _TCP, result="unreachable")
TCP_UNAVAILABLE: Final = counter("tcp_connections_total", _TCP, result="unavailable")
TCP_OPEN: Final = gauge("tcp_connections_open", "Connections of tcp listeners relayed now.")
RELAY_SPLICED: Final = counter(
    "relay_spliced_bytes_total", "Bytes of tunnels and TCP connections that the kernel moved, without a copy."
)
