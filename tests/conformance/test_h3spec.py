"""What a server must answer to clients that break QUIC, HTTP/3 and QPACK: the cases of h3spec, in memory.

Each case carries the section of its RFC ("9000-4.1"); see tests/conformance/h3spec.
"""

import pytest
from tests.conformance.h3spec import HTTP3, TRANSPORT, packets, verdict, wants_handshake

from headgate.engine.quic import frames
from headgate.engine.quic.errors import PROTOCOL_VIOLATION, QuicError
from headgate.engine.quic.levels import APPLICATION, EARLY
from headgate.testing.quic_memory import Duel
from headgate.testing.quic_raw import encode_crypto


def play(case):
    duel = Duel(parameters=case.parameters, tamper=case.tamper)
    if wants_handshake(case):
        duel.shake()
    else:
        for datagram in duel.raw.flush():
            duel.put(datagram)
        for datagram in duel.take():
            duel.raw.receive(datagram)
        if case.level == APPLICATION:  # what is wrong is in the handshake itself
            return duel.settle()
    for packet in packets(case, duel.raw):
        duel.put(packet)
    return duel.settle()


@pytest.mark.parametrize("case", TRANSPORT, ids=str)
def test_transport(case):
    assert verdict(case, play(case).raw) == ""


@pytest.mark.parametrize("case", HTTP3, ids=str)
def test_http3(case):
    duel = play(case)
    assert verdict(case, duel.raw) == ""
    assert bool(case.codes) != bool(duel.server.requests)


def test_rfc9001_8_3_crypto_in_a_0_rtt_packet():
    """What a server sees of it that takes 0-RTT."""
    reader = frames.FrameReader(is_server=True)
    reader.begin(encode_crypto(0, b"x"), EARLY)
    with pytest.raises(QuicError) as caught:
        reader.next()
    assert caught.value.code == PROTOCOL_VIOLATION


def test_a_server_that_lets_it_pass_is_found():
    case = TRANSPORT[0]
    duel = Duel().shake()
    assert verdict(case, duel.raw).startswith("not closed")
    duel.send(frames.HANDSHAKE_DONE_FRAME)
    assert verdict(case, duel.raw).startswith("closed by")
