"""Full disks and slow readers cost lines, never time, and are told once a minute."""

import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest

from headgate.counters import HELD_LOG, LOG_DROPPED, SIZE
from headgate.telemetry.log_writer import (
    BUFFER_LIMIT,
    PIPE_WRITE,
    FileWriter,
    StreamWriter,
    nonblocking_twin,
    open_writer,
)


class World:
    """Counters, a clock to set, and the complaints that came."""

    def __init__(self):
        self.counters = [0] * SIZE
        self.time = 1000.0
        self.complaints = []

    def arguments(self):
        return self.counters, lambda what, detail: self.complaints.append((what, detail)), lambda: self.time

    @property
    def dropped(self):
        return self.counters[LOG_DROPPED]


@pytest.fixture
def world():
    return World()


@pytest.fixture
def pipe():
    read, write = os.pipe()
    yield read, write
    for fd in (read, write):
        try:
            os.close(fd)
        except OSError:
            pass


def lines_of(count, size=100):
    return [b"%06d " % n + b"x" * (size - 8) + b"\n" for n in range(count)]


def drain(read):
    os.set_blocking(read, False)
    got = b""
    try:
        while chunk := os.read(read, 1 << 20):
            got += chunk
    except BlockingIOError:
        pass
    return got


# -- files


def test_a_file_is_appended_to(tmp_path, world):
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    writer = FileWriter(str(path), *world.arguments())
    writer.write(lines_of(3))
    assert path.read_bytes() == b"before\n" + b"".join(lines_of(3))
    writer.close()
    writer.write(lines_of(1))
    assert path.read_bytes().count(b"\n") == 4


def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(tmp_path, world):
    with pytest.raises(FileNotFoundError):
        FileWriter(str(tmp_path / "no" / "access.log"), *world.arguments())


def test_reopen_follows_a_rotation(tmp_path, world):
    path = tmp_path / "access.log"
    writer = FileWriter(str(path), *world.arguments())
    writer.write([b"old\n"])
    path.rename(tmp_path / "access.log.1")
    writer.write([b"late\n"])
    writer.reopen()
    writer.write([b"new\n"])
    assert (tmp_path / "access.log.1").read_bytes() == b"old\nlate\n"
    assert path.read_bytes() == b"new\n"


def test_reopen_that_fails_keeps_the_old_file_and_says_so(tmp_path, world):
    path = tmp_path / "logs" / "access.log"
    path.parent.mkdir()
    writer = FileWriter(str(path), *world.arguments())
    path.parent.rename(tmp_path / "moved")
    writer.reopen()
    writer.write([b"still here\n"])
    assert (tmp_path / "moved" / "access.log").read_bytes() == b"still here\n"
    ((what, detail),) = world.complaints
    assert what == "log-reopen-failed"
    assert "ENOENT" in detail
    assert str(path) in detail


def test_a_full_disk_drops_counts_and_tells_once_a_minute(world):
    writer = FileWriter("/dev/full", *world.arguments())
    writer.write(lines_of(5))
    writer.write(lines_of(5))
    assert world.dropped == 10
    ((what, detail),) = world.complaints
    assert what == "log-full"
    assert detail.startswith("/dev/full: ENOSPC")
    assert "5 lines dropped" in detail
    world.time += 60
    writer.write(lines_of(1))
    assert world.dropped == 11
    assert len(world.complaints) == 2
    assert "6 lines dropped" in world.complaints[1][1]


def test_a_torn_line_is_ended_when_the_disk_has_room_again(tmp_path, world):
    path = tmp_path / "access.log"
    writer = FileWriter(str(path), *world.arguments())
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # The file may take 250 of 500 bytes: the same short write that a disk makes that is nearly full.
        resource.setrlimit(resource.RLIMIT_FSIZE, (250, old_limit[1]))
        writer.write(lines_of(5))
        assert path.stat().st_size == 250
        assert world.dropped == 3
        writer.write(lines_of(2))
        assert world.dropped == 5
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    writer.write([b"whole\n"])
    writer.write([b"again\n"])
    first, second, torn, whole, again = path.read_bytes().splitlines(keepends=True)
    assert [first, second] == lines_of(2)
    assert len(torn) == 51
    assert (whole, again) == (b"whole\n", b"again\n")


# -- streams


def test_a_reader_gets_whole_lines_in_order(world, pipe):
    read, write = pipe
    writer = StreamWriter(write, *world.arguments())
    writer.write(lines_of(300))
    assert drain(read) == b"".join(lines_of(300))
    assert writer.held == 0


def test_one_write_is_whole_lines_and_atomic(world):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        writer = StreamWriter(ours.fileno(), *world.arguments())
        writer.write(lines_of(100, 1000))
        theirs.setblocking(False)
        sizes = []
        for _ in range(25):
            packet = theirs.recv(1 << 20)
            assert packet.endswith(b"\n")
            sizes.append(len(packet))
        assert max(sizes) <= PIPE_WRITE
        assert sum(sizes) == 100_000
        writer.close()


def test_a_slow_reader_costs_lines_not_time(world, pipe):
    read, write = pipe
    writer = StreamWriter(write, *world.arguments())
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    sent = 0
    began = time.monotonic()
    while not world.dropped:
        writer.write(lines_of(128))
        sent += 128
        assert sent < 2 * BUFFER_LIMIT // 100, "nothing is ever dropped"
    assert time.monotonic() - began < 10
    assert writer.held <= BUFFER_LIMIT
    assert world.counters[HELD_LOG] == writer.held
    assert world.complaints[0][0] == "log-slow"
    got = b""
    while writer.held:
        got += drain(read)
        writer.write([])
    got += drain(read)
    assert got.count(b"\n") == sent - world.dropped
    assert {len(line) for line in got.splitlines()} == {99}
    assert world.counters[HELD_LOG] == 0


def test_a_reader_that_went_away_is_counted_and_told(world, pipe):
    read, write = pipe
    writer = StreamWriter(write, *world.arguments())
    os.close(read)
    writer.write(lines_of(3))
    assert world.dropped == 3
    ((what, detail),) = world.complaints
    assert what == "log-slow"
    assert "EPIPE" in detail
    assert writer.held == 0


def test_the_shared_descriptor_stays_blocking(pipe):
    _, write = pipe
    twin = nonblocking_twin(write)
    try:
        assert os.get_blocking(write)
        assert not os.get_blocking(twin)
    finally:
        os.close(twin)


def test_writers_on_one_file_append(tmp_path):
    # `headgate run 2> file`: none may write over another's lines, nor who knows only the shell's own descriptor.
    with (tmp_path / "events").open("wb") as shared:
        shared.write(b"from the shell\n")
        shared.flush()
        twins = [nonblocking_twin(shared.fileno()) for _ in range(2)]
        try:
            with (tmp_path / "events").open("ab") as stranger:
                stranger.write(b"from a stranger\n")
            for number in range(6):
                os.write((*twins, shared.fileno())[number % 3], b"line %d\n" % number)
        finally:
            for twin in twins:
                os.close(twin)
    expected = ["from the shell", "from a stranger", *(f"line {number}" for number in range(6))]
    assert (tmp_path / "events").read_text().splitlines() == expected


def test_a_partly_taken_chunk_is_continued(world):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
        writer = StreamWriter(ours.fileno(), *world.arguments())
        writer.write(lines_of(200))
        got = b""
        while len(got) < 20_000:
            got += theirs.recv(1 << 16)
            writer.write([])
        assert got == b"".join(lines_of(200))
        writer.close()


# -- settings


def test_off_has_no_writer(world):
    assert open_writer("off", *world.arguments()) is None


@pytest.mark.parametrize("where", ["one file", "two files"])
def test_what_is_printed_and_what_crashes_stands_beside_log_lines(where, tmp_path):
    program = (
        "import os, sys\n"
        "from headgate.counters import SIZE\n"
        "from headgate.telemetry.event_log import EventLog\n"
        "from headgate.telemetry.log_writer import open_writer\n"
        "print('before', file=sys.stderr, flush=True)\n"
        "log, access = EventLog(2, 'p'), open_writer('stdout', [0] * SIZE, print, lambda: 0.0)\n"
        "for number in range(3):\n"
        "    log.event('an-event', number=number)\n"
        "    access.write([b'access %d\\n' % number])\n"
        "    print('printed', number, flush=True)\n"
        "    if number == 1 and not os.fork():\n"
        "        os.write(2, b'from a child\\n')\n"
        "        os._exit(0)\n"
        "os.wait()\n"
        "raise SystemExit('the end')\n"
    )
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        same = where == "one file"
        process = [sys.executable, "-c", program]
        assert subprocess.run(process, stdout=stdout, stderr=stdout if same else stderr).returncode == 1
    lines = (out.read_text() + err.read_text()).splitlines()
    counts = {what: sum(what in line for line in lines) for what in ("an-event", "access", "printed")}
    assert counts == {"an-event": 3, "access": 3, "printed": 3}
    assert [line for line in lines if line in ("before", "from a child", "the end")] == [
        "before",
        "from a child",
        "the end",
    ]
    assert len(lines) == 12


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_stdout_is_written_for_what_it_is(kind, tmp_path):
    program = (
        "from headgate.counters import SIZE\n"
        "from headgate.telemetry.log_writer import open_writer\n"
        "w = open_writer('stdout', [0] * SIZE, print, lambda: 0.0)\n"
        "w.write([b'a line\\n'])\n"
        "import sys; sys.stderr.write(type(w).__name__)\n"
    )
    target = tmp_path / "out"
    with target.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", program],
            stdout=out if kind == "file" else subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=True,
        )
    assert (target.read_bytes() if kind == "file" else done.stdout) == b"a line\n"
    assert done.stderr.decode() == ("FileWriter" if kind == "file" else "StreamWriter")
