"""What connections and sockets count by themselves stands in the counters.

One more than a limit, through a whole endpoint, moves the counter that docs/limits.md names, and the limit does not.
"""

import os
import re
from pathlib import Path

import pytest
from tests.unit.proxy.h3_path import H3Path
from tests.unit.server.quic_gate import Gate, bound

from headgate.connection.quic_counts import H3_NAMES, TRANSPORT_NAMES, count_client, count_client_end
from headgate.counters import (
    QUIC_CLOSED_FIRST,
    QUIC_CODES,
    QUIC_LOST,
    QUIC_MIGRATED,
    QUIC_PACKET_DROPS,
    QUIC_PACKETS_DROPPED_FIRST,
    QUIC_SEND_REFUSED,
    QUIC_UNSEGMENTED,
    REFUSED_MALFORMED,
    SIZE,
    UPSTREAM_H3_CODE_FIRST,
    UPSTREAM_H3_LOST,
    UPSTREAM_H3_PACKETS_DROPPED_FIRST,
)
from headgate.engine.h3 import errors as h3
from headgate.engine.h3.connection import MAX_HEADERS_FRAME
from headgate.engine.h3.frames import HEADERS, SETTINGS, encode_frame
from headgate.engine.h3.settings import MAX_SETTINGS_OCTETS
from headgate.engine.quic import frames
from headgate.engine.quic.closing import CloseReason
from headgate.engine.quic.connection_ids import MAX_PEER_IDS
from headgate.engine.quic.crypto_buffer import MAX_CRYPTO_AHEAD
from headgate.engine.quic.flow import STREAM_WINDOW
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.receive_buffer import MAX_STREAM_GAPS
from headgate.engine.quic.receiving import MAX_COALESCED
from headgate.engine.quic.spaces import MAX_AHEAD_UNVALIDATED
from headgate.engine.quic.strays import MAX_STRAYS
from headgate.engine.quic.stream import MAX_BIDI_STREAMS
from headgate.engine.varint import encode_varint
from headgate.testing.quic_raw import RawClient, encode_stream

ENGINE = Path(__file__).parents[3] / "src" / "headgate" / "engine" / "quic"


class Intruder:
    """A raw client on a socket of its own that comes to an endpoint."""

    def __init__(self, door):
        self.door = door
        self.sock = bound()
        self.raw = RawClient(os.urandom, door.clock.wall())

    def put(self, *datagrams):
        for datagram in datagrams:
            self.sock.sendto(datagram, self.door.address)
        self.door.read()

    def settle(self):
        moved = True
        while moved:
            moved = False
            for datagram in self.raw.flush():
                self.put(datagram)
                moved = True
            while True:
                try:
                    self.raw.receive(self.sock.recv(65536))
                except BlockingIOError:
                    break
                moved = True
        return self

    def send(self, *contents):
        for content in contents:
            self.put(self.raw.packet(APPLICATION, content))
            self.settle()


@pytest.fixture
def door():
    made = Gate()
    yield made
    made.close()


@pytest.fixture
def intruder(door):
    made = Intruder(door)
    yield made
    made.sock.close()


def closed(door):
    """Return the codes that the endpoint closed connections with, how often each."""
    counts = dict(zip(QUIC_CODES, door.values[QUIC_CLOSED_FIRST:], strict=False))
    return {name: count for name, count in counts.items() if count}


def drops(door, first=QUIC_PACKETS_DROPPED_FIRST):
    door.endpoint.sweep(door.poller.now)
    counts = dict(zip(QUIC_PACKET_DROPS, door.values[first:], strict=False))
    return {name: count for name, count in counts.items() if count}


# -- the lists


def test_every_code_has_its_counter_and_every_counter_its_code():
    assert [*TRANSPORT_NAMES.values(), *H3_NAMES.values(), "other"] == list(QUIC_CODES)
    numbers = {value for name, value in vars(h3).items() if name.startswith(("H3_", "QPACK_"))}
    assert set(H3_NAMES) == numbers


def test_every_word_for_a_drop_has_its_counter_and_every_counter_its_word():
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(ENGINE.glob("*.py")))
    words = set(re.findall(r'(?:_drop|UnreadablePacketError)\(\s*"([a-z0-9-]+)"', text))
    assert sorted(words) == list(QUIC_PACKET_DROPS)


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (CloseReason(0x07, "", is_application=False, is_ours=True), "frame-encoding-error"),
        (CloseReason(0x12F, "", is_application=False, is_ours=True), "tls-illegal-parameter"),
        (CloseReason(0x107, "", is_application=True, is_ours=True), "h3-excessive-load"),
        (CloseReason(0x200, "", is_application=True, is_ours=True), "qpack-decompression-failed"),
        (CloseReason(0x1FF, "", is_application=False, is_ours=True), "other"),
        (CloseReason(0x7777, "", is_application=True, is_ours=True), "other"),
        (CloseReason(0x07, "", is_application=False, is_ours=False), None),
        (CloseReason(0, "idle timeout", is_application=False, is_ours=True), None),
        (None, None),
    ],
)
def test_the_code_of_an_end(end, name):
    values = [0] * SIZE
    count_client_end(end, values)
    assert sum(values) == (name is not None)
    assert name is None or values[QUIC_CLOSED_FIRST + QUIC_CODES.index(name)] == 1


# -- limits, and one more


@pytest.mark.parametrize("beyond", [0, 1])
def test_crypto_ahead(door, intruder, beyond):
    raw = intruder.raw
    ((level, _, hello),) = raw.take_crypto()
    first = frames.crypto_header(0, 10) + hello[:10]
    far = frames.crypto_header(10 + MAX_CRYPTO_AHEAD - 1 + beyond, 1) + b"x"
    intruder.put(raw.packet(level, first + far, size=1200))
    assert closed(door) == ({"crypto-buffer-exceeded": 1} if beyond else {})


@pytest.mark.parametrize(
    ("at_limit", "one_more", "name"),
    [
        (
            [encode_stream(4 * (MAX_BIDI_STREAMS - 1), 0, b"")],
            encode_stream(4 * MAX_BIDI_STREAMS, 0, b""),
            "stream-limit-error",
        ),
        (
            [encode_stream(0, STREAM_WINDOW - 1, b"x")],
            encode_stream(0, STREAM_WINDOW, b"x"),
            "flow-control-error",
        ),
        (
            [
                frames.encode_new_connection_id(number, 0, number.to_bytes(8, "big"), bytes(16))
                for number in range(1, MAX_PEER_IDS)
            ],
            frames.encode_new_connection_id(MAX_PEER_IDS, 0, b"too many", bytes(16)),
            "connection-id-limit-error",
        ),
        (
            [encode_stream(2, 0, b"\0" + encode_frame(SETTINGS, b""))],
            encode_stream(6, 0, b"\0"),
            "h3-stream-creation-error",
        ),
    ],
)
def test_one_more_than_a_connection_may(door, intruder, at_limit, one_more, name):
    intruder.settle().send(*at_limit)
    assert intruder.raw.is_confirmed
    assert closed(door) == {}
    intruder.send(one_more)
    assert closed(door) == {name: 1}


def test_an_acknowledgement_of_what_was_never_sent(door, intruder):
    intruder.settle().send(frames.PING_FRAME)
    assert closed(door) == {}
    intruder.send(frames.encode_ack([1000, 1000], 0, None, 100))
    assert closed(door) == {"protocol-violation": 1}


@pytest.mark.parametrize("beyond", [0, 1])
def test_settings_that_are_too_long(door, intruder, beyond):
    head = b"\0" + encode_varint(SETTINGS) + encode_varint(MAX_SETTINGS_OCTETS + beyond)
    intruder.settle().send(encode_stream(2, 0, head))
    assert closed(door) == ({"h3-excessive-load": 1} if beyond else {})


@pytest.mark.parametrize("beyond", [0, 1])
def test_a_section_that_is_too_long(door, intruder, beyond):
    head = encode_varint(HEADERS) + encode_varint(MAX_HEADERS_FRAME + beyond)
    intruder.settle().send(encode_stream(0, 0, head))
    assert door.values[REFUSED_MALFORMED] == beyond
    assert closed(door) == {}


def test_a_second_key_update_before_the_first_was_acknowledged(door, intruder):
    raw = intruder.settle().raw
    raw.update_keys()
    intruder.put(raw.packet(APPLICATION, frames.PING_FRAME))
    assert closed(door) == {}
    raw.update_keys()
    intruder.put(raw.packet(APPLICATION, frames.PING_FRAME))
    assert closed(door) == {"key-update-error": 1}


def test_a_handshake_that_tls_refuses_counts_its_alert(door):
    door.visit(alpn=(b"h9",))
    assert closed(door) == {"tls-no-application-protocol": 1}


# -- drops


def test_forged_and_duplicate_packets_are_counted_while_the_connection_lives(door, intruder):
    raw = intruder.settle().raw
    packet = raw.packet(APPLICATION, frames.PING_FRAME, size=60)
    intruder.put(packet)
    assert drops(door) == {}
    intruder.put(packet, packet[:-1] + bytes((packet[-1] ^ 1,)))
    assert drops(door) == {"duplicate": 1, "forged": 1}
    assert drops(door) == {"duplicate": 1, "forged": 1}
    intruder.put(packet)
    raw.close = None
    intruder.send(
        frames.encode_application_close(0x100, b"")
    )  # what the sweep has not told yet, the end tells
    assert not door.endpoint.connections
    assert drops(door) == {"duplicate": 2, "forged": 1}
    assert closed(door) == {}


def test_packets_ahead_of_their_keys(door, intruder):
    raw = intruder.raw
    ((level, _, hello),) = raw.take_crypto()
    intruder.put(raw.packet(level, frames.crypto_header(0, 10) + hello[:10], size=1200))
    packet = b"\x40" + next(iter(door.endpoint.connections)).quic.source + bytes(40)
    intruder.put(*[packet] * MAX_AHEAD_UNVALIDATED)
    assert drops(door) == {}
    intruder.put(packet)
    assert drops(door) == {"ahead-of-keys": 1}


@pytest.mark.parametrize("beyond", [0, 1])
def test_coalesced_packets(door, intruder, beyond):
    raw = intruder.raw
    ((level, _, hello),) = raw.take_crypto()
    intruder.put(raw.packet(level, frames.crypto_header(0, 10) + hello[:10], size=1200))
    count = MAX_COALESCED + beyond
    intruder.put(b"".join(raw.packet(level, frames.PING_FRAME, size=160) for _ in range(count)))
    assert drops(door) == ({"coalesced": 1} if beyond else {})


def test_gaps_of_a_stream(door, intruder):
    intruder.settle()
    for at in range(1, MAX_STREAM_GAPS + 1):
        intruder.send(encode_stream(0, 2 * at, b"x"))
    assert drops(door) == {}
    intruder.send(encode_stream(0, 2 * MAX_STREAM_GAPS + 2, b"x"))
    assert drops(door) == {"gaps": 1}


def test_strays_from_elsewhere(door, intruder):
    intruder.settle()
    forged = b"\x40" + intruder.raw.destination + bytes(40)

    def forge():
        door.endpoint.receive_forwarded(forged * 50, len(forged), ("203.0.113.9", 4000), b"", 0)
        door.endpoint._resume()

    for _ in range(MAX_STRAYS // 50 + 1):
        forge()
    assert drops(door) == {"forged": MAX_STRAYS + 50}
    forge()
    assert drops(door) == {"forged": MAX_STRAYS + 50, "strays": 1}


# -- what happens without anybody's fault


def test_losses_and_moves_are_told_as_differences(door):
    visitor = door.visit()
    (driver,) = door.endpoint.connections
    values = [0] * SIZE
    driver.quic.recovery.lost_packets += 3
    driver.quic.migrations += 1
    before = driver.told_lost
    count_client(driver, values)
    assert (values[QUIC_LOST], values[QUIC_MIGRATED]) == (driver.quic.recovery.lost_packets - before, 1)
    count_client(driver, values)
    assert values[QUIC_MIGRATED] == 1
    assert visitor.quic.is_confirmed


def test_a_client_that_moved_is_counted_once(door):
    visitor = door.visit()
    old, visitor.sock = visitor.sock, bound()  # a NAT forgot it
    old.close()
    visitor.ask()
    door.settle()
    for _ in range(2):
        door.endpoint.sweep(door.poller.now)
        assert door.values[QUIC_MIGRATED] == 1


def test_answers_that_get_lost_are_counted(door):
    visitor = door.visit()
    visitor.ask()
    visitor.send()
    door.read()
    deaf, visitor.sock = visitor.sock, bound()
    deaf.close()
    door.pass_time(5.0, sweep=False)
    door.pass_time(5.0)
    assert door.values[QUIC_LOST] > 0


def test_what_a_socket_counts(door):
    sock = door.endpoint._sock
    sock.unsegmented, sock.refused, sock.truncated = 2, 3, 4
    for _ in range(2):
        door.endpoint.sweep(door.poller.now)
        assert (door.values[QUIC_UNSEGMENTED], door.values[QUIC_SEND_REFUSED]) == (2, 3)
        assert door.dropped("too-large") == 4


# -- towards origins


def test_an_origin_that_breaks_http3_is_counted_by_our_code():
    path = H3Path()
    _, origin = path.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    (driver,) = path.drivers
    driver.quic.dropped["forged"] = 2
    driver.quic.recovery.lost_packets = 5
    path.pool.sweep(path.poller.now)
    origin.h3._writes.append((3, b"\x00\x00", False))  # DATA on the control stream
    path.run()
    values = path.values
    assert values[UPSTREAM_H3_CODE_FIRST + QUIC_CODES.index("h3-frame-unexpected")] == 1
    assert values[UPSTREAM_H3_PACKETS_DROPPED_FIRST + QUIC_PACKET_DROPS.index("forged")] == 2
    assert values[UPSTREAM_H3_LOST] == 5
    path.close()
