"""How a QUIC connection ended: the counter for it, and the word of the log where somebody is to blame."""

from typing import Final

from headgate.counters import (
    QUIC_ENDED_CLOSED,
    QUIC_ENDED_DEFECT,
    QUIC_ENDED_FAULT,
    QUIC_ENDED_HANDSHAKE,
    QUIC_ENDED_IDLE,
    QUIC_ENDED_MEMORY,
    QUIC_ENDED_PEER,
    QUIC_ENDED_RESET,
)
from headgate.engine.h3.errors import H3_INTERNAL_ERROR, H3_NO_ERROR
from headgate.engine.quic.closing import CloseReason
from headgate.engine.quic.errors import INTERNAL_ERROR

# The reason that a connection is given that held most of what is too much for the worker.
OUT_OF_MEMORY: Final = "too much is held"
_NOBODY: Final = ""


def how_it_ended(end: CloseReason | None, *, is_complete: bool) -> tuple[int, str]:
    """Return the counter, and the reason for the log, "" for none; `is_complete`: its handshake was."""
    if end is None:
        return QUIC_ENDED_DEFECT, _NOBODY
    if end.is_ours and end.reason == OUT_OF_MEMORY:
        return QUIC_ENDED_MEMORY, "memory"
    if not is_complete:
        return QUIC_ENDED_HANDSHAKE, "handshake-failed"
    if not end.is_ours:
        if end.reason == "stateless reset":
            return QUIC_ENDED_RESET, _NOBODY
        return QUIC_ENDED_PEER, _NOBODY if end.code in (0, H3_NO_ERROR) else "closed-by-peer"
    if end.reason == "idle timeout":
        return QUIC_ENDED_IDLE, _NOBODY
    if end.code == H3_NO_ERROR or (end.code == 0 and not end.is_application):
        return QUIC_ENDED_CLOSED, _NOBODY
    if end.code == (H3_INTERNAL_ERROR if end.is_application else INTERNAL_ERROR):
        return QUIC_ENDED_DEFECT, _NOBODY
    return QUIC_ENDED_FAULT, "protocol-error"
