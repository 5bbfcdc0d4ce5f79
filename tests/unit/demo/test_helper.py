"""Helper processes end when they are told to, and when nobody is left to tell them."""

import os
import signal
import socket
import time
from urllib.request import ProxyHandler, build_opener

import pytest

from headgate.demo.helper import Helper, listen
from headgate.demo.origin import run_origin
from headgate.demo.ports import find_port, loopback_hosts
from headgate.process.fork import fork_child


def get(port, path="/"):
    return build_opener(ProxyHandler({})).open(f"http://127.0.0.1:{port}{path}", timeout=10).read()


def accepts(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def test_it_serves_until_it_is_closed():
    helper = Helper("test origin", listen(), run_origin)
    try:
        assert b'"method": "GET"' in get(helper.port)
        assert get(helper.port, "/big") == bytes(64 * 1024 * 1024)
    finally:
        helper.close()
    helper.close()
    with pytest.raises(ProcessLookupError):
        os.kill(helper.pid, 0)
    assert not accepts(helper.port)


def test_closing_one_that_died_and_was_reaped():
    helper = Helper("test origin", listen(), run_origin)
    get(helper.port)
    os.kill(helper.pid, signal.SIGTERM)
    assert os.WTERMSIG(os.waitpid(helper.pid, 0)[1]) == signal.SIGTERM
    helper.close()


def test_it_ends_when_its_parent_is_killed():
    read, write = os.pipe()

    def parent():
        helper = Helper("test origin", listen(), run_origin)
        os.write(write, b"%d\n" % helper.port)
        signal.pause()
        return 0

    pid = fork_child("test parent", parent)
    os.close(write)
    with os.fdopen(read) as pipe:
        port = int(pipe.readline())
        get(port)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert pipe.read() == ""  # end of file: nobody is left who holds the other end
    end = time.monotonic() + 10
    while accepts(port):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_ports():
    hosts = loopback_hosts()
    assert hosts[0] == "127.0.0.1"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = find_port(port, hosts)
        assert found != port
        assert find_port(found, hosts) == found
        assert find_port(found, hosts, {found}) != found
    assert find_port(0, hosts) > 0
    assert find_port(65535, hosts, {65535}) not in (0, 65535)
