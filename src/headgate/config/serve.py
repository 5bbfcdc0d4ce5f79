"""The configuration of `headgate serve --to URL`: a proxy in one line, http on 8080 and https on 8443.

It goes the same way as one from a file: it is checked by the same loader and runs in the same processes.
"""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from headgate.config.kinds import format_address, parse_origin
from headgate.config.loader import loads
from headgate.config.model import Config
from headgate.config.problems import ConfigProblems

HTTP_PORT: Final = 8080
HTTPS_PORT: Final = 8443
_UPSTREAM: Final = "origin"


def serve_config(
    to: str,
    chain: Path,
    key: Path,
    *,
    issuer: Path | None = None,
    hosts: Sequence[str] = ("127.0.0.1",),
    http_port: int = HTTP_PORT,
    https_port: int = HTTPS_PORT,
    state_dir: Path | None = None,
    runtime_dir: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Return the settings of a gate towards the origin `to`, with the certificate in `chain` and `key` (PEM, from a
    local CA, whose own certificate is in `issuer`), listening on the IP addresses `hosts`.

    Raises `ConfigProblems`, and `ValueError` when `to` is no origin.
    """
    parse_origin(to)
    lines = []
    for name, folder in (("state_dir", state_dir), ("runtime_dir", runtime_dir)):
        if folder is not None:
            lines.append(f"{name} = {_quoted(folder.absolute())}")
    for mode, port in (("http", http_port), ("https", https_port)):
        addresses = ", ".join(_quoted(format_address(host, port)) for host in hosts)
        lines += ["[[listener]]", f'mode = "{mode}"', f"addresses = [{addresses}]"]
    lines += [
        "[[certificate]]",
        f"files = {_quoted(glob.escape(str(chain.absolute())))}",
        f"key = {_quoted(key.absolute())}",
        *([f"issuer = {_quoted(issuer.absolute())}"] if issuer is not None else []),
    ]
    lines += ["[[route]]", f'upstream = "{_UPSTREAM}"']
    lines += [f"[upstream.{_UPSTREAM}]", f"endpoints = [{_quoted(to)}]"]
    if to.startswith("asgi:"):
        # As with every tool that is started beside an application.
        lines += [f"[upstream.{_UPSTREAM}.asgi]", f"app_dir = {_quoted(Path.cwd())}"]
    try:
        return loads("\n".join(lines), "headgate serve", environ)
    except ConfigProblems as error:  # nobody has seen these lines: their numbers would say nothing
        raise ConfigProblems(replace(problem, line=0, column=0) for problem in error.problems) from None


def _quoted(value: object) -> str:
    """Return a TOML string: every character that is not plain is escaped, and `${` stays what it is."""
    text = str(value).replace("${", "$${")
    return (
        '"' + "".join(c if c.isalnum() or c in "/:.-_[]{}$@ ~+," else f"\\U{ord(c):08x}" for c in text) + '"'
    )
