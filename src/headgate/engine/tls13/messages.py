"""The handshake messages behind the hellos (RFC 8446 sections 4.3 to 4.6), as bytes and as values.

Each message is a type, a length of three octets and a body. Its size is checked when those four octets are there, so
nobody can make us gather more (RFC 8446 allows 16 MiB). KeyUpdate and EndOfEarlyData do not exist in QUIC (RFC 9001
sections 6 and 8.3).
"""

from typing import Final, final

from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13.alerts import (
    BAD_CERTIFICATE,
    DECODE_ERROR,
    ILLEGAL_PARAMETER,
    MISSING_EXTENSION,
    UNSUPPORTED_EXTENSION,
    refusal,
)
from headgate.engine.tls13.compression import ALGORITHMS_OFFERED, compress, decode_algorithms, decompress
from headgate.engine.tls13.extensions import decode_extensions, encode_extensions
from headgate.engine.tls13.hello import CLIENT_HELLO, SERVER_HELLO
from headgate.engine.tls13.wire import Reader, number_list, numbers, vector

NEW_SESSION_TICKET: Final = 4
END_OF_EARLY_DATA: Final = 5
ENCRYPTED_EXTENSIONS: Final = 8
CERTIFICATE: Final = 11
CERTIFICATE_REQUEST: Final = 13
CERTIFICATE_VERIFY: Final = 15
FINISHED: Final = 20
KEY_UPDATE: Final = 24
COMPRESSED_CERTIFICATE: Final = 25

NAMES: Final[dict[int, str]] = {
    CLIENT_HELLO: "ClientHello",
    SERVER_HELLO: "ServerHello",
    NEW_SESSION_TICKET: "NewSessionTicket",
    END_OF_EARLY_DATA: "EndOfEarlyData",
    ENCRYPTED_EXTENSIONS: "EncryptedExtensions",
    CERTIFICATE: "Certificate",
    CERTIFICATE_REQUEST: "CertificateRequest",
    CERTIFICATE_VERIFY: "CertificateVerify",
    FINISHED: "Finished",
    KEY_UPDATE: "KeyUpdate",
    COMPRESSED_CERTIFICATE: "CompressedCertificate",
}

MAX_CLIENT_HELLO: Final = 16 * 1024  # 2 KiB with ML-KEM; a ticket may add 8
MAX_CERTIFICATE: Final = 64 * 1024  # a chain with a staple is 5 KiB; OpenSSL allows 100
MAX_TICKET_MESSAGE: Final = 16 * 1024  # a ticket that we keep, and room for one that we do not
MAX_MESSAGE: Final = 8 * 1024  # any other: names of authorities are the longest of them
MAX_CHAIN: Final = 10  # certificates; real chains have four at most
MAX_STAPLE: Final = 16 * 1024  # an OCSP response with an RSA-4096 delegate is 6 KiB

SERVER_CONTEXT: Final = b"TLS 1.3, server CertificateVerify"
CLIENT_CONTEXT: Final = b"TLS 1.3, client CertificateVerify"

_LIMITS: Final[dict[int, int]] = {
    CLIENT_HELLO: MAX_CLIENT_HELLO,
    CERTIFICATE: MAX_CERTIFICATE,
    COMPRESSED_CERTIFICATE: MAX_CERTIFICATE,
    NEW_SESSION_TICKET: MAX_TICKET_MESSAGE,
}
_OCSP: Final = 1


def message_limit(kind: int) -> int:
    """Return how long the body of a message may be."""
    return _LIMITS.get(kind, MAX_MESSAGE)


def encode_message(kind: int, body: bytes) -> bytes:
    """Return a message with its header."""
    return bytes((kind,)) + vector(3, body)


# -- EncryptedExtensions


def decode_encrypted_extensions(message: bytes) -> dict[int, bytes]:
    """Return the extensions of the message. Raises `TlsAlertError`."""
    reader = Reader(message, 4)
    found = decode_extensions(reader.vector(2))
    reader.finish()
    return found


def encode_encrypted_extensions(extensions: dict[int, bytes]) -> bytes:
    """Return the message with its header."""
    return encode_message(ENCRYPTED_EXTENSIONS, encode_extensions(extensions))


# -- CertificateRequest


@final
class CertificateRequest:
    """What a server takes: signature schemes, and algorithms that a Certificate may be compressed with."""

    __slots__ = ("compressions", "schemes")

    def __init__(self, schemes: tuple[int, ...], compressions: tuple[int, ...]) -> None:
        self.schemes: Final = schemes
        self.compressions: Final = compressions


def decode_certificate_request(message: bytes) -> CertificateRequest:
    """Read a CertificateRequest. Raises `TlsAlertError`."""
    reader = Reader(message, 4)
    context = reader.vector(1)
    found = decode_extensions(reader.vector(2))
    reader.finish()
    if context:
        raise refusal(ILLEGAL_PARAMETER, "certificate_request_context in a handshake")
    if ext.SIGNATURE_ALGORITHMS not in found:
        raise refusal(MISSING_EXTENSION, "CertificateRequest without signature_algorithms")
    content = Reader(found[ext.SIGNATURE_ALGORITHMS])
    schemes = numbers(content.vector(2, 2))
    content.finish()
    offered = found.get(ext.COMPRESS_CERTIFICATE)
    return CertificateRequest(schemes, decode_algorithms(offered) if offered is not None else ())


def encode_certificate_request(schemes: tuple[int, ...], authorities: tuple[bytes, ...]) -> bytes:
    """Return the message with its header; `authorities` are names in DER, none: any."""
    extensions = {
        ext.SIGNATURE_ALGORITHMS: vector(2, number_list(schemes)),
        ext.COMPRESS_CERTIFICATE: ALGORITHMS_OFFERED,
    }
    if authorities:
        names = b"".join(vector(2, name) for name in authorities)
        extensions[ext.CERTIFICATE_AUTHORITIES] = vector(2, names)
    return encode_message(CERTIFICATE_REQUEST, b"\0" + encode_extensions(extensions))


# -- Certificate


@final
class PeerChain:
    """The certificates of a Certificate message in DER, leaf first, and the leaf's staple, b"" without."""

    __slots__ = ("certificates", "staple")

    def __init__(self, certificates: tuple[bytes, ...], staple: bytes) -> None:
        self.certificates: Final = certificates
        self.staple: Final = staple


def decode_certificate(message: bytes, *, staple_asked: bool) -> PeerChain:
    """Read a Certificate message. Raises `TlsAlertError`, also for extensions that nobody asked for."""
    reader = Reader(message, 4)
    context = reader.vector(1)
    entries = Reader(reader.vector(3))
    reader.finish()
    if context:
        raise refusal(ILLEGAL_PARAMETER, "certificate_request_context in a handshake")
    certificates: list[bytes] = []
    staple = b""
    while entries.left:
        certificates.append(entries.vector(3, 1))
        found = decode_extensions(entries.vector(2))
        if len(certificates) > MAX_CHAIN:
            raise refusal(BAD_CERTIFICATE, f"a chain of more than {MAX_CHAIN} certificates")
        if not found:
            continue
        if not staple_asked or list(found) != [ext.STATUS_REQUEST]:
            raise refusal(UNSUPPORTED_EXTENSION, "a certificate with extensions that were not asked for")
        response = _status(found[ext.STATUS_REQUEST])
        if len(certificates) == 1:  # those of authorities are read and left aside
            staple = response
    return PeerChain(tuple(certificates), staple)


def encode_entry(certificate: bytes, staple: bytes = b"") -> bytes:
    """Return one certificate in DER as an entry of the Certificate message, with its staple if there is one."""
    extensions = {ext.STATUS_REQUEST: bytes((_OCSP,)) + vector(3, staple)} if staple else {}
    return vector(3, certificate) + encode_extensions(extensions)


def encode_certificate(entries: bytes) -> bytes:
    """Return the message with its header."""
    return encode_message(CERTIFICATE, b"\0" + vector(3, entries))


def _status(content: bytes) -> bytes:
    """Return the OCSP response of a CertificateStatus (RFC 6066 section 8)."""
    reader = Reader(content)
    if reader.number(1) != _OCSP:
        raise refusal(ILLEGAL_PARAMETER, "a certificate status that is not OCSP")
    response = reader.vector(3, 1)
    reader.finish()
    if len(response) > MAX_STAPLE:
        raise refusal(BAD_CERTIFICATE, f"a staple of more than {MAX_STAPLE} octets")
    return response


def encode_compressed_certificate(algorithm: int, certificate: bytes) -> bytes:
    """Return a Certificate message, header included, as a CompressedCertificate (RFC 8879 section 4)."""
    body = certificate[4:]
    content = algorithm.to_bytes(2, "big") + len(body).to_bytes(3, "big") + vector(3, compress(body))
    return encode_message(COMPRESSED_CERTIFICATE, content)


def decode_compressed_certificate(message: bytes) -> bytes:
    """Return the Certificate message in a CompressedCertificate. Raises `TlsAlertError`."""
    reader = Reader(message, 4)
    algorithm = reader.number(2)
    length = reader.number(3)
    packed = reader.vector(3, 1)
    reader.finish()
    if length > MAX_CERTIFICATE:
        raise refusal(BAD_CERTIFICATE, f"a Certificate of {length} octets, {MAX_CERTIFICATE} are the most")
    return encode_message(CERTIFICATE, decompress(algorithm, packed, length))


# -- CertificateVerify


def decode_certificate_verify(message: bytes) -> tuple[int, bytes]:
    """Return (signature scheme, signature). Raises `TlsAlertError`."""
    reader = Reader(message, 4)
    scheme = reader.number(2)
    signature = reader.vector(2)
    reader.finish()
    return scheme, signature


def encode_certificate_verify(scheme: int, signature: bytes) -> bytes:
    """Return the message with its header."""
    return encode_message(CERTIFICATE_VERIFY, scheme.to_bytes(2, "big") + vector(2, signature))


def signed_content(context: bytes, transcript: bytes) -> bytes:
    """Return what a CertificateVerify signs (section 4.4.3)."""
    return b" " * 64 + context + b"\0" + transcript


# -- NewSessionTicket


@final
class NewSessionTicket:
    """A ticket as it travels: lifetime in seconds, the number that hides its age, nonce, and the ticket itself."""

    __slots__ = ("age_add", "lifetime", "max_early_data", "nonce", "ticket")

    def __init__(
        self, lifetime: int, age_add: int, nonce: bytes, ticket: bytes, max_early_data: int = 0
    ) -> None:
        self.lifetime: Final = lifetime
        self.age_add: Final = age_add
        self.nonce: Final = nonce
        self.ticket: Final = ticket
        self.max_early_data: Final = max_early_data


def decode_new_session_ticket(message: bytes) -> NewSessionTicket:
    """Read a NewSessionTicket; unknown extensions are ignored (section 4.6.1). Raises `TlsAlertError`."""
    reader = Reader(message, 4)
    lifetime = reader.number(4)
    age_add = reader.number(4)
    nonce = reader.vector(1)
    ticket = reader.vector(2, 1)
    found = decode_extensions(reader.vector(2))
    reader.finish()
    early = found.get(ext.EARLY_DATA)
    if early is not None and len(early) != 4:
        raise refusal(DECODE_ERROR, "early_data of a ticket is four octets")
    return NewSessionTicket(lifetime, age_add, nonce, ticket, int.from_bytes(early or b"", "big"))


def encode_new_session_ticket(ticket: NewSessionTicket) -> bytes:
    """Return the message with its header."""
    limit = ticket.max_early_data
    early = {ext.EARLY_DATA: limit.to_bytes(4, "big")} if limit else {}
    body = (
        ticket.lifetime.to_bytes(4, "big")
        + ticket.age_add.to_bytes(4, "big")
        + vector(1, ticket.nonce)
        + vector(2, ticket.ticket)
        + encode_extensions(early)
    )
    return encode_message(NEW_SESSION_TICKET, body)
