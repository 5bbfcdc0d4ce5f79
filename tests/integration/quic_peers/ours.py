"""A client of our engine over a real UDP socket, in a thread of its own: QUIC and HTTP/3 and nothing above them.

Everybody here serves `content(N)` at /bN and at /bN-anything; who takes a POST answers with the SHA-256 of what came.
"""

import hashlib
import os
import random
import selectors
import socket
import threading
import time
from functools import cache

from tests.unit.engine.tls13.peers import trusting

from headgate.engine.events import NO_BODY, Data, EndOfMessage, Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.errors import H3ConnectionError
from headgate.engine.message.events import StreamFailed
from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import connect
from headgate.engine.quic.scheduler import NOBODY
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.settings import ClientSettings
from headgate.http.fields import Fields
from headgate.net.udp import RECEIVE_BUFFER, UdpSocket
from headgate.testing.relay import bind

LONGEST_WAIT = 0.05
NAME = b"a.test"


@cache
def content(size):
    """The same octets for the same size, on every side."""
    return random.Random(size).randbytes(size)


def content_of(name):
    """What is served as `name`: "b1000", or "b1000-7" where one client asks for the same several times.

    Not "1000": for digits alone gtlsserver makes up zeros."""
    return content(int(name[1:].partition("-")[0]))


def digest(data):
    return hashlib.sha256(data).hexdigest()


class OurClient:
    """One connection to `server`; `get` and `post` wait for the answer. `quic` may be looked at inside `wait`."""

    def __init__(
        self, server, *, settings=None, session=None, token=b"", host="", version=1, early=False, **tls
    ):
        sock = bind(host or ("::1" if ":" in server[0] else "127.0.0.1"), kind=socket.SOCK_DGRAM)
        sock.setblocking(False)
        self.udp = UdpSocket(sock)
        self.quic = connect(
            ClientSettings(**{"server_name": NAME, "verify": trusting, **tls}),
            settings or ConnectionSettings(),
            os.urandom,
            time.monotonic(),
            time.time(),
            peer=server,
            session=session,
            token=token,
            version=version,
            early=early,
        )
        self.h3 = None
        self.answers = {}
        self.failed = []
        self.fault = None
        self._unwritten = {}
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock.fileno(), selectors.EVENT_READ)
        self._buffer = bytearray(RECEIVE_BUFFER)
        self._thread = threading.Thread(target=self._run, name=repr(self.quic))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        with self._lock:
            self.quic.close(0x0100, "", time.monotonic())
            self._send(time.monotonic())
        self._done.set()
        self._thread.join(10)
        self._selector.close()
        self.udp.close()
        if self.fault is not None:
            raise self.fault

    # What tests ask for

    def wait(self, ready, seconds=20.0):
        """Return the first true answer of `ready`, asked under the lock."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.fault is not None:
                fault, self.fault = self.fault, None
                raise fault
            with self._lock:
                assert self.quic.state is State.OPEN, self.quic.end
                assert not self.failed, self.failed
                value = ready()
            if value:
                return value
            time.sleep(0.002)
        raise AssertionError(f"waited {seconds} s: {self.quic} {self.quic.dropped}")

    def shaken(self, seconds=20.0):
        self.wait(lambda: self.quic.is_confirmed and self.h3 is not None, seconds)
        return self

    def ask(self, method, path, body=b""):
        """Send a request, as soon as one may be sent, and return its stream."""
        opened = [NOBODY]

        def may_open():
            if self.h3 is not None:
                opened[0] = self.quic.streams.open(is_uni=False)
            return opened[0] != NOBODY

        self.wait(may_open)
        (stream,) = opened
        with self._lock:
            fields = Fields([b"host"], [b"Host: " + NAME])
            request = Request(method, path, 11, fields, len(body) if body else NO_BODY)
            self.h3.send(request)
            assert request.stream == stream
            if body:
                self.h3.send(Data(body, stream))
                self.h3.send(EndOfMessage(None, stream))
            return stream

    def answer(self, stream, seconds=30.0):
        """Wait for the whole answer: (status, content)."""

        def ended():
            found = self.answers.get(stream)
            return found if found and found[2] else None

        response, body, _ = self.wait(ended, seconds)
        return response.status, bytes(body)

    # The thread

    def _run(self):
        try:
            while not self._done.is_set():
                timeout = min(max(self.quic.deadline() - time.monotonic(), 0.0), LONGEST_WAIT)
                ready = self._selector.select(timeout)
                with self._lock:
                    self._turn(bool(ready))
        except Exception as error:
            self.fault = error

    def _turn(self, is_ready):
        now = time.monotonic()
        udp, quic = self.udp, self.quic
        for _ in range(16 if is_ready else 0):
            size = udp.receive(self._buffer)
            if size < 0:
                break
            data = bytes(self._buffer[:size])
            quic.receive_batch(data, udp.segment, udp.peer, udp.local, udp.ecn, now)
        if quic.deadline() <= now:
            quic.on_deadline(now)
        if quic.may_use_streams() and quic.state is State.OPEN:
            try:
                self._up(now)
                self._down()
            except H3ConnectionError as error:
                quic.close(error.code, str(error), now)
        self._send(now)

    def _send(self, now):
        while (batch := self.quic.take_batch(now)) is not None:
            self.udp.send(memoryview(batch.data), batch.segment, batch.peer, batch.local, batch.ecn)

    def _up(self, now):
        """Carry what came to HTTP/3, and what that makes of it to `answers`."""
        streams = self.quic.streams
        h3 = self.h3
        if h3 is None:
            h3 = self.h3 = H3Connection(True, now)
            # Our three unidirectional streams have the numbers that HTTP/3 counts on.
            assert NOBODY not in [streams.open(is_uni=True) for _ in range(3)]
        for stream, code in self.quic.resets:
            h3.receive_reset(stream, code, now)
        self.quic.resets.clear()
        for stream, code in self.quic.stops:
            h3.receive_stop(stream, code)
        self.quic.stops.clear()
        for stream, piece, fin in streams.take_arrived():
            h3.receive_stream(stream, bytes(piece), fin, now)
        while (event := h3.next_event()) is not None:
            self._note(event)
        for stream, count in h3.take_consumed():
            streams.consumed(stream, count)

    def _note(self, event):
        if isinstance(event, Response):
            if event.status >= 200:
                self.answers[event.stream] = [event, bytearray(), event.body == NO_BODY]
        elif isinstance(event, Data):
            self.quic.streams.consumed(event.stream, len(event.data))
            self.answers[event.stream][1].extend(event.data)
        elif isinstance(event, EndOfMessage):
            self.answers[event.stream][2] = True
        elif isinstance(event, StreamFailed):
            self.failed.append(event)

    def _down(self):
        h3, streams = self.h3, self.quic.streams
        for stream, data, fin in h3.take_writes():
            self._unwritten.setdefault(stream, []).append((data, fin))
        streams.take_writable()
        for stream in list(self._unwritten):
            self._write(stream)
        for stream, code in h3.take_resets():
            self._unwritten.pop(stream, None)
            if stream in streams.table:
                streams.reset(stream, code)
        for stream, code in h3.take_stops():
            if stream in streams.table:
                streams.stop(stream, code)
        for stream in list(streams.table):
            if stream & 2 == 0 and stream not in h3.streams and stream not in self._unwritten:
                streams.release(stream)

    def _write(self, stream):
        streams = self.quic.streams
        queue = self._unwritten[stream]
        while queue:
            data, fin = queue[0]
            taken = streams.write(stream, data, fin=fin) if stream in streams.table else len(data)
            if taken < len(data):
                queue[0] = (data[taken:], fin)
                return
            queue.pop(0)
        del self._unwritten[stream]
