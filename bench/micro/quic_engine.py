"""What a full packet of 1200 octets costs the QUIC engine, sent and received: `python -m bench.micro.quic_engine`.

Two connections of ours in memory, one sends and one receives: everything but sockets, so packets, keys, streams, flow
control, acknowledgements, loss recovery, congestion control and pace. CPU time of each side within its own calls,
the best of many short rounds. An acknowledgement comes once for each batch of up to 52 datagrams, as after one read
with UDP_GRO, or, in the second pair of rows, for every second packet, as from a peer that reads them one by one.
The last rows are aioquic, on the same machine, with the same octets.
"""

import ssl
import sys
import time

from bench.micro.quic_pair import CLIENT, DELAY, SERVER, Pair, new_credential
from headgate.engine.quic import connection as module
from headgate.engine.quic.path import Batch
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.stream import StreamSettings

DATAGRAM = 1200
CHUNK = bytes(16_384)
WRITTEN = 512 * 1024  # held unsent or unacknowledged
ROUND = 500  # packets
ROUNDS = 60
WINDOW = 4 * 1024 * 1024


class Transfer:
    """One stream from client to server, which is kept full."""

    def __init__(self, batch_acks: int) -> None:
        window = StreamSettings(
            stream_window=WINDOW,
            max_stream_window=WINDOW,
            connection_window=WINDOW,
            max_connection_window=WINDOW,
        )
        self.pair = Pair(new_credential(), ConnectionSettings(streams=window, max_datagram=DATAGRAM)).shake()
        self.step = batch_acks
        self.stream = self.pair.client.streams.open(is_uni=False)
        self.sending = 0
        self.receiving = 0
        self.packets = 0
        self.batches = 0

    def turn(self) -> None:
        """Send what may go, receive it, answer."""
        pair, client, server = self.pair, self.pair.client, self.pair.server
        if server is None:
            raise RuntimeError("no handshake")
        clock = time.thread_time_ns
        pair.now += DELAY
        begun = clock()
        while client.streams.sender.held < WRITTEN and client.streams.write(self.stream, CHUNK, fin=False):
            pass
        batches = []
        while (batch := client.take_batch(pair.now)) is not None:
            batches.append(batch)
        self.sending += clock() - begun
        pair.now += DELAY
        answers: list[Batch] = []
        for batch in batches:
            self.packets += -(-len(batch.data) // batch.segment)
            self.batches += 1
            step = self.step * batch.segment or len(batch.data)
            for at in range(0, len(batch.data), step):
                data = batch.data[at : at + step]
                begun = clock()
                server.receive_batch(data, batch.segment, CLIENT, b"", 0, pair.now)
                for stream, piece, _ in server.streams.take_arrived():
                    server.streams.consumed(stream, len(piece))
                while (answer := server.take_batch(pair.now)) is not None:
                    answers.append(answer)
                self.receiving += clock() - begun
        pair.now += DELAY
        self._answer(answers)

    def _answer(self, answers: list[Batch]) -> None:
        client, now = self.pair.client, self.pair.now
        begun = time.thread_time_ns()
        for answer in answers:
            client.receive_batch(answer.data, answer.segment, SERVER, b"", 0, now)
        if client.deadline() <= now:
            client.on_deadline(now)
        self.sending += time.thread_time_ns() - begun

    def measure(self) -> tuple[float, float, float]:
        """Return microseconds for a packet, sent and received, and packets in a batch."""
        while self.pair.client.recovery.controller.window < 200 * DATAGRAM:
            self.turn()
        sent = received = float("inf")
        packets = batches = 0
        for _ in range(ROUNDS):
            self.sending = self.receiving = self.packets = self.batches = 0
            while self.packets < ROUND:
                self.turn()
            packets += self.packets
            batches += self.batches
            sent = min(sent, self.sending / self.packets)
            received = min(received, self.receiving / self.packets)
        return sent / 1000, received / 1000, packets / batches


def aioquic() -> tuple[float, float]:
    """Return the same two figures for aioquic."""
    from aioquic.quic.configuration import QuicConfiguration  # noqa: PLC0415 - a peer of development only
    from aioquic.quic.connection import QuicConnection  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.x509 import load_pem_x509_certificates  # noqa: PLC0415

    from headgate.testing.pki import Authority  # noqa: PLC0415

    leaf = Authority.root().leaf("a.test")
    certificate, *chain = load_pem_x509_certificates(leaf.chain_pem)
    serving = QuicConfiguration(
        is_client=False, alpn_protocols=["h3"], max_data=1 << 40, max_stream_data=1 << 40
    )
    serving.certificate, serving.certificate_chain = certificate, chain
    serving.private_key = serialization.load_pem_private_key(leaf.key_pem, None)
    asking = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name="a.test")
    asking.verify_mode = ssl.CERT_NONE
    client = QuicConnection(configuration=asking)
    now = 0.0
    client.connect(SERVER, now)
    server: QuicConnection | None = None
    clock = time.thread_time_ns
    best_sent = best_received = float("inf")
    sending = receiving = packets = 0
    for turn in range(4000):
        now += DELAY
        begun = clock()
        if turn > 20:
            client.send_stream_data(0, CHUNK * 3, False)
        datagrams = client.datagrams_to_send(now)
        sending += clock() - begun
        now += DELAY
        begun = clock()
        for data, _ in datagrams:
            if server is None:
                server = QuicConnection(configuration=serving, original_destination_connection_id=data[6:14])
            server.receive_datagram(data, CLIENT, now)
        answers = server.datagrams_to_send(now) if server is not None else []
        while server is not None and server.next_event() is not None:
            pass
        receiving += clock() - begun
        now += DELAY
        begun = clock()
        for data, _ in answers:
            client.receive_datagram(data, SERVER, now)
        while client.next_event() is not None:
            pass
        sending += clock() - begun
        packets += len(datagrams)
        if packets >= ROUND:
            if turn > 40:
                best_sent = min(best_sent, sending / packets)
                best_received = min(best_received, receiving / packets)
            sending = receiving = packets = 0
    return best_sent / 1000, best_received / 1000


def main() -> None:
    print(f"{module.__file__.rsplit('/', 1)[-1]}, packets of {DATAGRAM} octets, µs of CPU each")
    for label, step in (("one acknowledgement a batch", 0), ("one for every second packet", 2)):
        sent, received, batch = Transfer(step).measure()
        print(f"headgate, {label:<30} sent {sent:6.2f}   received {received:6.2f}   ({batch:.0f} a batch)")
    if "--aioquic" in sys.argv:
        sent, received = aioquic()
        print(f"aioquic {'':<31} sent {sent:6.2f}   received {received:6.2f}")


if __name__ == "__main__":
    main()
