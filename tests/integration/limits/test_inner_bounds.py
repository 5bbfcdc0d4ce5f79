"""Bounds inside the data plane that no setting moves: at each of them, and one beyond."""

import asyncio
import os
import threading

import pytest
from tests.unit.proxy.data_path import DataPath

from headgate.connection.downstream import HTTP, LINGER, MAX_DISCARD, MAX_LINGER
from headgate.connection.stream_driver import READ_MAX, READ_MIN
from headgate.net import system_lookup
from headgate.net.poller import MAX_EVENTS, READ, Pollable, Poller
from headgate.net.resolver import MAX_SYSTEM_THREADS, Resolver, ResolverSettings
from headgate.testing.memory import MemoryTransport

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
NO = b"HTTP/1.1 413 Large\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def path():
    one = DataPath()
    yield one
    one.close()
    assert one.seen.crashes == []


def chunk(size):
    return b"%x\r\n%b\r\n" % (size, bytes(size))


def test_one_wake_up_hands_out_so_many_events():
    class Bell(Pollable):
        def __init__(self):
            self.fd = os.eventfd(1)
            self.rung = 0

        def on_readable(self):
            os.eventfd_read(self.fd)
            self.rung += 1

    poller = Poller()
    bells = [Bell() for _ in range(MAX_EVENTS + 1)]
    try:
        for bell in bells:
            poller.add(bell.fd, bell, READ)
        poller.dispatch()
        assert sum(bell.rung for bell in bells) == MAX_EVENTS
        poller.dispatch()
        assert [bell.rung for bell in bells] == [1] * (MAX_EVENTS + 1), "the one that was left out comes next"
    finally:
        poller.close()
        for bell in bells:
            os.close(bell.fd)


def test_a_read_grows_to_its_bound_and_shrinks_again(path):
    client = path.client()
    path.send(client, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n")

    class Asked(MemoryTransport):
        def __init__(self, real):
            self.real = real
            self.limits = []

        def fileno(self):
            return self.real.fileno()

        def read(self, limit):
            self.limits.append(limit)
            return self.real.read(limit)

        def pending(self):
            return self.real.pending()

        def write(self, data):
            return self.real.write(data)

        def close(self):
            self.real.close()

    asked = Asked(client.transport)
    client.transport = asked
    asked.real.incoming += [bytes(READ_MAX + 1)] * 6
    while asked.real.incoming:
        client.on_readable()
    assert asked.limits[0] == READ_MIN
    assert max(asked.limits) == READ_MAX
    for _ in range(10):
        asked.real.incoming.append(b"x")
        client.on_readable()
    assert asked.limits[-1] == READ_MIN
    client.transport = asked.real


@pytest.mark.parametrize(("beyond", "phase"), [(0, HTTP), (1, LINGER)])
def test_content_that_nobody_wants_is_read_away_up_to_a_bound(path, beyond, phase):
    client = path.client()
    path.send(client, CHUNKED)
    path.send(path.origin(), NO)
    path.send(client, chunk(MAX_DISCARD))
    assert client.phase == HTTP
    if beyond:
        path.send(client, chunk(beyond))
    assert client.phase == phase
    assert client.transport.ended == (phase == LINGER)


@pytest.mark.parametrize(("size", "phase"), [(MAX_DISCARD, HTTP), (MAX_DISCARD + 1, LINGER)])
def test_content_announced_beyond_that_bound_is_not_even_begun(path, size, phase):
    client = path.client()
    path.send(client, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    path.send(path.origin(), NO)
    assert client.phase == phase


def test_lingering_reads_so_much_and_no_more(path):
    client = path.client()
    path.send(client, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (1 << 40))
    path.send(path.origin(), NO)
    piece = bytes(READ_MIN)  # the size that a read has as long as nothing more comes at once
    for _ in range(MAX_LINGER // len(piece)):
        client.transport.incoming.append(piece)
        client.on_readable()
    assert not client.closed
    path.send(client, b"x")
    assert client.closed


def test_so_many_threads_may_hang_in_getaddrinfo(monkeypatch):
    """The others wait for a place instead of taking one more thread each."""
    inside = threading.Semaphore(0)
    release = threading.Event()

    def hang(host, *_, **__):
        inside.release()
        assert release.wait(20)
        return [(2, 1, 6, "", ("192.0.2.1", 0))]

    monkeypatch.setattr(system_lookup.socket, "getaddrinfo", hang)

    def hanging():
        return [thread for thread in threading.enumerate() if thread.name.startswith("getaddrinfo")]

    async def main():
        resolver = Resolver(ResolverSettings(system=True))
        names = [f"host{index}.example" for index in range(MAX_SYSTEM_THREADS + 1)]
        tasks = [asyncio.ensure_future(resolver.resolve(name, timeout=20)) for name in names]
        try:
            for _ in range(MAX_SYSTEM_THREADS):
                assert await asyncio.to_thread(inside.acquire, timeout=10)
            assert len(hanging()) == MAX_SYSTEM_THREADS
            assert not inside.acquire(blocking=False)
            release.set()
            assert len(await asyncio.gather(*tasks)) == MAX_SYSTEM_THREADS + 1
        finally:
            release.set()
            await resolver.close()

    asyncio.run(main())
