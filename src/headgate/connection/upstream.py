"""The driver of a connection to an origin: one transport, one HTTP/1.1 client engine, one request at a time.

Between two requests the connection is idle and belongs to its pool; a byte or an end that comes then is unasked
for, and the pool drops it. During a request everything goes to the `ResponseReceiver`.
"""

from __future__ import annotations

from typing import final

from headgate.connection.context import ConnectionContext
from headgate.connection.stream_driver import NEVER, StreamDriver
from headgate.connection.upstream_stream import ResponseReceiver, UpstreamOwner, UpstreamStream
from headgate.counters import (
    POOL_CLOSED_AGE,
    POOL_CLOSED_ORIGIN,
    POOL_CLOSED_TIME,
    UPSTREAM_OPEN,
    UPSTREAM_READ,
    UPSTREAM_WRITTEN,
)
from headgate.engine.events import Data, EndOfMessage, Request, Response
from headgate.engine.h1.client import ClientEngine
from headgate.engine.h1.machine import SWITCHED
from headgate.errors import RemoteProtocolError, TransportError
from headgate.http.fields import Fields
from headgate.net.poller import READ, Poller
from headgate.net.transport import Transport


@final
class UpstreamConnection(StreamDriver, UpstreamStream):
    """One connection to one endpoint, at the address that answered. `uses` counts the requests sent on it.

    `pooled` and `expires` (the loop time when it is too old) are its pool's.
    """

    def __init__(
        self,
        transport: Transport,
        poller: Poller,
        owner: UpstreamOwner,
        values: list[int],
        address: str,
        max_head: int,
    ) -> None:
        super().__init__(transport, poller)
        self.engine = ClientEngine(max_head)
        self.owner: UpstreamOwner = owner
        self.values = values
        self.address: str = transport.peer or address
        self.receiver: ResponseReceiver | None = None
        self.exchange: object | None = None
        self.uses = 0
        self.answered = False
        self.touched = False
        self.pooled = False
        self.expires: float = NEVER
        # Whose it is, where origins are told of clients, and what they were told: over QUIC a client may move.
        self.client: ConnectionContext | None = None
        self.told_peer = ""
        self.told_port = 0
        values[UPSTREAM_OPEN] += 1
        self.watch(READ)

    def __repr__(self) -> str:
        return f"<UpstreamConnection {self.address} uses={self.uses} {self.engine!r}>"

    def belong_to(self, client: ConnectionContext, peer: str, port: int) -> None:
        """The origin was told that this is for `client`, who was at this address then."""
        self.client = client
        self.told_peer = peer
        self.told_port = port

    # -- sending

    def send_request(self, request: Request, receiver: ResponseReceiver, exchange: object) -> None:
        self.receiver = receiver
        self.exchange = exchange
        self.answered = False
        self.touched = False
        self.uses += 1
        self.engine.send_request(request)

    def send(self, data: bytes) -> bool:
        self.engine._write_data(data)
        return self.unsent == 0

    def send_end(self, trailers: Fields | None) -> None:
        self.engine._write_end(trailers)

    def flush(self) -> bool:
        output = self.engine.take_output()
        if self.closed:
            return True
        self.values[UPSTREAM_WRITTEN] += len(output)
        try:
            is_sent = self._send(output)
        except TransportError as error:
            self._write_failed(error)
            return True
        if not self._deferred:
            self.touched = True
        return is_sent

    def write_deferred(self) -> None:
        if self._deferred:
            try:
                self._write(b"")
            except TransportError as error:
                self._write_failed(error)
                return
            self.touched = True

    def _write_failed(self, error: TransportError) -> None:
        # The origin may have answered before it closed (413, 401): read that first, it explains more.
        self._unsent = b""
        self._unsent_at = 0

    def _stalled_late(self) -> None:
        pass  # the next `flush` says so, and a deadline runs already: the client's for content, ours for the answer

    # -- reading

    def resume(self) -> None:
        self.resume_reading()
        if self.transport.pending():
            self.on_readable()

    def held(self) -> int:
        return self.unsent + self.engine.buffered

    # -- being woken

    def on_readable(self) -> None:
        while self._read_once():
            pass

    def _read_once(self) -> bool:
        """Read and act on it; tell whether bytes are left that no readiness will announce."""
        if self._interest & READ == 0:
            # The origin broke the connection while the client is slow; what it sent before is still to be read.
            self.park()
            return False
        try:
            data = self._read()
        except TransportError as error:
            self._broken(error.reason, error.detail)
            return False
        if data is None:
            return False
        engine = self.engine
        if self.receiver is None:
            self._broken("closed-idle", "")
            return False
        if not self.touched:
            # Whatever this is, it is no answer to a request that has not gone out yet.
            self._broken("closed", "it spoke, or ended, before it was asked")
            return False
        if data:
            self.answered = True
            self.values[UPSTREAM_READ] += len(data)
            engine.receive(data)
        else:
            engine.receive_eof()
        self.advance()
        return self._more_waits()

    def _more_waits(self) -> bool:
        # Apart from `_read_once`, where the type checker holds `receiver` for one that cannot have gone.
        return not self.closed and self.receiver is not None and self.reading and self.transport.pending()

    def advance(self) -> None:
        """Deliver everything the engine has, then let the receiver flush."""
        engine = self.engine
        receiver = self.receiver
        if receiver is None:
            return
        try:
            while True:
                event = engine.next_event()
                if event is None:
                    break
                if isinstance(event, Data):
                    receiver.upstream_data(self, event.data)
                elif isinstance(event, Response):
                    uses = self.uses
                    receiver.upstream_response(self, event)
                    is_ours = self.exchange is not None and self.uses == uses
                    if event.body == 0 and event.status >= 200 and is_ours:
                        receiver.upstream_end(self, None)
                elif isinstance(event, EndOfMessage):
                    receiver.upstream_end(self, event.trailers)
                if self.receiver is not receiver:
                    receiver = self.receiver
                    if receiver is None:
                        return  # the exchange ended on this event
                if engine.receiving == SWITCHED:
                    break
        except RemoteProtocolError as error:
            self._broken(error.reason, error.detail)
            return
        receiver.upstream_turn(self)

    def on_writable(self) -> None:
        try:
            done = self._write_unsent()
        except TransportError as error:
            self._broken(error.reason, error.detail)
            return
        if done and self.receiver is not None:
            self.receiver.upstream_drained(self)

    def wait_until(self, when: float) -> None:
        self.deadline = when

    def is_due(self, now: float) -> bool:
        if now >= self.deadline:
            return True
        client = self.client
        # Nobody else may have it.
        return client is not None and client.closed and self.receiver is None

    def on_deadline(self, now: float) -> None:
        self.deadline = NEVER
        if self.receiver is not None:
            self.receiver.upstream_timeout(self)
        else:
            self.values[POOL_CLOSED_AGE if now >= self.expires else POOL_CLOSED_TIME] += 1
            self.close()

    def on_crash(self, error: Exception) -> None:
        self.owner.crashed("upstream", error)
        self._broken("internal", str(error))

    # -- ends

    def release(self) -> bool:
        self.receiver = None
        self.exchange = None
        self.deadline = NEVER
        if self.closed or not self.engine.reusable or self.unsent > 0 or self.transport.pending():
            self.close()
            return False
        self.engine.reuse()
        if not self.reading:
            self.resume_reading()
        return True

    def detach(self) -> bytes:
        """Leave HTTP: the transport now belongs to a tunnel. Return what the origin sent behind its head."""
        self.write_deferred()
        self.receiver = None
        self.exchange = None
        self.deadline = NEVER
        return self.engine.take_rest()

    def _broken(self, reason: str, detail: str) -> None:
        receiver = self.receiver
        self.receiver = None
        if self.pooled:
            self.values[POOL_CLOSED_ORIGIN] += 1
        self.close()
        if receiver is not None:
            receiver.upstream_failed(self, reason, f"{self.address}: {detail}")

    def close(self) -> None:
        if not self.closed:
            if self._deferred:
                # Nobody waits for its answer, or it goes elsewhere: a request must not go out here as well.
                self._deferred = False
                self._unsent = b""
            if self.receiver is None and self.unsent == 0:
                self.transport.shutdown()  # a closure alert, where there is TLS (RFC 9112 section 9.8)
            self.receiver = None
            self.values[UPSTREAM_OPEN] -= 1
            self.close_transport()
            self.owner.upstream_gone(self)
