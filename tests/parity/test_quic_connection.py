"""Whole connections against another implementation, in both roles and in memory: aioquic's QuicConnection."""

import ssl

import pytest
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection as Theirs
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificates
from tests.unit.engine.quic.peers import flushed, new_client, new_server, receive
from tests.unit.engine.tls13.peers import identity

from headgate.engine.quic.closing import State
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.tls13.groups import X25519

MIB = bytes(range(256)) * 4096
ADDRESS = ("192.0.2.1", 4433)
STEP = 0.005


class Pair:
    """Ours and theirs, with a clock that goes on by `STEP` for each way."""

    def __init__(self, *, ours_is_client, loss=0, ours=None, theirs=None, tickets=None):
        """`ours` are options of our side, `theirs` of its configuration; `tickets` is its store of tickets."""
        self.now = 1000.0
        self.options = ours or {}
        self.tickets = {} if tickets is None else tickets
        self.loss = loss
        self.count = 0
        self.data = bytearray()
        self.read = bytearray()
        self.events = []
        self.ours = None
        configuration = QuicConfiguration(
            is_client=not ours_is_client, alpn_protocols=["h3"], **(theirs or {})
        )
        if ours_is_client:
            leaf, *others = load_pem_x509_certificates(identity().chain_pem)
            configuration.certificate, configuration.certificate_chain = leaf, others
            configuration.private_key = serialization.load_pem_private_key(identity().key_pem, None)
            self.ours = new_client(now=self.now, groups=(X25519,), shares=(X25519,), **self.options)
            self.theirs = None
            self.configuration = configuration
        else:
            configuration.server_name = "a.test"
            configuration.verify_mode = ssl.CERT_NONE
            self.theirs = Theirs(configuration=configuration, session_ticket_handler=self._keep)
            self.theirs.connect(ADDRESS, self.now)

    def _keep(self, ticket):
        self.tickets[ticket.ticket] = ticket

    def survives(self):
        self.count += 1
        return not self.loss or self.count % self.loss != 0

    def to_theirs(self, datagram):
        if self.theirs is None:
            self.theirs = Theirs(
                configuration=self.configuration,
                original_destination_connection_id=datagram[6:14],
                session_ticket_fetcher=self.tickets.get,
                session_ticket_handler=self._keep,
            )
        self.theirs.receive_datagram(datagram, ADDRESS, self.now)

    def to_ours(self, datagram):
        if self.ours is None:
            self.ours = new_server(datagram, now=self.now, **self.options)
        receive(self.ours, datagram, self.now)

    def turn(self):
        self.now += STEP
        if self.ours is not None:
            self.ours.on_deadline(self.now)
            self._read_ours()
            for datagram in flushed(self.ours, self.now):
                if self.survives():
                    self.to_theirs(datagram)
        self.now += STEP
        if self.theirs is not None:
            timer = self.theirs.get_timer()
            if timer is not None and timer <= self.now:
                self.theirs.handle_timer(self.now)
            self._read_theirs()
            for datagram, _ in self.theirs.datagrams_to_send(self.now):
                if self.survives():
                    self.to_ours(datagram)
            self._read_theirs()

    def _read_ours(self):
        for stream, piece, _ in self.ours.streams.take_arrived():
            self.read += piece
            self.ours.streams.consumed(stream, len(piece))

    def _read_theirs(self):
        while (event := self.theirs.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, StreamDataReceived):
                self.data += event.data

    def run(self, done):
        for _ in range(20_000):
            if done():
                return
            self.turn()
        raise AssertionError(f"never: {self.ours!r} {self.ours.end!r} {self.ours.recovery!r}")

    def is_complete(self):
        return (
            self.ours is not None
            and self.ours.is_confirmed
            and any(isinstance(event, HandshakeCompleted) for event in self.events)
        )


@pytest.mark.parametrize("loss", [0, 9])
@pytest.mark.parametrize("ours_is_client", [True, False])
def test_handshake_and_a_mebibyte_each_way(ours_is_client, loss):
    pair = Pair(ours_is_client=ours_is_client, loss=loss)
    pair.run(pair.is_complete)
    rest = MIB
    if ours_is_client:
        stream = pair.ours.streams.open(is_uni=False)
        rest = rest[pair.ours.streams.write(stream, rest, fin=True) :]
        pair.run(lambda: pair.data)
        pair.theirs.send_stream_data(stream, MIB, end_stream=True)
    else:
        stream = pair.theirs.get_next_available_stream_id()
        pair.theirs.send_stream_data(stream, MIB, end_stream=True)
        pair.run(lambda: pair.read)
    while rest or len(pair.data) < len(MIB) or len(pair.read) < len(MIB):
        if rest:
            rest = rest[pair.ours.streams.write(stream, rest, fin=True) :]
        pair.turn()
        assert pair.ours.state is State.OPEN
    assert bytes(pair.data) == MIB
    assert bytes(pair.read) == MIB


def test_its_key_updates_are_followed():
    pair = Pair(ours_is_client=False)
    pair.run(pair.is_complete)
    stream = pair.theirs.get_next_available_stream_id()
    for count in range(1, 4):
        pair.theirs.request_key_update()
        pair.theirs.send_stream_data(stream, b"x" * 5000)
        for _ in range(200):  # three probe timeouts, after which the key before is dropped
            pair.turn()
        assert len(pair.read) == 5000 * count
        assert pair.ours._spaces[APPLICATION].keys.read_generation == count


def test_it_hears_why_we_close():
    pair = Pair(ours_is_client=True)
    pair.run(pair.is_complete)
    pair.ours.close(0x0100, "done", pair.now)

    def ends():
        return [event for event in pair.events if isinstance(event, ConnectionTerminated)]

    pair.run(ends)
    (end,) = ends()
    assert (end.error_code, end.reason_phrase) == (0x0100, "done")


def test_we_hear_why_it_closes():
    pair = Pair(ours_is_client=False)
    pair.run(pair.is_complete)
    pair.theirs.close(error_code=0x0102, reason_phrase="gone")
    pair.turn()
    assert pair.ours.state is State.DRAINING
    end = pair.ours.end
    assert (end.code, end.reason, end.is_application, end.is_ours) == (0x0102, "gone", True, False)
