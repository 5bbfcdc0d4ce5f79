"""The exceptions that cross a package border.

An engine blames the peer with `RemoteProtocolError` (its `code` is what goes on the wire: an HTTP status for
HTTP/1.1, an error code for HTTP/2 and QUIC) and its own caller with `LocalProtocolError`.
"""

from mypy_extensions import mypyc_attr


@mypyc_attr(allow_interpreted_subclasses=True)
class HeadgateError(Exception):
    """Root of everything that Headgate raises on purpose."""


@mypyc_attr(allow_interpreted_subclasses=True)
class ProtocolError(HeadgateError):
    """A protocol was broken, by the peer or by us."""


@mypyc_attr(allow_interpreted_subclasses=True)
class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; `code` goes on the wire, `reason` is a stable word for logs and metrics."""

    def __init__(self, code: int, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.code = code
        self.reason = reason
        self.detail = detail


class LocalProtocolError(ProtocolError):
    """Our own code used an engine out of turn: a defect, never the peer's doing."""


class ConfigError(HeadgateError):
    """The configuration cannot be used; the message lists every problem."""


class TransportError(HeadgateError):
    """A connection broke below HTTP: `reason` is a stable word, `errno` the system's number or 0."""

    def __init__(self, reason: str, errno: int = 0, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.errno = errno
        self.detail = detail
