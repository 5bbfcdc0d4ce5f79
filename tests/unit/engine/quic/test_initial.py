"""A first Initial is believed by its tag alone, and its keys serve the connection."""

import tracemalloc

import pytest
from tests.unit.engine.quic.peers import (
    CLIENT,
    SETTINGS,
    WALL,
    brief_client,
    flushed,
    initial,
    initial_keys,
    receive,
)
from tests.unit.engine.tls13.peers import credential, seeded

from headgate.engine.quic.connection import accept
from headgate.engine.quic.errors import PROTOCOL_VIOLATION
from headgate.engine.quic.frames import PING_FRAME
from headgate.engine.quic.initial import open_initial
from headgate.engine.quic.levels import INITIAL
from headgate.engine.quic.packet import VERSION_1, parse_long_header
from headgate.engine.quic.protect import KeySet
from headgate.engine.tls13.settings import ServerSettings


def first_initial():
    (first,) = flushed(brief_client(), 0.0)
    return first


def server_with(first, keys):
    header = parse_long_header(first, 0, len(first))
    tls = ServerSettings(select=lambda name: [credential()])
    random = seeded(2)
    return accept(
        tls,
        SETTINGS,
        random,
        0.0,
        WALL,
        destination=header.destination,
        source=random(8),
        peer=CLIENT,
        local=b"",
        keys=keys,
    )


def test_the_keys_that_opened_it_serve_the_connection():
    first = first_initial()
    keys = open_initial(first, parse_long_header(first, 0, len(first)))
    assert isinstance(keys, KeySet)
    server = server_with(first, keys)
    receive(server, first, 0.0)
    assert flushed(server, 0.0)
    assert server.dropped == {}


@pytest.mark.parametrize("at", [-1, 40, 600])
def test_one_octet_changed_is_not_believed(at):
    first = bytearray(first_initial())
    first[at] ^= 1
    assert open_initial(bytes(first), parse_long_header(bytes(first), 0, len(first))) is None


def test_reserved_bits_under_a_right_tag_are_answered_by_the_connection():
    first = first_initial()
    bad = initial(initial_keys(first), first, PING_FRAME, reserved=0x0C)
    keys = open_initial(bad, parse_long_header(bad, 0, len(bad)))
    server = server_with(bad, keys)
    receive(server, bad, 0.0)
    assert server.end.code == PROTOCOL_VIOLATION


def test_nothing_is_kept_of_what_does_not_open():
    first = bytearray(first_initial())
    first[-1] ^= 1
    data = bytes(first)
    header = parse_long_header(data, 0, len(data))

    def flood():
        for _ in range(200):
            assert open_initial(data, header) is None

    flood()
    tracemalloc.start()
    try:
        flood()
        before, _ = tracemalloc.get_traced_memory()
        flood()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 200  # not one octet for each


def test_the_version_of_the_packet_is_that_of_the_keys():
    first = first_initial()
    keys = open_initial(first, parse_long_header(first, 0, len(first)))
    assert (keys.level, keys.version) == (INITIAL, VERSION_1)
