"""What has been read from a socket and not been looked at yet: a queue for each connection, and one for strangers.

A socket is one queue for everybody: whoever sends faster than we read makes all others wait, or lose what they send.
So the socket is emptied first, which is cheap, and what came is served in turns, a few datagrams of each connection.
Who is alone is served in the batches that came. All together may hold as much as the socket itself would; nobody more
than an equal share of it, and what comes beyond is dropped as a full socket would drop it, but of that queue alone.
The last quarter is for those of whom nothing waits yet, and one or two datagrams of each: many who send much together
must not keep out one who sends little.
"""

from collections import deque
from typing import Final, final

from headgate.net.udp import Peer

# As much as the kernel keeps for a socket of ours (net/udp RECEIVE_QUEUE), and a GRO batch fits in many times.
MAX_BACKLOG: Final = 4 * 1024 * 1024
MAX_SHARED: Final = MAX_BACKLOG // 4 * 3
SMALL: Final = 2 * 1500
# In octets: what a queue costs beside its datagrams.
QUEUE_WEIGHT: Final = 1024
# In octets: a small datagram that waits costs about as much to keep as that.
LEAST_WEIGHT: Final = 256
# Datagrams of a turn, where others wait. A stranger's may cost a handshake: half a millisecond.
TURN: Final = 16
TURN_OF_STRANGERS: Final = 2


@final
class Waiting:
    """Datagrams of one read that wait, from `at` on. `is_handed`: another worker read them, and handed them on."""

    __slots__ = ("at", "data", "ecn", "is_handed", "local", "peer", "segment")

    def __init__(
        self, data: bytes, segment: int, peer: Peer, local: bytes, ecn: int, is_handed: bool = False
    ) -> None:
        self.data = data
        self.segment = segment
        self.peer = peer
        self.local = local
        self.ecn = ecn
        self.is_handed = is_handed
        self.at = 0


@final
class _Queue:
    """Of one connection; of strangers for key None."""

    __slots__ = ("items", "key", "weight")

    def __init__(self, key: object | None) -> None:
        self.key = key
        self.items: deque[Waiting] = deque()
        self.weight = 0


@final
class Backlog:
    """`put` what was read where it `has_room`; `take` what is served next: `data` then holds the datagrams."""

    __slots__ = ("_queues", "_turn", "data", "weight")

    def __init__(self) -> None:
        self.weight = 0
        self.data = b""
        self._queues: dict[object | None, _Queue] = {}
        self._turn: deque[_Queue] = deque()

    def __len__(self) -> int:
        return len(self._queues)

    def __repr__(self) -> str:
        return f"<Backlog {self.weight} octets of {len(self._queues)}>"

    def has_room(self, key: object | None, size: int, segment: int) -> bool:
        """Tell whether `size` octets more may wait for `key`, a connection or None for strangers.

        Asked before they are copied out of the buffer of reads: what is dropped must cost nothing.
        """
        weight = _weight(size, segment)
        queue = self._queues.get(key)
        if queue is None:
            most = MAX_BACKLOG if weight <= SMALL else MAX_SHARED
            return self.weight + weight + QUEUE_WEIGHT <= most
        if self.weight + weight > MAX_SHARED:
            return False
        return queue.weight + weight <= MAX_BACKLOG // (len(self._queues) + 1)

    def put(self, key: object | None, item: Waiting) -> None:
        """Keep what was read, and what there is room for."""
        queue = self._queues.get(key)
        if queue is None:
            queue = _Queue(key)
            self._queues[key] = queue
            self._turn.append(queue)
            self.weight += QUEUE_WEIGHT
        weight = _weight(len(item.data), item.segment)
        queue.items.append(item)
        queue.weight += weight
        self.weight += weight

    def take(self) -> Waiting | None:
        """Return what is served next, and set `data`; None where nothing waits."""
        if not self._turn:
            return None
        queue = self._turn[0]
        item = queue.items[0]
        rest = len(item.data) - item.at
        size = rest
        if len(self._turn) > 1:
            size = min(rest, (TURN_OF_STRANGERS if queue.key is None else TURN) * item.segment)
        self.data = item.data if size == len(item.data) else item.data[item.at : item.at + size]
        item.at += size
        if size == rest:
            queue.items.popleft()
            weight = _weight(len(item.data), item.segment)
            queue.weight -= weight
            self.weight -= weight
        self._go_on(queue)
        return item

    def _go_on(self, queue: _Queue) -> None:
        """Put the queue that was served behind the others, or away."""
        if not queue.items:
            del self._queues[queue.key]
            self._turn.popleft()
            self.weight -= QUEUE_WEIGHT
        else:
            self._turn.rotate(-1)


def _weight(size: int, segment: int) -> int:
    return size if segment >= LEAST_WEIGHT else -(-size // segment) * LEAST_WEIGHT
