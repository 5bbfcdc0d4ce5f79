"""What came to QUIC later, against aioquic in both roles: version 2, early data, datagrams."""

import time

import pytest
from aioquic.quic.events import DatagramFrameReceived
from aioquic.quic.packet import QuicProtocolVersion
from tests.parity.test_quic_connection import Pair
from tests.unit.engine.quic.peers import SETTINGS
from tests.unit.engine.tls13.peers import keys

from headgate.counters import EARLY_ACCEPTED, EARLY_OFF, EARLY_USED
from headgate.engine.quic.closing import State
from headgate.engine.quic.datagrams import HEADER, ROOM
from headgate.engine.quic.early import early_context
from headgate.engine.quic.packet import VERSION_1, VERSION_2
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.tls13.early import EarlyData

V1, V2 = QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2
NEW_FIRST = ConnectionSettings(versions=(VERSION_2, VERSION_1))


# -- versions


@pytest.mark.parametrize(
    ("theirs", "ours", "negotiated"),
    [
        ({"original_version": V1, "supported_versions": [V1, V2]}, SETTINGS, VERSION_1),
        ({"original_version": V1, "supported_versions": [V2, V1]}, SETTINGS, VERSION_2),
        (
            {"original_version": V1, "supported_versions": [V1, V2]},
            ConnectionSettings(prefers_newest=True),
            VERSION_2,
        ),
        ({"original_version": V2, "supported_versions": [V2, V1]}, SETTINGS, VERSION_2),
        ({"original_version": V1, "supported_versions": [V1]}, NEW_FIRST, VERSION_1),
    ],
)
@pytest.mark.parametrize("loss", [0, 5])
def test_its_client_and_our_server_agree_on_a_version(theirs, ours, negotiated, loss):
    pair = Pair(ours_is_client=False, theirs=theirs, ours={"settings": ours}, loss=loss)
    pair.run(pair.is_complete)
    assert pair.ours.version == pair.theirs._version == negotiated
    stream = pair.theirs.get_next_available_stream_id()
    pair.theirs.send_stream_data(stream, bytes(20_000), end_stream=True)
    pair.run(lambda: len(pair.read) == 20_000)


@pytest.mark.parametrize(
    ("ours", "version", "theirs", "negotiated"),
    [
        (SETTINGS, VERSION_1, [V1, V2], VERSION_1),
        (NEW_FIRST, VERSION_1, [V1, V2], VERSION_2),
        (NEW_FIRST, VERSION_1, [V1], VERSION_1),
        (NEW_FIRST, VERSION_2, [V2, V1], VERSION_2),
    ],
)
@pytest.mark.parametrize("loss", [0, 5])
def test_our_client_and_its_server_agree_on_a_version(ours, version, theirs, negotiated, loss):
    pair = Pair(
        ours_is_client=True,
        ours={"settings": ours, "version": version},
        theirs={"supported_versions": theirs},
        loss=loss,
    )
    pair.run(pair.is_complete)
    assert pair.ours.version == pair.theirs._version == negotiated
    stream = pair.ours.streams.open(is_uni=False)
    pair.ours.streams.write(stream, bytes(20_000), fin=True)
    pair.run(lambda: len(pair.data) == 20_000)


def test_its_keys_are_updated_in_version_2():
    pair = Pair(ours_is_client=False, theirs={"original_version": V2, "supported_versions": [V2, V1]})
    pair.run(pair.is_complete)
    pair.theirs.request_key_update()
    pair.theirs.send_stream_data(0, b"x" * 5000)
    pair.run(lambda: len(pair.read) == 5000)


# -- early data


def rule():
    return EarlyData(early_context(SETTINGS, b""), 3, time.time() - 100)


def with_early(rule):
    return {"tickets": keys(), "early": rule, "wall": time.time()}


def ticket_of(early):
    pair = Pair(ours_is_client=False, ours=with_early(early))
    pair.run(lambda: pair.is_complete() and pair.tickets)
    return next(iter(pair.tickets.values()))


def test_its_early_data_is_taken_once():
    early = rule()
    ticket = ticket_of(early)
    for outcome in (EARLY_ACCEPTED, EARLY_USED):
        ask_early(early, ticket, outcome)


def ask_early(early, ticket, outcome):
    pair = Pair(ours_is_client=False, ours=with_early(early), theirs={"session_ticket": ticket})
    stream = pair.theirs.get_next_available_stream_id()
    pair.theirs.send_stream_data(stream, b"GET " * 50, end_stream=True)
    pair.turn()
    assert pair.ours.tls.early_outcome == outcome
    assert not pair.ours.is_complete
    is_taken = outcome == EARLY_ACCEPTED
    assert pair.ours.is_early(stream) is is_taken
    pair._read_ours()
    assert bytes(pair.read) == (b"GET " * 50 if is_taken else b"")
    pair.run(pair.is_complete)
    assert pair.theirs.tls.early_data_accepted is is_taken
    pair.run(lambda: bytes(pair.read) == b"GET " * 50)
    assert pair.ours.state is State.OPEN


def test_its_early_data_is_refused_where_nobody_takes_any():
    ticket = ticket_of(rule())
    pair = Pair(ours_is_client=False, ours=with_early(None), theirs={"session_ticket": ticket})
    pair.theirs.send_stream_data(0, b"GET", end_stream=True)
    pair.run(lambda: bytes(pair.read) == b"GET")
    assert pair.ours.tls.early_outcome == EARLY_OFF
    assert pair.ours.is_complete


@pytest.mark.parametrize("knows", [True, False])
def test_our_early_data_at_its_server(knows):
    tickets = {}
    first = Pair(ours_is_client=True, ours={"wall": time.time()}, tickets=tickets)
    first.run(first.is_complete)
    held = []
    first.run(lambda: held.extend(first.ours.tls.take_sessions()) or held)
    assert held[0].is_early
    if not knows:
        tickets.clear()
    pair = Pair(
        ours_is_client=True,
        ours={"wall": held[0].received + 0.5, "session": held[0], "early": True},
        tickets=tickets,
    )
    stream = pair.ours.streams.open(is_uni=False)
    pair.ours.streams.write(stream, b"GET " * 500, fin=True)
    pair.run(lambda: len(pair.data) == 2000)
    assert bytes(pair.data) == b"GET " * 500
    pair.run(pair.is_complete)
    assert pair.ours.tls.early_accepted is knows
    assert pair.ours.tls.resumed is knows


# -- datagrams


@pytest.mark.parametrize("ours_is_client", [True, False])
def test_datagrams_both_ways(ours_is_client):
    pair = Pair(
        ours_is_client=ours_is_client,
        ours={"settings": ConnectionSettings(has_datagrams=True)},
        theirs={"max_datagram_frame_size": 65_535},
    )
    pair.run(pair.is_complete)
    for size in (0, 1, 900):
        pair.ours.datagrams.send(bytes(size))
        pair.theirs.send_datagram_frame(bytes(size))
    pair.ours.datagrams.send(bytes(ROOM - HEADER))
    for _ in range(3):
        pair.turn()
    came = [len(event.data) for event in pair.events if isinstance(event, DatagramFrameReceived)]
    assert came == [0, 1, 900, ROOM - HEADER]
    assert [len(pair.ours.datagrams.receive()) for _ in range(3)] == [0, 1, 900]
    assert pair.ours.datagrams.receive() is None
