"""Where things are kept unless the configuration says otherwise."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CONFIG_NAME: Final = "headgate.toml"


def default_state_dir(environ: Mapping[str, str], uid: int) -> Path:
    """Return the folder for what outlives a restart; the XDG base directory specification for users."""
    if uid == 0:
        return Path("/var/lib/headgate")
    home = environ.get("XDG_STATE_HOME", "")
    if Path(home).is_absolute():
        return Path(home) / "headgate"
    return Path(environ.get("HOME") or "/").absolute() / ".local/state/headgate"


def default_runtime_dir(environ: Mapping[str, str], uid: int) -> Path:
    """Return the folder of the admin socket. Without $XDG_RUNTIME_DIR it is a name in /tmp that others can take: who
    makes it must insist on mode 0700 and on owning it."""
    if uid == 0:
        return Path("/run/headgate")
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if Path(runtime).is_absolute():
        return Path(runtime) / "headgate"
    return Path(tempfile.gettempdir()) / f"headgate-{uid}"
