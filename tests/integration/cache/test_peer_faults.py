"""A worker that has a response and says what it should not, or stops anywhere: those who ask it do without.

In place of worker 0 there is somebody who keeps to a script; worker 1 is real.
"""

import contextlib
import os
import socket
import threading
import time

import pytest
from tests.integration.cache.test_herd import LIVES, TEXT, held_by
from tests.integration.gate import wait_for

from headgate.engine.h1.client import MAX_INTERIM
from headgate.proxy.peers import REST_SECONDS
from headgate.testing.origin import Wire

__all__ = ["TEXT"]
WORKERS = 2
SIGN = b"HTTP/1.1 102 Processing\r\nHeadgate-Peer: sign\r\n\r\n"


class Home:
    """In place of worker 0. `script` gets each connection with each head; False: it is closed."""

    def __init__(self, folder):
        self.script = lambda wire, head: False
        self.heads = []
        self._accepted = []
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / "mine"))
        self._listening.listen(64)
        os.rename(folder / "mine", folder / "0")
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            self._accepted.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        with sock:
            wire = Wire(sock)
            while head := wire.read_head():
                self.heads.append(head)
                if not self.script(wire, head):
                    return

    def close(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)
        for sock in self._accepted:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def home(gate):
    made = Home(gate.runtime / "peers")
    yield made
    made.close()


def asked_until(gate, path, home, within=20.0):
    """Ask on new connections until worker 1 has one and asks the home; return that answer, which came `within` s."""
    for _ in range(60):
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 10) as sock:
            wire = Wire(sock)
            wire.send(f"GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode())
            head = wire.read_head()
            body = wire.read_content(head)
        if any(one.target == path for one in home.heads):
            assert time.monotonic() - begun < within
            return head, body
    raise AssertionError("worker 1 was never asked")


def test_a_home_may_give_signs_for_as_long_as_an_origin_takes(gate, story, home):
    path = held_by(gate, story, 0, "/patient", b"origin", LIVES)

    def script(wire, head):
        wire.send(SIGN * (3 * MAX_INTERIM))
        wire.send(
            b"HTTP/1.1 200 OK\r\nHeadgate-Peer: answer 1 0 -\r\nContent-Length: 4\r\n"
            b"Cache-Control: max-age=600\r\n\r\nhome"
        )
        return True

    home.script = script
    head, body = asked_until(gate, path, home)
    assert (head.status, body) == (200, b"home")


ANSWER = b"HTTP/1.1 200 OK\r\nHeadgate-Peer: %b\r\nContent-Length: 9\r\nCache-Control: max-age=600\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"", "broken"),
        (SIGN, "broken"),
        (SIGN + ANSWER[:40], "broken"),
        (ANSWER % b"answer 99 0 -" + b"malformed", "malformed"),
        (ANSWER.replace(b"Headgate-Peer: %b\r\n", b"") + b"malformed", "malformed"),
        (ANSWER % b"alone 8" + b"must wait", "unsuited"),
    ],
    ids=["nothing", "sign", "half-a-head", "bad-answer", "no-answer", "alone"],
)
def test_whatever_a_home_says_in_place_of_an_answer_the_origin_is_asked(gate, story, home, said, why):
    path = held_by(gate, story, 0, f"/instead-of-{why}-{len(said)}", b"origin", LIVES)
    counter = f'headgate_cache_peers_total{{result="{why}"}}'
    before = gate.metrics().get(counter, 0)  # each of these waits for its own

    def script(wire, head):
        wire.send(said)
        return False

    home.script = script
    assert asked_until(gate, path, home, within=2.0)[1] == b"origin"
    wait_for("the count", lambda: gate.metrics()[counter] == before + 1)
    if why == "broken":
        time.sleep(REST_SECONDS)


def test_content_that_a_home_does_not_finish_is_cut_off_and_not_kept(gate, story, home):
    path = held_by(gate, story, 0, "/cut", b"origin", LIVES)

    def script(wire, head):
        wire.send(ANSWER % b"answer 1 0 -" + b"half")
        return False

    home.script = script
    with pytest.raises(EOFError):
        asked_until(gate, path, home)
    home.script = lambda wire, head: False
    assert asked_until(gate, path, home)[1] == b"origin"
    time.sleep(REST_SECONDS)


def test_a_home_that_falls_silent_behind_a_sign_is_done_without(gate, story, home):
    path = held_by(gate, story, 0, "/silent", b"origin", LIVES)

    def script(wire, head):
        wire.send(SIGN)
        time.sleep(9)
        return False

    home.script = script
    assert asked_until(gate, path, home)[1] == b"origin"
    time.sleep(REST_SECONDS)


def test_a_home_that_says_it_has_nothing_is_not_asked_for_that_again(gate, story, home):
    path = held_by(gate, story, 0, "/gone", b"origin", LIVES)
    # What is neither stored nor remembered as such leaves the table of hints as it is.
    story.tell(path, b"for once", status=500)

    def script(wire, head):
        wire.send(b"HTTP/1.1 503 Service Unavailable\r\nHeadgate-Peer: alone 10\r\nContent-Length: 0\r\n\r\n")
        return True

    home.script = script
    assert asked_until(gate, path, home)[1] == b"for once"
    asked = len(story.asked(path))
    wait_for("worker 1 to ask the origin again", lambda: one_more(gate, story, path) >= asked + 3)
    assert sum(one.target == path for one in home.heads) == 1


def one_more(gate, story, path):
    """Ask once more, by a new connection; return how often the origin was."""
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 10) as sock:
        wire = Wire(sock)
        wire.send(f"GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode())
        wire.read_content(wire.read_head())
    return len(story.asked(path))
