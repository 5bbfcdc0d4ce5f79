"""Endpoints from DNS: a name is asked again and again, and what it stands for comes into the group and leaves it.

Each entry of the configuration with `resolve` is a source. It is asked when its last answer runs out (its TTL, within
`FLOOR` and `CEILING`), and its answer replaces what the last one said of it: who is in both stays the same object,
with its connections, its health and its counts; who is new is made; who is gone ends what it has.

Names fail, and lie. An answer that fails, or is empty, changes nothing: the last good one holds, which is told once.
So does what is known of one family while only the question for the other is answered. Addresses that nobody can be
at are left out, and an answer of nothing else changes nothing either. A source that fails is asked again after a
second, then after twice as long, up to `MAX_DELAY`.

One task for each source and worker, between whose questions nothing runs.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from headgate.counters import NAMES_ANSWERED, NAMES_KEPT
from headgate.net.addresses import IPV4, IPV6, Address, Family
from headgate.net.resolver import MAX_POSITIVE_TTL, ResolveError, Resolver
from headgate.net.srv import lookup_srv
from headgate.upstream.endpoint import DefectSink, Endpoint
from headgate.upstream.health import Tell
from headgate.upstream.upstream import Upstream

# An answer is used for a second at least: a TTL of 0 must not become a busy loop. Envoy has 5 s, nginx no floor.
FLOOR: Final = 1.0
CEILING: Final = MAX_POSITIVE_TTL
# The longest pause between questions that fail: a name server that comes back is noticed soon.
MAX_DELAY: Final = 30.0
# For one question: a resolver gives a server up after 5 s and has three rounds.
TIMEOUT: Final = 15.0
_SHOWN: Final = 8  # URLs in one event


@dataclass(frozen=True, slots=True)
class Member:
    """One endpoint that a source stands for: where it is dialled, and what SRV says of it."""

    host: str
    port: int
    weight: int = 0  # 0: that of the source
    is_backup: bool = False


@dataclass(slots=True)
class Source:
    """An entry of the configuration that is resolved, by A and AAAA or (`is_srv`) by SRV. `make` builds an endpoint
    from what was found; `url_of` says how it is called."""

    name: str
    port: int
    is_srv: bool
    make: Callable[[Member], Endpoint]
    url_of: Callable[[Member], str]
    weight: int = 1
    is_backup: bool = False
    endpoints: list[Endpoint] = field(default_factory=list)
    families: dict[Family, list[Member]] = field(default_factory=dict)
    is_answered: bool = False
    problem: str = ""  # as it was told
    failures: int = 0  # in a row


class Names:
    """The sources of one upstream. `group` are all its entries in their order, endpoints and sources."""

    def __init__(
        self,
        upstream: Upstream,
        group: list[Endpoint | Source],
        resolver: Resolver,
        *,
        values: list[int],
        tell: Tell,
        defect: DefectSink,
        floor: float = FLOOR,
    ) -> None:
        self.upstream = upstream
        self._group = group
        self._resolver = resolver
        self._values = values
        self._tell = tell
        self._defect = defect
        self._floor = floor
        self.sources = [entry for entry in group if isinstance(entry, Source)]
        upstream.is_expected = bool(self.sources)

    def __repr__(self) -> str:
        return f"<Names of {self.upstream.name}: {', '.join(source.name for source in self.sources)}>"

    def watches(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        """Return what is to run, by name, until it is cancelled."""
        return [(f"names {self.upstream.name} {source.name}", self._watch(source)) for source in self.sources]

    async def _watch(self, source: Source) -> None:
        delay = 0.0
        while True:
            await asyncio.sleep(delay)
            try:
                delay = await self.ask(source)
            except Exception as error:
                self._defect(f"names {source.name}", error)
                delay = MAX_DELAY

    async def ask(self, source: Source) -> float:
        """Ask once, take the answer, and return in how many seconds to ask again."""
        problem = ""
        seconds = 0.0
        members: list[Member] = []
        try:
            members, seconds, problem = await self._look_up(source)
        except ResolveError as error:
            problem = error.detail
        if not members and not problem:
            problem = "an empty answer"
        if members:
            source.failures = 0
            self._values[NAMES_ANSWERED] += 1
            self._take(source, members)
            delay = min(max(seconds, self._floor), CEILING)
        else:
            delay = min(self._floor * (1 << min(source.failures, 10)), MAX_DELAY)
            source.failures += 1
            self._values[NAMES_KEPT] += 1
        self._tell_problem(source, problem, delay)
        source.is_answered = True
        self.upstream.is_expected = not all(each.is_answered for each in self.sources)
        return delay

    # -- questions

    async def _look_up(self, source: Source) -> tuple[list[Member], float, str]:
        """Return who is there, for how many seconds, and what went wrong beside. Raises `ResolveError`."""
        if source.is_srv:
            services, seconds = await lookup_srv(self._resolver, source.name, timeout=TIMEOUT)
            first = services[0].priority if services else 0
            return (
                [
                    # RFC 2782: weight 0 is for "hardly any", and all 0 where there is nothing to choose
                    Member(each.host, each.port, max(each.weight, 1), each.priority > first)
                    for each in services
                ],
                seconds,
                "",
            )
        watched = await self._resolver.watch(source.name, timeout=TIMEOUT)
        problem = watched.problem
        answers: dict[Family, list[Member]] = {}
        lies = 0
        for family, addresses in watched.addresses.items():
            if addresses is None:
                continue  # what was known of this family holds
            # In an order of our own: servers turn theirs, and `first` must mean the same one in every worker.
            good = sorted([each for each in addresses if is_somewhere(each)], key=lambda each: each.host)
            lies += len(addresses) - len(good)
            if good or not addresses:
                answers[family] = [Member(address.host, source.port) for address in good]
        if lies:
            problem = problem or f"{lies} addresses where nobody can be"
            if not any(answers.values()):
                return [], 0.0, problem
        source.families.update(answers)
        found = [member for family in (IPV6, IPV4) for member in source.families.get(family, ())]
        return found, watched.seconds, problem

    # -- answers

    def _take(self, source: Source, members: list[Member]) -> None:
        held = {endpoint.url: endpoint for endpoint in source.endpoints}
        now: list[Endpoint] = []
        came: list[str] = []
        reweighed = False
        for member in members:
            url = source.url_of(member)
            endpoint = held.pop(url, None)
            if endpoint is None:
                if any(other.url == url for other in now):
                    continue
                endpoint = source.make(member)
                came.append(url)
            weight = member.weight or source.weight
            is_backup = member.is_backup or source.is_backup
            if (endpoint.weight, endpoint.is_backup) != (weight, is_backup):
                endpoint.weight, endpoint.is_backup = weight, is_backup
                reweighed = True
            now.append(endpoint)
        source.endpoints = now
        if came or held or reweighed:
            self._regroup()
        for endpoint in held.values():
            endpoint.close()  # one that another entry's stood before was not in the group to leave it
        if came or held:
            self._tell(
                "upstream-dns-changed",
                upstream=self.upstream.name,
                dns=source.name,
                came=came[:_SHOWN],
                left=list(held)[:_SHOWN],
                endpoints=len(now),
            )

    def _regroup(self) -> None:
        """Give the upstream its endpoints in the order of the configuration, each URL once."""
        endpoints: dict[str, Endpoint] = {}
        for entry in self._group:
            for endpoint in entry.endpoints if isinstance(entry, Source) else (entry,):
                endpoints.setdefault(endpoint.url, endpoint)
        self.upstream.set_endpoints(list(endpoints.values()))

    def _tell_problem(self, source: Source, problem: str, delay: float) -> None:
        if problem == source.problem:
            return
        if problem:
            self._tell(
                "upstream-dns-kept",
                "warning",
                limit_key=f"{self.upstream.name} {source.name}",
                upstream=self.upstream.name,
                dns=source.name,
                reason=problem,
                endpoints=len(source.endpoints),
                next=f"the last good answer holds; the name is asked again in {delay:.0f} s",
            )
        else:
            self._tell(
                "upstream-dns-recovered",
                upstream=self.upstream.name,
                dns=source.name,
                endpoints=len(source.endpoints),
            )
        source.problem = problem


def is_somewhere(address: Address) -> bool:
    """Tell whether somebody can be at this address: it is neither 0.0.0.0 nor multicast, nor a broadcast."""
    ip = ipaddress.ip_address(address.host)
    return not (ip.is_unspecified or ip.is_multicast or address.host == "255.255.255.255")
