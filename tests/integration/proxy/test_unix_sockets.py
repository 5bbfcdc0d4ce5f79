"""Origins at Unix sockets: reached, gone, and there again."""

import os
import socket
import threading

import pytest
from tests.integration.gate import Gate, wait_for

TEXT = '[[route]]\nupstream = "app"\n[upstream.app]\nendpoints = ["unix:{path}"]\n{more}'


class UnixOrigin:
    """Answers each request with its own name, on a socket that may be taken away and made again."""

    def __init__(self, path, name):
        self.path = path
        self.name = name.encode()
        self._sock = socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        self._sock.bind(str(path))
        self._sock.listen()
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._sock.accept()
            except OSError:
                return
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        data = b""
        try:
            while piece := sock.recv(65536):
                data += piece
                while b"\r\n\r\n" in data:
                    _, _, data = data.partition(b"\r\n\r\n")
                    sock.sendall(
                        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(self.name), self.name)
                    )
        except OSError:
            pass

    def close(self):
        # A plain close leaves a thread that accepts, and the socket with it.
        self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
        for sock in self._open:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


def ask(gate):
    with socket.create_connection(("127.0.0.1", gate.http_ports[0]), 20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return b"".join(iter(lambda: sock.recv(65536), b""))


def test_a_socket_that_is_made_again_is_found_again(tmp_path):
    path = tmp_path / "app.sock"
    first = UnixOrigin(path, "first")
    with Gate(tmp_path, TEXT.format(path=path, more="")) as gate:
        assert ask(gate).endswith(b"first")
        first.close()
        answer = ask(gate)
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert answer.endswith(b"connect\n")
        [event] = gate.events("upstream-failed")
        assert f"unix:{path}" in event["detail"]
        os.unlink(path)
        assert ask(gate).startswith(b"HTTP/1.1 502 ")
        second = UnixOrigin(path, "second")
        assert ask(gate).endswith(b"second")
        second.close()


@pytest.mark.slow
def test_probes_see_a_socket_go_and_come(tmp_path):
    path = tmp_path / "app.sock"
    more = '[upstream.app.health]\npath = "/"\ninterval = "200ms"\ntimeout = "100ms"\nrise = 1\nfall = 1\n'
    origin = UnixOrigin(path, "first")
    with Gate(tmp_path, TEXT.format(path=path, more=more)) as gate:

        def verdicts():
            return [event for event in gate.all_events() if event["event"].startswith("endpoint-")]

        assert ask(gate).endswith(b"first")
        origin.close()
        wait_for("the verdict", lambda: any("down" in str(event) for event in verdicts()))
        seen = len(verdicts())
        origin = UnixOrigin(path, "second")
        wait_for("the other verdict", lambda: len(verdicts()) > seen)
        assert ask(gate).endswith(b"second")
        origin.close()
