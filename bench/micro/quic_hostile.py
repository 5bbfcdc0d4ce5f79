"""What hostile packets cost to read or to refuse: `python -m bench.micro.quic_hostile`.

Each line is one kind of packet of 1200 octets, filled with as many frames of one kind as fit, given to a server's
connection that is open; beside it a packet full of content, as the measure. A packet that costs many times as much
as that one is worth sending for an attacker.
"""

import time

from headgate.engine.quic import frames
from headgate.engine.quic.closing import State
from headgate.engine.quic.levels import APPLICATION
from headgate.testing.quic_memory import Duel, collect, deliver
from headgate.testing.quic_raw import encode_crypto, encode_stream

ROOM = 1200 - 1 - 8 - 2 - 16
ROUNDS = 40


def fill(frame: bytes) -> bytes:
    """As many of a frame as fit into a packet."""
    return frame * (ROOM // len(frame))


def contents() -> dict[str, list[bytes]]:
    """Return the contents of packets by name."""
    content = [encode_stream(0, at * 1100, bytes(1100)) for at in range(ROUNDS)]
    acks = frames.encode_ack([0, 0], 0, None, 100)
    return {
        "content": content,
        "padding": [bytes(ROOM)] * ROUNDS,
        "PING": [fill(frames.PING_FRAME)] * ROUNDS,
        "ACK": [fill(acks)] * ROUNDS,
        "MAX_DATA": [fill(frames.encode_credit(frames.FRAME_MAX_DATA, 1))] * ROUNDS,
        "MAX_STREAM_DATA": [fill(frames.encode_stream_credit(frames.FRAME_MAX_STREAM_DATA, 0, 1))] * ROUNDS,
        "STREAM_DATA_BLOCKED": [fill(frames.encode_stream_credit(frames.FRAME_STREAM_DATA_BLOCKED, 0, 1))]
        * ROUNDS,
        "empty STREAM": [fill(encode_stream(0, 0, b""))] * ROUNDS,
        "one-octet STREAM": [
            b"".join(encode_stream(0, 4096 + at * 100 + i, b"x") for i in range(100)) for at in range(ROUNDS)
        ],
        "sparse STREAM": [
            b"".join(encode_stream(0, 4096 + 2 * (at * 10 + i), b"x") for i in range(10))
            for at in range(ROUNDS)
        ],
        "empty CRYPTO": [fill(encode_crypto(0, b""))] * ROUNDS,
        "PATH_CHALLENGE": [fill(frames.encode_path(frames.FRAME_PATH_CHALLENGE, bytes(8)))] * ROUNDS,
        "STOP_SENDING": [fill(frames.encode_stop_sending(0, 1))] * ROUNDS,
        "RESET_STREAM": [fill(frames.encode_reset_stream(0, 1, 0))] * ROUNDS,
    }


def cost(packets: list[bytes]) -> tuple[float, str]:
    """Return microseconds of CPU for each packet, with what is sent in answer, and how it ended."""
    duel = Duel().shake()
    sealed = [duel.raw.packet(APPLICATION, content) for content in packets]
    duel.put(duel.raw.packet(APPLICATION, encode_stream(0, 0, b"\0")))
    began = time.process_time()
    count = 0
    for packet in sealed:
        deliver(duel.quic, packet, duel.now)
        duel.quic.streams.take_arrived()
        collect(duel.quic, duel.now)
        count += 1
        if duel.quic.state is not State.OPEN:
            break
    took = time.process_time() - began
    end = duel.quic.end
    return took / count * 1e6, "" if end is None else f"{end!r} after {count}"


def main() -> int:
    """Print a line for each kind of packet."""
    measure = min(cost(contents()["content"])[0] for _ in range(5))
    print(f"{'packet of 1200 octets':24} {'us':>8} {'x':>6}")
    for name, packets in contents().items():
        results = [cost(packets) for _ in range(5)]
        best = min(results)
        print(f"{name:24} {best[0]:8.1f} {best[0] / measure:6.1f}  {best[1]}")
    return 0


if __name__ == "__main__":
    main()
