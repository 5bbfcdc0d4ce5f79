"""The configuration as a whole: what `headgate.toml` says, checked and in plain units.

A `Config` is immutable and dumps to plain JSON that loads again equal: that is how it travels in a Snapshot to the
child processes. Durations are seconds, sizes bytes, file names absolute. What needs more than one table to be checked
is in `checks.py`; a `Config` from `loader.load` has passed it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue

from headgate.config.cache import Cache
from headgate.config.certificate import Certificate, Ocsp, merged_ocsp
from headgate.config.defaults import default_runtime_dir, default_state_dir
from headgate.config.kinds import FileName, Network, UserName
from headgate.config.listener import Listener
from headgate.config.other import Limits, Log, Metrics, Resolver
from headgate.config.route import Route
from headgate.config.table import Count, Table
from headgate.config.units import DurationOrZero
from headgate.config.upstream import Upstream


class Config(Table):
    """These keys stand before the first `[table]`."""

    state_dir: FileName = Field(default_factory=lambda: default_state_dir(os.environ, os.geteuid()))
    """Folder of what outlives a restart: OCSP responses and fetched issuers (`staples/`), the local authority of
    `headgate serve`, keys of stateless resets and address tokens (`quic.key`). Ticket keys never touch a disk.
    Default: `/var/lib/headgate` for root, else `$XDG_STATE_HOME/headgate` (`~/.local/state/headgate`). One gate at a
    time: it is locked."""
    runtime_dir: FileName = Field(default_factory=lambda: default_runtime_dir(os.environ, os.geteuid()))
    """Folder of the admin socket (mode 0600). Default: `/run/headgate` for root, else `$XDG_RUNTIME_DIR/headgate`
    (`/tmp/headgate-UID` where that is not set)."""
    workers: Annotated[Count, Field(ge=0, le=1024)] = 0
    """Worker processes; 0: as many as the cores that we may use (affinity and cgroup quota)."""
    user: UserName = ""
    """User that workers and keeper run as, once privileged ports are bound; empty: who started us."""
    trusted_proxies: tuple[Network, ...] = ()
    """Networks whose Forwarded and X-Forwarded-* fields are believed; from everybody else they are replaced."""
    drain_timeout: DurationOrZero = 30.0
    """How long requests under way may take after SIGTERM before their connections are closed. Reason: Kubernetes
    kills after the same 30 s."""
    listener: tuple[Listener, ...] = ()
    certificate: tuple[Certificate, ...] = ()
    ocsp: Ocsp = Ocsp()
    resolver: Resolver = Resolver()
    route: tuple[Route, ...] = ()
    upstream: dict[str, Upstream] = Field(default_factory=dict)
    log: Log = Log()
    metrics: Metrics | None = None
    limits: Limits = Limits()
    cache: Cache = Cache()

    def ocsp_of(self, certificate: Certificate) -> Ocsp:
        """Return the staple rules that hold for one certificate."""
        return merged_ocsp(self.ocsp, certificate.ocsp)

    def routes_of(self, listener: int) -> tuple[int, ...]:
        """Return the places of the routes that the listener at this place has. Of mode "tcp": those that name it."""
        label = self.listener[listener].label
        all_of_http = self.listener[listener].mode != "tcp"
        return tuple(
            place
            for place, route in enumerate(self.route)
            if (all_of_http if route.listeners is None else label in route.listeners)
        )

    @property
    def admin_socket(self) -> Path:
        """Return the path of the admin socket."""
        return self.runtime_dir / "admin.sock"

    def to_json(self) -> str:
        """Return plain JSON that `from_json` takes."""
        return self.model_dump_json()

    def to_plain(self) -> dict[str, JsonValue]:
        """Return the same as `to_json` as a tree of plain values."""
        return self.model_dump(mode="json")

    @classmethod
    def from_plain(cls, tree: Mapping[str, JsonValue]) -> "Config":
        """Return the configuration that `to_plain` gave."""
        return cls.model_validate(tree)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Config":
        """Return the configuration that `to_json` wrote: nothing is expanded, resolved or looked up again."""
        return cls.model_validate_json(text)
