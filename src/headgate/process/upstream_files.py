"""Files of upstreams on their way: read by the supervisor when the gate starts, sent to workers in Snapshots.

They are the authorities that an upstream trusts, and the certificate that we show it, with its key: so the keeper
gets none of it. A worker runs as the configured user, who may not be able to read them; and one that is restarted
trusts whom the others trust, whatever has become of the file since. A change is taken up by the next start of the
gate.
"""

from pathlib import Path

from headgate.config.model import Config
from headgate.config.upstream_tls import UpstreamTls
from headgate.errors import ConfigError
from headgate.process.channel import Json, Kind, Message
from headgate.tls.identity import Identity, IdentityError, from_pem


def read_upstreams(config: Config) -> dict[str, Json]:
    """Return what goes into a Snapshot: PEM by the upstream's name. Raises `ConfigError` for what cannot be read."""
    found: dict[str, Json] = {}
    for name, table in config.upstream.items():
        files = _read_all(name, table.tls)
        if files:
            found[name] = files
    return found


def _read_all(name: str, tls: UpstreamTls) -> dict[str, Json]:
    named = (("ca", tls.ca), ("certificate", tls.certificate), ("key", tls.key))
    return {key: _read(f"upstream.{name}.tls.{key}", path) for key, path in named if path is not None}


def authorities_of(upstreams: dict[str, Json], name: str) -> bytes:
    """Return the PEM of the authorities that an upstream trusts, b"" for those of the system."""
    return _pem(upstreams, name, "ca")


def identity_of(upstreams: dict[str, Json], name: str) -> Identity | None:
    """Return the certificate that we show an upstream, None without one. Raises `ConfigError` when it is unusable."""
    chain = _pem(upstreams, name, "certificate")
    if not chain:
        return None
    try:
        return from_pem(f"upstream.{name}.tls.certificate", chain, _pem(upstreams, name, "key") or chain)
    except IdentityError as error:
        raise ConfigError(f"upstream.{name}.tls.certificate cannot be used: {error}") from error


def _pem(upstreams: dict[str, Json], name: str, key: str) -> bytes:
    files = upstreams.get(name)
    if not isinstance(files, dict) or key not in files:
        return b""
    return Message(Kind.SNAPSHOT, files).text(key).encode("latin-1")


def _read(key: str, path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{key}: {path}: {error.strerror} (errno {error.errno})") from error
    if not content:
        # One that is just being written: nothing would mean all of the system's.
        raise ConfigError(f"{key}: {path} is empty")
    return content.decode("latin-1")
