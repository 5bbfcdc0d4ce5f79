"""What frames do to a connection, those of a hostile peer too."""

import random as randomness

import pytest
from tests.unit.engine.quic.peers import (
    Link,
    brief_client,
    flushed,
    new_client,
    receive,
)

from headgate.engine.quic.closing import State
from headgate.engine.quic.errors import (
    STREAM_LIMIT_ERROR,
)
from headgate.engine.quic.frames import FRAME_STREAM
from headgate.engine.quic.levels import APPLICATION
from headgate.engine.quic.packet import (
    encode_short_header,
)


def nearly_frames(random):
    """A few frames of any kind with small numbers, so that many are well formed."""
    pieces = []
    for _ in range(random.randrange(1, 6)):
        kind = random.choice([*range(0x1F), 0x30, 0x31, random.randrange(256)])
        pieces.append(bytes((kind,)) + bytes(random.choice((0, 1, 2, 4, 7, 8, 63)) for _ in range(3)))
        pieces.append(random.randbytes(random.choice((0, 0, 1, 20))))
    return b"".join(pieces)


@pytest.mark.parametrize("seed", range(4))
def test_frames_of_a_hostile_peer_close_and_never_raise(seed):
    random = randomness.Random(seed)
    ends = set()
    for _ in range(40):
        link = Link(brief_client()).shake()
        for hostile, victim in ((link.client, link.server), (link.server, link.client)):
            keys = hostile._spaces[APPLICATION].keys
            number = 1000
            while victim.state is State.OPEN and number < 1100:
                header = encode_short_header(victim.source, 0, 0, number, 2)
                keys.seal(header, 2, number, nearly_frames(random))
                receive(victim, keys.take_sealed(), link.now)
                victim.streams.take_arrived()
                flushed(victim, link.now)
                victim.deadline()
                number += 1
            ends.add(victim.end.code if victim.end is not None else None)
    assert len(ends) > 3


def test_a_breach_names_its_frame():
    link = Link(new_client()).shake()
    link.client.streams.set_peer_limits(
        max_data=0, bidi_local=0, bidi_remote=1000, uni=0, bidi_streams=1000, uni_streams=0
    )
    for _ in range(101):
        link.client.streams.write(link.client.streams.open(is_uni=False), b"x", fin=True)
    link.run(lambda: link.client.state is not State.OPEN)
    assert link.client.end.code == link.server.end.code == STREAM_LIMIT_ERROR
    assert link.client.end.frame_type == FRAME_STREAM
