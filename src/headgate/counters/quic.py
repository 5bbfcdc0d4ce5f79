"""Counters of QUIC, mostly with clients: connections, handshakes, datagrams and what was dropped."""

from typing import Final

from headgate.counters.table import TABLE, counter, gauge

_QUIC_ENDED = "QUIC connections that ended, by how."
QUIC_OPEN: Final = gauge("quic_connections_open", "QUIC connections open now, those in their handshake too.")
QUIC_HALF_OPEN: Final = gauge("quic_half_open", "QUIC connections whose client has not proved its address.")
QUIC_ACCEPTED: Final = counter(
    "quic_accepted_total", "QUIC connections begun: their first Initial was genuine."
)
QUIC_ENDED_CLOSED: Final = counter("quic_ended_total", _QUIC_ENDED, how="closed")
QUIC_ENDED_PEER: Final = counter("quic_ended_total", _QUIC_ENDED, how="closed-by-peer")
QUIC_ENDED_IDLE: Final = counter("quic_ended_total", _QUIC_ENDED, how="idle")
QUIC_ENDED_RESET: Final = counter("quic_ended_total", _QUIC_ENDED, how="stateless-reset")
QUIC_ENDED_FAULT: Final = counter("quic_ended_total", _QUIC_ENDED, how="fault-of-peer")
QUIC_ENDED_DEFECT: Final = counter("quic_ended_total", _QUIC_ENDED, how="defect")
QUIC_ENDED_MEMORY: Final = counter("quic_ended_total", _QUIC_ENDED, how="memory")
QUIC_ENDED_HANDSHAKE: Final = counter("quic_ended_total", _QUIC_ENDED, how="handshake-failed")
QUIC_ENDED_HANDSHAKE_TIMEOUT: Final = counter("quic_ended_total", _QUIC_ENDED, how="handshake-timeout")
_QUIC_HANDSHAKES = "TLS handshakes finished over QUIC; they count among handshakes_total too."
QUIC_HANDSHAKES_FULL: Final = counter("quic_handshakes_total", _QUIC_HANDSHAKES, kind="full")
QUIC_HANDSHAKES_RESUMED: Final = counter("quic_handshakes_total", _QUIC_HANDSHAKES, kind="resumed")
_QUIC_EARLY = "QUIC handshakes whose client sent early data, by what became of it."
EARLY_ACCEPTED: Final = counter("quic_early_data_total", _QUIC_EARLY, result="accepted")
EARLY_OFF: Final = counter("quic_early_data_total", _QUIC_EARLY, result="off")
EARLY_RETRIED: Final = counter("quic_early_data_total", _QUIC_EARLY, result="hello-retry-request")
EARLY_NOT_RESUMED: Final = counter("quic_early_data_total", _QUIC_EARLY, result="not-resumed")
EARLY_OTHER_WORKER: Final = counter("quic_early_data_total", _QUIC_EARLY, result="other-worker")
EARLY_CHANGED: Final = counter("quic_early_data_total", _QUIC_EARLY, result="changed")
EARLY_STALE: Final = counter("quic_early_data_total", _QUIC_EARLY, result="not-fresh")
EARLY_USED: Final = counter("quic_early_data_total", _QUIC_EARLY, result="ticket-used")
EARLY_FULL: Final = counter("quic_early_data_total", _QUIC_EARLY, result="memory-full")
_QUIC_DATAGRAMS = "UDP datagrams of QUIC, by direction."
QUIC_DATAGRAMS_READ: Final = counter("quic_datagrams_total", _QUIC_DATAGRAMS, direction="read")
QUIC_DATAGRAMS_WRITTEN: Final = counter("quic_datagrams_total", _QUIC_DATAGRAMS, direction="written")
_QUIC_BYTES = "Bytes in UDP datagrams of QUIC, by direction."
QUIC_BYTES_READ: Final = counter("quic_bytes_total", _QUIC_BYTES, direction="read")
QUIC_BYTES_WRITTEN: Final = counter("quic_bytes_total", _QUIC_BYTES, direction="written")
QUIC_LOST: Final = counter("quic_lost_total", "QUIC packets to clients that were declared lost.")
_QUIC_ANSWERS = "Datagrams sent without a connection, by kind."
QUIC_RETRIES: Final = counter("quic_answers_total", _QUIC_ANSWERS, kind="retry")
QUIC_VERSION_NEGOTIATIONS: Final = counter("quic_answers_total", _QUIC_ANSWERS, kind="version-negotiation")
QUIC_RESETS: Final = counter("quic_answers_total", _QUIC_ANSWERS, kind="stateless-reset")
QUIC_REFUSALS: Final = counter("quic_answers_total", _QUIC_ANSWERS, kind="connection-refused")
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
    counter("quic_dropped_total", "Datagrams of QUIC dropped before a connection, by reason.", reason=_drop)
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
    counter("quic_packets_dropped_total", "What connections with clients dropped, by reason.", reason=_drop)
UPSTREAM_H3_PACKETS_DROPPED_FIRST: Final = len(TABLE)
for _drop in QUIC_PACKET_DROPS:
    counter(
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
    counter("quic_closed_total", "Connections with clients that we closed, by our code.", code=_code)
UPSTREAM_H3_CODE_FIRST: Final = len(TABLE)
for _code in QUIC_CODES:
    counter("upstream_h3_closed_total", "Connections with origins that we closed, by our code.", code=_code)
_QUIC_HANDED = "Datagrams that came to the socket of another worker than their connection's, by direction."
QUIC_HANDED_OVER: Final = counter("quic_handed_over_total", _QUIC_HANDED, direction="sent")
QUIC_TAKEN_OVER: Final = counter("quic_handed_over_total", _QUIC_HANDED, direction="received")
QUIC_UNSEGMENTED: Final = counter(
    "quic_unsegmented_total", "Batches sent datagram by datagram: no UDP_SEGMENT."
)
QUIC_SEND_REFUSED: Final = counter("quic_send_refused_total", "Datagrams that the network refused to take.")
QUIC_MIGRATED: Final = counter("quic_migrated_total", "Moves of connections to another path of their client.")
