"""Ports that tests ask for by number."""

import socket
from pathlib import Path

from headgate.testing.relay import free_port


def test_no_port_is_given_twice_nor_one_that_connections_have():
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)
    assert all(20_000 <= port < first for port in ports)


def test_it_is_free_on_all_hosts_in_tcp_and_udp():
    port = free_port("127.0.0.1", "::1")
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(family, kind) as sock:
                sock.bind((host, port))
