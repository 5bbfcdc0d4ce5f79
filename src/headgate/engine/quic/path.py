"""Where datagrams go and come from, and what one system call carries (RFC 9000 section 9, udp(7) UDP_SEGMENT).

An engine knows addresses only as whoever owns the socket says them: it compares them and hands them back.
"""

from typing import Final, final

# As a socket says it: host, port, and for IPv6 flow and scope.
Address = tuple[str, int] | tuple[str, int, int, int]

# Datagrams in one call: 52 of 1252 octets are what one UDP_SEGMENT of 64 KiB takes (HAProxy: as many).
MAX_BATCH: Final = 52
# And octets: what the length field of an IP packet can say, less all headers. 44 datagrams of 1452.
MAX_BATCH_OCTETS: Final = 65_000


@final
class Batch:
    """Datagrams that go out together, end to end in `data`: each of `segment` octets, the last of as many or fewer.

    `local` is what the socket said of the address that the peer sends to, b"" for any; `ecn` are the two bits of
    the IP header (RFC 3168)."""

    __slots__ = ("data", "ecn", "local", "peer", "segment")

    def __init__(self, data: bytes, segment: int, peer: Address, local: bytes, ecn: int) -> None:
        self.data = data
        self.segment = segment
        self.peer = peer
        self.local = local
        self.ecn = ecn

    def __repr__(self) -> str:
        return f"<Batch {len(self.data)} octets by {self.segment} to {self.peer[0]} port {self.peer[1]}>"

    def datagrams(self) -> list[bytes]:
        """Return the datagrams one by one: for tests, and for sockets that take no batches."""
        data, size = self.data, self.segment
        return [data[at : at + size] for at in range(0, len(data), size)]
