"""The handshake's octets in every order, and what follows from them."""

import pytest
from tests.unit.engine.quic.peers import (
    Link,
    brief_client,
    flushed,
    initial,
    initial_keys,
    new_client,
    new_server,
    receive,
)
from tests.unit.engine.tls13.peers import credential, identity, trusting

from headgate.counters import STAPLE_SENT
from headgate.engine.quic.closing import State
from headgate.engine.quic.crypto_buffer import MAX_CRYPTO_AHEAD
from headgate.engine.quic.errors import (
    CRYPTO_BUFFER_EXCEEDED,
)
from headgate.engine.quic.frames import crypto_header
from headgate.engine.quic.levels import INITIAL
from headgate.engine.tls13.credential import load


def test_the_staple_is_the_one_of_the_moment():
    held = load(identity(), lambda _identity, _wall: (STAPLE_SENT, b"a staple"))
    link = Link(
        new_client(), make_server=lambda first, **at: new_server(first, select=lambda name: [held], **at)
    ).shake()
    assert link.client.tls.staple == trusting.asked[2] == b"a staple"


def test_rfc9000_8_1_a_handshake_goes_on_when_the_first_answers_are_lost():
    """The server may not send any more: the client's probes give it the right to."""
    link = Link(new_client())
    link.flush()
    link.step()
    link.flush()
    link._queue.clear()
    link.shake()
    assert link.is_open()


@pytest.mark.parametrize(("offset", "closes"), [(MAX_CRYPTO_AHEAD - 1, False), (MAX_CRYPTO_AHEAD, True)])
def test_sparse_crypto_at_the_limit_and_one_more(offset, closes):
    (first,) = flushed(brief_client(), 0.0)
    server = new_server(first)
    receive(server, initial(initial_keys(first), first, crypto_header(offset, 1) + b"x"), 0.0)
    if not closes:
        assert server.state is State.OPEN
        return
    assert server.state is State.CLOSING
    assert (server.end.code, server.end.is_ours, server.end.frame_type) == (CRYPTO_BUFFER_EXCEEDED, True, 6)
    assert len(flushed(server, 0.0)) == 1


def test_a_client_hello_in_single_octets_last_one_first():
    client = brief_client()
    (hello,) = [bytes(chunk) for chunk in client._spaces[INITIAL].crypto_out._chunks]
    (first,) = flushed(client, 0.0)
    server, keys, at = new_server(first), initial_keys(first), len(hello)
    number = 10
    while at > 0:
        octets = range(at - 1, max(at - 200, 0) - 1, -1)
        frames = b"".join(crypto_header(offset, 1) + hello[offset : offset + 1] for offset in octets)
        receive(server, initial(keys, first, frames, number=number), 0.0)
        at, number = octets[-1], number + 1
    assert server.tls.server_name == b"a.test"
    assert server.state is State.OPEN


def test_rfc9001_4_8_an_alert_closes_with_its_code():
    link = Link(new_client(alpn=(b"other",)))
    link.run(lambda: link.client.state is not State.OPEN)
    assert link.client.end.code == link.server.end.code == 0x0100 + 120
    assert (link.client.end.is_ours, link.server.end.is_ours) == (False, True)


def test_rfc9001_4_9_1_initial_keys_go_when_handshake_packets_are_in_use():
    client = brief_client()
    (first,) = flushed(client, 0.0)
    server = new_server(first, select=lambda name: [credential("rsa")])  # whose flight takes two datagrams
    receive(server, first, 0.0)
    hello, *rest = flushed(server, 0.0)
    assert rest
    receive(client, hello, 0.02)
    assert not client._spaces[INITIAL].is_discarded
    answers = flushed(client, 0.02)
    assert client._spaces[INITIAL].is_discarded
    for answer in answers:
        receive(server, answer, 0.04)
    assert server._spaces[INITIAL].is_discarded
    assert not server.is_complete
    assert server.path.is_validated
