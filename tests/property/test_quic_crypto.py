"""A ClientHello and a Finished in CRYPTO frames of any size, in any order, overlapping, duplicated: served."""

import random as randomness

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.engine.quic.levels import INITIAL
from headgate.testing.quic_memory import Duel
from headgate.testing.quic_raw import encode_crypto

PACKET = 1000


def packets_of(pieces, data):
    """Contents of packets with a CRYPTO frame for each (from, to) of `pieces`."""
    contents = [b""]
    for start, end in pieces:
        frame = encode_crypto(start, data[start:end])
        if len(contents[-1]) + len(frame) > PACKET:
            contents.append(b"")
        contents[-1] += frame
    return contents


def shake_in_pieces(cut):
    """Shake hands with everything that the client says cut by `cut(octets)`, a list of (from, to)."""
    duel = Duel()
    raw = duel.raw
    for _ in range(2):  # the ClientHello, then the Finished
        for level, _, data in raw.take_crypto():
            for content in packets_of(cut(data), data):
                duel.put(raw.initial(content) if level == INITIAL else raw.packet(level, content))
        duel.settle() if raw.is_complete else answer(duel)
    assert raw.is_confirmed
    assert duel.server.quic.tls.server_name == b"localhost"
    assert duel.send(b"\x01").raw.close is None


def answer(duel):
    for datagram in duel.take():
        duel.raw.receive(datagram)


@pytest.mark.parametrize("order", ["rising", "falling", "shuffled"])
def test_single_octets(order):
    def cut(data):
        octets = [(at, at + 1) for at in range(len(data))]
        if order == "falling":
            octets.reverse()
        elif order == "shuffled":
            randomness.Random(3).shuffle(octets)
        return octets

    shake_in_pieces(cut)


@given(seed=st.integers(0, 1 << 32), longest=st.integers(1, 400), overlap=st.integers(0, 30))
def test_pieces_that_overlap_and_come_twice_in_any_order(seed, longest, overlap):
    random = randomness.Random(seed)

    def cut(data):
        pieces, at = [], 0
        while at < len(data):
            end = min(at + random.randint(1, longest), len(data))
            pieces.append((max(at - random.randint(0, overlap), 0), end))
            at = end
        pieces += random.choices(pieces, k=len(pieces) // 3)
        random.shuffle(pieces)
        return pieces

    shake_in_pieces(cut)
