"""A QUIC endpoint: admission, demultiplexing, answers without a connection, time and ends."""

import asyncio
import os

import pytest
from tests.unit.server.quic_gate import Script, Visitor, bound, is_over

from headgate.build_info import is_compiled
from headgate.connection.quic_downstream import GOODBYE_SECONDS, LAST_ANSWER_SECONDS
from headgate.counters import (
    CONNECTIONS_OPEN,
    QUIC_ACCEPTED,
    QUIC_ENDED_CLOSED,
    QUIC_ENDED_DEFECT,
    QUIC_ENDED_FAULT,
    QUIC_ENDED_HANDSHAKE_TIMEOUT,
    QUIC_ENDED_IDLE,
    QUIC_ENDED_MEMORY,
    QUIC_ENDED_PEER,
    QUIC_HALF_OPEN,
    QUIC_OPEN,
    QUIC_REFUSALS,
    TIMEOUT_HANDSHAKE,
)
from headgate.engine.events import Data
from headgate.engine.h3.errors import H3_EXCESSIVE_LOAD
from headgate.engine.quic.closing import State
from headgate.engine.quic.errors import CONNECTION_REFUSED
from headgate.engine.quic.flow import MAX_CONNECTION_WINDOW
from headgate.engine.quic.packet import (
    VERSION_2,
)
from headgate.server.quic_backlog import MAX_BACKLOG, TURN_OF_STRANGERS
from headgate.server.quic_endpoint import HALF_OPEN_SECONDS, MAX_DATAGRAMS
from headgate.server.quic_memory import SHORT_CONNECTION_WINDOW
from headgate.server.quic_parts import EndpointKeys
from headgate.testing.quic_raw import RawClient, encode_crypto

only_pure = pytest.mark.skipif(is_compiled("headgate.server.quic_endpoint"), reason="only pure: stand-ins")


def test_keys_do_not_show_in_logs():
    assert "secret" not in repr(EndpointKeys(b"secret", b"secret", b"secret"))


def test_a_handshake_a_request_and_its_answer(gate):
    door = gate()
    visitor = door.visit()
    assert visitor.quic.is_confirmed
    assert (door.values[QUIC_ACCEPTED], door.values[QUIC_OPEN], door.values[QUIC_HALF_OPEN]) == (1, 1, 0)
    assert len(door.tls.done) == 1
    stream = visitor.ask()
    door.settle()
    head, content, _end = visitor.answers[stream]
    assert (head.status, content.data) == (200, b"hello")
    (exchange,) = door.seen.exchanges
    assert (exchange.status, exchange.context.sni, exchange.context.tls_version) == (
        200,
        b"a.test",
        "TLSv1.3",
    )
    assert not next(iter(door.endpoint.connections)).lanes


# -- what comes in


def test_one_wake_up_reads_so_many_datagrams_and_one_more_waits(gate):
    door = gate()
    sender = bound()
    for _ in range(MAX_DATAGRAMS + 1):
        sender.sendto(b"", door.address)  # CVE-2026-11352: they count as well
    door.read()
    assert door.dropped("malformed") == MAX_DATAGRAMS
    door.read()
    assert door.dropped("malformed") == MAX_DATAGRAMS + 1
    sender.close()


def test_a_wake_up_ends_when_its_time_is_over(gate):
    door = gate()
    sender = bound()
    for _ in range(3):
        sender.sendto(b"", door.address)
    now = door.clock.now

    def later():
        door.clock._move_to(now() + 0.001)
        return now()

    door.clock.now = later
    door.endpoint.on_readable()
    assert door.dropped("malformed") == 1
    sender.close()


def test_what_there_was_no_time_for_is_served_in_the_next_round(gate):
    door = gate()
    senders = [bound() for _ in range(3)]
    datagram = b"\xc0\0\0\0\1\x08original\x06client\x00\x44\x00".ljust(1200, b"\0")
    for sender in senders:
        sender.sendto(datagram, door.address)
    door.endpoint._drain()
    now = door.clock.now

    def later():
        door.clock._move_to(now() + 0.001)
        return now()

    door.clock.now = later
    door.endpoint._serve(True)
    assert door.dropped("bad-initial") == 1
    door.clock.now = now
    door.endpoint._resume()
    assert door.dropped("bad-initial") == 3
    for sender in senders:
        sender.close()


def test_a_flood_makes_nobody_else_wait(gate):
    """Fifty datagrams of strangers came first; the one behind them is served after a turn of theirs."""
    door = gate()
    visitor = door.visit()
    flood = bound()
    noise = b"\xc0\0\0\0\1\x08original\x06client\x00\x44\x00".ljust(1200, b"\0")
    for _ in range(50):
        flood.sendto(noise, door.address)
    stream = visitor.ask()
    visitor.send()
    door.endpoint._drain()
    backlog, served = door.endpoint._backlog, []
    while (item := backlog.take()) is not None:
        served.append(item.peer == visitor.sock.getsockname())
        door.endpoint._receive(backlog.data, item)
    assert True in served[:2]
    door.endpoint.write_deferred()
    visitor.receive()
    assert stream in visitor.answers
    flood.close()


def test_rfc9369_version_2_is_served_as_well(gate):
    door = gate()
    visitor = door.visit(version=VERSION_2)
    assert visitor.quic.is_confirmed
    stream = visitor.ask()
    door.settle()
    assert visitor.answers[stream][0].status == 200


# -- where clients are, and what they hold


def test_rfc9000_9_a_client_that_moved_is_told_of_by_its_new_address_once_that_is_proved(gate):
    door = gate()
    visitor = door.visit()
    context = next(iter(door.endpoint.connections)).context
    context.log_fields = b"encoded"
    old, visitor.sock = visitor.sock, bound()
    stream = visitor.ask()
    visitor.send()
    door.read()
    assert context.port == old.getsockname()[1]  # nobody has answered from there yet
    door.settle()
    assert (context.peer, context.port) == visitor.sock.getsockname()
    assert context.log_fields == b""
    assert visitor.answers[stream][0].status == 200
    old.close()


def post(door, visitor, size):
    """Send content that the handler does not take, and return the visitor."""
    stream = visitor.ask(b"POST", body=-1)
    door.settle()
    exchange = door.handler.exchanges[-1]
    exchange.handler = door.handler
    visitor.http.send(Data(b"x" * size, stream))
    visitor.carry()
    door.settle()
    return exchange


def test_short_memory_shrinks_windows_and_gives_them_back_to_connections(gate):
    handler = Script()
    handler.accepting = False
    door = gate(handler)
    exchange = post(door, door.visit(), 9000)
    door.memory.max_received = 10_000
    door.pass_time(0.1)
    assert door.endpoint.held_received > 5000
    credit = next(iter(door.endpoint.connections)).quic.streams.receive_credit
    assert credit.window == SHORT_CONNECTION_WINDOW
    door.visit()
    assert {d.quic.streams.receive_credit.window for d in door.endpoint.connections} == {credit.window}
    exchange.accepting = True
    exchange.downstream.resume()
    door.pass_time(0.1)
    assert credit.max_window == MAX_CONNECTION_WINDOW


def test_a_worker_that_holds_too_much_closes_the_largest_and_serves_newcomers(gate):
    handler = Script()
    handler.accepting = False
    door = gate(handler)
    visitors = [door.visit() for _ in range(3)]
    for visitor, size in zip(visitors, (3000, 9000, 6000), strict=True):
        post(door, visitor, size)
    door.memory.max_received = 9100
    door.pass_time(0.1)
    assert [is_over(visitor) for visitor in visitors] == [False, True, False]
    assert visitors[1].quic.end.code == H3_EXCESSIVE_LOAD
    assert 9000 <= door.endpoint.held_received <= 9100
    assert (door.values[QUIC_ENDED_MEMORY], door.seen.failures) == (1, ["memory"])
    assert door.visit().quic.is_confirmed
    door.memory.max_received = 100  # not even the smallest has room
    door.pass_time(0.1)
    assert door.endpoint.held_received == 0
    assert door.values[QUIC_ENDED_MEMORY] == 3
    newcomer = door.visit()
    handler.status = 200
    stream = newcomer.ask()
    door.settle()
    assert newcomer.answers[stream][0].status == 200


@only_pure
def test_a_defect_while_the_largest_is_closed_ends_it_all_the_same(gate):
    handler = Script()
    handler.accepting = False
    door = gate(handler)
    post(door, door.visit(), 9000)
    (driver,) = door.endpoint.connections
    driver.quic = Broken(driver.quic, "close")
    door.memory.max_received = 100
    door.endpoint.sweep(door.poller.now)
    door.memory.settle([door.endpoint])
    assert not door.endpoint.connections
    assert [repr(error) for error in door.seen.crashes] == ["ValueError('defect')"] * 2
    door.seen.crashes.clear()


# -- other workers


def test_datagrams_from_another_worker_reach_their_connection(gate):
    door = gate()
    visitor = door.visit()
    visitor.ask()
    peer = visitor.sock.getsockname()
    for datagram in visitor.quic.take_batch(door.clock.now()).datagrams():
        door.endpoint.receive_forwarded(datagram, len(datagram), peer, b"", 0)
    asyncio.run(door.clock.advance(0))  # the loop goes on with them by itself
    door.settle()
    assert len(door.seen.exchanges) == 1


def test_what_another_worker_hands_on_waits_behind_nobody_elses_flood(gate):
    """And a flood that is handed on keeps nobody else waiting, and has its bound."""
    door = gate()
    visitor = door.visit()
    stranger = ("198.51.100.7", 4433)
    noise = b"\xc0\0\0\0\1\x08original\x06client\x00\x44\x00".ljust(1200, b"\0") * 50
    for _ in range(100):
        door.endpoint.receive_forwarded(noise, 1200, stranger, b"", 0)
    assert door.endpoint._backlog.weight <= MAX_BACKLOG
    assert door.dropped("queue-full") > 0
    assert door.dropped("bad-initial") == 0  # nothing is looked at before its turn
    visitor.ask()
    for datagram in visitor.quic.take_batch(door.clock.now()).datagrams():
        door.endpoint.receive_forwarded(datagram, len(datagram), visitor.sock.getsockname(), b"", 0)
    backlog = door.endpoint._backlog
    turns = [(backlog.take(), len(backlog.data))[1] for _ in range(2)]
    assert turns[0] == TURN_OF_STRANGERS * 1200
    assert backlog._queues.keys() == {None}  # the visitor's was the second turn


# -- drain and ends


def test_rfc9114_5_2_a_drain_lets_requests_end_and_takes_no_connection(gate):
    door = gate(Script())
    visitor = door.visit()
    stream = visitor.ask()
    door.settle()
    door.endpoint.drain()
    door.settle()
    late = door.visit()
    assert late.quic.end.code == CONNECTION_REFUSED
    assert (door.dropped("draining"), door.values[QUIC_REFUSALS]) == (1, 1)
    assert visitor.http.control.goaway == 4
    (exchange,) = door.handler.exchanges
    door.handler.answer(exchange, 204)
    door.settle()
    assert visitor.answers[stream][0].status == 204
    door.pass_time(0.5)
    assert (visitor.quic.state, visitor.quic.end.code) == (State.DRAINING, 0x100)
    assert door.values[QUIC_ENDED_CLOSED] == 1
    assert not door.endpoint.connections


def sleep_through(door, visitor, seconds):
    """Let time pass while nothing reaches the visitor, nor comes from it."""
    door.visitors.remove(visitor)
    for _ in range(round(seconds / 0.25)):
        door.pass_time(0.25)
    door.visitors.append(visitor)


def test_a_drain_waits_a_moment_for_an_idle_client_that_is_silent(gate):
    door = gate()
    visitor = door.visit()
    visitor.ask()
    door.settle()
    door.pass_time(0.1)  # until the answer is acknowledged
    door.endpoint.drain()
    sleep_through(door, visitor, GOODBYE_SECONDS - 0.25)
    assert door.endpoint.connections  # its GOAWAY may just have been lost
    sleep_through(door, visitor, 0.5)
    assert not door.endpoint.connections
    assert door.values[QUIC_ENDED_CLOSED] == 1


@pytest.mark.parametrize("silence", [LAST_ANSWER_SECONDS - 0.5, LAST_ANSWER_SECONDS + 0.5])
def test_a_drain_waits_longer_for_the_last_answer_to_be_acknowledged(gate, silence):
    door = gate(Script())
    visitor = door.visit()
    stream = visitor.ask()
    door.settle()
    door.endpoint.drain()
    (exchange,) = door.handler.exchanges
    door.handler.answer(exchange, 204)
    sleep_through(door, visitor, silence)
    is_given_up = silence > LAST_ANSWER_SECONDS
    assert bool(door.endpoint.connections) is not is_given_up
    for _ in range(3):
        door.pass_time(0.5)
    assert not door.endpoint.connections
    if not is_given_up:
        assert visitor.answers[stream][0].status == 204


def test_of_a_closed_connection_only_its_end_is_kept(gate):
    door = gate()
    visitor = door.visit()
    visitor.quic.close(0x100, "bye", door.clock.now())
    door.settle()
    endpoint = door.endpoint
    assert door.values[QUIC_ENDED_PEER] == 1
    assert (door.values[QUIC_OPEN], door.values[CONNECTIONS_OPEN]) == (0, 0)
    assert not endpoint._table
    assert not endpoint.connections
    assert len(endpoint.closed) == 1
    door.pass_time(60)
    assert len(endpoint.closed) == 0
    assert len(endpoint._heap) == 0


def test_rfc9000_10_2_1_late_packets_find_our_close_again_and_ever_less_often(gate):
    door = gate()
    visitor = door.visit()
    driver = next(iter(door.endpoint.connections))
    visitor.ask()
    late = visitor.quic.take_batch(door.clock.now()).datagrams()[0]
    driver.close(0x100, "")
    first = visitor.sock.recv(2000)
    answered = []
    for number in range(1, 10):
        visitor.sock.sendto(late, door.address)
        door.read()
        try:
            assert visitor.sock.recv(2000) == first
        except BlockingIOError:
            continue
        answered.append(number)
    assert answered == [1, 2, 4, 8]


def test_an_idle_connection_ends_without_a_word(gate):
    door = gate()
    visitor = door.visit()
    door.settle()
    visitor.got.clear()
    door.visitors.remove(visitor)
    door.pass_time(31)
    assert door.values[QUIC_ENDED_IDLE] == 1
    assert not door.endpoint.connections
    assert len(door.endpoint.closed) == 0
    visitor.sock.close()


def test_a_handshake_that_stands_still_is_given_up(gate):
    door = gate(handshake=10.0)
    visitor = Visitor(door)
    visitor.send()
    door.visitors.remove(visitor)
    door.read()
    assert door.values[QUIC_HALF_OPEN] == 1
    door.pass_time(HALF_OPEN_SECONDS / 2)
    assert len(door.endpoint.connections) == 1
    door.pass_time(HALF_OPEN_SECONDS / 2)
    assert not door.endpoint.connections
    assert not door.endpoint._table
    assert door.values[QUIC_HALF_OPEN] == door.endpoint.admission.handshakes == 0
    assert door.values[TIMEOUT_HANDSHAKE] == door.values[QUIC_ENDED_HANDSHAKE_TIMEOUT] == 1
    assert len(door.tls.lost) == 1
    visitor.sock.close()


def begin_by_hand(door):
    """Begin a handshake with nothing but the end of a ClientHello; return the client and its socket."""
    sock = bound()
    raw = RawClient(os.urandom, door.clock.wall())
    ((_, _, hello),) = raw.take_crypto()
    first = raw.initial(encode_crypto(100, hello[100:]))
    sock.sendto(first, door.address)
    door.read()
    assert len(door.endpoint.connections) == 1
    return raw, sock, first, hello


@pytest.mark.parametrize("kind", ["forged", "again", "ping", "repeated"])
def test_what_does_not_bring_a_handshake_on_does_not_keep_it(gate, kind):
    door = gate(handshake=10.0)
    raw, sock, first, hello = begin_by_hand(door)
    for _ in range(3):
        assert len(door.endpoint.connections) == 1
        datagram = {
            "forged": first[:-1] + bytes((first[-1] ^ 1,)),
            "again": first,
            "ping": raw.initial(b"\x01"),
            "repeated": raw.initial(encode_crypto(200, hello[200:])),
        }[kind]
        sock.sendto(datagram, door.address)
        door.read()
        door.pass_time(HALF_OPEN_SECONDS / 3 + 0.01)
    assert not door.endpoint.connections
    assert door.values[QUIC_HALF_OPEN] == 0
    assert door.values[TIMEOUT_HANDSHAKE] == 1
    sock.close()


def test_what_brings_a_handshake_on_keeps_it_and_not_for_ever(gate):
    door = gate(handshake=10.0)
    raw, sock, _first, hello = begin_by_hand(door)
    for n in range(4):
        sock.sendto(raw.initial(encode_crypto(50 + n, hello[50 + n : 51 + n])), door.address)
        door.read()
        door.pass_time(HALF_OPEN_SECONDS - 0.6)
        assert len(door.endpoint.connections) == 1
    door.pass_time(0.5)
    assert not door.endpoint.connections
    sock.close()


def test_what_a_client_does_wrong_is_told_and_counted(gate):
    door = gate()
    visitor = door.visit()
    visitor.quic.streams.write(2, b"\x04\x00", fin=False)  # a second SETTINGS
    door.settle()
    assert is_over(visitor)
    assert door.values[QUIC_ENDED_FAULT] == 1
    assert door.seen.failures == ["protocol-error"]


def test_a_full_socket_keeps_one_batch_and_goes_on_when_it_drains(gate):
    door = gate(Script(200, b"x" * 100_000))
    visitor = door.visit()
    endpoint = door.endpoint
    door.sock.full = True
    stream = visitor.ask()
    visitor.send()
    door.read()
    assert endpoint._stuck is not None
    endpoint.touched(*endpoint.connections)
    assert len(endpoint._waiting) == 1  # each once, however often it was touched
    door.sock.full = False
    endpoint.on_writable()
    door.settle()
    while not door.seen.exchanges or not visitor.quic.streams.table[stream].receive.is_complete():
        door.pass_time(0.01, sweep=False)
    assert endpoint._stuck is None


def test_a_defect_ends_one_connection_and_is_told(gate):
    door = gate()
    good, bad = door.visit(), door.visit()

    def broken(exchange):
        raise ValueError("defect")

    bad.ask()
    handle = door.handler.handle
    door.handler.handle = broken
    door.settle()
    door.handler.handle = handle
    assert [repr(error) for error in door.seen.crashes] == ["ValueError('defect')"]
    door.seen.crashes.clear()
    assert is_over(bad)
    stream = good.ask()
    door.settle()
    assert good.answers[stream][0].status == 200


class Broken:
    """A connection that breaks when it is asked for what it has to send, and with `close` when it is closed too."""

    def __init__(self, quic, *names):
        self.quic = quic
        self.names = names

    def __getattr__(self, name):
        if name in self.names:
            raise ValueError("defect")
        return getattr(self.quic, name)


@only_pure
@pytest.mark.parametrize(
    "names", [("take_batch",), ("take_batch", "close"), ("deadline",), ("take_new_ids",)]
)
def test_a_defect_in_what_is_sent_ends_one_connection_and_keeps_nobody_else_waiting(gate, names):
    door = gate()
    bad, good = door.visit(), door.visit()
    drivers = {driver.context.port: driver for driver in door.endpoint.connections}
    broken = drivers[bad.sock.getsockname()[1]]
    bad.ask()
    stream = good.ask()
    bad.send()
    good.send()
    broken.quic = Broken(broken.quic, *names)
    door.poller.in_round = True
    door.read()
    door.poller.in_round = False
    door.poller._end_round()
    door.settle()
    assert good.answers[stream][0].status == 200
    assert door.endpoint.connections == {drivers[good.sock.getsockname()[1]]}
    assert set(door.endpoint._table.values()) == door.endpoint.connections
    assert (door.values[QUIC_ENDED_DEFECT], door.values[QUIC_OPEN], door.values[CONNECTIONS_OPEN]) == (
        1,
        1,
        1,
    )
    assert 1 <= len(door.seen.crashes) <= 3
    door.seen.crashes.clear()


def test_a_defect_at_the_end_of_one_exchange_ends_the_others_all_the_same(gate):
    door = gate(Script())
    visitor = door.visit()
    for _ in range(2):
        visitor.ask()
    door.settle()
    for exchange in door.handler.exchanges:
        exchange.handler = door.handler

    def broken(exchange):
        door.handler.closed.append(exchange)
        raise ValueError("defect")

    door.handler.downstream_closed = broken
    visitor.quic.close(0x100, "", door.clock.now())
    door.settle()
    assert door.handler.closed == door.handler.exchanges
    assert len(door.seen.crashes) == 2
    door.seen.crashes.clear()
    assert not door.endpoint.connections
    assert not door.endpoint._table
