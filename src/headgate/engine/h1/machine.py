"""The two machines of an HTTP/1.1 connection, one for each direction, as a printed table.

Both roles use it: a server receives requests and sends responses, a client the other way round. An exchange is
over when both directions are DONE; then both start again (`REUSE`) or the connection ends (`MUST_CLOSE`).
A missing pair is a `LocalProtocolError` when we send, and cannot happen when we receive.
"""

from enum import IntEnum
from typing import Final

from headgate.errors import LocalProtocolError


class State(IntEnum):
    """Where one direction of the current exchange stands."""

    IDLE = 0  # no head yet
    LENGTH = 1  # content of known length
    CHUNKED = 2  # content in chunks
    UNTIL_CLOSE = 3  # content up to the end of the connection (responses only)
    DONE = 4  # message complete
    SWITCHED = 5  # no longer HTTP/1.1: a tunnel
    CLOSED = 6  # nothing more will come or go
    FAILED = 7  # the peer broke the protocol


class Input(IntEnum):
    """What moves a direction on."""

    INTERIM = 0  # a 1xx head
    HEAD_EMPTY = 1  # a head without content
    HEAD_LENGTH = 2
    HEAD_CHUNKED = 3
    HEAD_UNTIL_CLOSE = 4
    HEAD_SWITCH = 5  # 101, or 2xx to CONNECT
    DATA = 6
    END = 7
    REUSE = 8
    CLOSE = 9
    FAIL = 10


TABLE: Final[dict[tuple[State, Input], State]] = {
    (State.IDLE, Input.INTERIM): State.IDLE,
    (State.IDLE, Input.HEAD_EMPTY): State.DONE,
    (State.IDLE, Input.HEAD_LENGTH): State.LENGTH,
    (State.IDLE, Input.HEAD_CHUNKED): State.CHUNKED,
    (State.IDLE, Input.HEAD_UNTIL_CLOSE): State.UNTIL_CLOSE,
    (State.IDLE, Input.HEAD_SWITCH): State.SWITCHED,
    (State.IDLE, Input.CLOSE): State.CLOSED,
    (State.LENGTH, Input.DATA): State.LENGTH,
    (State.LENGTH, Input.END): State.DONE,
    (State.LENGTH, Input.CLOSE): State.CLOSED,
    (State.CHUNKED, Input.DATA): State.CHUNKED,
    (State.CHUNKED, Input.END): State.DONE,
    (State.CHUNKED, Input.CLOSE): State.CLOSED,
    (State.UNTIL_CLOSE, Input.DATA): State.UNTIL_CLOSE,
    (State.UNTIL_CLOSE, Input.END): State.DONE,
    (State.UNTIL_CLOSE, Input.CLOSE): State.CLOSED,
    (State.DONE, Input.REUSE): State.IDLE,
    (State.DONE, Input.HEAD_SWITCH): State.SWITCHED,
    (State.DONE, Input.CLOSE): State.CLOSED,
    (State.SWITCHED, Input.CLOSE): State.CLOSED,
    (State.CLOSED, Input.CLOSE): State.CLOSED,
    (State.FAILED, Input.CLOSE): State.CLOSED,
    **{(state, Input.FAIL): State.FAILED for state in State},
}

# The same table, flat: bytes are indexed in two nanoseconds, a dict of pairs is not.
_INPUTS: Final = 11
_MISSING: Final = 255
_NEXT: Final = bytes(int(TABLE.get((state, given), _MISSING)) for state in State for given in Input)

IDLE: Final = 0
LENGTH: Final = 1
CHUNKED: Final = 2
UNTIL_CLOSE: Final = 3
DONE: Final = 4
SWITCHED: Final = 5
CLOSED: Final = 6
FAILED: Final = 7

INTERIM: Final = 0
HEAD_EMPTY: Final = 1
HEAD_LENGTH: Final = 2
HEAD_CHUNKED: Final = 3
HEAD_UNTIL_CLOSE: Final = 4
HEAD_SWITCH: Final = 5
DATA: Final = 6
END: Final = 7
REUSE: Final = 8
CLOSE: Final = 9
FAIL: Final = 10


def step(state: int, given: int) -> int:
    """Return the state that follows; raises `LocalProtocolError` for a pair that the table does not have."""
    following = _NEXT[state * _INPUTS + given]
    if following == _MISSING:
        raise LocalProtocolError(f"{Input(given).name} in state {State(state).name}")
    return following
