"""An ASGI hello-world: what a request costs on a worker's loop, in a process of its own, and in uvicorn.

Everybody runs the same application on one core, without an access log: uvicorn with uvloop and httptools, Headgate
with its own engine. The process of its own is counted with the gate in front of it, which is more than uvicorn
does: a reverse proxy.
"""

import sys
from pathlib import Path
from typing import Final

from bench.lab import Lane
from bench.load import Load
from bench.proxies import LIMITS, Headgate, Job, Profile, Proxy, accepts
from bench.rows.requests import Requests

APPLICATION: Final = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"13")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"Hello, world!"})
"""
MODULE: Final = "hello_world"


def write_application(job: Job) -> Path:
    """Write the application; return its folder."""
    (job.directory / f"{MODULE}.py").write_text(APPLICATION)
    return job.directory


class AsgiGate(Headgate):
    """Headgate with the application as its only upstream."""

    def __init__(self, name: str, *, in_worker: bool) -> None:
        super().__init__(name)
        self.in_worker = in_worker

    def command(self, job: Job) -> list[str]:
        config = job.directory / "headgate.toml"
        config.write_text(
            f'state_dir = "{job.directory}/state"\nruntime_dir = "{job.directory}/run"\nworkers = 1\n'
            f'log = {{ access = "off" }}\n[[listener]]\naddresses = ["127.0.0.1:{job.port}"]\nmode = "http"\n'
            f'{LIMITS}[[route]]\nupstream = "app"\n'
            f'[upstream.app]\nendpoints = ["asgi:{MODULE}:app"]\n[upstream.app.asgi]\n'
            f'app_dir = "{write_application(job)}"\nin_worker = {str(self.in_worker).lower()}\n'
        )
        return [*self._program(), "run", str(config)]

    def is_up(self, job: Job) -> bool:
        return accepts(job.port)


class Uvicorn(Proxy):
    """The server that most applications run in."""

    def absent(self) -> str | None:
        return None

    def command(self, job: Job) -> list[str]:
        where = ["--app-dir", str(write_application(job)), "--host", "127.0.0.1", "--port", str(job.port)]
        how = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        return [sys.executable, "-m", "uvicorn", f"{MODULE}:app", *where, *how]

    def is_up(self, job: Job) -> bool:
        return accepts(job.port)


class Asgi(Requests):
    """Keep-alive requests to the application itself."""

    def __init__(self, name: str, title: str, headers: tuple[str, ...] = ()) -> None:
        super().__init__(name, title, goal=1.3)
        self.load = Load("/", 64, headers)
        self.profile = Profile()

    def lanes(self, proxies: list[Proxy]) -> list[Lane]:
        contenders = (
            AsgiGate("headgate", in_worker=True),
            AsgiGate("own process", in_worker=False),
            Uvicorn("uvicorn"),
        )
        return [Lane(one.name, one, self.profile) for one in contenders]

    def baseline(self, label: str) -> str:
        return "uvicorn"
