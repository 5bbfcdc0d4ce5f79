"""The first Initial of a client, looked at before anything is built for it (RFC 9001 section 5.2).

Anybody can send what looks like an Initial. Its keys come from its own Destination Connection ID, so that its tag
proves nothing but that somebody took the trouble; whoever sends random octets did not. Deriving three keys and
checking one tag costs a few microseconds, and nothing is kept when the tag is wrong. When it is right, the keys are
handed to `accept`, which would have to derive the same ones.
"""

from headgate.engine.quic.errors import QuicError
from headgate.engine.quic.levels import INITIAL
from headgate.engine.quic.packet import LongHeader
from headgate.engine.quic.protect import KeySet


def open_initial(data: bytes, header: LongHeader) -> KeySet | None:
    """Return the keys that read a client's Initial, or None where its tag is not right: drop it without a trace.

    `header` is what `parse_long_header` found in `data`, of kind `INITIAL`.
    """
    keys = KeySet(INITIAL, header.version)
    keys.install_initial(header.destination, is_client=True, is_write=False)
    masks = keys.masks(data, [header.number_at])
    try:
        content = keys.open(data, header.start, header.number_at, header.end, masks, 0, -1)
    except QuicError:
        return keys  # the tag is right and something else is not: that is for the connection to answer
    return keys if content is not None else None
