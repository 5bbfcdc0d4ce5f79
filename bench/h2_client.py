"""A client of HTTP/2 that holds its connection and its streams open: what load generators cannot do.

It blocks, checks no certificate, and writes frames by hand (RFC 9113 §4.1): a request costs it some microseconds, an
idle connection two kilobytes, and nothing of the engine under test is in it. Fields are sent without any table
(RFC 7541 §6.2.2), so that every request is the same octets; of an answer it looks at the status and the content.
"""

import socket
import ssl
from typing import Final, Self

from bench.load import LoadError

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA: Final = 0
HEADERS: Final = 1
RST_STREAM: Final = 3
SETTINGS: Final = 4
PING: Final = 6
GOAWAY: Final = 7
WINDOW_UPDATE: Final = 8
ACK: Final = 1
END_STREAM: Final = 1
END_HEADERS: Final = 4
_LARGEST: Final = 0x7FFFFFFF
# No push, and windows that never close: who waits for this client waits for the socket.
_SETTINGS: Final = b"\x00\x02\x00\x00\x00\x00" + b"\x00\x04" + _LARGEST.to_bytes(4, "big")
_STATUS_200: Final = 0x88


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def request_block(path: str, authority: str) -> bytes:
    """Return the field block of a GET over https; both strings below 127 octets."""
    target, host = path.encode(), authority.encode()
    return b"\x82\x87" + b"\x04" + bytes((len(target),)) + target + b"\x01" + bytes((len(host),)) + host


def is_ok(block: bytes) -> bool:
    """Say whether a response's block begins with status 200, after updates of the table's size (RFC 7541 §6.3)."""
    at = 0
    while at < len(block) and block[at] & 0xE0 == 0x20:
        at += 1
        if block[at - 1] == 0x3F:
            while block[at] & 0x80:
                at += 1
            at += 1
    return at < len(block) and block[at] == _STATUS_200


def client_context() -> ssl.SSLContext:
    """Return a client context that offers h2 and checks nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


class H2Client:
    """One connection to `port` of this machine, for `name`."""

    def __init__(self, context: ssl.SSLContext, port: int, name: str, timeout: float = 20.0) -> None:
        raw = socket.create_connection(("127.0.0.1", port), timeout)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._sock = context.wrap_socket(raw, server_hostname=name)
        except BaseException:
            raw.close()
            raise
        if self._sock.selected_alpn_protocol() != "h2":
            self._sock.close()
            raise LoadError(f"{name}: the server does not speak h2")
        self._name = name
        self._next = 1
        self._buffer = b""
        self._sock.sendall(
            PREFACE
            + frame(SETTINGS, 0, 0, _SETTINGS)
            + frame(WINDOW_UPDATE, 0, 0, (_LARGEST - 65535).to_bytes(4, "big"))
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close without a word."""
        self._sock.close()

    def begin(self, path: str, count: int = 1) -> int:
        """Ask `count` times at once; return the last stream."""
        block = request_block(path, self._name)
        flags = END_STREAM | END_HEADERS
        first = self._next
        self._next += 2 * count
        self._sock.sendall(b"".join(frame(HEADERS, flags, first + 2 * n, block) for n in range(count)))
        return self._next - 2

    def end(self, stream: int) -> int:
        """Wait for the end of the answer on `stream` and return how many octets of content it had.

        Raises:
            LoadError: it was no 200, the stream was reset, or the connection ended.
        """
        size = 0
        while True:
            kind, flags, of, payload = self._frame()
            if kind == HEADERS and of == stream and not is_ok(payload):
                raise LoadError(f"{self._name}: the answer was no 200: {payload[:20].hex()}")
            if kind == DATA and of == stream:
                size += len(payload)
            if kind in (DATA, HEADERS) and of == stream and flags & END_STREAM:
                return size
            if kind == RST_STREAM:
                raise LoadError(f"{self._name}: stream {of} was reset with {payload.hex()}")

    def get(self, path: str) -> int:
        """Ask once and return the size of the content; `LoadError` when that fails."""
        return self.end(self.begin(path))

    def settle(self) -> None:
        """Exchange a PING, so that everything before it is done on both sides."""
        self._sock.sendall(frame(PING, 0, 0, b"settled?"))
        while True:
            kind, flags, of, payload = self._frame()
            if kind == PING and flags & ACK:
                return
            if kind == RST_STREAM:
                raise LoadError(f"{self._name}: stream {of} was reset with {payload.hex()}")

    def _frame(self) -> tuple[int, int, int, bytes]:
        head = self._exactly(9)
        payload = self._exactly(int.from_bytes(head[:3], "big"))
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
        if kind == GOAWAY:
            raise LoadError(f"{self._name}: GOAWAY {payload.hex()}")
        if kind in (SETTINGS, PING) and not flags & ACK:
            self._sock.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
        return kind, flags, stream, payload

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self._sock.recv(1 << 16)
            if not data:
                raise LoadError(f"{self._name}: the server closed the connection")
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken
