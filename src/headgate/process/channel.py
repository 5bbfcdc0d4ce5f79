"""The control channel: framed messages over a Unix socket pair between the supervisor and one child.

A frame is a head of six bytes (payload length as a big-endian u32, kind, number of descriptors) and a JSON
payload. JSON and not pickle: the supervisor may be root, a child stands on the network, and nothing that a
child sends may be able to run there. For the same reason the two directions have different limits: a child
may send little (staples, small reports), the supervisor sends whole Snapshots.

The supervisor's side never blocks and is driven by its selector (`Channel`); a child's side lives in an
asyncio loop (`AsyncChannel`). End of file means that the other side is gone: a child then drains and exits.
Descriptors travel with the first byte of their frame (SCM_RIGHTS).
"""

import array
import asyncio
import os
import socket
import struct
from collections import deque
from enum import IntEnum
from typing import Final, TypeAlias, Union

import orjson

from headgate.errors import HeadgateError

Json: TypeAlias = Union[bool, int, float, str, "list[Json]", "dict[str, Json]", None]

HEAD: Final = struct.Struct(">IBB")
# A child's largest frame is a staple: at most 64 KiB of DER, in base64, with its names.
MAX_FROM_CHILD: Final = 256 * 1024
# A Snapshot with 10,000 certificates of 10 KiB PEM each is 100 MiB; five times that is a mistake.
MAX_FROM_SUPERVISOR: Final = 512 * 1024 * 1024
# Precedent: SCM_MAX_FD of Linux is 253. One message of ours carries one listener set at most.
MAX_DESCRIPTORS: Final = 64
READ_SIZE: Final = 256 * 1024
# What a child may leave unread before the supervisor gives it up: so much in small frames, and so many Snapshots.
MAX_UNSENT: Final = 64 * 1024 * 1024
MAX_UNSENT_LARGE: Final = 3
LARGE: Final = 1024 * 1024


class Kind(IntEnum):
    """What a message means. The first block goes to the children, the second to the supervisor, HEALTH and STAPLE
    both ways, as do those behind them."""

    SNAPSHOT = 1  # the whole Snapshot: start, restart, new certificates, later reload
    LISTEN = 2  # worker: call listen() now
    DRAIN = 3  # {"seconds": n}: finish what is open, then exit
    REOPEN_LOGS = 4
    STATUS = 5  # keeper: what the supervisor knows about its children
    HEALTH = 6  # {"name": upstream, "endpoints": {url: verdict or null}}: keeper → supervisor → workers
    APPLICATION = 7  # an application's process: which one, and how (`AppPlan`)
    STAPLE = 16  # {"name": certificate, "staple": opaque}: keeper → supervisor → workers
    READY = 17  # {"snapshot": n}: that Snapshot is in use
    LISTENING = 18
    STAPLES_TRIED = (
        19  # keeper: every must-staple certificate, and endpoint that waits, has its first answer or failure
    )
    QLOG = 20  # {"on": bool}: write QUIC connections down; keeper → supervisor → workers
    PURGE = 21  # {"kind", "pattern", "soft", "generation"} of the cache: keeper → supervisor → workers
    PURGED = 22  # {"generation": n}: obeyed; worker → supervisor, which adds "slot" → keeper
    EXPLAIN = 23  # {"id", "url", "method", "fields"}: keeper → supervisor → workers
    EXPLAINED = 24  # {"id", …}: worker → supervisor, which adds "slot" → keeper


class ChannelError(HeadgateError):
    """The other side broke the framing, or does not read: the channel is of no more use."""


class Message:
    """One message: a kind, a JSON value, and descriptors that the receiver must close."""

    __slots__ = ("descriptors", "kind", "value")

    def __init__(self, kind: Kind, value: Json, descriptors: list[int] | None = None) -> None:
        self.kind = kind
        self.value = value
        self.descriptors = descriptors or []

    def __repr__(self) -> str:
        return f"<Message {self.kind.name} {str(self.value)[:60]}>"

    def integer(self, key: str) -> int:
        """Return the integer `key` of an object payload. Raises `ChannelError` when it is not there."""
        value = self.value.get(key) if isinstance(self.value, dict) else None
        if not isinstance(value, int) or isinstance(value, bool):
            raise ChannelError(f"{self.kind.name} has no integer {key!r}")
        return value

    def text(self, key: str) -> str:
        """Return the string `key` of an object payload. Raises `ChannelError` when it is not there."""
        value = self.value.get(key) if isinstance(self.value, dict) else None
        if not isinstance(value, str):
            raise ChannelError(f"{self.kind.name} has no string {key!r}")
        return value

    def item(self, key: str) -> Json:
        """Return what an object payload has under `key`, None when nothing."""
        return self.value.get(key) if isinstance(self.value, dict) else None


def encode_frame(kind: Kind, value: Json = None, descriptors: int = 0) -> bytes:
    """Encode one message; the result may be sent to many."""
    payload = orjson.dumps(value)
    return HEAD.pack(len(payload), kind, descriptors) + payload


class FrameReader:
    """Bytes in, messages out. `limit` bounds one payload, and with it what is held for the other side."""

    __slots__ = ("_buffer", "_descriptors", "_limit")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()

    def receive(self, data: bytes, descriptors: list[int]) -> None:
        """Take what came from the socket."""
        self._buffer += data
        self._descriptors.extend(descriptors)
        if len(self._descriptors) > MAX_DESCRIPTORS:
            raise ChannelError(f"more than {MAX_DESCRIPTORS} descriptors without a frame for them")

    def next_message(self) -> Message | None:
        """Return the next whole message, None when more bytes are needed. Raises `ChannelError`."""
        if len(self._buffer) < HEAD.size:
            return None
        length, number, count = HEAD.unpack_from(self._buffer)
        if length > self._limit:
            raise ChannelError(f"a frame of {length} bytes, the limit is {self._limit}")
        end = HEAD.size + length
        if len(self._buffer) < end:
            return None
        if count > len(self._descriptors):
            raise ChannelError(f"a frame names {count} descriptors, {len(self._descriptors)} came")
        try:
            kind = Kind(number)
            value: Json = orjson.loads(memoryview(self._buffer)[HEAD.size : end])
        except ValueError as exc:
            raise ChannelError(f"a frame of kind {number} cannot be read: {exc}") from None
        del self._buffer[:end]
        return Message(kind, value, [self._descriptors.popleft() for _ in range(count)])

    def close(self) -> None:
        """Close the descriptors that no frame claimed."""
        while self._descriptors:
            os.close(self._descriptors.popleft())


def _read(sock: socket.socket) -> tuple[bytes, list[int]] | None:
    """Read once; None when nothing is there; b"" at the end (a reset is an end too)."""
    space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
    try:
        data, ancillary, _flags, _address = sock.recvmsg(READ_SIZE, space, socket.MSG_CMSG_CLOEXEC)
    except (BlockingIOError, InterruptedError):
        return None
    except (ConnectionResetError, BrokenPipeError):
        return b"", []
    descriptors = array.array("i")
    for level, kind, item in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(item[: len(item) - len(item) % descriptors.itemsize])
    return data, list(descriptors)


class _Outbox:
    """Frames on their way to a socket that may be full. A frame's descriptors go with its first byte."""

    __slots__ = ("_frames", "_large", "_limit", "unsent")

    def __init__(self, limit: int) -> None:
        self._frames: deque[tuple[memoryview, list[int], bool]] = deque()
        self._limit = limit
        self._large = 0  # bytes of large frames that are not wholly sent
        self.unsent = 0

    def put(self, frame: bytes, descriptors: list[int]) -> None:
        # A large frame is one Snapshot: its size is the configuration's doing and not that of a slow reader, so it
        # is their number that counts.
        large = len(frame) > LARGE
        waiting = sum(1 for _, _, is_large in self._frames if is_large) if large else 0
        if waiting >= MAX_UNSENT_LARGE or self.unsent - self._large > self._limit:
            raise ChannelError(f"{self.unsent} bytes are unread by the other side")
        self._frames.append((memoryview(frame), descriptors, large))
        self.unsent += len(frame)
        if large:
            self._large += len(frame)

    def flush(self, sock: socket.socket) -> bool:
        """Write what the socket takes; True when nothing is left. A peer that is gone empties the box."""
        while self._frames:
            view, descriptors, large = self._frames[0]
            try:
                if descriptors:
                    sent = socket.send_fds(sock, [view], descriptors)
                else:
                    sent = sock.send(view)
            except (BlockingIOError, InterruptedError):
                return False
            except (BrokenPipeError, ConnectionResetError):
                self._frames.clear()  # end of file will be read, and says the same
                self.unsent = self._large = 0
                return True
            self.unsent -= sent
            if large:
                self._large -= sent
            if sent == len(view):
                self._frames.popleft()
            else:
                self._frames[0] = (view[sent:], [], large)
        return True


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a new channel: the supervisor's, and the child's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


class Channel:
    """The supervisor's end: never blocks. Poll for reading, and for writing while `unsent`."""

    __slots__ = ("_outbox", "_reader", "_socket", "eof")

    def __init__(
        self, sock: socket.socket, limit: int = MAX_FROM_CHILD, unsent_limit: int = MAX_UNSENT
    ) -> None:
        self._socket = sock
        self._reader = FrameReader(limit)
        self._outbox = _Outbox(unsent_limit)
        self.eof = False

    def __repr__(self) -> str:
        return f"<Channel fd={self._socket.fileno()} unsent={self._outbox.unsent}>"

    def fileno(self) -> int:
        """Return the descriptor to poll, -1 once closed."""
        return self._socket.fileno()

    @property
    def unsent(self) -> int:
        """Bytes that wait until the socket is writable."""
        return self._outbox.unsent

    def send(self, frame: bytes, descriptors: list[int] | None = None) -> None:
        """Queue an encoded frame and write what goes. Raises `ChannelError` when the child does not read."""
        self._outbox.put(frame, descriptors or [])
        self.flush()

    def flush(self) -> bool:
        """Write what the socket takes; True when nothing is left."""
        return self._outbox.flush(self._socket)

    def receive(self) -> list[Message]:
        """Read once and return the messages that are whole. Raises `ChannelError`; sets `eof` at the end."""
        if (got := _read(self._socket)) is None:
            return []
        data, descriptors = got
        if not data:
            self.eof = True
            return []
        self._reader.receive(data, descriptors)
        messages: list[Message] = []
        while (message := self._reader.next_message()) is not None:
            messages.append(message)
        return messages

    def close(self) -> None:
        """Close the socket; the child reads end of file."""
        self._reader.close()
        self._socket.close()


class AsyncChannel:
    """A child's end, inside a running asyncio loop."""

    __slots__ = ("_drained", "_ended", "_loop", "_messages", "_outbox", "_reader", "_socket", "_waiter")

    def __init__(
        self, sock: socket.socket, limit: int = MAX_FROM_SUPERVISOR, unsent_limit: int = MAX_UNSENT
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._reader = FrameReader(limit)
        self._outbox = _Outbox(unsent_limit)
        self._messages: deque[Message] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._ended: ChannelError | bool = False
        sock.setblocking(False)
        self._loop.add_reader(sock.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            got = _read(self._socket)
            if got is None:
                return
            data, descriptors = got
            if not data:
                self._end(True)
                return
            self._reader.receive(data, descriptors)
            while (message := self._reader.next_message()) is not None:
                self._messages.append(message)
        except ChannelError as exc:
            self._end(exc)
        self._wake()

    def _end(self, how: ChannelError | bool) -> None:
        self._ended = how
        self._loop.remove_reader(self._socket.fileno())
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def receive(self) -> Message | None:
        """Return the next message, None when the supervisor is gone. One caller at a time. Raises
        `ChannelError`."""
        while not self._messages:
            if isinstance(self._ended, ChannelError):
                raise self._ended
            if self._ended:
                return None
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._messages.popleft()

    def send(self, kind: Kind, value: Json = None) -> None:
        """Send a message, or queue it while the socket is full. Raises `ChannelError` beyond the queue's
        limit."""
        self._outbox.put(encode_frame(kind, value), [])
        self._flush()

    def _flush(self) -> None:
        if self._socket.fileno() < 0:
            return
        if self._outbox.flush(self._socket):
            self._loop.remove_writer(self._socket.fileno())
            self._drained.set()
        else:
            self._drained.clear()
            self._loop.add_writer(self._socket.fileno(), self._flush)

    @property
    def unsent(self) -> int:
        """Bytes that wait until the socket is writable."""
        return self._outbox.unsent

    async def drained(self) -> None:
        """Wait until everything that was sent is out."""
        await self._drained.wait()

    def close(self) -> None:
        """Close the socket and forget what was not sent."""
        if (descriptor := self._socket.fileno()) >= 0:
            self._loop.remove_reader(descriptor)
            self._loop.remove_writer(descriptor)
        self._reader.close()
        self._socket.close()
        self._drained.set()
        if self._ended is False:
            self._ended = True
        self._wake()
