"""The raw client, where its other users would not notice what it does wrong."""

import os
import time

from headgate.engine.quic import frames
from headgate.engine.quic.levels import INITIAL
from headgate.engine.quic.packet import TAG, VERSION_1, encode_long_header
from headgate.engine.quic.protect import KeySet
from headgate.engine.quic.retry import encode_retry
from headgate.testing.quic_raw import RawClient


def initial(client, source, content=frames.PING_FRAME + bytes(20)):
    """A server's Initial, under the keys of the destination that the client has chosen or was told."""
    keys = KeySet(INITIAL, VERSION_1)
    keys.install_initial(client.destination, is_client=False, is_write=True)
    header = encode_long_header(INITIAL, VERSION_1, client.source, source, b"", 0, 2, len(content))
    keys.seal(header, 2, 0, content)
    sealed = keys.take_sealed()
    assert len(sealed) == len(header) + len(content) + TAG
    return sealed


def test_rfc9000_7_2_the_servers_own_id_is_taken_once():
    client = RawClient(os.urandom, time.time())
    assert client.destination == client.original
    first = initial(client, b"serverid")
    client.receive(first)
    assert client.destination == b"serverid"
    client.receive(first)
    assert client.destination == b"serverid"


def test_rfc9000_7_2_the_servers_own_id_is_taken_after_a_retry_too():
    client = RawClient(os.urandom, time.time())
    client.receive(encode_retry(VERSION_1, client.source, b"of-retry", client.original, b"token", 0))
    assert (client.destination, client.token) == (b"of-retry", b"token")
    client.receive(initial(client, b"serverid"))
    assert client.destination == b"serverid"
