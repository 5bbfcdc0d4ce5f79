"""Origins and clients that look the same in HTTP/1.1 and in HTTP/2, so that one test asks what a gate between any two
of them does to a message.

An origin is a script that gets a `Call`: what was asked, piece by piece, and the means to answer piece by piece.

    def script(call):
        call.respond(200, [("x-saw", call.get("host"))])
        while piece := call.read():
            call.send(piece)
        call.end([("x-sum", "1")])

A client opens an `Ask`, the same from the other side; `ask()` does all of it at once and returns an `Answer`. HTTP/2
is spoken by the library h2, on both sides. Every wait ends after `PATIENCE`.
"""

import queue
import random
import select
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field
from functools import cache

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from headgate.testing.origin import Origin, Wire, connect

PATIENCE = 20.0
NO_CONTENT = (204, 304)


@cache
def content(size):
    """The same octets for the same size, everywhere."""
    return random.Random(size).randbytes(size)


def octets(pairs):
    """Return fields as octets: what is above ASCII is one octet each, as on a line of HTTP/1.1."""
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def text(pairs):
    """Return fields as text."""
    return [(_text(name), _text(value)) for name, value in pairs]


def _text(value):
    return value.decode("latin-1") if isinstance(value, bytes) else value


class Message:
    """Whatever has fields."""

    fields = ()

    def get(self, name):
        """The field's values joined by commas, None when it is absent."""
        found = self.all(name)
        return ", ".join(found) if found else None

    def all(self, name):
        """The values of the field's lines."""
        return [value for key, value in self.fields if key == name]


@dataclass
class Answer(Message):
    """An answer as a client has it in the end. `reset` is the code of an RST_STREAM, -1 for one of TCP."""

    status: int = 0
    fields: list = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: list = field(default_factory=list)
    interim: list = field(default_factory=list)
    ended: bool = False
    reset: int | None = None


# HTTP/1.1


def read_pieces(wire, head, *, is_request, to_head=False):
    """Yield the content that follows `head` as it comes; return its trailers."""
    if not is_request and (to_head or head.status in NO_CONTENT):
        return []
    if head.get("transfer-encoding") is not None:
        while size := int(wire.read_line().partition(b";")[0], 16):
            yield wire.read_exactly(size)
            wire.read_line()
        lines = []
        while line := wire.read_line():
            name, _, value = line.decode("latin-1").partition(":")
            lines.append((name.lower(), value.strip()))
        return lines
    length = head.get("content-length")
    left = int(length) if length is not None else (0 if is_request else -1)
    while left:
        if not wire.buffer:
            wire.buffer = wire.sock.recv(65536)
        piece, wire.buffer = (
            wire.buffer[:left] if left > 0 else wire.buffer,
            b"" if left < 0 else wire.buffer[left:],
        )
        if not piece:
            if left > 0:
                raise EOFError(f"the connection ended {left} octets too early")
            break
        left -= len(piece) if left > 0 else 0
        yield piece
    return []


class H1Content:
    """Reads what a head announces."""

    def __init__(self, pieces):
        self.trailers = None
        self._pieces = pieces

    def read(self):
        try:
            return next(self._pieces)
        except StopIteration as end:
            if self.trailers is None:
                self.trailers = end.value or []
            return b""


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def lines(pairs):
    return "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("latin-1")


class H1Call(Message):
    """One request of a connection of HTTP/1.1."""

    version = 11

    def __init__(self, wire, head):
        self.wire = wire
        self.method, self.path = head.words[0], head.target
        self.fields = head.fields
        self.authority = head.get("host")
        self._content = H1Content(read_pieces(wire, head, is_request=True))
        self._is_chunked = False
        self.keeps = True

    def read(self):
        return self._content.read()

    @property
    def trailers(self):
        return self._content.trailers

    def proceed(self):
        """Send 100 Continue."""
        self.inform(100, [])

    def inform(self, status, fields):
        self.wire.send(b"HTTP/1.1 %d Early\r\n%b\r\n" % (status, lines(fields)))

    def respond(self, status, fields=(), *, to_end=False):
        """Send the head. Content is chunked unless `fields` has a length; `to_end`: until the connection ends."""
        names = [name for name, _ in fields]
        has_content = self.method != "HEAD" and status not in NO_CONTENT
        self._is_chunked = has_content and "content-length" not in names and not to_end
        self.keeps = not to_end
        framing = b"Transfer-Encoding: chunked\r\n" if self._is_chunked else b""
        self.wire.send(b"HTTP/1.1 %d Whatever\r\n%b%b\r\n" % (status, lines(fields), framing))

    def send(self, data):
        self.wire.send(chunk(data) if self._is_chunked else data)

    def end(self, trailers=()):
        if self._is_chunked:
            self.wire.send(b"0\r\n%b\r\n" % lines(trailers))

    def reset(self):
        self.keeps = False
        self.wire.reset()

    def wait_gone(self):
        """Wait until the gate gives this request up."""
        assert self.wire.ended() or self.wire.read_to_end() is not None
        self.keeps = False


class H1Origin(Origin):
    """An origin of HTTP/1.1."""

    def __init__(self, script):
        super().__init__(self._calls)
        self.answers = script

    def _calls(self, wire):
        while head := wire.read_head():
            call = H1Call(wire, head)
            self.answers(call)
            if not call.keeps:
                return
            while call.read():
                pass


class H1Ask:
    """One request of a client of HTTP/1.1, on a connection of its own."""

    def __init__(self, client, method, path, fields, has_content, protocol):
        self.method = method
        self.wire = client.open()
        names = [name for name, _ in fields]
        self._is_chunked = has_content and "content-length" not in names
        head = f"{method} {path} HTTP/1.1\r\nHost: {client.authority}\r\n".encode()
        if protocol:
            head += f"Connection: Upgrade\r\nUpgrade: {protocol}\r\n".encode()
        framing = b"Transfer-Encoding: chunked\r\n" if self._is_chunked else b""
        self.wire.send(head + lines(fields) + framing + b"\r\n")
        self.answer = Answer()
        self._content = None

    def send(self, data):
        self.wire.send(chunk(data) if self._is_chunked else data)

    def end(self, trailers=()):
        if self._is_chunked:
            self.wire.send(b"0\r\n%b\r\n" % lines(trailers))

    def interim(self):
        """Wait for the next interim answer."""
        head = self.wire.read_head()
        assert head.status < 200, head
        self.answer.interim.append((head.status, head.fields))
        return head.status

    def head(self):
        """Wait for the head of the final answer."""
        while (head := self.wire.read_head()).status < 200:
            self.answer.interim.append((head.status, head.fields))
            if head.status == 101:
                return self._switched(head)
        self.answer.status, self.answer.fields = head.status, head.fields
        pieces = read_pieces(self.wire, head, is_request=False, to_head=self.method == "HEAD")
        self._content = H1Content(pieces)
        return self.answer

    def _switched(self, head):
        self.answer.interim.pop()
        self.answer.status, self.answer.fields = 200, head.fields
        return self.answer

    def read(self):
        """Return the next piece of content, b"" at the end."""
        if self._content is None:
            data, self.wire.buffer = self.wire.buffer, b""
            return data or self.wire.sock.recv(65536)
        piece = self._content.read()
        if not piece:
            self.answer.trailers, self.answer.ended = self._content.trailers, True
        return piece

    def rest(self):
        """Wait for all that is left of the answer."""
        try:
            if not self.answer.status:
                self.head()
            while piece := self.read():
                self.answer.body += piece
        except ConnectionResetError:
            self.answer.reset = -1
        except EOFError:
            self.answer.reset = -1
        return self.answer

    def cut(self):
        """Give up."""
        self.wire.reset()

    def close(self):
        self.wire.close()


class Client:
    """What clients of both versions share."""

    def ask(self, method="GET", path="/", fields=(), body=None, trailers=(), protocol=""):
        """Ask, and wait for the whole answer."""
        one = self.begin(method, path, fields, has_content=body is not None, protocol=protocol)
        if body is not None:
            try:
                if body:
                    one.send(body)
                one.end(trailers)
            except ConnectionError:
                pass  # refused before it was all there: the answer says why
        answer = one.rest()
        one.close()
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class InTurns:
    """A socket of TLS that one thread may read while another writes: a socket of `ssl` itself is one thread's at a
    time, and mixes up octets when it is not."""

    def __init__(self, sock):
        sock.setblocking(False)
        self._sock = sock
        self._turn = threading.Lock()

    def settimeout(self, seconds):
        assert seconds == PATIENCE

    def recv(self, size):
        return self._act(self._sock.recv, size)

    def sendall(self, data):
        left = memoryview(data)
        while left:
            sent = self._act(self._sock.send, left)
            left = left[sent:]

    def _act(self, act, argument):
        end = time.monotonic() + PATIENCE
        while True:
            with self._turn:
                try:
                    return act(argument)
                except ssl.SSLWantReadError:
                    wanted = select.POLLIN
                except ssl.SSLWantWriteError:
                    wanted = select.POLLOUT
            waiting = select.poll()
            waiting.register(self._sock, wanted)
            if not waiting.poll(max(end - time.monotonic(), 0.0) * 1000):
                raise TimeoutError("timed out")

    def setsockopt(self, *option):
        self._sock.setsockopt(*option)

    def close(self):
        self._sock.close()


class H1Client(Client):
    """A client of HTTP/1.1, over TLS with `context`."""

    version = 11

    def __init__(self, port, *, context=None, authority="a.test"):
        self.port, self.context, self.authority = port, context, authority

    def open(self):
        if self.context is None:
            return connect(self.port)
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        name = self.authority.partition(":")[0]
        return Wire(InTurns(self.context.wrap_socket(sock, server_hostname=name)))

    def begin(self, method="GET", path="/", fields=(), *, has_content=False, protocol=""):
        return H1Ask(self, method, path, fields, has_content, protocol)

    def close(self):
        return


# HTTP/2


class Tls:
    """A client's TLS in memory: a socket of `ssl` may not be read and written by two threads at once."""

    def __init__(self, sock, context, name):
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        context.set_alpn_protocols(["h2"])
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=name)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                sock.sendall(self._out.read())
                self._in.write(sock.recv(65536))
        sock.sendall(self._out.read())
        assert self._tls.selected_alpn_protocol() == "h2"

    def decrypt(self, data):
        self._in.write(data)
        found = []
        try:
            while piece := self._tls.read(65536):
                found.append(piece)
        except ssl.SSLWantReadError:
            pass
        return b"".join(found)

    def encrypt(self, data):
        self._tls.write(data)
        return self._out.read()


class Talk:
    """A connection of the library h2, with a thread that reads its socket and one that writes it.

    `changed` is notified of everything that happened; what is read of is in `streams`.
    """

    def __init__(self, sock, *, is_client, settings=None, window=1 << 24, tls=None):
        sock.settimeout(None)
        self.sock = sock
        self.tls = tls
        self._output = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="h2 writer", daemon=True)
        self._writer.start()
        self.http = H2Connection(
            H2Configuration(
                client_side=is_client,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.changed = threading.Condition()
        self.streams = {}
        self.goaway = None
        self.is_over = False
        # h2 has these as defaults of its own; they are on the wire only when they are changed.
        self.http.initiate_connection()
        self.http.update_settings(
            {
                SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
                **(settings or {}),
            }
        )
        self.http.increment_flow_control_window(window)
        self.flush()

    def flush(self):
        """Hand over what h2 has to say; only with the lock, or before `run`."""
        data = self.http.data_to_send()
        if data:
            self._output.put(data if self.tls is None else self.tls.encrypt(data))

    def _write(self):
        # Nobody who holds the lock waits for the socket: the gate may wait for us to read.
        while data := self._output.get():
            try:
                self.sock.sendall(data)
            except OSError:
                return

    def run(self):
        """Read until the connection ends."""
        try:
            while data := self.sock.recv(65536):
                with self.changed:
                    if self.tls is not None:
                        data = self.tls.decrypt(data)
                    for event in self.http.receive_data(data):
                        self.seen(event)
                    self.flush()
                    self.changed.notify_all()
        except (OSError, ProtocolError):
            pass
        with self.changed:
            self.flush()
            self.is_over = True
            self.changed.notify_all()
        self._output.put(b"")

    def seen(self, event):
        """Note an event; with the lock."""
        if isinstance(event, ConnectionTerminated):
            self.goaway = int(event.error_code)
        side = self.streams.get(getattr(event, "stream_id", None))
        if side is None:
            return
        if isinstance(event, DataReceived):
            side.pieces.append(event.data)
            side.unread += event.flow_controlled_length
        elif isinstance(event, TrailersReceived):
            side.trailers = text(event.headers)
        elif isinstance(event, StreamEnded):
            side.ended = True
        elif isinstance(event, StreamReset):
            side.reset = int(event.error_code)

    def wait_settings(self):
        """Wait for the peer's first SETTINGS: only then may an extended CONNECT be sent (RFC 8441 section 3)."""
        with self.changed:
            self.wait("SETTINGS", lambda: self.http.remote_settings.enable_connect_protocol)

    def wait(self, what, ready, seconds=PATIENCE):
        """Wait, with the lock, until `ready()`."""
        assert self.changed.wait_for(ready, seconds), f"waited {seconds} s for {what}; GOAWAY {self.goaway}"

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class Side:
    """One side of a stream: what came of it, and the writing of it."""

    def __init__(self, talk, stream):
        self.talk, self.stream = talk, stream
        self.pieces = []
        self.unread = 0
        self.trailers = []
        self.ended = False
        self.reset = None

    @property
    def is_over(self):
        return self.ended or self.reset is not None or self.talk.is_over

    def read(self):
        """Return what came since the last time, wait for it if need be; b"" at the end.

        Raises `ConnectionResetError`: the stream was reset, or the connection has ended inside it.
        """
        talk = self.talk
        with talk.changed:
            talk.wait(f"content of stream {self.stream}", lambda: self.pieces or self.is_over)
            if not self.pieces:
                if not self.ended:
                    raise ConnectionResetError(self.reset)
                return b""
            data = b"".join(self.pieces)
            self.pieces.clear()
            unread, self.unread = self.unread, 0
            if unread and not talk.is_over:
                try:
                    talk.http.acknowledge_received_data(unread, self.stream)
                except ProtocolError:
                    pass  # the stream was reset meanwhile
                talk.flush()
            return data

    def send(self, data):
        """Send content as fast as windows open. Raises `ConnectionResetError`."""
        talk, at = self.talk, 0
        while at < len(data):
            with talk.changed:

                def may_send():
                    if self.reset is not None or talk.is_over:
                        raise ConnectionResetError(self.reset)
                    return talk.http.local_flow_control_window(self.stream) > 0

                talk.wait(f"a window of stream {self.stream}", may_send)
                room = min(
                    talk.http.local_flow_control_window(self.stream), talk.http.max_outbound_frame_size
                )
                talk.http.send_data(self.stream, data[at : at + room])
                talk.flush()
                at += room

    def end(self, trailers=()):
        with self.talk.changed:
            if self.reset is not None:
                raise ConnectionResetError(self.reset)
            if trailers:
                self.talk.http.send_headers(self.stream, octets(trailers), end_stream=True)
            else:
                self.talk.http.end_stream(self.stream)
            self.talk.flush()

    def cut(self, code=ErrorCodes.CANCEL):
        """Reset the stream."""
        with self.talk.changed:
            self.talk.http.reset_stream(self.stream, code)
            self.talk.flush()


class H2Call(Message):
    """One request on a stream of an origin."""

    version = 20

    def __init__(self, side, fields):
        self.side = side
        self.pseudo = {name: value for name, value in fields if name.startswith(":")}
        self.fields = [pair for pair in fields if not pair[0].startswith(":")]
        self.method, self.path = self.pseudo[":method"], self.pseudo.get(":path")
        self.authority = self.pseudo.get(":authority")
        self._has_ended = False

    def read(self):
        return self.side.read()

    @property
    def trailers(self):
        return self.side.trailers

    def proceed(self):
        self.inform(100, [])

    def inform(self, status, fields):
        self._head([(":status", str(status)), *fields])

    def respond(self, status, fields=(), *, to_end=False):
        self._has_ended = self.method == "HEAD" or status in NO_CONTENT
        self._head([(":status", str(status)), *fields], end=self._has_ended)

    def _head(self, fields, end=False):
        talk = self.side.talk
        with talk.changed:
            talk.http.send_headers(self.side.stream, octets(fields), end_stream=end)
            talk.flush()

    def send(self, data):
        if not self._has_ended:
            self.side.send(data)

    def end(self, trailers=()):
        if not self._has_ended:
            self.side.end(trailers)

    def reset(self):
        self.side.cut(ErrorCodes.INTERNAL_ERROR)

    def wait_gone(self):
        talk = self.side.talk
        with talk.changed:
            talk.wait("the reset", lambda: self.side.reset is not None or talk.is_over)


class H2Origin(Origin):
    """An origin of HTTP/2, in the clear."""

    def __init__(self, script, **settings):
        super().__init__(self._talk)
        self.answers = script
        self.settings = settings

    def _talk(self, wire):
        talk = Talk(wire.sock, is_client=False, settings=self.settings)
        seen = talk.seen

        def noted(event):
            if isinstance(event, RequestReceived):
                side = talk.streams[event.stream_id] = Side(talk, event.stream_id)
                call = H2Call(side, text(event.headers))
                threading.Thread(target=self._answer, args=(call,), daemon=True).start()
            else:
                seen(event)

        talk.seen = noted
        talk.run()

    def _answer(self, call):
        try:
            self.answers(call)
        except (ConnectionError, ProtocolError):
            pass  # the gate gave it up
        except BaseException as error:
            self.errors.append(error)


class H2Ask(Side):
    """One request of a client of HTTP/2."""

    def __init__(self, client, method, path, fields, has_content, protocol):
        talk = client.talk
        self.answer = Answer()
        pseudo = [(":method", "CONNECT" if protocol else method), (":scheme", client.scheme)]
        pseudo += [(":authority", client.authority), (":path", path)]
        if protocol:
            pseudo.append((":protocol", protocol))
        with talk.changed:
            super().__init__(talk, talk.http.get_next_available_stream_id())
            talk.streams[self.stream] = self
            head = octets([*pseudo, *fields])
            talk.http.send_headers(self.stream, head, end_stream=not has_content and not protocol)
            talk.flush()

    def interim(self):
        talk, count = self.talk, len(self.answer.interim)
        with talk.changed:
            talk.wait("an interim answer", lambda: len(self.answer.interim) > count or self.is_over)
            return self.answer.interim[count][0]

    def head(self):
        with self.talk.changed:
            self.talk.wait("the head", lambda: self.answer.status or self.is_over)
            return self.answer

    def rest(self):
        self.head()
        try:
            while piece := self.read():
                self.answer.body += piece
            self.answer.trailers, self.answer.ended = self.trailers, True
        except ConnectionResetError:
            self.answer.reset = -1 if self.reset is None else self.reset
        return self.answer

    def close(self):
        return


class H2Client(Client):
    """A connection of HTTP/2, over TLS with `context`, else in the clear with prior knowledge."""

    version = 20

    def __init__(self, port, *, context=None, authority="a.test", **options):
        self.authority = authority
        self.scheme = "http" if context is None else "https"
        sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = Tls(sock, context, authority.partition(":")[0]) if context else None
        self.talk = Talk(sock, is_client=True, tls=tls, **options)
        seen = self.talk.seen

        def noted(event):
            if isinstance(event, InformationalResponseReceived):
                fields = text(event.headers)
                self.talk.streams[event.stream_id].answer.interim.append((int(fields[0][1]), fields[1:]))
            elif isinstance(event, ResponseReceived):
                fields = text(event.headers)
                answer = self.talk.streams[event.stream_id].answer
                answer.status, answer.fields = int(fields[0][1]), fields[1:]
            else:
                seen(event)

        self.talk.seen = noted
        self._thread = threading.Thread(target=self.talk.run, name="h2 client", daemon=True)
        self._thread.start()

    def begin(self, method="GET", path="/", fields=(), *, has_content=False, protocol=""):
        return H2Ask(self, method, path, fields, has_content, protocol)

    def close(self):
        self.talk.close()
        self._thread.join(5)


def until(what, ready, seconds=PATIENCE):
    """Wait for something that no condition tells of."""
    end = time.monotonic() + seconds
    while not (value := ready()):
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.01)
    return value
