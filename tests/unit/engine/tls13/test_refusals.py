"""What ends a handshake, and with which alert: each message changed on its way, and each out of its place.

CRYPTO bytes are plain here, so a message can be taken apart, changed and put together again.
"""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.tls13.peers import client, credential, keys, server, shake

from headgate.engine.tls13 import alerts, messages
from headgate.engine.tls13 import extensions as ext
from headgate.engine.tls13 import hello as hellos
from headgate.engine.tls13.groups import SECP256R1, SECP384R1, X25519
from headgate.engine.tls13.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.tls13.machine import CLIENT_TAKES, SERVER_TAKES, ClientState, ServerState
from headgate.engine.tls13.settings import ClientSettings
from headgate.engine.tls13.wire import vector
from headgate.errors import LocalProtocolError, RemoteProtocolError
from headgate.testing.pki import Authority, der_children

X25519_ONLY = {"groups": (X25519,), "shares": (X25519,)}


def alert_of(act):
    """Run it; return the alert that it ends with."""
    with pytest.raises(alerts.TlsAlertError) as caught:
        act()
    assert caught.value.code == 0x100 + caught.value.alert
    return caught.value.alert


def violated(act):
    with pytest.raises(RemoteProtocolError) as caught:
        act()
    assert caught.value.code == alerts.PROTOCOL_VIOLATION
    return caught.value.reason


def split(data):
    """The messages in these bytes."""
    found = []
    while data:
        end = 4 + int.from_bytes(data[1:4], "big")
        found.append(data[:end])
        data = data[end:]
    return found


def body_of(message):
    return message[4:]


# -- what a client can do wrong


def hello_with(ours=None, *, without=(), suites=None, session=b"", **given):
    """A ClientHello of ours, changed; `given` maps names of extensions to content."""
    (_, message), *_ = (ours or client(**X25519_ONLY)).take_output()
    found = hellos.decode_client_hello(message)
    extensions = {code: content for code, content in found.extensions.items() if code not in without}
    extensions |= {getattr(ext, name): content for name, content in given.items()}
    written = hellos.encode_client_hello(found.random, suites or found.suites, extensions)
    if session:
        written = written[:38] + vector(1, session) + written[39:]
        written = written[:1] + vector(3, written[4:])
    return written


def given_to_server(message, **options):
    return alert_of(lambda: server(**options).receive(INITIAL, message))


@pytest.mark.parametrize(
    ("message", "alert"),
    [
        ({"without": [ext.TRANSPORT_PARAMETERS]}, alerts.MISSING_EXTENSION),  # RFC 9001 section 8.2
        (
            {"without": [ext.SUPPORTED_GROUPS, ext.KEY_SHARE]},
            alerts.MISSING_EXTENSION,
        ),  # RFC 8446 section 9.2
        ({"without": [ext.KEY_SHARE]}, alerts.MISSING_EXTENSION),
        ({"without": [ext.SIGNATURE_ALGORITHMS]}, alerts.MISSING_EXTENSION),
        ({"without": [ext.ALPN]}, alerts.NO_APPLICATION_PROTOCOL),  # RFC 9001 section 8.1
        ({"ALPN": hellos.encode_protocols((b"h2", b"hq"))}, alerts.NO_APPLICATION_PROTOCOL),
        ({"without": [ext.SUPPORTED_VERSIONS]}, alerts.PROTOCOL_VERSION),
        ({"suites": (0x1304, 0x00FF)}, alerts.HANDSHAKE_FAILURE),
        ({"SUPPORTED_GROUPS": b"\0\x02\0\x1e", "KEY_SHARE": b"\0\0"}, alerts.HANDSHAKE_FAILURE),
        ({"SIGNATURE_ALGORITHMS": b"\0\x02\x04\x01"}, alerts.HANDSHAKE_FAILURE),
        ({"KEY_SHARE": b"\0\x24\0\x1d\0\x20" + bytes(32)}, alerts.ILLEGAL_PARAMETER),
    ],
)
def test_hellos_that_are_refused(message, alert):
    assert given_to_server(hello_with(**message)) == alert


def test_a_name_that_nobody_answers_for():
    assert given_to_server(hello_with(), credentials=[]) == alerts.UNRECOGNIZED_NAME


def test_rfc9001_8_4_no_legacy_session():
    assert violated(lambda: server().receive(INITIAL, hello_with(session=b"session"))) == "legacy-session-id"


def test_early_data_is_not_accepted():
    """It may be tried; the server says nothing of it and goes on (RFC 8446 section 4.2.10)."""
    theirs = server()
    theirs.receive(INITIAL, hello_with(EARLY_DATA=b""))
    assert all(secret.level != EARLY for secret in theirs.take_secrets())
    extensions = split(theirs.take_output()[1][1])[0]
    assert ext.EARLY_DATA not in messages.decode_encrypted_extensions(extensions)


# -- tickets


def resuming(**options):
    ours = client(**X25519_ONLY)
    shake(ours, server(tickets=keys()))
    return client(session=ours.take_sessions()[0], **X25519_ONLY, **options)


def test_rfc8446_4_2_11_a_wrong_binder():
    (_, message), *_ = resuming().take_output()
    for changed in (message[:-1] + bytes((message[-1] ^ 1,)), message.replace(b"a.test", b"b.test")):
        assert given_to_server(changed, tickets=keys()) == alerts.DECRYPT_ERROR


def test_a_binder_is_not_looked_at_without_its_ticket():
    (_, message), *_ = resuming().take_output()
    theirs = server(tickets=keys(policy=b"q" * 32))
    theirs.receive(INITIAL, message[:-1] + bytes((message[-1] ^ 1,)))
    assert not theirs.resumed


def test_rfc8446_4_2_9_a_ticket_without_modes():
    message = hello_with(resuming(), without=[ext.PSK_KEY_EXCHANGE_MODES])
    assert given_to_server(message, tickets=keys()) == alerts.MISSING_EXTENSION


def test_only_psk_with_dhe_is_resumed():
    theirs = server(tickets=keys())
    (_, message), *_ = resuming().take_output()
    # psk_ke alone: a full handshake, and no tickets behind it.
    theirs.receive(INITIAL, message.replace(b"\0\x2d\0\x02\x01\x01", b"\0\x2d\0\x02\x01\x00"))
    assert not theirs.resumed


# -- HelloRetryRequest, as a server


def retried(theirs):
    """A client that was asked to retry: its state, and its second hello."""
    ours = client(groups=(X25519, SECP256R1), shares=(X25519,))
    theirs.receive(*ours.take_output()[0])
    ours.receive(*theirs.take_output()[0])
    return ours.take_output()[0][1]


def rewritten(message, *, suites=None, **given):
    found = hellos.decode_client_hello(message)
    extensions = found.extensions | {getattr(ext, name): content for name, content in given.items()}
    return hellos.encode_client_hello(found.random, suites or found.suites, extensions)


@pytest.mark.parametrize(
    "change",
    [
        {"suites": (0x1301, 0x1302)},
        {"ALPN": hellos.encode_protocols((b"h3", b"hq"))},
        {"SERVER_NAME": hellos.encode_server_name(b"b.test")},
        {"TRANSPORT_PARAMETERS": b"other"},
        {"EARLY_DATA": b""},
        {"KEY_SHARE": b"\0\0"},
    ],
)
def test_rfc8446_4_1_2_a_second_hello_that_is_another(change):
    theirs = server(groups=(SECP256R1,))
    message = rewritten(retried(theirs), **change)
    assert alert_of(lambda: theirs.receive(INITIAL, message)) == alerts.ILLEGAL_PARAMETER


def test_a_second_hello_may_differ_in_what_we_do_not_read():
    """A client with Encrypted ClientHello seals the second one anew."""
    theirs = server(groups=(SECP256R1,))
    theirs.receive(INITIAL, rewritten(retried(theirs), PADDING=b"\0" * 9))
    assert theirs.take_secrets()


def test_a_second_hello_brings_exactly_the_share():
    theirs = server(groups=(SECP256R1,))
    message = retried(theirs)
    shares = hellos.decode_client_hello(message).extensions[ext.KEY_SHARE]
    both = vector(2, shares[2:] + b"\0\x1d\0\x20" + b"\x09" * 32)
    changed = rewritten(message, KEY_SHARE=both)
    assert alert_of(lambda: theirs.receive(INITIAL, changed)) == alerts.ILLEGAL_PARAMETER


# -- the client's flight


def believe(chain):
    pass


def client_flight(ours=None, **options):
    """A server that waits for the client's flight, and the messages of that flight."""
    ours = ours or client(credential=credential("p256", "client"), **X25519_ONLY)
    theirs = server(**options)
    theirs.receive(*ours.take_output()[0])
    for level, data in theirs.take_output():
        ours.receive(level, data)
    ((_, data),) = ours.take_output()
    return theirs, split(data)


def asking():
    return client_flight(client_auth="required", verify_client=believe)


@pytest.mark.parametrize(
    ("changed", "alert"),
    [
        (lambda proof: proof[:-1] + bytes((proof[-1] ^ 1,)), alerts.DECRYPT_ERROR),
        (lambda proof: proof[:-1], alerts.DECODE_ERROR),
        (lambda proof: proof + b"x", alerts.DECODE_ERROR),
        (lambda proof: b"", alerts.DECODE_ERROR),
    ],
)
def test_a_wrong_finished_of_a_client(changed, alert):
    theirs, (finished,) = client_flight()
    message = messages.encode_message(messages.FINISHED, changed(body_of(finished)))
    assert alert_of(lambda: theirs.receive(HANDSHAKE, message)) == alert
    assert not theirs.complete
    assert all(secret.is_write for secret in theirs.take_secrets() if secret.level == APPLICATION)


def chain_of(*certificates, extensions=b"\0\0"):
    entries = b"".join(vector(3, certificate) + extensions for certificate in certificates)
    return messages.encode_certificate(entries)


def with_dsa_key():
    """A certificate whose key TLS 1.3 has no signature for."""
    leaf = Authority.root().leaf("client").certificate
    spki = leaf.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    other = dsa.generate_private_key(1024).public_key()
    theirs = other.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    whole = leaf.public_bytes(serialization.Encoding.DER)
    tbs, algorithm, signature = der_children(whole)
    fields = [theirs if field == spki else field for field in der_children(tbs)]
    return sequence(sequence(*fields), algorithm, signature)


def sequence(*parts):
    content = b"".join(parts)
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


@pytest.mark.parametrize(
    ("message", "alert"),
    [
        (chain_of(b"no certificate"), alerts.BAD_CERTIFICATE),
        (chain_of(with_dsa_key()), alerts.UNSUPPORTED_CERTIFICATE),
        (chain_of(b"c", extensions=b"\0\x04\0\x05\0\0"), alerts.UNSUPPORTED_EXTENSION),
        (chain_of(*[b"c"] * (messages.MAX_CHAIN + 1)), alerts.BAD_CERTIFICATE),
        (chain_of(), alerts.CERTIFICATE_REQUIRED),
    ],
)
def test_a_wrong_certificate_of_a_client(message, alert):
    theirs, _ = asking()
    assert alert_of(lambda: theirs.receive(HANDSHAKE, message)) == alert


@pytest.mark.parametrize(
    ("scheme", "flip", "alert"),
    [
        (0x0403, True, alerts.DECRYPT_ERROR),
        (0x0503, False, alerts.ILLEGAL_PARAMETER),  # not the key's curve
        (0x0401, False, alerts.ILLEGAL_PARAMETER),  # RFC 8446 section 4.4.3: no PKCS #1
        (0x9999, False, alerts.ILLEGAL_PARAMETER),
    ],
)
def test_a_wrong_signature_of_a_client(scheme, flip, alert):
    theirs, (certificate, verify, _) = asking()
    theirs.receive(HANDSHAKE, certificate)
    _, signature = messages.decode_certificate_verify(verify)
    if flip:
        signature = signature[:-1] + bytes((signature[-1] ^ 1,))
    message = messages.encode_certificate_verify(scheme, signature)
    assert alert_of(lambda: theirs.receive(HANDSHAKE, message)) == alert


def test_a_client_that_shows_a_certificate_proves_it():
    theirs, (certificate, _, finished) = asking()
    theirs.receive(HANDSHAKE, certificate)
    assert alert_of(lambda: theirs.receive(HANDSHAKE, finished)) == alerts.UNEXPECTED_MESSAGE


# -- what a server can do wrong


def server_flight(ours, **options):
    """A server's answer: its hello, and the messages behind it."""
    theirs = server(**options)
    theirs.receive(*ours.take_output()[0])
    (_, hello), (_, data) = theirs.take_output()
    return hello, split(data)


def server_hello(message, *, suite=None, **given):
    found = hellos.decode_server_hello(message)
    changes = {getattr(ext, name): content for name, content in given.items()}
    extensions = {
        code: content for code, content in (found.extensions | changes).items() if content is not None
    }
    return hellos.encode_server_hello(found.random, suite or found.suite, extensions)


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        ({"suite": 0x1304}, alerts.ILLEGAL_PARAMETER),
        ({"KEY_SHARE": b"\0\x17\0\x01x"}, alerts.ILLEGAL_PARAMETER),
        ({"KEY_SHARE": b"\0\x1d\0\x20" + bytes(32)}, alerts.ILLEGAL_PARAMETER),
        ({"KEY_SHARE": b"\0\x1d"}, alerts.DECODE_ERROR),
        ({"KEY_SHARE": None}, alerts.MISSING_EXTENSION),
        ({"PRE_SHARED_KEY": b"\0\0"}, alerts.UNSUPPORTED_EXTENSION),
        ({"ALPN": b"\0\x03\x02h3"}, alerts.ILLEGAL_PARAMETER),
        ({"SUPPORTED_VERSIONS": None}, alerts.PROTOCOL_VERSION),
    ],
)
def test_server_hellos_that_are_refused(change, alert):
    ours = client(**X25519_ONLY)
    hello, _ = server_flight(ours)
    changed = server_hello(hello, **change)
    assert alert_of(lambda: ours.receive(INITIAL, changed)) == alert


@pytest.mark.parametrize("chosen", [b"\0\x01", b"\0", b"\0\0\0"])
def test_a_server_that_resumes_what_was_not_offered(chosen):
    ours = resuming()
    hello, _ = server_flight(ours, tickets=keys())
    changed = server_hello(hello, PRE_SHARED_KEY=chosen)
    assert alert_of(lambda: ours.receive(INITIAL, changed)) == alerts.ILLEGAL_PARAMETER


def test_a_server_that_resumes_with_another_hash():
    ours = resuming()
    hello, _ = server_flight(ours, tickets=keys())
    changed = server_hello(hello, suite=0x1302)
    assert alert_of(lambda: ours.receive(INITIAL, changed)) == alerts.ILLEGAL_PARAMETER


def retry(*, suite=0x1301, **given):
    extensions = {ext.SUPPORTED_VERSIONS: b"\x03\x04"}
    extensions |= {getattr(ext, name): content for name, content in given.items()}
    return hellos.encode_server_hello(hellos.RETRY_RANDOM, suite, extensions)


def two_groups():
    ours = client(groups=(X25519, SECP256R1), shares=(X25519,))
    ours.take_output()
    return ours


@pytest.mark.parametrize(
    ("message", "alert"),
    [
        (retry(), alerts.ILLEGAL_PARAMETER),  # RFC 8446 section 4.1.4: nothing would change
        (retry(KEY_SHARE=b"\0\x1d"), alerts.ILLEGAL_PARAMETER),  # that share was sent
        (retry(KEY_SHARE=SECP384R1.to_bytes(2, "big")), alerts.ILLEGAL_PARAMETER),  # not supported
        (retry(KEY_SHARE=b"\0\x17\0"), alerts.DECODE_ERROR),
        (retry(suite=0x1304, KEY_SHARE=b"\0\x17"), alerts.ILLEGAL_PARAMETER),
        (retry(KEY_SHARE=b"\0\x17", ALPN=b"\0\x03\x02h3"), alerts.ILLEGAL_PARAMETER),
        (retry(KEY_SHARE=b"\0\x17", CERTIFICATE_AUTHORITIES=b""), alerts.UNSUPPORTED_EXTENSION),
    ],
)
def test_retry_requests_that_are_refused(message, alert):
    ours = two_groups()
    assert alert_of(lambda: ours.receive(INITIAL, message)) == alert


def test_rfc8446_4_1_4_a_second_retry_request():
    ours = two_groups()
    ours.receive(INITIAL, retry(KEY_SHARE=b"\0\x17"))
    assert alert_of(lambda: ours.receive(INITIAL, retry(KEY_SHARE=b"\0\x17"))) == alerts.UNEXPECTED_MESSAGE


def test_rfc8446_4_1_4_another_suite_after_the_retry_request():
    ours = client(groups=(X25519, SECP256R1), shares=(X25519,))
    theirs = server(groups=(SECP256R1,))
    theirs.receive(*ours.take_output()[0])
    ours.receive(*theirs.take_output()[0])
    theirs.receive(*ours.take_output()[0])
    changed = server_hello(theirs.take_output()[0][1], suite=0x1303)
    assert alert_of(lambda: ours.receive(INITIAL, changed)) == alerts.ILLEGAL_PARAMETER


def test_rfc8446_4_2_2_a_cookie_is_sent_back():
    ours = two_groups()
    ours.receive(INITIAL, retry(COOKIE=vector(2, b"crumbs")))
    found = hellos.decode_client_hello(ours.take_output()[0][1])
    assert found.extensions[ext.COOKIE] == vector(2, b"crumbs")
    assert list(found.key_shares) == [X25519]


def encrypted(message, **given):
    found = messages.decode_encrypted_extensions(message)
    changes = {getattr(ext, name): content for name, content in given.items()}
    return messages.encode_encrypted_extensions(
        {code: content for code, content in (found | changes).items() if content is not None}
    )


@pytest.mark.parametrize(
    ("change", "alert"),
    [
        ({"TRANSPORT_PARAMETERS": None}, alerts.MISSING_EXTENSION),  # RFC 9001 section 8.2
        ({"ALPN": None}, alerts.NO_APPLICATION_PROTOCOL),  # RFC 9001 section 8.1
        ({"ALPN": hellos.encode_protocols((b"h2",))}, alerts.ILLEGAL_PARAMETER),
        ({"ALPN": hellos.encode_protocols((b"h3", b"h3"))}, alerts.ILLEGAL_PARAMETER),
        ({"SERVER_NAME": b"\0"}, alerts.DECODE_ERROR),
        ({"EARLY_DATA": b""}, alerts.UNSUPPORTED_EXTENSION),
        ({"KEY_SHARE": b""}, alerts.ILLEGAL_PARAMETER),
    ],
)
def test_encrypted_extensions_that_are_refused(change, alert):
    ours = client(**X25519_ONLY)
    hello, (extensions, *_) = server_flight(ours)
    ours.receive(INITIAL, hello)
    changed = encrypted(extensions, **change)
    assert alert_of(lambda: ours.receive(HANDSHAKE, changed)) == alert


def test_a_server_may_tell_its_groups():
    ours = client(**X25519_ONLY)
    hello, (extensions, *_) = server_flight(ours)
    ours.receive(INITIAL, hello)
    ours.receive(HANDSHAKE, encrypted(extensions, SUPPORTED_GROUPS=b"\0\x02\0\x1d"))
    assert ours.alpn == b"h3"


def at_certificate(**options):
    ours = client(**X25519_ONLY, **options)
    hello, (extensions, *rest) = server_flight(ours)
    ours.receive(INITIAL, hello)
    ours.receive(HANDSHAKE, extensions)
    return ours, rest


@pytest.mark.parametrize(
    ("message", "alert"),
    [
        (chain_of(), alerts.DECODE_ERROR),  # RFC 8446 section 4.4.2.4
        (chain_of(b"no certificate"), alerts.BAD_CERTIFICATE),
        (chain_of(with_dsa_key()), alerts.UNSUPPORTED_CERTIFICATE),
        (chain_of(b"c", extensions=b"\0\x04\0\x12\0\0"), alerts.UNSUPPORTED_EXTENSION),
    ],
)
def test_a_wrong_certificate_of_a_server(message, alert):
    ours, _ = at_certificate()
    assert alert_of(lambda: ours.receive(HANDSHAKE, message)) == alert


def test_a_staple_that_was_not_asked_for():
    ours, _ = at_certificate(ask_staple=False)
    message = messages.encode_certificate(credential().entries(b"staple"))
    assert alert_of(lambda: ours.receive(HANDSHAKE, message)) == alerts.UNSUPPORTED_EXTENSION


@pytest.mark.parametrize(
    ("scheme", "flip", "alert"),
    [
        (0x0403, True, alerts.DECRYPT_ERROR),
        (0x0804, False, alerts.ILLEGAL_PARAMETER),
        (0x0401, False, alerts.ILLEGAL_PARAMETER),
    ],
)
def test_a_wrong_signature_of_a_server(scheme, flip, alert):
    asked = []
    ours, (certificate, verify, _) = at_certificate(verify=lambda *given: asked.append(given))
    ours.receive(HANDSHAKE, certificate)
    _, signature = messages.decode_certificate_verify(verify)
    if flip:
        signature = signature[:-1] + bytes((signature[-1] ^ 1,))
    message = messages.encode_certificate_verify(scheme, signature)
    assert alert_of(lambda: ours.receive(HANDSHAKE, message)) == alert
    assert asked == []  # nobody verifies a chain whose key was not shown


def test_the_signature_of_another_handshake():
    ours, (certificate, _, _) = at_certificate()
    _, (_, verify, _) = at_certificate(seed=9)
    ours.receive(HANDSHAKE, certificate)
    assert alert_of(lambda: ours.receive(HANDSHAKE, verify)) == alerts.DECRYPT_ERROR


def test_a_wrong_finished_of_a_server():
    ours, (certificate, verify, finished) = at_certificate()
    ours.receive(HANDSHAKE, certificate + verify)
    message = finished[:-1] + bytes((finished[-1] ^ 1,))
    assert alert_of(lambda: ours.receive(HANDSHAKE, message)) == alerts.DECRYPT_ERROR
    assert not ours.complete
    assert all(secret.level == HANDSHAKE for secret in ours.take_secrets())


# -- order, levels, sizes


def connected():
    ours, theirs = client(**X25519_ONLY), server()
    shake(ours, theirs)
    return ours, theirs


def server_in(state):
    """A server that waits in this state, and the level it reads."""
    if state is ServerState.HELLO:
        return server(), INITIAL
    if state is ServerState.SECOND_HELLO:
        theirs = server(groups=(SECP256R1,))
        retried(theirs)
        return theirs, INITIAL
    if state is ServerState.CONNECTED:
        return connected()[1], APPLICATION
    theirs, (certificate, verify, _) = asking()
    if state is not ServerState.CERTIFICATE:
        theirs.receive(HANDSHAKE, certificate)
    if state is ServerState.FINISHED:
        theirs.receive(HANDSHAKE, verify)
    return theirs, HANDSHAKE


def client_in(state):
    if state is ClientState.HELLO:
        return client(**X25519_ONLY), INITIAL
    if state is ClientState.SECOND_HELLO:
        ours = two_groups()
        ours.receive(INITIAL, retry(KEY_SHARE=b"\0\x17"))
        return ours, INITIAL
    if state is ClientState.CONNECTED:
        return connected()[0], APPLICATION
    ours = client(**X25519_ONLY)
    hello, flight = server_flight(ours, client_auth="optional", verify_client=believe)
    ours.receive(INITIAL, hello)
    # EncryptedExtensions, CertificateRequest, Certificate, CertificateVerify
    sent = {
        ClientState.EXTENSIONS: 0,
        ClientState.CERTIFICATE_OR_REQUEST: 1,
        ClientState.CERTIFICATE: 2,
        ClientState.CERTIFICATE_VERIFY: 3,
        ClientState.FINISHED: 4,
    }[state]
    for message in flight[:sent]:
        ours.receive(HANDSHAKE, message)
    return ours, HANDSHAKE


KINDS = (*messages.NAMES, 0, 99, 254)


@pytest.mark.parametrize("state", ServerState)
@pytest.mark.parametrize("kind", KINDS)
def test_a_server_takes_no_message_out_of_place(state, kind):
    """With its first octet: nothing is gathered of what is not taken."""
    theirs, level = server_in(state)
    assert theirs._state is state
    if kind in SERVER_TAKES[state]:
        theirs.receive(level, bytes((kind,)))
    else:
        assert alert_of(lambda: theirs.receive(level, bytes((kind,)))) == alerts.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("state", ClientState)
@pytest.mark.parametrize("kind", KINDS)
def test_a_client_takes_no_message_out_of_place(state, kind):
    ours, level = client_in(state)
    assert ours._state is state
    if kind in CLIENT_TAKES[state]:
        ours.receive(level, bytes((kind,)))
    elif (state, kind) == (ClientState.CONNECTED, messages.CERTIFICATE_REQUEST):
        # RFC 9001 section 4.4 has its own word for that.
        assert violated(lambda: ours.receive(level, bytes((kind,)))) == "late-certificate-request"
    else:
        assert alert_of(lambda: ours.receive(level, bytes((kind,)))) == alerts.UNEXPECTED_MESSAGE


@pytest.mark.parametrize(
    ("begin", "level", "kind"),
    [
        (lambda: server(), INITIAL, messages.CLIENT_HELLO),
        (lambda: client(**X25519_ONLY), INITIAL, messages.SERVER_HELLO),
        (lambda: asking()[0], HANDSHAKE, messages.CERTIFICATE),
        (lambda: asking()[0], HANDSHAKE, messages.COMPRESSED_CERTIFICATE),
        (lambda: client_flight()[0], HANDSHAKE, messages.FINISHED),
        (lambda: connected()[0], APPLICATION, messages.NEW_SESSION_TICKET),
    ],
)
def test_a_message_at_the_limit_and_one_more(begin, level, kind):
    limit = messages.message_limit(kind)
    begin().receive(level, bytes((kind,)) + limit.to_bytes(3, "big"))
    longer = bytes((kind,)) + (limit + 1).to_bytes(3, "big")
    assert alert_of(lambda: begin().receive(level, longer)) == alerts.DECODE_ERROR


def test_rfc9001_4_1_3_nothing_new_of_a_level_that_was_left():
    theirs, _ = client_flight()
    assert violated(lambda: theirs.receive(INITIAL, b"\x01")) == "crypto-after-keys"


def test_rfc9001_4_1_3_nothing_is_left_when_the_keys_change():
    theirs = server()
    message = hello_with() + b"\x01"
    assert violated(lambda: theirs.receive(INITIAL, message)) == "crypto-across-keys"


def test_rfc9001_4_6_1_a_ticket_that_limits_early_data():
    ours, _ = connected()
    body = (60).to_bytes(4, "big") + bytes(4) + b"\0" + vector(2, b"ticket")
    limited = body + ext.encode_extensions({ext.EARLY_DATA: b"\0\0\x40\0"})
    message = messages.encode_message(messages.NEW_SESSION_TICKET, limited)
    assert violated(lambda: ours.receive(APPLICATION, message)) == "early-data-limit"
    ours, _ = connected()
    unlimited = body + ext.encode_extensions({ext.EARLY_DATA: b"\xff" * 4})
    ours.receive(APPLICATION, messages.encode_message(messages.NEW_SESSION_TICKET, unlimited))
    assert len(ours.take_sessions()) == 1


def test_bytes_before_their_keys_are_the_callers_fault():
    with pytest.raises(LocalProtocolError):
        server().receive(HANDSHAKE, b"\x14")


def test_nothing_is_taken_after_a_failure():
    theirs = server()
    alert_of(lambda: theirs.receive(INITIAL, b"\x14"))
    with pytest.raises(LocalProtocolError):
        theirs.receive(INITIAL, hello_with())


def test_no_bytes_are_no_message():
    theirs = server()
    theirs.receive(INITIAL, b"")
    theirs.receive(EARLY, b"")
    assert theirs.take_output() == []


def test_shares_are_among_the_groups():
    for shares in ((), (SECP384R1,)):
        with pytest.raises(LocalProtocolError):
            ClientSettings(server_name=b"", verify=lambda *given: None, groups=(X25519,), shares=shares)


@given(st.integers(0, 1 << 16), st.integers(1, 255), st.integers(0, 1 << 16), st.integers(0, 255))
def test_whatever_is_changed_ends_in_an_error_of_its_own(at, flip, place, turn):
    """One octet of the hello, one of each answer: the peer's fault, never an exception of another kind."""
    ours, theirs = client(**X25519_ONLY), server(tickets=keys())
    (_, hello), *_ = ours.take_output()
    at %= len(hello)
    try:
        theirs.receive(INITIAL, hello[:at] + bytes((hello[at] ^ flip,)) + hello[at + 1 :])
        known = {INITIAL}
        for level, answer in theirs.take_output():
            known.update(secret.level for secret in ours.take_secrets())
            if level not in known:
                break  # a message of the level before looks unfinished now: QUIC holds such packets back
            where = place % len(answer)
            ours.receive(level, answer[:where] + bytes((answer[where] ^ turn,)) + answer[where + 1 :])
    except RemoteProtocolError:
        return
    # What was changed shows in the transcript at the latest.
    assert not ours.complete
