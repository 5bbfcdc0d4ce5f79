"""What is wrong with a message, whatever carries it (RFC 9113 section 8.1.1, RFC 9114 section 4.1.2).

`MalformedError` ends one stream: HTTP/2 resets it with PROTOCOL_ERROR, HTTP/3 with H3_MESSAGE_ERROR, so its `code` is
0 here. `RefusedError` ends nothing: a request that could be read as far as it matters gets an answer.
"""

from typing import final

from headgate.errors import RemoteProtocolError


@final
class MalformedError(RemoteProtocolError):
    """A message that is not handed on; `detail` says why."""


@final
class RefusedError(RemoteProtocolError):
    """A request that is answered with the status `code` and goes no further."""


@final
class SectionTooLargeError(Exception):
    """A field section beyond `MAX_FIELD_SECTION` or `MAX_SECTION_LINES`: 431 for a request."""


def malformed(detail: str) -> MalformedError:
    """Return the error for a message that is malformed."""
    return MalformedError(0, "malformed", detail)
