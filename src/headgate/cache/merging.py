"""Stored fields and newer ones: what a 304, a HEAD or another part changes (RFC 9111 section 3.2)."""

from typing import Final

from headgate.http.fields import Fields

# RFC 9111 section 3.2: Content-Length is not updated, nor is what the stored octets depend on.
NOT_UPDATED: Final = frozenset(
    (b"content-encoding", b"content-length", b"content-md5", b"content-range", b"etag")
)


def merge_fields(stored: Fields, newer: Fields) -> Fields:
    """Return stored fields updated by those of a newer response (RFC 9111 section 3.2).

    A field of the newer one takes the place of all lines of that name, but for those in NOT_UPDATED. `newer` is
    without what is for one connection.
    """
    replaced = {name for name in newer.names if name not in NOT_UPDATED}
    names: list[bytes] = []
    lines: list[bytes] = []
    for at in range(len(stored.names)):
        if stored.names[at] not in replaced:
            names.append(stored.names[at])
            lines.append(stored.lines[at])
    for at in range(len(newer.names)):
        if newer.names[at] in replaced:
            names.append(newer.names[at])
            lines.append(newer.lines[at])
    return Fields(names, lines)
