"""A real host of an application, on a loop in a thread, and a bare client for its Unix socket."""

import importlib
import importlib.util
import itertools
import socket
import sys
import types
from pathlib import Path

import pytest

from headgate.asgi.application import ApplicationSpec
from headgate.counters import CounterPage, Counters
from headgate.testing.loop_thread import LoopThread

_numbers = itertools.count()
# An environment from before they were dependencies; CI's has them.
if any(importlib.util.find_spec(name) is None for name in ("wsproto", "websockets")):
    collect_ignore_glob = ["test_*.py"]


class Served:
    """One application that is served; `events` is what was told."""

    def __init__(self, app, folder, thread, **spec):
        module = types.ModuleType(f"asgi_under_test_{next(_numbers)}")
        module.app = app
        sys.modules[module.__name__] = module
        self.events = []
        self.counters = Counters(CounterPage())
        self.thread = thread
        self.path = Path(folder) / "app.sock"
        spec = ApplicationSpec("shop", f"{module.__name__}:app", **spec)
        self.host = importlib.import_module("headgate.asgi.host").AppHost(
            spec, self.path, ("10.0.0.0/8",), self.counters, self.event
        )
        thread.call(self.host.start())

    def event(self, name, level="info", *, limit_key="", **fields):
        self.events.append((name, fields))

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(10)
        sock.connect(str(self.path))
        return sock

    def ask(self, request=b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        """Send octets and return everything that comes until the end."""
        with self.connect() as sock:
            sock.sendall(request)
            return b"".join(iter(lambda: sock.recv(65536), b""))

    def stop(self):
        self.thread.call(self.host.stop(), 30)


@pytest.fixture
def thread():
    thread = LoopThread("asgi")
    yield thread
    thread.stop()


@pytest.fixture
def serve(tmp_path, thread):
    """Return a function that serves an application until the test is over."""
    served = []

    def begin(app, **spec):
        served.append(Served(app, tmp_path, thread, **spec))
        return served[-1]

    yield begin
    for one in served:
        one.stop()
