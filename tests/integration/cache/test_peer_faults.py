"""A worker at home for a URL that says what it should not, or stops anywhere: those who ask it do without.

In place of worker 0 there is somebody who keeps to a script; worker 1 is real.
"""

import contextlib
import os
import socket
import threading
import time

from tests.integration.cache.test_herd import LIVES, TEXT, path_at, workers_asked
from tests.integration.gate import wait_for

from headgate.engine.h1.client import MAX_INTERIM
from headgate.engine.h1.grammar import MAX_FIELDS
from headgate.proxy.peers import REST_SECONDS
from headgate.testing.origin import Wire
from headgate.upstream.endpoint import MAX_RESPONSE_HEAD

__all__ = ["TEXT"]
WORKERS = 2
SIGN = b"HTTP/1.1 102 Processing\r\nHeadgate-Peer: sign\r\n\r\n"


@contextlib.contextmanager
def at_home(gate, script):
    """Have a script answer what worker 0 is at home for; yields the heads that it was asked with."""
    heads, accepted = [], []
    place = gate.runtime / "peers" / "0"
    kept = gate.runtime / "peers" / "kept"
    with socket.socket(socket.AF_UNIX) as listening:
        mine = str(gate.runtime / "peers" / "mine")
        listening.bind(mine)
        listening.listen(64)
        os.rename(place, kept)
        os.rename(mine, place)

        def serve(sock):
            with sock:
                sock.settimeout(10)
                wire = Wire(sock)
                while head := wire.read_head():
                    heads.append(head)
                    if not script(wire, head):
                        return

        def accept():
            while True:
                try:
                    sock, _ = listening.accept()
                except OSError:
                    return
                accepted.append(sock)
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield heads
        finally:
            os.rename(kept, place)
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            for sock in accepted:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            time.sleep(REST_SECONDS)


def asked_until(gate, path, heads):
    """Ask on new connections until worker 1 has one and asks the home; return that answer."""
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 10) as sock:
            wire = Wire(sock)
            wire.send(f"GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode())
            head = wire.read_head()
            body = wire.read_content(head)
        if any(one.target == path for one in heads):
            return head, body
    raise AssertionError("worker 1 was never asked")


def test_a_home_may_give_signs_for_as_long_as_an_origin_takes(gate, story):
    path = path_at(0, "/patient")
    story.tell(path, b"origin", "Cache-Control: no-store")

    def script(wire, head):
        wire.send(SIGN * (3 * MAX_INTERIM))
        wire.send(
            b"HTTP/1.1 200 OK\r\nHeadgate-Peer: answer 1 0 -\r\nContent-Length: 4\r\n"
            b"Cache-Control: max-age=600\r\n\r\nhome"
        )
        return True

    with at_home(gate, script) as heads:
        head, body = asked_until(gate, path, heads)
    assert (head.status, body) == (200, b"home")


def test_the_largest_head_of_an_origin_is_none_too_large_for_another_worker(gate, story):
    many = [f"X-{n}: {n}" for n in range(MAX_FIELDS - 2)]
    long = f"X-Long: {'x' * (MAX_RESPONSE_HEAD - 120)}"
    for stem, lines in (("/many", many), ("/long", [long])):
        path = path_at(0, stem)
        story.tell(path, b"large", LIVES, *lines)
        answered = workers_asked(gate)
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 10) as sock:
                wire = Wire(sock)
                wire.send(f"GET {path} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode())
                assert wire.read_response()[1] == b"large"
        assert len(story.asked(path)) == 1
        wait_for("the count of the workers", lambda answered=answered: workers_asked(gate) == answered + 1)
