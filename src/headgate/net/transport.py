"""A transport: a non-blocking byte pipe with a file descriptor (plain TCP, TLS on a socket, memory in tests).

The driver calls `read` when the descriptor is readable and `write` whenever it has bytes. Nothing here awaits.
A native base class rather than a `Protocol`: mypyc calls it 2.4 times faster.
"""

from typing import Final

from mypy_extensions import mypyc_attr

# What `handshake` says.
DONE: Final = 0
WANT_READ: Final = 1
WANT_WRITE: Final = 2

# What `send_file` says of octets that have to be read and written.
NOT_SENT: Final = -1


@mypyc_attr(allow_interpreted_subclasses=True)
class Transport:
    """Base of all transports. A broken pipe raises `TransportError`, never `OSError` or a TLS library's error.

    `early`: it connects with what is written first, which may arrive twice or not at all (TCP Fast Open).
    `peer` is the address that was dialled, for whoever has to say where something failed; "" where nobody dialled.
    `sends_files`: octets of files need not pass through this process.
    """

    peer: str = ""
    early: bool = False
    sends_files: bool = False

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        raise NotImplementedError

    def handshake(self) -> int:
        """Go on with the handshake as far as it goes: DONE, WANT_READ or WANT_WRITE. Plain transports are DONE."""
        return DONE

    def read(self, limit: int) -> bytes | None:
        """Return up to `limit` bytes, b"" at the end of the stream, None when nothing is there yet."""
        raise NotImplementedError

    def pending(self) -> bool:
        """Tell whether bytes are already buffered above the descriptor, so that no readiness will announce them."""
        return False

    def write(self, data: bytes) -> int:
        """Take bytes from the front of `data`; return how many. 0: would block, wait for writability. Raises only if
        nothing of `data` can have arrived: who may not send it twice sends it again then."""
        raise NotImplementedError

    def write_more(self, data: bytes) -> int:
        """`write` of what is followed by more at once: it need not be a segment of its own."""
        return self.write(data)

    def send_file(self, descriptor: int, at: int, size: int) -> int:
        """Take octets [at, at + size) of a file, as far as there is room; return how many. 0: would block.

        NOT_SENT: nothing was taken, and the file is the reason (it ends here, its file system cannot do it, its disk
        fails): reading it says which.
        """
        return NOT_SENT

    def alpn(self) -> bytes:
        """Return the protocol that the handshake agreed on (RFC 7301), b"" for none."""
        return b""

    def shutdown(self) -> None:
        """Tell the peer that nothing more will be written (TLS: close_notify as well). Never raises."""
        raise NotImplementedError

    def parting(self) -> bool:
        """Tell whether a handshake that failed has left the peer a word that a close at once would destroy.

        Then `shutdown`, and `read` away what comes until the peer ends too.
        """
        return False

    def reset_on_close(self) -> None:
        """Let `close` be a reset where a plain end would pass for a proper one. Never raises.

        TLS needs none: an end without close_notify is an improper one already.
        """

    def close(self) -> None:
        """Close at once. Never raises; may be called twice."""
        raise NotImplementedError
