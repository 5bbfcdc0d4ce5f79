"""Whole handshakes between our two sides: every suite, group and key, retries, tickets, client certificates."""

import dataclasses
import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509 import load_der_x509_certificate
from tests.unit.engine.tls13.peers import (
    CLIENT_PARAMETERS,
    NAME,
    SERVER_PARAMETERS,
    agreed,
    client,
    credential,
    identity,
    keys,
    server,
    shake,
    trusting,
)

from headgate.counters import EARLY_RETRIED, STAPLE_NOT_ASKED, STAPLE_OFF, STAPLE_REFUSED, STAPLE_SENT
from headgate.engine.tls13.alerts import (
    BAD_CERTIFICATE,
    CERTIFICATE_REQUIRED,
    CERTIFICATE_UNKNOWN,
    HANDSHAKE_FAILURE,
    INTERNAL_ERROR,
    UNKNOWN_CA,
    TlsAlertError,
    refusal,
)
from headgate.engine.tls13.client import MAX_SESSIONS
from headgate.engine.tls13.credential import Credential, load
from headgate.engine.tls13.early import EarlyData
from headgate.engine.tls13.groups import GROUPS, SECP256R1, SECP384R1, X25519, X25519MLKEM768
from headgate.engine.tls13.levels import APPLICATION, EARLY, HANDSHAKE, INITIAL
from headgate.engine.tls13.messages import (
    CERTIFICATE,
    NEW_SESSION_TICKET,
    NewSessionTicket,
    encode_new_session_ticket,
)
from headgate.engine.tls13.server import MAX_TICKETS
from headgate.engine.tls13.settings import ServerSettings, TransportAnswer
from headgate.engine.tls13.suites import SUITES
from headgate.engine.tls13.tickets import MAX_LIFETIME, MAX_TICKET
from headgate.errors import LocalProtocolError
from headgate.testing.pki import Authority
from headgate.tls.context import staple_for
from headgate.tls.identity import StapleRules, from_pem
from headgate.tls.staple import Staple

WALL = 1_800_000_000.0
KEYS = ("p256", "p384", "ed25519", "rsa")


def believe(chain):
    believe.asked.append(chain)


@pytest.fixture(autouse=True)
def _nobody_asked():
    believe.asked = []
    trusting.asked = None


def types(data):
    """The types of the messages in these bytes, in order."""
    found, at = [], 0
    while at < len(data):
        found.append(data[at])
        at += 4 + int.from_bytes(data[at + 1 : at + 4], "big")
    return found


def refused(one, other):
    with pytest.raises(TlsAlertError) as caught:
        shake(one, other)
    return caught.value.alert


# -- full handshakes


@pytest.mark.parametrize(("suite", "group", "key"), list(itertools.product(SUITES, GROUPS, KEYS)))
def test_a_full_handshake(suite, group, key):
    ours = client(suites=(suite,), groups=(group,), shares=(group,))
    theirs = server(credentials=[credential(key)])
    assert agreed(*shake(ours, theirs))
    for side in (ours, theirs):
        assert side.complete
        assert (side.suite, side.group, side.alpn, side.resumed) == (suite, group, b"h3", False)
    assert theirs.server_name == NAME
    assert theirs.peer_transport_parameters == CLIENT_PARAMETERS
    assert ours.peer_transport_parameters == SERVER_PARAMETERS


@pytest.mark.parametrize("piece", [1, 3, 100])
def test_bytes_may_come_cut_anywhere(piece):
    ours, theirs = client(), server(tickets=keys())
    assert agreed(*shake(ours, theirs, piece=piece))
    assert len(ours.take_sessions()) == MAX_TICKETS


def test_what_verify_is_given():
    held = identity()
    ours, theirs = client(), server()
    shake(ours, theirs)
    chain, name, staple = trusting.asked
    assert (name, staple) == (NAME, b"")
    assert chain == ours.peer_certificates
    assert len(chain) == held.chain_pem.count(b"BEGIN CERT")


def test_who_is_not_believed_is_refused():
    def verify(chain, name, staple):
        raise refusal(UNKNOWN_CA, "nobody knows it")

    ours, theirs = client(verify=verify), server()
    assert refused(ours, theirs) == UNKNOWN_CA
    assert not ours.complete
    assert not theirs.complete


def test_without_a_name_none_is_sent():
    theirs = server()
    shake(client(server_name=b""), theirs)
    assert theirs.complete
    assert theirs.server_name == b""


def test_the_name_selects_the_certificate():
    asked = []

    def select(name):
        asked.append(name)
        return [credential("p256", "b.test")]

    ours = client(server_name=b"b.test")
    shake(ours, server(select=select))
    assert asked == [b"b.test"]
    assert b"b.test" in ours.peer_certificates[0]


def test_the_first_certificate_that_the_client_can_check():
    unknown = ec.generate_private_key(ec.SECP224R1())  # no client checks its signatures
    unusable = Credential("unusable", (b"c",), unknown, lambda wall: (STAPLE_OFF, b""))
    shown = []
    for order in (["rsa", "p256"], ["p256", "rsa"]):
        ours = client()
        shake(ours, server(credentials=[unusable, *(credential(key) for key in order)]))
        shown.append(load_der_x509_certificate(ours.peer_certificates[0]).public_key())
    assert isinstance(shown[0], rsa.RSAPublicKey)
    assert isinstance(shown[1], ec.EllipticCurvePublicKey)
    assert refused(client(), server(credentials=[unusable])) == HANDSHAKE_FAILURE


@pytest.mark.parametrize(
    ("offered", "known", "chosen"),
    [((b"h3",), (b"h3",), b"h3"), ((b"b", b"a"), (b"a", b"b"), b"a"), ((b"x", b"b"), (b"a", b"b"), b"b")],
)
def test_rfc7301_3_2_the_server_chooses_the_protocol(offered, known, chosen):
    ours, theirs = client(alpn=offered), server(alpn=known)
    shake(ours, theirs)
    assert (ours.alpn, theirs.alpn) == (chosen, chosen)


def test_secrets_come_when_they_are_needed():
    """RFC 9001 section 4.1.4: a server writes 1-RTT with its own flight, and reads it after the client's Finished."""
    ours, theirs = client(), server()
    (level, hello), *_ = ours.take_output()
    theirs.receive(level, hello)
    given = [(secret.level, secret.is_write) for secret in theirs.take_secrets()]
    assert given == [(HANDSHAKE, True), (HANDSHAKE, False), (APPLICATION, True)]
    flight = theirs.take_output()
    assert [level for level, _ in flight] == [INITIAL, HANDSHAKE]
    ours.receive(*flight[0])
    assert [secret.level for secret in ours.take_secrets()] == [HANDSHAKE, HANDSHAKE]
    ours.receive(*flight[1])
    assert [secret.level for secret in ours.take_secrets()] == [APPLICATION, APPLICATION]
    assert ours.complete
    assert not theirs.complete
    for level, data in ours.take_output():
        theirs.receive(level, data)
    assert [(secret.level, secret.is_write) for secret in theirs.take_secrets()] == [(APPLICATION, False)]
    assert theirs.complete


def test_the_key_log_has_the_lines_that_wireshark_reads():
    lines = {"client": [], "server": []}
    ours = client(key_log=lines["client"].append)
    shake(ours, server(key_log=lines["server"].append))
    assert sorted(lines["client"]) == sorted(lines["server"])
    assert sorted(line.split(" ")[0] for line in lines["client"]) == [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "EXPORTER_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_TRAFFIC_SECRET_0",
    ]
    assert len({line.split(" ")[1] for line in lines["client"]}) == 1


# -- groups and HelloRetryRequest


@pytest.mark.parametrize(
    ("supported", "shared", "known", "chosen", "retried"),
    [
        ((X25519, SECP256R1), (X25519,), (SECP256R1,), SECP256R1, True),
        ((X25519, SECP384R1), (X25519,), (SECP384R1, X25519), X25519, False),
        ((X25519MLKEM768, X25519), (X25519,), GROUPS, X25519MLKEM768, True),
        ((X25519MLKEM768, X25519), (X25519,), (X25519, X25519MLKEM768), X25519, False),
        ((X25519MLKEM768, X25519), (X25519MLKEM768, X25519), GROUPS, X25519MLKEM768, False),
        ((SECP384R1, SECP256R1), (SECP384R1, SECP256R1), GROUPS, SECP256R1, False),
    ],
)
def test_a_retry_only_when_it_is_worth_it(supported, shared, known, chosen, retried):
    ours, theirs = client(groups=supported, shares=shared), server(groups=known)
    (level, hello), *_ = ours.take_output()
    theirs.receive(level, hello)
    assert (not theirs.take_secrets()) is retried
    for level, data in theirs.take_output():
        ours.receive(level, data)
    shake(ours, theirs)
    assert ours.complete
    assert theirs.complete
    assert ours.group == theirs.group == chosen


@pytest.mark.parametrize("suite", SUITES)
def test_a_retried_handshake_agrees_on_its_secrets(suite):
    ours = client(suites=(suite,), groups=(X25519, SECP256R1), shares=(X25519,))
    assert agreed(*shake(ours, server(groups=(SECP256R1,)), piece=7))


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("group", [SECP256R1, SECP384R1])
def test_rfc8446_4_1_4_a_retry_with_everything_else(suite, resumed, early, asked, group):
    """A HelloRetryRequest in a resumed handshake, with early data offered, with a client certificate."""
    believed = {"client_auth": "required", "verify_client": believe} if asked else {}
    options = {"suites": (suite,), "wall": WALL, "credential": credential("p256", "client")}
    rule = {"tickets": keys(), "early": EarlyData(b"", 3, WALL - 100), **believed}
    first, theirs = client(**options), server(wall=WALL, **rule)
    shake(first, theirs)
    held = first.take_sessions()[0] if resumed else None
    groups = {"groups": (X25519, group), "shares": (X25519,)}
    ours, theirs = (
        client(session=held, early=early, **options, **groups),
        server(wall=WALL, groups=(group,), **rule),
    )
    ours_secrets, theirs_secrets = shake(ours, theirs)
    early_secrets = [secret for secret in ours_secrets if secret.level == EARLY]
    assert len(early_secrets) == (resumed and early)  # handed out before the retry, and good for nothing
    assert agreed([secret for secret in ours_secrets if secret.level != EARLY], theirs_secrets)
    assert ours.resumed == theirs.resumed == resumed
    assert not ours.early_accepted
    assert not theirs.early_accepted
    assert bool(theirs.peer_certificates) is asked
    assert theirs.early_outcome == (EARLY_RETRIED if resumed and early else -1)


# -- staples


def stapled(*, next_update=WALL + 60, must_staple=False, refuse=False, status="good"):
    leaf = Authority.root().leaf("a.test", must_staple=must_staple)
    rules = StapleRules(must_staple="refuse" if refuse else "warn")
    held = from_pem("a.pem", leaf.chain_pem, leaf.key_pem, rules=rules)
    if next_update:
        held.staple = Staple(b"the staple", WALL - 60, next_update, status)
    return load(held, staple_for)


def test_a_client_that_asks_gets_the_staple():
    ours, theirs = client(wall=WALL), server(wall=WALL, credentials=[stapled()])
    shake(ours, theirs)
    assert ours.staple == b"the staple"
    assert trusting.asked[2] == b"the staple"
    assert theirs.staple_outcome == STAPLE_SENT


def test_a_client_that_does_not_ask_gets_none():
    ours, theirs = client(ask_staple=False), server(wall=WALL, credentials=[stapled()])
    shake(ours, theirs)
    assert ours.staple == b""
    assert theirs.staple_outcome == STAPLE_NOT_ASKED


def test_an_expired_staple_is_not_sent():
    """Invariant W2, by the wall clock of the handshake."""
    ours = client(wall=WALL)
    shake(ours, server(wall=WALL, credentials=[stapled(next_update=WALL)]))
    assert ours.complete
    assert ours.staple == b""


def test_a_must_staple_certificate_without_staple_is_refused_when_asked_to():
    theirs = server(wall=WALL, credentials=[stapled(next_update=0, must_staple=True, refuse=True)])
    with pytest.raises(TlsAlertError, match="must-staple-refused") as caught:
        shake(client(), theirs)
    assert caught.value.alert == INTERNAL_ERROR
    assert theirs.staple_outcome == STAPLE_REFUSED
    again = server(wall=WALL, credentials=[stapled(next_update=0, must_staple=True, refuse=True)])
    shake(client(ask_staple=False), again)
    assert again.complete


# -- tickets


def session(**changes):
    ours, theirs = client(wall=WALL, **changes), server(wall=WALL, tickets=keys())
    shake(ours, theirs)
    return ours.take_sessions()[0]


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("retry", [False, True])
def test_a_session_is_resumed(suite, retry):
    held = session(suites=(suite,))
    ours = client(wall=WALL + 60, session=held, suites=(suite,), groups=(X25519, SECP256R1), shares=(X25519,))
    theirs = server(wall=WALL + 60, tickets=keys(), groups=(SECP256R1,) if retry else (X25519,))
    assert agreed(*shake(ours, theirs))
    assert ours.resumed
    assert theirs.resumed
    assert ours.peer_certificates == ()
    assert theirs.staple_outcome == STAPLE_NOT_ASKED
    assert len(ours.take_sessions()) == 1  # for the next time: a ticket is best used once


def test_a_resumed_handshake_shows_and_signs_nothing():
    held = session()
    ours, theirs = client(wall=WALL, session=held), server(wall=WALL, tickets=keys())
    theirs.receive(*ours.take_output()[0])
    flight = theirs.take_output()
    assert CERTIFICATE not in types(flight[1][1])


def test_a_resumed_session_resumes_again():
    held = session()
    ours = client(wall=WALL, session=held)
    shake(ours, server(wall=WALL, tickets=keys()))
    again = client(wall=WALL, session=ours.take_sessions()[0])
    shake(again, server(wall=WALL, tickets=keys()))
    assert again.resumed


@pytest.mark.parametrize(
    "changes",
    [
        {"tickets": None},
        {"tickets": keys(policy=b"q" * 32)},
        {"tickets": keys(held=(b"x" * 32,))},
        {"tickets": keys(), "wall": WALL + 43_200},
        {"tickets": keys(), "suites": (0x1302,)},
    ],
)
def test_a_ticket_that_cannot_be_used_costs_a_full_handshake(changes):
    ours, theirs = client(wall=WALL, session=session()), server(**{"wall": WALL, **changes})
    assert agreed(*shake(ours, theirs))
    assert not ours.resumed
    assert ours.peer_certificates


def test_rfc9369_5_a_session_belongs_to_its_version():
    """A client does not offer it in another one, and a server does not take it there."""
    held = session()
    assert held.version == 1
    assert client(wall=WALL, session=held, version=2)._session is None
    forged = dataclasses.replace(held, version=2)
    ours, theirs = (
        client(wall=WALL, session=forged, version=2),
        server(wall=WALL, tickets=keys(), version=2),
    )
    shake(ours, theirs)
    assert ours.complete
    assert not ours.resumed


def test_rfc9369_5_a_session_of_a_negotiated_connection_belongs_to_what_was_negotiated():
    ours, theirs = client(wall=WALL), server(wall=WALL, tickets=keys())
    theirs.receive(*ours.take_output()[0])
    theirs.negotiated = ours.negotiated = 2
    shake(ours, theirs)
    held = ours.take_sessions()[0]
    assert held.version == 2
    again, theirs = (
        client(wall=WALL, session=held, version=2),
        server(wall=WALL, tickets=keys(), version=2),
    )
    shake(again, theirs)
    assert again.resumed


def test_a_server_is_asked_once_and_with_what_the_client_says():
    class Answer(TransportAnswer):
        def __init__(self):
            self.asked = []

        def answer(self, said):
            self.asked.append(said)
            return b"for you"

    answer = Answer()
    ours = client(groups=(X25519, SECP256R1), shares=(X25519,))
    shake(ours, server(groups=(SECP256R1,), transport=answer))  # with a HelloRetryRequest
    assert answer.asked == [CLIENT_PARAMETERS]
    assert ours.peer_transport_parameters == b"for you"


def test_a_session_is_offered_to_its_own_server_and_in_its_time():
    held = session()
    for changes in (
        {"server_name": b"b.test"},
        {"wall": WALL + held.lifetime},
        {"wall": WALL - 1},
        {"suites": (0x1302,)},
    ):
        ours = client(**{"wall": WALL, "session": held, **changes})
        shake(ours, server(wall=WALL, tickets=keys()))
        assert ours.complete
        assert not ours.resumed


def test_a_retry_with_another_hash_gives_the_ticket_up():
    """The binder cannot be made for a hash that the secret does not belong to (RFC 8446 section 4.1.4)."""
    held = session(suites=(0x1301,))
    ours = client(wall=WALL, session=held, groups=(X25519, SECP256R1), shares=(X25519,))
    theirs = server(wall=WALL, tickets=keys(), groups=(SECP256R1,), suites=(0x1302,))
    assert agreed(*shake(ours, theirs))
    assert not ours.resumed


def test_tickets_sent():
    ours, theirs = client(), server(tickets=keys())
    theirs.receive(*ours.take_output()[0])
    for level, data in theirs.take_output():
        ours.receive(level, data)
    theirs.receive(*ours.take_output()[0])
    ((level, data),) = theirs.take_output()
    assert level == APPLICATION
    assert types(data) == [NEW_SESSION_TICKET] * MAX_TICKETS


def test_sessions_kept_at_the_limit_and_one_more():
    ours, theirs = client(), server()
    shake(ours, theirs)
    for index in range(MAX_SESSIONS + 1):
        ticket = encode_new_session_ticket(NewSessionTicket(60, 0, bytes((index,)), b"ticket"))
        ours.receive(APPLICATION, ticket)
    assert len(ours.take_sessions()) == MAX_SESSIONS


@pytest.mark.parametrize(
    ("lifetime", "size", "kept"),
    [(60, MAX_TICKET, 1), (60, MAX_TICKET + 1, 0), (0, 10, 0), (MAX_LIFETIME + 1, 10, 1)],
)
def test_tickets_that_are_not_kept(lifetime, size, kept):
    ours, theirs = client(), server()
    shake(ours, theirs)
    ours.receive(APPLICATION, encode_new_session_ticket(NewSessionTicket(lifetime, 0, b"n", bytes(size))))
    found = ours.take_sessions()
    assert len(found) == kept
    assert all(one.lifetime <= MAX_LIFETIME for one in found)


def test_a_session_shows_no_secret():
    held = session()
    assert held.psk.hex() not in repr(held)
    assert repr(held.psk) not in repr(held)


# -- client certificates


def asking(mode, **changes):
    return server(**{"client_auth": mode, "verify_client": believe, "wall": WALL, **changes})


@pytest.mark.parametrize("mode", ["optional", "required"])
@pytest.mark.parametrize("key", KEYS)
def test_a_client_shows_its_certificate(mode, key):
    ours, theirs = client(credential=credential(key, "client")), asking(mode)
    assert agreed(*shake(ours, theirs))
    assert believe.asked == [theirs.peer_certificates]
    assert b"client" in theirs.peer_certificates[0]


def test_a_client_without_certificate():
    theirs = asking("optional")
    assert agreed(*shake(client(), theirs))
    assert theirs.peer_certificates == ()
    assert believe.asked == []
    assert refused(client(), asking("required")) == CERTIFICATE_REQUIRED


def test_a_client_that_is_not_asked_shows_nothing():
    theirs = server()
    shake(client(credential=credential("p256", "client")), theirs)
    assert theirs.peer_certificates == ()


def test_a_client_that_is_not_believed():
    def verify(chain):
        raise refusal(CERTIFICATE_UNKNOWN, "not one of ours")

    ours = client(credential=credential("p256", "client"))
    assert refused(ours, asking("required", verify_client=verify)) == CERTIFICATE_UNKNOWN


def client_session(mode="required", own=None):
    ours = client(wall=WALL, credential=own)
    shake(ours, asking(mode, tickets=keys()))
    return ours.take_sessions()[0]


def test_a_resumed_client_is_verified_again():
    held = client_session(own=credential("p256", "client"))
    believe.asked = []
    ours, theirs = client(wall=WALL, session=held), asking("required", tickets=keys())
    shake(ours, theirs)
    assert theirs.resumed
    assert believe.asked == [theirs.peer_certificates]
    assert b"client" in theirs.peer_certificates[0]


def test_who_is_no_longer_believed_shakes_hands_in_full():
    held = client_session(own=credential("p256", "client"))

    def verify(chain):
        raise refusal(BAD_CERTIFICATE, "revoked since")

    ours = client(wall=WALL, session=held, credential=credential("p256", "client"))
    theirs = asking("required", tickets=keys(), verify_client=verify)
    assert refused(ours, theirs) == BAD_CERTIFICATE
    assert not theirs.resumed


def test_an_anonymous_session_does_not_get_past_required():
    held = client_session("optional")
    ours = client(wall=WALL, session=held, credential=credential("p256", "client"))
    theirs = asking("required", tickets=keys())
    shake(ours, theirs)
    assert not theirs.resumed
    assert b"client" in theirs.peer_certificates[0]
    anonymous = asking("optional", tickets=keys())
    shake(client(wall=WALL, session=held), anonymous)
    assert anonymous.resumed


def test_the_request_names_the_authorities():
    ours, theirs = client(), asking("optional", client_authorities=(b"a name in DER",))
    theirs.receive(*ours.take_output()[0])
    assert b"a name in DER" in theirs.take_output()[1][1]


def test_client_certificates_need_somebody_to_verify_them():
    with pytest.raises(LocalProtocolError):
        ServerSettings(select=lambda name: [credential()], client_auth="required")


def test_reprs_tell_where_it_stands():
    ours, theirs = client(), server()
    assert repr(ours) == "<ClientHandshake b'a.test': HELLO>"
    shake(ours, theirs)
    assert repr(theirs) == "<ServerHandshake b'a.test': CONNECTED>"
