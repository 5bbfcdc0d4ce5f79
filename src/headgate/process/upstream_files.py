"""Authorities of upstreams on their way: read by the supervisor when the gate starts, sent to workers in Snapshots.

A worker runs as the configured user, who may not be able to read them; and one that is restarted trusts whom the
others trust, whatever has become of the file since. A change is taken up by the next start of the gate.
"""

from pathlib import Path

from headgate.config.model import Config
from headgate.errors import ConfigError
from headgate.process.channel import Json, Kind, Message


def read_upstreams(config: Config) -> dict[str, Json]:
    """Return what goes into a Snapshot: PEM by the upstream's name. Raises `ConfigError` for what cannot be read."""
    return {
        name: {"ca": _read(name, table.tls.ca)}
        for name, table in config.upstream.items()
        if table.tls.ca is not None
    }


def authorities_of(upstreams: dict[str, Json], name: str) -> bytes:
    """Return the PEM of the authorities that an upstream trusts, b"" for those of the system."""
    value = upstreams.get(name)
    return Message(Kind.SNAPSHOT, value).text("ca").encode("latin-1") if value is not None else b""


def _read(name: str, path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"upstream.{name}.tls.ca: {path}: {error.strerror} (errno {error.errno})"
        ) from error
    if not content:
        # One that is just being written: nothing would mean all of the system's.
        raise ConfigError(f"upstream.{name}.tls.ca: {path} is empty")
    return content.decode("latin-1")
