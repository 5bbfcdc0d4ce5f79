"""Our engine over real UDP sockets, both roles, each in a thread of its own: QUIC and HTTP/3 and nothing above them.

What it serves: GET /bN is N octets of `content(N)`, and so is /bN-anything; a POST is answered with the SHA-256 of
what came. It stands in for the gate where a test wants the engine alone, or what no configuration offers.
"""

import hashlib
import os
import random
import selectors
import socket
import threading
import time
from functools import cache

from tests.unit.engine.tls13.peers import credential, trusting

from headgate.engine.events import NO_BODY, Data, EndOfMessage, Request, Response
from headgate.engine.h3.connection import H3Connection
from headgate.engine.h3.errors import H3ConnectionError
from headgate.engine.h3.events import StreamFailed
from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import accept, connect
from headgate.engine.quic.connection_ids import CID_LENGTH
from headgate.engine.quic.packet import INITIAL, VERSION_1, VERSION_2, destination_of, parse_long_header
from headgate.engine.quic.scheduler import NOBODY
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.settings import ClientSettings, ServerSettings
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


class Joint:
    """One QUIC connection with its HTTP/3 on top, and what is still to be written."""

    def __init__(self, quic, now):
        self.quic = quic
        self.h3 = None
        self.now = now
        self.unwritten = {}
        self.wants_end = {}
        self.failed = []

    def feed(self, data, udp, now):
        """Take in what one read of `udp` brought."""
        self.now = now
        self.quic.receive_batch(data, udp.segment, udp.peer, udp.local, udp.ecn, now)

    def send(self, udp):
        while (batch := self.quic.take_batch(self.now)) is not None:
            udp.send(memoryview(batch.data), batch.segment, batch.peer, batch.local, batch.ecn)

    def pump(self, on_event):
        """Carry octets between QUIC and HTTP/3 until nothing moves; tell events to `on_event`."""
        quic = self.quic
        if not quic.may_use_streams():
            return
        if self.h3 is None:
            self.h3 = H3Connection(quic.is_client, self.now)
            # Our three unidirectional streams have the numbers that HTTP/3 counts on.
            self.own = [quic.streams.open(is_uni=True) for _ in range(3)]
            assert NOBODY not in self.own
        try:
            self._up(on_event)
        except H3ConnectionError as error:
            quic.close(error.code, str(error), self.now)
            return
        self._down()

    def _up(self, on_event):
        h3, streams = self.h3, self.quic.streams
        for stream, code in self.quic.resets:
            h3.receive_reset(stream, code, self.now)
        self.quic.resets.clear()
        for stream, code in self.quic.stops:
            h3.receive_stop(stream, code, self.now)
        self.quic.stops.clear()
        for stream, piece, fin in streams.take_arrived():
            h3.receive_stream(stream, bytes(piece), fin, self.now)
        while (event := h3.next_event()) is not None:
            if isinstance(event, Data):
                streams.consumed(event.stream, len(event.data))
            if isinstance(event, StreamFailed):
                self.failed.append(event)
            on_event(self, event)
        for stream, count in h3.take_consumed():
            streams.consumed(stream, count)

    def _down(self):
        h3, streams = self.h3, self.quic.streams
        for stream, data, fin in h3.take_writes():
            self.unwritten.setdefault(stream, []).append((data, fin))
        streams.take_writable()
        for stream in list(self.unwritten):
            self._write(stream)
        for stream, code in h3.take_resets():
            self.unwritten.pop(stream, None)
            if stream in streams.table:
                streams.reset(stream, code)
        for stream, code in h3.take_stops():
            if stream in streams.table:
                streams.stop(stream, code)
        for stream in list(streams.table):
            if stream & 2 == 0 and stream not in h3.streams and stream not in self.unwritten:
                streams.release(stream)

    def _write(self, stream):
        streams = self.quic.streams
        queue = self.unwritten[stream]
        while queue:
            data, fin = queue[0]
            taken = streams.write(stream, data, fin=fin) if stream in streams.table else len(data)
            if taken < len(data):
                queue[0] = (data[taken:], fin)
                return
            queue.pop(0)
        del self.unwritten[stream]


class Side:
    """A socket, its connections and a thread that moves them."""

    def __init__(self, host):
        sock = bind(host, kind=socket.SOCK_DGRAM)
        sock.setblocking(False)
        self.address = sock.getsockname()[:2]
        self.udp = UdpSocket(sock)
        self.joints = []
        self.fault = None
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._selector.register(sock.fileno(), selectors.EVENT_READ)
        self._buffer = bytearray(RECEIVE_BUFFER)
        self._thread = threading.Thread(target=self._run, name=f"{type(self).__name__} {self.address}")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        with self._lock:
            for joint in self.joints:
                joint.now = time.monotonic()
                joint.quic.close(0x0100, "", joint.now)
                joint.send(self.udp)
        self._done.set()
        self._thread.join(10)
        self._selector.close()
        self.udp.close()
        if self.fault is not None:
            raise self.fault

    def _run(self):
        try:
            while not self._done.is_set():
                due = min((joint.quic.deadline() for joint in self.joints), default=float("inf"))
                timeout = min(max(due - time.monotonic(), 0.0), LONGEST_WAIT)
                ready = self._selector.select(timeout)
                with self._lock:
                    self._turn(bool(ready))
        except Exception as error:
            self.fault = error

    def _turn(self, is_ready):
        now = time.monotonic()
        for _ in range(16 if is_ready else 0):
            size = self.udp.receive(self._buffer)
            if size < 0:
                break
            self.received(bytes(self._buffer[:size]), now)
        for joint in self.joints:
            joint.now = now
            if joint.quic.deadline() <= now:
                joint.quic.on_deadline(now)
            joint.pump(self.on_event)
            joint.send(self.udp)
        self.joints = [joint for joint in self.joints if joint.quic.state is not State.CLOSED]

    def wait(self, ready, seconds=20.0):
        """Return the first true answer of `ready`, asked under the lock."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.fault is not None:
                fault, self.fault = self.fault, None
                raise fault
            with self._lock:
                value = ready()
            if value:
                return value
            time.sleep(0.002)
        raise AssertionError(
            f"waited {seconds} s: {[(each.quic, each.quic.dropped) for each in self.joints]}"
        )


class OurServer(Side):
    """Serves `content`; `connections` keeps every connection that was accepted, for tests to look at."""

    def __init__(self, *, host="127.0.0.1", settings=None, **changes):
        super().__init__(host)
        self.settings = settings or ConnectionSettings()
        self.tls = ServerSettings(**{"select": lambda name: [credential()], **changes})
        self.connections = []
        self.requests = []
        self._routes = {}
        self._bodies = {}

    def received(self, data, now):
        destination = bytes(destination_of(data, 0, len(data), CID_LENGTH))
        joint = self._routes.get(destination) or self._accept(data[: self.udp.segment], destination, now)
        if joint is not None:
            joint.feed(data, self.udp, now)
            self._routes.update(dict.fromkeys(joint.quic.take_new_ids(), joint))

    def _accept(self, first, destination, now):
        if first[0] < 0x80 or len(first) < 1200:
            return None
        header = parse_long_header(first, 0, len(first))
        if header.kind != INITIAL or header.version not in (VERSION_1, VERSION_2):
            return None
        source = os.urandom(CID_LENGTH)
        quic = accept(
            self.tls,
            self.settings,
            os.urandom,
            now,
            time.time(),
            destination=destination,
            source=source,
            peer=self.udp.peer,
            local=self.udp.local,
            make_id=lambda: (os.urandom(CID_LENGTH), os.urandom(16)),
            version=header.version,
        )
        joint = Joint(quic, now)
        self._routes[destination] = self._routes[source] = joint
        self.joints.append(joint)
        self.connections.append(quic)
        return joint

    def on_event(self, joint, event):
        if isinstance(event, Request):
            self.requests.append(event)
            self._bodies[joint, event.stream] = (event, hashlib.sha256())
            if event.body == NO_BODY:
                self.on_event(joint, EndOfMessage(None, event.stream))
        elif isinstance(event, Data):
            self._bodies[joint, event.stream][1].update(event.data)
        elif isinstance(event, EndOfMessage):
            request, hashed = self._bodies.pop((joint, event.stream))
            self._answer(joint.h3, request, hashed)

    def _answer(self, h3, request, hashed):
        if request.method == b"POST":
            status, body = 200, hashed.hexdigest().encode()
        elif request.target.startswith(b"/b"):
            status, body = 200, content_of(request.target[1:].decode())
        else:
            status, body = 404, b"no"
        fields = Fields([], [])
        fields.add(b"content-length", b"%d" % len(body))
        size = NO_BODY if request.method == b"HEAD" or not body else len(body)
        h3.send(Response(status, b"", 11, fields, size, request.stream))
        if size != NO_BODY:
            h3.send(Data(body, request.stream))
            h3.send(EndOfMessage(None, request.stream))


class OurClient(Side):
    """One connection to `server`; `get` and `post` wait for the answer."""

    def __init__(
        self, server, *, settings=None, session=None, token=b"", host="", version=1, early=False, **changes
    ):
        super().__init__(host or ("::1" if ":" in server[0] else "127.0.0.1"))
        tls = ClientSettings(**{"server_name": NAME, "verify": trusting, **changes})
        now = time.monotonic()
        self.quic = connect(
            tls,
            settings or ConnectionSettings(),
            os.urandom,
            now,
            time.time(),
            peer=server,
            session=session,
            token=token,
            version=version,
            early=early,
        )
        self.joint = Joint(self.quic, now)
        self.joints.append(self.joint)
        self.answers = {}

    def received(self, data, now):
        self.joint.feed(data, self.udp, now)

    def on_event(self, joint, event):
        if isinstance(event, Response):
            if event.status >= 200:
                self.answers[event.stream] = [event, bytearray(), event.body == NO_BODY]
        elif isinstance(event, Data):
            self.answers[event.stream][1].extend(event.data)
        elif isinstance(event, EndOfMessage):
            self.answers[event.stream][2] = True

    def shaken(self, seconds=20.0):
        def shaken():
            assert self.quic.state is State.OPEN, self.quic.end
            return self.quic.is_confirmed and self.joint.h3 is not None

        self.wait(shaken, seconds)
        return self

    def ask(self, method, path, body=b""):
        """Send a request and return its stream."""
        self.wait(lambda: self.joint.h3 is not None)
        opened = [NOBODY]

        def may_open():
            opened[0] = self.quic.streams.open(is_uni=False)
            return opened[0] != NOBODY

        self.wait(may_open)
        stream = opened[0]
        with self._lock:
            fields = Fields([], [])
            fields.add(b"host", NAME)
            request = Request(method, path, 11, fields, len(body) if body else NO_BODY)
            self.joint.h3.send(request)
            assert request.stream == stream
            if body:
                self.joint.h3.send(Data(body, stream))
                self.joint.h3.send(EndOfMessage(None, stream))
            return stream

    def answer(self, stream, seconds=30.0):
        """Wait for the whole answer: (status, content)."""

        def ended():
            found = self.answers.get(stream)
            assert self.quic.state is State.OPEN, self.quic.end
            assert not self.joint.failed, self.joint.failed
            return found if found and found[2] else None

        response, body, _ = self.wait(ended, seconds)
        return response.status, bytes(body)

    def get(self, path, seconds=30.0):
        return self.answer(self.ask(b"GET", path), seconds)

    def post(self, path, body, seconds=30.0):
        return self.answer(self.ask(b"POST", path, body), seconds)
