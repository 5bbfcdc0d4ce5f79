"""The TLS policy of a listener, and the rings of ticket contexts that must exist before the workers are
forked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headgate.clock import Clock
from headgate.config.model import Config
from headgate.errors import ConfigError
from headgate.tls.client_auth import ClientVerifier
from headgate.tls.policy import TlsPolicy
from headgate.tls.tickets import TicketRing

ALPN: Final = {"h1": b"http/1.1"}


class TicketRings:
    """One ring for each https listener, by its place in the configuration; this is `WorkerStart.tickets`."""

    def __init__(self, rings: Mapping[int, TicketRing]) -> None:
        self.by_listener = dict(rings)

    def __repr__(self) -> str:
        return f"<TicketRings of listeners {sorted(self.by_listener)}>"

    def tend(self) -> None:
        """Let go of keys that are too old; the holder that makes no handshakes calls this now and then."""
        for ring in self.by_listener.values():
            ring.tend()


def policy_of(config: Config, index: int) -> TlsPolicy:
    """Return the policy of one https listener; client CAs are read here, for a worker may not be allowed to.

    Raises `ConfigError` when a file cannot be read or holds nothing that can be used.
    """
    listener = config.listener[index]
    tls = listener.tls
    policy = TlsPolicy(
        name=listener.addresses[0],
        min_version=tls.min_version,
        alpn=tuple(ALPN[protocol] for protocol in listener.protocols),
        unknown_name=tls.unknown_name,
        client_auth=tls.client_auth,
        client_ca=_read(tls.client_ca, index, "client_ca"),
        client_crl=_read(tls.client_crl, index, "client_crl"),
    )
    if policy.asks_client:
        try:
            ClientVerifier(policy)
        except ConfigError as exc:
            files = ", ".join(str(path) for path in (tls.client_ca, tls.client_crl) if path is not None)
            raise ConfigError(f"listener[{index}].tls: {exc} ({files})") from exc
    return policy


def make_rings(config: Config, clock: Clock) -> dict[int, TicketRing]:
    """Make the rings of all https listeners. Raises `HeadgateError`."""
    https = [index for index, listener in enumerate(config.listener) if listener.mode == "https"]
    return {index: TicketRing(policy_of(config, index), clock) for index in https}


def _read(path: Path | None, index: int, key: str) -> bytes:
    if path is None:
        return b""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigError(f"listener[{index}].tls.{key}: {path}: {exc.strerror} (errno {exc.errno})") from exc
    if not content:
        # A CRL that is just being written must not read as none: whoever is on it would be let in.
        raise ConfigError(f"listener[{index}].tls.{key}: {path} is empty")
    return content
