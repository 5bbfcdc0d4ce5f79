"""What the admin API tells: gathered in the keeper from the stapler, the counter pages and the supervisor's
word.

Rows are plain JSON. What an operator may call a certificate is in `admin/naming`.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence

from headgate import __version__
from headgate.admin.naming import Known, find
from headgate.admin.ocsp_text import describe_response
from headgate.clock import Clock
from headgate.counters import (
    CONNECTIONS_OPEN,
    MEMORY_BYTES,
    OPEN_FILES,
    REQUESTS_1XX,
    REQUESTS_5XX,
    STAPLE_ABSENT,
    STAPLE_EXPIRED,
    STAPLE_NOT_ASKED,
    STAPLE_OFF,
    STAPLE_REFUSED,
    STAPLE_REVOKED,
    STAPLE_SENT,
    CounterPage,
)
from headgate.ocsp.entry import StapleStatus
from headgate.ocsp.stapler import Stapler
from headgate.process.cache_view import Explainer, PurgeError, Purger, describe_cache, pattern_of
from headgate.process.channel import Json
from headgate.process.h2_view import describe_h2, describe_h2_origins
from headgate.process.health_view import HealthView
from headgate.process.quic_view import QuicView
from headgate.telemetry.process_stats import open_files, resident_bytes

# Full handshakes by what became of the staple, summed over all workers: not per certificate, because the handshake
# counts without a look-up.
_RESULTS = {
    "sent": STAPLE_SENT,
    "absent": STAPLE_ABSENT,
    "expired": STAPLE_EXPIRED,
    "withheld-revoked": STAPLE_REVOKED,
    "off": STAPLE_OFF,
    "refused-must-staple": STAPLE_REFUSED,
    "not-asked": STAPLE_NOT_ASKED,
}


class KeeperControl:
    """The `Control` behind the admin API. `staples_revoked(name)`: whether workers send a revoked staple."""

    def __init__(
        self,
        stapler: Stapler,
        pages: Mapping[str, CounterPage],
        clock: Clock,
        supervisor_pid: int,
        staples_revoked: Callable[[str], bool],
        quic: QuicView,
        health: HealthView,
        purger: Purger,
        explainer: Explainer,
    ) -> None:
        self._stapler = stapler
        self._pages = pages
        self._clock = clock
        self._supervisor_pid = supervisor_pid
        self._staples_revoked = staples_revoked
        self._quic = quic
        self._health = health
        self._purger = purger
        self._explainer = explainer
        self.supervisor: dict[str, Json] = {}
        self.began = clock.wall()

    def status(self) -> dict[str, object]:
        """Return the whole picture: the supervisor's last word, and what every process holds."""
        return {
            "version": __version__,
            "keeper_started": self.began,
            **self.supervisor,
            "processes": self._processes(),
            "stapled": self._stapled(),
            "endpoints": self._health.describe(self.worker_pids()),
            "http2": describe_h2(self._pages),
            "http2_origins": describe_h2_origins(self._pages),
            "quic": self._quic.describe(self._pages, self.worker_pids()),
            "certificates": len(self._stapler.status()),
        }

    def _processes(self) -> list[dict[str, object]]:
        pids = {"supervisor": self._supervisor_pid, "keeper": os.getpid()}
        states: dict[str, Json] = {"supervisor": "running", "keeper": "running"}
        running = self.worker_pids()
        for worker in _rows(self.supervisor.get("workers")):
            slot = worker.get("slot")
            if isinstance(slot, int):
                pids[f"worker {slot}"] = running.get(slot, 0)
                states[f"worker {slot}"] = worker.get("state")
        for app in _rows(self.supervisor.get("apps")):
            name, pid = str(app.get("name")), app.get("pid")
            pids[name] = pid if isinstance(pid, int) else 0
            states[name] = app.get("state")
        rows: list[dict[str, object]] = []
        for name, pid in pids.items():
            values = self._pages[name].load() if name in self._pages else None
            row: dict[str, object] = {"name": name, "pid": pid, "state": states[name]}
            # Process 0 is not running; the reader of /proc would take it for itself.
            row["memory_bytes"] = (resident_bytes(pid) if pid else 0) or (
                values[MEMORY_BYTES] if values else 0
            )
            # After a change of user the kernel shows the descriptors of a process to itself only.
            row["open_files"] = (open_files(pid) if pid else 0) or (values[OPEN_FILES] if values else 0)
            if values is not None and name != "keeper":
                row["connections"] = values[CONNECTIONS_OPEN]
                row["requests"] = sum(values[REQUESTS_1XX : REQUESTS_5XX + 1])
            rows.append(row)
        return rows

    def _stapled(self) -> dict[str, int]:
        pages = [page.load() for page in self._pages.values()]
        return {result: sum(page[index] for page in pages) for result, index in _RESULTS.items()}

    def worker_pids(self) -> dict[int, int]:
        """Return the workers that run now: slot → process id."""
        found: dict[int, int] = {}
        for row in _rows(self.supervisor.get("workers")):
            slot, pid = row.get("slot"), row.get("pid")
            if isinstance(slot, int) and isinstance(pid, int) and pid > 0:
                found[slot] = pid
        return found

    def workers_are_built(self) -> bool:
        """Tell whether no worker is on its way to its first READY."""
        return all(
            row.get("state") not in ("down", "starting") for row in _rows(self.supervisor.get("workers"))
        )

    def ocsp(self) -> Sequence[dict[str, object]]:
        """Return a row for each certificate, and one for each file that could not be used."""
        statuses = self._stapler.status()
        rows = [self._row(status) for status in statuses]
        rows += [
            {"name": name, "state": "unusable", "must_staple": False, "served": False, "problem": reason}
            for name, reason in self._unusable(statuses).items()
        ]
        return rows

    def _unusable(self, statuses: Iterable[StapleStatus]) -> dict[str, Json]:
        """Return the files that cannot be used, with the reason: the supervisor has problems with them, and the
        stapler does not know them."""
        problems = self.supervisor.get("certificate_problems")
        known = {status.name for status in statuses}
        return {n: r for n, r in problems.items() if n not in known} if isinstance(problems, dict) else {}

    def _row(self, status: StapleStatus) -> dict[str, object]:
        held = self._stapler.held(status.name)
        usable = held is not None and held.usable(self._clock.wall())
        revoked = held is not None and held.status == "revoked"
        failure = status.last_failure
        return {
            "name": status.name,
            "state": str(status.state),
            "must_staple": status.must_staple,
            "served": usable and (not revoked or self._staples_revoked(status.name)),
            "source": str(status.source) if status.source is not None else None,
            "this_update": status.this_update,
            "next_update": status.next_update,
            "next_attempt": status.next_attempt,
            "in_progress": status.in_progress,
            "last_success": status.last_success,
            "last_failure_at": status.last_failure_at,
            "last_failure": None
            if failure is None
            else {
                "responder": failure.responder,
                "stage": failure.stage,
                "reason": str(failure.reason),
                "detail": failure.detail,
                "address": failure.address,
                "errno": failure.errno,
                "milliseconds": round(failure.milliseconds, 1),
                "text": str(failure),
            },
            "successes": status.successes,
            "failures": status.failures,
            "failures_in_a_row": status.failures_in_a_row,
            "responders": list(status.responders),
            "serial": status.serial,
            "problem": status.problem,
        }

    def ocsp_text(self, name: str) -> dict[str, object]:
        """Return one row with the held response as text and as DER in base64; it may have ended."""
        status = self._find(name)
        held = self._stapler.held(status.name)
        text = describe_response(held.der) if held is not None else "no response is held"
        der = b64encode(held.der).decode() if held is not None else None
        return {**self._row(status), "hosts": list(status.hosts), "text": text, "der": der}

    def refresh(self, name: str | None) -> Sequence[str]:
        """Have staples fetched now. Raises `LookupError` for a name that is unknown or has nobody to ask."""
        if name is None:
            return self._stapler.refresh()
        status = self._find(name)
        names = self._stapler.refresh(status.name)
        if not names:
            raise LookupError(f"{status.name}: there is nobody to ask ({status.state})")
        return names

    async def refreshed(self, names: Sequence[str]) -> None:
        """Wait until the rounds that `refresh` began are over."""
        await self._stapler.rounds_ended(names)

    def cache(self) -> Sequence[dict[str, object]]:
        """Return a row of the cache for each worker, and one for all together."""
        return describe_cache(self._pages)

    async def purge(self, kind: str, pattern: str, is_soft: bool, wait: float) -> dict[str, object]:
        """Have all workers purge. Raises `ValueError` for what cannot be read."""
        try:
            place, normal = pattern_of(kind, pattern)
        except PurgeError as exc:
            raise ValueError(str(exc)) from exc
        return await self._purger.purge(place, normal, is_soft, self.worker_pids, wait)

    async def explain(
        self, url: str, method: str, fields: Sequence[str], wait: float
    ) -> Sequence[dict[str, object]]:
        """Return what each worker would do with a request. Raises `ValueError` for a URL that cannot be read."""
        try:
            normal = pattern_of("url", url)[1]
        except PurgeError as exc:
            raise ValueError(str(exc)) from exc
        question: dict[str, Json] = {"url": normal, "method": method, "fields": list(fields)}
        return await self._explainer.explain(question, self.worker_pids, wait)

    def switch_qlog(self, is_on: bool) -> str:
        """Have the workers write QUIC connections down, or stop; return the folder."""
        self._quic.switch(is_on)
        return str(self._quic.qlog_folder)

    def metrics(self) -> bytes:
        """Return all metrics."""
        from headgate.telemetry.metrics import KEEPER_GAUGES, Gauges, render  # noqa: PLC0415  # heavy, and many gates are never asked

        statuses = self._stapler.status()
        ends = [({"certificate": s.name}, s.next_update) for s in statuses if s.next_update is not None]
        rows = [({"certificate": s.name, "state": str(s.state)}, 1.0) for s in statuses]
        restarts = [
            (
                {"child": str(child.get("name")), "last_exit": str(child.get("last_exit") or "")},
                _number(child),
            )
            for child in (
                *_rows(self.supervisor.get("workers")),
                *_rows(self.supervisor.get("apps")),
                *_rows([self.supervisor.get("keeper")]),
            )
        ]
        samples: dict[str, Sequence[tuple[Mapping[str, str], float]]] = {
            "staple_state": rows,
            "staple_next_update_seconds": ends,
            "child_starts": restarts,
            "scrape_time_seconds": [({}, self._clock.wall())],
            **self._health.samples(self.worker_pids()),
        }
        extra = [Gauges(name, help, samples[name]) for name, (_, help) in KEEPER_GAUGES.items()]
        return render(self._pages, extra)

    def _find(self, name: str) -> StapleStatus:
        statuses = self._stapler.status()
        unusable = self._unusable(statuses)
        known = [Known(status.name, status.hosts, status.serial) for status in statuses]
        file = find(name, [*known, *(Known(file) for file in unusable)])
        if file in unusable:
            raise LookupError(f"{file} cannot be used: {unusable[file]}")
        return next(status for status in statuses if status.name == file)


def _rows(value: Json) -> list[dict[str, Json]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _number(child: dict[str, Json]) -> float:
    generation = child.get("generation")
    return float(generation) if isinstance(generation, int) else 0.0
