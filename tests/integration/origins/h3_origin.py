"""An HTTP/3 origin for tests, on aioquic: another implementation, whose faults are one line each.

with H3Origin(chain_pem, key_pem) as origin:
    ...https://localhost:{origin.port}/hello...
    origin.requests, origin.connections
    origin.goaway()      origin.kill()
"""

import asyncio
import json
import tempfile
from pathlib import Path

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3Connection, encode_frame
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ProtocolNegotiated, StreamReset
from aioquic.tls import SessionTicket

from headgate.testing.loop_thread import LoopThread

GOAWAY = 0x7


class Protocol(QuicConnectionProtocol):
    """One connection. Paths say what is done: see `_answer`."""

    origin: "H3Origin"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.heads = {}
        self.bodies = {}
        self.answered = set()

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
            self.origin.connections.append(self)
        elif isinstance(event, StreamReset):
            self.origin.resets.append((event.stream_id, event.error_code))
        if self.http is None:
            return
        for happened in self.http.handle_event(event):
            if isinstance(happened, HeadersReceived) and happened.stream_id not in self.heads:
                self.heads[happened.stream_id] = dict(happened.headers)
                self.bodies[happened.stream_id] = bytearray()
                self._early(happened.stream_id)
            elif isinstance(happened, HeadersReceived):
                self.heads[happened.stream_id][b"trailers"] = dict(happened.headers)
            elif isinstance(happened, DataReceived):
                self.bodies[happened.stream_id].extend(happened.data)
            if isinstance(happened, (HeadersReceived, DataReceived)) and happened.stream_ended:
                self._answer(happened.stream_id)

    def _early(self, stream):
        """What is answered before the request is complete."""
        if self.heads[stream][b":path"].startswith(b"/refuse-upload"):
            self.head(stream, 413, {b"content-length": b"3"})
            self.data(stream, b"no!", end=True)
            self.answered.add(stream)

    def head(self, stream, status, fields=None, *, end=False):
        lines = [(b":status", str(status).encode()), *(fields or {}).items()]
        self.http.send_headers(stream, lines, end_stream=end)
        self.transmit()

    def data(self, stream, content, *, end=False):
        self.http.send_data(stream, content, end_stream=end)
        self.transmit()

    def _answer(self, stream):
        head = self.heads[stream]
        origin = self.origin
        origin.requests.append(head)
        word, _, rest = head[b":path"].decode().strip("/").partition("/")
        if stream in self.answered or word == "hold":
            return
        offer = {b"alt-svc": origin.alt_svc} if origin.alt_svc else {}
        if word == "big":
            self.head(stream, 200, {b"content-type": b"application/octet-stream"})
            self.data(stream, bytes(range(256)) * (int(rest) // 256), end=True)
        elif word == "interim":
            for _ in range(int(rest)):
                self.head(stream, 103, {b"link": b"</a.css>"})
            self.head(stream, 204, end=True)
        elif word == "trailers":
            self.head(stream, 200, {b"trailer": b"x-sum"})
            self.data(stream, b"content")
            self.http.send_headers(stream, [(b"x-sum", b"7")], end_stream=True)
            self.transmit()
        elif word == "reset":
            self._quic.reset_stream(stream, int(rest, 16))
            self.transmit()
        elif word == "half":
            self.head(stream, 200, {b"content-length": b"100"})
            self.data(stream, b"half")
            self._quic.reset_stream(stream, 0x102)
            self.transmit()
        elif word == "malformed":
            self.head(stream, 200, {b"content-length": b"3", b"connection": b"close"})
            self.data(stream, b"abc", end=True)
        elif word == "close":
            self.close(error_code=int(rest or "100", 16), reason_phrase="so it is")
        elif word == "refuse-once" and not origin.refused:
            origin.refused = True
            self._quic.reset_stream(stream, 0x10B)
            self.transmit()
        else:
            content = json.dumps(
                {
                    "protocol": "h3",
                    "head": {
                        key.decode("latin-1"): value.decode("latin-1")
                        for key, value in head.items()
                        if isinstance(value, bytes)
                    },
                    "size": len(self.bodies[stream]),
                    "trailers": [name.decode() for name in head.get(b"trailers", ())],
                    "connection": origin.connections.index(self),
                }
            ).encode()
            self.head(stream, 200, {b"content-length": str(len(content)).encode(), **offer})
            self.data(stream, content, end=True)


class H3Origin:
    """Listens on UDP at once."""

    def __init__(self, chain_pem, key_pem, *, host="127.0.0.1", port=0, alt_svc=b"", **options):
        self.connections = []
        self.requests = []
        self.resets = []
        self.alt_svc = alt_svc
        self.refused = False
        configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"], **options)
        with tempfile.TemporaryDirectory() as folder:
            chain = Path(folder, "chain.pem")
            key = Path(folder, "key.pem")
            chain.write_bytes(chain_pem)
            key.write_bytes(key_pem)
            configuration.load_cert_chain(chain, key)
        self._tickets: dict[bytes, SessionTicket] = {}
        self._thread = LoopThread("h3 origin")
        self._transport = None
        self.port = self._thread.call(self._start(configuration, host, port))

    async def _start(self, configuration, host, port):
        def make(*args, **kwargs):
            protocol = Protocol(*args, **kwargs)
            protocol.origin = self
            return protocol

        def keep(ticket):
            self._tickets[ticket.ticket] = ticket

        loop = asyncio.get_running_loop()
        self._transport, self._server = await loop.create_datagram_endpoint(
            lambda: QuicServer(
                configuration=configuration,
                create_protocol=make,
                session_ticket_fetcher=self._tickets.get,
                session_ticket_handler=keep,
            ),
            local_addr=(host, port),
        )
        return self._transport.get_extra_info("sockname")[1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def each(self, work):
        """Run `work(protocol)` for each connection, in the origin's thread."""

        async def run():
            for protocol in self.connections:
                work(protocol)
                protocol.transmit()

        self._thread.call(run())

    def goaway(self, first):
        """Tell all connections that requests from stream `first` on are not looked at."""

        def send(protocol):
            frame = encode_frame(GOAWAY, encode_uint_var(first))
            protocol._quic.send_stream_data(protocol.http._local_control_stream_id, frame)

        self.each(send)

    def kill(self):
        """Close the socket without a word, as a process that dies."""

        async def run():
            self._transport.abort()

        self._thread.call(run())

    def close(self):
        async def run():
            self._server.close()

        if not self._thread.loop.is_closed():
            self._thread.call(run())
            self._thread.stop()
