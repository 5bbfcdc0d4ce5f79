"""What the owner of downstream connections, TCP and QUIC alike, wants to know of them."""

from mypy_extensions import mypyc_attr

from headgate.connection.context import ConnectionContext
from headgate.connection.exchange import Exchange
from headgate.connection.stream_driver import StreamDriver


@mypyc_attr(allow_interpreted_subclasses=True)
class DownstreamObserver:
    """What the owner of downstream connections (the worker) wants to know."""

    def exchange_over(self, exchange: Exchange, now: float) -> None:
        """An exchange ended at loop time `now`, whichever way: write the log record."""
        raise NotImplementedError

    def handshake_over(self, connection: StreamDriver) -> None:
        """A TLS handshake succeeded. Raises `TransportError` to refuse the connection all the same."""
        raise NotImplementedError

    def connection_failed(self, context: ConnectionContext, reason: str, detail: str) -> None:
        """A connection ended on a fault of the peer or of the transport."""
        raise NotImplementedError

    def connection_closed(self, connection: StreamDriver) -> None:
        """A connection is gone: give its place to another."""
        raise NotImplementedError

    def crashed(self, where: str, error: Exception) -> None:
        """A defect of ours ended something: tell it loudly."""
        raise NotImplementedError
