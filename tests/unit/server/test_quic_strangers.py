"""Datagrams for no connection: handed on, answered, or admitted."""

from tests.unit.server.quic_gate import KEYS, Visitor, bound

from headgate.counters import (
    QUIC_BYTES_READ,
    QUIC_DATAGRAMS_READ,
    QUIC_RESETS,
    QUIC_RETRIES,
    QUIC_VERSION_NEGOTIATIONS,
    REFUSED_CONNECTIONS,
)
from headgate.engine.quic.connection_ids import ConnectionIdCodec
from headgate.engine.quic.errors import CONNECTION_REFUSED, INVALID_TOKEN
from headgate.engine.quic.levels import HANDSHAKE
from headgate.engine.quic.packet import (
    NEGOTIATION,
    VERSION_1,
    encode_long_header,
    is_stateless_reset,
    parse_long_header,
    stateless_reset_token,
)
from headgate.server.quic_admission import MAX_HALF_OPEN

CODEC = ConnectionIdCodec(KEYS.cid_key)


def test_rfc9000_14_1_a_small_initial_is_dropped(gate):
    door = gate()
    sender = bound()
    datagram = b"\xc0\0\0\0\1\x08original\x06client\x00\x44\x00"
    sender.sendto(datagram.ljust(1199, b"\0"), door.address)
    door.read()
    assert (door.dropped("small-initial"), door.dropped("bad-initial")) == (1, 0)
    sender.sendto(datagram.ljust(1200, b"\0"), door.address)
    door.read()
    assert (door.dropped("small-initial"), door.dropped("bad-initial")) == (1, 1)
    sender.close()


def test_rfc9000_7_2_a_first_id_under_eight_octets_is_dropped(gate):
    door = gate()
    sender = bound()
    sender.sendto(b"\xc0\0\0\0\1\7sevenlo\0\0\x44\x00" + bytes(1200), door.address)
    door.read()
    assert door.dropped("small-initial") == 1
    sender.close()


def test_an_initial_that_does_not_verify_leaves_nothing(gate):
    door = gate()
    visitor = Visitor(door)
    datagram = visitor.quic.take_batch(door.clock.now()).datagrams()[0]
    visitor.sock.sendto(datagram[:-1] + bytes((datagram[-1] ^ 1,)), door.address)
    door.read()
    assert door.dropped("bad-initial") == 1
    assert visitor.receive() == 0
    assert not door.endpoint._table
    assert not door.endpoint.connections
    assert door.endpoint.admission.handshakes == 0


def test_rfc9000_6_1_who_speaks_another_version_is_told_ours(gate):
    door = gate()
    sender = bound()
    sender.sendto(b"\xc0\x1a\x2a\x3a\x4a\x08original\x06client" + bytes(1200), door.address)
    door.read()
    packet = sender.recv(2000)
    header = parse_long_header(packet, 0, len(packet))
    assert (header.kind, header.destination) == (NEGOTIATION, b"client")
    assert door.values[QUIC_VERSION_NEGOTIATIONS] == 1
    sender.sendto(b"\xc0\0\0\0\0\x08original\x06client" + bytes(1200), door.address)
    door.read()
    assert door.values[QUIC_VERSION_NEGOTIATIONS] == 1  # never to a Version Negotiation
    sender.close()


def test_half_open_connections_make_others_prove_their_address(gate):
    door = gate()
    admission = door.endpoint.admission
    for number in range(MAX_HALF_OPEN):
        admission.decide(f"198.51.100.{number}", False, door.clock.now())
    visitor = door.visit()
    assert door.values[QUIC_RETRIES] == 1
    assert visitor.quic.is_confirmed
    assert admission.half_open == MAX_HALF_OPEN


def test_rfc9000_8_1_2_a_token_of_a_retry_for_somebody_else_is_refused(gate):
    door = gate()
    admission = door.endpoint.admission
    for number in range(MAX_HALF_OPEN):
        admission.decide(f"198.51.100.{number}", False, door.clock.now())
    visitor = Visitor(door)
    visitor.send()
    door.read()
    visitor.receive()
    other = bound()  # from another port
    for datagram in visitor.quic.take_batch(door.clock.now()).datagrams():
        other.sendto(datagram, door.address)
    door.read()
    assert door.dropped("bad-token") == 1
    answer = other.recv(2000)
    visitor.quic.receive_batch(answer, len(answer), door.address, b"", 0, door.clock.now())
    assert visitor.quic.end.code == INVALID_TOKEN
    other.close()


def test_rfc9000_8_1_4_a_token_for_later_counts_once(gate):
    door = gate()
    earlier = door.visit()
    (token,) = earlier.quic.take_tokens()
    admission = door.endpoint.admission
    for number in range(MAX_HALF_OPEN):
        admission.decide(f"198.51.100.{number}", False, door.clock.now())
    first = Visitor(door, 31)
    first.quic._builder.token = token
    door.settle()
    assert first.quic.is_confirmed
    assert door.values[QUIC_RETRIES] == 0
    second = Visitor(door, 32)
    second.quic._builder.token = token
    door.settle()
    assert second.quic.is_confirmed
    assert door.values[QUIC_RETRIES] == 1


def test_connections_at_the_limit_and_one_more(gate):
    door = gate(limits=(1, 0, 0, 0))
    first, second = door.visit(), door.visit()
    assert first.quic.is_confirmed
    assert second.quic.end.code == CONNECTION_REFUSED
    assert (door.values[REFUSED_CONNECTIONS], door.dropped("connections")) == (1, 1)
    assert door.endpoint.admission.handshakes == 0
    first.quic.close(0x100, "", door.clock.now())
    door.settle()
    assert door.limits.open == 0
    assert door.visit().quic.is_confirmed


def short(slot, generation, size=60):
    return b"\x40" + CODEC.encode(slot, generation, 7) + bytes(size)


def test_what_belongs_to_another_worker_is_handed_on(gate):
    handed = []

    def forward(*what):
        handed.append(what)
        return True

    door = gate(forward=forward)
    sender = bound()
    sender.sendto(short(3, 9), door.address)
    door.read()
    ((slot, data, segment, peer, _local, ecn),) = handed
    assert (slot, data, segment, ecn) == (3, short(3, 9), 69, 0)
    assert peer == sender.getsockname()
    door.endpoint.receive_forwarded(short(3, 9), 69, peer, b"", 0)
    door.endpoint._resume()
    assert len(handed) == 1  # never twice
    assert door.values[QUIC_DATAGRAMS_READ] == 1  # it was counted where it was read
    assert door.values[QUIC_BYTES_READ] == 69
    assert door.values[QUIC_RESETS] == 1
    sender.close()


def test_rfc9000_10_3_what_nobody_knows_gets_a_stateless_reset(gate):
    door = gate(forward=lambda *what: False)
    sender = bound()
    for datagram in (short(0, 1), short(0, 0)):
        sender.sendto(datagram, door.address)
        door.read()
        door.clock._move_to(door.clock.now() + 10)
    for datagram in (short(0, 1), short(0, 0)):
        packet = sender.recv(2000)
        token = stateless_reset_token(KEYS.reset_key, datagram[1:9])
        assert is_stateless_reset(packet, 0, len(packet), [token])
        assert len(packet) < len(datagram)
    assert door.dropped("unknown-connection") == 2
    sender.close()


def test_rfc9000_10_3_a_handshake_packet_to_an_id_of_ours_gets_one_too(gate):
    """A client that believes its handshake complete begins with one until it is confirmed."""
    door = gate()
    sender = bound()
    ours, nobodys = short(3, 9)[1:9], b"n" * 8
    for destination in (nobodys, ours):
        head = encode_long_header(HANDSHAKE, VERSION_1, destination, b"client", b"", 0, 2, 100)
        sender.sendto(bytes(head) + bytes(120), door.address)
        door.read()
    packet = sender.recv(2000)
    assert is_stateless_reset(packet, 0, len(packet), [stateless_reset_token(KEYS.reset_key, ours)])
    assert door.values[QUIC_RESETS] == 1
    assert door.dropped("unknown-connection") == 2
    sender.close()
