"""The driver of a downstream connection: one transport, one HTTP/1.1 server engine, one exchange at a time.

Life of a connection, by `phase`: HANDSHAKE (TLS) → HTTP ⇄ LINGER → closed, or HTTP → TUNNEL, where the connection
belongs to somebody else. Where HTTP/2 is spoken too, the handshake or the first octets may say that another driver
takes over (`ProtocolHost`). An exchange begins with a head and ends when its answer is written and its content is
read; content that nobody wants is read away up to a bound, because closing early would destroy the answer on its way
(RFC 9112 section 9.6).
"""

from __future__ import annotations

import time
from typing import Final, final

from headgate.connection.accepted import Accepted, ProtocolHost
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Downstream, Exchange, Handler, TunnelOwner
from headgate.connection.observer import DownstreamObserver
from headgate.connection.settings import ConnectionSettings
from headgate.connection.stream_driver import NEVER
from headgate.counters import (
    ABORTED_DOWNSTREAM,
    ABORTED_UPSTREAM,
    DOWNSTREAM_READ,
    DOWNSTREAM_WRITTEN,
    HANDSHAKES_FAILED,
    REFUSED_BODY,
    REFUSED_HEAD,
    REFUSED_MALFORMED,
    REFUSED_PLAIN_TO_TLS,
    TIMEOUT_BODY,
    TIMEOUT_HANDSHAKE,
    TIMEOUT_HEAD,
    TIMEOUT_KEEP_ALIVE,
    TIMEOUT_WRITE,
    count_exchange,
)
from headgate.engine.events import Closed, Data, EndOfMessage, Request, Response
from headgate.engine.h1.machine import DONE, IDLE, UNTIL_CLOSE
from headgate.engine.h1.server import ServerEngine
from headgate.errors import RemoteProtocolError, TransportError
from headgate.http.date import add_date
from headgate.http.fields import DATE, Fields
from headgate.http.status import reason_phrase
from headgate.net.poller import READ, WRITE, Poller
from headgate.net.transport import DONE as HANDSHAKE_DONE
from headgate.net.transport import NOT_SENT, WANT_WRITE, Transport

HANDSHAKE: Final = 0
HTTP: Final = 1
LINGER: Final = 2
TUNNEL: Final = 3

# RFC 9113 section 3.4. No request of HTTP/1.1 begins so.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# What is read away of a request's content that nobody wants, before the connection is closed instead.
MAX_DISCARD: Final = 256 * 1024
# How long a closing connection waits for the peer's end, so that a reset does not overtake the answer.
LINGER_SECONDS: Final = 2.0
# What is read away meanwhile: many a client looks for the answer only once it has sent all it has, and what lingers
# is bounded by its time already (nginx lingers for 5 to 30 s, without a bound on octets).
MAX_LINGER: Final = 64 * 1024 * 1024
# Octets of files that one connection sends before the others have their turn: a tenth of a millisecond where the file
# is in the page cache. nginx stops after 2 MiB.
FILE_TURN: Final = 1024 * 1024


@final
class DownstreamConnection(Accepted, Downstream):
    """One client's connection; made by the listener, alive until `connection_closed`."""

    def __init__(
        self,
        transport: Transport,
        poller: Poller,
        handler: Handler,
        observer: DownstreamObserver,
        settings: ConnectionSettings,
        values: list[int],
        context: ConnectionContext,
        host: ProtocolHost | None = None,
    ) -> None:
        super().__init__(transport, poller, context)
        self.host = host  # where HTTP/2 is spoken too, until it is known what this client speaks
        self.engine = ServerEngine(settings.max_head, settings.max_fields)
        self.handler = handler
        self.observer = observer
        self.settings = settings
        self.values = values
        self.phase: int = HANDSHAKE
        self.exchange: Exchange | None = None
        self.draining = False
        self.requests = 0
        self.tunnel: TunnelOwner | None = None
        self._busy = False
        self._again = False
        self._discarded = 0
        self._stalled = False
        self._turn = 0.0  # the round in which octets of files were sent last, and how many
        self._turn_sent = 0
        self._first = b""  # what may be the beginning of HTTP/2 in the clear
        self._parting = False  # closes at the end of this round
        self._deadline_counter = TIMEOUT_HANDSHAKE

    def __repr__(self) -> str:
        return f"<DownstreamConnection fd={self._fd} phase={self.phase} {self.engine!r}>"

    # -- beginning

    def start(self, *, secure: bool) -> None:
        """Begin: with the handshake when `secure`, else with the first head."""
        if secure:
            self.phase = HANDSHAKE
            self.deadline = self.poller.now + self.settings.handshake
            self.watch(READ)
        else:
            self._enter_http()
            self.watch(READ)

    def _enter_http(self) -> None:
        self.phase = HTTP
        self.deadline = self.poller.now + self.settings.head
        self._deadline_counter = TIMEOUT_HEAD

    def _handshake(self) -> None:
        try:
            outcome = self.transport.handshake()
            if outcome == HANDSHAKE_DONE:
                self._want(READ)
                self.observer.handshake_over(self)
                host = self.host
                self.host = None
                if host is not None and host.is_h2(self.transport.alpn()):
                    host.speak_h2(self, b"")
                    return
                self._enter_http()
                if self.transport.pending():
                    self.on_readable()
            else:
                self._want(WRITE if outcome == WANT_WRITE else READ)
        except TransportError as error:
            counter = REFUSED_PLAIN_TO_TLS if error.reason == "plain-http-to-tls" else HANDSHAKES_FAILED
            self.values[counter] += 1
            self.observer.connection_failed(self.context, error.reason, error.detail)
            if self.transport.parting():
                # A client of TLS 1.3 may have sent its request by now. A reset for bytes that nobody read would
                # overtake the alert that says why.
                self._linger()
            else:
                self.close()

    # -- being woken

    def on_readable(self) -> None:
        # A loop and not a recursion: how often bytes are left above the descriptor is the peer's to decide.
        while self._read_once():
            pass

    def _read_once(self) -> bool:
        """Read and act on it; tell whether bytes are left that no readiness will announce."""
        phase = self.phase
        if phase == HANDSHAKE:
            self._handshake()
            return False
        if phase == HTTP and self._interest & READ == 0:
            # Nobody asked for bytes, so this is a hang-up: there is no one left to answer.
            self._fail(TransportError("hung-up", 0, "the client broke the connection"))
            return False
        try:
            data = self._read()
        except TransportError as error:
            if phase == LINGER or (phase == HTTP and self.exchange is None and self.engine.buffered == 0):
                # Nothing is owed: clients hang up without close_notify, or with a reset, all the time.
                self.close()
            else:
                self._fail(error)
            return False
        if data is None:
            return False
        if phase == LINGER:
            self._discarded += len(data)
            if not data or self._discarded > MAX_LINGER:
                self.close()
                return False
            return self.transport.pending()
        engine = self.engine
        host = self.host
        if host is not None:
            if not self._is_settled(host, self._first + data):
                return False
            data, self._first = self._first + data, b""
        if data:
            self.values[DOWNSTREAM_READ] += len(data)
            engine.receive(data)
        else:
            engine.receive_eof()
            # Half-closed is level-triggered for ever: what is still owed is owed without listening.
            self.pause_reading()
        self.advance()
        return not self.closed and self.phase != TUNNEL and self.reading and self.transport.pending()

    def _is_settled(self, host: ProtocolHost, data: bytes) -> bool:
        """Look at a client's first octets in the clear (RFC 9113 section 3.3); tell whether this is HTTP/1.1."""
        if data.startswith(_PREFACE):
            self.host = None
            host.speak_h2(self, data)
            return False
        if _PREFACE.startswith(data) and data != self._first:
            self._first = data  # it may become either
            return False
        self.host = None
        return True

    def on_writable(self) -> None:
        if self.phase == HANDSHAKE:
            self._handshake()
            return
        try:
            done = self._write_unsent()
        except TransportError as error:
            self._fail(error)
            return
        self.deadline = self.poller.now + self.settings.write_idle
        if done:
            self._drained()

    def on_crash(self, error: Exception) -> None:
        self.observer.crashed("downstream", error)
        self.close()

    def on_deadline(self, now: float) -> None:
        """A timeout: answer 408 where that helps (RFC 9110 section 15.5.9), then close."""
        if self.phase == LINGER:
            if self.unsent > 0:
                self.values[TIMEOUT_WRITE] = self.values[TIMEOUT_WRITE] + 1
            self.close()
            return
        if self.phase == TUNNEL and self.tunnel is not None:
            self.tunnel.close("idle-timeout")
            return
        counter = self._deadline_counter
        if self.phase == HTTP and (self.unsent > 0 or self._stalled):
            counter = TIMEOUT_WRITE
        self.values[counter] += 1
        exchange = self.exchange
        if self.phase == HTTP and exchange is None and self.engine.buffered > 0 and self.unsent == 0:
            self._refuse(RemoteProtocolError(408, "head-timeout", "the head did not come in time"))
        elif (
            self.phase == HTTP and exchange is not None and counter == TIMEOUT_BODY and not exchange.responded
        ):
            self._refuse(RemoteProtocolError(408, "body-timeout", "the content did not come in time"))
        elif self.phase == HANDSHAKE:
            self._fail(TransportError("handshake-timeout", 0, "the TLS handshake did not end in time"))
        elif exchange is not None:
            exchange.reason = "write-timeout" if counter == TIMEOUT_WRITE else "body-timeout"
            self.close()
        else:
            self._end()

    # -- receiving

    def advance(self) -> None:
        """Take events out of the engine as long as somebody wants them."""
        if self._busy:
            self._again = True  # called from inside: the loop below goes round once more
            return
        self._busy = True
        try:
            self._again = True
            while self._again and not self.closed and self.phase == HTTP:
                self._again = False
                self._pull()
        except RemoteProtocolError as error:
            self._refuse(error)
        finally:
            self._busy = False

    def _pull(self) -> None:
        engine = self.engine
        while True:
            exchange = self.exchange
            if exchange is not None and not exchange.accepting:
                # Nobody wants content now: no more is read than the buffer holds already, and a client that may not
                # send is not late.
                if not self._stalled:
                    self.deadline = NEVER
                if engine.buffered > 0:
                    self.pause_reading()
                return
            event = engine.next_event()
            if event is None:
                break
            if isinstance(event, Request):
                self._begin(event)
            elif isinstance(event, Data):
                if exchange is not None:
                    self._content(exchange, event.data)
            elif isinstance(event, EndOfMessage):
                if exchange is not None:
                    self._content_end(exchange, event.trailers)
            elif isinstance(event, Closed):
                self._end()
                return
            if self.closed or self.phase != HTTP:
                return
        if self.exchange is not None and engine.buffered > 0 and engine.receiving == DONE:
            self.pause_reading()  # a pipelined request waits its turn; its bytes are bounded by one read
        elif self.exchange is None and engine.buffered > 0 and self._deadline_counter == TIMEOUT_KEEP_ALIVE:
            # The first byte of a head starts its clock; later bytes do not wind it again.
            self._deadline_counter = TIMEOUT_HEAD
            self.deadline = self.poller.now + self.settings.head

    def _begin(self, request: Request) -> None:
        exchange = Exchange(self, self.context, request, self.poller.now)
        self.exchange = exchange
        self.requests += 1
        self._discarded = 0
        limit = self.settings.max_body
        if limit > 0 and request.body > limit:
            self.values[REFUSED_BODY] += 1
            raise RemoteProtocolError(413, "body-too-large", f"more than {limit} octets of content")
        if request.body != 0:
            self.deadline = self.poller.now + self.settings.body_idle
            self._deadline_counter = TIMEOUT_BODY
            exchange.more = self.engine.buffered > 0
        else:
            self.deadline = NEVER
        exchange.handler = self.handler
        self.handler.handle(exchange)

    def _content(self, exchange: Exchange, data: bytes) -> None:
        size = len(data)
        exchange.bytes_in += size
        self.deadline = self.poller.now + self.settings.body_idle
        limit = self.settings.max_body
        if limit > 0 and exchange.bytes_in > limit:
            self.values[REFUSED_BODY] += 1
            raise RemoteProtocolError(413, "body-too-large", f"more than {limit} octets of content")
        handler = exchange.handler
        if handler is None:
            self._discarded += size
            if self._discarded > MAX_DISCARD:
                self._end_exchange(exchange)
                self._linger()
            return
        handler.request_data(exchange, data)

    def _content_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        if not self._stalled:
            self.deadline = NEVER
        handler = exchange.handler
        if handler is not None:
            handler.request_end(exchange, trailers)
        elif self.engine.sending == DONE and not self._stalled:
            # A stalled answer ends its exchange when it is written: else a client that sends and never reads would
            # pile up answers.
            self._exchange_over(exchange)

    # -- the answer (called by the handler)

    def respond(self, response: Response) -> None:
        exchange = self.exchange
        if exchange is None:
            return
        if self.draining:
            response.close = True
        status = response.status
        if status >= 200 and response.fields.flags & DATE == 0:
            add_date(response.fields, time.time())  # RFC 9110 section 6.6.1
        self.engine.send_response(response)
        if status >= 200 or status == 101:
            exchange.status = status
            exchange.responded = True

    def write(self, data: bytes) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.bytes_out += len(data)
            self.engine._write_data(data)

    def finish(self, trailers: Fields | None) -> None:
        if self.exchange is not None and self.engine.sending != DONE:
            self.engine._write_end(trailers)

    def flush(self) -> bool:
        if self.closed:
            return True
        output = self.engine.take_output()
        exchange = self.exchange
        if output:
            self.values[DOWNSTREAM_WRITTEN] += len(output)
            try:
                if not self._send(output):
                    self._stalled = True
                    self.deadline = self.poller.now + self.settings.write_idle
                    return False
            except TransportError as error:
                self._fail(error)
                return True
        if self._stalled:
            return False
        if exchange is not None and self.engine.sending == DONE:
            self._answered(exchange)
        return True

    def send_file(self, descriptor: int, at: int, size: int) -> int:
        exchange = self.exchange
        engine = self.engine
        if exchange is None or self._stalled:
            return 0
        if not self.transport.sends_files or not engine.may_send_apart(size):
            return NOT_SENT
        output = engine.take_output()
        if self._turn != self.poller.now:
            self._turn = self.poller.now
            self._turn_sent = 0
        most = min(size, FILE_TURN - self._turn_sent)
        try:
            sent = self._send_file(output, descriptor, at, most)
        except TransportError as error:
            self._fail(error)
            return 0
        self.values[DOWNSTREAM_WRITTEN] += len(output) + max(sent, 0)
        if sent == NOT_SENT:
            return NOT_SENT
        engine.sent_apart(sent)
        exchange.bytes_out += sent
        self._turn_sent += sent
        if sent < size:
            self._stalled = True
            self.deadline = self.poller.now + self.settings.write_idle
            self._want(self._interest | WRITE)
        return sent

    def abort(self, reason: str) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.handler = None
            exchange.reason = exchange.reason or reason
            self.values[ABORTED_UPSTREAM] += 1
        # What was already queued still goes out; a clean TLS end or a last chunk would say that this was all.
        self.flush()
        if self.engine.sending == UNTIL_CLOSE and not self.closed:
            # Content up to the end of the connection: only a reset says that it is not complete.
            self.transport.reset_on_close()
        self.close()

    def resume(self) -> None:
        exchange = self.exchange
        if exchange is not None and self.engine.receiving != DONE:
            self.deadline = self.poller.now + self.settings.body_idle
            self._deadline_counter = TIMEOUT_BODY
        if not self.engine._eof:
            self.resume_reading()
        self.advance()
        if not self.closed and self.reading and self.transport.pending():
            self.on_readable()

    def detach(self) -> bytes:
        """After a 101 was queued: leave HTTP. Return what the client sent behind its request."""
        self.flush()
        self.write_deferred()
        self.engine.switch()
        self.phase = TUNNEL
        self.deadline = NEVER
        exchange = self.exchange
        if exchange is not None:
            exchange.handler = None
        return self.engine.take_rest()

    def end_tunnel(self, *, is_parked: bool) -> None:
        """Take the descriptor back from a tunnel that has ended in good order: what is left is to part."""
        self.tunnel = None
        if self.exchange is not None:
            self._end_exchange(self.exchange)
        self._interest = 0
        self._parked = is_parked
        if not is_parked:
            self.poller.replace(self._fd, self)
        self._linger()

    # -- ends

    def _drained(self) -> None:
        """Everything queued is written."""
        self._stalled = False
        exchange = self.exchange
        if self.phase == LINGER:
            self._linger()
            return
        if exchange is None:
            self.deadline = self.poller.now + self.settings.keep_alive
            self.resume()
            return
        if self.engine.receiving == DONE:
            self.deadline = NEVER
        if self.engine.sending == DONE:
            self._answered(exchange)
            if not self.closed:
                self.advance()
        elif exchange.handler is not None:
            exchange.handler.downstream_drained(exchange)

    def _stalled_late(self) -> None:
        self._stalled = True
        self.deadline = self.poller.now + self.settings.write_idle
        if self.exchange is None:
            self.pause_reading()  # who does not take an answer is not asked for another request

    def _write_failed(self, error: TransportError) -> None:
        self._fail(error)

    def _answered(self, exchange: Exchange) -> None:
        """The answer is written; the exchange is over once the request is read as well."""
        if self.engine.receiving == DONE:
            self._exchange_over(exchange)
            return
        exchange.handler = None
        exchange.accepting = True
        self._discarded = exchange.bytes_in if exchange.request.body < 0 else 0
        if self.engine.must_close or exchange.request.body > MAX_DISCARD or exchange.request.expect_continue:
            self._end_exchange(exchange)
            self._linger()
            return
        self.deadline = self.poller.now + self.settings.body_idle
        self._deadline_counter = TIMEOUT_BODY
        self.resume_reading()
        self.advance()

    def _exchange_over(self, exchange: Exchange) -> None:
        engine = self.engine
        self._end_exchange(exchange)
        if engine.must_close or self.draining:
            request = exchange.request
            if request.close and request.body == 0 and engine.buffered == 0:
                self._part()
            else:
                self._linger()
            return
        engine.reuse()
        self.deadline = self.poller.now + self.settings.keep_alive
        self._deadline_counter = TIMEOUT_KEEP_ALIVE
        if engine.buffered > 0 or engine._eof:
            self.advance()
        if self._interest & READ == 0 and not self.closed and self.exchange is None and not engine._eof:
            self.resume_reading()
            if self.transport.pending():
                self.on_readable()

    def _end_exchange(self, exchange: Exchange) -> None:
        """Count and log; from here on the connection has no exchange."""
        self.exchange = None
        handler = exchange.handler
        exchange.handler = None
        if handler is not None and not exchange.responded:
            handler.downstream_closed(exchange)
        now = self.poller.now
        count_exchange(self.values, exchange.status, now - exchange.started)
        self.observer.exchange_over(exchange, now)

    def _refuse(self, error: RemoteProtocolError) -> None:
        """Answer a request that broke the rules, and close: nothing behind it can be trusted."""
        exchange = self.exchange
        values = self.values
        if error.code in (414, 431):
            values[REFUSED_HEAD] += 1
        elif error.code not in (408, 413):
            values[REFUSED_MALFORMED] += 1
        if exchange is None:
            # Nothing of a head that could not be read is believed, its version neither.
            exchange = Exchange(self, self.context, Request(b"-", b"-", 0, Fields([], [])), self.poller.now)
            self.exchange = exchange
        handler = exchange.handler
        exchange.handler = None
        if handler is not None:
            handler.downstream_closed(exchange)
        exchange.reason = error.reason
        self.observer.connection_failed(self.context, error.reason, error.detail)
        if self.engine.sending != IDLE:
            self.close()  # the answer has begun: cutting it short is all that is left to say
            return
        text = b"%b: %b\n" % (error.reason.encode(), error.detail.encode())
        fields = Fields([], [])
        fields.add(b"content-type", b"text/plain; charset=utf-8", b"Content-Type")
        fields.add(b"content-length", b"%d" % len(text), b"Content-Length")
        if exchange.request.method == b"HEAD":
            text = b""
        response = Response(error.code, reason_phrase(error.code), 11, fields, len(text))
        response.close = True
        self.engine.must_close = True
        self.respond(response)
        if text:
            self.write(text)
            self.finish(None)
        output = self.engine.take_output()
        values[DOWNSTREAM_WRITTEN] += len(output)
        self._end_exchange(exchange)
        try:
            self._write(output)
        except TransportError:
            self.close()
            return
        self._linger()

    def _part(self) -> None:
        """Close without lingering: the client asked for it and has nothing left to send that could cause a reset."""
        self.phase = LINGER
        if self._deferred:
            self._parting = True
        elif self.unsent > 0:
            self._linger()
        else:
            self._end()

    def _end(self) -> None:
        """Close at once, with a closure alert first where there is TLS (RFC 9112 section 9.8)."""
        if self.context.secure and self.unsent == 0:
            self.transport.shutdown()
        self.close()

    def write_deferred(self) -> None:
        super().write_deferred()
        if self._parting:
            self._parting = False
            self._part()

    def _linger(self) -> None:
        """Say the end and wait a little for the peer's, reading away what it still sends."""
        self.write_deferred()
        if self.closed:
            return
        self.phase = LINGER
        self._deadline_counter = TIMEOUT_WRITE
        if self.unsent > 0:
            self.deadline = self.poller.now + self.settings.write_idle
            return
        self.transport.shutdown()
        if self.engine._eof:
            self.close()
            return
        self._discarded = 0
        self.deadline = self.poller.now + LINGER_SECONDS
        self._want(READ)

    def _fail(self, error: TransportError) -> None:
        exchange = self.exchange
        if exchange is not None:
            exchange.reason = exchange.reason or error.reason
        self.observer.connection_failed(self.context, error.reason, error.detail)
        self.close()

    def close(self) -> None:
        """Close at once; an exchange under way ends here."""
        if self.closed:
            return
        exchange = self.exchange
        if exchange is not None:
            handler = exchange.handler
            exchange.handler = None
            if handler is not None:
                self.values[ABORTED_DOWNSTREAM] += 1
                handler.downstream_closed(exchange)
            self._end_exchange(exchange)
        self.close_transport()
        self.observer.connection_closed(self)

    def buffered(self) -> int:
        return self.engine.buffered

    def drain(self) -> None:
        """Close as soon as nothing is under way; an answer that is still to come says Connection: close."""
        self.draining = True
        if self.phase == HTTP and self.exchange is None and self.engine.buffered == 0:
            self._linger()
