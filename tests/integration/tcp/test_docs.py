"""The example of docs/tcp.md runs as it stands there, but for its ports and its socket."""

import re
import ssl
from pathlib import Path

from tests.integration.gate import Gate, free_port

from headgate.config.loader import loads
from headgate.testing.origin import Origin, connect

PAGE = Path(__file__).parents[3] / "docs" / "tcp.md"
BLOCKS = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)


def hello(name):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=name)
    try:
        connection.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def names_itself(what):
    def script(wire):
        wire.send(what + b"\r\n")
        while data := wire.sock.recv(65536):
            wire.send(data)

    return script


def test_the_example_runs(tmp_path):
    db, passage = free_port(), free_port()
    with (
        Origin(names_itself(b"db")) as one,
        Origin(names_itself(b"mail")) as mail,
        Origin(names_itself(b"web")) as web,
    ):
        text = BLOCKS[0]
        for old, new in (
            ("127.0.0.1:5432", f"127.0.0.1:{db}"),
            ("127.0.0.1:8443", f"127.0.0.1:{passage}"),
            ("tcp://127.0.0.1:5433", f"tcp://{one.address}"),
            ("tcp://127.0.0.1:5434", f"tcp://localhost:{one.port}"),
            ("tcp://127.0.0.1:9443", f"tcp://{mail.address}"),
            ("unix:/run/web.sock", f"tcp://{web.address}"),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        with Gate(tmp_path, text, http=0):
            with connect(db) as wire:
                assert wire.read_line() == b"db"
            for name, expected in (
                ("mail.example.com", b"mail"),
                ("a.mail.example.com", b"mail"),
                ("x.test", b"web"),
            ):
                sent = hello(name)
                with connect(passage) as wire:
                    wire.send(sent)
                    assert wire.read_line() == expected
                    assert wire.read_exactly(len(sent)) == sent


def test_the_other_examples_are_valid():
    one = BLOCKS[1] + '[[certificate]]\nfiles = "a.pem"\n[[route]]\nupstream = "db"\n[upstream.db]\n'
    loads(one + 'endpoints = ["http://10.0.0.5"]\n', "tcp.md", {}, files=False)
    listener = '[[listener]]\naddresses = ["127.0.0.1:1"]\nmode = "tcp"\nupstream = "db"\n'
    loads(listener + BLOCKS[2], "tcp.md", {}, files=False)
    assert len(BLOCKS) == 3
