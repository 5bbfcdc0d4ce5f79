"""Words about the cache on their way through the supervisor: purges and questions to the workers, and what they say
to them. Purges are kept for later workers, which are told again."""

from typing import Final

from headgate.process.channel import ChannelError, Json, Kind, Message, encode_frame

# Kept for later workers, whose disk may not know of them; some 200 octets each.
MAX_PURGES: Final = 1024


class PurgeRelay:
    """`keeps`: there is a disk, so that a new worker has something to purge. One that has not is told the last
    number, which workers compare (cache/home)."""

    def __init__(self, *, keeps: bool) -> None:
        self._keeps = keeps
        self._kept: list[Json] = []

    def take(self, message: Message) -> bytes:
        """Take a word of the keeper's; return the frame for the workers. Raises `ChannelError`."""
        if message.kind is not Kind.PURGE:
            return encode_frame(message.kind, message.value)
        generation = message.integer("generation")
        self._kept.append(message.value)
        if len(self._kept) > MAX_PURGES or not self._keeps:
            # What is meant is gone in any case: one purge of everything stands for all of them.
            self._kept = [{"kind": 0, "pattern": "", "soft": False, "generation": generation}]
        return encode_frame(Kind.PURGE, message.value)

    def frames(self) -> list[bytes]:
        """Return what a new worker is told."""
        return [encode_frame(Kind.PURGE, purge) for purge in self._kept]

    def answered(self, slot: int, message: Message) -> bytes:
        """Return the frame by which the keeper learns what a worker has said. Raises `ChannelError`."""
        if not isinstance(message.value, dict):
            raise ChannelError(f"{message.kind.name} is no object")
        return encode_frame(message.kind, {**message.value, "slot": slot})
