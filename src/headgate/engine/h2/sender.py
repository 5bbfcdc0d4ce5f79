"""The writing half of an HTTP/2 connection (RFC 9113 sections 5.2, 6.1, 6.2, 6.9 and 8): events to frames."""

from headgate.engine.events import Event
from headgate.engine.h2.base import H2Base


class H2Sender(H2Base):
    """Base of `H2Connection`."""

    def send(self, event: Event) -> None:
        """Take the next event of a message."""
        raise NotImplementedError
