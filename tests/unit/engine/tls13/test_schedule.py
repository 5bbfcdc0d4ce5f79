"""The key schedule, secret by secret, against the example handshakes of RFC 8448."""

import hashlib

import pytest
from tests.unit.engine.tls13 import rfc8448

from headgate.engine.tls13.schedule import (
    KeySchedule,
    Transcript,
    finished_mac,
    hkdf_expand_label,
    hkdf_extract,
    resumption_psk,
)
from headgate.engine.tls13.suites import TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384


def transcript_of(*messages):
    transcript = Transcript()
    transcript.start("sha256")
    for message in messages:
        transcript.update(message)
    return transcript


def test_rfc5869_a_1_extract():
    secret = hkdf_extract("sha256", bytes(range(13)), b"\x0b" * 22)
    assert secret.hex() == "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"


def test_expansion_of_several_blocks_begins_with_the_shorter_one():
    """The length is part of what is hashed, so only equal lengths agree; more than one block must not repeat."""
    longer = hkdf_expand_label("sha256", b"k" * 32, b"label", b"", 100)
    assert len(longer) == 100
    assert longer[:32] != longer[32:64]


def test_rfc8448_3_secrets():
    schedule = KeySchedule(TLS_AES_128_GCM_SHA256)
    assert schedule.early == rfc8448.EARLY
    schedule.add_shared(rfc8448.SHARED)
    assert schedule.handshake == rfc8448.HANDSHAKE
    assert schedule.master == rfc8448.MASTER
    transcript = transcript_of(rfc8448.CLIENT_HELLO, rfc8448.SERVER_HELLO)
    hello_hash = transcript.digest()
    assert schedule.client_handshake(hello_hash) == rfc8448.CLIENT_HANDSHAKE
    assert schedule.server_handshake(hello_hash) == rfc8448.SERVER_HANDSHAKE
    for message in (rfc8448.ENCRYPTED_EXTENSIONS, rfc8448.CERTIFICATE, rfc8448.CERTIFICATE_VERIFY):
        transcript.update(message)
    assert (
        finished_mac("sha256", rfc8448.SERVER_HANDSHAKE, transcript.digest()) == rfc8448.SERVER_FINISHED[4:]
    )
    transcript.update(rfc8448.SERVER_FINISHED)
    finished_hash = transcript.digest()
    assert schedule.client_application(finished_hash) == rfc8448.CLIENT_APPLICATION
    assert schedule.server_application(finished_hash) == rfc8448.SERVER_APPLICATION
    assert finished_mac("sha256", rfc8448.CLIENT_HANDSHAKE, finished_hash) == rfc8448.CLIENT_FINISHED[4:]
    transcript.update(rfc8448.CLIENT_FINISHED)
    assert schedule.resumption(transcript.digest()) == rfc8448.RESUMPTION
    assert resumption_psk(TLS_AES_128_GCM_SHA256, rfc8448.RESUMPTION, rfc8448.TICKET_NONCE) == rfc8448.PSK


def test_rfc8448_3_traffic_keys():
    key = hkdf_expand_label("sha256", rfc8448.SERVER_HANDSHAKE, b"key", b"", 16)
    vector = hkdf_expand_label("sha256", rfc8448.SERVER_HANDSHAKE, b"iv", b"", 12)
    assert (key, vector) == (rfc8448.SERVER_HANDSHAKE_KEY, rfc8448.SERVER_HANDSHAKE_IV)


@pytest.mark.parametrize("started", [False, True])
def test_rfc8448_4_binder(started):
    schedule = KeySchedule(TLS_AES_128_GCM_SHA256, rfc8448.PSK)
    assert schedule.early == rfc8448.PSK_EARLY
    transcript = Transcript()
    if started:
        transcript.start("sha256")
    # Two octets of length, one of the binder's length, the binder: what it does not cover.
    partial = rfc8448.PSK_HELLO[:-35]
    assert schedule.binder(transcript.digest_with("sha256", partial)) == rfc8448.BINDER


def test_rfc8448_5_the_first_hello_becomes_its_hash():
    transcript = Transcript()
    transcript.update(rfc8448.RETRY_FIRST_HELLO)
    transcript.retry("sha256")
    for message in (rfc8448.RETRY_REQUEST, rfc8448.RETRY_SECOND_HELLO, rfc8448.RETRY_SERVER_HELLO):
        transcript.update(message)
    assert transcript.digest() == rfc8448.RETRY_TRANSCRIPT
    schedule = KeySchedule(TLS_AES_128_GCM_SHA256)
    schedule.add_shared(rfc8448.RETRY_SHARED)
    assert schedule.client_handshake(transcript.digest()) == rfc8448.RETRY_CLIENT_HANDSHAKE
    assert schedule.server_handshake(transcript.digest()) == rfc8448.RETRY_SERVER_HANDSHAKE


def test_messages_before_the_suite_is_known_are_kept():
    transcript = Transcript()
    transcript.update(b"one")
    transcript.start("sha384")
    transcript.update(b"two")
    assert transcript.digest() == hashlib.sha384(b"onetwo").digest()


def test_sha384_secrets_are_48_octets():
    schedule = KeySchedule(TLS_AES_256_GCM_SHA384)
    schedule.add_shared(b"shared")
    assert {len(schedule.early), len(schedule.handshake), len(schedule.master)} == {48}
    assert len(schedule.client_handshake(bytes(48))) == 48
