"""A server of HTTP/3 on aioquic, as its own examples are written: PORT, PEM. 100 octets on /, 1 MiB on /1m."""

import asyncio
import sys
from typing import Final

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.h3.connection import H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

BODIES: Final = {b"/": b"x" * 100, b"/1m": bytes(range(256)) * 4096}


class Server(QuicConnectionProtocol):
    """Answers each request as soon as its head is there."""

    _http: H3Connection | None = None

    def quic_event_received(self, event: QuicEvent) -> None:
        if self._http is None:
            self._http = H3Connection(self._quic)
        for each in self._http.handle_event(event):
            if isinstance(each, HeadersReceived) and each.stream_ended:
                body = BODIES.get(dict(each.headers)[b":path"], b"")
                fields = [(b":status", b"200"), (b"content-length", b"%d" % len(body))]
                self._http.send_headers(each.stream_id, fields)
                self._http.send_data(each.stream_id, body, True)
        self.transmit()


async def main(port: int, pem: str) -> None:
    """Serve until the process is ended."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["h3"], idle_timeout=300.0)
    configuration.load_cert_chain(pem)
    await serve("127.0.0.1", port, configuration=configuration, create_protocol=Server)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
