"""Versions on the wire (RFC 9368, RFC 9369): compatible negotiation, Version Negotiation, Retry, and who lies."""

import pytest
from tests.unit.engine.quic.peers import (
    SETTINGS,
    WALL,
    Link,
    Talk,
    brief_client,
    flushed,
    new_client,
    new_server,
    receive,
)
from tests.unit.engine.tls13.peers import credential, keys

from headgate.engine.quic.closing import State
from headgate.engine.quic.errors import VERSION_NEGOTIATION_ERROR
from headgate.engine.quic.levels import HANDSHAKE, INITIAL
from headgate.engine.quic.packet import (
    RETRY,
    VERSION_1,
    VERSION_2,
    encode_version_negotiation,
    parse_long_header,
)
from headgate.engine.quic.retry import encode_retry
from headgate.engine.quic.settings import ConnectionSettings
from headgate.engine.quic.transport_parameters import encode_parameters
from headgate.engine.tls13.settings import TransportAnswer

NEW_FIRST = ConnectionSettings(versions=(VERSION_2, VERSION_1))
ONLY_1 = ConnectionSettings(versions=(VERSION_1,))
ONLY_2 = ConnectionSettings(versions=(VERSION_2,))
EAGER = ConnectionSettings(prefers_newest=True)
UNKNOWN = 0x1A2A3A4A


def link(client, **server):
    return Link(client, make_server=lambda first, **at: new_server(first, **server, **at))


def versions_of(datagrams):
    """The versions and kinds of the packets with long headers in these datagrams, in order."""
    found = []
    for datagram in datagrams:
        at = 0
        while at < len(datagram) and datagram[at] >= 0x80:
            header = parse_long_header(datagram, at, len(datagram))
            found.append((header.version, header.kind))
            at = header.end
    return found


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
@pytest.mark.parametrize("make", [brief_client, new_client])
def test_a_connection_of_each_version(version, make):
    ours = link(make(version=version)).shake()
    assert ours.client.version == ours.server.version == version
    assert {seen for side in (True, False) for seen, _ in versions_of(ours.sent[side])} == {version}


@pytest.mark.parametrize(
    ("client", "server", "negotiated"),
    [
        (NEW_FIRST, SETTINGS, VERSION_2),
        (SETTINGS, EAGER, VERSION_2),
        (SETTINGS, SETTINGS, VERSION_1),
        (NEW_FIRST, ONLY_1, VERSION_1),
        (ONLY_1, EAGER, VERSION_1),
    ],
)
@pytest.mark.parametrize("make", [brief_client, new_client])
@pytest.mark.parametrize("key", ["p256", "rsa"])
def test_rfc9368_2_3_compatible_negotiation(client, server, negotiated, make, key):
    ours = link(make(settings=client), settings=server, select=lambda name: [credential(key)]).shake()
    assert ours.client.version == ours.server.version == negotiated
    assert ours.client.original_version == ours.server.original_version == VERSION_1
    assert ours.client.peer_parameters.chosen_version == negotiated
    kinds = {True: versions_of(ours.sent[True]), False: versions_of(ours.sent[False])}
    for side in (True, False):
        # RFC 9369 section 4.1: Handshake packets are of the negotiated version alone.
        assert {seen for seen, kind in kinds[side] if kind == HANDSHAKE} == {negotiated}
    if negotiated == VERSION_2:
        assert kinds[True][0] == (VERSION_1, INITIAL)
        # Once it knows, the client goes on in it.
        first = kinds[True].index((VERSION_2, INITIAL))
        assert (VERSION_1, INITIAL) not in kinds[True][first:]


@pytest.mark.parametrize("loss", [0.1, 0.3])
@pytest.mark.parametrize("seed", range(12))
def test_negotiation_in_bad_weather(loss, seed):
    link = Link(
        new_client(settings=NEW_FIRST), loss=loss, reorder=0.2, duplicate=0.2, corruption=0.1, seed=seed
    ).shake()
    assert link.client.version == link.server.version == VERSION_2
    link.work[link.server] = listener = Talk(opens=False)
    link.work[link.client] = Talk(bytes(20_000))
    link.run(lambda: listener.finished)
    assert link.is_open()


def test_data_flows_in_version_2():
    ours = link(new_client(version=VERSION_2)).shake()
    ours.work[ours.server] = listener = Talk(b"back", opens=False, answers=True)
    ours.work[ours.client] = talker = Talk(bytes(100_000))
    ours.run(lambda: listener.finished and talker.finished)
    assert bytes(listener.read[0]) == bytes(100_000)


def test_rfc9369_4_1_a_server_reads_both_until_the_handshake_goes_on():
    client = new_client(settings=NEW_FIRST)  # its ClientHello takes two datagrams
    first, second = flushed(client, 0.0)
    server = new_server(first)
    receive(server, first, 0.0)
    assert versions_of(flushed(server, 0.1)) == [
        (VERSION_1, INITIAL)
    ]  # an acknowledgement: it knows no more yet
    receive(server, second, 0.2)
    answer = flushed(server, 0.2)
    assert versions_of(answer)[0] == (VERSION_2, INITIAL)
    receive(server, first, 0.3)  # once more: known, and no mistake
    assert server.dropped == {"duplicate": 1}
    for datagram in answer:
        receive(client, datagram, 0.3)
    for datagram in flushed(client, 0.3):
        receive(server, datagram, 0.4)
    assert server.is_confirmed
    receive(server, first, 0.5)
    assert server.dropped == {"duplicate": 1, "version": 1}


def test_rfc9369_4_1_packets_of_another_version_are_dropped():
    """Initials that no key opens, and everything but Initials."""
    client = brief_client()
    (first,) = flushed(client, 0.0)
    header = parse_long_header(first, 0, len(first))
    server = new_server(first)
    receive(server, first, 0.0)
    answer = flushed(server, 0.0)[0]
    other = VERSION_2.to_bytes(4, "big")
    as_initial = bytes((answer[0] & 0xCF | 0x10,)) + other + answer[5:]
    receive(client, as_initial, 0.1)
    assert client.dropped["forged"] >= 1
    assert client.version == VERSION_1
    as_handshake = bytes((answer[0] & 0xCF | 0x30,)) + other + answer[5:]
    before = client.dropped.get("version", 0)
    receive(client, as_handshake, 0.1)
    assert client.dropped.get("version", 0) + client.dropped.get("truncated", 0) > before
    receive(server, bytes((first[0] & 0xCF | 0x10,)) + other + first[5:], 0.1)
    assert server.dropped["version"] == 1
    assert header.version == VERSION_1


@pytest.mark.parametrize("said", [VERSION_1, 0])
def test_rfc9368_4_a_server_that_says_another_version_than_it_speaks(said):
    """Its packets were turned into another version on the way, or it lies: either way nobody goes on."""

    def lying(first, **at):
        server = new_server(first, settings=EAGER, **at)
        honest = server._introduction
        server.tls._transport = Lying(honest, said)
        return server

    ours = Link(brief_client(), make_server=lying)
    ours.run(lambda: ours.client.state is not State.OPEN)
    assert (ours.client.end.code, ours.client.end.is_ours) == (VERSION_NEGOTIATION_ERROR, True)


class Lying(TransportAnswer):
    def __init__(self, honest, said):
        self.honest, self.said = honest, said

    def answer(self, said):
        self.honest.answer(said)
        self.honest._said.chosen_version = self.said
        return encode_parameters(self.honest._said)


# -- Version Negotiation


def refusing(client, versions, now=0.0):
    """Answer the client's first packet with a Version Negotiation."""
    first = flushed(client, now)[0]
    header = parse_long_header(first, 0, len(first))
    receive(client, encode_version_negotiation(header.source, header.destination, versions, 0x55), now)
    return header


@pytest.mark.parametrize("make", [brief_client, new_client])
def test_rfc9000_6_2_a_version_negotiation_is_followed_once(make):
    client = make(version=VERSION_2, settings=NEW_FIRST)
    refusing(client, [UNKNOWN, VERSION_1])
    assert client.version == client.original_version == VERSION_1
    ours = link(client, settings=ONLY_1).shake()
    assert ours.server.version == VERSION_1
    ours.work[ours.server] = listener = Talk(opens=False)
    ours.work[ours.client] = Talk(b"hello")
    ours.run(lambda: listener.finished)


def test_a_second_version_negotiation_is_dropped():
    client = brief_client(version=VERSION_2, settings=NEW_FIRST)
    refusing(client, [VERSION_1])
    refusing(client, [VERSION_2])
    assert client.version == VERSION_1
    assert client.dropped == {"negotiation": 1}


@pytest.mark.parametrize("offered", [[VERSION_1], [VERSION_1, VERSION_2]])
def test_rfc9000_6_2_one_that_offers_our_own_version_is_dropped(offered):
    client = brief_client()
    refusing(client, offered)
    assert client.dropped == {"negotiation": 1}
    link(client).shake()


def test_no_version_in_common_is_the_end():
    client = brief_client()
    refusing(client, [UNKNOWN])
    assert client.state is State.CLOSED
    assert client.end.code == VERSION_NEGOTIATION_ERROR
    assert "0x1a2a3a4a" in client.end.reason


def test_rfc9368_4_a_forged_version_negotiation_is_noticed():
    """It made the client give up version 2, which the server speaks: the server's parameters say so."""
    client = brief_client(version=VERSION_2, settings=NEW_FIRST)
    refusing(client, [VERSION_1])
    ours = link(client)
    ours.run(lambda: client.state is not State.OPEN)
    assert (client.end.code, client.end.is_ours) == (VERSION_NEGOTIATION_ERROR, True)


def test_rfc9000_6_2_none_is_followed_after_anything_else_came():
    ours = link(brief_client())
    ours.flush()
    ours.step()
    ours.flush()
    ours.step()
    header = parse_long_header(ours.sent[True][0], 0, 1200)
    late = encode_version_negotiation(header.source, header.destination, [VERSION_2], 0)
    receive(ours.client, late, ours.now)
    assert ours.client.dropped["negotiation"] == 1
    ours.shake()


# -- Retry


@pytest.mark.parametrize("version", [VERSION_1, VERSION_2])
def test_rfc9369_4_1_a_retry_is_of_the_original_version(version):
    client = brief_client(version=version, settings=NEW_FIRST)
    first = flushed(client, 0.0)[0]
    header = parse_long_header(first, 0, len(first))
    (other,) = {VERSION_1, VERSION_2} - {version}
    for seen in (other, version):
        retry = encode_retry(seen, header.source, b"retry id", header.destination, b"token", 0)
        assert parse_long_header(retry, 0, len(retry)).kind == RETRY
        receive(client, retry, 0.1)
    assert client.dropped == {"version": 1}
    (again,) = flushed(client, 0.1)
    found = parse_long_header(again, 0, len(again))
    assert (found.version, found.token, found.destination) == (version, b"token", b"retry id")


def test_rfc9369_4_a_retry_and_then_another_version():
    client = brief_client(settings=NEW_FIRST)
    first = flushed(client, 0.0)[0]
    header = parse_long_header(first, 0, len(first))
    retry = encode_retry(VERSION_1, header.source, b"retry id", header.destination, b"token", 0)
    receive(client, retry, 0.0)
    ours = link(client, retry_original=header.destination).shake()
    assert ours.client.version == VERSION_2


# -- sessions


def test_rfc9369_5_a_session_resumes_in_the_version_that_was_negotiated():
    ours = link(brief_client(settings=NEW_FIRST), tickets=keys()).shake()
    ours.rest(1.0)
    session = ours.client.tls.take_sessions()[0]
    assert session.version == VERSION_2
    for version, resumed in ((VERSION_1, False), (VERSION_2, True)):
        again = link(brief_client(session=session, version=version, wall=WALL + 5), tickets=keys()).shake()
        assert again.client.tls.resumed is resumed
