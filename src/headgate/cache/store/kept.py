"""What the writer keeps while the disk is away: invalidations and purges, which nobody says again.

Where they are more than is kept nothing in the index can be believed, and it has to begin anew.
"""

from typing import Final, final

from headgate.cache.store import messages

# Octets that are kept, with what each packet takes beside. One more is too much.
MAX_KEPT: Final = 1 << 20
BESIDE: Final = 64


@final
class Kept:
    """The packets, in their order; true where there are any, or there were too many."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.is_too_much = False
        self._octets = 0

    def __bool__(self) -> bool:
        return self.is_too_much or bool(self.packets)

    def keep(self, packet: bytes) -> bool:
        """Keep a packet, if it is one that must not be lost; tell whether it is."""
        if packet[0] not in (messages.REMOVE, messages.PURGE):
            return False
        if not self.is_too_much:
            self.packets.append(packet)
            self._octets += len(packet) + BESIDE
            if self._octets > MAX_KEPT:
                self.forget()
                self.is_too_much = True
        return True

    def forget(self) -> None:
        """They are written, or there is nothing left that they could be about."""
        self.packets = []
        self.is_too_much = False
        self._octets = 0
