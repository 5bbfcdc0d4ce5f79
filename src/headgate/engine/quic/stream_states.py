"""The two parts of a stream, sending and receiving, as printed tables (RFC 9000 sections 3.1 and 3.2).

A one-way stream has one part at each end, a two-way stream both (section 3.4). A part that is over never comes back.
Frames that repeat what is known, and those that come behind the end, leave a part where it is: the table says so,
and a missing pair is our own mistake, never the peer's.

One row is ours: who has asked the peer to stop, and then learns how long the stream would have been, waits for no
more of it (DISCARD). Section 3.5 leaves that to the receiver; what still comes is acknowledged and thrown away.
"""

from enum import IntEnum
from typing import Final

from headgate.errors import LocalProtocolError


class SendState(IntEnum):
    """Where the sending part stands (figure 2)."""

    READY = 0  # nothing sent yet
    SEND = 1
    DATA_SENT = 2  # everything sent once, FIN too
    DATA_RECVD = 3  # all of it acknowledged: over
    RESET_SENT = 4
    RESET_RECVD = 5  # RESET_STREAM acknowledged: over


class SendInput(IntEnum):
    """What moves the sending part on."""

    DATA = 0  # STREAM or STREAM_DATA_BLOCKED goes out
    FIN = 1  # STREAM with FIN goes out
    RESET = 2  # RESET_STREAM goes out
    DATA_ACKED = 3  # everything up to and with FIN is acknowledged
    RESET_ACKED = 4


class ReceiveState(IntEnum):
    """Where the receiving part stands (figure 3)."""

    RECV = 0
    SIZE_KNOWN = 1  # FIN has come, something before it has not
    DATA_RECVD = 2
    DATA_READ = 3  # all of it has gone up: over
    RESET_RECVD = 4
    RESET_READ = 5  # the reset has gone up: over


class ReceiveInput(IntEnum):
    """What moves the receiving part on."""

    FIN = 0
    ALL = 1  # nothing is missing up to FIN
    READ = 2  # everything has gone up
    RESET = 3
    RESET_READ = 4
    DISCARD = 5  # nobody here wants the rest, and its length is known


SENDING: Final[dict[tuple[SendState, SendInput], SendState]] = {
    (SendState.READY, SendInput.DATA): SendState.SEND,
    (SendState.READY, SendInput.FIN): SendState.DATA_SENT,
    (SendState.READY, SendInput.RESET): SendState.RESET_SENT,
    (SendState.SEND, SendInput.DATA): SendState.SEND,
    (SendState.SEND, SendInput.FIN): SendState.DATA_SENT,
    (SendState.SEND, SendInput.RESET): SendState.RESET_SENT,
    (SendState.DATA_SENT, SendInput.DATA): SendState.DATA_SENT,  # what was lost goes out again
    (SendState.DATA_SENT, SendInput.FIN): SendState.DATA_SENT,
    (SendState.DATA_SENT, SendInput.RESET): SendState.RESET_SENT,
    (SendState.DATA_SENT, SendInput.DATA_ACKED): SendState.DATA_RECVD,
    (SendState.DATA_RECVD, SendInput.RESET): SendState.DATA_RECVD,  # too late to take anything back
    (SendState.RESET_SENT, SendInput.RESET): SendState.RESET_SENT,
    (SendState.RESET_SENT, SendInput.RESET_ACKED): SendState.RESET_RECVD,
    (SendState.RESET_RECVD, SendInput.RESET): SendState.RESET_RECVD,
    (SendState.RESET_RECVD, SendInput.RESET_ACKED): SendState.RESET_RECVD,
}

RECEIVING: Final[dict[tuple[ReceiveState, ReceiveInput], ReceiveState]] = {
    (ReceiveState.RECV, ReceiveInput.FIN): ReceiveState.SIZE_KNOWN,
    (ReceiveState.RECV, ReceiveInput.RESET): ReceiveState.RESET_RECVD,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.FIN): ReceiveState.SIZE_KNOWN,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.ALL): ReceiveState.DATA_RECVD,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.RESET): ReceiveState.RESET_RECVD,
    (ReceiveState.SIZE_KNOWN, ReceiveInput.DISCARD): ReceiveState.DATA_READ,
    (ReceiveState.DATA_RECVD, ReceiveInput.FIN): ReceiveState.DATA_RECVD,
    (ReceiveState.DATA_RECVD, ReceiveInput.READ): ReceiveState.DATA_READ,
    (ReceiveState.DATA_RECVD, ReceiveInput.RESET): ReceiveState.DATA_RECVD,  # section 3.2: may be ignored
    (ReceiveState.DATA_READ, ReceiveInput.FIN): ReceiveState.DATA_READ,
    (ReceiveState.DATA_READ, ReceiveInput.RESET): ReceiveState.DATA_READ,
    (ReceiveState.RESET_RECVD, ReceiveInput.FIN): ReceiveState.RESET_RECVD,
    (ReceiveState.RESET_RECVD, ReceiveInput.RESET): ReceiveState.RESET_RECVD,
    (ReceiveState.RESET_RECVD, ReceiveInput.RESET_READ): ReceiveState.RESET_READ,
    (ReceiveState.RESET_READ, ReceiveInput.FIN): ReceiveState.RESET_READ,
    (ReceiveState.RESET_READ, ReceiveInput.RESET): ReceiveState.RESET_READ,
}

# The same tables, flat: bytes are indexed in two nanoseconds, a dict of pairs is not.
_SEND_INPUTS: Final = 5
_RECEIVE_INPUTS: Final = 6
_MISSING: Final = 255
_NEXT_SENDING: Final = bytes(
    int(SENDING.get((state, given), _MISSING)) for state in SendState for given in SendInput
)
_NEXT_RECEIVING: Final = bytes(
    int(RECEIVING.get((state, given), _MISSING)) for state in ReceiveState for given in ReceiveInput
)

READY: Final = 0
SEND: Final = 1
DATA_SENT: Final = 2
SENT_DATA_RECVD: Final = 3
RESET_SENT: Final = 4
SENT_RESET_RECVD: Final = 5

SEND_DATA: Final = 0
SEND_FIN: Final = 1
SEND_RESET: Final = 2
DATA_ACKED: Final = 3
RESET_ACKED: Final = 4

RECV: Final = 0
SIZE_KNOWN: Final = 1
DATA_RECVD: Final = 2
DATA_READ: Final = 3
RESET_RECVD: Final = 4
RESET_READ: Final = 5

RECEIVE_FIN: Final = 0
RECEIVE_ALL: Final = 1
READ_ALL: Final = 2
RECEIVE_RESET: Final = 3
READ_RESET: Final = 4
DISCARD: Final = 5


def step_sending(state: int, given: int) -> int:
    """Return the state that follows; raises `LocalProtocolError` for a pair that the table does not have."""
    following = _NEXT_SENDING[state * _SEND_INPUTS + given]
    if following == _MISSING:
        raise LocalProtocolError(f"{SendInput(given).name} in sending state {SendState(state).name}")
    return following


def step_receiving(state: int, given: int) -> int:
    """Return the state that follows; raises `LocalProtocolError` for a pair that the table does not have."""
    following = _NEXT_RECEIVING[state * _RECEIVE_INPUTS + given]
    if following == _MISSING:
        raise LocalProtocolError(f"{ReceiveInput(given).name} in receiving state {ReceiveState(state).name}")
    return following


def is_sending_over(state: int) -> bool:
    """Tell whether the sending part has reached one of its two ends."""
    return state in (SENT_DATA_RECVD, SENT_RESET_RECVD)


def is_receiving_over(state: int) -> bool:
    """Tell whether the receiving part has reached one of its two ends."""
    return state in (DATA_READ, RESET_READ)
