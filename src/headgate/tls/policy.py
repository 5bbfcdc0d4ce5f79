"""How TLS is spoken on one listener: versions, suites, ALPN, client certificates, and what an unknown name gets.

Only forward secrecy, only AEAD: TLS 1.3, and of TLS 1.2 the ECDHE suites with GCM or ChaCha20 (RFC 9325 section
4.2). No compression (CRIME), no renegotiation (RFC 9325 section 3.5), no session cache: tickets carry the sessions.
The server's order decides and begins with AES-128-GCM, about a third faster than AES-256-GCM in bulk, but a client
that puts ChaCha20 first (no AES in hardware) gets it. Groups stay OpenSSL's own, X25519MLKEM768 first: a
client that offers it wants its traffic to stay secret for decades.

A policy belongs to a listener, never to a name: a ticket that was issued under one name resumes under another. Its
`id` goes into every session, so that a ticket of one listener never opens another (RFC 5077 section 5.5).
"""

import hashlib
from dataclasses import dataclass
from typing import Final, Literal

from OpenSSL import SSL

MinVersion = Literal["1.2", "1.3"]
ClientAuth = Literal["off", "optional", "required"]
UnknownName = Literal["first", "reject"]

_VERSIONS: Final = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
_TLS12_SUITES: Final = b":".join(
    (
        b"ECDHE-ECDSA-AES128-GCM-SHA256",
        b"ECDHE-RSA-AES128-GCM-SHA256",
        b"ECDHE-ECDSA-CHACHA20-POLY1305",
        b"ECDHE-RSA-CHACHA20-POLY1305",
        b"ECDHE-ECDSA-AES256-GCM-SHA384",
        b"ECDHE-RSA-AES256-GCM-SHA384",
    )
)
_TLS13_SUITES: Final = b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
# OpenSSL's SSL_OP_PRIORITIZE_CHACHA, which pyOpenSSL has no name for; the same bit in 1.1.1 to 4.0.
_PRIORITIZE_CHACHA: Final = 1 << 21
_OPTIONS: Final = (
    SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_NO_SSLv3
    | SSL.OP_NO_TLSv1
    | SSL.OP_NO_TLSv1_1
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | _PRIORITIZE_CHACHA
)


@dataclass(frozen=True, slots=True)
class TlsPolicy:
    """The TLS rules of one listener.

    `name` tells listeners apart (its first address); `alpn` is in our order of preference, e.g. (b"http/1.1",).
    `client_ca` and `client_crl` are PEM; the CRLs, if any, must cover every authority of a client's chain.
    """

    name: str
    min_version: MinVersion = "1.2"
    alpn: tuple[bytes, ...] = (b"http/1.1",)
    unknown_name: UnknownName = "first"
    client_auth: ClientAuth = "off"
    client_ca: bytes = b""
    client_crl: bytes = b""

    @property
    def id(self) -> bytes:
        """Return the 32 bytes that every session of this policy carries.

        The authorities and CRLs are not in it: they may be renewed while a worker runs, and the certificate of a
        resumed session is checked against those of the day anyway.
        """
        text = f"headgate\0{self.name}\0{self.client_auth}\0{self.min_version}"
        return hashlib.sha256(text.encode()).digest()

    @property
    def asks_client(self) -> bool:
        """Whether clients are asked for a certificate."""
        return self.client_auth != "off"


def verify_mode(policy: TlsPolicy) -> int:
    """Return OpenSSL's verify mode for a policy's connections."""
    if policy.client_auth == "required":
        return SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
    return SSL.VERIFY_PEER if policy.asks_client else SSL.VERIFY_NONE


def server_context(policy: TlsPolicy) -> SSL.Context:
    """Make a context with a policy's settings, without certificate and without callbacks."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[policy.min_version])
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(policy.id)
    context.set_cipher_list(_TLS12_SUITES)
    context.set_tls13_ciphersuites(_TLS13_SUITES)
    return context
