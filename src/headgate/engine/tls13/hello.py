"""ClientHello, ServerHello and HelloRetryRequest (RFC 8446 sections 4.1.2 to 4.1.4), as bytes and as values.

A ClientHello is the one message that anybody can send us before anything is proven, so each list in it has a limit
of its own beside that of the message. The limits are far above what real clients send and count whole lists before
anything is done with them.
"""

from typing import Final, final

from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13.alerts import DECODE_ERROR, ILLEGAL_PARAMETER, PROTOCOL_VERSION, refusal
from headgate.engine.tls13.compression import decode_algorithms
from headgate.engine.tls13.extensions import decode_extensions, encode_extensions
from headgate.engine.tls13.wire import Reader, number_list, numbers, vector

CLIENT_HELLO: Final = 1
SERVER_HELLO: Final = 2

MAX_KEY_SHARES: Final = 32  # clients send one to three; there are some 20 groups
MAX_PROTOCOLS: Final = 16  # of ALPN; browsers offer one or two over QUIC
MAX_IDENTITIES: Final = 8  # of pre_shared_key; OpenSSL offers one, two with an external one
MAX_SERVER_NAME: Final = 255  # RFC 1035 section 2.3.4

LEGACY_VERSION: Final = b"\x03\x03"
TLS13: Final = 0x0304
PSK_DHE_KE: Final = 1
# SHA-256 of "HelloRetryRequest": the random that makes a ServerHello one (section 4.1.3).
RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

_HOST_NAME: Final = 0
_OCSP: Final = 1


@final
class ClientHello:
    """What a client offers. `message` is all of it, header included; lists are in the client's order.

    `server_name` is b"" without SNI. `key_shares` maps groups to public values. `identity` and `binder` are the first
    of pre_shared_key, b"" without, and `ticket_age` its obfuscated age; `unbound` is how much of the message the
    binders cover. `compressions` are for certificates. `extensions` has everything as it came.
    """

    __slots__ = (
        "alpn",
        "binder",
        "compressions",
        "extensions",
        "groups",
        "identity",
        "key_shares",
        "message",
        "psk_modes",
        "random",
        "schemes",
        "server_name",
        "session_id",
        "suites",
        "ticket_age",
        "unbound",
        "versions",
        "wants_early",
        "wants_staple",
    )

    def __init__(self, message: bytes, random: bytes, session_id: bytes, suites: tuple[int, ...]) -> None:
        self.message: Final = message
        self.random: Final = random
        self.session_id: Final = session_id
        self.suites: Final = suites
        self.extensions: dict[int, bytes] = {}
        self.server_name = b""
        self.groups: tuple[int, ...] = ()
        self.schemes: tuple[int, ...] = ()
        self.versions: tuple[int, ...] = ()
        self.key_shares: dict[int, bytes] = {}
        self.alpn: tuple[bytes, ...] = ()
        self.psk_modes = b""
        self.identity = b""
        self.binder = b""
        self.ticket_age = 0
        self.unbound = len(message)
        self.compressions: tuple[int, ...] = ()
        self.wants_staple = False
        self.wants_early = False

    def __repr__(self) -> str:
        return f"<ClientHello {self.server_name!r}: {len(self.suites)} suites, groups {self.groups}>"

    def repeats(self, first: "ClientHello") -> bool:
        """Tell whether this one, sent after a HelloRetryRequest, says what the first one said."""
        return self._lasting() == first._lasting()

    def _lasting(self) -> tuple[object, ...]:
        """Return what the handshake goes by and what must not change (section 4.1.2); what we do not read may."""
        return (
            self.random,
            self.session_id,
            self.suites,
            self.server_name,
            self.groups,
            self.schemes,
            self.versions,
            self.alpn,
            self.psk_modes,
            self.compressions,
            self.wants_staple,
            self.extensions.get(ext.TRANSPORT_PARAMETERS),
        )


@final
class ServerHello:
    """What a server chose; also a HelloRetryRequest, which looks the same but for its random."""

    __slots__ = ("extensions", "is_retry", "message", "random", "session_id", "suite")

    def __init__(self, message: bytes, random: bytes, session_id: bytes, suite: int) -> None:
        self.message: Final = message
        self.random: Final = random
        self.session_id: Final = session_id
        self.suite: Final = suite
        self.is_retry: Final = random == RETRY_RANDOM
        self.extensions: dict[int, bytes] = {}

    def __repr__(self) -> str:
        return f"<{'HelloRetryRequest' if self.is_retry else 'ServerHello'} suite {self.suite:#06x}>"


# -- ClientHello


def decode_client_hello(message: bytes) -> ClientHello:
    """Read a ClientHello with its header. Raises `TlsAlertError`."""
    reader = Reader(message, 4)
    reader.take(2)  # legacy_version says nothing: supported_versions does
    random = reader.take(32)
    session_id = reader.vector(1)
    suites = numbers(reader.vector(2, 2))
    compression = reader.vector(1, 1)
    if len(session_id) > 32:
        raise refusal(DECODE_ERROR, "legacy_session_id is longer than 32 octets")
    hello = ClientHello(message, random, session_id, suites)
    if reader.left:  # a ClientHello of old needs none
        hello.extensions = decode_extensions(reader.vector(2), psk_last=True)
        reader.finish()
    _decode_parts(hello)
    if TLS13 not in hello.versions:
        raise refusal(PROTOCOL_VERSION, "the client does not offer TLS 1.3")
    if compression != b"\0":
        raise refusal(ILLEGAL_PARAMETER, "compression methods other than null alone")
    return hello


def encode_client_hello(random: bytes, suites: tuple[int, ...], extensions: dict[int, bytes]) -> bytes:
    """Return a ClientHello with its header; legacy_session_id is empty, as QUIC demands (RFC 9001 section 8.4)."""
    body = (
        LEGACY_VERSION
        + random
        + b"\0"
        + vector(2, number_list(suites))
        + b"\x01\0"
        + encode_extensions(extensions)
    )
    return bytes((CLIENT_HELLO,)) + vector(3, body)


def _decode_parts(hello: ClientHello) -> None:
    found = hello.extensions
    if ext.SUPPORTED_VERSIONS in found:
        hello.versions = _only(found[ext.SUPPORTED_VERSIONS], 1, 2)
    if ext.SERVER_NAME in found:
        hello.server_name = _server_name(found[ext.SERVER_NAME])
    if ext.SUPPORTED_GROUPS in found:
        hello.groups = _only(found[ext.SUPPORTED_GROUPS], 2, 2)
    if ext.SIGNATURE_ALGORITHMS in found:
        hello.schemes = _only(found[ext.SIGNATURE_ALGORITHMS], 2, 2)
    if ext.KEY_SHARE in found:
        hello.key_shares = _key_shares(found[ext.KEY_SHARE], hello.groups)
    if ext.ALPN in found:
        hello.alpn = decode_protocols(found[ext.ALPN])
    if ext.PSK_KEY_EXCHANGE_MODES in found:
        reader = Reader(found[ext.PSK_KEY_EXCHANGE_MODES])
        hello.psk_modes = reader.vector(1, 1)
        reader.finish()
    if ext.STATUS_REQUEST in found:
        hello.wants_staple = _wants_staple(found[ext.STATUS_REQUEST])
    if ext.COMPRESS_CERTIFICATE in found:
        hello.compressions = decode_algorithms(found[ext.COMPRESS_CERTIFICATE])
    if ext.EARLY_DATA in found:
        if found[ext.EARLY_DATA]:
            raise refusal(DECODE_ERROR, "early_data of a ClientHello is empty")
        hello.wants_early = True
    if ext.PRE_SHARED_KEY in found:
        _pre_shared_key(hello, found[ext.PRE_SHARED_KEY])


def _only(content: bytes, size: int, least: int) -> tuple[int, ...]:
    """Read an extension that is nothing but a list of two-octet numbers."""
    reader = Reader(content)
    values = numbers(reader.vector(size, least))
    reader.finish()
    return values


def _server_name(content: bytes) -> bytes:
    """Return the host name (RFC 6066 section 3); there is no other type, and no second one of a type."""
    reader = Reader(content)
    names = Reader(reader.vector(2, 1))
    reader.finish()
    found = b""
    while names.left:
        kind = names.number(1)
        name = names.vector(2, 1)
        if kind != _HOST_NAME:
            continue
        if found or len(name) > MAX_SERVER_NAME or b"\0" in name:
            raise refusal(ILLEGAL_PARAMETER, "server_name is no single host name")
        found = name
    return found


def _key_shares(content: bytes, groups: tuple[int, ...]) -> dict[int, bytes]:
    """Return the key shares, each of a group of its own that the client supports (section 4.2.8)."""
    reader = Reader(content)
    entries = Reader(reader.vector(2))
    reader.finish()
    shares: dict[int, bytes] = {}
    while entries.left:
        group = entries.number(2)
        public = entries.vector(2, 1)
        if group in shares or group not in groups:
            raise refusal(
                ILLEGAL_PARAMETER, f"a key share of group {group} twice, or of none that is offered"
            )
        shares[group] = public
        if len(shares) > MAX_KEY_SHARES:
            raise refusal(ILLEGAL_PARAMETER, f"more than {MAX_KEY_SHARES} key shares")
    return shares


def decode_protocols(content: bytes) -> tuple[bytes, ...]:
    """Read a list of protocol names (RFC 7301 section 3.1)."""
    reader = Reader(content)
    names = Reader(reader.vector(2, 2))
    reader.finish()
    found: list[bytes] = []
    while names.left:
        found.append(names.vector(1, 1))
        if len(found) > MAX_PROTOCOLS:
            raise refusal(ILLEGAL_PARAMETER, f"more than {MAX_PROTOCOLS} protocols offered")
    return tuple(found)


def encode_protocols(protocols: tuple[bytes, ...]) -> bytes:
    """Return the content of the ALPN extension."""
    return vector(2, b"".join(vector(1, name) for name in protocols))


def encode_server_name(name: bytes) -> bytes:
    """Return the content of the server_name extension."""
    return vector(2, bytes((_HOST_NAME,)) + vector(2, name))


def _wants_staple(content: bytes) -> bool:
    """Tell whether an OCSP response is asked for (RFC 6066 section 8); no other type of status is known."""
    reader = Reader(content)
    if reader.number(1) != _OCSP:
        return False
    reader.vector(2)
    reader.vector(2)
    reader.finish()
    return True


def _pre_shared_key(hello: ClientHello, content: bytes) -> None:
    """Note the first identity with its binder: only that one is tried (section 4.2.11)."""
    reader = Reader(content)
    identities = Reader(reader.vector(2, 7))
    binders_size = reader.left
    binders = Reader(reader.vector(2, 33))
    reader.finish()
    count = 0
    while identities.left:
        identity = identities.vector(2, 1)
        age = identities.number(4)
        binder = binders.vector(1, 32) if binders.left else b""
        count += 1
        if count == 1:
            hello.identity, hello.binder, hello.ticket_age = identity, binder, age
        if not binder or count > MAX_IDENTITIES:
            raise refusal(
                ILLEGAL_PARAMETER, f"more than {MAX_IDENTITIES} tickets, or fewer binders than tickets"
            )
    if binders.left:
        raise refusal(ILLEGAL_PARAMETER, "more binders than tickets")
    # It is the last extension, so the binders are the end of the message.
    hello.unbound = len(hello.message) - binders_size


# -- ServerHello


def decode_server_hello(message: bytes) -> ServerHello:
    """Read a ServerHello or HelloRetryRequest with its header. Raises `TlsAlertError`."""
    reader = Reader(message, 4)
    version = reader.take(2)
    random = reader.take(32)
    session_id = reader.vector(1)
    suite = reader.number(2)
    compression = reader.number(1)
    hello = ServerHello(message, random, session_id, suite)
    if reader.left:
        hello.extensions = decode_extensions(reader.vector(2))
    reader.finish()
    chosen = hello.extensions.get(ext.SUPPORTED_VERSIONS)
    if chosen is None:
        raise refusal(PROTOCOL_VERSION, "the server does not speak TLS 1.3")
    if chosen != TLS13.to_bytes(2, "big") or version != LEGACY_VERSION or compression or session_id:
        raise refusal(ILLEGAL_PARAMETER, "the server chose what was not offered")
    return hello


def encode_server_hello(random: bytes, suite: int, extensions: dict[int, bytes]) -> bytes:
    """Return a ServerHello, or with `RETRY_RANDOM` a HelloRetryRequest, with its header."""
    body = LEGACY_VERSION + random + b"\0" + suite.to_bytes(2, "big") + b"\0" + encode_extensions(extensions)
    return bytes((SERVER_HELLO,)) + vector(3, body)
