"""What is known of one stream: a request and its response, in both directions."""

from typing import final

from headgate.engine.h2.flow import ReceiveWindow
from headgate.engine.h2.machine import HEAD, IDLE, MessageState, StreamState
from headgate.http.fields import Fields


@final
class H2Stream:
    """One stream, from its first HEADERS until it is closed; closed ones are forgotten.

    `state` is one of `machine.STREAMS`, `receiving` and `sending` are of `machine.MESSAGES`. Windows and sizes are
    octets of flow control. `queue` holds the content that waits to be written, `queued` octets of it; `ending` and
    then `trailers` say what follows the last of it.
    """

    __slots__ = (
        "announced",
        "began",
        "ending",
        "id",
        "incremental",
        "interim",
        "is_over",
        "is_ready",
        "left",
        "method",
        "queue",
        "queue_offset",
        "queued",
        "receiving",
        "send_left",
        "send_window",
        "sending",
        "state",
        "trailers",
        "trailers_in",
        "updated",
        "urgency",
        "window",
    )

    def __init__(self, stream_id: int, send_window: int) -> None:
        self.id = stream_id
        self.state: int = IDLE
        self.receiving: int = HEAD
        self.sending: int = HEAD
        self.method = b""
        self.began = 0.0
        # Receiving.
        self.left = -1  # content still to come by Content-Length, -1 when nothing was said
        self.announced = False  # the head that was handed out has content: an EndOfMessage is owed
        self.interim = 0
        self.trailers_in: Fields | None = None
        self.window: ReceiveWindow | None = None  # made when content comes: most requests have none
        # Sending.
        self.send_left = -1
        self.send_window = send_window
        self.queue: list[bytes] = []
        self.queue_offset = 0  # octets of the first piece that are written
        self.queued = 0
        self.ending = False
        self.trailers: Fields | None = None
        self.is_over = False  # `queued` stood above the low water since that was told last
        self.is_ready = False  # stands in the scheduler
        self.urgency = 3
        self.incremental = False
        self.updated = False  # a PRIORITY_UPDATE came: it overrides the Priority field

    def __repr__(self) -> str:
        states = f"receiving={MessageState(self.receiving).name} sending={MessageState(self.sending).name}"
        return f"<H2Stream {self.id} {StreamState(self.state).name} {states}>"
