"""A plain socket as a transport: files that go out past user space."""

import os
import socket
import struct

import pytest

from headgate.errors import TransportError
from headgate.net.tcp import TcpTransport
from headgate.net.transport import NOT_SENT

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def pair():
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    transport = TcpTransport(ours)
    yield transport, peer
    transport.close()
    peer.close()


def test_a_part_of_a_file_behind_a_head(pair, file):
    transport, peer = pair
    assert transport.sends_files
    assert transport.write_more(b"head") == 4
    assert transport.send_file(file, 5, 1000) == 1000
    assert peer.recv(1004, socket.MSG_WAITALL) == b"head" + CONTENT[5:1005]


def test_a_socket_that_is_full_takes_nothing(pair, file):
    transport, peer = pair
    sent = 0
    while taken := transport.send_file(file, sent % len(CONTENT), 100_000):
        assert taken > 0
        sent += taken
    assert transport.write_more(b"head") == 0
    peer.settimeout(10)
    got = b""
    while len(got) < sent:
        got += peer.recv(1 << 20)
    assert (CONTENT * (sent // len(CONTENT) + 1)).startswith(got)


def test_what_the_file_does_not_have_is_not_sent(pair, file, tmp_path):
    transport, _ = pair
    assert transport.send_file(file, len(CONTENT) - 3, 10) == 3
    assert transport.send_file(file, len(CONTENT), 10) == NOT_SENT
    folder = os.open(tmp_path, os.O_RDONLY)
    assert transport.send_file(folder, 0, 10) == NOT_SENT
    os.close(folder)


def test_a_peer_that_is_gone(pair, file):
    transport, peer = pair
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()
    with pytest.raises(TransportError, match="sendfile: E") as found:
        transport.send_file(file, 0, 10)
    assert found.value.reason in ("econnreset", "epipe")
    with pytest.raises(TransportError, match="write: EPIPE"):
        transport.write_more(b"head")
