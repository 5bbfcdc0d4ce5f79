"""The keeper's side of health: from configuration to probes, and what becomes of their verdicts.

A verdict that is new goes to the supervisor in a HEALTH message, and into `health.json`, written every few seconds
while something changes and once a minute else, so that its age says how long nobody has looked. Once a minute all is
repeated: by that workers know that somebody still looks. Endpoints of names are those that workers show in their
pages: one place asks DNS, and what is probed is what gets requests. While the supervisor does not read, newer
verdicts replace older ones here.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from headgate.clock import Clock
from headgate.config.kinds import parse_origin
from headgate.config.model import Config
from headgate.config.upstream import Upstream
from headgate.config.upstream_asgi import SCHEME
from headgate.config.upstream_health import Health, parse_statuses
from headgate.connection.context import PROXY_VERSIONS, local_header
from headgate.errors import ConfigError
from headgate.net.dialer import Dialer
from headgate.process.app_plan import plans_of_endpoint
from headgate.process.channel import Json
from headgate.process.parts import Events
from headgate.process.upstream_tls import client_tls
from headgate.process.verdicts import BATCH, VerdictFile, encode_verdict, known_of
from headgate.tasks import Failure
from headgate.upstream.checks import Checks, Rules, Verdict
from headgate.upstream.health import PENDING
from headgate.upstream.probe import Prober, ProbeSettings, Target

SAVE_SECONDS: Final = 5.0
REFRESH_SECONDS: Final = 60.0
# Workers do not agree for a moment when an answer changes, and one that starts has no answer yet.
FORGET_SECONDS: Final = 30.0
# Endpoints of names in one upstream; each is probed.
MAX_FOLLOWED: Final = 1000


class Probes:
    """All probes of a gate. `run` is a task of the keeper; `published` is called when there is something to send."""

    def __init__(
        self,
        config: Config,
        files: dict[str, Json],
        known: dict[str, Json],
        dialer: Dialer,
        clock: Clock,
        random: Callable[[], float],
        values: list[int],
        events: Events,
        failed: Failure,
        published: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._events = events
        self._published = published
        self._file = VerdictFile(config.state_dir)
        self._pending: dict[tuple[str, str], Verdict | None] = {}
        self._health: dict[str, dict[str, Json]] = {}
        self._is_dirty = False
        self._saved_at = self._repeated_at = clock.now()
        self.checks = Checks(self._publish, events.event, failed, clock, random, values)
        self._runtime_dir = config.runtime_dir
        self._targets: dict[str, list[Target]] = {}  # of the configuration
        self._followed: dict[str, _Followed] = {}
        self._came = asyncio.Event()
        for name, table in config.upstream.items():
            if table.probed is not None:
                self._add(name, table, table.probed, files, known_of(known, name), dialer)

    def __repr__(self) -> str:
        return f"<Probes {self.checks!r}>"

    def _add(
        self,
        name: str,
        table: Upstream,
        health: Health,
        files: dict[str, Json],
        known: dict[str, Verdict],
        dialer: Dialer,
    ) -> None:
        try:
            tls = client_tls(name, table, files, self._clock, probing=True)
        except ConfigError as error:
            # Workers have the same settings and serve with them: an oversight of ours must not keep them from it.
            self._events.event(
                "probes-off", "error", upstream=name, reason=str(error), next="its endpoints are not probed"
            )
            return
        self._health[name] = {url: encode_verdict(verdict) for url, verdict in known.items()}
        rules = Rules(
            health.interval, health.jitter, health.rise, health.fall, health.start == "wait-for-first-check"
        )
        targets = self._targets[name] = targets_of(name, table, self._runtime_dir)
        if any(endpoint.resolve != "off" for endpoint in table.endpoints):
            self._followed[name] = _Followed(known, dict.fromkeys(known, self._clock.now()))
        settings = _settings(health, table.proxy_protocol, is_h2="h1" not in table.protocols)
        self.checks.add(name, rules, Prober(settings, dialer, tls), targets, known)
        for url in known.keys() - self.checks.groups[name].checks.keys():
            if name not in self._followed:
                self._publish(name, url, None)

    # -- endpoints from DNS

    @property
    def follows(self) -> bool:
        """Tell whether there are names whose endpoints are probed."""
        return bool(self._followed)

    def follow(self, places: Iterable[tuple[str, str, str]]) -> None:
        """Probe what workers found under the names of the configuration: (upstream, url, name that it must have)."""
        now = self._clock.now()
        for upstream, url, host in places:
            followed = self._followed.get(upstream)
            if followed is not None and (url in followed.seen or len(followed.seen) < MAX_FOLLOWED):
                followed.seen[url] = now
                if url not in followed.targets:
                    followed.targets[url] = named_target(url, host)
        for upstream, followed in self._followed.items():
            for url in [url for url, when in followed.seen.items() if now >= when + FORGET_SECONDS]:
                del followed.seen[url]
                followed.targets.pop(url, None)
                if (
                    followed.known.pop(url, None) is not None
                    and url not in self.checks.groups[upstream].checks
                ):
                    self._publish(upstream, url, None)
            targets = {
                target.url: target for target in (*self._targets[upstream], *followed.targets.values())
            }
            if targets.keys() != self.checks.groups[upstream].checks.keys():
                self.checks.set_targets(upstream, targets.values(), followed.known)
                self._came.set()

    async def first_round(self) -> None:
        """Wait until each endpoint that must not have requests before has had its first probe, those of names too."""
        while any(
            group.rules.is_awaited and not group.checks and name in self._followed
            for name, group in self.checks.groups.items()
        ):
            self._came.clear()
            await self._came.wait()
        await self.checks.first_round()

    # -- verdicts

    def _publish(self, upstream: str, url: str, verdict: Verdict | None) -> None:
        self._pending[upstream, url] = verdict
        group = self._health.setdefault(upstream, {})
        if verdict is None:
            group.pop(url, None)
        else:
            group[url] = encode_verdict(verdict)
        self._is_dirty = True
        self._published()

    def next_message(self) -> dict[str, Json] | None:
        """Return the payload of the next HEALTH message, None when all is said."""
        name = next((upstream for upstream, _ in self._pending), None)
        if name is None:
            return None
        urls = [url for upstream, url in self._pending if upstream == name][:BATCH]
        return {
            "name": name,
            "endpoints": {url: encode_verdict(self._pending.pop((name, url))) for url in urls},
        }

    def sweep(self) -> None:
        """Write the file and repeat what is known, if it is time to."""
        now = self._clock.now()
        if self.checks.groups and now >= self._saved_at + (
            SAVE_SECONDS if self._is_dirty else REFRESH_SECONDS
        ):
            self.save()
        if now >= self._repeated_at + REFRESH_SECONDS:
            self._repeated_at = now
            for name, group in self.checks.groups.items():
                for url, check in group.checks.items():
                    if check.verdict != PENDING:
                        self._pending.setdefault((name, url), Verdict(check.verdict, check.why, check.since))
            self._published()

    def save(self) -> None:
        """Write what is known."""
        if not self.checks.groups:
            return
        self._saved_at = self._clock.now()
        self._is_dirty = False
        problem = self._file.save({**self._health}, self._clock.wall())
        if problem is not None:
            self._events.event(
                "health-not-saved",
                "warning",
                file=problem.path,
                errno=problem.errno,
                reason=f"cannot {problem.doing}: {problem.error}",
                next=f"another try in {REFRESH_SECONDS:g} s; a restart of the gate begins without verdicts",
            )


@dataclass(slots=True)
class _Followed:
    """An upstream with names: what was known of it, when a worker last had each URL, and what is probed."""

    known: dict[str, Verdict]
    seen: dict[str, float]
    targets: dict[str, Target] = field(default_factory=dict)


def named_target(url: str, host: str) -> Target:
    """Return what is probed for an endpoint that a name stands for: its address, and that name."""
    origin = parse_origin(url)
    return Target(url, origin.scheme, host, origin.port, origin.host)


def targets_of(name: str, table: Upstream, runtime_dir: Path) -> list[Target]:
    """Return the endpoints of an upstream whose addresses stand in the configuration: each process of an application
    is one."""
    found = []
    for endpoint in table.endpoints:
        if endpoint.resolve != "off":
            continue
        plans = plans_of_endpoint(name, table, endpoint.url, runtime_dir)
        found += [Target(plan.url, "http", "localhost", 0, f"unix:{plan.socket}") for plan in plans]
        if not endpoint.url.startswith(SCHEME):  # one that runs in a worker has no address
            found.append(target_of(endpoint.url))
    return found


def target_of(url: str) -> Target:
    """Return what is probed for an endpoint that has an address."""
    origin = parse_origin(url)
    if origin.path:
        return Target(url, "http", "localhost", 0, f"unix:{origin.path}")
    return Target(url, origin.scheme, origin.host, origin.port, origin.host)


def _settings(health: Health, proxy_protocol: str, *, is_h2: bool) -> ProbeSettings:
    return ProbeSettings(
        preface=local_header(PROXY_VERSIONS[proxy_protocol]),
        kind=health.kind,
        h2=is_h2,
        timeout=health.timeout,
        method=health.method,
        path=health.path,
        authority=health.host or "",
        statuses=tuple(parse_statuses(text) for text in health.status),
        body=health.body.encode(),
    )
