"""What a WebSocket runs over: a client's connection that has left HTTP/1.1, or a stream of HTTP/3 (RFC 9220).

Both look the same to their owner: octets come in, octets are written, and reading stops while the owner wants none.
What the client does not take is kept (of a socket) or bounded by the stream's own buffer. The connection, or the
lane, stays what the listener and the sweep know: its exchange ends, and is logged, with the pipe. Silence is told to
the owner, who may ask the client whether it is there.
"""

from __future__ import annotations

from typing import Final, final

from mypy_extensions import mypyc_attr, trait

from headgate.connection.downstream import DownstreamConnection
from headgate.connection.downstream_lane import DownstreamLane
from headgate.connection.exchange import Exchange, Handler, TunnelOwner
from headgate.connection.stream_driver import StreamDriver
from headgate.errors import TransportError
from headgate.http.fields import Fields
from headgate.net.poller import READ, WRITE, Poller
from headgate.server.sweep import HoldsBytes

# How long a client may say nothing before it is asked, and then again before it is given up (uvicorn: 20 s each).
SILENCE_SECONDS: Final = 20.0


@mypyc_attr(allow_interpreted_subclasses=True)
class PipeOwner:
    """Who reads and writes."""

    def pipe_data(self, data: bytes) -> None:
        """Octets of the client."""
        raise NotImplementedError

    def pipe_room(self) -> None:
        """The client takes octets again after a `write` that said False."""
        raise NotImplementedError

    def pipe_silent(self) -> bool:
        """Nothing moved for the time that was allowed; tell whether to go on."""
        raise NotImplementedError

    def pipe_over(self, reason: str) -> None:
        """There is no more pipe; `reason` "" when the client ended it."""
        raise NotImplementedError


@trait
class Pipe:
    """Octets both ways."""

    def write(self, data: bytes) -> bool:
        """Write; False: the client does not take it all."""
        raise NotImplementedError

    def pause(self) -> None:
        """Take nothing from the client for now."""
        raise NotImplementedError

    def unpause(self) -> None:
        """Take octets again."""
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """Allow so many seconds of silence from now."""
        raise NotImplementedError

    def close_within(self, seconds: float) -> None:
        """End after so many seconds, whatever the client sends meanwhile."""
        raise NotImplementedError

    def end(self, reason: str) -> None:
        """Close once everything is written; `reason` is for the log."""
        raise NotImplementedError


@final
class SocketPipe(StreamDriver, Pipe):
    """Takes over the descriptor of a client's connection, whose `detach` has been called."""

    def __init__(self, connection: DownstreamConnection, owner: PipeOwner, silence: float) -> None:
        super().__init__(connection.transport, connection.poller)
        self.connection = connection
        self.owner = owner
        self.silence = silence
        self.open = True
        self.ending = False
        self.closing = False
        self.moved_in = 0
        self.moved_out = 0
        self._fd = connection._fd
        self._parked = connection._parked
        self._unsent = connection._unsent
        self._unsent_at = connection._unsent_at
        connection._unsent = b""
        connection._unsent_at = 0
        connection.tunnel = SocketTunnel(self)
        self._interest = -1
        if not self._parked:
            self.poller.replace(self._fd, self)
        self._want(READ | WRITE if self.unsent > 0 else READ)
        self.wait(self.silence)

    def write(self, data: bytes) -> bool:
        if not self.open:
            return True
        self.moved_out += len(data)
        try:
            return self._write(data)
        except TransportError as error:
            self._over(error.reason)
            return True

    def pause(self) -> None:
        self.pause_reading()

    def unpause(self) -> None:
        if self.open and not self.reading:
            self.resume_reading()
            if self.transport.pending():
                self.on_readable()

    def wait(self, seconds: float) -> None:
        self.connection.deadline = self.poller.now + seconds

    def close_within(self, seconds: float) -> None:
        self.closing = True
        self.silence = seconds  # what is still to be written may take longer, as long as it moves
        self.wait(seconds)

    def end(self, reason: str) -> None:
        exchange = self.connection.exchange
        if exchange is not None:
            exchange.reason = exchange.reason or reason
        self.ending = True
        if self.unsent == 0:
            self._part()

    # -- being woken

    def on_readable(self) -> None:
        while self.open and self._read_once():
            pass

    def _read_once(self) -> bool:
        """Read and pass it on; tell whether octets are left that no readiness will announce."""
        if self._interest & READ == 0:
            self._over("hung-up")
            return False
        try:
            data = self._read()
        except TransportError as error:
            self._over(error.reason)
            return False
        if data is None:
            return False
        if not data:
            self._over("")
            return False
        self.moved_in += len(data)
        if not self.closing and not self.ending and self.unsent == 0:
            self.wait(self.silence)  # a client that sends and never reads is silent too
        self.owner.pipe_data(data)
        return self.open and self.reading and self.transport.pending()

    def on_writable(self) -> None:
        try:
            done = self._write_unsent()
        except TransportError as error:
            self._over(error.reason)
            return
        self.wait(self.silence)
        if done:
            if self.ending:
                self._part()
            else:
                self.owner.pipe_room()

    def on_crash(self, error: Exception) -> None:
        self.connection.observer.crashed("websocket", error)
        self._over("internal")

    def on_deadline(self, now: float) -> None:
        return  # the sweep looks at the connection's

    # -- ends

    def end_from_outside(self, reason: str) -> None:
        """The sweep has found silence, or somebody ends it."""
        if reason == "idle-timeout" and self.open and not self.ending and self.owner.pipe_silent():
            self.wait(self.silence)
            return
        self._over(reason)

    def _part(self) -> None:
        """All is written: the connection says the end, and reads away what the client still sends."""
        if self._let_go(""):
            self.connection.end_tunnel(is_parked=self._parked)
            self.owner.pipe_over("")

    def _over(self, reason: str) -> None:
        if self._let_go(reason):
            self.transport.shutdown()
            self.connection.close()  # the same transport
            self.owner.pipe_over(reason)

    def _let_go(self, reason: str) -> bool:
        """Stop being a pipe; tell whether this still was one."""
        if not self.open:
            return False
        self.open = False
        self.closed = True
        exchange = self.connection.exchange
        if exchange is not None:
            exchange.reason = exchange.reason or reason
            exchange.bytes_in += self.moved_in
            exchange.bytes_out += self.moved_out
        self._unsent = b""
        self._unsent_at = 0
        return True


@final
class SocketTunnel(TunnelOwner, HoldsBytes):
    """What the connection knows of its pipe."""

    def __init__(self, pipe: SocketPipe) -> None:
        self.pipe = pipe

    def close(self, reason: str) -> None:
        self.pipe.end_from_outside(reason)

    def held_for_client(self) -> int:
        return self.pipe.unsent

    def held_for_origin(self) -> int:
        return 0


@final
class LanePipe(Handler, TunnelOwner, Pipe):
    """A stream of HTTP/3 whose extended CONNECT was answered with 200; content is what the WebSocket carries."""

    def __init__(
        self, exchange: Exchange, lane: DownstreamLane, poller: Poller, owner: PipeOwner, silence: float
    ) -> None:
        self.exchange = exchange
        self.lane = lane
        self.poller = poller
        self.owner = owner
        self.silence = silence
        self.open = True
        self.ending = False
        self.closing = False
        exchange.handler = self
        lane.enter_tunnel(self)
        self.wait(self.silence)

    def begin(self) -> None:
        """Take what the client has sent already, and what it will send."""
        self.exchange.accepting = True
        self.lane.resume()

    def write(self, data: bytes) -> bool:
        if not self.open:
            return True
        self.lane.write(data)
        return self.lane.flush()

    def pause(self) -> None:
        self.exchange.accepting = False

    def unpause(self) -> None:
        if self.open and not self.exchange.accepting:
            self.begin()

    def wait(self, seconds: float) -> None:
        self.lane.wait_until(self.poller.now + seconds)

    def close_within(self, seconds: float) -> None:
        self.closing = True
        self.wait(seconds)

    def end(self, reason: str) -> None:
        if not self.open:
            return
        self.open = False
        self.exchange.reason = self.exchange.reason or reason
        self.exchange.handler = None
        self.exchange.accepting = True
        self.lane.finish(None)
        self.lane.flush()
        self.lane.resume()
        self.owner.pipe_over("")

    # -- from the client

    def handle(self, exchange: Exchange) -> None:
        return

    def request_data(self, exchange: Exchange, data: bytes) -> None:
        if not self.closing:
            self.wait(self.silence)
        self.owner.pipe_data(data)

    def request_end(self, exchange: Exchange, trailers: Fields | None) -> None:
        self.end("")

    def downstream_drained(self, exchange: Exchange) -> None:
        self.owner.pipe_room()

    def downstream_closed(self, exchange: Exchange) -> None:
        if self.open:
            self.open = False
            self.owner.pipe_over("client-left")

    def held(self) -> int:
        return 0

    def close(self, reason: str) -> None:
        """The sweep has found silence, or somebody ends it from outside."""
        if not self.open:
            return
        if reason == "idle-timeout" and self.owner.pipe_silent():
            self.wait(self.silence)
            return
        self.open = False
        self.exchange.handler = None
        self.lane.abort(reason)
        self.owner.pipe_over(reason)
