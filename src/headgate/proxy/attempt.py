"""One try after another: what an exchange has with one endpoint, and what is kept for the next.

The proxy (`proxy/reverse`) drives it; this is its memory.
"""

from __future__ import annotations

from typing import Final, final

from headgate.connection.upstream_stream import UpstreamStream
from headgate.http.fields import Fields
from headgate.upstream.endpoint import Endpoint

# Content kept for the one safe repetition; nginx keeps a whole request (client_body_buffer_size 16 KiB in memory).
MAX_REPLAY: Final = 64 * 1024
# Endpoints dialled for one request, its repetition included.
MAX_DIALS: Final = 3


@final
class Attempt:
    """One try of an exchange against one endpoint. `replay` is the content sent so far, None when too much.

    `reused` says that the connection lay idle before, `repeated` that the one repetition is under way or spent.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.connection: UpstreamStream | None = None
        self.replay: list[bytes] | None = None
        self.replay_size = 0
        self.replay_end = False
        self.replay_trailers: Fields | None = None
        self.sent_all = False
        self.reused = False
        self.repeated = False
        self.dials = 0
        self.tried: list[Endpoint] = []  # could not be reached
