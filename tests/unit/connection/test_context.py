"""What an origin is told of a client."""

import socket

import pytest

from headgate.connection.context import NO_HEADER, V1, V2, ConnectionContext, local_header
from headgate.http.forwarded import Forwarder
from headgate.http.networks import Networks
from headgate.net.proxy_protocol import decode


def context_of(peer="192.0.2.1"):
    forwarded = Forwarder(Networks(())).connection(peer.encode(), b"http", 80)
    return ConnectionContext("test", peer, 4000, b"http", forwarded)


def told(context, version):
    header = decode(context.proxy_header(version))
    return (header.source, header.source_port, header.destination, header.destination_port)


@pytest.mark.parametrize("version", [V1, V2])
def test_where_the_client_connected_to(version):
    context = context_of()
    assert told(context, version) == ("192.0.2.1", 4000, "0.0.0.0", 0), "nobody knows"
    with socket.create_server(("127.0.0.1", 0)) as sock:
        context.sock = sock
        assert told(context, version) == ("192.0.2.1", 4000, *sock.getsockname())
        context.destination, context.destination_port = "198.51.100.2", 443
        assert told(context, version) == ("192.0.2.1", 4000, "198.51.100.2", 443), "a proxy in front said so"
        context.destination = ""
    assert told(context, version) == ("192.0.2.1", 4000, "0.0.0.0", 0), "it is closed already"
    assert told(context_of("2001:db8::1"), version) == ("2001:db8::1", 4000, "::", 0)


def test_version_2_has_the_name():
    context = context_of()
    plain = len(context.proxy_header(V2))
    context.sni = b"a.test"
    assert len(context.proxy_header(V2)) == plain + 3 + 6


def test_who_speaks_for_nobody():
    assert local_header(NO_HEADER) == b""
    for version in (V1, V2):
        header = decode(local_header(version))
        assert (header.version, header.source) == (version, "")
