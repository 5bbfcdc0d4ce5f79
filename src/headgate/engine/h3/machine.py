"""The two machines of a request stream, one for each direction, as a printed table (RFC 9114 section 4.1).

Both roles use it: a server receives requests and sends responses, a client the other way round. A missing pair is
H3_FRAME_UNEXPECTED when we receive and a `LocalProtocolError` when we send.
"""

from enum import IntEnum
from typing import Final

from headgate.engine.h3.errors import unexpected
from headgate.errors import LocalProtocolError


class State(IntEnum):
    """Where one direction of a stream stands."""

    HEAD = 0  # no (final) header section yet
    CONTENT = 1
    TRAILERS = 2  # the trailer section was there: only the end may follow
    TUNNEL = 3  # after CONNECT: content without an end that means anything
    DONE = 4
    FAILED = 5  # reset, by us or by the peer: what still comes is thrown away


class Input(IntEnum):
    """What moves a direction on."""

    INTERIM = 0  # a header section with 1xx
    FINAL = 1  # a header section
    CONNECT = 2  # one that makes a tunnel
    DATA = 3
    TRAILERS = 4
    END = 5
    FAIL = 6


TABLE: Final[dict[tuple[State, Input], State]] = {
    (State.HEAD, Input.INTERIM): State.HEAD,
    (State.HEAD, Input.FINAL): State.CONTENT,
    (State.HEAD, Input.CONNECT): State.TUNNEL,
    (State.CONTENT, Input.DATA): State.CONTENT,
    (State.CONTENT, Input.TRAILERS): State.TRAILERS,
    (State.CONTENT, Input.END): State.DONE,
    (State.TRAILERS, Input.END): State.DONE,
    (State.TUNNEL, Input.DATA): State.TUNNEL,
    (State.TUNNEL, Input.END): State.DONE,
    **{(state, Input.FAIL): State.FAILED for state in State},
}

# The same table, flat: bytes are indexed in two nanoseconds, a dict of pairs is not.
_INPUTS: Final = 7
_MISSING: Final = 255
_NEXT: Final = bytes(int(TABLE.get((state, given), _MISSING)) for state in State for given in Input)

HEAD: Final = 0
CONTENT: Final = 1
TRAILERS_SEEN: Final = 2
TUNNEL: Final = 3
DONE: Final = 4
FAILED: Final = 5

INTERIM: Final = 0
FINAL: Final = 1
CONNECT: Final = 2
DATA: Final = 3
TRAILERS: Final = 4
END: Final = 5
FAIL: Final = 6


def received(state: int, given: int) -> int:
    """Return the state that follows what the peer sent. Raises `H3ConnectionError` for what may not come."""
    following = _NEXT[state * _INPUTS + given]
    if following == _MISSING:
        raise unexpected(f"{Input(given).name} in state {State(state).name}")
    return following


def sent(state: int, given: int) -> int:
    """Return the state that follows what we send. Raises `LocalProtocolError`."""
    following = _NEXT[state * _INPUTS + given]
    if following == _MISSING:
        raise LocalProtocolError(f"{Input(given).name} in state {State(state).name}")
    return following
