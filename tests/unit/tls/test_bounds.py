"""The bound that takes a hand-made record to reach: a peer that asks for answers and takes none."""

import contextlib
import socket

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from headgate.counters import REFUSED_RENEGOTIATION
from headgate.errors import TransportError
from headgate.tls.transport import MAX_BLOCKED_READS


def expand(secret, label, length):
    """HKDF-Expand-Label with an empty context (RFC 8446 section 7.1)."""
    info = length.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + b"\0"
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)


def first_record(secret, content_type, message):
    """Encrypt a client's first record after the handshake (RFC 8446 section 5.2): its sequence number is 0."""
    inner = message + bytes([content_type])
    header = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
    return header + AESGCM(expand(secret, b"key", 16)).encrypt(expand(secret, b"iv", 12), inner, header)


def test_a_peer_that_takes_no_answers_is_given_up_after_so_many_reads(kit, ecdsa):
    """RFC 8446 section 4.6.3: a KeyUpdate asks for one of ours, and that cannot be written to a full socket."""
    gate = kit.Gate([kit.identity_of(ecdsa)])
    secrets = {}
    client = kit.Client()
    client.context.set_keylog_callback(lambda _, line: secrets.update([line.split(b" ")[::2]]))
    ours, theirs = socket.socketpair()  # full stays full: nothing is on its way that would make room
    ours.setblocking(False)
    theirs.setblocking(False)
    outcome = kit.run_handshake(gate.tls.accept(ours), client.open(theirs, b"a.test"))
    assert outcome.client.get_cipher_name() == "TLS_AES_128_GCM_SHA256"
    server = outcome.server
    for size in (65536, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(bytes(size))
    secret = bytes.fromhex(secrets[b"CLIENT_TRAFFIC_SECRET_0"].decode())
    theirs.send(first_record(secret, 22, b"\x18\0\0\x01\x01"))
    assert server.read(100) is None
    assert server.write(b"our KeyUpdate goes before this") == 0
    for _ in range(MAX_BLOCKED_READS):
        assert server.read(100) is None
    assert gate.count(REFUSED_RENEGOTIATION) == 0
    with pytest.raises(TransportError) as caught:
        server.read(100)
    assert (caught.value.reason, gate.count(REFUSED_RENEGOTIATION)) == ("key-update-flood", 1)
    server.close()
    theirs.close()
