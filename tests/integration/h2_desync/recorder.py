"""Origins for desync tests: of HTTP/1.1, keeping every octet it gets, and of HTTP/2, saying what it is told.

What a strict parser (h11) makes of what arrived is kept beside the octets: a request that is complete, one that is
not, or none at all.
"""

import contextlib
import socket
import threading
import time

import h11
import hpack

from headgate.testing.h2_raw import PREFACE, frame, settings, settings_ack, window_update

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Arrived:
    """A request as far as it came; `octets` is all of its connection."""

    def __init__(self, head):
        self.method = head.method
        self.target = head.target
        self.fields = [(bytes(name), bytes(value)) for name, value in head.headers]
        self.content = b""
        self.trailers = []
        self.is_complete = False

    def __repr__(self):
        return f"<Arrived {self.method} {self.target} {self.fields} {self.content!r} {self.is_complete}>"

    def get(self, name):
        return [value for key, value in self.fields if key == name]


class _Server:
    def __init__(self):
        self.lock = threading.Lock()
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.sock.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.open = set()

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        for conn in list(self.open):
            with contextlib.suppress(OSError):
                conn.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)

    def _accept(self):
        while True:
            try:
                conn, _ = self.sock.accept()
            except OSError:
                return
            conn.settimeout(20)
            self.open.add(conn)
            thread = threading.Thread(target=self._guard, args=(conn,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _guard(self, conn):
        with conn, contextlib.suppress(OSError):
            self.serve(conn)
        self.open.discard(conn)

    def serve(self, conn):
        raise NotImplementedError


class Recorder(_Server):
    """An origin of HTTP/1.1. `requests` in the order of their heads, `octets` of all connections in turn."""

    def __init__(self):
        super().__init__()
        self.requests = []
        self.octets = bytearray()
        self.refused = []
        self.closed = 0

    def serve(self, conn):
        parser = h11.Connection(h11.SERVER)
        got = True
        while got:
            got = conn.recv(65536)
            with self.lock:
                self.octets += got
            try:
                parser.receive_data(got)
                self._read(parser, conn)
            except h11.RemoteProtocolError as error:
                with self.lock:
                    if "can't handle event type ConnectionClosed" not in str(error) and "complete" not in str(
                        error
                    ):
                        self.refused.append(str(error))
                break
        with self.lock:
            self.closed += 1

    def _read(self, parser, conn):
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            with self.lock:
                if isinstance(event, h11.Request):
                    self.requests.append(Arrived(event))
                    parser.current = self.requests[-1]
                elif isinstance(event, h11.Data):
                    parser.current.content += bytes(event.data)
                else:
                    parser.current.trailers = [(bytes(name), bytes(value)) for name, value in event.headers]
                    parser.current.is_complete = True
            if isinstance(event, h11.EndOfMessage):
                parser.send(h11.Response(status_code=200, headers=[("Content-Length", "2")]))
                if parser.current.method == b"HEAD":
                    conn.sendall(ANSWER.removesuffix(b"ok"))
                else:
                    parser.send(h11.Data(data=b"ok"))
                    conn.sendall(ANSWER)
                parser.send(h11.EndOfMessage())
                parser.start_next_cycle()

    def mark(self):
        """Return where the next request begins; what was refused before is forgotten."""
        with self.lock:
            self.refused = []
            return len(self.requests), len(self.octets)

    def since(self, mark):
        """Return (requests, octets) that came after `mark`."""
        with self.lock:
            return self.requests[mark[0] :], bytes(self.octets[mark[1] :])

    def wait(self, ready, seconds=5.0):
        end = time.monotonic() + seconds
        while not ready():
            assert time.monotonic() < end, (self.requests, bytes(self.octets))
            time.sleep(0.005)


class Scripted(_Server):
    """An origin of HTTP/2 in the clear: whatever is asked on a stream, it writes `answer(stream)`.

    `asked` has the lines of all heads and trailers, `content` all content, in the order in which they came.
    """

    def __init__(self):
        super().__init__()
        self.answer = None
        self.closes = False  # the connection, behind its first answer
        self.is_hasty = False  # it answers a head, and does not wait for the end of what is asked
        self.asked = []
        self.content = b""

    def serve(self, conn):
        decoder = hpack.Decoder()
        buffer = b""
        begun = False
        while got := conn.recv(65536):
            buffer += got
            if not begun:
                if len(buffer) < len(PREFACE):
                    continue
                assert buffer.startswith(PREFACE)
                buffer = buffer[len(PREFACE) :]
                conn.sendall(settings())
                begun = True
            while len(buffer) >= 9 and len(buffer) >= 9 + (size := int.from_bytes(buffer[:3], "big")):
                kind, flags, stream = buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big")
                payload, buffer = buffer[9 : 9 + size], buffer[9 + size :]
                if kind == 4 and not flags & 1:
                    conn.sendall(settings_ack())
                elif kind == 6 and not flags & 1:
                    conn.sendall(frame(6, 1, 0, payload))
                elif kind == 0:
                    self.content += payload
                    if payload:
                        conn.sendall(window_update(0, len(payload)))
                elif kind == 1:
                    self.asked.append(decoder.decode(payload, raw=True))
                if kind == 1 if self.is_hasty else kind in (0, 1) and flags & 1:
                    conn.sendall(self.answer(stream))
                    if self.closes:
                        return
