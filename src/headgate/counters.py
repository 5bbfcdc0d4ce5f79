"""Counters: integers in slots, one shared page for each process, that survive a crash.

Every metric is a row of one table; its index is a constant, so that the hot path does `values[REQUESTS] += 1` on
a plain list and nothing there can raise or reach for an object that may be missing (invariant W1). Once in a
sweep the list is copied into the shared page, where the keeper reads it; a crash loses at most one sweep.
A gauge is written the same way, by its owner.
"""

import mmap
import struct
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Metric:
    """One slot: a Prometheus name without prefix, its kind ("counter" or "gauge"), its labels and its help."""

    name: str
    kind: str
    labels: tuple[tuple[str, str], ...]
    help: str


TABLE: Final[list[Metric]] = []


def _counter(name: str, help: str, **labels: str) -> int:
    TABLE.append(Metric(name, "counter", tuple(labels.items()), help))
    return len(TABLE) - 1


def _gauge(name: str, help: str, **labels: str) -> int:
    TABLE.append(Metric(name, "gauge", tuple(labels.items()), help))
    return len(TABLE) - 1


# -- requests
_REQUESTS = "Requests answered, by status class."
REQUESTS_1XX: Final = _counter("requests_total", _REQUESTS, status="1xx")
REQUESTS_2XX: Final = _counter("requests_total", _REQUESTS, status="2xx")
REQUESTS_3XX: Final = _counter("requests_total", _REQUESTS, status="3xx")
REQUESTS_4XX: Final = _counter("requests_total", _REQUESTS, status="4xx")
REQUESTS_5XX: Final = _counter("requests_total", _REQUESTS, status="5xx")
_BYTES = "Body and head bytes, by side and direction."
DOWNSTREAM_READ: Final = _counter("bytes_total", _BYTES, side="downstream", direction="read")
DOWNSTREAM_WRITTEN: Final = _counter("bytes_total", _BYTES, side="downstream", direction="written")
UPSTREAM_READ: Final = _counter("bytes_total", _BYTES, side="upstream", direction="read")
UPSTREAM_WRITTEN: Final = _counter("bytes_total", _BYTES, side="upstream", direction="written")

# -- latency: a histogram is its buckets, not cumulative; the last one is +Inf
LATENCY_BOUNDS: Final[tuple[float, ...]] = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
LATENCY_FIRST: Final = len(TABLE)
for _bound in (*LATENCY_BOUNDS, float("inf")):
    _counter("request_seconds", "From the request's head to the response's last byte.", le=str(_bound))
LATENCY_MICROSECONDS: Final = _counter(
    "request_microseconds_sum", "Sum of request durations, in microseconds."
)

# -- connections
CONNECTIONS: Final = _counter("connections_total", "Downstream connections accepted.")
CONNECTIONS_OPEN: Final = _gauge("connections_open", "Downstream connections open now.")
UPSTREAM_CONNECTIONS: Final = _counter("upstream_connections_total", "Connections opened to origins.")
UPSTREAM_OPEN: Final = _gauge("upstream_connections_open", "Connections to origins open now.")
UPSTREAM_REUSED: Final = _counter("upstream_reused_total", "Requests sent on a reused connection.")
UPSTREAM_IDLE: Final = _gauge("upstream_connections_idle", "Connections to origins that wait for a request.")
_POOL_CLOSED = "Idle connections to origins that were closed, by why."
POOL_CLOSED_ORIGIN: Final = _counter("upstream_idle_closed_total", _POOL_CLOSED, why="origin")
POOL_CLOSED_TIME: Final = _counter("upstream_idle_closed_total", _POOL_CLOSED, why="idle-timeout")
POOL_CLOSED_AGE: Final = _counter("upstream_idle_closed_total", _POOL_CLOSED, why="max-age")
POOL_CLOSED_ROOM: Final = _counter("upstream_idle_closed_total", _POOL_CLOSED, why="limit")
_PREWARMED = "Spare connections dialled before anybody needed them, by outcome."
POOL_WARMED: Final = _counter("upstream_prewarmed_total", _PREWARMED, outcome="ok")
POOL_WARMING_FAILED: Final = _counter("upstream_prewarmed_total", _PREWARMED, outcome="failed")
_UPSTREAM_TLS = "TLS handshakes with origins over TCP."
UPSTREAM_TLS_FULL: Final = _counter("upstream_handshakes_total", _UPSTREAM_TLS, kind="full")
UPSTREAM_TLS_RESUMED: Final = _counter("upstream_handshakes_total", _UPSTREAM_TLS, kind="resumed")
UPSTREAM_TLS_FAILED: Final = _counter("upstream_handshakes_total", _UPSTREAM_TLS, kind="failed")
# "reused": a connection that lay idle was closing; "untouched": nothing had gone out, or it was refused unread.
RETRY_REASONS: Final = ("reused", "untouched", "connect", "closed", "timeout", "invalid", "status")
RETRIED_FIRST: Final = len(TABLE)
for _why in RETRY_REASONS:
    _counter("upstream_retried_total", "Requests sent to an origin once more, by why.", why=_why)
_NOT_RETRIED = "Failures that were to be followed by another try, and were not, by why not."
NOT_RETRIED_METHOD: Final = _counter("upstream_not_retried_total", _NOT_RETRIED, why="method")
NOT_RETRIED_CONTENT: Final = _counter("upstream_not_retried_total", _NOT_RETRIED, why="content")
NOT_RETRIED_NOBODY: Final = _counter("upstream_not_retried_total", _NOT_RETRIED, why="nobody-else")
NOT_RETRIED_BUDGET: Final = _counter("upstream_not_retried_total", _NOT_RETRIED, why="budget")
ENDPOINT_RESTED: Final = _counter(
    "upstream_rested_total", "Endpoints that were left alone because they asked for it (Retry-After)."
)
# In the order of `net/fast_open.OUTCOMES`.
FAST_OPEN_FIRST: Final = len(TABLE)
for _outcome in ("accepted", "cookie", "refused", "retried", "unavailable"):
    _counter(
        "upstream_fast_open_total", "Connects to origins with TCP Fast Open, by outcome.", outcome=_outcome
    )
# HTTP/2 towards origins.
UPSTREAM_H2_CONNECTIONS: Final = _counter(
    "upstream_h2_connections_total", "HTTP/2 connections opened to origins, of those opened in all."
)
UPSTREAM_H2_OPEN: Final = _gauge("upstream_h2_connections_open", "HTTP/2 connections to origins open now.")
UPSTREAM_H2_REQUESTS: Final = _counter("upstream_h2_requests_total", "Requests sent to origins over HTTP/2.")
UPSTREAM_H2_PLAIN: Final = _counter(
    "upstream_h2_declined_total", "Endpoints that were offered HTTP/2 and picked HTTP/1.1."
)
UPSTREAM_H2_COALESCED: Final = _counter(
    "upstream_h2_coalesced_total",
    "Connections to another endpoint that an endpoint used in place of one of its own (RFC 9113 section 9.1.1).",
)
UPSTREAM_H2_MISDIRECTED: Final = _counter(
    "upstream_h2_misdirected_total",
    "Requests that were answered with 421 on a connection to another endpoint, and sent again on one of their own.",
)
_H2_FAILED = "Exchanges with origins that HTTP/2 did not complete, by reason."
UPSTREAM_H2_REFUSED: Final = _counter("upstream_h2_failed_total", _H2_FAILED, reason="refused")
UPSTREAM_H2_RESET: Final = _counter("upstream_h2_failed_total", _H2_FAILED, reason="reset")
UPSTREAM_H2_INTERIM: Final = _counter("upstream_h2_failed_total", _H2_FAILED, reason="too-many-interim")
UPSTREAM_H2_MALFORMED: Final = _counter("upstream_h2_failed_total", _H2_FAILED, reason="malformed")
UPSTREAM_H2_CLOSED: Final = _counter("upstream_h2_failed_total", _H2_FAILED, reason="connection")
UPSTREAM_LANES_SHED: Final = _counter(
    "upstream_lanes_shed_total",
    "Answers of HTTP/2 and HTTP/3 that were given up because slow clients let too much of them wait.",
)
# HTTP/3 towards origins, beside or instead of TCP.
UPSTREAM_H3_CONNECTIONS: Final = _counter(
    "upstream_h3_connections_total", "QUIC connections opened to origins, of those opened in all."
)
UPSTREAM_H3_OPEN: Final = _gauge("upstream_h3_connections_open", "QUIC connections to origins open now.")
UPSTREAM_H3_REQUESTS: Final = _counter("upstream_h3_requests_total", "Requests sent to origins over HTTP/3.")
_RACES = "Requests for which HTTP/3 and TCP were dialled side by side, by what answered first."
UPSTREAM_RACE_H3: Final = _counter("upstream_races_total", _RACES, winner="h3")
UPSTREAM_RACE_TCP: Final = _counter("upstream_races_total", _RACES, winner="tcp")
UPSTREAM_H3_BROKEN: Final = _counter(
    "upstream_h3_broken_total", "Endpoints marked as broken over HTTP/3: TCP alone for a while."
)
_H3_FAILED = "Exchanges with origins that HTTP/3 did not complete, by reason."
UPSTREAM_H3_REFUSED: Final = _counter("upstream_h3_failed_total", _H3_FAILED, reason="refused")
UPSTREAM_H3_RESET: Final = _counter("upstream_h3_failed_total", _H3_FAILED, reason="reset")
UPSTREAM_H3_INTERIM: Final = _counter("upstream_h3_failed_total", _H3_FAILED, reason="too-many-interim")
UPSTREAM_H3_MALFORMED: Final = _counter("upstream_h3_failed_total", _H3_FAILED, reason="malformed")
UPSTREAM_H3_CLOSED: Final = _counter("upstream_h3_failed_total", _H3_FAILED, reason="connection")
UPSTREAM_H3_LOST: Final = _counter(
    "upstream_h3_lost_total", "QUIC packets to origins that were declared lost."
)
TUNNELS_OPEN: Final = _gauge("tunnels_open", "Upgraded connections relayed now.")
_TCP = "Connections of tcp listeners, by what became of them."
TCP_RELAYED: Final = _counter("tcp_connections_total", _TCP, result="relayed")
TCP_UNREACHABLE: Final = _counter("tcp_connections_total", _TCP, result="unreachable")
TCP_UNAVAILABLE: Final = _counter("tcp_connections_total", _TCP, result="unavailable")
TCP_OPEN: Final = _gauge("tcp_connections_open", "Connections of tcp listeners relayed now.")
RELAY_SPLICED: Final = _counter(
    "relay_spliced_bytes_total", "Bytes of tunnels and TCP connections that the kernel moved, without a copy."
)

# -- TLS
_HANDSHAKES = "TLS handshakes finished."
HANDSHAKES_FULL: Final = _counter("handshakes_total", _HANDSHAKES, kind="full")
HANDSHAKES_RESUMED: Final = _counter("handshakes_total", _HANDSHAKES, kind="resumed")
HANDSHAKES_FAILED: Final = _counter("handshakes_total", _HANDSHAKES, kind="failed")
_STAPLED = "Full handshakes whose client asked for a staple, by what it got."
STAPLE_SENT: Final = _counter("stapled_total", _STAPLED, result="sent")
STAPLE_ABSENT: Final = _counter("stapled_total", _STAPLED, result="absent")
STAPLE_EXPIRED: Final = _counter("stapled_total", _STAPLED, result="expired")
STAPLE_REVOKED: Final = _counter("stapled_total", _STAPLED, result="withheld-revoked")
STAPLE_OFF: Final = _counter("stapled_total", _STAPLED, result="off")
STAPLE_REFUSED: Final = _counter("stapled_total", _STAPLED, result="refused-must-staple")
STAPLE_NOT_ASKED: Final = _counter(
    "staple_not_asked_total", "Full handshakes whose client did not ask for a staple."
)

# -- refusals: every limit has its counter
_REFUSED = "What a limit refused, by limit."
REFUSED_CONNECTIONS: Final = _counter("refused_total", _REFUSED, limit="connections")
REFUSED_PER_CLIENT: Final = _counter("refused_total", _REFUSED, limit="per_client")
REFUSED_CONNECTION_RATE: Final = _counter("refused_total", _REFUSED, limit="connection_rate")
REFUSED_ALL_CONNECTION_RATE: Final = _counter("refused_total", _REFUSED, limit="all_connection_rate")
REFUSED_HEAD: Final = _counter("refused_total", _REFUSED, limit="head")
REFUSED_BODY: Final = _counter("refused_total", _REFUSED, limit="body")
REFUSED_MALFORMED: Final = _counter("refused_total", _REFUSED, limit="malformed")
REFUSED_MISDIRECTED: Final = _counter("refused_total", _REFUSED, limit="misdirected")
REFUSED_PLAIN_TO_TLS: Final = _counter("refused_total", _REFUSED, limit="plain-http-to-tls")
REFUSED_HELLO: Final = _counter("refused_total", _REFUSED, limit="client-hello")
REFUSED_NAME: Final = _counter("refused_total", _REFUSED, limit="unknown-name")
REFUSED_PROXY_HEADER: Final = _counter("refused_total", _REFUSED, limit="proxy-header")
REFUSED_RENEGOTIATION: Final = _counter("refused_total", _REFUSED, limit="key-update")
TIMEOUT_HANDSHAKE: Final = _counter("refused_total", _REFUSED, limit="handshake-timeout")
TIMEOUT_HEAD: Final = _counter("refused_total", _REFUSED, limit="head-timeout")
TIMEOUT_BODY: Final = _counter("refused_total", _REFUSED, limit="body-timeout")
TIMEOUT_WRITE: Final = _counter("refused_total", _REFUSED, limit="write-timeout")
TIMEOUT_KEEP_ALIVE: Final = _counter("refused_total", _REFUSED, limit="keep-alive-timeout")
ACCEPT_FAILED: Final = _counter("accept_failed_total", "accept() failed for want of descriptors or memory.")

# -- bytes held for peers, by owner
_HELD = "Bytes held for peers now, by the limit that bounds them."
HELD_HEADS: Final = _gauge("held_bytes", _HELD, limit="head")
HELD_DOWNSTREAM: Final = _gauge("held_bytes", _HELD, limit="downstream-buffer")
HELD_UPSTREAM: Final = _gauge("held_bytes", _HELD, limit="upstream-buffer")
HELD_REPLAY: Final = _gauge("held_bytes", _HELD, limit="replay")
HELD_LOG: Final = _gauge("held_bytes", _HELD, limit="log-buffer")
LOG_DROPPED: Final = _counter("log_dropped_total", "Access log records dropped because the reader was slow.")

# -- dialling
_DIAL = "Dial attempts that failed, by address family and error."
# "overtaken": a later attempt answered while this one was still silent. Black holes look like that, all the time.
DIAL_ERRORS: Final[tuple[str, ...]] = (
    "ECONNREFUSED",
    "ETIMEDOUT",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "EADDRNOTAVAIL",
    "EMFILE",
    "overtaken",
    "other",
)
DIAL_FAILED_FIRST: Final = len(TABLE)
for _family in ("ipv4", "ipv6", "unix"):
    for _error in DIAL_ERRORS:
        _counter("dial_failed_total", _DIAL, family=_family, error=_error)
RESOLVE_FAILED: Final = _counter("resolve_failed_total", "Names that could not be resolved.")
_RESOLVE_DROPPED = "What the resolver's limits dropped, by limit."
RESOLVE_DROPPED_ADDRESSES: Final = _counter("resolve_dropped_total", _RESOLVE_DROPPED, limit="addresses")
RESOLVE_DROPPED_ENTRIES: Final = _counter("resolve_dropped_total", _RESOLVE_DROPPED, limit="cache-entries")

_NAMES = "Answers of name servers on what an upstream consists of, by what was done with them."
NAMES_ANSWERED: Final = _counter("upstream_names_total", _NAMES, outcome="taken")
NAMES_KEPT: Final = _counter("upstream_names_total", _NAMES, outcome="failed-last-kept")

# -- upstream failures as seen by clients
_GATEWAY = "Responses that Headgate made because the origin gave none, by reason."
GATEWAY_CONNECT: Final = _counter("gateway_errors_total", _GATEWAY, reason="connect")
GATEWAY_CONNECT_TIMEOUT: Final = _counter("gateway_errors_total", _GATEWAY, reason="connect-timeout")
GATEWAY_HEAD_TIMEOUT: Final = _counter("gateway_errors_total", _GATEWAY, reason="head-timeout")
GATEWAY_TOTAL_TIMEOUT: Final = _counter("gateway_errors_total", _GATEWAY, reason="total-timeout")
GATEWAY_CLOSED: Final = _counter("gateway_errors_total", _GATEWAY, reason="closed")
GATEWAY_PROTOCOL: Final = _counter("gateway_errors_total", _GATEWAY, reason="protocol")
GATEWAY_UNAVAILABLE: Final = _counter("gateway_errors_total", _GATEWAY, reason="unavailable")
# -- health of endpoints
_PROBES = "Probes of endpoints that ended, by how; the keeper sends them."
PROBES_WELL: Final = _counter("probes_total", _PROBES, outcome="well")
PROBES_FAILED: Final = _counter("probes_total", _PROBES, outcome="failed")
ENDPOINT_EJECTED: Final = _counter("endpoint_ejections_total", "Endpoints that a worker ejected.")
ENDPOINT_KEPT: Final = _counter(
    "endpoint_kept_total", "Endpoints that a worker would have ejected, had not as many been out as may be."
)
GATEWAY_QUEUE_FULL: Final = _counter("gateway_errors_total", _GATEWAY, reason="queue-full")
GATEWAY_QUEUE_TIMEOUT: Final = _counter("gateway_errors_total", _GATEWAY, reason="queue-timeout")
GATEWAY_NO_ENDPOINT: Final = _counter("gateway_errors_total", _GATEWAY, reason="no-endpoint")
UPSTREAM_QUEUED: Final = _counter(
    "upstream_queued_total", "Requests that had to wait for room at an upstream."
)
UPSTREAM_WAITING: Final = _gauge("upstream_queue_requests", "Requests that wait for room at an upstream now.")
ABORTED_DOWNSTREAM: Final = _counter("aborted_total", "Exchanges cut short, by side.", side="downstream")
ABORTED_UPSTREAM: Final = _counter("aborted_total", "Exchanges cut short, by side.", side="upstream")

# -- the cache
# The words of `cache/outcome`, in its order.
CACHE_OUTCOMES: Final[tuple[str, ...]] = (
    "HIT",
    "STALE",
    "REVALIDATED",
    "EXPIRED",
    "MISS",
    "COLLAPSED",
    "BYPASS",
    "UNCACHEABLE",
    "REFUSED",
)
CACHE_FIRST: Final = len(TABLE)
for _outcome in CACHE_OUTCOMES:
    _counter("cache_requests_total", "Requests to routes with a cache, by outcome.", outcome=_outcome.lower())
CACHE_SERVED: Final = _counter(
    "cache_served_bytes_total", "Content sent from stored responses, and from those being stored."
)
_FETCHED = "Content that origins sent to routes with a cache, by use: to be stored, or for one client alone."
CACHE_FETCHED: Final = _counter("cache_fetched_bytes_total", _FETCHED, use="filled")
CACHE_PASSED: Final = _counter("cache_fetched_bytes_total", _FETCHED, use="passed")
CACHE_FILLS: Final = _counter("cache_fills_total", "Answers of origins that began to be stored.")
_CACHE_FILLED = "Answers of origins that were to be stored, by what became of them."
CACHE_STORED: Final = _counter("cache_filled_total", _CACHE_FILLED, result="stored")
CACHE_REFUSED: Final = _counter("cache_filled_total", _CACHE_FILLED, result="refused")
CACHE_FILLS_BROKEN: Final = _counter("cache_filled_total", _CACHE_FILLED, result="broken-off")
CACHE_FILLS_LEFT: Final = _counter(
    "cache_fills_left_total",
    "Answers of origins that were given up because all clients had left and too much was still to come.",
)
CACHE_REFRESHED: Final = _counter(
    "cache_refreshed_total", "Requests to origins that confirm what is served stale meanwhile."
)
CACHE_SLICES_FIRST: Final = len(TABLE)
for _outcome in CACHE_OUTCOMES:
    _counter("cache_slices_total", "Slices that downloads asked for, by outcome.", outcome=_outcome.lower())
_SLICES_BAD = "Slices that were not what downloads asked for, by what became of it."
CACHE_SLICES_DROPPED: Final = _counter("cache_slices_bad_total", _SLICES_BAD, what="asked-again")
CACHE_SLICES_BROKEN: Final = _counter("cache_slices_bad_total", _SLICES_BAD, what="broken-off")
CACHE_SLICES_REFUSED: Final = _counter("cache_slices_bad_total", _SLICES_BAD, what="unsliced")
# The words of `cache/purges`, in its order.
CACHE_PURGE_KINDS: Final[tuple[str, ...]] = ("everything", "host", "prefix", "url", "tag")
CACHE_PURGES_FIRST: Final = len(TABLE)
for _kind in CACHE_PURGE_KINDS:
    _counter("cache_purges_total", "Purges that were given, by kind; the keeper hands them on.", kind=_kind)
# Why a worker asks the origin itself: the words of `cache/home`, in its order.
CACHE_ALONE: Final[tuple[str, ...]] = (
    "unreachable",
    "late",
    "broken",
    "silent",
    "full",
    "resting",
    "purged",
    "not-stored",
    "unsuited",
    "malformed",
)
_PEERS = "Requests to the worker at home for a URL: answered, or why the origin was asked instead."
CACHE_PEERS_ANSWERED: Final = _counter("cache_peers_total", _PEERS, result="answered")
CACHE_ALONE_FIRST: Final = len(TABLE)
for _why in CACHE_ALONE:
    _counter("cache_peers_total", _PEERS, result=_why)
CACHE_PEERS_SERVED: Final = _counter(
    "cache_peers_served_total", "Requests that came from other workers, to the one at home for their URL."
)
CACHE_PEERS_REFUSED: Final = _counter(
    "cache_peers_refused_total", "Connections of other workers that were refused for want of room."
)
CACHE_LIMITED_FIRST: Final = len(TABLE)
for _limit in ("key", "vary", "variants", "room"):  # in the order of `proxy/caching`
    _counter(
        "cache_limited_total", "Limits that kept answers from being stored, or variants stored.", limit=_limit
    )
CACHE_EVICTED: Final = _counter("cache_evicted_total", "Keys that left the memory for want of room.")
CACHE_OCTETS: Final = _gauge("cache_memory_bytes", "Memory that stored responses take now.")
CACHE_OBJECTS: Final = _gauge("cache_objects", "Responses stored in memory now.")
CACHE_SENDFILE: Final = _counter(
    "cache_sendfile_bytes_total", "Content of stored responses sent from files by sendfile."
)
_DISK = "Look-ups in the cache on disk, by what they found."
CACHE_DISK_HITS: Final = _counter("cache_disk_lookups_total", _DISK, result="hit")
CACHE_DISK_MISSES: Final = _counter("cache_disk_lookups_total", _DISK, result="miss")
CACHE_DISK_CORRUPT: Final = _counter(
    "cache_disk_corrupt_total", "Responses on disk that were not what was written, each taken for a miss."
)
CACHE_DISK_SENT: Final = _counter("cache_disk_sent_total", "Messages to the writer of the cache on disk.")
CACHE_DISK_DROPPED: Final = _counter(
    "cache_disk_dropped_total", "Messages that the writer did not take: what they say is not on the disk."
)
_FOLDED = "Times that more waited for the writer than is kept, so that one word for all took their place."
CACHE_DISK_FOLDED_REMOVALS: Final = _counter("cache_disk_folded_total", _FOLDED, what="invalidations")
CACHE_DISK_FOLDED_PURGES: Final = _counter("cache_disk_folded_total", _FOLDED, what="purges")
CACHE_DISK_PAUSED: Final = _gauge(
    "cache_disk_paused", "Processes that leave the disk alone for a while because it failed or was slow."
)
CACHE_DISK_UNWRITTEN: Final = _counter(
    "cache_disk_unwritten_total", "Messages that the writer took and could not write."
)
CACHE_DISK_EVICTED: Final = _counter(
    "cache_disk_evicted_total", "Responses that left the disk for want of room."
)
CACHE_DISK_OCTETS: Final = _gauge("cache_disk_bytes", "What the cache on disk takes now.")
CACHE_DISK_OBJECTS: Final = _gauge("cache_disk_objects", "Responses stored on disk now.")
CACHE_HELD: Final = _gauge("held_bytes", _HELD, limit="cache-fills")

# -- ASGI applications: where they run, in a worker or a process of their own
ASGI_RUNNING: Final = _gauge("asgi_running", "Calls of ASGI applications that run now.")
_ASGI = "Calls of ASGI applications that went wrong."
ASGI_RAISED: Final = _counter("asgi_failed_total", _ASGI, what="raised")
ASGI_UNANSWERED: Final = _counter("asgi_failed_total", _ASGI, what="unanswered")
ASGI_CUT_SHORT: Final = _counter("asgi_failed_total", _ASGI, what="cut-short")
ASGI_WEBSOCKETS: Final = _gauge("asgi_websockets_open", "WebSockets that ASGI applications have open now.")
_ASGI_REFUSED = "WebSockets of ASGI applications that were closed on their client, by reason."
ASGI_MESSAGE_TOO_BIG: Final = _counter(
    "asgi_websockets_closed_total", _ASGI_REFUSED, reason="message-too-big"
)
ASGI_BAD_FRAME: Final = _counter("asgi_websockets_closed_total", _ASGI_REFUSED, reason="bad-frame")
ASGI_SILENT: Final = _counter("asgi_websockets_closed_total", _ASGI_REFUSED, reason="silent")

# -- forward proxy
_FORWARD = "Requests to forward listeners that were let through, by kind."
FORWARD_PLAIN: Final = _counter("forward_requests_total", _FORWARD, kind="plain")
FORWARD_CONNECT: Final = _counter("forward_requests_total", _FORWARD, kind="connect")
_FORWARD_REFUSED = "Requests to forward listeners that were refused, by reason."
FORWARD_REFUSED_CLIENT: Final = _counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="client-not-allowed"
)
FORWARD_REFUSED_PORT: Final = _counter("forward_refused_total", _FORWARD_REFUSED, reason="port-not-allowed")
FORWARD_REFUSED_HOST: Final = _counter("forward_refused_total", _FORWARD_REFUSED, reason="host-not-allowed")
FORWARD_REFUSED_ADDRESS: Final = _counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="address-not-allowed"
)
FORWARD_REFUSED_LOOP: Final = _counter("forward_refused_total", _FORWARD_REFUSED, reason="loop")
FORWARD_REFUSED_TUNNELS: Final = _counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="too-many-tunnels"
)
FORWARD_REFUSED_DESTINATIONS: Final = _counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="too-many-destinations"
)
AUTHENTICATION_MISSING: Final = _counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="authentication-required"
)
AUTHENTICATION_THROTTLED: Final = _counter(
    "forward_refused_total", _FORWARD_REFUSED, reason="too-many-attempts"
)
AUTHENTICATION_BUSY: Final = _counter("forward_refused_total", _FORWARD_REFUSED, reason="authentication-busy")
AUTHENTICATION_CHECKED: Final = _counter("password_checks_total", "Passwords of users that were checked.")
AUTHENTICATION_WRONG: Final = _counter("password_checks_wrong_total", "Those of them that were wrong.")
FORWARD_DESTINATIONS: Final = _gauge(
    "forward_destinations", "Origins that connections of forward listeners are kept for."
)

# -- staples: written by the keeper
_FETCHES = "OCSP fetches, by outcome."
OCSP_FETCH_OK: Final = _counter("ocsp_fetches_total", _FETCHES, outcome="ok")
OCSP_FETCH_FAILED: Final = _counter("ocsp_fetches_total", _FETCHES, outcome="failed")
OCSP_FETCH_REFUSED: Final = _counter("ocsp_fetches_total", _FETCHES, outcome="not-believed")
OCSP_FETCH_DISPLACED: Final = _counter("ocsp_fetches_total", _FETCHES, outcome="displaced")
# Why a fetch brought no staple, from the first stage to the last; statuses by class. A closed list: whatever is not
# named here is "other", so that no peer can make labels.
OCSP_FAILURES: Final = (
    "resolve",
    "refused-address",
    "connect",
    "tls",
    "send",
    "head",
    "body",
    "protocol",
    "redirect",
    "http-2xx",
    "http-3xx",
    "http-4xx",
    "http-5xx",
    "content-type",
    "too-large",
    "malformed",
    "malformed-request",
    "internal-error",
    "try-later",
    "sig-required",
    "unauthorized",
    "critical-extension",
    "weak-signature",
    "unsupported-signature",
    "bad-signature",
    "unknown-signer",
    "delegate-not-issued",
    "delegate-expired",
    "delegate-not-for-ocsp",
    "delegate-weak-signature",
    "issuer-expired",
    "wrong-certificate",
    "from-the-future",
    "no-next-update",
    "bad-window",
    "expired",
    "unknown",
    "no-issuer",
    "older-than-revocation",
    "overran",
    "defect",
    "other",
)
OCSP_FAILURES_FIRST: Final = len(TABLE)
for _reason in OCSP_FAILURES:
    _counter("ocsp_failures_total", "OCSP fetches that brought no staple, by reason.", reason=_reason)
OCSP_SOURCE_REFUSED: Final = _counter("ocsp_sources_refused_total", "Stored and file responses not believed.")
OCSP_STORE_FAILED: Final = _counter("ocsp_store_failed_total", "Staples that could not be read or written.")
OCSP_WITHDRAWN: Final = _counter("ocsp_withdrawn_total", "Staples withdrawn because they ended.")
STAPLE_STATES: Final = (
    "fresh",
    "expiring",
    "expired",
    "pending",
    "none",
    "revoked",
    "off",
    "no-responder",
    "no-issuer",
)
STAPLES_FIRST: Final = len(TABLE)
for _state in STAPLE_STATES:
    _gauge("staples", "Certificates by the state of their staple.", state=_state)

# -- QUIC
_QUIC_ENDED = "QUIC connections that ended, by how."
QUIC_OPEN: Final = _gauge("quic_connections_open", "QUIC connections open now, those in their handshake too.")
QUIC_HALF_OPEN: Final = _gauge("quic_half_open", "QUIC connections whose client has not proved its address.")
QUIC_ACCEPTED: Final = _counter(
    "quic_accepted_total", "QUIC connections begun: their first Initial was genuine."
)
QUIC_ENDED_CLOSED: Final = _counter("quic_ended_total", _QUIC_ENDED, how="closed")
QUIC_ENDED_PEER: Final = _counter("quic_ended_total", _QUIC_ENDED, how="closed-by-peer")
QUIC_ENDED_IDLE: Final = _counter("quic_ended_total", _QUIC_ENDED, how="idle")
QUIC_ENDED_RESET: Final = _counter("quic_ended_total", _QUIC_ENDED, how="stateless-reset")
QUIC_ENDED_FAULT: Final = _counter("quic_ended_total", _QUIC_ENDED, how="fault-of-peer")
QUIC_ENDED_DEFECT: Final = _counter("quic_ended_total", _QUIC_ENDED, how="defect")
QUIC_ENDED_MEMORY: Final = _counter("quic_ended_total", _QUIC_ENDED, how="memory")
QUIC_ENDED_HANDSHAKE: Final = _counter("quic_ended_total", _QUIC_ENDED, how="handshake-failed")
QUIC_ENDED_HANDSHAKE_TIMEOUT: Final = _counter("quic_ended_total", _QUIC_ENDED, how="handshake-timeout")
_QUIC_HANDSHAKES = "TLS handshakes finished over QUIC; they count among handshakes_total too."
QUIC_HANDSHAKES_FULL: Final = _counter("quic_handshakes_total", _QUIC_HANDSHAKES, kind="full")
QUIC_HANDSHAKES_RESUMED: Final = _counter("quic_handshakes_total", _QUIC_HANDSHAKES, kind="resumed")
_QUIC_EARLY = "QUIC handshakes whose client sent early data, by what became of it."
EARLY_ACCEPTED: Final = _counter("quic_early_data_total", _QUIC_EARLY, result="accepted")
EARLY_OFF: Final = _counter("quic_early_data_total", _QUIC_EARLY, result="off")
EARLY_RETRIED: Final = _counter("quic_early_data_total", _QUIC_EARLY, result="hello-retry-request")
EARLY_NOT_RESUMED: Final = _counter("quic_early_data_total", _QUIC_EARLY, result="not-resumed")
EARLY_OTHER_WORKER: Final = _counter("quic_early_data_total", _QUIC_EARLY, result="other-worker")
EARLY_CHANGED: Final = _counter("quic_early_data_total", _QUIC_EARLY, result="changed")
EARLY_STALE: Final = _counter("quic_early_data_total", _QUIC_EARLY, result="not-fresh")
EARLY_USED: Final = _counter("quic_early_data_total", _QUIC_EARLY, result="ticket-used")
EARLY_FULL: Final = _counter("quic_early_data_total", _QUIC_EARLY, result="memory-full")
_QUIC_DATAGRAMS = "UDP datagrams of QUIC, by direction."
QUIC_DATAGRAMS_READ: Final = _counter("quic_datagrams_total", _QUIC_DATAGRAMS, direction="read")
QUIC_DATAGRAMS_WRITTEN: Final = _counter("quic_datagrams_total", _QUIC_DATAGRAMS, direction="written")
_QUIC_BYTES = "Bytes in UDP datagrams of QUIC, by direction."
QUIC_BYTES_READ: Final = _counter("quic_bytes_total", _QUIC_BYTES, direction="read")
QUIC_BYTES_WRITTEN: Final = _counter("quic_bytes_total", _QUIC_BYTES, direction="written")
QUIC_LOST: Final = _counter("quic_lost_total", "QUIC packets to clients that were declared lost.")
_QUIC_ANSWERS = "Datagrams sent without a connection, by kind."
QUIC_RETRIES: Final = _counter("quic_answers_total", _QUIC_ANSWERS, kind="retry")
QUIC_VERSION_NEGOTIATIONS: Final = _counter("quic_answers_total", _QUIC_ANSWERS, kind="version-negotiation")
QUIC_RESETS: Final = _counter("quic_answers_total", _QUIC_ANSWERS, kind="stateless-reset")
QUIC_REFUSALS: Final = _counter("quic_answers_total", _QUIC_ANSWERS, kind="connection-refused")
# Datagrams that came in and went nowhere. Whoever reads one says why with one of these words.
QUIC_DROPS: Final = (
    "malformed",
    "small-initial",
    "bad-initial",
    "bad-token",
    "unknown-version",
    "unknown-connection",
    "connections",
    "handshakes",
    "handshake-rate",
    "answer-rate",
    "queue-full",
    "draining",
    "hand-over-full",
    "hand-over-malformed",
    "too-large",
)
QUIC_DROPPED_FIRST: Final = len(TABLE)
for _drop in QUIC_DROPS:
    _counter("quic_dropped_total", "Datagrams of QUIC dropped before a connection, by reason.", reason=_drop)
# Packets and datagrams of a connection that were not believed, or too many: the words of engine/quic, all of them.
QUIC_PACKET_DROPS: Final = (
    "0-rtt",
    "ahead-of-keys",
    "coalesced",
    "connection-id",
    "duplicate",
    "empty",
    "fixed-bit",
    "forged",
    "gaps",
    "moved-in-handshake",
    "negotiation",
    "new-token",
    "no-connection-id",
    "other-connection",
    "other-source",
    "path-challenge",
    "path-rate",
    "path-response",
    "retry",
    "small-initial",
    "strays",
    "truncated",
    "unknown-server",
    "version",
)
QUIC_PACKETS_DROPPED_FIRST: Final = len(TABLE)
for _drop in QUIC_PACKET_DROPS:
    _counter("quic_packets_dropped_total", "What connections with clients dropped, by reason.", reason=_drop)
UPSTREAM_H3_PACKETS_DROPPED_FIRST: Final = len(TABLE)
for _drop in QUIC_PACKET_DROPS:
    _counter(
        "upstream_h3_packets_dropped_total", "What connections with origins dropped, by reason.", reason=_drop
    )
# The codes that end connections: QUIC's own, TLS alerts, HTTP/3's and QPACK's (connection/quic_counts has their
# numbers). A closed list: whatever is not named here is "other".
QUIC_CODES: Final = (
    "internal-error",
    "connection-refused",
    "flow-control-error",
    "stream-limit-error",
    "stream-state-error",
    "final-size-error",
    "frame-encoding-error",
    "transport-parameter-error",
    "connection-id-limit-error",
    "protocol-violation",
    "invalid-token",
    "application-error",
    "crypto-buffer-exceeded",
    "key-update-error",
    "aead-limit-reached",
    "no-viable-path",
    "version-negotiation-error",
    "tls-unexpected-message",
    "tls-handshake-failure",
    "tls-bad-certificate",
    "tls-unsupported-certificate",
    "tls-certificate-revoked",
    "tls-certificate-expired",
    "tls-certificate-unknown",
    "tls-illegal-parameter",
    "tls-unknown-ca",
    "tls-decode-error",
    "tls-decrypt-error",
    "tls-protocol-version",
    "tls-internal-error",
    "tls-missing-extension",
    "tls-unsupported-extension",
    "tls-unrecognized-name",
    "tls-bad-certificate-status",
    "tls-certificate-required",
    "tls-no-application-protocol",
    "h3-no-error",
    "h3-general-protocol-error",
    "h3-internal-error",
    "h3-stream-creation-error",
    "h3-closed-critical-stream",
    "h3-frame-unexpected",
    "h3-frame-error",
    "h3-excessive-load",
    "h3-id-error",
    "h3-settings-error",
    "h3-missing-settings",
    "h3-request-rejected",
    "h3-request-cancelled",
    "h3-request-incomplete",
    "h3-message-error",
    "h3-connect-error",
    "h3-version-fallback",
    "qpack-decompression-failed",
    "qpack-encoder-stream-error",
    "qpack-decoder-stream-error",
    "other",
)
QUIC_CLOSED_FIRST: Final = len(TABLE)
for _code in QUIC_CODES:
    _counter("quic_closed_total", "Connections with clients that we closed, by our code.", code=_code)
UPSTREAM_H3_CODE_FIRST: Final = len(TABLE)
for _code in QUIC_CODES:
    _counter("upstream_h3_closed_total", "Connections with origins that we closed, by our code.", code=_code)
_QUIC_HANDED = "Datagrams that came to the socket of another worker than their connection's, by direction."
QUIC_HANDED_OVER: Final = _counter("quic_handed_over_total", _QUIC_HANDED, direction="sent")
QUIC_TAKEN_OVER: Final = _counter("quic_handed_over_total", _QUIC_HANDED, direction="received")
QUIC_UNSEGMENTED: Final = _counter(
    "quic_unsegmented_total", "Batches sent datagram by datagram: no UDP_SEGMENT."
)
QUIC_SEND_REFUSED: Final = _counter("quic_send_refused_total", "Datagrams that the network refused to take.")
QUIC_MIGRATED: Final = _counter(
    "quic_migrated_total", "Moves of connections to another path of their client."
)

# -- HTTP/2 with clients
H2_OPEN: Final = _gauge("h2_connections_open", "HTTP/2 connections with clients open now.")
H2_ACCEPTED: Final = _counter(
    "h2_connections_total", "Connections of clients that turned out to speak HTTP/2."
)
H2_REQUESTS: Final = _counter("h2_requests_total", "Requests over HTTP/2.")

# Why we ended connections: the words of engine/h2, all of them, and what the drivers have to say.
H2_REASONS: Final = (
    "rapid-reset",
    "made-you-reset",
    "refused-streams",
    "settings-flood",
    "empty-data",
    "empty-headers",
    "tiny-data",
    "padding",
    "ping-flood",
    "priority-flood",
    "window-update-flood",
    "unknown-frames",
    "closed-streams",
    "continuation-flood",
    "field-lines",
    "preface",
    "frame-size",
    "protocol-error",
    "settings",
    "hpack-decompression",
    "flow-control",
    "stream-closed",
    "ping-timeout",
    "memory",
    "other",
)
H2_CLOSED_FIRST: Final = len(TABLE)
for _why in H2_REASONS:
    _counter("h2_closed_total", "HTTP/2 connections with clients that we closed for a fault.", reason=_why)
UPSTREAM_H2_CLOSED_FIRST: Final = len(TABLE)
for _why in H2_REASONS:
    _counter(
        "upstream_h2_closed_total", "HTTP/2 connections with origins that we closed for a fault.", reason=_why
    )
H2_CODES: Final = (
    "no-error",
    "protocol-error",
    "internal-error",
    "flow-control-error",
    "settings-timeout",
    "stream-closed",
    "frame-size-error",
    "refused-stream",
    "cancel",
    "compression-error",
    "connect-error",
    "enhance-your-calm",
    "inadequate-security",
    "http-1-1-required",
    "other",
)
H2_RESET_FIRST: Final = len(TABLE)
for _code in H2_CODES:
    _counter("h2_streams_reset_total", "Streams of HTTP/2 clients that we reset, by code.", code=_code)
UPSTREAM_H2_RESET_FIRST: Final = len(TABLE)
for _code in H2_CODES:
    _counter(
        "upstream_h2_streams_reset_total", "Streams to HTTP/2 origins that we reset, by code.", code=_code
    )
H2_GIVEN_UP: Final = _counter("h2_streams_given_up_total", "Streams that HTTP/2 clients reset.")

# -- the process
MEMORY_BYTES: Final = _gauge("process_resident_bytes", "Resident memory of the process.")
OPEN_FILES: Final = _gauge("process_open_files", "Open descriptors of the process.")
WORKER_GENERATION: Final = _gauge("process_generation", "How often this slot was started.")
STARTED_AT: Final = _gauge(
    "process_started_seconds", "When this process was started, seconds since the epoch."
)

SIZE: Final = len(TABLE)
_PACK: Final = struct.Struct(f"<{SIZE}q")


_LATENCIES: Final[list[float]] = list(LATENCY_BOUNDS)


def count_exchange(values: list[int], status: int, seconds: float) -> None:
    """Count an exchange that is over, by its status (0: none was sent) and by how long it took."""
    if 100 <= status <= 599:
        values[REQUESTS_1XX + status // 100 - 1] += 1
    bucket = 0
    while bucket < len(_LATENCIES) and seconds > _LATENCIES[bucket]:
        bucket += 1
    values[LATENCY_FIRST + bucket] += 1
    values[LATENCY_MICROSECONDS] += int(seconds * 1e6)


class CounterPage:
    """The shared page of one slot: made before the fork, written by one process, read by the keeper."""

    def __init__(self) -> None:
        self._map = mmap.mmap(-1, _PACK.size)

    def store(self, values: list[int]) -> None:
        """Publish a process's values."""
        # One copy of finished bytes: pack_into would clear the page first and then write it byte by byte, and a
        # reader in between would see counters that fell to zero.
        self._map[:] = _PACK.pack(*values)

    def load(self) -> list[int]:
        """Return what was last published; zeros before the first time."""
        return list(_PACK.unpack(self._map[:]))


class Counters:
    """The counters of this process. Hot code takes `values` once and adds to its items."""

    def __init__(self, page: CounterPage | None = None) -> None:
        self.page = page
        # A restarted worker goes on counting where the dead one stopped; gauges begin anew.
        self.values: list[int] = page.load() if page is not None else [0] * SIZE
        for index, metric in enumerate(TABLE):
            if metric.kind == "gauge":
                self.values[index] = 0

    def publish(self) -> None:
        """Copy the values into the shared page; called once in a sweep."""
        if self.page is not None:
            self.page.store(self.values)
