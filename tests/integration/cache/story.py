"""An origin whose answers a test tells path by path, and which remembers what it was asked.

    with Story() as story:
        story.tell("/a", b"hello", "Cache-Control: max-age=60", "ETag: \"1\"")
        ...story.url, story.asked("/a")

With an ETag, a request that names it is answered 304. One with X-Breaks breaks the origin, which says nothing. A
path may be held: its answer waits until the test lets go.
"""

import threading
from types import TracebackType
from typing import Self

from headgate.testing.origin import Head, Origin, Wire

PATIENCE = 20.0


class Answer:
    """What one path says. `gate` holds its head back, `middle` the second half of its content."""

    def __init__(self, body: bytes, lines: tuple[str, ...], status: int) -> None:
        self.body = body
        self.lines = lines
        self.status = status
        self.gate = threading.Event()
        self.gate.set()
        self.middle = threading.Event()
        self.middle.set()
        self.chunked = False
        self.trailers: tuple[str, ...] = ()  # lines behind the last chunk
        self.cut = False  # ends in the middle of its content
        self.extra = b""  # sent behind it, which nobody has asked for
        self.drops = False  # the connection ends instead of an answer
        self.ranges = False  # a Range of the form bytes=FIRST-LAST is answered by a 206


class Story:
    """The origin."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[Head] = []
        self._origin = Origin(self._serve)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._origin.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer nobody any more."""
        for answer in self.answers.values():
            answer.gate.set()
            answer.middle.set()
        self._origin.__exit__(None, None, None)

    @property
    def url(self) -> str:
        return self._origin.url

    def tell(self, path: str, body: bytes, *lines: str, status: int = 200) -> Answer:
        """From now on the path is answered like this."""
        answer = self.answers[path] = Answer(body, lines, status)
        return answer

    def asked(self, path: str) -> list[Head]:
        """The requests for a path so far."""
        with self._lock:
            return [head for head in self.requests if head.target == path]

    def _serve(self, wire: Wire) -> None:
        while head := wire.read_head():
            wire.read_content(head)
            with self._lock:
                self.requests.append(head)
            answer = self.answers[head.target]
            answer.gate.wait(PATIENCE)
            if not self._answer(wire, head, answer):
                return

    def _answer(self, wire: Wire, head: Head, answer: Answer) -> bool:
        if answer.drops or head.get("x-breaks"):
            return False
        lines = list(answer.lines)
        tag = next((line[5:].strip() for line in lines if line.lower().startswith("etag:")), "")
        if tag and tag in (head.get("if-none-match") or ""):
            wire.send("\r\n".join(["HTTP/1.1 304 Not Modified", *lines, "", ""]).encode())
            return True
        asked = head.get("range") or ""
        if answer.ranges and asked:
            return self._part(wire, asked, answer)
        framing = "Transfer-Encoding: chunked" if answer.chunked else f"Content-Length: {len(answer.body)}"
        wire.send("\r\n".join([f"HTTP/1.1 {answer.status} Said", framing, *lines, "", ""]).encode())
        if head.words[0] == "HEAD":
            return True
        half = len(answer.body) // 2
        self._piece(wire, answer, answer.body[:half])
        answer.middle.wait(PATIENCE)
        if answer.cut:
            return False
        self._piece(wire, answer, answer.body[half:] + answer.extra)
        if answer.chunked:
            wire.send("\r\n".join(["0", *answer.trailers, "", ""]).encode())
        return True

    def _part(self, wire: Wire, asked: str, answer: Answer) -> bool:
        first, last = (int(number) for number in asked.removeprefix("bytes=").split("-"))
        part = answer.body[first : last + 1]
        if not part:
            lines = ["HTTP/1.1 416 Beyond", f"Content-Range: bytes */{len(answer.body)}", "Content-Length: 0"]
            wire.send("\r\n".join([*lines, "", ""]).encode())
            return True
        span = f"Content-Range: bytes {first}-{first + len(part) - 1}/{len(answer.body)}"
        lines = ["HTTP/1.1 206 Partial", span, f"Content-Length: {len(part)}", *answer.lines, "", ""]
        wire.send("\r\n".join(lines).encode() + part)
        return True

    def _piece(self, wire: Wire, answer: Answer, data: bytes) -> None:
        if answer.chunked:
            for at in range(0, len(data), 65536):
                piece = data[at : at + 65536]
                wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        elif data:
            wire.send(data)
