"""What HTTP/2 and HTTP/3 tell beside `engine.events`: streams that fail, requests to refuse, a peer that leaves."""

from typing import final

from headgate.engine.events import Event


@final
class StreamFailed(Event):
    """A message will not be completed, in either direction; nothing more comes from this stream and nothing goes.

    It may also tell of a request that was never handed out. `code` is the error code on the wire; `by_peer` says who
    reset the stream. A client may repeat a request whose `code` is REFUSED_STREAM or
    H3_REQUEST_REJECTED.
    """

    __slots__ = ("by_peer", "code", "detail", "reason", "stream")

    def __init__(self, stream: int, code: int, reason: str, detail: str, by_peer: bool) -> None:
        self.stream = stream
        self.code = code
        self.reason = reason
        self.detail = detail
        self.by_peer = by_peer

    def __repr__(self) -> str:
        return f"<StreamFailed {self.stream} {self.code:#x} {self.reason}>"


@final
class RequestRefused(Event):
    """A request that is not handed out, but is to be answered with `status`; the rest of it is not read."""

    __slots__ = ("detail", "reason", "status", "stream")

    def __init__(self, stream: int, status: int, reason: str, detail: str) -> None:
        self.stream = stream
        self.status = status
        self.reason = reason
        self.detail = detail

    def __repr__(self) -> str:
        return f"<RequestRefused {self.stream} {self.status} {self.reason}>"


@final
class GoingAway(Event):
    """The peer takes no new requests; those on streams from `first` on were not looked at (RFC 9113 section 6.8,
    RFC 9114 section 5.2).
    """

    __slots__ = ("first",)

    def __init__(self, first: int) -> None:
        self.first = first

    def __repr__(self) -> str:
        return f"<GoingAway {self.first}>"
