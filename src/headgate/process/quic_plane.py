"""The QUIC side of a worker's data plane: an endpoint for each UDP socket, the mailbox, and the keys of the Snapshot.

Everything that a request meets is what it meets over TCP: the listener's routes, limits and timeouts, and its
`ServerTls`, so that certificates, staples and client authorities change for both at once. Ticket keys are QUIC's own
and come with a Snapshot.
"""

from __future__ import annotations

import os
import socket
from itertools import chain
from typing import Final

from headgate.config.kinds import format_address
from headgate.config.listener import Listener as ListenerConfig
from headgate.counters import HELD_DOWNSTREAM, HELD_HEADS
from headgate.engine.quic.early import early_context
from headgate.engine.quic.settings import ConnectionSettings as QuicSettings
from headgate.engine.quic.stream import StreamSettings
from headgate.engine.tls13.early import EarlyData
from headgate.engine.tls13.tickets import TicketKeys
from headgate.net.udp import UdpSocket
from headgate.process.data_plane import DataPlane
from headgate.process.quic_keys import TICKET_SECONDS, QuicKeys
from headgate.process.quic_sample import SAMPLE_SECONDS, SamplePage, look_at
from headgate.process.quic_view import QLOG_FOLDER
from headgate.process.start import WorkerStart
from headgate.server.hand_over import Forwarder, Mailbox
from headgate.server.quic_endpoint import QuicEndpoint, h3_settings
from headgate.server.quic_memory import MemoryBudget
from headgate.server.quic_parts import EndpointKeys, Timers
from headgate.telemetry.qlog import QlogDirectory
from headgate.tls.context import ServerTls
from headgate.tls.quic_server import QuicServerTls

# RFC 7838 section 3.1: for how long a client may remember where HTTP/3 is; a day is its own default, and others'.
ALT_SVC_SECONDS: Final = 86_400


class QuicPlane:
    """All endpoints of one worker."""

    def __init__(self, plane: DataPlane, start: WorkerStart, keys: QuicKeys, timers: Timers) -> None:
        self.endpoints: list[QuicEndpoint] = []
        self._plane = plane
        self._slot = start.slot
        self._generation = start.generation
        self._keys = keys
        self._timers = timers
        self._memory = MemoryBudget()
        self._tls: dict[int, QuicServerTls] = {}
        self._policies: dict[int, bytes] = {}
        self._qlog: QlogDirectory | None = None
        self._qlog_errors = 0
        self._sample_at = 0.0
        values = plane.counters.values
        self._mailbox: Mailbox | None = None
        if start.mail is not None:
            self._mailbox = Mailbox(start.mail, start.slot, plane.poller, values, plane.observer.crashed)

    def __repr__(self) -> str:
        return f"<QuicPlane {len(self.endpoints)} endpoints>"

    def add(self, index: int, bound: socket.socket, tls: ServerTls) -> None:
        """Build the endpoint of a bound UDP socket of a listener; it reads only once it is started."""
        plane = self._plane
        table = plane.config.listener[index]
        secrets = self._tls.get(index)
        if secrets is None:
            self._policies[index] = tls.policy.id
            secrets = self._tls[index] = QuicServerTls(
                tls,
                plane.counters.values,
                tickets=self._tickets(index),
                early=self._early(index) if table.quic.early_data else None,
            )
        host, port = bound.getsockname()[:2]
        endpoint = QuicEndpoint(
            format_address(host, port),
            UdpSocket(bound),
            poller=plane.poller,
            handler=plane.handler_of(index, tls),
            observer=plane.observer,
            settings=plane.settings_of(index),
            limits=plane.limits_of(index),
            memory=self._memory,
            forwarder=plane.forwarder,
            values=plane.counters.values,
            tls=secrets,
            quic=quic_settings(table),
            keys=EndpointKeys(self._keys.connection_ids, self._keys.resets, self._keys.tokens),
            slot=self._slot,
            generation=self._generation,
            clock=plane.clock,
            random=os.urandom,
            timers=self._timers,
            port=port,
            forward=Forwarder(self._mailbox, len(self.endpoints)) if self._mailbox is not None else None,
        )
        if table.quic.retry == "always":
            endpoint.admission.max_half_open = 0
        self.endpoints.append(endpoint)
        plane.announce(endpoint.name, b'h3=":%d"; ma=%d' % (table.advertise_port or port, ALT_SVC_SECONDS))

    def start(self) -> None:
        """Begin to read."""
        for endpoint in self.endpoints:
            endpoint.start()
        if self._mailbox is not None:
            self._mailbox.receivers.extend(self.endpoints)
            self._mailbox.start()

    def take_keys(self, keys: QuicKeys | None) -> None:
        """Take up the ticket keys of a Snapshot; the rest endpoints ask of their listeners' TLS as it is now."""
        if keys is not None and keys.tickets != self._keys.tickets:
            self._keys = keys
            for index, secrets in self._tls.items():
                secrets.set_tickets(self._tickets(index))

    def _tickets(self, index: int) -> TicketKeys:
        return TicketKeys(self._keys.tickets, self._policies[index], self._slot, int(TICKET_SECONDS))

    def _early(self, index: int) -> EarlyData:
        """Return the rule of early data of a listener; it remembers which of this worker's tickets were used."""
        plane = self._plane
        application = h3_settings(plane.settings_of(index)).encode(False)
        context = early_context(quic_settings(plane.config.listener[index]), application)
        return EarlyData(context, self._slot, plane.clock.wall())

    def sweep(self, now: float) -> None:
        """Look at timeouts, and add what is held for peers to what TCP holds."""
        values = self._plane.counters.values
        for endpoint in self.endpoints:
            endpoint.sweep(now)
        self._memory.settle(self.endpoints)
        for endpoint in self.endpoints:
            values[HELD_HEADS] += endpoint.held_heads
            values[HELD_DOWNSTREAM] += endpoint.held_received + endpoint.held_sent
        if self._qlog is not None:
            self._qlog.flush()
            if self._qlog.errors > self._qlog_errors:
                self._qlog_errors = self._qlog.errors
                self._plane.observer.event(
                    "qlog-failed",
                    "warning",
                    limit_key="qlog",
                    folder=str(self._qlog.directory),
                    reason=self._qlog.error,
                    next="connections are served; what could not be written is left out",
                )

    def publish(self, page: SamplePage | None, now: float) -> None:
        """Look at some connections for `headgate status`, now and then."""
        if page is not None and now >= self._sample_at:
            self._sample_at = now + SAMPLE_SECONDS
            everybody = chain.from_iterable(endpoint.connections for endpoint in self.endpoints)
            page.store(look_at(everybody, self._slot))

    def switch_qlog(self, *, is_on: bool) -> None:
        """Write connections down from now on, those that are open too, or no more."""
        if not is_on:
            if self._qlog is not None:
                self._qlog.close()
            self._qlog = None
        elif self._qlog is None:
            folder = self._plane.config.state_dir / QLOG_FOLDER
            self._qlog = QlogDirectory(folder)
            self._qlog_errors = 0
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
            except OSError as error:
                self._qlog.failed(error)
        for endpoint in self.endpoints:
            endpoint.qlog = self._qlog
            for driver in list(endpoint.connections) if self._qlog is not None else ():
                endpoint.write_down(driver.quic, driver.quic.source)

    @property
    def open_connections(self) -> int:
        """Connections that are open now."""
        return sum(len(endpoint.connections) for endpoint in self.endpoints)

    def drain(self) -> None:
        """Take no new connections; those that are open end with their last answer. The sockets stay open, and with
        them the way of what is still to be said; what would begin anew is refused."""
        for endpoint in self.endpoints:
            endpoint.drain()

    def close(self) -> None:
        """End everything at once."""
        if self._mailbox is not None:
            self._mailbox.close()
        if self._qlog is not None:
            self._qlog.close()
        for endpoint in self.endpoints:
            endpoint.close()


def quic_settings(table: ListenerConfig) -> QuicSettings:
    """Return what a listener's table asks of its QUIC connections."""
    streams = StreamSettings(bidi_streams=table.quic.requests)
    return QuicSettings(streams=streams, idle_timeout=table.quic.idle_timeout)
