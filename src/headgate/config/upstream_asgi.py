"""`[upstream.NAME.asgi]`: how a Python application is run that is an endpoint (`asgi:module:app`)."""

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field

from headgate.config.kinds import FileName
from headgate.config.table import Count, Flag, Table
from headgate.config.units import Duration, Size

SCHEME: Final = "asgi:"
# sun_path has 108 octets, the last of which ends it.
MAX_SOCKET: Final = 107


class Asgi(Table):
    """How the application of an endpoint `asgi:module:app` is run: by default in a process of its own, which the
    gate starts, watches and starts again. It speaks ASGI 3: HTTP, WebSocket and lifespan."""

    processes: Annotated[Count, Field(ge=1, le=64)] = 1
    """Processes for each such endpoint, each an endpoint of its own to `balance`. Reason: a process uses one core."""
    in_worker: Flag = False
    """Run the application on the event loop of every worker instead, beside TLS and its keys: there is no process and
    no socket between, and an application that blocks or leaks takes the worker with it. For small applications that
    never block; the endpoint must be the only one of its upstream."""
    app_dir: FileName | None = None
    """A folder to import from, in front of Python's own path; absent: the one of the configuration file."""
    factory: Flag = False
    """Whether `app` is a function that returns the application."""
    root_path: str = ""
    """Where the application is mounted (`root_path` of its scope, WSGI's SCRIPT_NAME). Paths are given whole."""
    start_timeout: Duration = 60.0
    """For import and startup; a process that takes longer is killed and started again. Reason: what loads models or
    warms caches takes its time, what hangs must be told."""
    stop_timeout: Duration = 10.0
    """For the requests under way and the shutdown, when the gate ends; what is left then is cancelled."""
    websocket_message: Size = 16 * 1024 * 1024
    """The largest message of a WebSocket client; a larger one closes it with 1009. Reason: it is held until it is
    whole; uvicorn has the same 16 MiB."""


def socket_path(runtime_dir: Path, upstream: str, number: int) -> Path:
    """Return the Unix socket of one process of an upstream's applications."""
    return runtime_dir / f"app-{upstream}-{number}.sock"
