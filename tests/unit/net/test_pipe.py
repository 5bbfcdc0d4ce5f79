"""Pipes for splice(2): what goes through, what waits, what is refused, and how many there are."""

import errno
import os
import resource
import socket
import subprocess
import sys

import pytest

from headgate.net.pipe import ENDED, MAX_PIPES, MAX_SPARE_PIPES, NOTHING, Pipe, Pipes


@pytest.fixture
def pair():
    """Two connected pairs: what is written to `source` comes out of `inner`, `outer` leads to `target`."""
    source, inner = socket.socketpair()
    outer, target = socket.socketpair()
    for sock in (source, inner, outer, target):
        sock.setblocking(False)
    yield source, inner, outer, target
    for sock in (source, inner, outer, target):
        sock.close()


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


def test_octets_go_through(pair, pipe):
    source, inner, outer, target = pair
    assert pipe.fill(inner.fileno()) == NOTHING
    source.send(b"through")
    assert pipe.fill(inner.fileno()) == 7
    assert pipe.held == 7
    assert pipe.drain(outer.fileno())
    assert pipe.held == 0
    assert target.recv(100) == b"through"
    source.close()
    assert pipe.fill(inner.fileno()) == ENDED


def test_what_is_not_taken_waits(pair, pipe):
    source, inner, outer, target = pair
    while True:
        try:
            outer.send(b"x" * 4096)
        except BlockingIOError:
            break
    source.send(b"waits")
    assert pipe.fill(inner.fileno()) == 5
    assert not pipe.drain(outer.fileno())
    assert pipe.held == 5
    received = b""
    while not pipe.drain(outer.fileno()):
        received += target.recv(1 << 20)
    outer.shutdown(socket.SHUT_WR)
    while data := target.recv(1 << 20):
        received += data
    assert received.endswith(b"xwaits")


def test_a_descriptor_that_does_not_splice_says_so_and_nothing_is_lost(pair, pipe):
    source, inner, _, _ = pair
    event = os.eventfd(0)
    try:
        with pytest.raises(OSError) as raised:
            pipe.fill(event)
        assert raised.value.errno == errno.EINVAL
        source.send(b"kept")
        pipe.fill(inner.fileno())
        with pytest.raises(OSError) as raised:
            pipe.drain(event)
        assert raised.value.errno == errno.EINVAL
        assert pipe.take_back() == b"kept"
        assert pipe.held == 0
    finally:
        os.close(event)


def test_pipes_at_the_limit_and_one_more():
    here = Pipes()
    taken = [here.take() for _ in range(MAX_PIPES)]
    assert None not in taken
    assert here.take() is None
    here.give_back(taken.pop())
    assert here.take() is not None
    for one in taken:
        here.give_back(one)
    here.close()


def test_so_many_spare_pipes_are_kept_and_no_more():
    here = Pipes()
    for one in [here.take() for _ in range(MAX_SPARE_PIPES + 1)]:
        here.give_back(one)
    assert here.made == MAX_SPARE_PIPES
    here.close()
    assert here.made == 0


def test_a_pipe_with_octets_is_never_used_again(pair):
    source, inner, _, _ = pair
    here = Pipes()
    one = here.take()
    source.send(b"somebody's")
    one.fill(inner.fileno())
    here.give_back(one)
    assert here.made == 0
    assert here.take().held == 0
    here.close()


def test_no_descriptors_no_pipe():
    here = Pipes()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    next_one = os.dup(0)
    os.close(next_one)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_one, hard))
    try:
        assert here.take() is None
        assert here.made == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_where_the_kernel_grants_no_size_no_more_are_made():
    """An unprivileged user beyond pipe-user-pages-soft, in a process of its own."""
    program = (
        "import os\n"
        "from headgate.net.pipe import LEAST_PIPE_SIZE, Pipes\n"
        "os.setuid(65534)\n"
        "here = Pipes(1000)\n"
        "taken = []\n"
        "while (pipe := here.take()) is not None:\n"
        "    taken.append(pipe)\n"
        "assert here.most == here.made == len(taken), here\n"
        "assert min(pipe.size for pipe in taken) >= LEAST_PIPE_SIZE\n"
        "print(len(taken))\n"
    )
    if os.geteuid() != 0:
        program = program.replace("os.setuid(65534)\n", "")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 <= int(done.stdout) < 1000
