"""The events that every engine emits and takes: above `connection/` nobody knows the HTTP version.

`body` of a head says how its content is framed: 0 there is none, n > 0 exactly n bytes, -1 unknown until it ends.
"""

from typing import Final, final

from mypy_extensions import mypyc_attr

from headgate.http.fields import Fields

NO_BODY: Final = 0
UNKNOWN_LENGTH: Final = -1


@mypyc_attr(allow_interpreted_subclasses=True)
class Event:
    """Base of all events."""

    __slots__ = ()


@final
class Request(Event):
    """A request head. `version` is 10, 11, 20 or 30; with `body` 0 no Data and no EndOfMessage follow."""

    __slots__ = (
        "body",
        "close",
        "expect_continue",
        "fields",
        "host",
        "method",
        "stream",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self, method: bytes, target: bytes, version: int, fields: Fields, body: int = 0, stream: int = 0
    ) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.fields = fields
        self.body = body
        self.stream = stream
        self.close = False
        self.expect_continue = False
        self.upgrade = b""
        self.host = b""  # the value of Host, as it came

    def __repr__(self) -> str:
        return f"<Request {self.method.decode('latin-1')} {self.target.decode('latin-1')} body={self.body}>"


@final
class Response(Event):
    """A response head, interim (1xx) or final; with `body` 0 no Data and no EndOfMessage follow."""

    __slots__ = ("body", "close", "fields", "reason", "status", "stream", "version")

    def __init__(
        self, status: int, reason: bytes, version: int, fields: Fields, body: int = 0, stream: int = 0
    ) -> None:
        self.status = status
        self.reason = reason
        self.version = version
        self.fields = fields
        self.body = body
        self.stream = stream
        self.close = False

    def __repr__(self) -> str:
        return f"<Response {self.status} body={self.body}>"


@final
class Data(Event):
    """Content, already freed from its framing."""

    __slots__ = ("data", "stream")

    def __init__(self, data: bytes, stream: int = 0) -> None:
        self.data = data
        self.stream = stream

    def __repr__(self) -> str:
        return f"<Data {len(self.data)}>"


@final
class EndOfMessage(Event):
    """The end of a message that had content, with its trailer section if there was one."""

    __slots__ = ("stream", "trailers")

    def __init__(self, trailers: Fields | None = None, stream: int = 0) -> None:
        self.trailers = trailers
        self.stream = stream

    def __repr__(self) -> str:
        return f"<EndOfMessage {self.trailers!r}>" if self.trailers is not None else "<EndOfMessage>"


@final
class Closed(Event):
    """The peer ended the connection between two messages."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<Closed>"
