"""What is known of one stream: a request with its response, or one of the peer's unidirectional streams."""

from typing import Final, final

from headgate.engine.h3.frames import FrameReader
from headgate.engine.h3.machine import HEAD, State
from headgate.http.fields import Fields

# Types of unidirectional streams (RFC 9114 section 6.2, RFC 9204 section 4.2).
CONTROL: Final = 0x00
PUSH: Final = 0x01
ENCODER: Final = 0x02
DECODER: Final = 0x03
# Beside them, what we make of a stream.
UNKNOWN: Final = -1  # its type has not come yet
IGNORED: Final = -2


@final
class RequestStream:
    """A request stream. `receiving` and `sending` are states of `machine.TABLE`.

    `fed`, `content` and `credited` count octets for flow control: what came in, what of it was handed out as content,
    what we have used up ourselves and said so.
    """

    __slots__ = (
        "announced",
        "blocked",
        "content",
        "credited",
        "ended",
        "fed",
        "fin",
        "held",
        "id",
        "interim",
        "left",
        "method",
        "reader",
        "receiving",
        "send_left",
        "sending",
        "trailers",
        "updated",
    )

    def __init__(self, stream_id: int) -> None:
        self.id = stream_id
        self.receiving: int = HEAD
        self.sending: int = HEAD
        self.reader = FrameReader()
        self.method = b""
        self.left = -1  # content still to come by Content-Length, -1 when nothing was said
        self.send_left = -1
        self.announced = False  # the head that was handed out has content: an EndOfMessage is owed
        self.interim = 0
        self.trailers: Fields | None = None
        self.blocked = False  # a section waits for the peer's encoder
        self.held = 0  # octets of that section
        self.fin = False  # the last octet was fed
        self.ended = False  # nothing more will come: by its end or by a reset
        self.updated = False  # a PRIORITY_UPDATE came: it overrides the Priority field
        self.fed = 0
        self.content = 0
        self.credited = 0

    def __repr__(self) -> str:
        states = f"receiving={State(self.receiving).name} sending={State(self.sending).name}"
        return f"<RequestStream {self.id} {states}>"


@final
class UniStream:
    """One of the peer's unidirectional streams; `begun` holds a type that is incomplete, seven octets at most."""

    __slots__ = ("begun", "kind")

    def __init__(self) -> None:
        self.kind: int = UNKNOWN
        self.begun = b""
