"""What a ClientHello says before OpenSSL has read it (RFC 8446 section 4.1.2, RFC 6066 section 3, RFC 5077).

Two things must be known before OpenSSL gets a connection: the key name of the ticket that the client wants to
resume, because it picks the context on whose keys the handshake begins, and whether this is TLS at all. So the
first record is looked at with MSG_PEEK, parsed here, and left in the socket: OpenSSL reads it again and is the only
one that decides anything about TLS. Whatever does not parse is no error: the connection goes on with the current
ticket keys.

Where TLS is passed on and never terminated (listeners of mode "tcp"), nobody reads it again: `read_hello` takes a
ClientHello that may be spread over records (RFC 8446 section 5.1), and what is none is refused.

Both forms of ticket begin with the 16 bytes of its key's name: the content of the session_ticket extension (TLS 1.2)
and the first identity of pre_shared_key (TLS 1.3).
"""

from typing import Final, final

from headgate.errors import RemoteProtocolError

RECORD_HEADER: Final = 5
# A record holds 2^14 bytes and some; a ClientHello that needs more than one record is left to OpenSSL.
RECORD_MAX: Final = 16 * 1024 + 256
_FRAGMENT_MAX: Final = 16 * 1024  # in plain text
HANDSHAKE_RECORD: Final = 22
KEY_NAME_SIZE: Final = 16

# A ClientHello that is passed on: browsers send 2 KiB, our QUIC takes as much. And the records that it may come in:
# what cuts it up on purpose makes a handful.
MAX_HELLO: Final = 16 * 1024
MAX_HELLO_RECORDS: Final = 32
MAX_HELLO_OCTETS: Final = MAX_HELLO + MAX_HELLO_RECORDS * RECORD_HEADER
# RFC 8446 section 6: fatal(2) unrecognized_name(112), in a record of its own.
ALERT_UNRECOGNIZED_NAME: Final = b"\x15\x03\x03\x00\x02\x02\x70"

_CLIENT_HELLO: Final = 1
_SERVER_NAME: Final = 0
_SESSION_TICKET: Final = 35
_PRE_SHARED_KEY: Final = 41
_HOST_NAME: Final = 0


@final
class ClientHello:
    """The server name (b"" without one) and the key name of the offered ticket (b"" without one)."""

    __slots__ = ("server_name", "ticket_key")

    def __init__(self, server_name: bytes, ticket_key: bytes) -> None:
        self.server_name = server_name
        self.ticket_key = ticket_key

    def __repr__(self) -> str:
        resumes = f" ticket key {self.ticket_key.hex()}" if self.ticket_key else ""
        return f"<ClientHello {self.server_name.decode('latin-1') or '-'}{resumes}>"


def missing(data: bytes) -> int:
    """Return how many bytes of the first record are still missing in `data`; 0 when it is whole or no handshake."""
    if len(data) < RECORD_HEADER:
        return RECORD_HEADER - len(data)
    if data[0] != HANDSHAKE_RECORD:
        return 0
    size = RECORD_HEADER + (data[3] << 8 | data[4])
    if size > RECORD_MAX or size <= len(data):
        return 0
    return size - len(data)


def decode_client_hello(data: bytes) -> ClientHello | None:
    """Read a whole first record; None when it does not hold one whole, well-formed ClientHello."""
    try:
        return _decode(data)
    except IndexError:
        return None


def read_hello(data: bytes) -> ClientHello | None:
    """Return what the ClientHello says that `data` begins with; None: more is needed.

    Raises `RemoteProtocolError` with the reason "not-tls" or "client-hello"; its code is TLS's alert.
    """
    message = b""
    at = 0
    for _ in range(MAX_HELLO_RECORDS):
        if at < len(data) and data[at] != HANDSHAKE_RECORD:
            raise RemoteProtocolError(10, "not-tls", f"the first octets are {data[:8].hex(' ')}")
        if len(data) < at + RECORD_HEADER:
            return None
        size = data[at + 3] << 8 | data[at + 4]
        if data[at + 1] != 3 or size == 0 or size > _FRAGMENT_MAX:
            raise RemoteProtocolError(10, "not-tls", f"a record's header is {data[at : at + 5].hex(' ')}")
        at += RECORD_HEADER
        message += data[at : at + size]
        at += size
        if message and message[0] != _CLIENT_HELLO:
            raise RemoteProtocolError(10, "client-hello", f"the first message is of type {message[0]}")
        if len(message) >= 4:
            whole = 4 + (message[1] << 16 | message[2] << 8 | message[3])
            if whole > MAX_HELLO:
                raise RemoteProtocolError(47, "client-hello", f"{whole} octets, more than {MAX_HELLO}")
            if len(message) >= whole:
                return _read_whole(message[:whole])
        if at > len(data):
            return None
    raise RemoteProtocolError(10, "client-hello", f"more than {MAX_HELLO_RECORDS} records")


def _read_whole(message: bytes) -> ClientHello:
    record = bytes((HANDSHAKE_RECORD, 3, 1)) + len(message).to_bytes(2, "big") + message
    hello = decode_client_hello(record)
    if hello is None:
        raise RemoteProtocolError(50, "client-hello", "it is malformed")
    return hello


def _decode(data: bytes) -> ClientHello | None:
    if data[0] != HANDSHAKE_RECORD or data[5] != _CLIENT_HELLO:
        return None
    end = 9 + (data[6] << 16 | data[7] << 8 | data[8])
    if end > len(data) or end > RECORD_HEADER + (data[3] << 8 | data[4]):
        return None
    at = 9 + 2 + 32  # legacy_version, random
    at += 1 + data[at]  # legacy_session_id
    at += 2 + (data[at] << 8 | data[at + 1])  # cipher_suites
    at += 1 + data[at]  # legacy_compression_methods
    if at == end:
        return ClientHello(b"", b"")
    if at + 2 + (data[at] << 8 | data[at + 1]) != end:
        return None
    return _extensions(data, at + 2, end)


def _extensions(data: bytes, at: int, end: int) -> ClientHello | None:
    name = b""
    key = b""
    while at < end:
        kind = data[at] << 8 | data[at + 1]
        size = data[at + 2] << 8 | data[at + 3]
        at += 4
        if at + size > end:
            return None
        if kind == _SERVER_NAME:
            name = _host_name(data, at, at + size)
        elif kind == _SESSION_TICKET:
            if not key:
                key = _key_name(data, at, at + size)
        elif kind == _PRE_SHARED_KEY and size > 4:
            # identities<7..2^16-1>, each an opaque identity<1..2^16-1> and its age. TLS 1.3 decides when both
            # kinds of ticket are offered, and this extension is the last one.
            identity = data[at + 2] << 8 | data[at + 3]
            if at + 4 + identity <= at + size:
                key = _key_name(data, at + 4, at + 4 + identity)
        at += size
    return ClientHello(name, key)


def _host_name(data: bytes, at: int, end: int) -> bytes:
    """Return the host_name of a server_name list; b"" when there is none or it is malformed."""
    if end - at < 5 or data[at + 2] != _HOST_NAME:
        return b""
    size = data[at + 3] << 8 | data[at + 4]
    return data[at + 5 : at + 5 + size] if at + 5 + size <= end else b""


def _key_name(data: bytes, at: int, end: int) -> bytes:
    return data[at : at + KEY_NAME_SIZE] if end - at > KEY_NAME_SIZE else b""


# The first bytes of the methods of RFC 9110 section 9 and of a TLS-less HTTP/2 preface.
_METHODS: Final = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"CONN", b"OPTI", b"TRAC", b"PATC", b"PRI ")


def is_plain_http(data: bytes) -> bool:
    """Tell whether the first bytes are those of an HTTP request in the clear."""
    return data[:4] in _METHODS
