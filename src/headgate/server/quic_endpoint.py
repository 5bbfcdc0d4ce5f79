"""A QUIC endpoint: one UDP socket in one worker, and the connections that come through it.

A turn: read what has come, up to a bound, into the queues of whom it is for (server/quic_backlog), so that nobody
stands behind who sends more; find each connection by the ID that its datagrams are sent to, once for
each run of equal IDs; let its driver act; and at the end of the poller's round take from all that were touched what
they have to send. When the socket takes no more, the batch that it refused is kept, and nobody is asked for another
before it does: what is not asked for stays in the connections, within their congestion windows.

What is for no connection here goes to the room of strangers (server/quic_strangers), and may come back as a new one.

Time. One heap has the deadlines of all connections, and the event loop one timer for it. What is measured in seconds
(handshakes, heads, silent clients) is looked at in the worker's sweep.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from headgate.clock import Clock
from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Handler
from headgate.connection.observer import DownstreamObserver
from headgate.connection.quic_counts import count_client, count_client_end, count_socket
from headgate.connection.quic_downstream import DownstreamOwner, QuicDownstream
from headgate.connection.quic_driver import NEVER, QuicDriver
from headgate.connection.settings import ConnectionSettings
from headgate.connection.timer_heap import TimerHeap
from headgate.counters import (
    CONNECTIONS,
    CONNECTIONS_OPEN,
    QUIC_ACCEPTED,
    QUIC_BYTES_READ,
    QUIC_BYTES_WRITTEN,
    QUIC_DATAGRAMS_READ,
    QUIC_DATAGRAMS_WRITTEN,
    QUIC_DROPPED_FIRST,
    QUIC_DROPS,
    QUIC_ENDED_DEFECT,
    QUIC_ENDED_HANDSHAKE_TIMEOUT,
    QUIC_OPEN,
    TIMEOUT_HANDSHAKE,
)
from headgate.engine.h3.errors import H3_EXCESSIVE_LOAD, H3_INTERNAL_ERROR, H3_NO_ERROR
from headgate.engine.h3.settings import H3Settings
from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import QuicConnection, accept
from headgate.engine.quic.connection_ids import CID_LENGTH, ConnectionIdCodec
from headgate.engine.quic.errors import (
    UnreadablePacketError,
)
from headgate.engine.quic.packet import (
    LongHeader,
    destination_of,
    stateless_reset_token,
)
from headgate.engine.quic.path import Batch
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.retry import FROM_NEW_TOKEN, Token
from headgate.engine.quic.settings import ConnectionSettings as QuicSettings
from headgate.engine.tls13.server import ServerHandshake
from headgate.errors import TransportError
from headgate.http.forwarded import Forwarder
from headgate.net.poller import READ, WRITE, Pollable, Poller
from headgate.net.udp import RECEIVE_BUFFER, Peer, UdpSocket
from headgate.server.limits import ConnectionLimits
from headgate.server.quic_backlog import Backlog, Waiting
from headgate.server.quic_closed import ClosedConnections, ClosedRecord
from headgate.server.quic_ends import OUT_OF_MEMORY, how_it_ended
from headgate.server.quic_memory import MemoryBudget
from headgate.server.quic_parts import EndpointKeys, EndpointTls, Forward, Timer, Timers
from headgate.server.quic_strangers import Strangers, plain_host
from headgate.telemetry.qlog import QlogDirectory

# Reads of one wake-up, of up to 64 datagrams that came in a row; empty ones count as well (CVE-2026-11352). As long
# for what was read: then others have their turn.
MAX_DATAGRAMS: Final = 256
MAX_TURN_SECONDS: Final = 0.001
# A client that has not brought its handshake on for so long, and had not proved its address before it began.
HALF_OPEN_SECONDS: Final = 3.0

# Of a datagram, to see whom it is for: a first octet, a version, and an ID of ours or of a client's choice.
_HEAD: Final = 32
_MALFORMED: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("malformed")
_QUEUE_FULL: Final = QUIC_DROPPED_FIRST + QUIC_DROPS.index("queue-full")


def h3_settings(settings: ConnectionSettings) -> H3Settings:
    """Return what HTTP/3 says of itself on a listener; clients remember it for early data."""
    return H3Settings(max_section=settings.max_head, connect_protocol=True)


@final
class _Owner(DownstreamOwner):
    """What drivers know of their endpoint."""

    def __init__(self, endpoint: QuicEndpoint) -> None:
        self.endpoint = endpoint

    def touched(self, driver: QuicDriver) -> None:
        self.endpoint.touched(driver)

    def completed(self, driver: QuicDownstream) -> None:
        self.endpoint.completed(driver)


@final
class QuicEndpoint(Pollable):
    """One UDP socket. `connections` are all that came through it and are still open."""

    def __init__(
        self,
        name: str,
        sock: UdpSocket,
        *,
        poller: Poller,
        handler: Handler,
        observer: DownstreamObserver,
        settings: ConnectionSettings,
        limits: ConnectionLimits,
        memory: MemoryBudget,
        forwarder: Forwarder,
        values: list[int],
        tls: EndpointTls,
        quic: QuicSettings,
        keys: EndpointKeys,
        slot: int,
        generation: int,
        clock: Clock,
        random: Callable[[int], bytes],
        timers: Timers,
        port: int,
        forward: Forward | None = None,
    ) -> None:
        self.name = name
        self.tls = tls
        self.limits = limits
        self.connections: set[QuicDownstream] = set()
        self.closed = ClosedConnections()
        self.memory = memory
        self.qlog: QlogDirectory | None = None
        self.held_heads = 0
        self.held_received = 0
        self.held_sent = 0
        self._owner = _Owner(self)
        self._sock = sock
        self._fd = sock.fileno()
        self._poller = poller
        self._handler = handler
        self._observer = observer
        self._settings = settings
        self._forwarder = forwarder
        self._values = values
        self._quic = quic
        self._h3 = h3_settings(settings)
        self._codec = ConnectionIdCodec(keys.cid_key)
        self._reset_key = keys.reset_key
        self._slot = slot
        self._generation = generation & 0xFF
        self._counter = int.from_bytes(random(4), "big")
        self._clock = clock
        self._random = random
        self._timers = timers
        self._port = port
        self._strangers = Strangers(
            self,
            values,
            self._codec,
            slot,
            self.closed,
            keys,
            quic.versions,
            limits,
            poller,
            clock,
            random,
            forward,
        )
        self.admission = self._strangers.admission
        self._table: dict[bytes, QuicDownstream] = {}
        self._heap = TimerHeap()
        self._timer: Timer | None = None
        self._timer_at: float = NEVER
        self._buffer = bytearray(RECEIVE_BUFFER)
        self._touched: list[QuicDriver] = []
        self._is_deferred = False
        self._in_turn = False
        self._backlog = Backlog()
        self._is_resuming = False
        # What the socket would not take: one batch, and who waits behind it.
        self._stuck: Batch | None = None
        self._waiting: list[QuicDriver] = []
        self._is_open = False

    def __repr__(self) -> str:
        return f"<QuicEndpoint {self.name} {len(self.connections)} connections>"

    def start(self) -> None:
        """Begin to read."""
        self._poller.add(self._fd, self, READ)
        self._is_open = True

    # -- reading

    def on_readable(self) -> None:
        is_empty = self._drain()
        if not self._is_resuming:
            self._serve(is_empty)

    def _drain(self) -> bool:
        """Take from the socket what is there, up to a bound; tell whether that was all.

        Who sends much must not stand before the others.
        """
        clock = self._clock
        sock = self._sock
        buffer = self._buffer
        until = clock.now() + MAX_TURN_SECONDS
        for _ in range(MAX_DATAGRAMS):
            try:
                size = sock.receive(buffer)
            except TransportError as error:
                self._observer.crashed(f"quic {self.name}", error)
                return True
            if size < 0:
                return True
            self._keep(memoryview(buffer)[:size], sock.segment, sock.peer, sock.local, sock.ecn)
            if clock.now() >= until:
                break
        return False

    def _keep(
        self, data: memoryview, segment: int, peer: Peer, local: bytes, ecn: int, is_handed: bool = False
    ) -> None:
        """Put one read into the queue of whom it is for: its first datagram says who that is."""
        size = len(data)
        if size == 0 or segment <= 0:
            self._values[_MALFORMED] += 1
            return
        head = bytes(data[: min(segment, _HEAD)])
        try:
            driver = self._table.get(destination_of(head, 0, len(head), CID_LENGTH))
        except UnreadablePacketError:
            driver = None
        if self._backlog.has_room(driver, size, segment):
            self._backlog.put(driver, Waiting(bytes(data), segment, peer, local, ecn, is_handed))
        else:
            self._values[_QUEUE_FULL] += -(-size // segment)

    def _serve(self, is_empty: bool) -> None:
        """Give everybody a turn until the time is over; what is left then comes with the loop's next round.

        While more comes than is read, most of the time is for reading: it is what tells who waits behind a flood.
        """
        clock = self._clock
        backlog = self._backlog
        until = clock.now() + (MAX_TURN_SECONDS if is_empty else MAX_TURN_SECONDS / 8)
        while True:
            item = backlog.take()
            if item is None:
                return
            self._receive(backlog.data, item)
            if len(backlog) == 0:
                return
            if clock.now() >= until:
                break
        self._resume_later()

    def _resume_later(self) -> None:
        if not self._is_resuming:
            self._is_resuming = True
            self._timers.call_at(self._clock.now(), self._resume)

    def _resume(self) -> None:
        """Go on with what was left."""
        self._is_resuming = False
        if not self._is_open:
            return
        self._poller.now = self._clock.now()
        self._in_turn = True
        try:
            self._serve(self._drain())
        finally:
            self.write_deferred()

    def receive_forwarded(self, data: bytes, segment: int, peer: Peer, local: bytes, ecn: int) -> None:
        """Take datagrams that came to another worker's socket: they wait their turn like all others."""
        self._keep(memoryview(data), segment, peer, local, ecn, is_handed=True)
        self._resume_later()

    def _receive(self, data: bytes, item: Waiting) -> None:
        """Give datagrams, `data` of `item`, to their connections, those in a row to the same one together."""
        size, segment = len(data), item.segment
        values = self._values
        if not item.is_handed:  # else they are counted where they were read
            values[QUIC_DATAGRAMS_READ] += -(-size // segment)
            values[QUIC_BYTES_READ] += size
        at = 0
        while at < size:
            end = min(at + segment, size)
            try:
                connection_id = destination_of(data, at, end, CID_LENGTH)
            except UnreadablePacketError:
                values[_MALFORMED] += 1
                at = end
                continue
            driver = self._table.get(connection_id)
            if driver is None:
                self._strangers.receive(connection_id, data[at:end], item)
                at = end
                continue
            if data[at] < 0x80:
                # The rest of a run: a short header with the same ID.
                while end < size and data[end] < 0x80 and data.startswith(connection_id, end + 1):
                    end = min(end + segment, size)
            run = data if at == 0 and end == size else data[at:end]
            self._give(driver, run, segment, item.peer, item.local, item.ecn)
            at = end

    def _give(
        self, driver: QuicDownstream, data: bytes, segment: int, peer: Peer, local: bytes, ecn: int
    ) -> None:
        try:
            driver.receive(data, segment, peer, local, ecn)
        except Exception as error:
            self._defect(driver, error)

    def _defect(self, driver: QuicDriver, error: Exception) -> None:
        """Something of ours broke: it ends one connection and nobody else's.

        One that breaks once more with what it has left to say ends without a word: it must not come back for ever.
        """
        self._observer.crashed(f"quic {self.name}", error)
        if driver.closed:
            if isinstance(driver, QuicDownstream) and driver in self.connections:
                self._forget(driver, QUIC_ENDED_DEFECT)
            return
        try:
            driver.close(H3_INTERNAL_ERROR, "")
        except Exception as again:
            self._observer.crashed(f"quic {self.name}", again)
            driver.end()
        self.touched(driver)

    # -- what strangers become

    def write_down(self, quic: QuicConnection, name: bytes) -> None:
        """Begin the log of a connection, if there is still room for one."""
        qlog = self.qlog
        log = qlog.open(name, self._poller.now, self._clock.wall(), is_client=False) if qlog else None
        if log is not None:
            quic.set_log(log)

    def accept(
        self, header: LongHeader, keys: KeySet, token: Token | None, network: str, data: bytes, item: Waiting
    ) -> None:
        """Make a connection, route its IDs to it, and give it its first datagram."""
        poller = self._poller
        peer, local = item.peer, item.local
        host = plain_host(peer)
        source, reset_token = self.make_id()
        is_retried = token is not None and token.kind != FROM_NEW_TOKEN
        quic = accept(
            self.tls.settings,
            self._quic,
            self._random,
            poller.now,
            self._clock.wall(),
            destination=header.destination,
            source=source,
            peer=peer,
            local=local,
            retry_original=token.original_destination if token is not None and is_retried else None,
            reset_token=reset_token,
            make_id=self.make_id,
            make_token=self._strangers.make_token,
            is_validated=token is not None,
            keys=keys,
        )
        if self.qlog is not None:
            self.write_down(quic, header.destination)
        forwarded = self._forwarder.connection(host.encode(), b"https", self._port)
        context = ConnectionContext(self.name, host, peer[1], b"https", forwarded)
        context.network = network
        context.owner = self
        driver = QuicDownstream(
            quic,
            self._owner,
            self._handler,
            self._observer,
            self._settings,
            self._values,
            context,
            poller,
            self._h3,
        )
        if self.memory.is_short:
            self.memory.bind(quic.streams)
        driver.is_validated = token is not None
        driver.ids = [source, header.destination]
        self._table[source] = driver
        self._table[header.destination] = driver
        self.connections.add(driver)
        values = self._values
        values[QUIC_ACCEPTED] += 1
        values[QUIC_OPEN] += 1
        values[CONNECTIONS] += 1
        values[CONNECTIONS_OPEN] += 1
        self._give(driver, data, len(data), peer, local, item.ecn)

    def make_id(self) -> tuple[bytes, bytes]:
        """Return a new connection ID of this worker, and its stateless reset token."""
        self._counter += 1
        connection_id = self._codec.encode(self._slot, self._generation, self._counter)
        return connection_id, stateless_reset_token(self._reset_key, connection_id)

    def answer(self, datagram: bytes, peer: Peer, local: bytes) -> None:
        """Send a datagram that belongs to no connection; where the socket is full, it is not sent."""
        if datagram and self._stuck is None:
            self._send(Batch(datagram, len(datagram), peer, local, 0), is_kept=False)

    # -- writing

    def touched(self, driver: QuicDriver) -> None:
        """There may be something to send: at the end of the round."""
        if not driver.is_touched:
            driver.is_touched = True
            self._touched.append(driver)
        if self._in_turn or self._is_deferred:
            return
        if self._poller.in_round:
            self._is_deferred = True
            self._poller.defer(self)
        else:
            self.write_deferred()

    def write_deferred(self) -> None:
        """Send what all that were touched have to say, and set the timer."""
        self._is_deferred = False
        self._in_turn = True
        try:
            while self._touched:
                touched = self._touched
                self._touched = []
                for driver in touched:
                    driver.is_touched = False
                    try:
                        self._flush(driver)
                    except Exception as error:
                        self._defect(driver, error)
        finally:
            self._in_turn = False
        self._arm()

    def _flush(self, driver: QuicDriver) -> None:
        now = self._poller.now
        quic = driver.quic
        while self._stuck is None:
            batch = quic.take_batch(now)
            if batch is None:
                break
            self._send(batch, is_kept=True)
        else:
            if not driver.is_waiting:
                driver.is_waiting = True
                self._waiting.append(driver)
        if not isinstance(driver, QuicDownstream):
            return
        if quic.state is not State.OPEN or driver.closed:
            driver.end()
            self._retire(driver)
            return
        self._route(driver)
        if quic.migrations:
            self._follow(driver)
        self._heap.set(driver)

    def _follow(self, driver: QuicDownstream) -> None:
        """A client that moved is told of and logged by the address that it is at, once that is proved."""
        path, context = driver.quic.path, driver.context
        host = plain_host(path.peer)
        if path.is_validated and (context.port != path.peer[1] or context.peer != host):
            context.peer, context.port = host, path.peer[1]
            context.forwarded = self._forwarder.connection(host.encode(), b"https", self._port)
            context.log_fields = b""

    def _route(self, driver: QuicDownstream) -> None:
        """Take up which IDs the peer may use."""
        quic = driver.quic
        for connection_id in quic.take_new_ids():
            self._table[connection_id] = driver
            driver.ids.append(connection_id)
        for connection_id in quic.take_gone_ids():
            self._table.pop(connection_id, None)
            if connection_id in driver.ids:
                driver.ids.remove(connection_id)

    def _send(self, batch: Batch, *, is_kept: bool) -> bool:
        """Send a batch; False where the socket does not take all of it: then the rest is kept, or lost."""
        data = batch.data
        sent = self._sock.send(memoryview(data), batch.segment, batch.peer, batch.local, batch.ecn)
        values = self._values
        values[QUIC_BYTES_WRITTEN] += sent
        values[QUIC_DATAGRAMS_WRITTEN] += -(-sent // batch.segment)
        if sent == len(data):
            return True
        if is_kept:
            self._stuck = Batch(data[sent:], batch.segment, batch.peer, batch.local, batch.ecn)
            self._poller.change(self._fd, READ | WRITE)
        return False

    def on_writable(self) -> None:
        stuck = self._stuck
        if stuck is not None:
            self._stuck = None
            if not self._send(stuck, is_kept=True):
                return
        self._poller.change(self._fd, READ)
        waiting = self._waiting
        self._waiting = []
        for driver in waiting:
            driver.is_waiting = False
            self.touched(driver)

    # -- time

    def _arm(self) -> None:
        """Have the loop wake us at the nearest deadline."""
        when = self._heap.next()
        if when < self._timer_at and self._is_open:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = when
            self._timer = self._timers.call_at(when, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        poller = self._poller
        poller.now = now = self._clock.now()
        self._in_turn = True
        for driver in self._heap.take_due(now):
            try:
                driver.on_timer()
            except Exception as error:
                self._defect(driver, error)
        self.write_deferred()

    def sweep(self, now: float) -> None:
        """Look at the timeouts of all connections; called by the worker's sweep."""
        self._in_turn = True
        heads = received = sent = 0
        for driver in list(self.connections):
            try:
                if not driver.quic.is_complete:
                    self._sweep_handshake(driver, now)
                else:
                    driver.sweep(now)
                count_client(driver, self._values)
                if not driver.closed:
                    heads += driver.held_heads()
                    received += driver.held_received()
                    sent += driver.held_sent()
            except Exception as error:
                self._defect(driver, error)
        self.held_heads = heads
        self.held_received = received
        self.held_sent = sent
        self.closed.sweep(now)
        count_socket(self._sock, self._values)
        self.write_deferred()

    def close_largest(self, driver: QuicDownstream) -> None:
        """Close a connection that holds more than others, while the worker holds too much."""
        try:
            self.held_received -= driver.held_received()
            self.held_sent -= driver.held_sent()
            driver.close(H3_EXCESSIVE_LOAD, OUT_OF_MEMORY)
        except Exception as error:
            self._defect(driver, error)

    def _sweep_handshake(self, driver: QuicDownstream, now: float) -> None:
        """Give up a handshake that takes too long, without a word: who asks again begins anew."""
        is_late = now - driver.idle_since >= self._settings.handshake
        if is_late or (not driver.is_validated and now - driver.progress_at >= HALF_OPEN_SECONDS):
            self._values[TIMEOUT_HANDSHAKE] += 1
            driver.end()
            self._forget(driver, QUIC_ENDED_HANDSHAKE_TIMEOUT)

    # -- ends

    def completed(self, driver: QuicDownstream) -> None:
        """A handshake is complete."""
        tls = driver.quic.tls
        self._settle(driver)
        if isinstance(tls, ServerHandshake):
            self.tls.finished(tls)

    def _settle(self, driver: QuicDownstream) -> None:
        if not driver.is_settled:
            driver.is_settled = True
            self.admission.settled(driver.context.network, driver.is_validated)

    def _retire(self, driver: QuicDownstream) -> None:
        """A connection has ended: keep its end for late packets, and nothing else."""
        if driver not in self.connections:
            return
        quic = driver.quic
        closing = quic.take_closing()
        ids = driver.ids
        self._forget(driver, self._ended(driver))
        if closing is not None:
            self.closed.add(ClosedRecord(closing, ids, quic.path.peer, quic.path.local))

    def _forget(self, driver: QuicDownstream, counter: int) -> None:
        self.connections.discard(driver)
        for connection_id in driver.ids:
            self._table.pop(connection_id, None)
        values = self._values
        values[counter] += 1
        count_client(driver, values)
        values[QUIC_OPEN] -= 1
        values[CONNECTIONS_OPEN] -= 1
        self.limits.leave(driver.context.network)
        driver.context.closed = True
        self._settle(driver)
        tls = driver.quic.tls
        if not driver.quic.is_complete and isinstance(tls, ServerHandshake):
            self.tls.failed(tls)

    def _ended(self, driver: QuicDownstream) -> int:
        """Tell of the end where somebody is to blame, and return its counter."""
        end = driver.quic.end
        count_client_end(end, self._values)
        counter, reason = how_it_ended(end, is_complete=driver.quic.is_complete)
        if reason and end is not None:
            kind = "H3" if end.is_application else "QUIC"
            detail = f"{kind} {end.code:#x} {end.reason[:256]!r}"
            self._observer.connection_failed(driver.context, reason, detail)
        return counter

    def drain(self) -> None:
        """Take no new connections, and let those that are open end with their last answer."""
        self._strangers.draining = True
        self._in_turn = True
        for driver in list(self.connections):
            driver.drain()
        self.write_deferred()

    def close(self) -> None:
        """End everything at once."""
        self._in_turn = True
        for driver in list(self.connections):
            driver.close(H3_NO_ERROR, "")
        self.write_deferred()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._is_open:
            self._is_open = False
            self._poller.remove(self._fd)
        self._sock.close()

    def on_crash(self, error: Exception) -> None:
        self._observer.crashed(f"quic {self.name}", error)
