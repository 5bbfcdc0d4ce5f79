"""One stream with its two parts (RFC 9000 sections 2 and 3), and what we grant a peer of streams.

A stream is data: everything that happens to it is decided in engine/quic/streams, which has the table, the credit of
the connection and the queues. A part that a stream does not have counts as over from the beginning.
"""

from typing import Final, final

from headgate.engine.quic import stream_states as states
from headgate.engine.quic.flow import (
    CONNECTION_WINDOW,
    MAX_CONNECTION_WINDOW,
    MAX_STREAM_WINDOW,
    STREAM_WINDOW,
    ReceiveCredit,
    SendCredit,
)
from headgate.engine.quic.receive_buffer import ReceiveBuffer
from headgate.engine.quic.send_buffer import SendBuffer

# Requests at a time; RFC 9114 section 6.1 asks for 100 at least, and so do HAProxy, nginx 128, quic-go 100.
MAX_BIDI_STREAMS: Final = 100
# RFC 9114 section 6.2 needs three; a few more for what a peer greases with. lsquic 3.
MAX_UNI_STREAMS: Final = 8

# The two low bits of an ID (section 2.1).
SERVER_BIT: Final = 1
UNI_BIT: Final = 2


@final
class StreamSettings:
    """What we grant: the numbers of our transport parameters, and how far windows may grow."""

    __slots__ = (
        "bidi_streams",
        "connection_window",
        "max_connection_window",
        "max_stream_window",
        "stream_window",
        "uni_streams",
    )

    def __init__(
        self,
        *,
        bidi_streams: int = MAX_BIDI_STREAMS,
        uni_streams: int = MAX_UNI_STREAMS,
        stream_window: int = STREAM_WINDOW,
        max_stream_window: int = MAX_STREAM_WINDOW,
        connection_window: int = CONNECTION_WINDOW,
        max_connection_window: int = MAX_CONNECTION_WINDOW,
    ) -> None:
        self.bidi_streams = bidi_streams
        self.uni_streams = uni_streams
        self.stream_window = stream_window
        self.max_stream_window = max_stream_window
        self.connection_window = connection_window
        self.max_connection_window = max_connection_window


@final
class Stream:
    """The state of one stream. `send` and `receive` are None where it has no such part."""

    __slots__ = (
        "final_sent",
        "id",
        "is_incremental",
        "is_ready",
        "is_released",
        "is_reset_counted",
        "is_starved",
        "is_stopped",
        "level",
        "receive",
        "receive_credit",
        "receive_state",
        "reset_code",
        "send",
        "send_credit",
        "send_state",
        "stop_code",
    )

    def __init__(
        self,
        stream_id: int,
        level: int,
        receive: ReceiveBuffer | None,
        receive_credit: ReceiveCredit,
        send: SendBuffer | None,
        send_credit: SendCredit,
    ) -> None:
        self.id = stream_id
        self.level = level  # of engine/quic/scheduler
        self.is_incremental = False
        self.receive = receive
        self.receive_credit = receive_credit
        self.receive_state: int = states.DATA_READ if receive is None else states.RECV
        self.send = send
        self.send_credit = send_credit
        self.send_state: int = states.SENT_DATA_RECVD if send is None else states.READY
        self.is_ready = False  # stands in the scheduler
        self.is_starved = False  # has new data, and the connection no credit
        self.is_released = False  # whoever worked for it has stopped
        self.is_reset_counted = False
        self.is_stopped = False  # nobody here wants what the peer still sends
        self.reset_code = 0
        self.stop_code = 0
        self.final_sent = 0  # the final size that RESET_STREAM tells

    def __repr__(self) -> str:
        sending = states.SendState(self.send_state).name if self.send is not None else "-"
        receiving = states.ReceiveState(self.receive_state).name if self.receive is not None else "-"
        return f"<Stream {self.id} sending {sending} receiving {receiving}>"

    def is_over(self) -> bool:
        """Tell whether both parts have ended and nobody works for it: its credit goes back."""
        return (
            self.is_released
            and states.is_sending_over(self.send_state)
            and states.is_receiving_over(self.receive_state)
        )

    def wants_to_send(self) -> bool:
        """Tell whether it could send something now, given credit of the connection."""
        buffer = self.send
        if buffer is None or self.send_state > states.DATA_SENT:
            return False
        sent = buffer.sent
        return (sent < buffer.end and sent < self.send_credit.limit) or buffer.can_send_without_credit()

    def can_send_without_credit(self) -> bool:
        """Tell whether it could send something now that needs no credit."""
        return (
            self.send is not None
            and self.send_state <= states.DATA_SENT
            and self.send.can_send_without_credit()
        )
