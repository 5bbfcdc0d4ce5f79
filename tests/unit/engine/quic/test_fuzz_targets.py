"""A short round of the two fuzz targets in every run, and that they would notice what they look for."""

import pytest
from fuzz import quic_packet, quic_receive

from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.levels import APPLICATION, INITIAL
from headgate.testing.quic_raw import encode_stream


@pytest.mark.slow
def test_three_seconds_of_packets_find_nothing():
    assert quic_packet.run(3.0, 20260101) > 500


@pytest.mark.slow
def test_five_seconds_of_whole_reads_find_nothing():
    assert quic_receive.run(5.0, 20260101) > 200


def test_packets_and_frames_of_the_corpus_are_read():
    assert {quic_packet.read_header(packet) for packet in quic_packet.PACKETS} >= {
        "0",
        "1",
        "2",
        "4",
        "5",
        "6",
    }
    kinds = {
        kind
        for frame in quic_packet.FRAMES
        for is_server in (True, False)
        for kind in quic_packet.read_frames(frame, APPLICATION, is_server=is_server)
    }
    assert {f"{kind:#x}" for kind in (*range(1, 9), *range(0x10, 0x1F), 0x30)} <= kinds
    assert quic_packet.read_parameters(quic_packet.PARAMETERS[0], from_client=False) == "read"


def test_it_would_find_a_code_that_no_parser_has(monkeypatch):
    def broken(self, data, level):
        raise QuicError(1, "internal")

    class Reader(quic_packet.FrameReader.__base__):
        def __init__(self, **_):
            pass

        begin = broken

    monkeypatch.setattr(quic_packet, "FrameReader", Reader)
    with pytest.raises(quic_packet.Broken, match="internal"):
        quic_packet.read_frames(b"\x01", INITIAL, is_server=True)


def test_stages_of_a_handshake():
    for stage, confirmed in ((1, False), (4, True)):
        client, server = quic_receive.pair(stage, 1)
        assert client.is_confirmed is confirmed
        assert server.is_confirmed is confirmed


def test_connections_end_by_many_codes():
    inputs = quic_receive.Inputs(5)
    for _ in range(1500):
        inputs.run_one()
    assert {0x03, 0x04, 0x05, 0x07, 0x0A} <= set(inputs.ends)


def test_it_would_find_too_much_that_is_held():
    _, server = quic_receive.pair(4, 1)
    quic_receive.check(server)
    server.streams.waiting.charge = 1 << 30
    with pytest.raises(quic_receive.Broken, match="holds 1073741824 octets"):
        quic_receive.check(server)


def test_it_would_find_an_end_without_a_state():
    _, server = quic_receive.pair(4, 1)
    server.close(0, "", 0.0)
    server.end = None
    with pytest.raises(quic_receive.Broken, match="ended by"):
        quic_receive.check(server)


def test_what_is_sealed_for_it_is_opened():
    client, server = quic_receive.pair(4, 1)
    puppet = quic_receive.Puppet(client, server, quic_receive.random.Random(4))
    quic_receive.deliver(server, puppet.packet(APPLICATION, encode_stream(0, 0, b"hello")), 0.0)
    assert server.streams.take_arrived() == [(0, b"hello", False)]
