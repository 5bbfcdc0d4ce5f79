"""The machines of a stream, as printed tables.

`STREAMS` is RFC 9113 section 5.1. Server push is never used, so the two reserved states are not there. What a
missing pair means, when the peer is the one who does it: in IDLE a connection error PROTOCOL_ERROR, in
HALF_CLOSED_REMOTE a stream error STREAM_CLOSED; a closed stream is forgotten, and `H2Connection` says what becomes
of frames for it. When we do it, it is a `LocalProtocolError`.

`MESSAGES` is section 8.1, once for each direction: a missing pair is a malformed message.
"""

from enum import IntEnum
from typing import Final

from headgate.engine.h2.errors import protocol_error, stream_closed
from headgate.errors import LocalProtocolError


class StreamState(IntEnum):
    """Where a stream stands."""

    IDLE = 0
    OPEN = 1
    HALF_CLOSED_LOCAL = 2  # we have sent our end
    HALF_CLOSED_REMOTE = 3  # the peer has
    CLOSED = 4


class StreamInput(IntEnum):
    """What moves a stream on."""

    SEND_HEADERS = 0
    RECV_HEADERS = 1
    SEND_DATA = 2
    RECV_DATA = 3
    SEND_END = 4
    RECV_END = 5
    SEND_RESET = 6
    RECV_RESET = 7
    RECV_WINDOW_UPDATE = 8


_S = StreamState
_I = StreamInput
STREAMS: Final[dict[tuple[StreamState, StreamInput], StreamState]] = {
    (_S.IDLE, _I.SEND_HEADERS): _S.OPEN,
    (_S.IDLE, _I.RECV_HEADERS): _S.OPEN,
    (_S.OPEN, _I.SEND_HEADERS): _S.OPEN,
    (_S.OPEN, _I.RECV_HEADERS): _S.OPEN,
    (_S.OPEN, _I.SEND_DATA): _S.OPEN,
    (_S.OPEN, _I.RECV_DATA): _S.OPEN,
    (_S.OPEN, _I.RECV_WINDOW_UPDATE): _S.OPEN,
    (_S.OPEN, _I.SEND_END): _S.HALF_CLOSED_LOCAL,
    (_S.OPEN, _I.RECV_END): _S.HALF_CLOSED_REMOTE,
    (_S.OPEN, _I.SEND_RESET): _S.CLOSED,
    (_S.OPEN, _I.RECV_RESET): _S.CLOSED,
    (_S.HALF_CLOSED_LOCAL, _I.RECV_HEADERS): _S.HALF_CLOSED_LOCAL,
    (_S.HALF_CLOSED_LOCAL, _I.RECV_DATA): _S.HALF_CLOSED_LOCAL,
    (_S.HALF_CLOSED_LOCAL, _I.RECV_WINDOW_UPDATE): _S.HALF_CLOSED_LOCAL,
    (_S.HALF_CLOSED_LOCAL, _I.RECV_END): _S.CLOSED,
    (_S.HALF_CLOSED_LOCAL, _I.SEND_RESET): _S.CLOSED,
    (_S.HALF_CLOSED_LOCAL, _I.RECV_RESET): _S.CLOSED,
    (_S.HALF_CLOSED_REMOTE, _I.SEND_HEADERS): _S.HALF_CLOSED_REMOTE,
    (_S.HALF_CLOSED_REMOTE, _I.SEND_DATA): _S.HALF_CLOSED_REMOTE,
    (_S.HALF_CLOSED_REMOTE, _I.RECV_WINDOW_UPDATE): _S.HALF_CLOSED_REMOTE,
    (_S.HALF_CLOSED_REMOTE, _I.SEND_END): _S.CLOSED,
    (_S.HALF_CLOSED_REMOTE, _I.SEND_RESET): _S.CLOSED,
    (_S.HALF_CLOSED_REMOTE, _I.RECV_RESET): _S.CLOSED,
}


class MessageState(IntEnum):
    """Where the message of one direction stands."""

    HEAD = 0  # no (final) header section yet
    CONTENT = 1
    TRAILERS = 2  # the trailer section was there: only the end may follow
    TUNNEL = 3  # after CONNECT: content without an end that means anything
    DONE = 4
    FAILED = 5  # reset, by us or by the peer


class MessageInput(IntEnum):
    """What moves a message on."""

    INTERIM = 0  # a header section with 1xx
    FINAL = 1  # a header section
    CONNECT = 2  # one that makes a tunnel
    DATA = 3
    TRAILERS = 4
    END = 5
    FAIL = 6


_M = MessageState
_N = MessageInput
MESSAGES: Final[dict[tuple[MessageState, MessageInput], MessageState]] = {
    (_M.HEAD, _N.INTERIM): _M.HEAD,
    (_M.HEAD, _N.FINAL): _M.CONTENT,
    (_M.HEAD, _N.CONNECT): _M.TUNNEL,
    (_M.CONTENT, _N.DATA): _M.CONTENT,
    (_M.CONTENT, _N.TRAILERS): _M.TRAILERS,
    (_M.CONTENT, _N.END): _M.DONE,
    (_M.TRAILERS, _N.END): _M.DONE,
    (_M.TUNNEL, _N.DATA): _M.TUNNEL,
    (_M.TUNNEL, _N.END): _M.DONE,
    **{(state, _N.FAIL): _M.FAILED for state in MessageState},
}

# The same tables, flat: bytes are indexed in two nanoseconds, a dict of pairs is not.
_STREAM_INPUTS: Final = 9
_MESSAGE_INPUTS: Final = 7
MISSING: Final = 255
_NEXT_STREAM: Final = bytes(
    int(STREAMS.get((state, given), MISSING)) for state in StreamState for given in StreamInput
)
_NEXT_MESSAGE: Final = bytes(
    int(MESSAGES.get((state, given), MISSING)) for state in MessageState for given in MessageInput
)

IDLE: Final = 0
OPEN: Final = 1
HALF_CLOSED_LOCAL: Final = 2
HALF_CLOSED_REMOTE: Final = 3
CLOSED: Final = 4

SEND_HEADERS: Final = 0
RECV_HEADERS: Final = 1
SEND_DATA: Final = 2
RECV_DATA: Final = 3
SEND_END: Final = 4
RECV_END: Final = 5
SEND_RESET: Final = 6
RECV_RESET: Final = 7
RECV_WINDOW_UPDATE: Final = 8

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


def peer_does(state: int, given: int) -> int:
    """Return the state that a stream is in after what the peer did.

    Raises `H2ConnectionError` or `H2StreamError` for what may not come.
    """
    following = _NEXT_STREAM[state * _STREAM_INPUTS + given]
    if following == MISSING:
        detail = f"{StreamInput(given).name} in state {StreamState(state).name}"
        if state == IDLE:
            raise protocol_error(detail)
        raise stream_closed(detail)
    return following


def we_do(state: int, given: int) -> int:
    """Return the state that a stream is in after what we did. Raises `LocalProtocolError`."""
    following = _NEXT_STREAM[state * _STREAM_INPUTS + given]
    if following == MISSING:
        raise LocalProtocolError(f"{StreamInput(given).name} in state {StreamState(state).name}")
    return following


def message_after(state: int, given: int) -> int:
    """Return the state that a message is in after `given`, `MISSING` for what may not be."""
    return _NEXT_MESSAGE[state * _MESSAGE_INPUTS + given]


def sent(state: int, given: int) -> int:
    """Return the state of a message that we write after `given`. Raises `LocalProtocolError`."""
    following = _NEXT_MESSAGE[state * _MESSAGE_INPUTS + given]
    if following == MISSING:
        raise LocalProtocolError(f"{MessageInput(given).name} in state {MessageState(state).name}")
    return following
