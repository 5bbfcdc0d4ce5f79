"""An HTTP/2 connection (RFC 9113), either role."""

from typing import final

from headgate.engine.h2.sender import H2Sender


@final
class H2Connection(H2Sender):
    """One connection; our preface is the first thing to be written."""

    def receive(self, data: bytes, now: float) -> None:
        """Take octets. Raises `H2ConnectionError`: then write what `take_output` has once more, and close."""
        raise NotImplementedError

    def receive_eof(self, now: float) -> None:
        """Take the peer's end of the connection."""
        raise NotImplementedError

    @property
    def room(self) -> int:
        """How many more streams a client may open now."""
        raise NotImplementedError

    def open_stream(self) -> int:
        """Return the next stream of a client."""
        raise NotImplementedError

    @property
    def is_going_away(self) -> bool:
        """Whether we have said that we take no more requests."""
        raise NotImplementedError

    def end_reading(self, stream_id: int) -> None:
        """As a server that has answered in full: read no more of the request (section 8.1)."""
        raise NotImplementedError

    def ping(self, now: float) -> None:
        """Ask whether the peer is there."""
        raise NotImplementedError

    def go_away(self, now: float) -> None:
        """Take no more requests."""
        raise NotImplementedError

    def deadline(self) -> float:
        """Return when `on_deadline` is due."""
        raise NotImplementedError

    def on_deadline(self, now: float) -> None:
        """Do what is due."""
        raise NotImplementedError
