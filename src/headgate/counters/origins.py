"""Counters of what goes wrong on the way to origins: dialling, names, health, queues, responses made here."""

from typing import Final

from headgate.counters.table import TABLE, counter, gauge

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
        counter("dial_failed_total", _DIAL, family=_family, error=_error)
RESOLVE_FAILED: Final = counter("resolve_failed_total", "Names that could not be resolved.")
_RESOLVE_DROPPED = "What the resolver's limits dropped, by limit."
RESOLVE_DROPPED_ADDRESSES: Final = counter("resolve_dropped_total", _RESOLVE_DROPPED, limit="addresses")
RESOLVE_DROPPED_ENTRIES: Final = counter("resolve_dropped_total", _RESOLVE_DROPPED, limit="cache-entries")

_NAMES = "Answers of name servers on what an upstream consists of, by what was done with them."
NAMES_ANSWERED: Final = counter("upstream_names_total", _NAMES, outcome="taken")
NAMES_KEPT: Final = counter("upstream_names_total", _NAMES, outcome="failed-last-kept")

# -- upstream failures as seen by clients
_GATEWAY = "Responses that Headgate made because the origin gave none, by reason."
GATEWAY_CONNECT: Final = counter("gateway_errors_total", _GATEWAY, reason="connect")
GATEWAY_CONNECT_TIMEOUT: Final = counter("gateway_errors_total", _GATEWAY, reason="connect-timeout")
GATEWAY_HEAD_TIMEOUT: Final = counter("gateway_errors_total", _GATEWAY, reason="head-timeout")
GATEWAY_TOTAL_TIMEOUT: Final = counter("gateway_errors_total", _GATEWAY, reason="total-timeout")
GATEWAY_CLOSED: Final = counter("gateway_errors_total", _GATEWAY, reason="closed")
GATEWAY_PROTOCOL: Final = counter("gateway_errors_total", _GATEWAY, reason="protocol")
GATEWAY_UNAVAILABLE: Final = counter("gateway_errors_total", _GATEWAY, reason="unavailable")
# -- health of endpoints
_PROBES = "Probes of endpoints that ended, by how; the keeper sends them."
PROBES_WELL: Final = counter("probes_total", _PROBES, outcome="well")
PROBES_FAILED: Final = counter("probes_total", _PROBES, outcome="failed")
ENDPOINT_EJECTED: Final = counter("endpoint_ejections_total", "Endpoints that a worker ejected.")
ENDPOINT_KEPT: Final = counter(
    "endpoint_kept_total", "Endpoints that a worker would have ejected, had not as many been out as may be."
)
GATEWAY_QUEUE_FULL: Final = counter("gateway_errors_total", _GATEWAY, reason="queue-full")
GATEWAY_QUEUE_TIMEOUT: Final = counter("gateway_errors_total", _GATEWAY, reason="queue-timeout")
GATEWAY_NO_ENDPOINT: Final = counter("gateway_errors_total", _GATEWAY, reason="no-endpoint")
UPSTREAM_QUEUED: Final = counter(
    "upstream_queued_total", "Requests that had to wait for room at an upstream."
)
UPSTREAM_WAITING: Final = gauge("upstream_queue_requests", "Requests that wait for room at an upstream now.")
ABORTED_DOWNSTREAM: Final = counter("aborted_total", "Exchanges cut short, by side.", side="downstream")
ABORTED_UPSTREAM: Final = counter("aborted_total", "Exchanges cut short, by side.", side="upstream")
