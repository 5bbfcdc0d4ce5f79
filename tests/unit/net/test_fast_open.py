"""What is remembered of addresses, and a socket that connects with its first write."""

import asyncio
import errno
import select
import socket

import pytest

from headgate.errors import TransportError
from headgate.net.addresses import Address
from headgate.net.fast_open import (
    ACCEPTED,
    LEFT_ALONE,
    MAX_PLACES,
    REFUSED,
    RETRIED,
    FastOpenMemory,
    SynTransport,
    connect_now,
    failure,
    has_answered,
    is_waiting,
)
from headgate.testing.clock import FakeClock

ONE, TWO = Address("ipv4", "192.0.2.1"), Address("ipv6", "2001:db8::1")


def test_only_an_address_that_answered_and_that_the_name_still_has():
    memory = FastOpenMemory()
    assert memory.candidate("a", 443, (ONE, TWO), 0.0) is None
    memory.answered("a", 443, TWO.text(443), 0.3)
    assert memory.candidate("a", 443, (ONE, TWO), 0.0) == TWO
    assert memory.candidate("a", 443, (ONE,), 0.0) is None
    assert memory.candidate("a", 80, (ONE, TWO), 0.0) is None
    assert memory.candidate("b", 443, (ONE, TWO), 0.0) is None
    assert (memory.seconds("a", 443), memory.seconds("b", 443)) == (0.3, 0.0)


def test_an_address_that_is_left_alone_and_all_of_them():
    memory = FastOpenMemory()
    memory.answered("a", 443, ONE.text(443), 0.0)
    memory.leave_alone(ONE.text(443), 100.0)
    assert memory.candidate("a", 443, (ONE,), 100.0 + LEFT_ALONE - 1) is None
    assert memory.candidate("a", 443, (ONE,), 100.0 + LEFT_ALONE) == ONE
    memory.switch_off(1000.0)
    assert memory.candidate("a", 443, (ONE,), 1000.0 + LEFT_ALONE - 1) is None
    assert memory.candidate("a", 443, (ONE,), 1000.0 + LEFT_ALONE) == ONE


def test_places_at_the_limit_and_one_more():
    memory = FastOpenMemory()
    for port in range(1, MAX_PLACES + 1):
        memory.answered("a", port, ONE.text(port), 0.0)
        memory.leave_alone(TWO.text(port), 0.0)
    memory.answered("a", 1, ONE.text(1), 0.0)  # heard of again
    memory.answered("one more", 1, ONE.text(1), 0.0)
    memory.leave_alone(ONE.text(9), 0.0)
    assert memory.candidate("a", 1, (ONE,), 0.0) == ONE
    assert memory.candidate("a", 2, (ONE,), 0.0) is None
    assert repr(memory) == f"<FastOpenMemory {MAX_PLACES} answered, {MAX_PLACES} left alone>"


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    client.setblocking(False)
    yield client, server
    server.close()
    client.close()


class Told(list):
    def __call__(self, outcome, detail):
        self.append((outcome, detail))


class Timers(FakeClock):
    def time(self):
        return self.now()


def test_the_first_byte_settles_it_once(pair):
    client, server = pair
    told, timers = Told(), Timers()
    transport = SynTransport(client, told, timers, 0.25)
    assert transport.early
    assert transport.read(10) is None
    assert transport.write(b"hi") == 2
    assert server.recv(9) == b"hi"
    assert not has_answered(client)
    server.sendall(b"yes")
    server.close()
    assert transport.read(3) == b"yes"
    assert transport.read(3) == b""
    assert has_answered(client)
    assert told == [(REFUSED, "the data of the SYN had to be sent again")]  # it was connected before


def test_an_end_without_a_byte_is_closed(pair):
    client, server = pair
    told = Told()
    transport = SynTransport(client, told, Timers(), 0.25)
    transport.write(b"hi")
    assert server.recv(9) == b"hi"
    server.close()
    assert transport.read(3) == b""
    assert told == [(RETRIED, "it ended without a byte")]


def test_a_reset_without_a_byte_is_closed_too(pair):
    client, server = pair
    told = Told()
    transport = SynTransport(client, told, Timers(), 0.25)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    server.close()
    with pytest.raises(TransportError, match="closed: read: ECONNRESET"):
        transport.read(3)
    assert told == [(RETRIED, "read: ECONNRESET (Connection reset by peer)")]


@pytest.fixture
def unanswered():
    """A socket whose SYN is dropped, since the listener's queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = []
        for _ in range(9):
            sock = socket.socket()
            waiting.append(sock)
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            if is_waiting(sock):
                break
        assert is_waiting(waiting[-1])
        yield waiting[-1]
        for sock in waiting:
            sock.close()


def test_a_syn_that_nobody_answers_is_given_up_and_wakes_whoever_reads(unanswered):
    told, timers = Told(), Timers()
    transport = SynTransport(unanswered, told, timers, 0.25)
    assert transport.write(b"hi") == 0

    async def run():
        await timers.advance(0.24)
        assert told == []
        await timers.advance(0.02)

    asyncio.run(run())
    assert told == [(RETRIED, "a SYN with data was not answered within 250 ms")]
    assert select.select([unanswered], [], [], 5)[0], "it wakes whoever waits for an answer"
    for _ in range(2):
        with pytest.raises(TransportError, match="closed: a SYN with data was not answered") as caught:
            transport.read(10)
        assert caught.value.errno == errno.ETIMEDOUT
    transport.close()


def test_one_that_is_closed_before_is_not_looked_at(pair):
    client, _ = pair
    told, timers = Told(), Timers()
    transport = SynTransport(client, told, timers, 0.25)
    transport.write(b"hi")
    transport.close()
    asyncio.run(timers.advance(1.0))
    assert told == []


def test_a_connect_that_cannot_begin():
    with socket.socket() as sock:
        assert connect_now(sock, Address("ipv4", "127.0.0.1"), 70000) == errno.EINVAL
    assert str(failure("192.0.2.1:443", errno.ECONNREFUSED)) == (
        "econnrefused: 192.0.2.1:443 ECONNREFUSED (Connection refused)"
    )
    assert ACCEPTED == 0
