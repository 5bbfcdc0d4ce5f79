"""Counters of HTTP/2: with clients, and why connections and streams ended on either side."""

from typing import Final

from headgate.counters.table import TABLE, counter, gauge

H2_OPEN: Final = gauge("h2_connections_open", "HTTP/2 connections with clients open now.")
H2_ACCEPTED: Final = counter(
    "h2_connections_total", "Connections of clients that turned out to speak HTTP/2."
)
H2_REQUESTS: Final = counter("h2_requests_total", "Requests over HTTP/2.")

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
    counter("h2_closed_total", "HTTP/2 connections with clients that we closed for a fault.", reason=_why)
UPSTREAM_H2_CLOSED_FIRST: Final = len(TABLE)
for _why in H2_REASONS:
    counter(
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
    counter("h2_streams_reset_total", "Streams of HTTP/2 clients that we reset, by code.", code=_code)
UPSTREAM_H2_RESET_FIRST: Final = len(TABLE)
for _code in H2_CODES:
    counter(
        "upstream_h2_streams_reset_total", "Streams to HTTP/2 origins that we reset, by code.", code=_code
    )
H2_GIVEN_UP: Final = counter("h2_streams_given_up_total", "Streams that HTTP/2 clients reset.")
