"""Finding an ASGI application: "module:app", imported from `app_dir` or what Python's path has.

Importing runs the application's code. It happens where the application is to run and nowhere else: never in the
supervisor, which may be root, and never in `headgate validate`, which may be run by anybody.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from headgate.errors import HeadgateError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class ApplicationError(HeadgateError):
    """The application cannot be had, or did not start; says what Python said, and where."""


@dataclass(frozen=True, slots=True)
class ApplicationSpec:
    """Which application and how. Times in seconds; `websocket_message` in octets; `app_dir` "" for Python's path."""

    upstream: str
    target: str
    app_dir: str = ""
    factory: bool = False
    root_path: str = ""
    start_timeout: float = 60.0
    stop_timeout: float = 10.0
    websocket_message: int = 16 * 1024 * 1024


def load_application(spec: ApplicationSpec) -> Application:
    """Import and return the application. Raises `ApplicationError`."""
    module_name, _, attribute = spec.target.partition(":")
    if spec.app_dir and spec.app_dir not in sys.path:
        sys.path.insert(0, spec.app_dir)
    importlib.invalidate_caches()
    found: object
    try:
        found = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
        if spec.factory:
            found = found() if callable(found) else found
    except BaseException as error:
        raise ApplicationError(f"import of {spec.target} failed: {last_line(error)}") from error
    if not callable(found):
        raise ApplicationError(f"{spec.target} is {type(found).__name__}, which nobody can call")
    if _is_asgi2(found):
        raise ApplicationError(
            f"{spec.target} takes one argument: an ASGI 2 application, or a factory = true"
        )
    application: Application = found
    return application


def _is_asgi2(found: Callable[..., object]) -> bool:
    """Tell whether it surely cannot be called with scope, receive and send."""
    try:
        signature = inspect.signature(found)
        signature.bind({}, None, None)
    except TypeError:
        return True
    except ValueError:
        return False  # nobody knows its signature: it is tried
    return False


def last_line(error: BaseException) -> str:
    """Return what the last lines of a traceback say: the error, and the place of the innermost call."""
    what = " ".join(traceback.format_exception_only(error)[-1].split())
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or isinstance(error, SyntaxError):
        return what
    frame = frames[-1]
    return f"{what} ({'/'.join(frame.filename.split(os.sep)[-2:])}:{frame.lineno})"
