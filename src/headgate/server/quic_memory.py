"""What all QUIC connections of a socket may hold together (RFC 9000 section 21.6).

Each connection has its own bounds, made for a client that is fast and far away; thousands of clients at their bounds
would be more than a worker has. So what is held is added up in each sweep: content that came in, and answers that
are not acknowledged. Beyond half of a budget windows and buffers shrink, for those that are open and for newcomers,
until a quarter is left; beyond the budget newcomers are refused. What was granted stays granted, so that what is held
falls within a round trip or two of honest clients, and by their timeouts for the others.
"""

from typing import Final, final

from headgate.engine.quic.stream_sender import MAX_CONNECTION_HELD
from headgate.engine.quic.streams import Streams

# Content of requests, and answers (HAProxy: tune.quic.mem.tx-max, and buffers for the streams there may be).
MAX_RECEIVED_HELD: Final = 512 * 1024 * 1024
MAX_SENT_HELD: Final = 256 * 1024 * 1024
# What one connection may have while memory is short.
SHORT_STREAM_WINDOW: Final = 32 * 1024
SHORT_CONNECTION_WINDOW: Final = 64 * 1024
SHORT_HELD: Final = 64 * 1024


@final
class MemoryBudget:
    """`is_short`: connections get less; `is_full`: newcomers get nothing."""

    def __init__(self, max_received: int = MAX_RECEIVED_HELD, max_sent: int = MAX_SENT_HELD) -> None:
        self.max_received = max_received
        self.max_sent = max_sent
        self.is_short = False
        self.is_full = False

    def __repr__(self) -> str:
        return f"<MemoryBudget{' short' * self.is_short}{' full' * self.is_full}>"

    def note(self, received: int, sent: int) -> bool:
        """Take what is held now; tell whether connections have to be bound anew."""
        self.is_full = received > self.max_received or sent > self.max_sent
        if self.is_short:
            is_short = received > self.max_received >> 2 or sent > self.max_sent >> 2
        else:
            is_short = received > self.max_received >> 1 or sent > self.max_sent >> 1
        has_changed = is_short != self.is_short
        self.is_short = is_short
        return has_changed

    def bind(self, streams: Streams) -> None:
        """Bound what a connection may hold, as memory is now."""
        if self.is_short:
            streams.bound_windows(SHORT_STREAM_WINDOW, SHORT_CONNECTION_WINDOW)
            streams.sender.max_held = SHORT_HELD
        else:
            settings = streams.settings
            streams.bound_windows(settings.max_stream_window, settings.max_connection_window)
            streams.sender.max_held = MAX_CONNECTION_HELD
