"""A look at endpoints, for `headgate status` and the metrics: each worker's own picture, put beside what probes say.

Every second a worker writes a row for each endpoint into its page, which is shared with the keeper (see
`quic_sample` for how pages are written); those that had a request or are not up come first, and of more than
`MAX_ROWS` the rest is left out. The keeper adds them up when somebody asks: the words of all workers, and the sum of
their counts, which begin anew with each worker.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, final

from headgate.process.channel import Json
from headgate.process.quic_sample import SamplePage
from headgate.upstream.checks import Check, Checks
from headgate.upstream.health import UP, VERDICTS, EndpointHealth
from headgate.upstream.outliers import Outliers

HEALTH_SECONDS: Final = 1.0
MAX_ROWS: Final = 1000
PAGE_SIZE: Final = 512 * 1024  # of which only what is written costs memory
_WHY: Final = 200
# From well to worst: what is shown of an endpoint on which workers differ.
_WORDS: Final = ("up", "resting", "half-open", "ejected", "pending", "down")


def rows_of(groups: Iterable[Outliers], now: float, wall: float) -> list[Json]:
    """Return what a worker writes: [upstream, url, word, since, why, active, requests, failures, server errors,
    name]."""
    found: list[Json] = []
    quiet: list[Json] = []
    for outliers in groups:
        for endpoint in outliers.upstream.endpoints:
            health = endpoint.health
            row: list[Json] = [
                outliers.upstream.name,
                endpoint.url,
                health.describe(),
                _wall(health, now, wall),
                health.why[:_WHY],
                endpoint.active,
                health.requests,
                health.failures,
                health.server_errors,
                endpoint.name,
            ]
            (quiet if health.is_up and not health.requests else found).append(row)
    found += quiet
    return found[:MAX_ROWS]


def _wall(health: EndpointHealth, now: float, wall: float) -> float:
    return round(wall - (now - health.since), 3) if health.since else 0.0


class _Sum:
    """What all workers say of one endpoint."""

    def __init__(self) -> None:
        self.workers: dict[str, int] = {}
        self.since = 0.0
        self.why = ""
        self.active = 0
        self.requests = 0
        self.failures = 0
        self.server_errors = 0

    def add(self, row: list[Json]) -> None:
        word, since, why, *numbers = row[2:9]
        before = self.word()
        self.workers[str(word)] = self.workers.get(str(word), 0) + 1
        if isinstance(since, float) and (since > self.since or self.word() != before) and self.word() == word:
            self.since, self.why = since, str(why)
        active, requests, failures, server_errors = (int(n) if isinstance(n, int) else 0 for n in numbers)
        self.active += active
        self.requests += requests
        self.failures += failures
        self.server_errors += server_errors

    def word(self) -> str:
        found = [word for word in _WORDS if word in self.workers]
        return found[-1] if found else ""


@final
class HealthView:
    """The keeper's picture. `known` names the endpoints of the configuration, as (upstream, url)."""

    def __init__(
        self, known: Sequence[tuple[str, str]], pages: Sequence[SamplePage], checks: Checks | None
    ) -> None:
        self._known = known
        self._pages = pages
        self._checks = checks

    def __repr__(self) -> str:
        return f"<HealthView {len(self._known)} endpoints, {len(self._pages)} workers>"

    def describe(self, running: Mapping[int, int]) -> list[dict[str, object]]:
        """Return a row for each endpoint; only workers that run (slot → process id) are asked."""
        sums: dict[tuple[str, str], _Sum] = {place: _Sum() for place in self._known}
        for row in self._rows(running):
            sums.setdefault((str(row[0]), str(row[1])), _Sum()).add(row)
        return [self._row(upstream, url, found) for (upstream, url), found in sums.items()]

    def places(self, running: Mapping[int, int]) -> list[tuple[str, str, str]]:
        """Return the endpoints of all workers: upstream, URL, and the name that their certificate must carry."""
        return [(str(row[0]), str(row[1]), str(row[9])) for row in self._rows(running)]

    def _rows(self, running: Mapping[int, int]) -> list[list[Json]]:
        return [
            row
            for slot, page in enumerate(self._pages)
            if slot in running
            for row in page.load()
            if isinstance(row, list) and len(row) == 10
        ]

    def _row(self, upstream: str, url: str, found: _Sum) -> dict[str, object]:
        check = self._check(upstream, url)
        word, since, why = found.word(), found.since, found.why
        if not word and check is not None:  # no worker has said anything yet
            word, since, why = VERDICTS[check.verdict], check.since, check.why
        return {
            "upstream": upstream,
            "endpoint": url,
            "state": word or "up",
            "since": since or None,
            "why": why if word != "up" or since else "",
            "workers": found.workers,
            "active": found.active,
            "requests": found.requests,
            "failures": found.failures,
            "server_errors": found.server_errors,
            "probe": None if check is None else _probe(check),
        }

    def _check(self, upstream: str, url: str) -> Check | None:
        group = self._checks.groups.get(upstream) if self._checks is not None else None
        return group.checks.get(url) if group is not None else None

    def samples(self, running: Mapping[int, int]) -> dict[str, Sequence[tuple[Mapping[str, str], float]]]:
        """Return the metrics of endpoints, by name; of more than `MAX_ROWS` the rest has none."""
        rows = self.describe(running)[:MAX_ROWS]
        labels = [{"upstream": str(row["upstream"]), "endpoint": str(row["endpoint"])} for row in rows]
        named = list(zip(labels, rows, strict=True))
        probes = [(label, row["probe"]) for label, row in named]
        return {
            "endpoint_up": [(label, _share_up(row)) for label, row in named],
            "endpoint_active": [(label, _number(row["active"])) for label, row in named],
            "endpoint_requests": [(label, _number(row["requests"])) for label, row in named],
            "endpoint_failures": [(label, _number(row["failures"])) for label, row in named],
            "endpoint_server_errors": [(label, _number(row["server_errors"])) for label, row in named],
            "endpoint_probe_up": [
                (label, 1.0 if probe["verdict"] == VERDICTS[UP] else 0.0)
                for label, probe in probes
                if isinstance(probe, dict)
            ],
            "endpoint_probe_milliseconds": [
                (label, _number(probe["milliseconds"]))
                for label, probe in probes
                if isinstance(probe, dict) and "milliseconds" in probe
            ],
        }


def _probe(check: Check) -> dict[str, object]:
    row: dict[str, object] = {
        "verdict": VERDICTS[check.verdict],
        "since": check.since,
        "why": check.why,
        "successes": check.successes,
        "failures": check.failures,
    }
    if check.last is not None:
        last = check.last
        row |= {
            "at": check.last_at,
            "is_well": last.is_well,
            "detail": last.why,
            "address": last.address,
            "errno": last.errno,
            "milliseconds": round(last.milliseconds, 1),
        }
    return row


def _share_up(row: Mapping[str, object]) -> float:
    workers = row["workers"]
    if not isinstance(workers, dict) or not workers:
        return 1.0 if row["state"] == "up" else 0.0
    return float(workers.get("up", 0)) / sum(workers.values())


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
