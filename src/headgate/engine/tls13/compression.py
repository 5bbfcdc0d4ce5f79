"""Certificates in less room (RFC 8879): a chain shrinks by a third, and with it the first flight of a server, of
which only three times the client's datagram may go out before its address is proved.

zlib alone, which Python has; its output is stopped one octet behind the length that the message promises, so that a
bomb costs no more than the largest Certificate.
"""

import zlib
from typing import Final

from headgate.engine.tls13.alerts import BAD_CERTIFICATE, ILLEGAL_PARAMETER, refusal
from headgate.engine.tls13.wire import Reader, number_list, numbers, vector

ZLIB: Final = 1
ALGORITHMS: Final[tuple[int, ...]] = (ZLIB,)
# The content of the extension compress_certificate that we send.
ALGORITHMS_OFFERED: Final = vector(1, number_list(ALGORITHMS))


def decode_algorithms(content: bytes) -> tuple[int, ...]:
    """Read the content of compress_certificate (section 3). Raises `TlsAlertError`."""
    reader = Reader(content)
    algorithms = numbers(reader.vector(1, 2))
    reader.finish()
    return algorithms


def compress(body: bytes) -> bytes:
    """Return the body of a Certificate, compressed with zlib."""
    return zlib.compress(body, 9)


def decompress(algorithm: int, packed: bytes, length: int) -> bytes:
    """Return the body of a Certificate of `length` octets. Raises `TlsAlertError` when it is none (section 4)."""
    if algorithm not in ALGORITHMS:
        raise refusal(ILLEGAL_PARAMETER, f"compression algorithm {algorithm} was not offered")
    unpacking = zlib.decompressobj()
    try:
        body = unpacking.decompress(packed, length + 1)
    except zlib.error as error:
        raise refusal(BAD_CERTIFICATE, "the compressed certificate is no zlib stream") from error
    if len(body) != length or not unpacking.eof or unpacking.unused_data:
        raise refusal(BAD_CERTIFICATE, f"the compressed certificate has not the {length} octets it promises")
    return body
