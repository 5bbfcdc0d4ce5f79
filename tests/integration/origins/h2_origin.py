"""An origin of HTTP/2 made of the h2 library, whose every path is a way to behave; in the clear or over TLS.

`connections` has the connections so far, `asked` what came as (connection, method, path)."""

import json
import socket
import ssl
import threading

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hyperframe.frame import GoAwayFrame

PATIENCE = 20.0


class H2Origin:
    """Listens at once. `picks` is what ALPN offers to pick from, `most` how many requests it takes at a time."""

    def __init__(self, context=None, *, picks=("h2", "http/1.1"), most=100, connect=False):
        self.context = context
        self.most = most
        self.connect = connect
        if context is not None:
            context.set_alpn_protocols(list(picks))
        self.asked = []
        self.connections = []
        self.refused = set()
        self.misdirects = (
            set()
        )  # hosts that get a 421 on every connection but the first that was made for them
        self.errors = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(sock,), daemon=True).start()

    def serve(self, sock):
        sock.settimeout(PATIENCE)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
            picked = "h2" if self.context is None else sock.selected_alpn_protocol()
            with self.lock:
                made = Connection(self, sock, len(self.connections))
                self.connections.append(made)
            made.run() if picked == "h2" else made.run_old()
        except (OSError, ssl.SSLError, ProtocolError):
            pass  # the gate ended the connection: what that means is the test's business
        except BaseException as error:
            self.errors.append(error)
        finally:
            sock.close()

    def paths(self, path):
        return [entry for entry in self.asked if entry[2] == path]

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for made in self.connections:
            made.kill()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
        if self.errors:
            raise self.errors[0]


class Connection:
    def __init__(self, origin, sock, number):
        self.origin = origin
        self.sock = sock
        self.number = number
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.heads = {}
        self.bodies = {}
        self.trailers = {}
        self.left = {}  # what waits for windows
        self.resets = []
        self.is_over = False
        self.is_read = True
        self.lock = threading.RLock()

    def run(self):
        h2 = self.h2
        first = {
            SettingCodes.MAX_CONCURRENT_STREAMS: self.origin.most,
            SettingCodes.ENABLE_CONNECT_PROTOCOL: int(self.origin.connect),
        }
        h2.local_settings = Settings(client=False, initial_values=first)
        h2.initiate_connection()
        self.flush()
        while not self.is_over:
            data = self.sock.recv(65536)
            if not data:
                return
            with self.lock:
                for event in h2.receive_data(data):
                    self.on_event(event)
                self.pump()
                self.flush()

    def run_old(self):
        """HTTP/1.1, one request after the other."""
        held = b""
        while True:
            while b"\r\n\r\n" not in held:
                data = self.sock.recv(65536)
                if not data:
                    return
                held += data
            head, _, held = held.partition(b"\r\n\r\n")
            method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
            self.origin.asked.append((self.number, method, path))
            if b"upgrade: websocket" in head.lower():
                self.sock.sendall(b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nh1")
                self.sock.recv(1)
                return
            body = json.dumps({"protocol": "http/1.1"}).encode()
            self.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def flush(self):
        with self.lock:
            data = self.h2.data_to_send()
            if data:
                self.sock.sendall(data)

    def kill(self):
        """End as a process does that is killed."""
        self.is_over = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def on_event(self, event):
        if isinstance(event, RequestReceived):
            head = dict(event.headers)
            self.heads[event.stream_id] = head
            self.bodies[event.stream_id] = b""
            self.origin.asked.append((self.number, head[":method"], head[":path"]))
            self.begin(event.stream_id, head)
        elif isinstance(event, DataReceived):
            self.bodies[event.stream_id] += event.data
            if self.is_read and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            if self.heads[event.stream_id].get(":protocol") and event.data:
                self.left[event.stream_id] = self.left.get(event.stream_id, b"") + event.data.upper()
        elif isinstance(event, TrailersReceived):
            self.trailers[event.stream_id] = dict(event.headers)
        elif isinstance(event, StreamReset):
            self.resets.append((event.stream_id, event.error_code))
            self.left.pop(event.stream_id, None)
        elif isinstance(event, StreamEnded):
            self.ended(event.stream_id)

    def begin(self, stream, head):
        """Do what needs no content."""
        path = head[":path"]
        if head.get(":protocol"):
            self.h2.send_headers(stream, [(":status", "200")])
        elif path == "/refuse-once" and not self.origin.refused:
            self.origin.refused.add(stream)
            self.h2.reset_stream(stream, ErrorCodes.REFUSED_STREAM)
        elif path == "/reset":
            self.h2.reset_stream(stream, ErrorCodes.INTERNAL_ERROR)
        elif path == "/stall":
            self.is_read = False
        elif path == "/leave" and not self.origin.refused:
            # It has looked at all but this one.
            self.origin.refused.add(stream)
            self.sock.sendall(GoAwayFrame(last_stream_id=stream - 2).serialize())
        elif path == "/kill":
            self.kill()
        elif path == "/garbage":
            self.sock.sendall(b"\xff" * 64)
        elif path == "/old":
            self.h2.reset_stream(stream, ErrorCodes.HTTP_1_1_REQUIRED)

    def ended(self, stream):
        """The request is complete: answer."""
        head = self.heads[stream]
        path = head[":path"]
        if stream in self.origin.refused or path.startswith(
            ("/reset", "/stall", "/kill", "/garbage", "/old", "/silent")
        ):
            return
        if head.get(":protocol"):
            self.h2.end_stream(stream)
            return
        if self.number == 0 and head[":authority"] in self.origin.misdirects:
            self.h2.send_headers(stream, [(":status", "421")], end_stream=True)
            return
        if stream not in self.h2.streams or self.h2.streams[stream].closed:
            return
        if path.startswith("/wait"):
            threading.Timer(0.3, self.answer_late, (stream,)).start()
            return
        self.answer(stream)

    def answer_late(self, stream):
        with self.lock:
            try:
                self.answer(stream)
                self.flush()
            except (ProtocolError, OSError):
                pass  # it is over meanwhile

    def answer(self, stream):
        head = self.heads[stream]
        path = head[":path"]
        if path.startswith("/big/"):
            self.h2.send_headers(stream, [(":status", "200")])
            self.left[stream] = bytes(range(256)) * (int(path[5:]) // 256)
            self.pump()
            return
        if path == "/interim":
            self.h2.send_headers(stream, [(":status", "103"), ("link", "</a>")])
        told = {
            "protocol": "h2",
            "connection": self.number,
            "head": head,
            "size": len(self.bodies[stream]),
            "trailers": self.trailers.get(stream),
        }
        body = json.dumps(told).encode()
        length = [] if path == "/trailers" else [("content-length", str(len(body)))]
        self.h2.send_headers(stream, [(":status", "200"), *length])
        self.h2.send_data(stream, body, end_stream=path != "/trailers")
        if path == "/trailers":
            self.h2.send_headers(stream, [("x-sum", "7")], end_stream=True)

    def pump(self):
        """Send what windows allow of long answers; tunnels go on after that."""
        for stream in list(self.left):
            data = self.left[stream]
            ends = not self.heads[stream].get(":protocol")
            while data:
                size = min(
                    self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(data)
                )
                if size <= 0:
                    break
                self.h2.send_data(stream, data[:size], end_stream=ends and size == len(data))
                data = data[size:]
            self.left[stream] = data
            if not data:
                del self.left[stream]
