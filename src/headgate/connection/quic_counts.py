"""What QUIC connections and their sockets count by themselves, brought into the counters of the process.

The engine counts losses, migrations and drops where they happen, for each connection alone. Here the difference to
what was told before is added: in the sweep, so that connections that live for days are seen too, and when one ends.

The code that a connection of ours was closed with (RFC 9000 section 20, RFC 9001 section 4.8, RFC 9114 section 8.1,
RFC 9204 section 6) is the counter of nearly every limit in docs/limits.md. Who ended without CONNECTION_CLOSE, by
silence or by the peer's, has no code of ours.
"""

from typing import Final

from headgate.connection.quic_driver import QuicDriver
from headgate.counters import (
    QUIC_CLOSED_FIRST,
    QUIC_CODES,
    QUIC_DROPPED_FIRST,
    QUIC_DROPS,
    QUIC_LOST,
    QUIC_MIGRATED,
    QUIC_PACKET_DROPS,
    QUIC_PACKETS_DROPPED_FIRST,
    QUIC_SEND_REFUSED,
    QUIC_UNSEGMENTED,
    UPSTREAM_H3_CODE_FIRST,
    UPSTREAM_H3_LOST,
    UPSTREAM_H3_PACKETS_DROPPED_FIRST,
)
from headgate.engine.h3 import errors as h3
from headgate.engine.quic.closing import CloseReason
from headgate.engine.quic.errors import CRYPTO_ERROR, NAMES, NO_ERROR
from headgate.engine.tls13.alerts import REASONS
from headgate.net.udp import UdpSocket

H3_NAMES: Final[dict[int, str]] = {
    h3.H3_NO_ERROR: "h3-no-error",
    h3.H3_GENERAL_PROTOCOL_ERROR: "h3-general-protocol-error",
    h3.H3_INTERNAL_ERROR: "h3-internal-error",
    h3.H3_STREAM_CREATION_ERROR: "h3-stream-creation-error",
    h3.H3_CLOSED_CRITICAL_STREAM: "h3-closed-critical-stream",
    h3.H3_FRAME_UNEXPECTED: "h3-frame-unexpected",
    h3.H3_FRAME_ERROR: "h3-frame-error",
    h3.H3_EXCESSIVE_LOAD: "h3-excessive-load",
    h3.H3_ID_ERROR: "h3-id-error",
    h3.H3_SETTINGS_ERROR: "h3-settings-error",
    h3.H3_MISSING_SETTINGS: "h3-missing-settings",
    h3.H3_REQUEST_REJECTED: "h3-request-rejected",
    h3.H3_REQUEST_CANCELLED: "h3-request-cancelled",
    h3.H3_REQUEST_INCOMPLETE: "h3-request-incomplete",
    h3.H3_MESSAGE_ERROR: "h3-message-error",
    h3.H3_CONNECT_ERROR: "h3-connect-error",
    h3.H3_VERSION_FALLBACK: "h3-version-fallback",
    h3.QPACK_DECOMPRESSION_FAILED: "qpack-decompression-failed",
    h3.QPACK_ENCODER_STREAM_ERROR: "qpack-encoder-stream-error",
    h3.QPACK_DECODER_STREAM_ERROR: "qpack-decoder-stream-error",
}
TRANSPORT_NAMES: Final[dict[int, str]] = {
    **{code: word for code, word in NAMES.items() if code != NO_ERROR},
    **{CRYPTO_ERROR + alert: f"tls-{word}" for alert, word in REASONS.items()},
}

_OTHER: Final = QUIC_CODES.index("other")
_APPLICATION: Final = {code: QUIC_CODES.index(name) for code, name in H3_NAMES.items()}
_TRANSPORT: Final = {code: QUIC_CODES.index(name) for code, name in TRANSPORT_NAMES.items()}
_DROPS: Final = {reason: place for place, reason in enumerate(QUIC_PACKET_DROPS)}
_TOO_LARGE: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("too-large")


def count_client(driver: QuicDriver, values: list[int]) -> None:
    """Add what is new of a connection with a client."""
    migrations = driver.quic.migrations
    if migrations != driver.told_migrations:
        values[QUIC_MIGRATED] += migrations - driver.told_migrations
        driver.told_migrations = migrations
    _count(driver, values, QUIC_LOST, QUIC_PACKETS_DROPPED_FIRST)


def count_origin(driver: QuicDriver, values: list[int]) -> None:
    """Add what is new of a connection with an origin."""
    _count(driver, values, UPSTREAM_H3_LOST, UPSTREAM_H3_PACKETS_DROPPED_FIRST)


def _count(driver: QuicDriver, values: list[int], lost_slot: int, first_drop: int) -> None:
    quic = driver.quic
    lost = quic.recovery.lost_packets
    if lost != driver.told_lost:
        values[lost_slot] += lost - driver.told_lost
        driver.told_lost = lost
    dropped = quic.dropped
    told = driver.told_dropped
    if not dropped or dropped == told:
        return
    for reason, count in dropped.items():
        before = 0 if told is None else told.get(reason, 0)
        place = _DROPS.get(reason)
        if place is not None:  # always: a test looks for every word of the engine in the list
            values[first_drop + place] += count - before
    driver.told_dropped = dict(dropped)


def count_client_end(end: CloseReason | None, values: list[int]) -> None:
    """Count the code that we closed a connection with a client with."""
    _count_end(end, values, QUIC_CLOSED_FIRST)


def count_origin_end(end: CloseReason | None, values: list[int]) -> None:
    """Count the code that we closed a connection with an origin with."""
    _count_end(end, values, UPSTREAM_H3_CODE_FIRST)


def _count_end(end: CloseReason | None, values: list[int], first: int) -> None:
    if end is None or not end.is_ours:
        return
    if end.code == NO_ERROR and not end.is_application:
        return  # idle, or no path answers: nothing was said
    names = _APPLICATION if end.is_application else _TRANSPORT
    values[first + names.get(end.code, _OTHER)] += 1


def count_socket(sock: UdpSocket, values: list[int]) -> None:
    """Add what a socket has counted since the last call."""
    unsegmented, refused, too_large = sock.take_counts()
    values[QUIC_UNSEGMENTED] += unsegmented
    values[QUIC_SEND_REFUSED] += refused
    values[_TOO_LARGE] += too_large
