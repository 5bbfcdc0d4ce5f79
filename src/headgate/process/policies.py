"""The TLS policy of a listener, and the rings of ticket contexts that must exist before the workers are
forked."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headgate.clock import Clock
from headgate.config.model import Config
from headgate.errors import ConfigError
from headgate.process.parts import Events
from headgate.tls.client_auth import ClientVerifier
from headgate.tls.policy import TlsPolicy
from headgate.tls.tickets import TicketRing

# In our order of preference.
ALPN: Final = {"h2": b"h2", "h1": b"http/1.1"}
# An operator who looks at the log once a week has a week to choose the moment, and is told again each day.
WARN_BEFORE: Final = 7 * 86_400.0
WARN_EVERY: Final = 86_400.0


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


class RingWatch:
    """Tells what becomes of tickets: that the keys which all workers share come to their end, and that they ended.

    pyOpenSSL cannot give a running worker new keys, and to restart workers would cut their long connections, or with
    one slot leave nobody listening. So the ring just ends, a month after the start (`TicketRing.exhausted_at`): each
    worker goes on with keys of its own, nothing fails, and most tickets meet a worker that cannot open them. A single
    worker shares with nobody, and loses nothing.
    """

    def __init__(self, rings: TicketRings, clock: Clock, events: Events, workers: int) -> None:
        self._rings = rings
        self._clock = clock
        self._events = events
        self._shared = workers > 1
        self._next_at = 0.0
        self._told: dict[int, str] = {}

    def look(self) -> None:
        """Tell what there is to tell now; to be called now and then."""
        for index, ring in self._rings.by_listener.items():
            if ring.problem and self._told.get(index) != ring.problem:
                self._told[index] = ring.problem
                self._events.event(
                    "tickets-not-resumed",
                    "warning",
                    listener=ring.policy.name,
                    reason=ring.problem,
                    next="clients shake hands in full until the next rotation",
                )
        now = self._clock.now()
        if self._shared and self._rings.by_listener and now >= self._next_at:
            self._look_ahead(now)

    def _look_ahead(self, now: float) -> None:
        rings = self._rings.by_listener.values()
        left = min(ring.exhausted_at for ring in rings) - now
        if left > WARN_BEFORE:
            self._next_at = now + left - WARN_BEFORE
            return
        self._next_at = now + WARN_EVERY
        self._events.event(
            "ticket-keys-ending" if left > 0 else "ticket-keys-ended",
            "warning",
            listeners=[ring.policy.name for ring in rings],
            at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock.wall() + left)),
            days=round(left / 86_400.0, 1),
            reason="each worker then has ticket keys of its own: a session resumes only where its ticket was made",
            next="start the gate again, at a time that suits you, for new keys that all workers share",
        )


def policy_of(config: Config, index: int) -> TlsPolicy:
    """Return the policy of one https listener; client CAs are read here, for a worker may not be allowed to.

    Raises `ConfigError` when a file cannot be read or holds nothing that can be used.
    """
    listener = config.listener[index]
    tls = listener.tls
    policy = TlsPolicy(
        name=listener.addresses[0],
        min_version=tls.min_version,
        alpn=tuple(name for protocol, name in ALPN.items() if protocol in listener.offered),
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
    """Make the rings of all listeners with TLS. Raises `HeadgateError`."""
    secure = [index for index, listener in enumerate(config.listener) if listener.has_tls]
    return {index: TicketRing(policy_of(config, index), clock) for index in secure}


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
