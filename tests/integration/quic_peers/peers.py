"""Other implementations as peers over real sockets: ngtcp2's programs of Debian, aioquic, and ours beside them.

Servers serve `content(N)` at /bN and at /bN-anything, and are context managers with an `address`. Clients have
`fetch(address, names)`, which returns the bodies in order of `names`. What each can do beyond that is its own.
"""

import asyncio
import contextlib
import functools
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from aioquic.asyncio import QuicConnectionProtocol, connect, serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificates
from tests.integration.gate import Gate, free_port
from tests.integration.quic_peers.ours import OurClient, content_of, digest
from tests.unit.engine.tls13.peers import identity

from headgate.testing.loop_thread import LoopThread

NAME = "a.test"
PATIENCE = 40.0
# What gtlsclient begins with: it sends one probe at a time, the first after three round trips, and gives up in 10 s.
FRESH = ("--timeout=20s", "--handshake-timeout=40s", "--initial-rtt=50ms")


# ngtcp2


class GtlsClient:
    """`gtlsclient`; after `fetch`, `log` is what it printed of its packets, frames and state."""

    def __init__(self, *options):
        self.options = options
        self.log = ""

    def fetch(self, address, names, *more, timeout=PATIENCE):
        host, port = address
        with tempfile.TemporaryDirectory() as folder:
            command = ["gtlsclient", f"--sni={NAME}", "--no-quic-dump", "--no-http-dump", *FRESH]
            command += ["--exit-on-all-streams-close", f"--download={folder}", *self.options, *more]
            command += [host, str(port), *(f"https://{NAME}:{port}/{name}" for name in names)]
            done = subprocess.run(command, capture_output=True, timeout=timeout, check=False)
            self.log = (done.stderr + done.stdout).decode(errors="replace")
            found = [Path(folder, name) for name in names]
            return [path.read_bytes() if path.exists() else None for path in found]


class GtlsServer:
    """`gtlsserver` over a folder of files; `log` is what it printed, once it has ended."""

    def __init__(self, names=(), *, host="127.0.0.1", options=()):
        self.names = names
        self.options = options
        self.address = (host, free_port(host))
        self.log = ""

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp())
        htdocs = self.folder / "htdocs"
        htdocs.mkdir()
        for name in self.names:
            (htdocs / name).write_bytes(content_of(name))
        (self.folder / "key.pem").write_bytes(identity().key_pem)
        (self.folder / "chain.pem").write_bytes(identity().chain_pem)
        command = ["gtlsserver", f"--htdocs={htdocs}", "--no-quic-dump", "--no-http-dump", *self.options]
        command += [*map(str, self.address), str(self.folder / "key.pem"), str(self.folder / "chain.pem")]
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [shutil.which("gtlsserver", path="/usr/sbin:/usr/bin"), *command[1:]], stdout=log, stderr=log
            )
        end = time.monotonic() + PATIENCE
        while not is_bound(self.address[1]):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end
            time.sleep(0.01)
        return self

    def __exit__(self, *exc):
        # SIGINT lets it close its connections; SIGTERM it does not know.
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(3)
        self.process.kill()
        self.process.wait()
        self.log = (self.folder / "log").read_text(errors="replace")
        shutil.rmtree(self.folder)


def is_bound(port):
    """Tell whether a UDP socket has that port; asking it would be a datagram that it must answer or not."""
    suffix = f":{port:04X} "
    lines = [
        line for path in ("udp", "udp6") for line in Path("/proc/net", path).read_text().splitlines()[1:]
    ]
    return any(suffix in line.split(":", 1)[1][:40] for line in lines)


# aioquic


class AioProtocol(QuicConnectionProtocol):
    """HTTP/3 of aioquic, either role."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.bodies = {}
        self.ended = {}
        self.events = []

    def quic_event_received(self, event):
        self.events.append(event)
        for each in self.http.handle_event(event):
            if isinstance(each, HeadersReceived):
                self.bodies[each.stream_id] = bytearray()
                if not self._quic.configuration.is_client:
                    self._path = dict(each.headers)[b":path"].decode()
            if isinstance(each, DataReceived):
                self.bodies[each.stream_id].extend(each.data)
            if isinstance(each, (DataReceived, HeadersReceived)) and each.stream_ended:
                if self._quic.configuration.is_client:
                    self.ended.pop(each.stream_id).set_result(bytes(self.bodies.pop(each.stream_id)))
                else:
                    self._answer(each.stream_id)
        self.transmit()

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self._fail()

    def _fail(self):
        for future in self.ended.values():
            if not future.done():
                future.set_result(None)

    def _answer(self, stream):
        body = content_of(self._path[1:])
        fields = [(b":status", b"200"), (b"content-length", b"%d" % len(body))]
        self.http.send_headers(stream, fields)
        self.http.send_data(stream, body, True)

    def ask(self, name):
        stream = self._quic.get_next_available_stream_id()
        future = asyncio.get_running_loop().create_future()
        self.ended[stream] = future
        pseudo = [(b":method", b"GET"), (b":scheme", b"https"), (b":authority", NAME.encode())]
        self.http.send_headers(stream, [*pseudo, (b":path", b"/" + name.encode())], True)
        self.transmit()
        return future


class AioClient:
    """aioquic as client; `quic` is its connection after `fetch`, `acts` is awaited with the protocol meanwhile."""

    def __init__(self, *, acts=None, at_once=50, early=False, **configuration):
        self.acts = acts
        self.at_once = at_once
        self.early = early
        self.configuration = configuration
        self.quic = None
        self.tickets = []

    def fetch(self, address, names, timeout=PATIENCE):
        return asyncio.run(asyncio.wait_for(self._fetch(address, names), timeout))

    async def _fetch(self, address, names):
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=["h3"],
            server_name=NAME,
            verify_mode=ssl.CERT_NONE,
            **self.configuration,
        )
        async with connect(
            *address,
            configuration=configuration,
            create_protocol=AioProtocol,
            session_ticket_handler=self.tickets.append,
            wait_connected=not self.early,
        ) as protocol:
            self.quic = protocol._quic
            self.events = protocol.events
            acting = asyncio.ensure_future(self.acts(protocol)) if self.acts else None
            bodies = []
            for at in range(0, len(names), self.at_once):
                bodies += await asyncio.gather(
                    *(protocol.ask(name) for name in names[at : at + self.at_once])
                )
            if acting is not None:
                await acting
            return bodies


@functools.cache
def _aio_certificates():
    leaf, *others = load_pem_x509_certificates(identity().chain_pem)
    return leaf, others, serialization.load_pem_private_key(identity().key_pem, None)


class AioServer:
    """aioquic as server, in a thread; `protocols` keeps every connection."""

    def __init__(self, names=(), *, host="127.0.0.1", retry=False, tickets=True, **configuration):
        self.host = host
        self.retry = retry
        self.configuration = configuration
        self.protocols = []
        self._tickets = {} if tickets else None

    def __enter__(self):
        self._thread = LoopThread("aioquic server")
        self._server = self._thread.call(self._serve())
        self.address = self._server._transport.get_extra_info("sockname")[:2]
        return self

    async def _serve(self):
        configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"], **self.configuration)
        leaf, others, key = _aio_certificates()
        configuration.certificate, configuration.certificate_chain = leaf, others
        configuration.private_key = key
        stateful = {}
        if self._tickets is not None:
            stateful = {
                "session_ticket_handler": lambda ticket: self._tickets.__setitem__(ticket.ticket, ticket),
                "session_ticket_fetcher": lambda label: self._tickets.pop(label, None),
            }
        return await serve(
            self.host, 0, configuration=configuration, create_protocol=self._new, retry=self.retry, **stateful
        )

    def _new(self, *args, **kwargs):
        protocol = AioProtocol(*args, **kwargs)
        self.protocols.append(protocol)
        return protocol

    def __exit__(self, *exc):
        async def close():
            self._server.close()

        self._thread.call(close())
        self._thread.stop()


# Ours, by the same words


class Files(BaseHTTPRequestHandler):
    """The origin behind the gate."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = content_of(self.path[1:])
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = digest(self.rfile.read(int(self.headers["Content-Length"]))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        return


class ManyConnections(ThreadingHTTPServer):
    """With a queue for as many as a client may ask for at once."""

    request_queue_size = 512


class GateServer:
    """The gate, with an origin behind it, on one port of both families; over TCP too."""

    def __init__(self, folder, *, chain=b"", key=b"", quic="", workers=1, files=Files):
        self.port = free_port("127.0.0.1", "::1")
        self.folder = folder
        (folder / "site.pem").write_bytes((chain or identity().chain_pem) + (key or identity().key_pem))
        self._origin = ManyConnections(("127.0.0.1", 0), files)
        text = f"""
[[listener]]
addresses = ["127.0.0.1:{self.port}", "[::1]:{self.port}"]
mode = "https"
protocols = ["h1", "h3"]
{quic}
[[certificate]]
files = "{folder}/site.pem"
[[route]]
upstream = "files"
[upstream.files]
endpoints = ["http://127.0.0.1:{self._origin.server_address[1]}"]
"""
        self.gate = Gate(folder, text, http=0, workers=workers, start=False)

    def __enter__(self):
        threading.Thread(target=self._origin.serve_forever, daemon=True).start()
        self.gate.start()
        return self

    def __exit__(self, *exc):
        self.gate.stop()
        self._origin.shutdown()
        self._origin.server_close()

    def address(self, host="127.0.0.1"):
        return host, self.port


class OurFetch:
    """`OurClient` as one of the clients; `quic` is its connection, `session` the ticket it got."""

    def __init__(self, *, acts=None, at_once=50, **options):
        self.acts = acts
        self.at_once = at_once
        self.options = options
        self.quic = None
        self.sessions = []

    def fetch(self, address, names, timeout=PATIENCE):
        with OurClient(address, **self.options) as client:
            self.quic = client.quic
            if not self.options.get("early"):
                client.shaken(timeout)
            if self.acts is not None:
                self.acts(client)
            bodies = []
            for at in range(0, len(names), self.at_once):
                streams = [client.ask(b"GET", b"/" + name.encode()) for name in names[at : at + self.at_once]]
                bodies += [client.answer(stream, timeout)[1] for stream in streams]
            self.sessions += client.quic.tls.take_sessions()
            return bodies
