"""Which applications run where: what the supervisor starts, and where the workers find it.

Both read it off the configuration in the same way, so the socket of a process has one name.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from headgate.asgi.application import ApplicationSpec
from headgate.config.kinds import parse_origin
from headgate.config.model import Config
from headgate.config.upstream import Upstream
from headgate.config.upstream_asgi import SCHEME, socket_path
from headgate.process.channel import ChannelError, Json, Message


@dataclass(frozen=True, slots=True)
class AppPlan:
    """One process of one application. `trusted` are the proxies whose word about clients counts."""

    name: str
    url: str
    spec: ApplicationSpec
    socket: str
    trusted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """Return the payload of an APPLICATION message."""
        return {
            "name": self.name,
            "url": self.url,
            "spec": asdict(self.spec),
            "socket": self.socket,
            "trusted": list(self.trusted),
        }


def decode_plan(message: Message) -> AppPlan:
    """Read an APPLICATION message. Raises `ChannelError`."""
    spec, trusted = message.item("spec"), message.item("trusted")
    if not isinstance(spec, dict) or not isinstance(trusted, list):
        raise ChannelError("APPLICATION without its parts")
    try:
        return AppPlan(
            message.text("name"),
            message.text("url"),
            ApplicationSpec(**spec),  # type: ignore[arg-type]  # as the supervisor wrote it
            message.text("socket"),
            tuple(str(network) for network in trusted),
        )
    except TypeError as error:
        raise ChannelError(f"APPLICATION: {error}") from error


def spec_of(name: str, table: Upstream, url: str) -> ApplicationSpec:
    """Return what an endpoint of an upstream means."""
    own = table.asgi
    return ApplicationSpec(
        upstream=name,
        target=parse_origin(url).path,
        app_dir=str(own.app_dir) if own.app_dir is not None else "",
        factory=own.factory,
        root_path=own.root_path,
        start_timeout=own.start_timeout,
        stop_timeout=own.stop_timeout,
        websocket_message=own.websocket_message,
    )


def plans_of_upstream(
    name: str, table: Upstream, runtime_dir: Path, trusted: tuple[str, ...] = ()
) -> list[AppPlan]:
    """Return the processes of one upstream, in the order of its endpoints."""
    if table.asgi.in_worker:
        return []
    urls = [endpoint.url for endpoint in table.endpoints if endpoint.url.startswith(SCHEME)]
    each = table.asgi.processes
    several = len(urls) * each > 1
    return [
        AppPlan(
            f"app {name} {number}" if several else f"app {name}",
            f"{url}#{number}" if each > 1 else url,
            spec_of(name, table, url),
            str(socket_path(runtime_dir, name, number)),
            trusted,
        )
        for number, url in enumerate(url for url in urls for _ in range(each))
    ]


def plans_of_endpoint(name: str, table: Upstream, url: str, runtime_dir: Path) -> list[AppPlan]:
    """Return the processes of one endpoint of the configuration; none where it is no application."""
    if not url.startswith(SCHEME):
        return []
    target = parse_origin(url).path
    return [plan for plan in plans_of_upstream(name, table, runtime_dir) if plan.spec.target == target]


def plans_of(config: Config) -> tuple[AppPlan, ...]:
    """Return the processes of all applications."""
    return tuple(
        plan
        for name, table in config.upstream.items()
        for plan in plans_of_upstream(name, table, config.runtime_dir, tuple(config.trusted_proxies))
    )
