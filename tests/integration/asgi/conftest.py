"""Gates in front of real applications."""

import importlib.util
import json
import socket

import pytest
from tests.integration.gate import Gate

# An environment from before they were dependencies; CI's has them.
if any(
    importlib.util.find_spec(name) is None
    for name in ("wsproto", "websockets", "fastapi", "python_multipart")
):
    collect_ignore_glob = ["test_*.py"]

ROUTES = (
    '[[route]]\nupstream = "app"\n[upstream.app]\nendpoints = ["asgi:{module}:app"]\n[upstream.app.asgi]\n'
)


class Answer:
    def __init__(self, data):
        self.raw = data
        head, _, self.body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1])
        self.fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}

    def __repr__(self):
        return repr(self.raw[:2000])

    @property
    def json(self):
        return json.loads(self.body)


def ask(port, path="/", *, method="GET", body=b"", fields=(), raw=b"", timeout=20):
    """One request on a connection of its own; the whole answer. `raw` is sent as it is, once 100 was said."""
    with socket.create_connection(("127.0.0.1", port), timeout) as sock:
        lines = [f"{method} {path} HTTP/1.1", "Host: shop.example", "Connection: close", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if raw:
            assert sock.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(raw)
        return Answer(b"".join(iter(lambda: sock.recv(65536), b"")))


@pytest.fixture
def hosted(tmp_path):
    """Return a function that begins a gate in front of `text`, a module with `app`."""
    gates = []

    def begin(text, settings="", *, extra="", wait=True, **options):
        (tmp_path / "site_under_test.py").write_text(text)
        table = ROUTES.format(module="site_under_test") + f'app_dir = "{tmp_path}"\n{settings}\n'
        gate = Gate(tmp_path, table + extra, start=False, **options)
        gates.append(gate)
        gate.start(wait=wait)
        return gate

    yield begin
    for gate in gates:
        gate.stop()


@pytest.fixture(params=[False, True], ids=["own-process", "in-worker"])
def where(request):
    """Both ways to run an application."""
    return f"in_worker = {str(request.param).lower()}"
