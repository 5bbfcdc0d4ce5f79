"""Packets between workers and the writer."""

import socket

from headgate.cache.store import messages


def test_the_largest_packet_fits_a_socket_of_the_usual_size():
    """What does not fit would be refused by the kernel, every time."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        ours.setblocking(False)
        assert ours.send(bytes(messages.MAX_PACKET)) == messages.MAX_PACKET
        assert len(theirs.recv(messages.MAX_PACKET + 1)) == messages.MAX_PACKET


def test_small_content_fits_a_packet_with_the_largest_head():
    assert messages.SMALL_CONTENT + 2 * 64 * 1024 <= messages.MAX_PACKET


def test_packets_begin_with_their_kind():
    packets = (
        messages.put(b""),
        messages.remove(b"", 0.0),
        messages.touch([]),
        messages.purge(0, b"", False, 0),
        messages.sync(0),
    )
    kinds = (messages.PUT, messages.REMOVE, messages.TOUCH, messages.PURGE, messages.SYNC)
    assert tuple(packet[0] for packet in packets) == kinds
