"""Our TLS 1.3 against another one, in both roles: aioquic's `tls.Context`, which speaks it for QUIC too.

What neither side could invent is compared: the traffic secrets. aioquic knows no HelloRetryRequest, no ML-KEM and no
staples; those are tried among ourselves and against the examples of RFC 8448 (tests/unit/engine/tls13).
"""

import ssl
import time

import pytest
from aioquic import tls
from aioquic.buffer import Buffer
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificates
from tests.unit.engine.tls13.peers import (
    CLIENT_PARAMETERS,
    SERVER_PARAMETERS,
    client,
    credential,
    identity,
    keys,
    root,
    server,
)

from headgate.engine.tls13.alerts import DECRYPT_ERROR, TlsAlertError
from headgate.engine.tls13.groups import SECP256R1, SECP384R1, X25519
from headgate.engine.tls13.levels import APPLICATION, HANDSHAKE, INITIAL
from headgate.engine.tls13.suites import SUITES

LEVELS = {tls.Epoch.INITIAL: INITIAL, tls.Epoch.HANDSHAKE: HANDSHAKE, tls.Epoch.ONE_RTT: APPLICATION}
KEYS = ("p256", "p384", "ed25519", "rsa")
GROUPS = {X25519: tls.Group.X25519, SECP256R1: tls.Group.SECP256R1, SECP384R1: tls.Group.SECP384R1}


class Peer:
    """aioquic's side: the same three calls that ours has."""

    def __init__(self, *, is_client, group=X25519, parameters=b"", key=None, ticket=None, **options):
        if is_client:
            options |= {"server_name": "a.test", "verify_mode": ssl.CERT_NONE}
        self.context = tls.Context(is_client=is_client, alpn_protocols=["h3"], **options)
        self.context.handshake_extensions = [(tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS, parameters)]
        self.context._supported_groups = [GROUPS[group]]
        if key is not None:
            leaf, *others = load_pem_x509_certificates(identity(key).chain_pem)
            self.context.certificate, self.context.certificate_chain = leaf, others
            self.context.certificate_private_key = serialization.load_pem_private_key(
                identity(key).key_pem, None
            )
        self.context.session_ticket = ticket
        self.secrets = {}
        self.context.update_traffic_key_cb = self._note
        self.tickets = []
        if is_client:  # who offers psk_key_exchange_modes gets tickets
            self.context.new_session_ticket_cb = self.tickets.append
        self._buffers = {epoch: Buffer(capacity=65536) for epoch in LEVELS}
        if is_client:
            self.context.handle_message(b"", self._buffers)

    def _note(self, direction, epoch, suite, secret):
        self.secrets[LEVELS[epoch], direction is tls.Direction.ENCRYPT] = (int(suite), secret)

    def receive(self, level, data):
        self.context.handle_message(data, self._buffers)

    def take_output(self):
        taken = [(LEVELS[epoch], buffer.data) for epoch, buffer in self._buffers.items() if buffer.data]
        for buffer in self._buffers.values():
            buffer.seek(0)
        return taken


def shake(ours, theirs):
    """Carry bytes until nobody has any. Return our secrets as aioquic's would be noted."""
    secrets = {}
    moved = True
    while moved:
        moved = False
        for source, target in ((ours, theirs), (theirs, ours)):
            for level, data in source.take_output():
                moved = True
                target.receive(level, data)
        secrets |= {
            (secret.level, not secret.is_write): (secret.suite, secret.secret)
            for secret in ours.take_secrets()
        }
    return secrets


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("key", KEYS)
def test_our_client_with_its_server(suite, group, key):
    theirs = Peer(is_client=False, group=group, parameters=SERVER_PARAMETERS, key=key)
    ours = client(suites=(suite,), groups=(group,), shares=(group,))
    assert shake(ours, theirs) == theirs.secrets
    assert ours.complete
    assert (ours.alpn, ours.peer_transport_parameters) == (b"h3", SERVER_PARAMETERS)
    assert theirs.context.received_extensions is not None
    assert (57, CLIENT_PARAMETERS) in theirs.context.received_extensions
    assert len(ours.peer_certificates) == 2


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("key", KEYS)
def test_our_server_with_its_client(suite, group, key):
    theirs = Peer(is_client=True, group=group, parameters=CLIENT_PARAMETERS)
    ours = server(suites=(suite,), groups=(group,), credentials=[credential(key)])
    assert shake(ours, theirs) == theirs.secrets
    assert ours.complete
    assert (ours.server_name, ours.peer_transport_parameters) == (b"a.test", CLIENT_PARAMETERS)
    assert theirs.context.alpn_negotiated == "h3"


def test_its_client_believes_our_chain():
    """aioquic verifies chain and name here: the certificates go out whole and in order."""
    from_root = identity()
    theirs = Peer(is_client=True, parameters=CLIENT_PARAMETERS)
    theirs.context._verify_mode = ssl.CERT_REQUIRED
    theirs.context._cadata = root().pem
    shake(server(credentials=[credential()]), theirs)
    assert theirs.context.state is tls.State.CLIENT_POST_HANDSHAKE
    assert len(theirs.context._peer_certificate_chain) == from_root.chain_pem.count(b"BEGIN CERT") - 1


def test_its_client_resumes_with_our_ticket():
    theirs = Peer(is_client=True, parameters=CLIENT_PARAMETERS)
    shake(server(tickets=keys()), theirs)
    assert len(theirs.tickets) == 2
    again = Peer(is_client=True, parameters=CLIENT_PARAMETERS, ticket=theirs.tickets[0])
    ours = server(tickets=keys(), suites=(int(theirs.tickets[0].cipher_suite),))
    assert shake(ours, again) == again.secrets
    assert ours.resumed
    assert again.context.session_resumed


def test_our_client_resumes_with_its_ticket():
    held = {}
    theirs = Peer(is_client=False, parameters=SERVER_PARAMETERS, key="p256")
    theirs.context.new_session_ticket_cb = lambda ticket: held.update({ticket.ticket: ticket})
    now = time.time()
    ours = client(wall=now, groups=(X25519,), shares=(X25519,))
    shake(ours, theirs)
    (session,) = ours.take_sessions()
    again = Peer(is_client=False, parameters=SERVER_PARAMETERS, key="p256")
    again.context.get_session_ticket_cb = held.get
    ours = client(wall=now, session=session, groups=(X25519,), shares=(X25519,))
    assert shake(ours, again) == again.secrets
    assert ours.resumed
    assert again.context.session_resumed


@pytest.mark.parametrize("key", KEYS)
def test_our_client_shows_its_certificate_to_its_server(key):
    theirs = Peer(is_client=False, parameters=SERVER_PARAMETERS, key="p256")
    theirs.context._request_client_certificate = True
    ours = client(groups=(X25519,), shares=(X25519,), credential=credential(key, "client"))
    assert shake(ours, theirs) == theirs.secrets
    assert theirs.context.state is tls.State.SERVER_POST_HANDSHAKE
    assert theirs.context._peer_certificate is not None


def test_its_client_without_certificate_at_our_server_that_asks():
    def verify(chain):
        raise AssertionError("there is nothing to verify")

    theirs = Peer(is_client=True, parameters=CLIENT_PARAMETERS)
    ours = server(client_auth="optional", verify_client=verify)
    assert shake(ours, theirs) == theirs.secrets
    assert ours.complete


def test_a_changed_octet_of_its_flight_is_noticed():
    theirs = Peer(is_client=False, parameters=SERVER_PARAMETERS, key="p256")
    ours = client(groups=(X25519,), shares=(X25519,))
    for level, data in ours.take_output():
        theirs.receive(level, data)
    (_, hello), (_, flight) = theirs.take_output()
    ours.receive(INITIAL, hello)
    with pytest.raises(TlsAlertError) as caught:
        ours.receive(HANDSHAKE, flight[:-1] + bytes((flight[-1] ^ 1,)))
    assert caught.value.alert == DECRYPT_ERROR
