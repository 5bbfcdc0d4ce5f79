"""A scripted origin on a real socket, and the wire that its scripts and raw clients speak through.

A script is a function that gets each connection as a `Wire`, in a thread of its own; when it returns, the connection
is closed. What it does not say it does not do: an origin that stays silent, dies, resets or sends garbage is a script
of one line.

    def script(wire):
        while head := wire.read_head():
            wire.read_content(head)
            wire.send(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nhi")

    with Origin(script) as origin:
        ...origin.url, origin.accepted, origin.open...
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

PATIENCE: Final = 20.0


class Head:
    """A request's or a response's head: the words of its first line, and its fields in order, names lower case."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.first = first
        self.words = first.split(" ", 2)
        self.fields = [
            (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
        ]

    def __repr__(self) -> str:
        return f"<Head {self.first}>"

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.words[1])

    @property
    def target(self) -> str:
        """The target of a request."""
        return self.words[1]

    def get(self, name: str) -> str | None:
        """Return the field's values, joined by commas; None when it is absent."""
        values = [value for key, value in self.fields if key == name]
        return ", ".join(values) if values else None


class Wire:
    """One connection, read by its grammar. Every wait ends after `PATIENCE`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(PATIENCE)
        self.sock = sock
        self.buffer = b""

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self.sock.sendall(data)

    def _more(self) -> bool:
        data = self.sock.recv(65536)
        self.buffer += data
        return bool(data)

    def read_head(self) -> Head | None:
        """Return the next head, None at a clean end. Raises `EOFError` inside one."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                if self.buffer:
                    raise EOFError(f"the connection ended inside a head: {self.buffer[:80]!r}")
                return None
        raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return Head(raw)

    def read_exactly(self, size: int) -> bytes:
        """Return `size` bytes. Raises `EOFError` when there are fewer."""
        pieces = [self.buffer[:size]]
        self.buffer = self.buffer[size:]
        left = size - len(pieces[0])
        while left > 0:
            data = self.sock.recv(min(left, 1 << 18))
            if not data:
                raise EOFError(f"the connection ended {left} bytes too early")
            pieces.append(data)
            left -= len(data)
        return b"".join(pieces)

    def read_line(self) -> bytes:
        """Return the next line without its end."""
        while b"\r\n" not in self.buffer:
            if not self._more():
                raise EOFError("the connection ended inside a line")
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def read_chunked(self) -> tuple[bytes, list[bytes]]:
        """Return chunked content and its trailer lines. Raises `EOFError` when the last chunk is missing."""
        pieces = []
        while size := int(self.read_line().partition(b";")[0], 16):
            pieces.append(self.read_exactly(size))
            self.read_line()
        trailers = []
        while line := self.read_line():
            trailers.append(line)
        return b"".join(pieces), trailers

    def read_to_end(self) -> bytes:
        """Return everything up to the end of the connection. Raises `ConnectionResetError` when it is none."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def read_content(self, head: Head, *, to_head: bool = False) -> bytes:
        """Return a message's content as its head frames it (`to_head`: it answers a HEAD request)."""
        request = not head.first.startswith("HTTP/")
        if not request and (to_head or head.status < 200 or head.status in (204, 304)):
            return b""
        if head.get("transfer-encoding") is not None:
            return self.read_chunked()[0]
        length = head.get("content-length")
        if length is not None:
            return self.read_exactly(int(length))
        return b"" if request else self.read_to_end()

    def read_response(self, *, to_head: bool = False) -> tuple[Head, bytes]:
        """Return the next final response. Raises `EOFError` when it does not come or is cut short."""
        while True:
            head = self.read_head()
            if head is None:
                raise EOFError("the connection ended before the response")
            if head.status >= 200:
                return head, self.read_content(head, to_head=to_head)

    def ended(self) -> bool:
        """Wait for the peer's end; tell whether it came with nothing before it (a reset is an end as well)."""
        try:
            return not self.buffer and self.sock.recv(1) == b""
        except ConnectionError:
            return True

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close; may be called twice."""
        self.sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


Script = Callable[[Wire], None]


def echo(wire: Wire) -> None:
    """Answer every request with what came, as JSON: method, target, fields and content."""
    while head := wire.read_head():
        content = wire.read_content(head)
        told = {
            "method": head.words[0],
            "target": head.target,
            "version": head.words[2],
            "fields": head.fields,
            "content": content.decode("latin-1"),
        }
        body = b"" if head.words[0] == "HEAD" else json.dumps(told).encode()
        wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )


class Origin:
    """Listens at once; `script` may be replaced while it runs, for connections accepted from then on."""

    def __init__(self, script: Script = echo, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.script = script
        self.accepted = 0
        self.open = 0
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        self._wires: set[Wire] = set()
        self._listener = socket.create_server((host, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"{host}:{self.port}"
        self.url = f"http://{self.address}"
        self._closing = False
        self._thread = threading.Thread(target=self._accept, name=f"origin {self.port}", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Origin {self.address} {self.accepted} accepted, {self.open} open>"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._closing:
                sock.close()
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            wire = Wire(sock)
            with self._lock:
                self.accepted += 1
                self.open += 1
                self._wires.add(wire)
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: Wire) -> None:
        try:
            self.script(wire)
        except (OSError, EOFError, ssl.SSLError):
            pass  # the gate ended the connection: what that means is the test's business
        except BaseException as error:
            self.errors.append(error)
        finally:
            wire.close()
            with self._lock:
                self.open -= 1
                self._wires.discard(wire)

    def close(self) -> None:
        """Stop listening and end every connection. Raises the first defect of a script."""
        self._closing = True
        try:
            # Closing alone does not wake an accept that another thread waits in.
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self._thread.join(5)
        with self._lock:
            wires = list(self._wires)
        for wire in wires:
            try:
                wire.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if self.errors:
            raise self.errors[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def connect(port: int, *, host: str = "127.0.0.1", source: str = "") -> Wire:
    """Return a raw connection of a client, from the address `source` when given."""
    return Wire(socket.create_connection((host, port), PATIENCE, (source, 0) if source else None))


def ask(
    port: int, target: str = "/", *, host: str = "localhost", method: str = "GET", more: str = ""
) -> tuple[Head, bytes]:
    """Send one request on a connection of its own and return its response; `more` are further field lines."""
    with connect(port) as wire:
        wire.send(
            f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode("latin-1")
        )
        return wire.read_response(to_head=method == "HEAD")
