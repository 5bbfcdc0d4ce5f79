"""Large content from disk through a real gate: by sendfile to clients in the clear, read and written to others."""

import http.client
import os
import random
import signal
import socket
import struct
import subprocess

import pytest
from tests.integration.cache.peers import listens
from tests.integration.cache.test_gate_disk import FRESH, ask, files, is_hit
from tests.integration.gate import Gate, wait_for

from headgate.testing.pki import Authority

# The route stands last, for those who add to it.
TEXT = """
[cache]
enabled = true
memory = "4MiB"
max_object = "64KiB"
disk = "256MiB"
[upstream.origin]
endpoints = ["{url}"]
[[route]]
upstream = "origin"
"""
MIB = 1 << 20
BLOCK = 256 << 10
TIMEOUT = '[listener.timeouts]\nwrite_idle = "1s"\n'
SENT = "headgate_cache_sendfile_bytes_total"


@pytest.fixture(scope="module")
def gate(story, tmp_path_factory):
    with Gate(tmp_path_factory.mktemp("gate"), TEXT.format(url=story.url)) as running:
        yield running


@pytest.fixture(scope="module")
def secure(story, tmp_path_factory):
    """A gate with TLS, and little patience, before the same origin."""
    folder = tmp_path_factory.mktemp("secure")
    leaf = Authority.root("Test Root").leaf("localhost")
    (folder / "a.pem").write_bytes(leaf.chain_pem + leaf.key_pem)
    text = f'[[certificate]]\nfiles = "{folder / "a.pem"}"\n' + TEXT.format(url=story.url)
    with Gate(folder, text, https=1, listener_extra=TIMEOUT) as running:
        yield running


def stored(gate, story, path, size, *more):
    """Have content of so many octets, as no other has, stored under a path; return it."""
    content = random.Random(path).randbytes(size)
    story.tell(path, content, FRESH, 'ETag: "e"', *more)
    assert ask(gate, path)[1] == content
    wait_for("its file", lambda: file_of(gate, size))
    return content


def file_of(gate, size):
    """The file of that size, if there is one."""
    return next((path for path in files(gate) if path.stat().st_size == size), None)


def deleted(gate):
    """Files without a name that the worker has open."""
    folder = f"/proc/{gate.worker_pids()[-1]}/fd"
    found = []
    for name in os.listdir(folder):
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue
        if target.endswith(" (deleted)") and "/cache/" in target:
            found.append(target)
    return found


def request(gate, path, version="1.1"):
    return f"GET {path} HTTP/{version}\r\nHost: 127.0.0.1:{gate.http_ports[0]}\r\n\r\n".encode()


class Slow:
    """A client that takes a little of an answer, and the rest when it is told to."""

    def __init__(self, gate, path):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self.sock.settimeout(20)
        self.sock.connect(("127.0.0.1", gate.http_ports[0]))
        self.sock.sendall(request(gate, path))
        self.got = b""
        while b"\r\n\r\n" not in self.got or len(self.got) < 20_000:
            self.got += self.sock.recv(4096)

    def rest(self, size=1 << 30):
        """Take `size` octets of content, or what comes; return the content."""
        head, _, content = self.got.partition(b"\r\n\r\n")
        pieces = [content]
        left = size - len(content)
        while left > 0:
            try:
                piece = self.sock.recv(min(left, MIB))
            except ConnectionResetError:
                break
            if not piece:
                break
            pieces.append(piece)
            left -= len(piece)
        self.sock.close()
        return head, b"".join(pieces)


def settled(gate):
    """What sendfile has sent, once all requests so far are counted and in the log."""
    return gate.settled_metrics()[SENT]


def test_a_file_goes_out_whole_and_in_parts(gate, story):
    content = stored(gate, story, "/film", 3 * MIB + 5)
    before = settled(gate)
    for _ in range(2):
        reply = ask(gate, "/film")
        assert reply[1] == content
        assert is_hit(reply)
    status, part, fields = ask(gate, "/film", Range="bytes=700000-1600000")
    assert (status, part) == (206, content[700_000:1_600_001])
    assert fields["content-range"] == f"bytes 700000-1600000/{len(content)}"
    assert ask(gate, "/film", Range="bytes=-100000")[1] == content[-100_000:]
    assert ask(gate, "/film", Range="bytes=7-9")[1] == content[7:10]  # no call of its own
    status, empty, fields = ask(gate, "/film", "HEAD")
    assert (status, empty, fields["content-length"]) == (200, b"", str(len(content)))
    assert ask(gate, "/film", If_None_Match='"e"')[:2] == (304, b"")
    whole = 2 * len(content) + 900_001 + 100_000
    assert whole - 20 <= settled(gate) - before <= whole  # the last five octets of the film may be written
    assert sum(line["bytes_out"] for line in gate.access_lines()[-7:]) == whole + 3
    assert len(story.asked("/film")) == 1


def test_several_ranges_of_a_file(gate, story):
    content = stored(gate, story, "/parts", MIB + 1)
    before = settled(gate)
    status, body, fields = ask(gate, "/parts", Range="bytes=5-14,300000-899999")
    boundary = fields["content-type"].partition("boundary=")[2].encode()
    pieces = [piece.partition(b"\r\n\r\n")[2] for piece in body.split(b"--" + boundary)[1:-1]]
    assert (status, pieces) == (206, [content[5:15] + b"\r\n", content[300_000:900_000] + b"\r\n"])
    assert settled(gate) - before > 400_000


def test_requests_one_behind_the_other_are_answered_in_turn(gate, story):
    content = stored(gate, story, "/between", 2 * MIB + 1)
    story.tell("/small", b"small", FRESH)
    ask(gate, "/small")
    paths = ["/small", "/between", "/small", "/between"]
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
        sock.sendall(b"".join(request(gate, path) for path in paths))
        stream = sock.makefile("rb")
        for path in paths:
            head = b"".join(iter(stream.readline, b"\r\n"))
            body = content if path == "/between" else b"small"
            assert f"Content-Length: {len(body)}".encode() in head
            assert stream.read(len(body)) == body


def test_a_client_of_http_10(gate, story):
    content = stored(gate, story, "/old", MIB + 2)
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
        sock.sendall(request(gate, "/old", "1.0"))
        assert sock.makefile("rb").read().partition(b"\r\n\r\n")[2] == content


def test_a_slow_client_gets_all_and_holds_nobody_up(gate, story):
    content = stored(gate, story, "/slow", 12 * MIB)
    slow = [Slow(gate, "/slow") for _ in range(4)]
    assert ask(gate, "/slow")[1] == content
    for client in slow:
        assert client.rest(len(content))[1] == content
    assert len(story.asked("/slow")) == 1


def test_a_client_that_stops_reading_is_closed_in_time(secure, story):
    gate = secure
    content = stored(gate, story, "/stopped", 12 * MIB + 1)
    timed_out = 'headgate_refused_total{limit="write-timeout"}'
    before = gate.settled_metrics()[timed_out]
    stopped = Slow(gate, "/stopped")
    wait_for("the timeout", lambda: gate.metrics()[timed_out] == before + 1)
    cut = stopped.rest()[1]
    assert len(cut) < len(content)
    assert content.startswith(cut)
    (line,) = wait_for(
        "its line",
        lambda: [line for line in gate.access_lines() if line.get("reason") == "write-timeout"],
    )
    assert len(cut) <= line["bytes_out"] < len(content)


def test_a_client_that_goes_away_in_the_middle(gate, story):
    content = stored(gate, story, "/left", 12 * MIB + 2)
    aborted = 'headgate_aborted_total{side="downstream"}'
    before = gate.settled_metrics()[aborted]
    leaving = Slow(gate, "/left")
    leaving.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    leaving.sock.close()
    wait_for("it to be counted", lambda: gate.metrics()[aborted] == before + 1)
    line = gate.access_lines()[-1]
    assert (line["target"], 0 < line["bytes_out"] < len(content)) == ("/left", True)
    assert ask(gate, "/left")[1] == content
    assert len(story.asked("/left")) == 1


@pytest.mark.parametrize("how", ["purged", "gone"])
def test_a_file_that_is_taken_away_is_still_sent_to_its_end(gate, story, how):
    path, size = f"/{how}", 12 * MIB + 100 + len(how)
    content = stored(gate, story, path, size)
    slow = Slow(gate, path)
    if how == "purged":
        url = f"http://127.0.0.1:{gate.http_ports[0]}{path}"
        assert gate.call("purge", url).returncode == 0
    else:
        file_of(gate, size).unlink()  # as for want of room
    for _ in range(2):
        assert ask(gate, path)[1] == content
    assert slow.rest(size)[1] == content
    assert len(story.asked(path)) == 2
    wait_for("the file to be closed", lambda: not deleted(gate))


def test_workers_use_the_file_of_the_one_that_stored_last(story, tmp_path):
    with Gate(tmp_path, TEXT.format(url=story.url), workers=2) as two:
        content = stored(two, story, "/two", MIB)
        # A client of the other worker asks the origin, or the disk if it comes late enough.
        for _ in range(40):
            assert ask(two, "/two")[1] == content
        assert 1 <= len(story.asked("/two")) <= 2
        for file in files(two):
            file.unlink()
        story.tell("/two", content, FRESH)
        asked = len(story.asked("/two"))
        for _ in range(40):
            assert ask(two, "/two")[1] == content
        assert 1 <= len(story.asked("/two")) - asked <= 2


def test_an_answer_under_way_is_finished_before_a_gate_ends(story, tmp_path):
    with Gate(tmp_path, TEXT.format(url=story.url)) as own:
        content = stored(own, story, "/last", 12 * MIB + 4)
        slow = Slow(own, "/last")
        os.kill(own.pid, signal.SIGTERM)
        wait_for("the listener to close", lambda: not listens(own.http_ports[0]))
        assert slow.rest(len(content))[1] == content
        assert own.stop() == 0


def test_where_the_first_block_is_not_what_was_written_the_origin_is_asked(gate, story):
    size = 2 * MIB + 5
    content = stored(gate, story, "/torn-first", size)
    assert ask(gate, "/torn-first")[1] == content
    with file_of(gate, size).open("r+b") as torn:
        torn.seek(1000)
        torn.write(b"another")
    assert ask(gate, "/torn-first")[1] == content
    assert len(story.asked("/torn-first")) == 2
    # Told at once, but for what follows another one within 30 s.
    wait_for("it to be told", lambda: gate.events("cache-disk-corrupt"))


def test_no_octet_of_a_block_that_is_not_what_was_written_goes_out(gate, story):
    block, path = 3, "/torn"
    size = 2 * MIB + block
    content = stored(gate, story, path, size)
    assert ask(gate, path)[1] == content
    with file_of(gate, size).open("r+b") as file:
        file.seek(block * BLOCK + 1000)
        file.write(b"another")
    corrupt = gate.settled_metrics()["headgate_cache_disk_corrupt_total"]
    connection = http.client.HTTPConnection("127.0.0.1", gate.http_ports[0], timeout=20)
    connection.request("GET", path)
    with connection.getresponse() as response, pytest.raises(http.client.IncompleteRead) as cut:
        response.read()
    connection.close()
    assert cut.value.partial == content[: block * BLOCK]
    assert ask(gate, path)[1] == content
    assert len(story.asked(path)) == 2
    wait_for("it to be counted", lambda: gate.metrics()["headgate_cache_disk_corrupt_total"] > corrupt)


def test_a_file_that_became_shorter_is_asked_for_again(gate, story):
    size = 2 * MIB + 7
    content = stored(gate, story, "/short", size)
    assert ask(gate, "/short")[1] == content
    os.truncate(file_of(gate, size), MIB)
    assert ask(gate, "/short")[1] == content
    assert len(story.asked("/short")) == 2


def test_a_file_that_becomes_shorter_while_it_is_sent_is_cut_off(gate, story):
    size = 12 * MIB + 9
    content = stored(gate, story, "/shrinks", size)
    slow = Slow(gate, "/shrinks")
    os.truncate(file_of(gate, size), 11 * MIB)
    cut = slow.rest()[1]
    assert len(cut) == 11 * MIB
    assert content.startswith(cut)
    assert ask(gate, "/shrinks")[1] == content


@pytest.mark.parametrize("how", ["h2c", "h1", "h2"])
def test_what_has_to_be_framed_or_encrypted_is_read_and_written(secure, story, tmp_path, how):
    path = f"/for/{how}"
    size = 2 * MIB + len(how)
    content = random.Random(path).randbytes(size)
    story.tell(path, content, FRESH)
    option, url = {
        "h2c": ("--http2-prior-knowledge", f"http://localhost:{secure.http_ports[0]}"),
        "h1": ("--http1.1", f"https://localhost:{secure.https_ports[0]}"),
        "h2": ("--http2", f"https://localhost:{secure.https_ports[0]}"),
    }[how]
    before = settled(secure)
    for _ in range(3):
        saved = tmp_path / "saved"
        command = ["curl", "-4sSk", option, "-o", str(saved), url + path]
        subprocess.run(command, check=True, timeout=60)
        assert saved.read_bytes() == content
        wait_for("its file", lambda: file_of(secure, size))
    assert settled(secure) == before
    assert len(story.asked(path)) == 1
