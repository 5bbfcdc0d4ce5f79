"""Fuzz target: whole `receive_batch`, both roles: packets sealed with the right keys that say anything.

    python -m fuzz.quic_receive --seconds 10 --seed 1

A connection of ours shakes hands with another; then its peer's keys seal mutated frames, at each level and stage of
the handshake, some out of order or twice, some broken, cut or joined afterwards. Checked each time: nothing is ever
raised; an end has a code that may go on the wire; what is held keeps to the limits; what is said in answer is not
more than what came allows; and it costs little. Time passes in between, with all that falls due.
"""

import random
import sys
from typing import Final

from fuzz._common import Broken, main, mutate, repeat, timed
from fuzz.quic_packet import FRAMES, PIECES
from headgate.engine.quic.closing import State
from headgate.engine.quic.connection import QuicConnection, accept, connect
from headgate.engine.quic.connection_ids import MAX_PEER_IDS
from headgate.engine.quic.crypto_buffer import MAX_CRYPTO_AHEAD
from headgate.engine.quic.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.quic.packet import VERSION_1, encode_long_header, encode_short_header, parse_long_header
from headgate.engine.quic.receive_buffer import MAX_CONNECTION_GAPS
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.spaces import MAX_AHEAD_OCTETS
from headgate.engine.tls13.groups import X25519
from headgate.engine.tls13.settings import ClientSettings, ServerSettings
from headgate.testing.quic_memory import LOCAL, PEER, WALL, collect, credential, deliver
from headgate.testing.quic_raw import believe, encode_crypto, encode_stream

CLIENT: Final = ClientSettings(server_name=b"localhost", verify=believe, groups=(X25519,), shares=(X25519,))
SERVER: Final = ServerSettings(select=lambda _name: [credential()])
SETTINGS: Final = ConnectionSettings()
DATAGRAMS: Final = ConnectionSettings(has_datagrams=True)
# Frames with the numbers of streams and offsets that mean something in these connections.
MORE: Final[tuple[bytes, ...]] = FRAMES + tuple(
    encode_stream(stream, offset, b"some", fin=fin)
    for stream in (0, 1, 2, 3, 4, 400)
    for offset in (0, 4, 1000, 1 << 17)
    for fin in (False, True)
) + tuple(encode_crypto(offset, b"\x04\0\0\x05hello") for offset in (0, 9, 5000)) + (
    b"\x02\x00\x00\x00\x00", b"\x02\x01\x00\x00\x01", b"\x02\x05\x00\x00\x05", b"\x1e\x01\x1e",
)  # fmt: skip


def pair(stage: int, seed: int) -> tuple[QuicConnection, QuicConnection]:
    """Return client and server after so many legs of their handshake; four confirm it."""
    chance = random.Random(seed)
    settings = chance.choice((SETTINGS, DATAGRAMS))

    def make_id() -> tuple[bytes, bytes]:
        return chance.randbytes(8), chance.randbytes(16)

    client = connect(CLIENT, settings, chance.randbytes, 0.0, WALL, peer=PEER, make_id=make_id)
    (first,) = collect(client, 0.0)
    destination = parse_long_header(first, 0, len(first)).destination
    server = accept(
        SERVER,
        settings,
        chance.randbytes,
        0.0,
        WALL,
        destination=destination,
        source=chance.randbytes(8),
        peer=PEER,
        local=LOCAL,
        make_id=make_id,
        make_token=lambda _peer: chance.randbytes(40),
    )
    deliver(server, first, 0.0)
    for leg in range(stage):
        giver, taker = (server, client) if leg % 2 == 0 else (client, server)
        for datagram in collect(giver, 0.0):
            deliver(taker, datagram, 0.0)
    return client, server


def held(side: QuicConnection) -> int:
    """Return how many octets of the peer's a connection holds, by its own accounts."""
    crypto = sum(len(space.crypto_in._flat) for space in side._spaces)
    return side.streams.waiting.charge + crypto + side._ahead._octets


def check(side: QuicConnection) -> None:
    """Hold the limits against what a connection holds. Raises `Broken`."""
    streams, settings = side.streams, SETTINGS.streams
    most = 2 * settings.max_connection_window + 3 * MAX_CRYPTO_AHEAD + MAX_AHEAD_OCTETS
    if held(side) > most or streams.waiting.gaps > MAX_CONNECTION_GAPS:
        raise Broken(f"{side!r} holds {held(side)} octets behind {streams.waiting.gaps} gaps")
    if len(streams.table) > settings.bidi_streams + settings.uni_streams or len(side.dropped) > 32:
        raise Broken(f"{side!r} has {len(streams.table)} streams and {len(side.dropped)} kinds of drops")
    if len(side.peer_ids._held) > MAX_PEER_IDS:
        raise Broken(f"{side!r} holds {side.peer_ids!r}")
    if len(side.resets) + len(side.stops) > 4096:
        raise Broken(f"{side!r} has {len(side.resets)} resets to tell")
    end = side.end
    if (end is None) != (side.state is State.OPEN) or (end is not None and not 0 <= end.code < 1 << 62):
        raise Broken(f"{side!r} ended by {end!r}")


class Puppet:
    """Seals whatever it is told with the keys of one side, for the other to receive."""

    def __init__(self, hostile: QuicConnection, victim: QuicConnection, chance: random.Random) -> None:
        self.hostile = hostile
        self.victim = victim
        self._chance = chance
        self._number = 1000
        self._last = b""

    def levels(self) -> list[int]:
        """Return the levels that can be written."""
        spaces = self.hostile._spaces
        return [level for level in (INITIAL, HANDSHAKE, APPLICATION) if spaces[level].can_write()]

    def packet(self, level: int, content: bytes) -> bytes:
        """Return a packet for the victim."""
        chance = self._chance
        keys = self.hostile._spaces[level].keys
        self._number += chance.choice((1, 1, 1, 2, -1, 50))
        number, to = max(self._number, 0), self.hostile.peer_ids.current
        if level == APPLICATION and self.victim.own_ids.active:
            to = chance.choice(list(self.victim.own_ids.active.values()))
        content = content[:1100].ljust(4, b"\0")
        if level == APPLICATION:
            header = encode_short_header(to, keys.phase ^ (chance.random() < 0.02), 0, number, 2)
        else:
            content = content.ljust(1150 if level == INITIAL else 4, b"\0")
            header = encode_long_header(
                level, VERSION_1, to, self.hostile.source, b"", number, 2, len(content)
            )
        if chance.random() < 0.02:
            header = bytes((header[0] ^ 1 << chance.randrange(7),)) + header[1:]
        keys.seal(header, 2, number, content)
        return keys.take_sealed()

    def datagram(self, contents: list[bytes]) -> bytes:
        """Return a datagram of packets with these contents, sometimes broken."""
        chance = self._chance
        levels = self.levels()
        packets = [self.packet(chance.choice(levels), content) for content in contents]
        data = b"".join(packets)
        luck = chance.random()
        if luck < 0.05:
            data = self._last or data
        elif luck < 0.1:
            data = mutate(data, [self._last or data], PIECES, chance)
        self._last = data
        return data


class Inputs:
    """Draws stages, roles and frames; goes on with a connection until it ends."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._now = 0.0
        self._puppet: Puppet | None = None
        self._left = 0
        self.ends: dict[int, int] = {}

    def _new(self) -> Puppet:
        chance = self._chance
        sides = pair(chance.choice((1, 2, 3, 4, 4, 4, 4)), chance.randrange(1 << 30))
        hostile, victim = sides if chance.random() < 0.6 else sides[::-1]
        self._now = 0.0
        self._left = chance.choice((1, 5, 50))
        return Puppet(hostile, victim, chance)

    def run_one(self) -> None:
        """Draw one read's worth of datagrams and check all of it. Raises `Broken`."""
        chance = self._chance
        puppet = self._puppet
        if puppet is None or self._left <= 0 or puppet.victim.state is not State.OPEN:
            puppet = self._puppet = self._new()
        self._left -= 1
        if not puppet.levels():
            self._left = 0
            return
        contents = []
        for _ in range(chance.choice((1, 1, 2, 10))):
            content = b"".join(chance.choice(MORE) for _ in range(chance.randint(1, 3)))
            contents.append(mutate(content, MORE, PIECES, chance) if chance.random() < 0.5 else content)
        datagram = puppet.datagram(contents)
        shown = f"{puppet.victim!r} {datagram.hex()} {[content.hex() for content in contents]}"
        timed(shown, len(datagram), lambda: self._feed(puppet, datagram))

    def _feed(self, puppet: Puppet, data: bytes) -> None:
        victim, chance = puppet.victim, self._chance
        segment = chance.choice((len(data), len(data), 1200, 100))
        peer = PEER if chance.random() < 0.95 else ("192.0.2.9", 9)
        victim.receive_batch(data, segment, peer, LOCAL, chance.choice((0, 0, 2, 3)), self._now)
        check(victim)
        said = sum(map(len, collect(victim, self._now)))
        if said > 3 * 65_536 + 100 * len(data):
            raise Broken(f"{said} octets in answer")
        for stream, piece, _ in victim.streams.take_arrived():
            if chance.random() < 0.5:
                victim.streams.consumed(stream, len(piece))
        if chance.random() < 0.3:
            self._now = max(self._now, min(victim.deadline(), self._now + 1.0))
            victim.on_deadline(self._now)
            collect(victim, self._now)
            check(victim)
        if victim.end is not None:
            self.ends[victim.end.code] = self.ends.get(victim.end.code, 0) + 1


def run(seconds: float, seed: int) -> int:
    """Fuzz for `seconds`; return how many inputs were read. Raises `Broken`."""
    return repeat(Inputs(seed).run_one, seconds)


if __name__ == "__main__":
    sys.exit(main("quic_receive", __doc__, run))
