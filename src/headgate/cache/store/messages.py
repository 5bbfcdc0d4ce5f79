"""What workers say to the writer: one message is one packet of a local SEQPACKET socket, so nothing is ever torn.

    P record                          store it; its file, where it has one, is complete in `incoming`
    R moment(8, wall seconds) key     remove all variants of a key, and store none that was asked for before
    T variant_id ...                  these were read
    G generation(8) kind(1) soft(1) pattern
    S token(8)                        answered by S token, octets, objects when all before it is in the index

and the writer to them, unasked, when it changes:

    W is_written(1)                   whether what it is told gets to the disk now; so it is until it says otherwise

Nobody waits: where the socket is full the packet is dropped and counted, and the object is not on the disk.
"""

import struct
from typing import Final

PUT: Final = 0x50
REMOVE: Final = 0x52
TOUCH: Final = 0x54
PURGE: Final = 0x47
SYNC: Final = 0x53
WRITTEN: Final = 0x57

# Beyond this much content a response has a file. LMDB takes whole pages for what is larger than half of one, and
# packets have to fit a socket's buffer (net.core.wmem_default is 208 KiB).
SMALL_CONTENT: Final = 64 * 1024
MAX_PACKET: Final = 192 * 1024

MOMENT: Final = struct.Struct("<d")
PURGED: Final = struct.Struct("<QBB")
SYNCED: Final = struct.Struct("<QQQ")
TOKEN: Final = struct.Struct("<Q")


def put(record: bytes) -> bytes:
    """Return the packet that stores a record."""
    return b"P" + record


def remove(key: bytes, moment: float) -> bytes:
    """Return the packet that removes a key."""
    return b"R" + MOMENT.pack(moment) + key


def touch(variants: list[bytes]) -> bytes:
    """Return the packet that says what was read."""
    return b"T" + b"".join(variants)


def purge(kind: int, pattern: bytes, is_soft: bool, generation: int) -> bytes:
    """Return the packet of a purge."""
    return b"G" + PURGED.pack(generation, kind, is_soft) + pattern


def written(is_written: bool) -> bytes:
    """Return the packet that says whether the disk is in use."""
    return bytes((WRITTEN, is_written))


def sync(token: int) -> bytes:
    """Return the packet that asks for an answer."""
    return b"S" + TOKEN.pack(token)
