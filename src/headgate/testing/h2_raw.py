"""A client of HTTP/2 made of frames by hand (RFC 9113 section 4), which sends what no client sends.

    raw = RawH2.connect("127.0.0.1", 8443, tls=True)
    raw.start()
    raw.send(headers(1, request_block(b"/")), ping())
    raw.wait(lambda raw: raw.ended(1))
    raw.goaway, raw.resets, raw.frames

Sections are made of literals that no table remembers, unless one is written with `remembered` or `indexed` (RFC 7541
section 6). Nothing is sent that was not asked for, but for acknowledgements of SETTINGS and PING where `answers` is
true. Sending never waits: what the kernel does not take is kept, and goes with the next call.
"""

import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9
PRIORITY_UPDATE: Final = 0x10

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
PRIORITY_FLAG: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
_HEAD: Final = 9


# -- frames


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int = -1) -> bytes:
    """Return a frame; `length` lies about the payload."""
    size = len(payload) if length < 0 else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def settings(*pairs: tuple[int, int]) -> bytes:
    """Return SETTINGS of (identifier, value)."""
    payload = b"".join(number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in pairs)
    return frame(SETTINGS, 0, 0, payload)


def settings_ack() -> bytes:
    """Return the acknowledgement of SETTINGS."""
    return frame(SETTINGS, ACK, 0)


def ping(content: bytes = bytes(8), flags: int = 0) -> bytes:
    """Return PING."""
    return frame(PING, flags, 0, content)


def window_update(stream: int, increment: int) -> bytes:
    """Return WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def rst_stream(stream: int, code: int = 8) -> bytes:
    """Return RST_STREAM; 8 is CANCEL."""
    return frame(RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def priority(stream: int, on: int = 0, weight: int = 15) -> bytes:
    """Return PRIORITY."""
    return frame(PRIORITY, 0, stream, on.to_bytes(4, "big") + bytes([weight]))


def priority_update(stream: int, value: bytes = b"u=1") -> bytes:
    """Return PRIORITY_UPDATE (RFC 9218 section 7.1)."""
    return frame(PRIORITY_UPDATE, 0, 0, stream.to_bytes(4, "big") + value)


def headers(stream: int, block: bytes, *, end: bool = True, last: bool = True) -> bytes:
    """Return HEADERS; `end`: of the stream, `last`: of the section."""
    return frame(HEADERS, END_STREAM * end | END_HEADERS * last, stream, block)


def continuation(stream: int, block: bytes, *, last: bool = False) -> bytes:
    """Return CONTINUATION."""
    return frame(CONTINUATION, END_HEADERS * last, stream, block)


def data(stream: int, content: bytes, *, end: bool = False, padding: int = -1) -> bytes:
    """Return DATA, padded with so many octets where `padding` is not negative."""
    if padding < 0:
        return frame(DATA, END_STREAM * end, stream, content)
    return frame(DATA, END_STREAM * end | PADDED, stream, bytes([padding]) + content + bytes(padding))


# -- field sections


def integer(value: int, prefix: int, first: int = 0) -> bytes:
    """Return an integer (RFC 7541 section 5.1) in `prefix` bits behind those of `first`."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    octets = [first | most]
    value -= most
    while value >= 128:
        octets.append(value & 127 | 128)
        value >>= 7
    return bytes([*octets, value])


def string(text: bytes) -> bytes:
    """Return a string without Huffman's code."""
    return integer(len(text), 7) + text


def literal(name: bytes, value: bytes) -> bytes:
    """Return a field line that no table remembers."""
    return b"\0" + string(name) + string(value)


def remembered(name: bytes, value: bytes) -> bytes:
    """Return a field line that goes into the peer's dynamic table."""
    return b"\x40" + string(name) + string(value)


def indexed(index: int) -> bytes:
    """Return a reference to a line in a table; the newest dynamic one is 62."""
    return integer(index, 7, 0x80)


def table_size(size: int) -> bytes:
    """Return a dynamic table size update."""
    return integer(size, 5, 0x20)


def request_block(
    path: bytes = b"/",
    method: bytes = b"GET",
    *fields: tuple[bytes, bytes],
    scheme: bytes = b"https",
    authority: bytes = b"localhost",
) -> bytes:
    """Return the section of a request."""
    lines = [(b":method", method), (b":scheme", scheme), (b":authority", authority), (b":path", path)]
    return b"".join(literal(name, value) for name, value in [*lines, *fields])


# -- a connection


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A frame that came."""

    kind: int
    flags: int
    stream: int
    payload: bytes


@final
class RawH2:
    """A client over a socket. `goaway` is (code, last stream, words), `resets` the code of each stream reset."""

    def __init__(self, sock: socket.socket, *, answers: bool = True, keep: bool = True) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.answers = answers
        self.keep = keep  # frames are kept for whoever looks at them
        self.frames: list[RawFrame] = []
        self.goaway: tuple[int, int, bytes] | None = None
        self.resets: dict[int, int] = {}
        self.over: set[int] = set()  # streams with END_STREAM
        self.octets = 0  # of content that came
        self.acks = 0  # of SETTINGS and PING that came
        self.closed = False
        self._in = bytearray()
        self._out = bytearray()

    def __repr__(self) -> str:
        return f"<RawH2 goaway={self.goaway} closed={self.closed}>"

    @classmethod
    def connect(
        cls,
        host: str,
        port: int,
        *,
        tls: bool = False,
        local: str = "",
        receive_buffer: int = 0,
        answers: bool = True,
        keep: bool = True,
        seconds: float = 10.0,
    ) -> "RawH2":
        """Open a connection. Raises `OSError`."""
        sock = socket.socket(socket.AF_INET)
        try:
            if receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            sock.settimeout(seconds)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if local:
                sock.bind((local, 0))
            sock.connect((host, port))
            if tls:
                sock = tls_context().wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise
        return cls(sock, answers=answers, keep=keep)

    def __enter__(self) -> "RawH2":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the socket, without a word."""
        self.sock.close()
        self.closed = True

    def start(self, *pairs: tuple[int, int]) -> None:
        """Send the preface, with SETTINGS."""
        self.send(PREFACE + settings(*pairs))

    @property
    def unsent(self) -> int:
        """Octets that the kernel did not take yet."""
        return len(self._out)

    def send(self, *frames: bytes) -> None:
        """Send frames, as far as the kernel takes them; the rest goes with the next call."""
        for one in frames:
            self._out += one
        while self._out and not self.closed:
            try:
                # A view would keep `_out` as it is for as long as an exception remembers it.
                count = self.sock.send(bytes(self._out[: 64 * 1024]))
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            except OSError:
                # What was said before the reset may wait to be read still.
                self._out.clear()
                return
            del self._out[:count]

    def read(self, most: int = 1 << 30) -> None:
        """Take in what has come, without waiting, and answer what asks for it."""
        while most > 0 and not self.closed:
            try:
                got = self.sock.recv(min(most, 256 * 1024))
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            except OSError:
                got = b""
            if not got:
                self.closed = True
            most -= len(got)
            self._in += got
        self._parse()
        if self._out:
            self.send()

    def wait(self, ready: Callable[["RawH2"], object], seconds: float = 10.0) -> bool:
        """Read until `ready`; False where that does not come in time, or no more comes."""
        end = time.monotonic() + seconds
        self.read()
        while not ready(self):
            left = end - time.monotonic()
            if left <= 0 or self.closed:
                return False
            self.pause(left)
            self.read()
        return True

    def pause(self, seconds: float) -> None:
        """Wait until something comes, or can be sent where something is to be."""
        if not self.closed:
            select.select([self.sock], [self.sock] if self._out else [], [], seconds)

    def ended(self, stream: int) -> bool:
        """Whether the answer on a stream is complete."""
        return stream in self.over

    def of(self, kind: int, stream: int = -1) -> list[RawFrame]:
        """Return the frames of a kind that came, of one stream or of all."""
        return [one for one in self.frames if one.kind == kind and stream in (-1, one.stream)]

    def _parse(self) -> None:
        at = 0
        buffer = self._in
        answers = bytearray()
        while len(buffer) - at >= _HEAD:
            size = int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) - at < _HEAD + size:
                break
            kind, flags = buffer[at + 3], buffer[at + 4]
            stream = int.from_bytes(buffer[at + 5 : at + 9], "big")
            payload = bytes(buffer[at + _HEAD : at + _HEAD + size])
            at += _HEAD + size
            answers += self._take(RawFrame(kind, flags, stream, payload))
        del buffer[:at]
        if answers:
            self.send(bytes(answers))

    def _take(self, one: RawFrame) -> bytes:
        """Note a frame, and return the answer that it asks for."""
        if self.keep:
            self.frames.append(one)
        if one.kind == DATA:
            self.octets += len(one.payload)
        if one.kind in (DATA, HEADERS) and one.flags & END_STREAM:
            self.over.add(one.stream)
        elif one.kind == RST_STREAM:
            self.resets[one.stream] = int.from_bytes(one.payload, "big")
        elif one.kind == GOAWAY:
            last, code = int.from_bytes(one.payload[:4], "big"), int.from_bytes(one.payload[4:8], "big")
            self.goaway = (code, last, one.payload[8:])
        elif one.kind in (SETTINGS, PING):
            if one.flags & ACK:
                self.acks += 1
            elif self.answers:
                return frame(one.kind, ACK, 0, one.payload if one.kind == PING else b"")
        return b""


def tls_context(*protocols: str) -> ssl.SSLContext:
    """Return a context that believes anybody, and offers these protocols, h2 by default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(protocols) or ["h2"])
    return context
