"""Client authorities and CRLs on their way: read by the supervisor, watched, sent to the workers in Snapshots.

A CRL ends after days, and an expired one lets nobody in: a gate that read it only when it started would shut its
clients out. So the files of `client_ca` and `client_crl` are looked at as often as certificates are. What cannot be
used when the gate starts ends the start; later, what served before goes on, and the file and the reason are told.
"""

import os
from dataclasses import replace
from typing import Final

from headgate.clock import Clock
from headgate.config.model import Config
from headgate.errors import ConfigError
from headgate.process.channel import Json, Kind, Message
from headgate.process.parts import Events
from headgate.process.policies import policy_of
from headgate.tls.client_auth import ClientVerifier
from headgate.tls.policy import TlsPolicy

_ABSENT: Final = (0, 0, 0)


class _Watched:
    """The files of one listener: what is served, and what was last seen of them."""

    __slots__ = ("index", "paths", "policy", "seen", "verifier")

    def __init__(self, index: int, paths: tuple[str, ...], policy: TlsPolicy) -> None:
        self.index = index
        self.paths = paths
        self.seen = tuple(look(path) for path in paths)
        self.policy = policy
        self.verifier = ClientVerifier(policy)


class ClientFiles:
    """The files of all listeners that ask for client certificates."""

    def __init__(self, config: Config, clock: Clock, events: Events) -> None:
        self._config = config
        self._clock = clock
        self._events = events
        self._watched: list[_Watched] = []
        self._failures: dict[str, str] = {}
        self._told: dict[str, str] = {}

    def load(self) -> None:
        """Read everything. Raises `ConfigError` for what cannot be used."""
        self._watched = []
        for index, listener in enumerate(self._config.listener):
            tls = listener.tls
            if listener.has_tls and tls.client_auth != "off":
                paths = tuple(str(path) for path in (tls.client_ca, tls.client_crl) if path is not None)
                self._watched.append(_Watched(index, paths, policy_of(self._config, index)))
        self._tell()

    def poll(self) -> bool:
        """Look for changes; tell whether something else is to be served."""
        changed = False
        for watched in self._watched:
            seen = tuple(look(path) for path in watched.paths)
            if seen != watched.seen:
                watched.seen = seen
                changed |= self._read(watched)
        self._tell()
        return changed

    def _read(self, watched: _Watched) -> bool:
        name = " ".join(watched.paths)
        try:
            policy = policy_of(self._config, watched.index)
            verifier = ClientVerifier(policy)
        except ConfigError as error:
            self._failures[name] = f"{error}; what was read before is still used"
            return False
        self._failures.pop(name, None)
        changed = policy != watched.policy
        watched.policy, watched.verifier = policy, verifier
        return changed

    def to_json(self) -> dict[str, Json]:
        """Return what goes into a Snapshot: PEM by the listener's place in the configuration."""
        return {
            str(one.index): {
                "ca": one.policy.client_ca.decode("latin-1"),
                "crl": one.policy.client_crl.decode("latin-1"),
            }
            for one in self._watched
        }

    def problems(self) -> dict[str, str]:
        """Return what is wrong now, by file."""
        found = dict(self._failures)
        for watched in self._watched:
            for problem in watched.verifier.problems(self._clock.wall()):
                found.setdefault(watched.paths[-1], f"{problem}: no client certificate is accepted")
        return found

    def _tell(self) -> None:
        now = self.problems()
        for file, reason in now.items():
            if self._told.get(file) != reason:
                self._events.event("client-files-problem", "error", limit_key=file, file=file, reason=reason)
        for file in self._told:
            if file not in now:
                self._events.event("client-files-mended", limit_key=file, file=file)
        self._told = now


def with_client_files(policy: TlsPolicy, clients: dict[str, Json], index: int) -> TlsPolicy:
    """Return a listener's policy with the files of a Snapshot; the same one when it has none."""
    value = clients.get(str(index))
    if value is None:
        return policy
    return replace(policy, client_ca=_text(value, "ca"), client_crl=_text(value, "crl"))


def _text(value: Json, key: str) -> bytes:
    return Message(Kind.SNAPSHOT, value).text(key).encode("latin-1")


def look(path: str) -> tuple[int, int, int]:
    """Return what is another when a file has changed."""
    try:
        found = os.stat(path)
    except OSError:
        return _ABSENT
    return (found.st_mtime_ns, found.st_size, found.st_ino)
